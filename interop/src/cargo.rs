//! Cargo, started from a program that Cargo itself runs.

use std::{
    env::{var_os, vars_os},
    process::Command,
};

/// What Cargo tells a program that it runs of its package. A build script that is told of them (`ring`'s asks to be run again
/// when one changes) would take a build from within a test for another one than the same build from a shell, and so everything
/// above it would be built again, each time: three minutes in a release profile.
const OF_THE_PACKAGE: [&str; 5] = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_", "CARGO_CRATE_NAME", "OUT_DIR"];

/// The Cargo that runs us, or the one of the path; in the environment that a shell would give it.
pub fn cargo() -> Command {
    let mut command = Command::new(var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in vars_os() {
        if OF_THE_PACKAGE.iter().any(|of| name.to_string_lossy().starts_with(of)) {
            command.env_remove(name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_not_know_of_the_package_that_starts_it() {
        assert!(var_os("CARGO_MANIFEST_DIR").is_some(), "this test is run by Cargo");
        let command = cargo();
        let removed: Vec<_> = command.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        assert!(removed.iter().any(|name| *name == "CARGO_MANIFEST_DIR"), "{removed:?}");
        assert!(removed.iter().any(|name| *name == "CARGO_PKG_NAME"), "{removed:?}");
        assert!(!removed.iter().any(|name| *name == "CARGO" || *name == "CARGO_HOME"), "{removed:?}");
    }
}
