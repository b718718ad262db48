//! The client: asks a daemon.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::{Request, Response};

/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer, in bytes.
const ANSWER: u64 = 1 << 30;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers.
    #[error("{path}: {error}; is the daemon running, and may you write to its control socket?")]
    Connect {
        /// The socket.
        path: String,
        /// What the kernel says.
        error: std::io::Error,
    },
    /// The connection broke.
    #[error("{path}: no answer: {error}")]
    Answer {
        /// The socket.
        path: String,
        /// What the kernel says.
        error: std::io::Error,
    },
    /// The answer is not of this protocol.
    #[error("{path}: the answer cannot be read: {error}")]
    Protocol {
        /// The socket.
        path: String,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// The daemon refused.
    #[error("{0}")]
    Refused(String),
}

/// Asks the daemon behind the control socket `path`.
pub fn ask(path: &Path, request: &Request) -> Result<Value, ClientError> {
    let name = || path.display().to_string();
    let stream = UnixStream::connect(path).map_err(|error| ClientError::Connect { path: name(), error })?;
    let line = exchange(stream, request).map_err(|error| ClientError::Answer { path: name(), error })?;
    let unreadable = |error| ClientError::Protocol { path: name(), error };
    match serde_json::from_str(&line).map_err(unreadable)? {
        Response::Ok(text) => serde_json::from_str(text.get()).map_err(unreadable),
        Response::Error(message) => Err(ClientError::Refused(message)),
    }
}

fn exchange(mut stream: UnixStream, request: &Request) -> std::io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream.take(ANSWER)).read_line(&mut answer)?;
    if answer.ends_with('\n') {
        Ok(answer)
    } else {
        Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the connection was closed"))
    }
}
