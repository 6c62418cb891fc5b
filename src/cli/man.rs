//! `larder man`: the manual pages.

use clap::CommandFactory;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::cli::Exit;
use crate::cli::Failure;
use crate::cli::output;

/// Print a manual page
///
/// To read one: `larder man serve | man -l -`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Of which command, such as `serve` or `config show`; of all of them together if none is named
    command: Vec<String>,
}

pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let mut root = Cli::command();
    root.build();
    let mut command = &root;
    for name in &args.command {
        command = command.find_subcommand(name).ok_or_else(|| {
            Failure::usage("there is no such command").with_hint("`larder help` lists them")
        })?;
    }
    let name = std::iter::once("larder").chain(args.command.iter().map(String::as_str));
    let title = name.collect::<Vec<_>>().join("-");
    let mut page = Vec::new();
    // clap_mangen wants a name that lives for ever only of commands that are made at run time.
    Man::new(command.clone()).title(title).render(&mut page)?;
    output::print(&String::from_utf8_lossy(&page))
}
