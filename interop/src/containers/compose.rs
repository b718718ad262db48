//! A project: what a compose file describes, built, started and asked by the engine.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::engine::{Engine, output};

/// Containers of one compose file; they go with their handle.
#[derive(Debug)]
pub struct Project<'a> {
    engine: &'a Engine,
    name: String,
    directory: PathBuf,
    variables: BTreeMap<&'static str, String>,
    containers: RefCell<BTreeMap<String, String>>,
}

impl<'a> Project<'a> {
    /// The project of `directory/compose.yaml` with these variables.
    pub fn new(engine: &'a Engine, name: &str, directory: &Path, variables: &[(&'static str, &str)]) -> Self {
        Self {
            engine,
            name: name.into(),
            directory: directory.into(),
            variables: variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
            containers: RefCell::default(),
        }
    }

    fn compose(&self) -> Command {
        let mut command = self.engine.compose();
        command.current_dir(&self.directory).args(["-p", &self.name]).envs(&self.variables);
        command
    }

    /// Builds its images.
    pub fn build(&self) -> Result<()> {
        output(self.compose().arg("build")).map(drop)
    }

    /// Creates and starts its containers, from the images that were built.
    pub fn up(&self) -> Result<()> {
        output(self.compose().args(["up", "-d", "--no-build"])).map(drop)
    }

    /// Names of its services.
    pub fn services(&self) -> Result<Vec<String>> {
        Ok(output(self.compose().args(["config", "--services"]))?.lines().map(Into::into).collect())
    }

    /// The container of a service.
    pub fn container(&self, service: &str) -> Result<String> {
        if let Some(known) = self.containers.borrow().get(service) {
            return Ok(known.clone());
        }
        let id = output(self.compose().args(["ps", "-q", service]))?.trim().to_owned();
        if id.is_empty() {
            bail!("the service {service} has no container");
        }
        self.containers.borrow_mut().insert(service.into(), id.clone());
        Ok(id)
    }

    /// What the engine knows of a container, as a Go template has it.
    pub fn inspect(&self, service: &str, template: &str) -> Result<String> {
        let container = self.container(service)?;
        Ok(output(self.engine.docker().args(["inspect", "--format", template, &container]))?.trim().to_owned())
    }

    /// Has the health of a container checked now, if the engine does not do so by itself.
    pub fn check_health(&self, service: &str) -> Result<()> {
        self.engine.check_health(&self.container(service)?)
    }

    /// `docker VERB CONTAINER`: kill, start, ...
    pub fn act(&self, verb: &str, service: &str) -> Result<()> {
        let container = self.container(service)?;
        output(self.engine.docker().args([verb, &container])).map(drop)
    }

    fn exec_command(&self, service: &str, command: &[&str]) -> Result<Command> {
        let container = self.container(service)?;
        let mut exec = self.engine.docker();
        exec.args(["exec", &container]).args(command);
        Ok(exec)
    }

    /// Runs a program inside a container and returns what it writes.
    pub fn exec(&self, service: &str, command: &[&str]) -> Result<String> {
        output(&mut self.exec_command(service, command)?).with_context(|| format!("inside {service}"))
    }

    /// The same, not waiting for its end.
    pub fn spawn(&self, service: &str, command: &[&str]) -> Result<Child> {
        let mut exec = self.exec_command(service, command)?;
        exec.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("starting docker exec")
    }

    /// Runs a program beside a container, in its network, as an administrator of that network only.
    pub fn administer(&self, service: &str, command: &[&str]) -> Result<String> {
        let network = format!("--network=container:{}", self.container(service)?);
        let image = self.inspect(service, "{{.Config.Image}}")?;
        let mut run = self.engine.docker();
        run.args(["run", "--rm", &network, "--cap-drop=ALL", "--cap-add=NET_ADMIN", &image]).args(command);
        output(&mut run).with_context(|| format!("in the network of {service}"))
    }

    /// The end of every container's log.
    pub fn logs(&self) -> String {
        output(self.compose().args(["logs", "--no-color", "--tail=30"])).unwrap_or_else(|error| format!("{error:#}"))
    }

    /// Removes containers, networks and volumes, and from an engine that stays the images.
    pub fn down(&self) -> Result<()> {
        let remove = || {
            let mut command = self.compose();
            command.args(["down", "--volumes", "--remove-orphans", "--timeout", "2"]);
            if !self.engine.is_own() {
                command.args(["--rmi", "all"]);
            }
            output(&mut command).map(drop)
        };
        match remove() {
            // docker-compose asks for all at once: what was refused because of others goes now.
            Err(_) if self.engine.removes_in_order() => remove(),
            done => done,
        }
    }
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.down() {
            eprintln!("removing {}: {error:#}", self.name);
        }
    }
}
