//! Finding a remedy for each problem.
//!
//! Knows what evidence there is and how good it is. Changes nothing: a dry run ends here.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use storage_layout::Algorithm;
use storage_layout::Digest;
use storage_layout::Dir;
use storage_layout::Entry;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use crate::maintenance::Pace;
use crate::maintenance::repair::Donors;
use crate::maintenance::tree::Tree;
use crate::maintenance::verify::LinkFault;
use crate::maintenance::verify::Need;
use crate::maintenance::verify::Problem;
use crate::store::Source;

/// What would mend a problem.
#[derive(Clone, Debug)]
pub enum Remedy {
    /// A donor has the blob whole.
    Fetch {
        /// Which blob.
        digest: Digest,
        /// Which donor has it.
        from: PathBuf,
        /// All donors that may be asked.
        donors: Donors,
        /// Links that are to lead to it.
        links: Vec<Entry>,
    },
    /// A link is written anew.
    Link {
        /// Which link.
        link: Entry,
        /// What it leads to.
        to: Digest,
    },
    /// A tag is written anew.
    Tag {
        /// The repository.
        name: RepositoryName,
        /// The tag.
        tag: Tag,
        /// What it points at.
        to: Digest,
        /// Who says so.
        by: Witness,
    },
    /// A registry says that it has it.
    Bring {
        /// A repository of the registry's that has it.
        name: RepositoryName,
        /// Which manifest or blob.
        digest: Digest,
        /// Which registry.
        from: String,
        /// Links that are to lead to it.
        links: Vec<Entry>,
    },
    /// Nobody has it whole: what is damaged is set aside.
    SetAside {
        /// Which file.
        entry: Entry,
    },
    /// There is none.
    None {
        /// Why.
        why: String,
    },
}

/// Who says what a tag points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Witness {
    /// Another root or registry that has the tag.
    Other(String),
    /// The tag's own history, which leaves one choice.
    History,
}

/// A remedy for each problem of a store whose roots are `sources` and whose writable root is `written`. Waits
/// for the disk; `None` where `pace` was stopped meanwhile.
pub fn plan(
    problems: Vec<Problem>,
    sources: &[Arc<dyn Source>],
    written: &dyn Source,
    donors: &Donors,
    pace: &Pace,
) -> Option<Vec<(Problem, Remedy)>> {
    // The store's other roots may have whole what one of them has damaged.
    let all: Donors = Arc::new(donors.iter().chain(sources).cloned().collect());
    let search = Search { tree: Tree(sources), written, donors, all, pace };
    let mut remedies = Vec::with_capacity(problems.len());
    for problem in problems {
        pace.take(0).is_continue().then_some(())?;
        let remedy = search.remedy(&problem);
        remedies.push((problem, remedy));
    }
    Some(remedies)
}

struct Search<'a> {
    tree: Tree<'a>,
    written: &'a dyn Source,
    donors: &'a Donors,
    all: Donors,
    pace: &'a Pace,
}

impl Search<'_> {
    fn remedy(&self, problem: &Problem) -> Remedy {
        match problem {
            Problem::Blob { digest, path, .. } => self.blob(digest, Some(path), Vec::new()),
            Problem::Missing { digest, .. } => self.blob(digest, None, problem.links()),
            Problem::Unlinked { digest, need } => {
                Remedy::Link { link: Entry::LayerLink(need.repository.clone(), *digest), to: *digest }
            }
            Problem::Link { entry: Entry::TagCurrent(name, tag), .. } => self.tag(name, tag),
            Problem::Link { fault: LinkFault::Unreadable { why }, .. } => Remedy::None { why: why.clone() },
            Problem::Link {
                entry:
                    entry @ (Entry::LayerLink(_, to) | Entry::RevisionLink(_, to) | Entry::TagIndex(_, _, to)),
                ..
            } => Remedy::Link { link: entry.clone(), to: *to },
            Problem::Dangling { repository, digest, .. } => match self.whole(self.tree.sources(), digest) {
                Some(_) => {
                    Remedy::Link { link: Entry::RevisionLink(repository.clone(), *digest), to: *digest }
                }
                None => self.blob(digest, None, problem.links()),
            },
            Problem::Link { .. } | Problem::NotAManifest { .. } => none("its bytes are as they were pushed"),
            Problem::Unlisted { .. } => none("what cannot be listed cannot be mended from here"),
            Problem::NoRelease { .. } => none("`larder copy` or `larder sync` bring it in"),
            Problem::Incomplete { .. } => none("its parts are mended one by one"),
        }
    }

    /// A blob from whoever has it whole. `damaged` is where a copy lies that is not.
    fn blob(&self, digest: &Digest, damaged: Option<&str>, links: Vec<Entry>) -> Remedy {
        if let Some(from) = self.whole(self.all.iter().map(|it| &**it), digest) {
            return Remedy::Fetch { digest: *digest, from, donors: Arc::clone(&self.all), links };
        }
        let entry = Entry::Blob(*digest);
        let own = self.written.origin().join(entry.path().as_str());
        match damaged {
            Some(path) if own.display().to_string() == path => Remedy::SetAside { entry },
            Some(_) => none("it lies in a root that is only read, and no source has it whole"),
            None => none("no source has it whole"),
        }
    }

    /// The first source whose copy of a blob has its digest.
    fn whole<'s>(&self, sources: impl Iterator<Item = &'s dyn Source>, digest: &Digest) -> Option<PathBuf> {
        let mut sources = sources;
        let has_it = |source: &&dyn Source| {
            let hashed = source.hash(digest, |bytes| self.pace.take(bytes));
            matches!(hashed, Ok(Some(hashed)) if hashed.computed == *digest)
        };
        sources.find(has_it).map(|it| it.origin().to_owned())
    }

    /// A tag from a donor whose manifest the repository lists; else from its own history, where that leaves
    /// one choice.
    fn tag(&self, name: &RepositoryName, tag: &Tag) -> Remedy {
        let is_listed =
            |digest: &Digest| self.tree.has(&Entry::RevisionLink(name.clone(), *digest)).unwrap_or_default();
        let remedy = |to, by| Remedy::Tag { name: name.clone(), tag: tag.clone(), to, by };
        for donor in &**self.donors {
            let tagged = Tree(std::slice::from_ref(donor)).tag(name, tag);
            if let Some(to) = tagged.ok().flatten().filter(is_listed) {
                return remedy(to, Witness::Other(donor.origin().display().to_string()));
            }
        }
        let history = self.history(name, tag);
        match history[..] {
            [only] if is_listed(&only) => remedy(only, Witness::History),
            [] => none("no source has the tag, and nothing tells what it pointed at"),
            _ => none("no source has the tag, and it pointed at several manifests over time"),
        }
    }

    /// Everything that a tag points at or once did.
    fn history(&self, name: &RepositoryName, tag: &Tag) -> Vec<Digest> {
        let mut history = BTreeSet::new();
        for source in self.tree.sources() {
            for algorithm in Algorithm::ALL {
                let dir = Dir::TagIndex(name.clone(), tag.clone(), algorithm);
                let items = source.list(&dir.path()).ok().flatten().unwrap_or_default();
                history.extend(items.iter().filter_map(|it| Digest::from_hex(algorithm, &it.name)));
            }
        }
        history.into_iter().collect()
    }
}

fn none(why: &str) -> Remedy {
    Remedy::None { why: why.to_owned() }
}

impl Problem {
    /// The links that are to lead to what is missing.
    pub(super) fn links(&self) -> Vec<Entry> {
        match self {
            Self::Missing { digest, needs } => {
                let link = |need: &Need| match need.manifest == *digest {
                    true => Entry::RevisionLink(need.repository.clone(), *digest),
                    false => Entry::LayerLink(need.repository.clone(), *digest),
                };
                needs.iter().map(link).collect()
            }
            Self::Dangling { repository, digest, .. } => {
                vec![Entry::RevisionLink(repository.clone(), *digest)]
            }
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(who) => f.write_str(who),
            Self::History => f.write_str("its history"),
        }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetch { from, .. } => write!(f, "would be copied from {}", from.display()),
            Self::Link { to, .. } => write!(f, "would be written anew, leading to {to}"),
            Self::Tag { to, by, .. } => write!(f, "would point at {to}, says {by}"),
            Self::Bring { from, .. } => write!(f, "would be fetched from {from}, if it has it whole"),
            Self::SetAside { .. } => f.write_str("would be set aside: no source has it whole"),
            Self::None { why } => write!(f, "would be left as it is: {why}"),
        }
    }
}
