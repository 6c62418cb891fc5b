//! Verifying: is everything in the tree what its path says, and is everything there that something points at?
//!
//! Knows the faults that a tree can have and what each of them costs a client. Does not know how one is
//! mended. That a server uses the tree meanwhile is no fault: what came or went while it was looked at is
//! passed over.

use std::num::NonZero;
use std::sync::Arc;

use crate::maintenance::Pace;
use crate::maintenance::releases;
use crate::maintenance::tree::Tree;
use crate::store::Sight;
use crate::store::Source;

mod blobs;
mod links;
mod report;

pub use blobs::Tally;
pub use report::BlobFault;
pub use report::Checked;
pub use report::LinkFault;
pub use report::Need;
pub use report::Problem;
pub use report::Report;

use blobs::Blobs;
pub(super) use blobs::chain;
use links::Links;

/// Which releases must be complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Releases {
    /// None is looked at.
    #[default]
    Unchecked,
    /// All that the store names.
    All,
    /// The one with this bundle, version, tag or digest.
    Named(String),
}

/// Verifies the trees of `sources`, which together are one store. Waits for the disk, on threads that step
/// back behind all others; `None` where `pace` was stopped meanwhile.
pub fn verify(
    sources: &[Arc<dyn Source>],
    releases: &Releases,
    threads: NonZero<usize>,
    pace: &Pace,
    tally: &Tally,
) -> Option<Report> {
    let tree = Tree(sources);
    let blobs = blobs::hash_all(tree, threads, pace, tally)?;
    let mut links = Links::default();
    let (names, others) = tree.repositories();
    links.others =
        others.into_iter().map(|(source, it)| (source.origin().display().to_string(), it)).collect();
    for name in names {
        if pace.take(0).is_break() {
            return None;
        }
        links.check(tree, &name, &blobs);
    }
    let mut report = report(blobs, links);
    report.problems.extend(incomplete(tree, releases, &report));
    Some(report)
}

fn report(blobs: Blobs, mut links: Links) -> Report {
    let mut report = Report { checked: links.checked, sparse: links.sparse, ..Report::default() };
    report.checked.blobs = blobs.whole.len() as u64;
    report.checked.bytes = blobs.whole.values().sum();
    for (digest, copies) in blobs.damaged {
        let repositories = links.linked.remove(&digest).unwrap_or_default();
        for (path, fault) in copies {
            report.checked.blobs += 1;
            let repositories = repositories.clone();
            report.problems.push(Problem::Blob { digest, path, fault, repositories });
        }
    }
    report
        .problems
        .extend(links.missing.into_iter().map(|(digest, needs)| Problem::Missing { digest, needs }));
    report.problems.append(&mut links.problems);
    for (origin, sight) in blobs.others.into_iter().chain(links.others) {
        match sight {
            Sight::Stranger(path) => report.strangers.push(format!("{origin}/{path}")),
            Sight::Entry(entry) => report.strangers.push(format!("{origin}/{}", entry.path())),
            Sight::Unlisted(error) => report.problems.push(Problem::Unlisted { why: chain(&error) }),
            Sight::Repository(_) => {}
        }
    }
    report.strangers.sort_unstable();
    report.strangers.dedup();
    report
}

/// The releases that are not whole, damaged parts counted as missing.
fn incomplete(tree: Tree<'_>, wanted: &Releases, report: &Report) -> Vec<Problem> {
    let is_damaged = |digest: &_| report.damages(digest);
    let surveyed = match wanted {
        Releases::Unchecked => return Vec::new(),
        Releases::All | Releases::Named(_) => releases::survey(tree, is_damaged),
    };
    let all = match surveyed {
        Ok(all) => all,
        Err(error) => return vec![Problem::Unlisted { why: chain(&error) }],
    };
    let mut problems = Vec::new();
    if let Releases::Named(name) = wanted
        && !all.iter().any(|it| it.is_called(name))
    {
        problems.push(Problem::NoRelease { name: name.clone() });
    }
    let asked = all.into_iter().filter(|it| match wanted {
        Releases::Named(name) => it.is_called(name),
        Releases::All | Releases::Unchecked => true,
    });
    problems.extend(asked.filter(|it| !it.is_complete()).map(|it| Problem::Incomplete {
        release: it.name(),
        missing: it.missing.iter().map(ToString::to_string).collect(),
    }));
    problems
}

#[cfg(test)]
mod tests;
