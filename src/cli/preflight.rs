//! `larder preflight`: is this node fit to serve, and to take what is to come?

use std::path::PathBuf;

use clap::ArgMatches;
use serde::Serialize;

use crate::cli::Exit;
use crate::cli::Failure;
use crate::cli::config::refused;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::settings::Settings;
use crate::cli::surroundings;
use crate::cli::table;

mod credentials;
mod medium;
mod port;
mod space;

/// Tell whether this node is fit to serve: port, space, medium, certificate, credentials
///
/// Takes the arguments of `serve`. One line a check, a hint for each that fails; exits with 1 if one does.
/// Changes nothing.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    settings: Settings,
    /// What is to be copied or served: an ISO image, a block device, the first part of a split image, or a
    /// directory
    #[arg(long, value_name = "SOURCE", help_heading = "What is to come")]
    medium: Option<PathBuf>,
    /// The release that is to be taken (its version, bundle, tag or digest)
    #[arg(long, value_name = "RELEASE", help_heading = "What is to come")]
    release: Option<String>,
    /// The label that the image must have [default: `agentdata`, or `ocp-release-bundle-*`]
    #[arg(long, value_name = "LABEL", requires = "medium", help_heading = "What is to come")]
    label: Option<String>,
    /// How to write it
    #[arg(long, value_enum, default_value_t = Format::Table, help_heading = "What is to come")]
    output: Format,
}

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Line {
    check: &'static str,
    verdict: Verdict,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// As it should be.
    Fine,
    /// Not what is recommended.
    Advice,
    /// It will not work.
    Problem,
}

impl Line {
    fn fine(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Fine, message: message.into(), hint: None }
    }

    fn advice(check: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Advice, message: message.into(), hint: Some(hint.into()) }
    }

    fn problem(check: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Problem, message: message.into(), hint: Some(hint.into()) }
    }

    fn cells(&self) -> [String; 3] {
        let word = match self.verdict {
            Verdict::Fine => "fine",
            Verdict::Advice => "advice",
            Verdict::Problem => "PROBLEM",
        };
        let hint = self.hint.as_ref().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
        [self.check.to_owned(), word.to_owned(), format!("{}{hint}", self.message)]
    }
}

pub(super) fn run(args: &Args, matches: &ArgMatches) -> Result<Exit, Failure> {
    let config = args.settings.load(matches)?.map_err(refused)?.config;
    let runtime = surroundings::runtime()?;
    let mut lines = vec![runtime.block_on(port::check(&config))];
    lines.extend(credentials::certificate(&config));
    lines.extend(credentials::check(&config));
    let medium = args.medium.as_deref().map(|path| medium::Examined::open(path, args));
    match medium {
        None => lines.extend(space::check(&config, args, None)),
        Some(Err(line)) => lines.push(line),
        Some(Ok(examined)) => {
            lines.extend(examined.lines.iter().cloned());
            lines.extend(space::check(&config, args, Some(&examined.sources)));
        }
    }
    match args.output {
        Format::Json => output::print_json(&lines)?,
        Format::Table => output::print(&table::lay_out(
            ["CHECK", "VERDICT", "WHAT"],
            &lines.iter().map(Line::cells).collect::<Vec<_>>(),
        ))?,
    };
    let has_problem = lines.iter().any(|it| it.verdict == Verdict::Problem);
    Ok(if has_problem { Exit::ProblemFound } else { Exit::Fine })
}
