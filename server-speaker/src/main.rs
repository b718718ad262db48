//! The server-speaker daemon and its commands.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use ospfd_lite::config::Source;
use ospfd_lite::control::{Request, client};
use ospfd_lite::netio::{EXIT_CONFIG, EXIT_RUNTIME};
use server_speaker::app::App;
use server_speaker::config::{self, ServerConfig};
use server_speaker::show;
use tracing_subscriber::EnvFilter;

/// Advertises this server's IPv6 anycast services in OSPFv3 with a cost that follows their load.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the daemon.
    Run {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The control socket, in place of the configured one.
        #[arg(long, value_name = "SOCKET")]
        control: Option<PathBuf>,
        /// The directory of what survives a restart, in place of the configured one.
        #[arg(long, value_name = "DIR")]
        state_dir: Option<PathBuf>,
    },
    /// Checks a configuration file.
    Check {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Shows the state of the daemon.
    Show {
        /// Of what.
        subject: Subject,
        #[command(flatten)]
        ask: Ask,
    },
    /// Withdraws a service as soon as enough others serve; it stays withdrawn over a restart.
    Drain {
        /// The service.
        name: String,
        #[command(flatten)]
        ask: Ask,
    },
    /// Ends a drain.
    Undrain {
        /// The service.
        name: String,
        #[command(flatten)]
        ask: Ask,
    },
    /// Pins the cost of a service by hand until `auto` (or a restart) gives it back to the law.
    Cost {
        /// The service.
        name: String,
        /// 1..=65535, or `auto`.
        cost: String,
        #[command(flatten)]
        ask: Ask,
    },
    /// Explains why a service's cost is what it is.
    Explain {
        /// The service.
        name: String,
        #[command(flatten)]
        ask: Ask,
    },
}

#[derive(Debug, clap::Args)]
struct Ask {
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    /// The control socket of the daemon.
    #[arg(long, value_name = "SOCKET", default_value = config::CONTROL)]
    control: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Subject {
    /// The services of this server.
    Service,
    /// All servers of the same prefixes.
    Farm,
    /// OSPFv3 neighbors.
    Neighbor,
    /// OSPFv3 interfaces.
    Interface,
    /// The link state database.
    Database,
    /// The routes that OSPFv3 computes (none is installed).
    Route,
    /// What was counted.
    Counters,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run { config, control, state_dir } => return run(&config, (control, state_dir)),
        Command::Check { config } => return check(&config),
        Command::Show { subject, ask } => {
            let name = subject.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            answer(&ask, Request::new("show", [name.as_str()]), &name)
        }
        Command::Drain { name, ask } => answer(&ask, Request::new("drain", [name.as_str()]), "drain"),
        Command::Undrain { name, ask } => answer(&ask, Request::new("undrain", [name.as_str()]), "undrain"),
        Command::Cost { name, cost, ask } => answer(&ask, Request::new("cost", [name.as_str(), cost.as_str()]), "cost"),
        Command::Explain { name, ask } => answer(&ask, Request::new("explain", [name.as_str()]), "explain"),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}"), EXIT_RUNTIME),
    }
}

fn answer(ask: &Ask, request: Request, subject: &str) -> anyhow::Result<()> {
    let answer = client::ask(&ask.control, &request)?;
    let text = match answer.as_str() {
        Some(text) if !ask.json => text.to_owned(),
        _ => show::render(subject, answer, ask.json).context("the answer is of another version")?,
    };
    print_line(&text)
}

/// A reader that has seen enough (such as `head`) is no error.
fn print_line(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    match writeln!(std::io::stdout(), "{}", text.trim_end()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("standard output"),
        _ => Ok(()),
    }
}

fn check(file: &Path) -> ExitCode {
    match Source::read(file).and_then(|source| ServerConfig::load(&source)) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string(), EXIT_CONFIG),
    }
}

fn run(file: &Path, (control, state_dir): (Option<PathBuf>, Option<PathBuf>)) -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    let mut config = match Source::read(file).and_then(|source| ServerConfig::load(&source)) {
        Ok(config) => config,
        Err(error) => return fail(&error.to_string(), EXIT_CONFIG),
    };
    config.control = control.unwrap_or(config.control);
    config.state_dir = state_dir.unwrap_or(config.state_dir);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("starting the runtime: {error}"), EXIT_RUNTIME),
    };
    let result = runtime.block_on(async {
        let app = App::start(config)?;
        // Without a service manager there is nobody to tell.
        if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
            tracing::debug!("telling the service manager: {error}");
        }
        app.run().await
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string(), error.exit_code()),
    }
}

fn fail(message: &str, code: u8) -> ExitCode {
    use std::io::Write;
    // Nothing is left to do if standard error is closed.
    let _ = writeln!(std::io::stderr(), "server-speaker: {message}");
    ExitCode::from(code)
}
