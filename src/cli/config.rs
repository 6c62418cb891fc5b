//! `larder config`: is a configuration right, and what is in effect.

use clap::ArgMatches;
use clap::Subcommand;
use serde::Serialize;

use crate::cli::Exit;
use crate::cli::Failure;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::settings::Settings;
use crate::cli::table;
use crate::config::Loaded;
use crate::config::Refused;
use crate::config::Row;
use crate::config::Source;

/// Check or show the configuration that `larder serve` would have with the same arguments
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Tell whether the configuration is right; exits with 1 if it is not
    Check(Box<Check>),
    /// Show every setting in effect and where it comes from
    Show(Box<Show>),
}

#[derive(Debug, clap::Args)]
struct Check {
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, clap::Args)]
struct Show {
    #[command(flatten)]
    settings: Settings,
    /// How to write it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(super) fn run(args: Args, matches: &ArgMatches) -> Result<Exit, Failure> {
    let matches = matches.subcommand().map_or(matches, |(_, matches)| matches);
    match args.verb {
        Verb::Check(args) => check(args.settings.load(matches)?),
        Verb::Show(args) => show(args.settings.load(matches)?, args.output),
    }
}

fn check(loaded: Result<Loaded, Refused>) -> Result<Exit, Failure> {
    let (problems, notices) = match loaded {
        Ok(Loaded { config, notices }) => (files::check(&config), notices),
        Err(Refused { problems, notices }) => (problems.iter().map(files::Finding::of).collect(), notices),
    };
    let mut text = String::new();
    for files::Finding { problem, hint } in &problems {
        text += &format!("problem: {problem}\n");
        text.extend(hint.as_ref().map(|hint| format!("   hint: {hint}\n")));
    }
    for notice in notices {
        text += &format!("notice: {notice}\n");
    }
    if problems.is_empty() {
        text += "the configuration is right\n";
    }
    output::print(&text)?;
    Ok(if problems.is_empty() { Exit::Fine } else { Exit::ProblemFound })
}

fn show(loaded: Result<Loaded, Refused>, format: Format) -> Result<Exit, Failure> {
    let config = loaded.map_err(refused)?.config;
    let rows = config.rows();
    match format {
        Format::Json => output::print_json(&rows.into_iter().map(JsonRow::from).collect::<Vec<_>>()),
        Format::Table => {
            let cells = rows.into_iter().map(|Row { name, value, source }| {
                [
                    name.to_owned(),
                    value.unwrap_or_else(|| "-".to_owned()),
                    source.to_string().replace('`', ""),
                ]
            });
            output::print(&table::lay_out(["SETTING", "VALUE", "FROM"], &cells.collect::<Vec<_>>()))
        }
    }
}

/// A configuration that cannot be used, as a failure of whoever wanted to use it.
pub(super) fn refused(refused: Refused) -> Failure {
    let causes = refused.problems.iter().map(ToString::to_string).collect();
    let failure = Failure::because("the configuration cannot be used".to_owned(), causes);
    match refused.problems.iter().find_map(|problem| problem.hint()) {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

#[derive(Serialize)]
struct JsonRow {
    setting: &'static str,
    value: Option<String>,
    from: JsonSource,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum JsonSource {
    Default,
    File { line: u64 },
    Environment(String),
    Flag(String),
}

impl From<Row> for JsonRow {
    fn from(Row { name, value, source }: Row) -> Self {
        let from = match source {
            Source::Default => JsonSource::Default,
            Source::File { line } => JsonSource::File { line },
            Source::Environment(name) => JsonSource::Environment(name),
            Source::Flag(name) => JsonSource::Flag(name),
        };
        Self { setting: name, value, from }
    }
}

mod files;
