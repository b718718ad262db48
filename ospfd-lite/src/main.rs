//! `ospfd-lite`: a small OSPFv3 router.

mod app;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use ospfd_lite::config::{RouterFile, Source};
use ospfd_lite::control::{Request, client, render};
use ospfd_lite::netio::{EXIT_CONFIG, EXIT_RUNTIME, Error, free_at_once};
use tracing_subscriber::EnvFilter;

use crate::app::AppOptions;

const CONTROL: &str = "/run/ospfd-lite/control.sock";

#[derive(Parser)]
#[command(version, about = "A small OSPFv3 router (RFC 5340)")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the router in the foreground.
    Run {
        /// The configuration file (docs/configuration.md).
        #[arg(long)]
        config: PathBuf,
        /// The control socket.
        #[arg(long)]
        control: Option<PathBuf>,
        /// Where state is kept over a restart; this version keeps none there and learns it from its neighbors.
        #[arg(long)]
        state_dir: Option<PathBuf>,
        /// What to log, such as `info` or `ospfd_lite=debug`; else RUST_LOG, else `info`.
        #[arg(long)]
        log: Option<String>,
    },
    /// Check a configuration file.
    Check {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
    },
    /// Show the state of a running router.
    Show {
        /// What to show.
        subject: Subject,
        /// With `route`: one prefix and the word `explain`, for the LSAs, the path and the weights behind it. With `farm`: one
        /// prefix.
        #[arg(num_args = 0..=2, value_names = ["PREFIX", "explain"])]
        of: Vec<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// The control socket.
        #[arg(long, default_value = CONTROL)]
        control: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Subject {
    Neighbor,
    Interface,
    Database,
    Route,
    Farm,
    Counters,
}

impl Subject {
    fn word(self) -> &'static str {
        match self {
            Subject::Neighbor => "neighbor",
            Subject::Interface => "interface",
            Subject::Database => "database",
            Subject::Route => "route",
            Subject::Farm => "farm",
            Subject::Counters => "counters",
        }
    }
}

fn main() -> ExitCode {
    free_at_once();
    match command(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ospfd-lite: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn command(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run { config, control, state_dir: _, log } => {
            let source = Source::read(&config)?;
            let (file, config) = RouterFile::load(&source)?;
            let log = log.or_else(|| std::env::var("RUST_LOG").ok()).unwrap_or_else(|| "info".to_owned());
            let filter = EnvFilter::try_new(&log).with_context(|| format!("--log {log}"))?;
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
            let control = control.or_else(|| file.control.clone()).unwrap_or_else(|| PathBuf::from(CONTROL));
            let options = AppOptions {
                config,
                control,
                metrics: file.metrics.map(|address| address.0),
                fib: file.fib.options(),
                weights: file.fib.weights,
                sysctls: file.fib.sysctls(),
                probe: file.probe.map(|probe| probe.interval.get()),
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(app::run(options))?)
        }
        Command::Check { config } => {
            let source = Source::read(&config)?;
            RouterFile::load(&source)?;
            println!("{}: no errors", config.display());
            Ok(())
        }
        Command::Show { subject, of, json, control } => {
            let words = std::iter::once(subject.word()).chain(of.iter().map(String::as_str));
            let answer = client::ask(&control, &Request::new("show", words))?;
            let rendered = match subject {
                Subject::Route if !of.is_empty() => "text",
                _ => subject.word(),
            };
            println!("{}", render::subject(rendered, answer, json)?);
            Ok(())
        }
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<ospfd_lite::config::ConfigError>() {
        EXIT_CONFIG
    } else {
        error.downcast_ref::<Error>().map_or(EXIT_RUNTIME, Error::exit_code)
    }
}
