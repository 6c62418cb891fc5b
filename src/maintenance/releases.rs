//! The releases that a store holds, and whether each is whole.
//!
//! Knows how to read what `release` works on from a tree, and how to tell cheaply, without hashing, whether
//! all of it is there. Does not know how a release comes or goes.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use storage_layout::Digest;
use storage_layout::Entry;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use crate::maintenance::background;
use crate::maintenance::gc::stored;
use crate::maintenance::tree::LONGEST_LINK;
use crate::maintenance::tree::Tree;
use crate::oci::Manifest;
use crate::oci::Role;
use crate::oci::children;
use crate::release;
use crate::release::BundleName;
use crate::release::Member;
use crate::release::Part;
use crate::release::Payload;
use crate::release::Release;
use crate::release::Tagged;
use crate::release::find_payload;
use crate::release::members;
use crate::store::Error;
use crate::store::Reader;
use crate::store::Source;
use crate::store::Store;

/// A release as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseStatus {
    /// The release image and its tag.
    pub image: Tagged,
    /// The version, where the payload's list could be read.
    pub version: Option<String>,
    /// The bundle that makes it known to the cluster.
    pub bundle: Option<Tag>,
    /// Images that belong to it: the release image, components, signatures, the bundle.
    pub images: u64,
    /// How many of them are there, with all that they point at.
    pub present: u64,
    /// How many bytes of it are there. What several images share is counted once.
    pub bytes: u64,
    /// Those images.
    pub members: Vec<Member>,
    /// What is not there.
    pub missing: Vec<Missing>,
    /// The repositories that its components are pulled from where there is no mirror.
    pub sources: Vec<String>,
    /// Why the payload's list could not be read, if so: then the tags are all there is to go by.
    pub unread: Option<String>,
}

/// Something that a release lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What the image is to the release.
    pub part: Part,
    /// The image.
    pub digest: Digest,
    /// What of it is not there; itself, where it is not listed or not stored.
    pub lacks: Digest,
}

/// The releases of a store. Waits for the disk.
///
/// # Errors
/// A root cannot be read.
pub fn releases(sources: &[Arc<dyn Source>]) -> Result<Vec<ReleaseStatus>, Error> {
    survey(Tree(sources), |_| false)
}

/// A release, and where it is held.
#[derive(Clone, Debug)]
pub struct Held {
    /// How it is stored.
    pub status: ReleaseStatus,
    /// The roots that are only read and have it.
    pub media: Vec<PathBuf>,
    /// When it was last tagged in the root that is written.
    pub since: Option<SystemTime>,
}

/// The releases of a store, and where each is held, on a thread of its own.
///
/// # Errors
/// A root cannot be read.
pub async fn of(store: &Store) -> Result<Vec<Held>, Error> {
    let (sources, written, store) = (store.sources(), store.written(), store.clone());
    background::waited_for(move || {
        let tree = Tree(&sources);
        let is_damaged =
            |digest: &Digest| tree.blob(digest).ok().flatten().is_some_and(|it| store.is_damaged(&it));
        let all = survey(tree, is_damaged)?;
        all.into_iter().map(|status| held(&sources, written.as_deref(), status)).collect()
    })
    .await?
}

/// What a release lacks of all that its payload lists; nothing where it has no list that can be read.
///
/// # Errors
/// A root cannot be read.
pub async fn lacks(store: &Store, image: Digest) -> Result<Vec<Missing>, Error> {
    let sources = store.sources();
    background::waited_for(move || {
        let survey = Survey {
            tree: Tree(&sources),
            is_damaged: |_: &Digest| false,
            bundles: vec![],
            attachments: vec![],
        };
        let Ok(payload) = survey.payload(&image)? else { return Ok(Vec::new()) };
        let tag = Tag::parse(image.hex().as_ref()).ok();
        let Some(tag) = tag else { return Ok(Vec::new()) };
        let release = Release { image: Tagged { tag, digest: image }, components: BTreeMap::new() };
        let mut found = Found::default();
        for member in members(&release, Some(&payload), &[], None) {
            survey.look_for(&member, &mut found)?;
        }
        Ok(found.missing)
    })
    .await?
}

fn held(
    sources: &[Arc<dyn Source>],
    written: Option<&dyn Source>,
    status: ReleaseStatus,
) -> Result<Held, Error> {
    let tag = Entry::TagCurrent(release::repository(release::IMAGES), status.image.tag.clone());
    let mut media = Vec::new();
    for source in sources.iter().filter(|it| written.is_none_or(|written| it.origin() != written.origin())) {
        if source.read(&tag, LONGEST_LINK)?.is_some() {
            media.push(source.origin().to_owned());
        }
    }
    let since = written.and_then(|it| stored(it, tag)).map(|it| it.modified);
    Ok(Held { status, media, since })
}

/// As [`releases`]; what `is_damaged` counts as missing.
pub(super) fn survey(
    tree: Tree<'_>,
    is_damaged: impl Fn(&Digest) -> bool,
) -> Result<Vec<ReleaseStatus>, Error> {
    let (images_in, components_in) =
        (release::repository(release::IMAGES), release::repository(release::COMPONENTS));
    let bundles = tree.tags(&release::repository(release::BUNDLES))?;
    let images = tree.tags(&images_in)?;
    let components = tree.tags(&components_in)?;
    let attached = |name: &RepositoryName, tags: &[Tagged]| {
        let tags = tags.iter().filter(|it| release::attached_to(&it.tag).is_some());
        tags.map(|it| (name.clone(), it.clone())).collect::<Vec<_>>()
    };
    let attachments = [attached(&images_in, &images), attached(&components_in, &components)].concat();
    let survey = Survey { tree, is_damaged, bundles, attachments };
    let releases = release::releases(&images, &components);
    let is_only = releases.len() == 1;
    releases.iter().map(|it| survey.status(it, is_only)).collect()
}

struct Survey<'a, D> {
    tree: Tree<'a>,
    is_damaged: D,
    bundles: Vec<Tagged>,
    attachments: Vec<(RepositoryName, Tagged)>,
}

impl<D: Fn(&Digest) -> bool> Survey<'_, D> {
    fn status(&self, release: &Release, is_only: bool) -> Result<ReleaseStatus, Error> {
        let (payload, unread) = match self.payload(&release.image.digest)? {
            Ok(payload) => (Some(payload), None),
            Err(why) => (None, Some(why)),
        };
        let bundle = self.bundle(payload.as_ref().map(Payload::version), is_only);
        let members = members(
            release,
            payload.as_ref(),
            &self.attachments,
            bundle.as_ref().map(|(name, digest)| (name, *digest)),
        );
        let mut found = Found::default();
        for member in &members {
            self.look_for(member, &mut found)?;
        }
        let sources = payload.iter().flat_map(|it| it.components().values()).map(|it| it.source.clone());
        let sources: BTreeSet<_> = sources.collect();
        Ok(ReleaseStatus {
            image: release.image.clone(),
            version: payload.map(|it| it.version().to_owned()),
            bundle: bundle.map(|(name, _)| name.tag().clone()),
            images: members.len() as u64,
            present: found.present,
            bytes: found.blobs.values().sum(),
            members,
            missing: found.missing,
            sources: sources.into_iter().collect(),
            unread,
        })
    }

    /// The payload's list, from the last layer of the release image that holds one; or why there is none.
    fn payload(&self, image: &Digest) -> Result<Result<Payload, String>, Error> {
        let manifest = match self.tree.manifest(image) {
            Ok(Some(content)) => Manifest::parse(&content, None).map_err(|error| error.to_string()),
            Ok(None) => Err(format!("{image} is not stored")),
            Err(error) => Err(error.to_string()),
        };
        let manifest = match manifest {
            Ok(manifest) => manifest,
            Err(why) => return Ok(Err(why)),
        };
        let mut why = format!("no layer of {image} holds `{}`", Payload::PATH);
        let layers: Vec<_> = children(&manifest).filter(|it| it.role == Role::Layer).collect();
        for layer in layers.iter().rev() {
            let digest = layer.descriptor.digest;
            let Some(blob) = self.tree.blob(&digest)? else {
                why = format!("layer {digest} is not stored");
                continue;
            };
            match find_payload(Reader::new(blob.range(0..u64::MAX))) {
                Ok(Some(payload)) => return Ok(Ok(payload)),
                Ok(None) => {}
                Err(error) => why = format!("layer {digest}: {error}"),
            }
        }
        Ok(Err(why))
    }

    /// The bundle of a version. Where there is but one release it is that of the only bundle, whatever that
    /// is called.
    fn bundle(&self, version: Option<&str>, is_only: bool) -> Option<(BundleName, Digest)> {
        let bundles = || self.bundles.iter().filter_map(|it| Some((BundleName::parse(&it.tag)?, it.digest)));
        let named = bundles().find(|(name, _)| version.is_some_and(|version| name.is_of(version)));
        named.or_else(|| bundles().next().filter(|_| is_only && bundles().count() == 1))
    }

    /// Counts a member, if all of it is there.
    fn look_for(&self, member: &Member, found: &mut Found) -> Result<(), Error> {
        let Some(lacking) = self.lacks(member, found)? else {
            found.present += 1;
            return Ok(());
        };
        found.missing.push(Missing { part: member.part.clone(), digest: member.digest, lacks: lacking });
        Ok(())
    }

    /// The first thing that is not there of an image.
    fn lacks(&self, member: &Member, found: &mut Found) -> Result<Option<Digest>, Error> {
        let mut pending = vec![member.digest];
        while let Some(manifest) = pending.pop() {
            let revision = Entry::RevisionLink(member.repository.clone(), manifest);
            let content = match self.tree.manifest(&manifest) {
                Ok(Some(content)) if self.tree.has(&revision)? => content,
                Ok(_) | Err(Error::Corrupt { .. }) => return Ok(Some(manifest)),
                Err(error) => return Err(error),
            };
            found.blobs.insert(manifest, content.len() as u64);
            let Ok(parsed) = Manifest::parse(&content, None) else { return Ok(Some(manifest)) };
            for child in children(&parsed) {
                let (digest, len) = (child.descriptor.digest, child.descriptor.size);
                match child.role {
                    // A platform that was not mirrored is not missed.
                    Role::Manifest | Role::Blob => {
                        let revision = Entry::RevisionLink(member.repository.clone(), digest);
                        pending.extend(self.tree.has(&revision)?.then_some(digest));
                    }
                    Role::Config | Role::Layer if child.is_optional() => {}
                    Role::Config | Role::Layer => {
                        if !self.holds(&member.repository, &digest, len, found)? {
                            return Ok(Some(digest));
                        }
                    }
                }
            }
        }
        Ok(None)
    }

    /// Whether a blob is there with the length that its manifest says, and linked.
    fn holds(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        len: u64,
        found: &mut Found,
    ) -> Result<bool, Error> {
        if !found.blobs.contains_key(digest) {
            let stored = self.tree.blob(digest)?.filter(|it| it.len() == len && !(self.is_damaged)(digest));
            let Some(blob) = stored else { return Ok(false) };
            found.blobs.insert(*digest, blob.len());
        }
        self.tree.has(&Entry::LayerLink(name.clone(), *digest))
    }
}

#[derive(Default)]
struct Found {
    present: u64,
    blobs: HashMap<Digest, u64>,
    missing: Vec<Missing>,
}

impl ReleaseStatus {
    /// Whether all that belongs to it is there.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unread.is_none()
    }

    /// What a person calls it: its version, or its tag.
    pub fn name(&self) -> String {
        self.version.clone().unwrap_or_else(|| self.image.tag.to_string())
    }

    /// Whether `name` is its version, its bundle, its tag, or its digest.
    pub fn is_called(&self, name: &str) -> bool {
        self.version.as_deref() == Some(name)
            || self.bundle.as_ref().is_some_and(|it| it.as_str() == name)
            || self.image.tag.as_str() == name
            || self.image.digest.to_string() == name
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, digest, lacks } = self;
        match part {
            Part::Image => f.write_str("release image")?,
            Part::Component(name) => write!(f, "component {name}")?,
            Part::Attachment => f.write_str("signature")?,
            Part::Bundle => f.write_str("bundle")?,
        }
        if digest == lacks { write!(f, " {digest}") } else { write!(f, " {digest} (its {lacks})") }
    }
}

#[cfg(test)]
mod tests;
