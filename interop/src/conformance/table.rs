//! `docs/conformance.md`: tables with the columns id, section, rule, status, test, code.

use anyhow::{Context, Result, bail};

/// The columns of every table of the document.
const COLUMNS: [&str; 6] = ["id", "section", "rule", "status", "test", "code"];

/// What we do about a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Built, and a test shows it.
    Yes,
    /// To be built.
    Later,
    /// Not done, for the reason given.
    No,
    /// It says nothing about a program like this one.
    NotApplicable,
}

/// A test by the name it has in the table: `<file of tests>::<path>`, or `<crate>::<module>::<path>` for a unit test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRef(pub String);

/// A function: its file (from `proto/src` unless it names another crate) and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeRef {
    /// From the root of the workspace.
    pub file: String,
    /// The function, or a type or constant that does it.
    pub name: String,
}

/// One row.
#[derive(Clone, Debug)]
pub struct Row {
    /// Where it stands in the document, from 1.
    pub line: usize,
    /// Its name.
    pub id: String,
    /// The section of the RFC.
    pub section: String,
    /// The rule, in one sentence.
    pub rule: String,
    /// What we do about it.
    pub status: Status,
    /// What the status cell says behind the status.
    pub reason: String,
    /// The tests that show it; the first fails if the code does not do it.
    pub tests: Vec<TestRef>,
    /// What does it.
    pub code: Vec<CodeRef>,
}

impl Status {
    /// As it stands in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Yes => "yes",
            Status::Later => "later",
            Status::No => "no",
            Status::NotApplicable => "n/a",
        }
    }

    fn parse(cell: &str) -> Result<(Self, String)> {
        let (word, reason) = cell.split_once(':').unwrap_or((cell, ""));
        let all = [Status::Yes, Status::Later, Status::No, Status::NotApplicable];
        let status = all.into_iter().find(|status| status.name() == word.trim());
        Ok((status.with_context(|| format!("no status: {word:?}"))?, reason.trim().to_owned()))
    }
}

/// Every row of every table of the document.
pub fn parse(text: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let Some(inside) = line.strip_prefix('|') else { continue };
        let row = inside.trim_end().strip_suffix('|').with_context(|| format!("line {number}: no | at its end"))?;
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        if cells == COLUMNS || cells.iter().all(|cell| cell.chars().all(|c| c == '-')) {
            continue;
        }
        rows.push(parse_row(number, &cells).with_context(|| format!("line {number}"))?);
    }
    if rows.is_empty() {
        bail!("no table");
    }
    Ok(rows)
}

fn parse_row(line: usize, cells: &[&str]) -> Result<Row> {
    let [id, section, rule, status, tests, code] = cells else {
        bail!("{} cells instead of {}", cells.len(), COLUMNS.len());
    };
    if id.is_empty() || section.is_empty() || rule.is_empty() {
        bail!("an empty cell");
    }
    let (status, reason) = Status::parse(status)?;
    Ok(Row {
        line,
        id: (*id).to_owned(),
        section: (*section).to_owned(),
        rule: (*rule).to_owned(),
        status,
        reason,
        tests: quoted(tests)?.into_iter().map(TestRef).collect(),
        code: quoted(code)?.iter().map(|code| CodeRef::parse(code)).collect::<Result<_>>()?,
    })
}

/// The words of a cell; each stands between backticks, and nothing else stands there.
fn quoted(cell: &str) -> Result<Vec<String>> {
    let parts: Vec<&str> = cell.split('`').collect();
    let (outside, inside): (Vec<_>, Vec<_>) = parts.iter().enumerate().partition(|(at, _)| at % 2 == 0);
    if parts.len().is_multiple_of(2) || outside.iter().any(|(_, text)| !text.trim_matches([' ', ',']).is_empty()) {
        bail!("only names between backticks belong into this cell: {cell:?}");
    }
    Ok(inside.into_iter().map(|(_, text)| (*text).to_owned()).collect())
}

impl CodeRef {
    fn parse(text: &str) -> Result<Self> {
        let (file, name) = text.split_once(' ').with_context(|| format!("no file and function: {text:?}"))?;
        let other = ["proto/", "ospfd-lite/", "server-speaker/"].iter().any(|crate_| file.starts_with(crate_));
        let file = if other { file.to_owned() } else { format!("proto/src/{file}") };
        Ok(CodeRef { file, name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "| id | section | rule | status | test | code |\n|---|---|---|---|---|---|\n";

    #[test]
    fn a_row_is_read_with_its_tests_and_its_code() {
        let rows =
            parse(&format!("{HEAD}| a | 13 (5)(a) | Wait. | yes | `x::y`, `x::z` | `flood/receive.rs verdict` |"));
        let rows = rows.unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].line, rows[0].status), (3, Status::Yes));
        assert_eq!(rows[0].tests, [TestRef("x::y".to_owned()), TestRef("x::z".to_owned())]);
        assert_eq!(
            (rows[0].code[0].file.as_str(), rows[0].code[0].name.as_str()),
            ("proto/src/flood/receive.rs", "verdict")
        );
    }

    #[test]
    fn what_is_no_row_is_an_error_that_names_its_line() {
        for row in [
            "| a | 13 | Wait. | yes | `x::y` |",
            "| a | 13 | Wait. | perhaps | `x::y` | `f.rs g` |",
            "| a | 13 | Wait. | yes | x::y | `f.rs g` |",
            "| a | 13 | Wait. | yes | `x::y` | `f.rs` |",
            "|  | 13 | Wait. | yes | `x::y` | `f.rs g` |",
            "| a | 13 | Wait. | yes | `x::y` | `f.rs g`",
        ] {
            let error = parse(&format!("{HEAD}{row}")).unwrap_err();
            assert!(format!("{error:#}").contains("line 3"), "{row}: {error:#}");
        }
        assert!(parse("no table at all").is_err());
    }
}
