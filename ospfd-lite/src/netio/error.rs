//! Errors that end a daemon, each with its exit code.

use std::io;
use std::path::PathBuf;

/// Exit code of a runtime error.
pub const EXIT_RUNTIME: u8 = 1;
/// Exit code of a configuration error.
pub const EXIT_CONFIG: u8 = 2;
/// Exit code of a missing privilege.
pub const EXIT_PRIVILEGE: u8 = 3;

/// Why a daemon cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A capability is missing.
    #[error(
        "{what}: not permitted; it needs {capability}. Give it to the program:\n  \
         setcap cap_net_raw,cap_net_admin+ep {}\nor, in its systemd unit:\n  \
         AmbientCapabilities=CAP_NET_RAW CAP_NET_ADMIN", program().display()
    )]
    Privilege {
        /// What was tried.
        what: String,
        /// What is missing.
        capability: &'static str,
    },
    /// Another daemon answers on the control socket.
    #[error("{}: another daemon answers on this control socket; stop it, or name another with --control", path.display())]
    ControlInUse {
        /// The socket.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("{what}: {error}")]
    Io {
        /// What was tried, on what.
        what: String,
        /// What the kernel says.
        error: io::Error,
    },
}

impl Error {
    /// An error of a system call; `capability` is what the call needs.
    pub fn io(what: impl Into<String>, capability: &'static str) -> impl FnOnce(io::Error) -> Error {
        let what = what.into();
        move |error| match error.raw_os_error() {
            Some(nix::libc::EPERM | nix::libc::EACCES) if !capability.is_empty() => {
                Error::Privilege { what, capability }
            }
            _ => Error::Io { what, error },
        }
    }

    /// The exit code that tells this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Privilege { .. } => EXIT_PRIVILEGE,
            Error::ControlInUse { .. } | Error::Io { .. } => EXIT_RUNTIME,
        }
    }
}

fn program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("PROGRAM"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_privilege_says_which_and_how_to_give_it() {
        let error = Error::io("opening a raw socket", "CAP_NET_RAW")(io::Error::from_raw_os_error(nix::libc::EPERM));
        let text = error.to_string();
        assert!(text.contains("it needs CAP_NET_RAW") && text.contains("setcap cap_net_raw"), "{text}");
        assert!(text.contains("AmbientCapabilities=CAP_NET_RAW CAP_NET_ADMIN"), "{text}");
        assert_eq!(error.exit_code(), EXIT_PRIVILEGE);
        let other = Error::io("x", "CAP_NET_RAW")(io::Error::from_raw_os_error(nix::libc::ENODEV));
        assert_eq!(other.exit_code(), EXIT_RUNTIME);
    }
}
