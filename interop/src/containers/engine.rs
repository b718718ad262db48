//! A container engine. Where none answers, one of our own is started: its files are in a folder of its own, it listens on a
//! socket there and touches neither packet filters nor forwarding of the host.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::{
    kind::Kind,
    own::{self, Own},
};

/// The longest that an engine may take to answer before it counts as absent.
const ANSWER: &str = "10";

/// A container engine that answers.
#[derive(Debug)]
pub struct Engine {
    kind: Kind,
    own: Option<Own>,
    /// Where it listens, unless it is where `docker` looks.
    socket: Option<OsString>,
    compose: Vec<&'static str>,
}

/// A program by PATH, by the folders that an ordinary user's PATH lacks, and among Podman's helpers.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/local/sbin", "/usr/libexec/podman", "/usr/lib/podman"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

pub(super) fn answers(socket: Option<&OsString>) -> bool {
    let mut command = Command::new("timeout");
    command.args([ANSWER, "docker", "version", "--format", "{{.Server.Version}}"]);
    if let Some(socket) = socket {
        command.env("DOCKER_HOST", socket);
    }
    succeeds(&mut command)
}

pub(super) fn compose_program() -> Option<Vec<&'static str>> {
    let known = [vec!["docker", "compose"], vec!["docker-compose"]];
    known.into_iter().find(|words| {
        words.split_first().is_some_and(|(program, rest)| succeeds(Command::new(program).args(rest).arg("version")))
    })
}

impl Engine {
    /// The engine of this kind that runs, or one of our own with its files in `directory`.
    pub fn get(kind: Kind, directory: &Path) -> Result<Self> {
        let compose = compose_program()
            .with_context(|| format!("neither `docker compose` nor `docker-compose` is here. {}", kind.advice()))?;
        if kind.runs()? {
            return Ok(Self { kind, own: None, socket: kind.named(), compose });
        }
        let own = kind.start(directory)?;
        Ok(Self { kind, own: Some(own), socket: Some(own::socket(directory)), compose })
    }

    /// What it is.
    pub fn version(&self) -> Result<String> {
        let server = "{{(index .Server.Components 0).Name}} {{.Server.Version}}";
        let server = output(self.docker().args(["version", "--format", server]))?;
        let driver = output(self.docker().args(["info", "--format", "{{.Driver}}, cgroup v{{.CgroupVersion}}"]))?;
        let compose = output(self.compose().arg("version"))?;
        let whose = if self.own.is_some() { "our own" } else { "which runs here" };
        let compose = compose.lines().next().unwrap_or_default();
        Ok(format!("{} ({}), {whose}; {compose}", server.trim(), driver.trim()))
    }

    /// Whether it ends with its handle, and what it holds with it.
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Whether a container is only removed when those that are in its network are gone.
    pub fn removes_in_order(&self) -> bool {
        self.kind == Kind::Podman
    }

    /// Has the health of a container checked, if that is left to systemd, which may not be here. What came of it is for
    /// `inspect`.
    pub fn check_health(&self, container: &str) -> Result<()> {
        if self.kind == Kind::Podman {
            let mut podman = Command::new("podman");
            if let Some(socket) = &self.socket {
                podman.arg("--url").arg(socket);
            }
            podman.args(["healthcheck", "run", container]).output().context("running podman healthcheck")?;
        }
        Ok(())
    }

    fn addressed(&self, mut command: Command) -> Command {
        if let Some(socket) = &self.socket {
            command.env("DOCKER_HOST", socket);
        }
        if self.kind == Kind::Podman {
            // Podman builds by itself, and has no BuildKit to be asked for.
            command.env("DOCKER_BUILDKIT", "0");
        }
        command
    }

    /// `docker`, to be completed.
    pub fn docker(&self) -> Command {
        self.addressed(Command::new("docker"))
    }

    /// The program that reads compose files, to be completed.
    pub fn compose(&self) -> Command {
        let mut words = self.compose.iter();
        let mut command = Command::new(words.next().copied().unwrap_or("docker-compose"));
        command.args(words);
        self.addressed(command)
    }

    /// Makes an image of a Debian root, without what its apt has fetched and without `leave_out`.
    pub fn import(&self, root: &Path, leave_out: &[&str], image: &str) -> Result<()> {
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(root);
        for path in ["./var/lib/apt/lists", "./var/cache/apt"].iter().chain(leave_out) {
            tar.arg(format!("--exclude={path}"));
        }
        let mut tar = tar.args(["-c", "."]).stdout(Stdio::piped()).spawn().context("starting tar")?;
        let stream = tar.stdout.take().context("no output of tar")?;
        let imported = output_from(self.docker().args(["import", "-", image]), stream.into());
        let packed = tar.wait()?;
        imported?;
        if !packed.success() {
            bail!("packing {} failed ({packed})", root.display());
        }
        Ok(())
    }
}

/// Runs a command to its end and returns its standard output.
pub(super) fn output(command: &mut Command) -> Result<String> {
    output_from(command, Stdio::null())
}

fn output_from(command: &mut Command, stdin: Stdio) -> Result<String> {
    let done = command.stdin(stdin).output().with_context(|| format!("running {command:?}"))?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    if !done.status.success() {
        let errors = String::from_utf8_lossy(&done.stderr);
        bail!("{command:?} failed ({}): {}{}", done.status, text.trim(), errors.trim());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_their_folders() {
        assert!(find("sh").is_some_and(|file| file.is_absolute()));
        assert_eq!(find("no-such-program-anywhere"), None);
    }

    #[test]
    fn a_failed_command_shows_what_it_said() {
        let error = output(Command::new("sh").args(["-c", "echo seen; echo why >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("seen") && error.contains("why") && error.contains("exit status: 3"), "{error}");
    }
}
