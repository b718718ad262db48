//! A container engine. Where none answers, a Docker daemon of our own is started: its files are in a folder of its own, it
//! listens on a socket there and touches neither packet filters nor forwarding of the host.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use nix::{
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::{Pid, Uid},
};

use crate::{
    process::tail,
    wait::{Probe, wait_for},
};

/// Debian's packages of an engine and of what reads compose files.
const PACKAGES: [&str; 2] = ["docker.io", "docker-compose"];
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest that an engine may take to answer before it counts as absent.
const ANSWER: &str = "10";

/// A container engine that answers.
#[derive(Debug)]
pub struct Engine {
    own: Option<Own>,
    compose: Vec<&'static str>,
}

/// A Docker daemon that we started.
#[derive(Debug)]
struct Own {
    child: std::process::Child,
    directory: PathBuf,
}

/// Debian packages without which there are no containers here.
pub fn missing_packages() -> Vec<&'static str> {
    let [engine, compose] = PACKAGES;
    let mut missing = vec![];
    if !answers(None) && (find("dockerd").is_none() || find("docker").is_none()) {
        missing.push(engine);
    }
    if compose_program().is_none() {
        missing.push(compose);
    }
    missing
}

/// A program by PATH, and by the folders that an ordinary user's PATH lacks.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = [PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")];
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

fn answers(socket: Option<&OsString>) -> bool {
    let mut command = Command::new("timeout");
    command.args([ANSWER, "docker", "version", "--format", "{{.Server.Version}}"]);
    if let Some(socket) = socket {
        command.env("DOCKER_HOST", socket);
    }
    succeeds(&mut command)
}

fn compose_program() -> Option<Vec<&'static str>> {
    let known = [vec!["docker", "compose"], vec!["docker-compose"]];
    known.into_iter().find(|words| {
        words.split_first().is_some_and(|(program, rest)| succeeds(Command::new(program).args(rest).arg("version")))
    })
}

impl Engine {
    /// The engine that answers, or one of our own with its files in `directory`.
    pub fn get(directory: &Path) -> Result<Self> {
        let advice = format!(
            "`cargo lab test` as root installs them; by hand: apt-get install {} (or name the socket of an engine that \
             runs in DOCKER_HOST)",
            PACKAGES.join(" ")
        );
        let compose = compose_program()
            .with_context(|| format!("neither `docker compose` nor `docker-compose` is here. {advice}"))?;
        if answers(None) {
            return Ok(Self { own: None, compose });
        }
        let Some(program) = find("dockerd") else {
            bail!("no container engine answers, and no dockerd is here. {advice}")
        };
        if !Uid::effective().is_root() {
            bail!(
                "no container engine answers to this user, and starting dockerd needs root: run this as root, or start \
                 an engine and join its group (Debian: adduser $USER docker)"
            );
        }
        Ok(Self { own: Some(Own::start(&program, directory)?), compose })
    }

    /// What it is.
    pub fn version(&self) -> Result<String> {
        let server = output(self.docker().args(["version", "--format", "{{.Server.Version}}"]))?;
        let driver = output(self.docker().args(["info", "--format", "{{.Driver}}, cgroup v{{.CgroupVersion}}"]))?;
        let compose = output(self.compose().arg("version"))?;
        let whose = if self.own.is_some() { "our own daemon" } else { "the daemon that runs here" };
        let compose = compose.lines().next().unwrap_or_default();
        Ok(format!("engine {} ({}), {whose}; {compose}", server.trim(), driver.trim()))
    }

    /// Whether it ends with its handle, and what it holds with it.
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    fn addressed(&self, mut command: Command) -> Command {
        if let Some(own) = &self.own {
            command.env("DOCKER_HOST", own.socket());
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

impl Own {
    fn start(program: &Path, directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let log = fs::File::create(directory.join("dockerd.log"))?;
        // The daemon goes in order, and its containers with it, even if this process is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]).arg(program);
        command.arg("--data-root").arg(directory.join("data")).arg("--exec-root").arg(directory.join("exec"));
        command.arg("--pidfile").arg(directory.join("docker.pid"));
        command.args([
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-masq=false",
            "--ip-forward=false",
        ]);
        // A process group of its own: the terminal's Ctrl-C is for us, who then end it in order.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut own = Self {
            child: {
                let mut host = OsString::from("--host=");
                host.push(socket(directory));
                command.arg(host).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
                command.spawn().with_context(|| format!("starting {}", program.display()))?
            },
            directory: directory.to_owned(),
        };
        wait_for("dockerd to answer", PATIENCE, || {
            if let Some(status) = own.child.try_wait()? {
                return Ok(Probe::Ready(Err(anyhow!(
                    "dockerd ended ({status}); it needs cgroups, overlay file systems and bridges of the kernel. The end \
                     of its log:\n{}",
                    own.tail()
                ))));
            }
            Ok(Probe::when(answers(Some(&own.socket())), Ok(()), own.tail()))
        })??;
        Ok(own)
    }

    fn socket(&self) -> OsString {
        socket(&self.directory)
    }

    fn tail(&self) -> String {
        tail(&self.directory.join("dockerd.log"), 15)
    }

    /// SIGTERM, its end, and the mounts that it leaves.
    fn stop(&mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        let ended = wait_for("dockerd to end", PATIENCE, || {
            Ok(self.child.try_wait()?.map_or_else(|| Probe::NotYet("it runs".into()), Probe::Ready))
        });
        if ended.is_err() {
            self.child.kill()?;
            self.child.wait()?;
        }
        for mount in fs::read_to_string("/proc/self/mounts")?.lines().rev() {
            let target = mount.split(' ').nth(1).unwrap_or_default();
            if Path::new(target).starts_with(&self.directory) {
                umount2(target, MntFlags::MNT_DETACH).with_context(|| format!("unmounting {target}"))?;
            }
        }
        ended.map(drop).with_context(|| format!("the end of its log:\n{}", self.tail()))
    }
}

fn socket(directory: &Path) -> OsString {
    let mut socket = OsString::from("unix://");
    socket.push(directory.join("docker.sock"));
    socket
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("stopping our dockerd: {error:#}");
        }
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
