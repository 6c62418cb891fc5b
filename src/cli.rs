//! The command line: one file for each verb, and the only place that prints.
//!
//! Knows arguments, the environment, and people: data goes to standard output,
//! everything said to a person to standard error. Does not know how anything
//! is done.
//!
//! Exit codes: 0 fine, 1 a problem was found, 2 wrong usage, 3 failed.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::ArgMatches;
use clap::CommandFactory;
use clap::FromArgMatches;
use clap::Parser;
use clap::Subcommand;

mod completions;
mod config;
mod content;
mod copy;
mod failure;
mod gc;
mod in_use;
mod log;
mod man;
mod mirror_config;
mod output;
mod preflight;
mod release;
mod root;
mod serve;
mod settings;
mod status;
mod surroundings;
mod sync;
mod table;
mod uninstall;
mod verify;

use failure::Failure;

/// The container registry that a cluster carries with it
#[derive(Debug, Parser)]
#[command(name = "larder", version, disable_version_flag = true, max_term_width = 110)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 fine, 1 a problem was found, 2 wrong usage, 3 failed")]
struct Cli {
    /// Print the version
    #[arg(short = 'v', short_alias = 'V', long, action = clap::ArgAction::Version)]
    version: (),
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Args>),
    Copy(copy::Args),
    Sync(sync::Args),
    Status(status::Args),
    Verify(verify::Args),
    #[command(visible_alias = "garbage-collect")]
    Gc(gc::Args),
    Release(release::Args),
    Root(root::Args),
    MirrorConfig(mirror_config::Args),
    Preflight(Box<preflight::Args>),
    Config(config::Args),
    Uninstall(uninstall::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// Fine.
    Fine,
    /// It did what it should, and found a problem.
    ProblemFound,
}

/// As whom the program was called, by the name of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Persona {
    /// As itself.
    Larder,
    /// As distribution, by a symlink or a copy: `/usr/bin/distribution`, `/registry`.
    Distribution,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let persona = Persona::of(arguments.first().map(Path::new));
    let matches = match Cli::command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return said_by_clap(&error),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return said_by_clap(&error),
    };
    match cli.run(persona, &matches) {
        Ok(Exit::Fine) => ExitCode::SUCCESS,
        Ok(Exit::ProblemFound) => ExitCode::from(1),
        Err(failure) => failure.report(),
    }
}

impl Cli {
    fn run(self, persona: Persona, matches: &ArgMatches) -> Result<Exit, Failure> {
        // The matches of the command itself tell which values came from the environment.
        let matches = matches.subcommand().map_or(matches, |(_, matches)| matches);
        match self.command {
            Command::Serve(args) => serve::run(*args, persona, matches),
            Command::Copy(args) => copy::run(&args),
            Command::Sync(args) => sync::run(args),
            Command::Status(args) => status::run(args),
            Command::Verify(args) => verify::run(&args),
            Command::Gc(args) => gc::run(&args),
            Command::Release(args) => release::run(&args),
            Command::Root(args) => root::run(&args),
            Command::MirrorConfig(args) => mirror_config::run(&args),
            Command::Preflight(args) => preflight::run(&args, matches),
            Command::Uninstall(args) => uninstall::run(&args),
            Command::Config(args) => config::run(args, matches),
            Command::Completions(args) => completions::run(&args),
            Command::Man(args) => man::run(&args),
        }
    }
}

impl Persona {
    fn of(program: Option<&Path>) -> Self {
        match program.and_then(Path::file_name).and_then(|name| name.to_str()) {
            Some("distribution" | "registry") => Self::Distribution,
            _ => Self::Larder,
        }
    }
}

/// Help and the version go to standard output and are fine, wrong usage goes to standard error.
fn said_by_clap(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell if this fails.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn as_whom_it_is_called() {
        for (program, persona) in [
            ("larder", Persona::Larder),
            ("/usr/bin/distribution", Persona::Distribution),
            ("/registry", Persona::Distribution),
            ("registry-tool", Persona::Larder),
            ("", Persona::Larder),
        ] {
            assert_eq!(Persona::of(Some(Path::new(program))), persona, "{program}");
        }
        assert_eq!(Persona::of(None), Persona::Larder);
    }
}
