//! A configuration file and the errors in it.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde::de::DeserializeOwned;

/// What is wrong with a configuration, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: Option<usize>,
    /// The key with its table, such as `interface[0].cost`.
    pub key: Option<String>,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for ConfigError {}

/// The text of a configuration file.
#[derive(Clone, Debug)]
pub struct Source {
    file: String,
    text: String,
}

impl Source {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Source { file, text }),
            Err(error) => Err(ConfigError { file, line: None, key: None, message: format!("cannot be read: {error}") }),
        }
    }

    /// A text that stands for the file `file`.
    pub fn new(file: impl Into<String>, text: impl Into<String>) -> Self {
        Source { file: file.into(), text: text.into() }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Decodes the whole file.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(&self.text).map_err(|error| match error.span() {
            Some(span) => self.error(span, error.message()),
            None => self.whole(error.message()),
        })
    }

    /// An error at a place in the text (the span of a [`toml::Spanned`] value).
    pub fn error(&self, span: Range<usize>, message: impl Into<String>) -> ConfigError {
        let place = locate(&self.text, span.start);
        ConfigError { file: self.file.clone(), line: Some(place.line), key: place.key, message: message.into() }
    }

    /// An error that concerns the file as a whole, such as something missing.
    pub fn whole(&self, message: impl Into<String>) -> ConfigError {
        ConfigError { file: self.file.clone(), line: None, key: None, message: message.into() }
    }
}

struct Place {
    line: usize,
    key: Option<String>,
}

/// The line of a byte offset, and the table and key it lies in.
fn locate(text: &str, offset: usize) -> Place {
    let mut place = Place { line: 1, key: None };
    let mut headers: Vec<String> = Vec::new();
    let mut table: Option<String> = None;
    let mut start = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if start > offset {
            break;
        }
        place.line = number + 1;
        let trimmed = line.trim();
        if let Some(header) = trimmed.strip_prefix("[[").and_then(|rest| rest.split("]]").next()) {
            let header = header.trim().to_owned();
            let index = headers.iter().filter(|seen| **seen == header).count();
            table = Some(format!("{header}[{index}]"));
            headers.push(header);
            place.key.clone_from(&table);
        } else if let Some(header) = trimmed.strip_prefix('[').and_then(|rest| rest.split(']').next())
            && !trimmed.contains('=')
            && is_key(header.trim())
        {
            table = Some(header.trim().to_owned());
            place.key.clone_from(&table);
        } else if let Some((key, _)) = trimmed.split_once('=')
            && is_key(key.trim())
        {
            place.key = Some(match &table {
                Some(table) => format!("{table}.{}", key.trim()),
                None => key.trim().to_owned(),
            });
        }
        start += line.len();
    }
    place
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_names_line_table_and_key() {
        let text = "router-id = \"1.1.1.1\"\n\n[[interface]]\nname = \"a\"\n\n[[interface]]\nname = \"b\"\ncost = 0\n[fib]\nmetric = 0\n";
        for (needle, line, key) in [
            ("\"1.1.1.1\"", 1, "router-id"),
            ("\"a\"", 4, "interface[0].name"),
            ("0\n[fib]", 8, "interface[1].cost"),
            ("0\n", 10, "fib.metric"),
        ] {
            let offset = if key == "fib.metric" { text.rfind(needle).unwrap() } else { text.find(needle).unwrap() };
            let place = locate(text, offset);
            assert_eq!((place.line, place.key.as_deref()), (line, Some(key)));
        }
    }

    #[test]
    fn a_syntax_error_names_its_line() {
        let source = Source::new("x.toml", "a = 1\nb = = 2\n");
        let error = source.parse::<toml::Table>().unwrap_err();
        assert_eq!(error.line, Some(2), "{error}");
    }
}
