//! `lab`: demo, tests and other Debian roots for labs.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use interop::{
    attack,
    bench::{self, cell},
    conformance, counts, daemons, demo,
    dns::responder::Responder,
    fuzz, matrix, root,
    sandbox::{self, Side},
    sim, suite,
};

/// Labs for the OSPFv3 farm speaker.
#[derive(Debug, Parser)]
#[command(name = "lab", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Exit code: a privilege is missing.
const PRIVILEGE: u8 = 3;

#[derive(Debug, Subcommand)]
enum Command {
    /// Play the farm's story under real queries: no root, no peer needed, two minutes.
    Demo(demo::Options),
    /// Run every test of the workspace, with real peers; as root, first install what is missing.
    Test(suite::Options),
    /// Make (or complete) another Debian root whose FRR and BIRD serve as peers.
    Root {
        /// The Debian release.
        #[arg(value_parser = ["trixie"])]
        suite: String,
        /// Where, instead of /var/cache/lab.
        #[arg(long)]
        dir: Option<std::path::PathBuf>,
    },
    /// Simulate networks of engines in virtual time: no kernel, no root, no peer.
    #[command(subcommand)]
    Sim(sim::Simulation),
    /// Hold the conformance table against the code; break the code of drawn rows and see whether their tests notice.
    Conformance(conformance::Options),
    /// Run the fuzz targets of `proto/fuzz`, two at a time; cargo-fuzz is installed if it is missing.
    Fuzz(fuzz::Options),
    /// Attack ospfd-lite, FRR and BIRD as a valid neighbor of theirs, and tell what became of each case.
    Attack(attack::Options),
    /// Flood the same database into ospfd-lite, BIRD and FRR and tell what an LSA costs each in memory.
    Memory(attack::memory::Options),
    /// Measure ospfd-lite, FRR and BIRD beside each other; `--release`.
    Bench(bench::Options),
    /// One cell of the bench, as the bench starts it.
    #[command(hide = true)]
    BenchCell(cell::Which),
    /// Play ospfd-lite and server-speaker beside every version of FRR and BIRD, in every role, scenario by scenario.
    Matrix(matrix::Options),
    /// Play one cell of the matrix.
    #[command(hide = true)]
    MatrixCell(matrix::One),
    /// Count instructions of the engine's parts by callgrind, and compare them with those of the repository.
    Counts(counts::Options),
    /// Tell whether this user may have a sandbox here.
    #[command(hide = true)]
    SandboxCheck,
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
        Command::Demo(options) => {
            if !sandbox::is_inside() {
                // Before minutes of building, and in another process: it can be entered only once.
                let check = std::process::Command::new(std::env::current_exe()?).arg("sandbox-check").status()?;
                if !check.success() {
                    return Ok(ExitCode::from(PRIVILEGE));
                }
                daemons::build()?;
            }
            return Ok(match sandbox::enter()? {
                Side::Outside(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
                Side::Inside if demo::run(&options)? => ExitCode::SUCCESS,
                Side::Inside => ExitCode::FAILURE,
            });
        }
        Command::Test(options) => return suite::run(&options),
        Command::Fuzz(options) => return fuzz::run(&options),
        Command::Root { suite, dir } => println!("{}", root::make(&suite, dir.as_deref())?.display()),
        Command::Sim(simulation) => {
            return Ok(if sim::run(&simulation)? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Conformance(options) => {
            return Ok(if conformance::run(&options)? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Counts(options) => {
            return Ok(if counts::run(&options)? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Attack(options) => return in_sandbox(|| attack::run(&options)),
        Command::Memory(options) => return in_sandbox(|| attack::memory::run(&options).map(|()| true)),
        Command::Bench(options) => {
            daemons::build()?;
            return Ok(if bench::run(&options)? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::BenchCell(which) => {
            return Ok(match sandbox::enter()? {
                Side::Outside(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
                Side::Inside => cell::run(&which).map(|()| ExitCode::SUCCESS)?,
            });
        }
        Command::Matrix(options) => {
            if !options.list {
                daemons::build()?;
            }
            return Ok(if matrix::run(&options)? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::MatrixCell(one) => {
            return Ok(match sandbox::enter()? {
                Side::Outside(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
                Side::Inside if matrix::play(&one)? => ExitCode::SUCCESS,
                Side::Inside => ExitCode::FAILURE,
            });
        }
        Command::SandboxCheck => {
            return Ok(match sandbox::enter()? {
                Side::Outside(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
                Side::Inside => ExitCode::SUCCESS,
            });
        }
        Command::DnsResponder(responder) => responder.run()?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a lab with our daemons in a sandbox.
fn in_sandbox(lab: impl FnOnce() -> Result<bool>) -> Result<ExitCode> {
    if !sandbox::is_inside() {
        daemons::build()?;
    }
    Ok(match sandbox::enter()? {
        Side::Outside(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Side::Inside if lab()? => ExitCode::SUCCESS,
        Side::Inside => ExitCode::FAILURE,
    })
}
