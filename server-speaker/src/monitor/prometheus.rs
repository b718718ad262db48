//! The Prometheus text format, version 0.0.4, as far as a number is wanted of it: the sum of the series that a selector
//! such as `dns_queries_total{proto="udp"}` names.
//!
//! Lines of other metrics are not looked at; a line of ours that makes no sense is an error, and so is none at all: a
//! sum over fewer series than there are would look like a counter that went back.

use std::fmt;
use std::str::FromStr;

use super::reading::Unreadable;

/// A metric and labels that its series must have, among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    metric: String,
    labels: Vec<(String, String)>,
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "\"{text}\" is not allowed; a metric such as \"queries_total\" or \"queries_total{{proto=\\\"udp\\\"}}\""
            )
        };
        let (metric, labels, rest) = series(text.trim()).ok_or_else(wrong)?;
        if !rest.trim().is_empty() {
            return Err(wrong());
        }
        Ok(Selector { metric: metric.to_owned(), labels })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.metric)?;
        if self.labels.is_empty() {
            return Ok(());
        }
        let labels: Vec<String> = self.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        write!(f, "{{{}}}", labels.join(","))
    }
}

impl Selector {
    /// The sum of the series that this names in `text`.
    pub fn sum(&self, text: &str) -> Result<f64, Unreadable> {
        let mut sum = None;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if metric_name(line).is_none_or(|(name, _)| name != self.metric) {
                continue;
            }
            let (labels, value) = sample(line).ok_or_else(|| {
                Unreadable(format!("line {}: no sample of {} in the text format", number + 1, self.metric))
            })?;
            if self.matches(&labels) {
                sum = Some(sum.unwrap_or(0.0) + value);
            }
        }
        sum.ok_or_else(|| Unreadable(format!("no {self} is told")))
    }

    /// A label that is not there is the same as an empty one.
    fn matches(&self, labels: &[(String, String)]) -> bool {
        let value = |name: &str| labels.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value.as_str());
        self.labels.iter().all(|(name, wanted)| value(name) == wanted)
    }
}

type Labels = Vec<(String, String)>;

/// `metric{labels} value [timestamp] [# exemplar]`.
fn sample(line: &str) -> Option<(Labels, f64)> {
    let (_, labels, rest) = series(line)?;
    let mut words = rest.split_whitespace();
    let value = words.next()?.parse().ok()?;
    let sense = match words.next() {
        None => true,
        Some("#") => return Some((labels, value)),
        Some(timestamp) => timestamp.parse::<f64>().is_ok(),
    };
    (sense && words.next().is_none_or(|word| word == "#")).then_some((labels, value))
}

/// The metric, its labels, and what follows.
fn series(text: &str) -> Option<(&str, Labels, &str)> {
    let (metric, rest) = metric_name(text)?;
    match rest.trim_start().strip_prefix('{') {
        None => Some((metric, Labels::new(), rest)),
        Some(rest) => labels(rest).map(|(labels, rest)| (metric, labels, rest)),
    }
}

/// The labels, and what follows the closing brace.
fn labels(mut rest: &str) -> Option<(Labels, &str)> {
    let mut labels = Labels::new();
    loop {
        rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, after) = name(rest, |c| c == '_')?;
        let quoted = after.trim_start().strip_prefix('=')?.trim_start().strip_prefix('"')?;
        let (value, after) = label_value(quoted)?;
        if labels.iter().any(|(other, _)| other == name) {
            return None;
        }
        labels.push((name.to_owned(), value));
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.starts_with('}') => {}
            None => return None,
        }
    }
}

/// A value without its escapes, and what follows the closing quote.
fn label_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => value.push(match chars.next()? {
                'n' => '\n',
                c @ ('"' | '\\') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
}

fn metric_name(text: &str) -> Option<(&str, &str)> {
    name(text, |c| c == '_' || c == ':')
}

/// A name of letters, digits and what `also` allows; it begins with no digit.
fn name(text: &str, also: impl Fn(char) -> bool) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || also(c))).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    (!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())).then_some((name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(selector: &str, text: &str) -> Result<f64, String> {
        selector.parse::<Selector>().unwrap().sum(text).map_err(|error| error.0)
    }

    const TEXT: &str = r#"# HELP queries_total Queries, by "transport"
# TYPE queries_total counter
queries_total{proto="udp",family="ip6"} 1027 1395066363000
queries_total { family = "ip4" , proto="udp", } 3
queries_total{proto="tcp",family="ip6"} 5e1
queries_total_created{proto="udp"} 9e9
path{dir="C:\\DIR\\,}= \"x\"\nend",more="1"} 1.25e-3 # {trace="x"} 1
	spaced	  7
rule:sum 8 1395066363.5 # {} 2
odd NaN
endless +Inf
below -4

"#;

    #[test]
    fn all_series_that_match_are_added() {
        assert_eq!(sum("queries_total", TEXT), Ok(1080.0));
        assert_eq!(sum("queries_total{proto=\"udp\"}", TEXT), Ok(1030.0));
        assert_eq!(sum("queries_total{ family = \"ip6\", proto=\"udp\" }", TEXT), Ok(1027.0));
        assert_eq!(sum("queries_total{other=\"\"}", TEXT), Ok(1080.0));
        assert_eq!(sum("queries_total{other=\"1\"}", TEXT).unwrap_err(), "no queries_total{other=\"1\"} is told");
        assert_eq!(sum("queries", TEXT).unwrap_err(), "no queries is told");
    }

    #[test]
    fn escapes_blanks_timestamps_and_exemplars_are_understood() {
        assert_eq!(sum(r#"path{dir="C:\\DIR\\,}= \"x\"\nend"}"#, TEXT), Ok(0.00125));
        assert_eq!(sum("spaced", TEXT), Ok(7.0));
        assert_eq!(sum("rule:sum{}", TEXT), Ok(8.0));
        assert_eq!(sum("below", TEXT), Ok(-4.0));
        assert_eq!(sum("endless", TEXT), Ok(f64::INFINITY));
        assert!(sum("odd", TEXT).unwrap().is_nan());
        assert_eq!(sum("crlf", "crlf 3\r\n"), Ok(3.0));
    }

    #[test]
    fn a_line_of_ours_that_makes_no_sense_is_an_error_and_one_of_others_is_not() {
        for line in [
            "m",
            "m{",
            "m{a}",
            "m{a=1} 1",
            "m{a=\"1} 1",
            "m{a=\"1\" b=\"2\"} 1",
            "m{a=\"1\",a=\"1\"} 1",
            "m x",
            "m 1 x",
            "m 1 2 3",
            "m{a=\"\\t\"} 1",
            "m{1a=\"\"} 1",
            "m{,} 1",
            "m 0x10",
            "m{a=\"1\"}",
            "m 1 #x",
            "m# 1",
        ] {
            let text = format!("n 1\n{line}\nm 5\n");
            assert_eq!(sum("m", &text).unwrap_err(), "line 2: no sample of m in the text format", "{line}");
            assert_eq!(sum("n", &text), Ok(1.0), "{line}");
        }
        assert_eq!(sum("m", "").unwrap_err(), "no m is told");
        assert_eq!(sum("m", "<html>502 Bad Gateway</html>").unwrap_err(), "no m is told");
    }

    #[test]
    fn a_selector_is_one_series_name_and_nothing_else() {
        for text in ["", "1a", "a b", "{a=\"1\"}", "a{b=\"1\"", "a{b=\"1\"} 3", "a{b=~\"1\"}"] {
            assert!(text.parse::<Selector>().unwrap_err().contains("is not allowed; a metric such as"), "{text}");
        }
        assert_eq!(" a{ b = \"x\\\"\" , } ".parse::<Selector>().unwrap().to_string(), "a{b=\"x\\\"\"}");
    }
}
