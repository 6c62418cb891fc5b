//! Links and tags, for which everything that they point at must be there.
//!
//! Knows the order in which a release may appear, and what a tag promises: of a release image and of a
//! bundle, the whole release.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use storage_layout::Digest;
use storage_layout::Entry;
use storage_layout::RepositoryName;
use storage_layout::Tag;
use storage_layout::parse_link;
use tokio::task::spawn_blocking;

use crate::maintenance::copy::Error;
use crate::maintenance::copy::Link;
use crate::maintenance::copy::Plan;
use crate::maintenance::copy::Problem;
use crate::maintenance::copy::Report;
use crate::maintenance::releases;
use crate::maintenance::tree::LONGEST_LINK;
use crate::maintenance::tree::Tree;
use crate::oci::Manifest;
use crate::oci::Role;
use crate::oci::children;
use crate::release::Part;
use crate::release::Rank;
use crate::store;
use crate::store::Import;
use crate::store::Pointer;
use crate::store::Source;

/// How many links or tags become durable together: their files are open until then.
const BATCH: usize = 256;

/// Writes links and then tags; `present` are the blobs that are there and last, `linked` the links.
pub(super) async fn publish(
    plan: &Arc<Plan>,
    into: &Import,
    present: HashSet<Digest>,
    linked: Vec<Link>,
    report: &mut Report,
) -> Result<(), Error> {
    let (of, at) = (Arc::clone(plan), into.clone());
    let ready = spawn_blocking(move || Ready::of(&of, &at, &present, &linked)).await??;
    for batch in ready.links.chunks(BATCH) {
        into.link(batch.to_vec()).await?;
        report.links += batch.len() as u64;
    }
    for batch in in_order(ready.tags) {
        report.tags += batch.len() as u64;
        into.tag(batch).await?;
    }
    report.problems.extend(ready.withheld);
    Ok(())
}

/// Whether a tag makes a release known.
fn announces((name, _): &(RepositoryName, Tag)) -> bool {
    Rank::of(name) != Rank::Component
}

/// The releases of which something could not be copied.
#[derive(Debug)]
enum Broken {
    /// The tags that make them known, and what each lacks.
    Known(HashMap<(RepositoryName, Tag), Digest>),
    /// The source is gone, and cannot say what belongs to a release: this is lacking, maybe to any.
    Unknown(Digest),
}

impl Broken {
    fn lacks(&self, tag: &(RepositoryName, Tag)) -> Option<Digest> {
        match self {
            Self::Known(broken) => broken.get(tag).copied(),
            Self::Unknown(lacking) => announces(tag).then_some(*lacking),
        }
    }
}

/// A tag and what it points at.
pub(super) type Tagged = Pointer<(RepositoryName, Tag)>;

/// Tags in batches, each to be durable before the next: whoever sees a release sees its components, and
/// whoever sees a bundle sees the release.
pub(super) fn in_order(tags: Vec<Tagged>) -> impl Iterator<Item = Vec<Tagged>> {
    Rank::ALL.into_iter().flat_map(move |rank| {
        let of_rank: Vec<_> = tags.iter().filter(|it| Rank::of(&it.from.0) == rank).cloned().collect();
        of_rank.chunks(BATCH).map(<[_]>::to_vec).collect::<Vec<_>>()
    })
}

/// What can be written.
#[derive(Debug, Default)]
struct Ready {
    links: Vec<Link>,
    tags: Vec<Tagged>,
    withheld: Vec<Problem>,
}

impl Ready {
    fn of(
        plan: &Plan,
        into: &Import,
        present: &HashSet<Digest>,
        linked: &[Link],
    ) -> Result<Self, store::Error> {
        let mut ready = Self::default();
        let linked: HashSet<_> = linked.iter().map(|it| &it.from).collect();
        let mut judge = Judge::new(plan, into.tree(), present);
        for link in &plan.links {
            let lacks = match &link.from {
                Entry::RevisionLink(..) => judge.lacks(&link.to),
                _ => (!present.contains(&link.to)).then_some(link.to),
            };
            if lacks.is_none() && !linked.contains(&link.from) {
                ready.links.push(link.clone());
            }
        }
        let broken = judge.broken_releases();
        for tag in &plan.tags {
            let (name, called) = tag.from.clone();
            let entry = Entry::TagCurrent(name, called);
            match judge.lacks(&tag.to).or_else(|| broken.lacks(&tag.from)) {
                Some(lacks) => ready.withheld.push(Problem::Withheld { entry, lacks }),
                None if into.is_settled() && points_at(into, &entry, &tag.to)? => {}
                None => ready.tags.push(tag.clone()),
            }
        }
        Ok(ready)
    }
}

fn points_at(into: &Import, entry: &Entry, target: &Digest) -> Result<bool, store::Error> {
    match into.tree().read(entry, LONGEST_LINK) {
        Ok(content) => Ok(content.is_some_and(|it| parse_link(&it).is_ok_and(|it| it == *target))),
        Err(store::Error::Corrupt { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Says whether a manifest can be pulled from what is there. What the source itself does not have, such as
/// the platforms of an index that were not mirrored, is not missed; what could not be copied is.
struct Judge<'a> {
    plan: &'a Plan,
    /// Where the manifests are that came: the source may be gone by now.
    into: &'a dyn Source,
    present: &'a HashSet<Digest>,
    /// What could not be copied, which as a rule is nothing: then no manifest has to be read.
    lacking: HashSet<Digest>,
    known: HashMap<Digest, Option<Digest>>,
}

impl<'a> Judge<'a> {
    fn new(plan: &'a Plan, into: &'a dyn Source, present: &'a HashSet<Digest>) -> Self {
        let wanted = plan.blobs.iter().map(|it| it.digest).filter(|it| !present.contains(it));
        let lacking = wanted.chain(plan.lacking.iter().copied()).collect();
        Self { plan, into, present, lacking, known: HashMap::new() }
    }

    /// The first thing that a manifest lacks.
    fn lacks(&mut self, manifest: &Digest) -> Option<Digest> {
        if !self.present.contains(manifest) {
            return Some(*manifest);
        }
        if self.lacking.is_empty() {
            return None;
        }
        if !self.known.contains_key(manifest) {
            let lacks = self.find_lacking(manifest);
            self.known.insert(*manifest, lacks);
        }
        *self.known.get(manifest)?
    }

    /// The releases of which something could not be copied.
    fn broken_releases(&mut self) -> Broken {
        let mut broken = HashMap::new();
        let Some(lacking) = self.lacking.iter().min().copied() else { return Broken::Known(broken) };
        let sources = Arc::clone(&self.plan.sources);
        if !self.can_be_asked(Tree(&sources)) {
            return Broken::Unknown(lacking);
        }
        let Ok(surveyed) = releases::survey(Tree(&sources), |_| false) else {
            return Broken::Unknown(lacking);
        };
        for release in surveyed {
            let Some(lacks) = release.members.iter().find_map(|it| self.lacks_of_source(&it.digest)) else {
                continue;
            };
            let announces =
                release.members.into_iter().filter(|it| matches!(it.part, Part::Image | Part::Bundle));
            broken.extend(announces.filter_map(|it| Some(((it.repository, it.tag?), lacks))));
        }
        Broken::Known(broken)
    }

    /// Whether the source still shows the releases that are to be announced.
    fn can_be_asked(&self, source: Tree<'_>) -> bool {
        let announced = self.plan.tags.iter().map(|it| &it.from).filter(|it| announces(it));
        announced
            .map(|(name, tag)| Entry::TagCurrent(name.clone(), tag.clone()))
            .all(|entry| source.has(&entry).unwrap_or(false))
    }

    /// As [`Judge::lacks`], but what was not to be copied is not missed.
    fn lacks_of_source(&mut self, manifest: &Digest) -> Option<Digest> {
        let is_wanted = self.present.contains(manifest) || self.lacking.contains(manifest);
        if is_wanted { self.lacks(manifest) } else { None }
    }

    fn find_lacking(&self, manifest: &Digest) -> Option<Digest> {
        let mut seen = HashSet::from([*manifest]);
        let mut pending = vec![*manifest];
        while let Some(manifest) = pending.pop() {
            let content = self.into.whole(&manifest, Manifest::MAX_LEN as u64).ok().flatten();
            let content = content.or_else(|| Tree(&self.plan.sources).manifest(&manifest).ok().flatten());
            let Some(content) = content else { return Some(manifest) };
            let Ok(parsed) = Manifest::parse(&content, None) else { continue };
            for child in children(&parsed) {
                let digest = child.descriptor.digest;
                if self.lacking.contains(&digest) {
                    return Some(digest);
                }
                let is_manifest = matches!(child.role, Role::Manifest | Role::Blob);
                if is_manifest && self.present.contains(&digest) && seen.insert(digest) {
                    pending.push(digest);
                }
            }
        }
        None
    }
}
