//! `larder release add` and `larder release remove`.

use std::time::SystemTime;

use indicatif::BinaryBytes;

use crate::cli::Exit;
use crate::cli::Failure;
use crate::cli::content::Content;
use crate::cli::in_use::InUse;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::release::RELEASES;
use crate::cli::surroundings;
use crate::maintenance::documents;
use crate::maintenance::documents::AddReport;
use crate::maintenance::documents::AddRequest;
use crate::maintenance::documents::RemoveReport;
use crate::maintenance::documents::RemoveRequest;
use crate::store::Access;
use crate::store::Store;

#[derive(Debug, clap::Args)]
pub(super) struct Remove {
    /// Its version, bundle, tag or digest
    release: String,
    #[command(flatten)]
    content: Content,
    /// Say what would go and remove nothing
    #[arg(short = 'd', long)]
    dry_run: bool,
    #[command(flatten)]
    in_use: InUse,
    /// How to write the report
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Debug, clap::Args)]
pub(super) struct Add {
    /// Its version, bundle, tag or digest
    release: String,
    #[command(flatten)]
    content: Content,
    /// How to write the report
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Removes a release with all that nothing else needs.
pub(super) fn remove(args: &Remove) -> Result<Exit, Failure> {
    let request = RemoveRequest {
        release: args.release.clone(),
        dry_run: args.dry_run,
        force: args.in_use.force,
        in_use: args.in_use.in_use.clone(),
    };
    let runtime = surroundings::runtime()?;
    let access = if args.dry_run { Access::ReadOnly } else { Access::ReadWrite };
    let remove = async |store: &Store| documents::remove(store, &request, SystemTime::now()).await;
    let report = match args.content.here(&runtime, access, remove)? {
        Some(report) => report,
        None => Some(args.content.ask_to_delete(&runtime, &path(&request))?),
    };
    let report: RemoveReport = report.ok_or_else(|| anyhow::anyhow!("no root can be written"))?;
    match args.output {
        Format::Json => output::print_json(&report),
        Format::Table => output::print(&removed(&report)),
    }
}

/// Brings a release from a medium onto the disk.
pub(super) fn add(args: &Add) -> Result<Exit, Failure> {
    let request = AddRequest { release: args.release.clone() };
    let runtime = surroundings::runtime()?;
    let add = async |store: &Store| documents::add(store, &request).await;
    let report = match args.content.here(&runtime, Access::ReadWrite, add)? {
        Some(report) => report,
        None => Some(args.content.ask(&runtime, RELEASES, &request)?),
    };
    let report: AddReport = report.ok_or_else(|| anyhow::anyhow!("no root can be written"))?;
    match args.output {
        Format::Json => output::print_json(&report)?,
        Format::Table => output::print(&added(&report))?,
    };
    Ok(if report.problems.is_empty() { Exit::Fine } else { Exit::ProblemFound })
}

fn path(request: &RemoveRequest) -> String {
    let encoded = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let mut query: Vec<String> = request.in_use.iter().map(|it| format!("in-use={}", encoded(it))).collect();
    query.extend(request.force.then(|| "force".to_owned()));
    let (name, query) = (encoded(&request.release), query.join("&"));
    if query.is_empty() { format!("{RELEASES}/{name}") } else { format!("{RELEASES}/{name}?{query}") }
}

fn removed(report: &RemoveReport) -> String {
    let mut text = String::new();
    text.extend(report.kept_whole.iter().map(|it| format!("kept whole: {}: {}\n", it.repository, it.why)));
    let RemoveReport { release, tags, links, blobs, seconds, .. } = report;
    let (verb, freed) = if report.dry_run { ("would remove", "to free") } else { ("removed", "freed") };
    text + &format!(
        "{verb} {release}: {tags} tags, {links} links and {blobs} blobs in {seconds:.1} s; {freed}: {}, spared as used \
         since or counted on: {}\n",
        BinaryBytes(report.bytes),
        BinaryBytes(report.spared_bytes),
    )
}

fn added(report: &AddReport) -> String {
    let AddReport { release, blobs, skipped_blobs, seconds, .. } = report;
    let mut text = format!(
        "added {release}: {blobs} blobs, {} in {seconds:.1} s; {skipped_blobs} were there\n",
        BinaryBytes(report.bytes)
    );
    text.extend(report.problems.iter().map(|it| format!("problem: {it}\n")));
    if !report.problems.is_empty() {
        text +=
            "it is not whole, and cannot be seen yet; a server goes on when its medium is attached again\n";
    }
    for peer in &report.peers {
        let said = match (&peer.job, &peer.error) {
            (Some(job), _) => format!("takes it as job {job}"),
            (None, error) => {
                format!("does not take it: {}", error.as_deref().unwrap_or("it did not say why"))
            }
        };
        text += &format!("{} {said}\n", peer.peer);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_removal_is_asked_for() {
        let request = RemoveRequest { release: "sha256:ab".into(), ..RemoveRequest::default() };
        assert_eq!(path(&request), "/v2/_larder/releases/sha256%3Aab");
        let in_use = vec!["4.22.1".to_owned(), "a/b".to_owned()];
        let request = RemoveRequest { in_use, force: true, ..request };
        assert_eq!(path(&request), "/v2/_larder/releases/sha256%3Aab?in-use=4%2E22%2E1&in-use=a%2Fb&force");
    }
}
