//! `lab`: demo, tests and other Debian roots for labs.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use interop::{dns::responder::Responder, root};

/// Labs for the OSPFv3 farm speaker.
#[derive(Debug, Parser)]
#[command(name = "lab", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make (or complete) another Debian root whose FRR and BIRD serve as peers.
    Root {
        /// The Debian release.
        #[arg(value_parser = ["trixie"])]
        suite: String,
        /// Where, instead of /var/cache/lab.
        #[arg(long)]
        dir: Option<std::path::PathBuf>,
    },
    /// Serve DNS with an exact capacity (used inside labs).
    DnsResponder(Responder),
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments.command {
        Command::Root { suite, dir } => println!("{}", root::make(&suite, dir.as_deref())?.display()),
        Command::DnsResponder(responder) => responder.run()?,
    }
    Ok(ExitCode::SUCCESS)
}
