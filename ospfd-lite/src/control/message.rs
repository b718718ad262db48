//! Requests and responses.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A request: a command and its arguments, as on the command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The command, such as `show` or `drain`.
    pub command: String,
    /// Its arguments, such as `neighbor`.
    #[serde(default)]
    pub args: Vec<String>,
}

impl Request {
    /// A request.
    pub fn new<'a>(command: &str, args: impl IntoIterator<Item = &'a str>) -> Self {
        Request { command: command.to_owned(), args: args.into_iter().map(str::to_owned).collect() }
    }

    /// The command and its arguments, to be matched.
    pub fn words(&self) -> Vec<&str> {
        std::iter::once(self.command.as_str()).chain(self.args.iter().map(String::as_str)).collect()
    }
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Response {
    /// The answer.
    Ok(Value),
    /// What went wrong.
    Error(String),
}

impl Response {
    /// An answer from anything serialisable.
    pub fn of<T: Serialize>(answer: &T) -> Self {
        match serde_json::to_value(answer) {
            Ok(value) => Response::Ok(value),
            Err(error) => Response::Error(format!("the answer cannot be written as JSON: {error}")),
        }
    }
}
