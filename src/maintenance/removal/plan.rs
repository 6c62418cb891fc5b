//! What goes with a release: planned from the tree, and carried out by nobody here.
//!
//! Knows that a manifest, a link or a blob goes only if this release names it and nothing that stays needs
//! it. Other repositories are not read, only looked at: whatever they link stays. So the cost grows with the
//! release and the repositories of releases, and not with all that is stored.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashSet;
use std::time::SystemTime;

use storage_layout::Algorithm;
use storage_layout::Digest;
use storage_layout::Dir;
use storage_layout::Entry;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use crate::maintenance::gc::stored;
use crate::maintenance::releases;
use crate::maintenance::releases::ReleaseStatus;
use crate::maintenance::removal::Removal;
use crate::maintenance::removal::RemovalError;
use crate::maintenance::removal::Sources;
use crate::maintenance::removal::part::Part;
use crate::maintenance::removal::part::Wishes;
use crate::maintenance::tree::Tree;
use crate::release;
use crate::release::Tagged;
use crate::store::Error;
use crate::store::Source;

/// The repositories of releases, in the order in which their tags go.
const REPOSITORIES: [&str; 3] = [release::BUNDLES, release::IMAGES, release::COMPONENTS];
const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

/// Finds out what goes with the release that is called `name`, by bundle, version, tag or digest; `writable`
/// is the one of `sources` that it goes from. Waits for the disk.
///
/// # Errors
/// There is no such release, or more than one, or a root cannot be read.
pub fn plan(sources: &Sources, writable: &dyn Source, name: &str) -> Result<Removal, RemovalError> {
    let tree = Tree(sources);
    let (goes, stays) = chosen(releases::survey(tree, |_| false)?, name)?;
    let mut removal = Removal {
        releases: goes,
        tags: Vec::new(),
        links: Vec::new(),
        blobs: Vec::new(),
        published: SystemTime::UNIX_EPOCH,
        kept_whole: Vec::new(),
    };
    let wishes = wishes(tree, &removal.releases, &stays)?;
    let (mut reached, mut needed) = (HashSet::new(), HashSet::new());
    for (name, wishes) in &wishes {
        let part = Part::of(tree, writable, name, wishes);
        removal.tags.extend(wishes.tags.iter().map(|tag| (name.clone(), tag.clone())));
        removal.published = removal.published.max(published(writable, name, wishes, &part));
        removal.kept_whole.extend(part.unread.map(|why| (name.clone(), why)));
        reached.extend(part.reached);
        needed.extend(part.needed);
        removal.links.extend(part.links);
    }
    // Manifests are gone for good before what they are made of.
    removal.links.sort_by_key(|it| !matches!(it.entry, Entry::RevisionLink(..)));
    reached.retain(|digest| !needed.contains(digest));
    linked_elsewhere(tree, &mut reached, &removal.links)?;
    removal.blobs = reached.into_iter().filter_map(|it| stored(writable, Entry::Blob(it))).collect();
    Ok(removal)
}

/// The digest that an entry is about.
pub(super) fn linked(entry: &Entry) -> Option<&Digest> {
    match entry {
        Entry::Blob(digest)
        | Entry::LayerLink(_, digest)
        | Entry::RevisionLink(_, digest)
        | Entry::TagIndex(_, _, digest) => Some(digest),
        Entry::TagCurrent(..)
        | Entry::UploadData(..)
        | Entry::UploadStartedAt(..)
        | Entry::UploadHashState(..) => None,
    }
}

/// Parts the release that is called so from the others. One image with several tags is one release.
fn chosen(
    all: Vec<ReleaseStatus>,
    name: &str,
) -> Result<(Vec<ReleaseStatus>, Vec<ReleaseStatus>), RemovalError> {
    let digests: BTreeSet<_> = all.iter().filter(|it| it.is_called(name)).map(|it| it.image.digest).collect();
    if digests.len() > 1 {
        return Err(RemovalError::Ambiguous { name: name.to_owned(), digests });
    }
    let (goes, stays): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| digests.contains(&it.image.digest));
    if goes.is_empty() {
        let known: Vec<_> = stays.iter().map(ReleaseStatus::name).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(RemovalError::NoRelease { name: name.to_owned(), known });
    }
    Ok((goes, stays))
}

/// What is to go from each repository, as far as no other release names it too.
fn wishes(
    tree: Tree<'_>,
    goes: &[ReleaseStatus],
    stays: &[ReleaseStatus],
) -> Result<Vec<(RepositoryName, Wishes)>, Error> {
    let mut by_name: BTreeMap<RepositoryName, Wishes> = BTreeMap::new();
    for member in goes.iter().flat_map(|it| &it.members) {
        let wishes = by_name.entry(member.repository.clone()).or_default();
        wishes.manifests.insert(member.digest);
        wishes.tags.extend(member.tag.clone());
    }
    for tagged in tagged_components(tree, goes)? {
        let wishes = by_name.entry(release::repository(release::COMPONENTS)).or_default();
        wishes.manifests.insert(tagged.digest);
        wishes.tags.insert(tagged.tag);
    }
    for member in stays.iter().flat_map(|it| &it.members) {
        let Some(wishes) = by_name.get_mut(&member.repository) else { continue };
        wishes.manifests.remove(&member.digest);
        wishes.others.insert(member.digest);
        if let Some(tag) = &member.tag {
            wishes.tags.remove(tag);
        }
    }
    let mut wishes: Vec<_> = by_name.into_iter().collect();
    let rank = |name: &RepositoryName| REPOSITORIES.iter().position(|it| *it == name.as_str());
    wishes.sort_by_key(|(name, _)| rank(name));
    Ok(wishes)
}

/// The tags of components by their names, which may be more than the payload lists.
fn tagged_components(tree: Tree<'_>, goes: &[ReleaseStatus]) -> Result<Vec<Tagged>, Error> {
    let images = tree.tags(&release::repository(release::IMAGES))?;
    let components = tree.tags(&release::repository(release::COMPONENTS))?;
    let releases = release::releases(&images, &components);
    let goes = releases.into_iter().filter(|it| goes.iter().any(|gone| gone.image == it.image));
    Ok(goes.flat_map(|it| it.components.into_values()).collect())
}

/// When the last of what goes from a repository was written: its tags, its manifests and their links.
fn published(writable: &dyn Source, name: &RepositoryName, wishes: &Wishes, part: &Part) -> SystemTime {
    let tag = |tag: &Tag| stored(writable, Entry::TagCurrent(name.clone(), tag.clone()));
    let manifest = |digest: &Digest| stored(writable, Entry::Blob(*digest));
    let revisions = part.links.iter().filter(|it| matches!(it.entry, Entry::RevisionLink(..))).cloned();
    let written = wishes.tags.iter().filter_map(tag).chain(part.gone.iter().filter_map(manifest));
    written.chain(revisions).map(|it| it.modified).max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Takes away from `digests` what any repository links, but for the links that go.
fn linked_elsewhere(
    tree: Tree<'_>,
    digests: &mut HashSet<Digest>,
    going: &[crate::reachability::Stored],
) -> Result<(), Error> {
    let going: HashSet<&Entry> = going.iter().map(|it| &it.entry).collect();
    let (names, _) = tree.repositories();
    for name in &names {
        for source in tree.sources() {
            for algorithm in ALGORITHMS {
                let layer = |digest| Entry::LayerLink(name.clone(), digest);
                let revision = |digest| Entry::RevisionLink(name.clone(), digest);
                for digest in listed(source, &Dir::Layers(name.clone(), algorithm), algorithm)? {
                    if digests.contains(&digest) && !going.contains(&layer(digest)) {
                        digests.remove(&digest);
                    }
                }
                for digest in listed(source, &Dir::Revisions(name.clone(), algorithm), algorithm)? {
                    if digests.contains(&digest) && !going.contains(&revision(digest)) {
                        digests.remove(&digest);
                    }
                }
            }
        }
    }
    Ok(())
}

/// The digests that the directories in a directory are named by.
fn listed(source: &dyn Source, dir: &Dir, algorithm: Algorithm) -> Result<Vec<Digest>, Error> {
    let items = source.list(&dir.path())?.unwrap_or_default();
    Ok(items.iter().filter_map(|it| Digest::from_hex(algorithm, &it.name)).collect())
}
