//! `larder root`: media that come and go while the server on this host runs.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;

use crate::cli::Exit;
use crate::cli::Failure;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::surroundings;
use crate::cli::table;
use crate::maintenance::documents::AttachRequest;
use crate::maintenance::documents::AttachedRelease;
use crate::maintenance::documents::AttachedRoot;
use crate::maintenance::documents::AttachedRoots;
use crate::peer::Local;

/// Attach and detach media, such as an ISO with a release, while the server runs
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Have the server look in a directory, an ISO image or a device after everything else; prints what it
    /// holds
    Attach(Change),
    /// Have the server look there no longer; what is being sent from there is sent to the end
    Detach(Change),
    /// List what is attached; exits with 1 if something of it cannot be read
    List(List),
}

#[derive(Debug, clap::Args)]
struct Change {
    /// A directory, an image's file or the first part of a split one, or a block device such as `/dev/sr0`
    path: PathBuf,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, clap::Args)]
struct List {
    /// The server's administration socket
    #[arg(long, value_name = "PATH", env = "LARDER_ADMIN_SOCKET", hide_env_values = true)]
    admin_socket: Option<PathBuf>,
    /// How to write it
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Where the server answers.
const PATH: &str = "/v2/_larder/roots";

pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let runtime = surroundings::runtime()?;
    runtime.block_on(async {
        match &args.verb {
            Verb::Attach(change) => attach(&change.path, &change.list).await,
            Verb::Detach(change) => detach(&change.path, &change.list).await,
            Verb::List(list) => show(&server(list)?.get(PATH).await?, list.output),
        }
    })
}

async fn attach(path: &Path, list: &List) -> Result<Exit, Failure> {
    // The server does not share this directory, and links would be followed at another time.
    let path = std::path::absolute(path).with_context(|| format!("cannot find `{}`", path.display()))?;
    let request = serde_json::to_vec(&AttachRequest { path })?;
    let answer = server(list)?.post(PATH, request).await?;
    let attached: AttachedRoot =
        serde_json::from_slice(&answer).context("cannot read the server's answer")?;
    print(&AttachedRoots { roots: vec![attached] }, list.output)
}

async fn detach(path: &Path, list: &List) -> Result<Exit, Failure> {
    let path = std::path::absolute(path).with_context(|| format!("cannot find `{}`", path.display()))?;
    let name = path.to_str().ok_or_else(|| Failure::usage("the path is not UTF-8"))?;
    let query = utf8_percent_encode(name, NON_ALPHANUMERIC);
    server(list)?.delete(&format!("{PATH}?path={query}")).await?;
    Ok(Exit::Fine)
}

fn server(list: &List) -> Result<Local, Failure> {
    surroundings::admin_socket(list.admin_socket.clone()).map(Local::new)
}

fn show(answer: &[u8], format: Format) -> Result<Exit, Failure> {
    let list: AttachedRoots = serde_json::from_slice(answer).context("cannot read the server's answer")?;
    print(&list, format)
}

fn print(list: &AttachedRoots, format: Format) -> Result<Exit, Failure> {
    match format {
        Format::Json => output::print_json(list)?,
        Format::Table => output::print(&lay_out(&list.roots))?,
    };
    let is_fine = list.roots.iter().all(|it| it.problem.is_none());
    Ok(if is_fine { Exit::Fine } else { Exit::ProblemFound })
}

fn lay_out(roots: &[AttachedRoot]) -> String {
    let rows: Vec<_> = roots.iter().map(|it| [it.path.display().to_string(), word(it)]).collect();
    table::lay_out(["ROOT", "HOLDS"], &rows)
}

/// What an attached root is good for.
pub(super) fn word(root: &AttachedRoot) -> String {
    let name = |it: &AttachedRelease| match it.complete {
        true => it.name().to_owned(),
        false => format!("{} (incomplete)", it.name()),
    };
    match (&root.problem, root.releases.is_empty()) {
        (Some(problem), _) => format!("cannot be read: {problem}"),
        (None, true) => "no release".to_owned(),
        (None, false) => root.releases.iter().map(name).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_what_is_attached() {
        let release = |bundle: Option<&str>, complete| AttachedRelease {
            digest: "sha256:ab".into(),
            version: Some("4.19.1".into()),
            bundle: bundle.map(str::to_owned),
            complete,
        };
        let root = |path: &str, releases: Vec<AttachedRelease>, problem: Option<&str>| AttachedRoot {
            path: path.into(),
            releases,
            problem: problem.map(str::to_owned),
        };
        let roots = [
            root("/dev/sr0", vec![release(Some("ocp-release-bundle-4.19.1-x86_64"), true)], None),
            root("/dev/sr1", vec![release(None, false)], None),
            root("/mnt", Vec::new(), None),
            root("/x.iso", Vec::new(), Some("it is gone")),
        ];
        assert_eq!(
            lay_out(&roots),
            "\
ROOT      HOLDS
/dev/sr0  ocp-release-bundle-4.19.1-x86_64
/dev/sr1  4.19.1 (incomplete)
/mnt      no release
/x.iso    cannot be read: it is gone
"
        );
    }
}
