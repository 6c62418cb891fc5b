//! `Plan`: what is to be copied.
//!
//! Knows what a selection means: which blobs, links and tags belong to it.
//! Does not know what the destination has of it.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use storage_layout::Digest;
use storage_layout::Dir;
use storage_layout::Entry;
use storage_layout::RepositoryName;
use storage_layout::Tag;
use storage_layout::parse_link;

use crate::maintenance::copy::Link;
use crate::maintenance::copy::Problem;
use crate::maintenance::documents::AttachedRelease;
use crate::maintenance::tree::LONGEST_LINK;
use crate::maintenance::tree::Tree;
use crate::maintenance::verify::chain;
use crate::store::Error;
use crate::store::Pointer;
use crate::store::Sight;
use crate::store::Source;
use crate::store::Walk;

mod release;

/// What of a store is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of it.
    Everything,
    /// These repositories, with all that they link.
    Repositories(Vec<RepositoryName>),
    /// The releases that are called so, by bundle, version, tag or digest, with all that they reach.
    Releases(Vec<String>),
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The source has no such repository.
    #[error("there is no repository {0} in the source")]
    NoRepository(RepositoryName),
    /// The source has no such release.
    #[error("there is no release {name} in the source, which has {known}")]
    NoRelease {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The source cannot be read.
    #[error(transparent)]
    Source(#[from] Error),
}

/// What is to be copied.
#[derive(Debug)]
pub struct Plan {
    pub(super) sources: Arc<Vec<Arc<dyn Source>>>,
    /// In the order in which a medium is read fastest.
    pub(super) blobs: Vec<Wanted>,
    pub(super) links: Vec<Link>,
    pub(super) tags: Vec<Pointer<(RepositoryName, Tag)>>,
    pub(super) problems: Vec<Problem>,
    /// What is needed and known not to be in the source.
    pub(super) lacking: HashSet<Digest>,
    /// The releases that were asked for.
    pub(super) releases: Vec<AttachedRelease>,
}

/// A blob that is to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) digest: Digest,
    pub(super) len: u64,
    /// Where it begins in the file that holds it.
    pub(super) position: u64,
}

impl Plan {
    /// Finds out what `selection` is of a store whose roots are `sources`. Waits for the medium.
    ///
    /// # Errors
    /// It is not there, or the source cannot be read at all. What of it cannot be read is noted as a problem.
    pub fn new(sources: Arc<Vec<Arc<dyn Source>>>, selection: &Selection) -> Result<Self, PlanError> {
        let all = Arc::clone(&sources);
        let mut planner = Planner::new(Tree(&all));
        match selection {
            Selection::Everything => planner.everything(),
            Selection::Repositories(names) => names.iter().try_for_each(|name| planner.named(name))?,
            Selection::Releases(names) => planner.releases(names)?,
        }
        let Planner { links, tags, blobs, problems, lacking, releases, .. } = planner;
        let is_there = |digest: &Digest| blobs.get(digest).is_some_and(Option::is_some);
        // A link to nothing is what distribution's garbage collection leaves of a layer.
        let links = links.into_iter().filter(|(_, to)| is_there(to));
        let links = links.map(|(from, to)| Pointer { from, to }).collect();
        let tags = tags.into_iter().map(|(from, to)| Pointer { from, to }).collect();
        let mut blobs: Vec<_> = blobs.into_values().flatten().collect();
        blobs.sort_unstable_by_key(|it| (it.position, it.digest));
        Ok(Self { sources, blobs, links, tags, problems, lacking, releases })
    }

    /// How many bytes all of it has.
    pub fn bytes(&self) -> u64 {
        self.blobs.iter().map(|it| it.len).sum()
    }

    /// How many bytes of it `others` do not have, as far as lengths tell.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn bytes_missing_from(&self, others: &[Arc<dyn Source>]) -> Result<u64, Error> {
        let mut missing = 0;
        for blob in &self.blobs {
            let is_there = Tree(others).blob(&blob.digest)?.is_some_and(|it| it.len() == blob.len);
            missing += if is_there { 0 } else { blob.len };
        }
        Ok(missing)
    }

    /// The releases that were asked for, as the source tells of them.
    pub fn releases(&self) -> &[AttachedRelease] {
        &self.releases
    }

    /// How many blobs.
    pub fn blobs(&self) -> usize {
        self.blobs.len()
    }
}

struct Planner<'a> {
    tree: Tree<'a>,
    /// `None` for what is not there, or cannot be looked at.
    blobs: HashMap<Digest, Option<Wanted>>,
    links: BTreeMap<Entry, Digest>,
    tags: BTreeMap<(RepositoryName, Tag), Digest>,
    problems: Vec<Problem>,
    lacking: HashSet<Digest>,
    releases: Vec<AttachedRelease>,
}

impl<'a> Planner<'a> {
    fn new(tree: Tree<'a>) -> Self {
        let (blobs, links, tags, lacking) = Default::default();
        Self { tree, blobs, links, tags, problems: Vec::new(), lacking, releases: Vec::new() }
    }

    fn everything(&mut self) {
        for sight in self.tree.sources().flat_map(Walk::blobs) {
            match sight {
                Sight::Entry(Entry::Blob(digest)) => self.want(&digest),
                other => self.pass(other),
            }
        }
        let (names, others) = self.tree.repositories();
        others.into_iter().for_each(|(_, sight)| self.pass(sight));
        for name in names {
            self.repository(&name);
        }
    }

    fn named(&mut self, name: &RepositoryName) -> Result<(), PlanError> {
        let (links, tags) = (self.links.len(), self.tags.len());
        self.repository(name);
        if (links, tags) == (self.links.len(), self.tags.len()) && !self.exists(name)? {
            return Err(PlanError::NoRepository(name.clone()));
        }
        Ok(())
    }

    fn exists(&self, name: &RepositoryName) -> Result<bool, Error> {
        for source in self.tree.sources() {
            if source.list(&Dir::Manifests(name.clone()).path())?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// All that a repository links and tags. Of two roots that say different things the first is right, as it
    /// is when they are served.
    fn repository(&mut self, name: &RepositoryName) {
        for source in self.tree.sources() {
            for sight in Walk::repository(source, name) {
                match sight {
                    Sight::Entry(entry @ (Entry::LayerLink(..) | Entry::RevisionLink(..))) => {
                        if let Some(target) = self.target(source, &entry) {
                            self.link(entry, target);
                        }
                    }
                    Sight::Entry(Entry::TagCurrent(name, tag)) => {
                        let entry = Entry::TagCurrent(name.clone(), tag.clone());
                        if let Some(target) = self.target(source, &entry) {
                            self.tags.entry((name, tag)).or_insert(target);
                        }
                    }
                    other => self.pass(other),
                }
            }
        }
    }

    fn link(&mut self, entry: Entry, target: Digest) {
        self.want(&target);
        self.links.entry(entry).or_insert(target);
    }

    /// What a link points at.
    fn target(&mut self, source: &dyn Source, entry: &Entry) -> Option<Digest> {
        let why = match source.read(entry, LONGEST_LINK) {
            Ok(None) => return None,
            Ok(Some(content)) => match parse_link(&content) {
                Ok(target) => return Some(target),
                Err(error) => error.to_string(),
            },
            Err(error) => chain(&error),
        };
        self.problems.push(Problem::Link { entry: entry.clone(), why });
        None
    }

    fn want(&mut self, digest: &Digest) {
        if self.blobs.contains_key(digest) {
            return;
        }
        let found = match self.tree.blob(digest) {
            Ok(found) => found.map(|it| Wanted { digest: *digest, len: it.len(), position: it.position() }),
            Err(error) => {
                self.problems.push(Problem::Blob { digest: *digest, why: chain(&error) });
                self.lacking.insert(*digest);
                None
            }
        };
        self.blobs.insert(*digest, found);
    }

    /// What is not copied: strangers, uploads, what a tag once pointed at.
    fn pass(&mut self, sight: Sight) {
        if let Sight::Unlisted(error) = sight {
            self.problems.push(Problem::Unlisted { why: chain(&error) });
        }
    }
}
