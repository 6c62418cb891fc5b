//! Which releases a source has under the names that a job asks for.
//!
//! Knows that a bundle's name holds a version, and that only the payload's own list says which release has
//! it. Does not believe a source: what it calls a release is read from bytes that have the digest asked for.

use std::collections::BTreeSet;

use bytes::Bytes;
use bytes::BytesMut;
use storage_layout::Digest;
use storage_layout::RepositoryName;
use storage_layout::Tag;
use tokio::task::spawn_blocking;

use crate::oci;
use crate::peer::Error;
use crate::peer::client::Client;
use crate::peer::selection::Selection;
use crate::peer::selection::Target;
use crate::peer::sources::Sources;
use crate::peer::survey::digest_of;
use crate::peer::survey::verified;
use crate::release;
use crate::release::BundleName;
use crate::release::Payload;
use crate::release::Tagged;
use crate::release::find_payload;
use crate::store::Store;

/// The largest layer that is looked into for the payload's list: a release image's own layer has some ten
/// megabytes.
const LAYER_LIMIT: u64 = 64 * 1024 * 1024;
/// How many layers of a release image are looked into, the last first.
const LAYERS_LIMIT: usize = 3;
/// The most release images of one source that are looked into: an API object lists 32.
const RELEASES_LIMIT: usize = 256;

/// What the names of a job stand for.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// The selection, with the digest, the tag and the bundle of each release.
    pub(super) selection: Selection,
    /// Components by the payloads' own lists, whether or not they have tags.
    pub(super) components: Vec<Target>,
}

/// A release as a source has it.
struct Offered {
    image: Tagged,
    payload: Option<Payload>,
    bundle: Option<Tag>,
}

/// Finds out which releases the names in `selection` stand for at the named sources.
///
/// # Errors
/// No source has a release of such a name.
pub(super) async fn resolve(
    store: &Store,
    sources: &Sources,
    selection: &Selection,
) -> Result<Resolved, Error> {
    let mut resolved = Resolved { selection: selection.clone(), components: Vec::new() };
    if selection.releases.is_empty() && selection.bundles.is_empty() {
        return Ok(resolved);
    }
    let mut found = BTreeSet::new();
    let answers = sources.ask_named(|client| async move { offered(store, &client).await }).await?;
    for offered in answers.into_iter().flatten() {
        let names = offered.names_in(selection);
        if !names.is_empty() {
            found.extend(names);
            resolved.add(offered);
        }
    }
    let digests = selection.releases.iter().map(ToString::to_string);
    let asked = digests.chain(selection.bundles.iter().map(ToString::to_string));
    match asked.into_iter().find(|name| !found.contains(name)) {
        Some(name) => Err(Error::Missing { what: format!("release {name}") }),
        None => Ok(resolved),
    }
}

impl Resolved {
    fn add(&mut self, offered: Offered) {
        self.selection.releases.insert(offered.image.digest);
        self.selection.tags.insert(offered.image.tag);
        self.selection.bundles.extend(offered.bundle);
        let listed = offered.payload.iter().flat_map(|it| it.components().values());
        let name = release::repository(release::COMPONENTS);
        self.components.extend(listed.map(|it| Target { name: name.clone(), digest: it.digest, tag: None }));
    }
}

impl Offered {
    /// By which of the names that are asked for it is called.
    fn names_in(&self, selection: &Selection) -> Vec<String> {
        let version = self.payload.as_ref().map(Payload::version);
        let digest = selection.releases.get(&self.image.digest).map(ToString::to_string);
        let is_called = |name: &&Tag| {
            self.bundle.as_ref() == Some(name) || self.image.tag == **name || version == Some(name.as_str())
        };
        digest
            .into_iter()
            .chain(selection.bundles.iter().filter(is_called).map(ToString::to_string))
            .collect()
    }
}

/// The releases that a source has.
async fn offered(store: &Store, client: &Client) -> Result<Vec<Offered>, Error> {
    let images = release::repository(release::IMAGES);
    let mut offered = Vec::new();
    for tag in client.tags(&images).await?.unwrap_or_default() {
        if release::attached_to(&tag).is_some() {
            continue;
        }
        if offered.len() == RELEASES_LIMIT {
            let why = format!("it has more than {RELEASES_LIMIT} releases");
            return Err(Error::Protocol { endpoint: client.endpoint().clone(), why });
        }
        let Some(digest) = client.resolve(&images, &tag).await? else { continue };
        let payload = payload(store, client, &images, &digest).await?;
        offered.push(Offered { image: Tagged { tag, digest }, payload, bundle: None });
    }
    let bundles = client.tags(&release::repository(release::BUNDLES)).await?.unwrap_or_default();
    let bundles: Vec<_> = bundles.iter().filter_map(BundleName::parse).collect();
    let is_only = offered.len() == 1 && bundles.len() == 1;
    for release in &mut offered {
        let version = release.payload.as_ref().map(Payload::version);
        let named = bundles.iter().find(|it| version.is_some_and(|version| it.is_of(version)));
        release.bundle = named.or_else(|| bundles.first().filter(|_| is_only)).map(|it| it.tag().clone());
    }
    Ok(offered)
}

/// The payload's list of a release image; `None` where it has none that can be read.
async fn payload(
    store: &Store,
    client: &Client,
    name: &RepositoryName,
    image: &Digest,
) -> Result<Option<Payload>, Error> {
    let manifest = match store.content(image, oci::Manifest::MAX_LEN as u64).await {
        Ok(Some(content)) => oci::Manifest::parse(&content, None).ok(),
        Ok(None) | Err(_) => match client.manifest(name, &image.to_string()).await? {
            Some(manifest) => Some(verified(client, manifest, image)?.1),
            None => None,
        },
    };
    let Some(manifest) = manifest else { return Ok(None) };
    let layers: Vec<_> = oci::children(&manifest).filter(|it| it.role == oci::Role::Layer).collect();
    for layer in layers.iter().rev().take(LAYERS_LIMIT).filter(|it| it.descriptor.size <= LAYER_LIMIT) {
        let digest = layer.descriptor.digest;
        let content = match store.content(&digest, LAYER_LIMIT).await {
            Ok(Some(content)) => Some(content),
            Ok(None) | Err(_) => fetch(client, name, &digest, layer.descriptor.size).await?,
        };
        let Some(content) = content else { continue };
        // Taking a layer apart is work for a processor, and belongs on no thread that serves.
        let found = spawn_blocking(move || find_payload(&*content).ok().flatten()).await.ok().flatten();
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// A blob of a source, whole and verified.
async fn fetch(
    client: &Client,
    name: &RepositoryName,
    digest: &Digest,
    size: u64,
) -> Result<Option<Bytes>, Error> {
    let Some(mut stream) = client.blob(name, digest, 0).await? else { return Ok(None) };
    let mut whole = BytesMut::new();
    while let Some(data) = stream.next().await? {
        if whole.len() as u64 + data.len() as u64 > size {
            let (endpoint, request) = (client.endpoint().clone(), digest.to_string());
            return Err(Error::TooLarge { endpoint, request, limit: size });
        }
        whole.extend_from_slice(&data);
    }
    let whole = whole.freeze();
    Ok((digest_of(digest.algorithm(), &whole) == Some(*digest)).then_some(whole))
}
