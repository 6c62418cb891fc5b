//! The measurements: Larder beside nginx, distribution and zot, on the same
//! bytes, in the same run, in turn.
//!
//! `question` lists what is asked, `contender` who is asked, `client` how. A
//! run ends with tables of medians, ratios and their spread.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command that reports to people")]

mod bench;
mod client;
mod contender;
mod data;
mod machine;
mod process;
mod question;
mod report;
mod scale;
mod shelf;
mod slow_medium;
mod statistics;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;
use clap::Parser;
use rustix::process::Resource;
use rustix::process::Rlimit;

use crate::bench::Bench;
use crate::contender::Kind;
use crate::contender::fleet::Fleet;
use crate::machine::Machine;
use crate::question::Question;
use crate::report::Participant;
use crate::report::Report;
use crate::scale::Scale;

/// Where built servers and, unless told otherwise, data and reports lie.
const TARGET: &str = "target/benches";

/// Compares Larder with nginx, distribution and zot on the same bytes
#[derive(Debug, Parser)]
#[command(name = "bench-all")]
struct Arguments {
    /// Ask only these questions; see `--list`
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,

    /// Ask only cases whose names hold one of these, such as `1 GiB`
    #[arg(long, value_name = "TEXT", num_args = 1..)]
    cases: Vec<String>,

    /// Compare only these servers
    #[arg(long, value_name = "SERVER", num_args = 1..)]
    contenders: Vec<Kind>,

    /// How many rounds, in each of which every server has its turn; 5 unless it is a quick run
    #[arg(long, value_name = "N")]
    pairs: Option<usize>,

    /// Small sizes and one pair: shows that everything works; the figures mean nothing
    #[arg(long)]
    quick: bool,

    /// Where the data is made: on the disk that is to be measured
    #[arg(long, value_name = "DIR", default_value = TARGET)]
    work: PathBuf,

    /// Where `tables.md`, `samples.json` and `ratios.svg` are stored
    #[arg(long, value_name = "DIR", default_value = TARGET)]
    output: PathBuf,

    /// List the questions
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        question::ALL.iter().for_each(|question| println!("{}: {}", question.name, question.asks));
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(report) => conclude(&report),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(3)
        }
    }
}

/// Exit code 1 where Larder failed to answer a question; goals are for people to weigh, machines being noisy.
fn conclude(report: &Report) -> ExitCode {
    println!("{}", report.tables());
    let failed = |kind| kind == Kind::Larder;
    let noted = report.notes.iter().any(|note| failed(note.contender));
    let absent = report.participants.iter().any(|it| failed(it.contender) && it.left_out.is_some());
    if noted || absent { ExitCode::from(1) } else { ExitCode::SUCCESS }
}

fn run(arguments: &Arguments) -> Result<Report> {
    let questions = chosen(&arguments.only)?;
    let pairs = arguments.pairs.unwrap_or(if arguments.quick { 1 } else { 5 });
    let scale = if arguments.quick { Scale::quick(pairs) } else { Scale::full(pairs) };
    allow_many_files()?;
    // There before the machine is described: what is not there lies on no disk.
    fs::create_dir_all(&arguments.work).context("making a directory for the data")?;
    let machine = Machine::describe(&arguments.work)?;
    let wanted = if arguments.contenders.is_empty() { &Kind::ALL } else { arguments.contenders.as_slice() };
    let fleet = Fleet::assemble(wanted, &PathBuf::from(TARGET))?;
    let participants = participants(&fleet);
    let mut bench = Bench::prepare(fleet, scale, &arguments.cases, &arguments.work)?;
    for question in &questions {
        eprintln!("== {}: {}", question.name, question.asks);
        bench.begin(question.name);
        (question.run)(&mut bench).with_context(|| format!("asking {}", question.name))?;
    }
    let report = Report {
        machine,
        command: std::env::args().skip(1).fold("cargo bench-all".to_owned(), |all, one| all + " " + &one),
        pairs,
        participants,
        questions: questions.iter().map(|it| (it.name.to_owned(), it.asks.to_owned())).collect(),
        notes: bench.notes,
        samples: bench.samples,
    };
    report.store(&arguments.output)?;
    Ok(report)
}

fn chosen(names: &[String]) -> Result<Vec<Question>> {
    if names.is_empty() {
        return Ok(question::ALL.to_vec());
    }
    let find = |name: &String| {
        let found = question::ALL.iter().find(|question| question.name == name);
        found.copied().with_context(|| format!("there is no question `{name}`; `--list` names them"))
    };
    names.iter().map(find).collect()
}

fn participants(fleet: &Fleet) -> Vec<Participant> {
    let taking_part = fleet.contenders.iter().map(|contender| Participant {
        contender: contender.kind,
        version: Some(contender.version.clone()),
        left_out: None,
    });
    let left_out = fleet.left_out.iter().map(|(kind, why)| {
        eprintln!("!! {kind} is LEFT OUT: {why}");
        Participant { contender: *kind, version: None, left_out: Some(why.clone()) }
    });
    taking_part.chain(left_out).collect()
}

/// A thousand connections need as many files, here and in the servers, which inherit the limit.
fn allow_many_files() -> Result<()> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, raised).context("raising the limit of open files")
}
