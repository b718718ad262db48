//! Our two daemons: built with the profile of the running binary, before any sandbox is entered, and found beside it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cargo::cargo;

/// The packages, each with a binary of the same name.
pub const DAEMONS: [&str; 2] = ["ospfd-lite", "server-speaker"];

/// `target/<profile>` of the running binary; tests run from its folder `deps`.
fn output_directory() -> Result<PathBuf> {
    let executable = std::env::current_exe().context("finding the running binary")?;
    let directory = executable.parent().context("the running binary has no folder")?;
    Ok(if directory.ends_with("deps") { directory.parent().unwrap_or(directory) } else { directory }.to_owned())
}

/// Builds the daemons into the folder of the running binary. Without the sources (an installed `lab`) they must be there.
pub fn build() -> Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    if !workspace.join("Cargo.toml").is_file() {
        return DAEMONS.iter().try_for_each(|daemon| find(daemon).map(drop));
    }
    let directory = output_directory()?;
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let target = directory.parent().context("the running binary is in no target folder")?;
    let mut command = cargo();
    command.current_dir(&workspace).args(["build", "-q", "--profile", profile, "--target-dir"]).arg(target);
    for daemon in DAEMONS {
        command.args(["-p", daemon]);
    }
    let status = command.status().with_context(|| format!("starting {command:?}"))?;
    if !status.success() {
        bail!("building {DAEMONS:?} failed ({status})");
    }
    Ok(())
}

/// The path of a daemon's binary.
pub fn find(daemon: &str) -> Result<PathBuf> {
    let path = output_directory()?.join(daemon);
    if !path.is_file() {
        bail!("no {}: build it with `cargo build -p {daemon}` and the profile of this binary", path.display());
    }
    Ok(path)
}
