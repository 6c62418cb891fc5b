//! `cargo conformance`: everything that Larder promises, shown on a running server.
//!
//! Knows the order of the steps and what a run must end with. Does not know how
//! a step does its work: each is a module of its own, listed in [`step::STEPS`].

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::bench::Bench;
use crate::beside::Beside;
use crate::report::Report;
use crate::server::Kind;
use crate::step::Step;

mod access;
mod bench;
mod beside;
mod checks;
mod client;
mod clients;
mod cluster;
mod collection;
mod copy;
mod crash;
mod credentials;
mod damage;
mod differential;
mod dropin;
mod fixtures;
mod handshake;
mod hostile;
mod http;
mod image;
mod interop;
mod iso;
mod load;
mod machine;
mod network;
mod node;
mod nodes;
mod packages;
mod payload;
mod process;
mod proxy;
mod release;
mod release_commands;
mod report;
mod reproducible;
mod rotation;
mod server;
mod step;
mod store_tree;
mod suite;
mod sync_speed;
mod tls;
mod tools;
mod tree;
mod wire;
mod workspace;

/// Runs the named steps, or all of them.
#[derive(Debug, Parser)]
#[command(name = "cargo conformance")]
struct Cli {
    /// Steps to run, by name or by the beginning of a name; `list` names them
    steps: Vec<String>,

    /// The registry under test; distribution shows what a step finds in another registry
    #[arg(long, value_enum, default_value_t = Kind::Larder)]
    against: Kind,

    /// Run this executable as Larder, in place of the release build of this tree
    #[arg(long, value_name = "PATH")]
    larder: Option<PathBuf>,
}

fn main() -> ExitCode {
    match start(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            report::refuse(&error);
            ExitCode::from(2)
        }
    }
}

fn start(cli: Cli) -> Result<ExitCode> {
    if cli.steps.iter().any(|name| name == "list") {
        report::list(step::STEPS);
        report::list(step::ON_REQUEST);
        return Ok(ExitCode::SUCCESS);
    }
    let steps = step::select(&cli.steps)?;
    let bench = Bench::new(cli.against, cli.larder)?;
    let report = run(&bench, &steps);
    report.close();
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run(bench: &Bench, steps: &[&'static Step]) -> Report {
    let mut report = Report::default();
    let mut beside = Beside::new(steps);
    for step in steps {
        // As soon as a step before has built it.
        if let Some(larder) = bench.larder_here() {
            beside.begin(bench, larder);
        }
        report.record(step, || beside.ended(step).unwrap_or_else(|| step.run(bench)));
    }
    report
}
