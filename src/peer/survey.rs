//! The survey: what the sources have, and what of it is missing here.
//!
//! Knows inventories, catalogs and the edges of manifests. Does not fetch a blob and does not change the
//! store.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use sha2::Digest as _;
use storage_layout::Algorithm;
use storage_layout::Digest;
use storage_layout::RepositoryName;
use storage_layout::Tag;
use tokio::task::JoinSet;

use crate::oci;
use crate::peer::Error;
use crate::peer::client::Client;
use crate::peer::client::Lines;
use crate::peer::inventory;
use crate::peer::inventory::Line;
use crate::peer::selection::Selection;
use crate::peer::selection::Target;
use crate::peer::sources::Sources;
use crate::peer::survey::named::Resolved;
use crate::release::Rank;
use crate::store;
use crate::store::Hold;
use crate::store::Store;

mod named;

/// How many manifests are fetched at once: they are small, and the wait is the network's.
const MANIFESTS_AT_ONCE: usize = 16;
/// How many tags are resolved at once where there is no inventory.
const TAGS_AT_ONCE: usize = 16;
/// The most targets of one job: ten times what a node with every operator holds.
const TARGETS_LIMIT: usize = 1_000_000;
/// The deepest nesting of indexes, as in verification: the specification nests once.
const DEPTH_LIMIT: usize = 16;
/// How many bytes of manifests are kept in memory until they are published; what is beyond is fetched twice.
const KEPT_LIMIT: usize = 16 * 1024 * 1024;

/// What is missing here.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// In the order in which they may be published: by rank, then by height.
    pub(crate) manifests: Vec<Missing>,
    /// Tags that are missing or point elsewhere.
    pub(crate) tags: Vec<(RepositoryName, Tag, Digest)>,
    /// Blobs by digest.
    pub(crate) blobs: BTreeMap<Digest, Need>,
    /// What the sources have of the selection.
    pub(crate) targets: usize,
}

/// A manifest that is missing.
#[derive(Debug)]
pub(crate) struct Missing {
    pub(crate) name: RepositoryName,
    pub(crate) digest: Digest,
    pub(crate) rank: Rank,
    /// How many missing manifests stand below it at the most: what it is made of has a smaller height.
    pub(crate) height: usize,
    /// Its bytes; `None` where too many are held already.
    pub(crate) content: Option<Bytes>,
}

/// A blob that manifests need.
#[derive(Clone, Debug)]
pub(crate) struct Need {
    pub(crate) size: u64,
    pub(crate) repositories: BTreeSet<RepositoryName>,
    /// Whether the manifests can do without it: it lies elsewhere too, or may not be distributed.
    pub(crate) optional: bool,
}

/// Finds out what of `selection` the sources have and this store lacks. As long as the hold lives nothing of
/// it is garbage.
pub(crate) async fn survey(
    store: &Store,
    sources: &Arc<Sources>,
    selection: &Selection,
) -> Result<(Plan, Hold), Error> {
    let Resolved { selection, components } = named::resolve(store, sources, selection).await?;
    let mut targets = targets(sources, &selection).await?;
    let listed: HashSet<_> = targets.iter().map(|it| (it.name.clone(), it.digest)).collect();
    targets.extend(components.into_iter().filter(|it| !listed.contains(&(it.name.clone(), it.digest))));
    let hold = store.writer().ok_or(Error::ReadOnly)?.hold(Vec::new());
    let mut survey = Survey::new(hold);
    survey.plan.targets = targets.len();
    let mut wanted = Vec::with_capacity(targets.len());
    for target in targets {
        if let Some(tag) = target.tag
            && store.tag(&target.name, &tag).await.ok().flatten() != Some(target.digest)
        {
            survey.plan.tags.push((target.name.clone(), tag, target.digest));
        }
        wanted.push((target.name, target.digest));
    }
    survey.follow(store, sources, wanted).await?;
    Ok((survey.plan, survey.hold))
}

type Key = (RepositoryName, Digest);

/// What a manifest that no source has means.
#[derive(Clone, Copy, Debug)]
enum Gaps {
    /// The sources list it and do not have it.
    Fatal,
    /// An index may name more than its registry holds: mirrors keep only some platforms.
    Sparse,
}

#[derive(Debug)]
struct Survey {
    plan: Plan,
    /// Garbage collection leaves alone what was found here, and what is to come, until the job's tags stand.
    hold: Hold,
    kept: usize,
    seen: HashSet<Key>,
    missing: BTreeMap<Key, (Missing, Vec<Key>)>,
}

/// A manifest and where it was found.
enum Obtained {
    /// In the own store, and linked.
    Here(oci::Manifest),
    /// At a source.
    There(Bytes, oci::Manifest),
}

impl Survey {
    fn new(hold: Hold) -> Self {
        let (plan, seen, missing) = (Plan::default(), HashSet::new(), BTreeMap::new());
        Self { plan, hold, kept: 0, seen, missing }
    }

    /// Follows the edges level by level. That a manifest is here does not mean that what it is made of is: it
    /// may have been pulled through, or a blob may have been lost since.
    async fn follow(
        &mut self,
        store: &Store,
        sources: &Arc<Sources>,
        mut level: Vec<Key>,
    ) -> Result<(), Error> {
        for depth in 0..DEPTH_LIMIT {
            level.retain(|it| self.seen.insert(it.clone()));
            if level.is_empty() {
                self.plan.manifests = in_order(std::mem::take(&mut self.missing));
                return Ok(());
            }
            let gaps = if depth == 0 { Gaps::Fatal } else { Gaps::Sparse };
            level = self.follow_level(store, sources, level, gaps).await?;
        }
        Err(Error::Missing {
            what: format!("an end of the indexes, which nest more than {DEPTH_LIMIT} deep"),
        })
    }

    /// Looks into manifests; gives those that they are made of.
    async fn follow_level(
        &mut self,
        store: &Store,
        sources: &Arc<Sources>,
        level: Vec<Key>,
        gaps: Gaps,
    ) -> Result<Vec<Key>, Error> {
        let mut next = Vec::new();
        let mut queue = level.into_iter();
        let mut asked = JoinSet::new();
        loop {
            while asked.len() < MANIFESTS_AT_ONCE
                && let Some(key) = queue.next()
            {
                self.hold.add(key.1);
                // What lies here is read here and now: a task would cost more than the read.
                if let Some(manifest) = local(store, &key).await? {
                    self.note(store, &key, Obtained::Here(manifest), &mut next).await?;
                    continue;
                }
                let sources = sources.clone();
                asked.spawn(async move { (fetch_manifest(&sources, &key.0, &key.1).await, key) });
            }
            let Some(Ok((manifest, key))) = asked.join_next().await else { return Ok(next) };
            match (manifest, gaps) {
                (Err(Error::Missing { .. }), Gaps::Sparse) => {}
                (manifest, _) => {
                    let (content, parsed) = manifest?;
                    self.note(store, &key, Obtained::There(content, parsed), &mut next).await?;
                }
            }
        }
    }

    async fn note(
        &mut self,
        store: &Store,
        key: &Key,
        obtained: Obtained,
        next: &mut Vec<Key>,
    ) -> Result<(), Error> {
        let (content, manifest) = match obtained {
            Obtained::Here(manifest) => (None, manifest),
            Obtained::There(content, manifest) => (Some(content), manifest),
        };
        let children = self.edges(store, &key.0, &manifest).await?;
        next.extend(children.iter().cloned());
        if let Some(content) = content {
            let missing = self.missing(key, content);
            self.missing.insert(key.clone(), (missing, children));
        }
        Ok(())
    }

    fn missing(&mut self, (name, digest): &Key, content: Bytes) -> Missing {
        self.kept += content.len();
        let content = (self.kept <= KEPT_LIMIT).then_some(content);
        Missing { rank: Rank::of(name), height: 0, name: name.clone(), digest: *digest, content }
    }

    /// Notes the blobs of a manifest that are not whole here; gives its child manifests.
    async fn edges(
        &mut self,
        store: &Store,
        name: &RepositoryName,
        manifest: &oci::Manifest,
    ) -> Result<Vec<Key>, Error> {
        let mut manifests = Vec::new();
        for child in oci::children(manifest) {
            let (digest, size) = (child.descriptor.digest, child.descriptor.size);
            if child.role == oci::Role::Manifest {
                manifests.push((name.clone(), digest));
                continue;
            }
            self.hold.add(digest);
            if !is_whole(store, name, &digest, size).await? {
                let new = || Need { size, repositories: BTreeSet::new(), optional: true };
                let need = self.plan.blobs.entry(digest).or_insert_with(new);
                need.optional &= child.is_optional();
                need.repositories.insert(name.clone());
            }
        }
        Ok(manifests)
    }
}

/// Whether a blob lies here, with all its bytes, and belongs to the repository.
async fn is_whole(store: &Store, name: &RepositoryName, digest: &Digest, size: u64) -> Result<bool, Error> {
    Ok(store.has_layer(name, digest).await? && is_stored(store, digest, size).await?)
}

/// Whether a blob lies here with all its bytes. One that is damaged is taken again: publishing replaces it.
pub(crate) async fn is_stored(store: &Store, digest: &Digest, size: u64) -> Result<bool, Error> {
    match store.blob(digest).await {
        Ok(blob) => Ok(blob.is_some_and(|it| it.len() == size)),
        Err(store::Error::Corrupt { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A manifest that lies here and is linked; one that is damaged counts as missing.
async fn local(store: &Store, (name, digest): &Key) -> Result<Option<oci::Manifest>, Error> {
    if !store.has_revision(name, digest).await? {
        return Ok(None);
    }
    match store.content(digest, oci::Manifest::MAX_LEN as u64).await {
        Ok(content) => Ok(content.and_then(|it| oci::Manifest::parse(&it, None).ok())),
        Err(store::Error::Corrupt { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Gives each manifest its height and sorts. Digests cannot form a circle, so no path is longer than the
/// levels.
fn in_order(found: BTreeMap<Key, (Missing, Vec<Key>)>) -> Vec<Missing> {
    let mut heights: BTreeMap<Key, usize> = found.keys().map(|key| (key.clone(), 0)).collect();
    for _ in 0..DEPTH_LIMIT {
        for (key, (_, children)) in &found {
            let below = children.iter().filter_map(|child| heights.get(child)).max().map_or(0, |it| it + 1);
            heights.insert(key.clone(), below);
        }
    }
    let with_height = |(key, (missing, _)): (Key, (Missing, _))| {
        let height = heights.get(&key).copied().unwrap_or_default();
        Missing { height, ..missing }
    };
    let mut ordered: Vec<_> = found.into_iter().map(with_height).collect();
    ordered.sort_by_key(|it| (it.rank, it.height));
    ordered
}

/// A manifest from the first named source that has it, verified.
pub(crate) async fn fetch_manifest(
    sources: &Sources,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<(Bytes, oci::Manifest), Error> {
    let mut last = None;
    let mut ordered: Vec<_> =
        sources.named().chain(sources.all().iter().filter(|it| !it.is_named())).collect();
    // Who cannot be reached costs seconds each time.
    ordered.sort_by_key(|it| it.is_resting());
    for source in ordered {
        match source.client.manifest(name, &digest.to_string()).await {
            Ok(Some(manifest)) => match verified(&source.client, manifest, digest) {
                Ok(manifest) => return Ok(manifest),
                Err(error) => last = Some(error),
            },
            Ok(None) => {}
            Err(error) => {
                source.failed();
                last = Some(error);
            }
        }
    }
    Err(last.unwrap_or_else(|| Error::Missing { what: format!("{name}@{digest}") }))
}

pub(crate) fn verified(
    client: &Client,
    manifest: crate::peer::client::Manifest,
    wanted: &Digest,
) -> Result<(Bytes, oci::Manifest), Error> {
    let computed = digest_of(wanted.algorithm(), &manifest.content);
    if computed != Some(*wanted) {
        let (endpoint, wanted) = (client.endpoint().clone(), *wanted);
        return Err(Error::WrongDigest { endpoint, wanted, computed: computed.unwrap_or(wanted) });
    }
    let parsed = oci::Manifest::parse(&manifest.content, manifest.media_type.as_deref())
        .map_err(|why| Error::Protocol { endpoint: client.endpoint().clone(), why: why.to_string() })?;
    Ok((manifest.content, parsed))
}

fn digest_of(algorithm: Algorithm, content: &[u8]) -> Option<Digest> {
    match algorithm {
        Algorithm::Sha256 => Digest::from_bytes(algorithm, &sha2::Sha256::digest(content)),
        Algorithm::Sha512 => Digest::from_bytes(algorithm, &sha2::Sha512::digest(content)),
    }
}

/// What of the selection the named sources have. Where two have the same tag, the first that is named is
/// right.
async fn targets(sources: &Sources, selection: &Selection) -> Result<Vec<Target>, Error> {
    let mut tags = BTreeMap::new();
    let mut untagged = BTreeSet::new();
    for target in sources.ask_named(|client| listed(client, selection)).await?.into_iter().flatten() {
        match target.tag {
            Some(tag) => drop(tags.entry((target.name, tag)).or_insert(target.digest)),
            None => drop(untagged.insert((target.name, target.digest))),
        }
    }
    let tagged = tags.into_iter().map(|((name, tag), digest)| Target { name, digest, tag: Some(tag) });
    let untagged = untagged.into_iter().map(|(name, digest)| Target { name, digest, tag: None });
    Ok(tagged.chain(untagged).collect())
}

async fn listed(client: Client, selection: &Selection) -> Result<Vec<Target>, Error> {
    let client = &client;
    let all = match client.lines(inventory::PATH, None).await? {
        Some(lines) => from_inventory(client, lines, selection).await?,
        None => from_listings(client, selection).await?,
    };
    let wanted: Vec<_> = all.iter().filter(|it| selection.wants(it)).cloned().collect();
    let digests: BTreeSet<_> = wanted.iter().map(|it| (it.name.clone(), it.digest)).collect();
    let signatures = all.into_iter().filter(|it| !selection.wants(it) && Selection::signs(it, &digests));
    Ok(wanted.into_iter().chain(signatures).collect())
}

async fn from_inventory(
    client: &Client,
    mut lines: Lines,
    selection: &Selection,
) -> Result<Vec<Target>, Error> {
    let protocol = |why: String| Error::Protocol { endpoint: client.endpoint().clone(), why };
    let mut targets = Vec::new();
    let (mut name, mut whole) = (None, false);
    while let Some(line) = lines.next().await? {
        match Line::parse(&line).map_err(|error| protocol(error.to_string()))? {
            Line::Begin { version } if version > inventory::VERSION => {
                return Err(protocol(format!(
                    "its inventory has version {version}, which is too new to be understood"
                )));
            }
            Line::Repository(it) => name = Some(it).filter(|it| selection.may_want(it)),
            Line::Tag(tag, digest) => {
                targets.extend(name.clone().map(|name| Target { name, digest, tag: Some(tag) }));
            }
            Line::Manifest(digest, _) => {
                targets.extend(name.clone().map(|name| Target { name, digest, tag: None }));
            }
            Line::End => whole = true,
            Line::Begin { .. } | Line::Blob(..) | Line::Unknown => {}
        }
        if targets.len() > TARGETS_LIMIT {
            return Err(protocol(format!("it lists more than {TARGETS_LIMIT} manifests")));
        }
    }
    if whole { Ok(targets) } else { Err(protocol("its inventory was cut short".to_owned())) }
}

/// By catalog and tags, as any registry of the specification can be asked.
async fn from_listings(client: &Client, selection: &Selection) -> Result<Vec<Target>, Error> {
    let names = match selection.repositories.is_empty() {
        true => client.repositories().await?.unwrap_or_default(),
        false => selection.repositories.iter().cloned().collect(),
    };
    let mut targets = Vec::new();
    for name in names.into_iter().filter(|it| selection.may_want(it)) {
        let tags = client.tags(&name).await?.unwrap_or_default();
        resolve(client, &name, tags, &mut targets).await?;
    }
    Ok(targets)
}

async fn resolve(
    client: &Client,
    name: &RepositoryName,
    tags: Vec<Tag>,
    targets: &mut Vec<Target>,
) -> Result<(), Error> {
    let mut queue = tags.into_iter();
    let mut asked = JoinSet::new();
    loop {
        while asked.len() < TAGS_AT_ONCE
            && let Some(tag) = queue.next()
        {
            let (client, name) = (client.clone(), name.clone());
            asked.spawn(async move { (client.resolve(&name, &tag).await, tag) });
        }
        let Some(Ok((digest, tag))) = asked.join_next().await else { return Ok(()) };
        if let Some(digest) = digest? {
            targets.push(Target { name: name.clone(), digest, tag: Some(tag) });
        }
    }
}
