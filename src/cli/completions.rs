//! `larder completions`: what a shell needs to complete our commands.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::cli::Exit;
use crate::cli::Failure;
use crate::cli::output;

/// Print completions for a shell
///
/// For bash: `larder completions bash > /usr/share/bash-completion/completions/larder`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// For which shell
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "larder", &mut text);
    output::print(&String::from_utf8_lossy(&text))
}
