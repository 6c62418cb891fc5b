//! Releases out of nothing, laid out as oc-mirror and the appliance builder lay them out.
//!
//! Knows the repositories, the tags and the payload's own list. Does not know where a release goes.

use std::collections::BTreeMap;

use anyhow::Result;
use anyhow::ensure;
use fastrand::Rng;
use serde_json::json;

use crate::client;
use crate::http::Endpoint;
use crate::image::Image;
use crate::image::Layer;
use crate::payload::strings;

/// Where components are tagged.
pub(crate) const COMPONENTS: &str = "openshift/release";
/// Where release images are tagged.
pub(crate) const IMAGES: &str = "openshift/release-images";
/// Where bundles are tagged.
pub(crate) const BUNDLES: &str = "openshift/release-bundles";

/// How much of what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// How many components.
    pub(crate) components: usize,
    /// The length of each of the two base layers, which all components share.
    pub(crate) base: usize,
    /// The length of the layer that a component has of its own.
    pub(crate) own: usize,
}

impl Size {
    /// 62 images and 131 MB.
    pub(crate) const WHOLE: Self = Self { components: 60, base: 20_000_000, own: 1_516_000 };
    /// 62 images and 24 MB: as many requests, in less time.
    pub(crate) const LIGHT: Self = Self { components: 60, base: 3_000_000, own: 300_000 };
}

/// A release: images under their tags, in the order in which a mirror pushes them.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    /// The digest of its image.
    pub(crate) digest: String,
    /// Its images: repository, tag, image.
    pub(crate) images: Vec<(&'static str, String, Image)>,
}

impl Release {
    /// A release of random bytes. Releases of the same `base` seed share their base layers.
    pub(crate) fn random(version: &str, size: Size, base: u64) -> Result<Self> {
        let mut shared = Rng::with_seed(base);
        let bases = [Layer::random(&mut shared, size.base)?, Layer::random(&mut shared, size.base)?];
        let mut random = Rng::with_seed(version.bytes().fold(base, |seed, byte| seed * 31 + u64::from(byte)));
        let mut components = Vec::new();
        for number in 0..size.components {
            let own = Layer::random(&mut random, size.own)?;
            components.push((format!("part{number}"), Image::of([&bases[..], &[own]].concat())));
        }
        Self::of(version, components)
    }

    /// The release of these components.
    pub(crate) fn of(version: &str, components: Vec<(String, Image)>) -> Result<Self> {
        let tags: Vec<_> = components.iter().map(|(name, image)| listed(name, image)).collect();
        let list = json!({ "kind": "ImageStream", "apiVersion": "image.openshift.io/v1",
            "metadata": { "name": version }, "spec": { "tags": tags } });
        let list = Layer::of("release-manifests/image-references", list.to_string().as_bytes())?;
        let image = Image::of(vec![list]);
        let digest = image.manifest.digest.clone();
        let hex = digest.trim_start_matches("sha256:").to_owned();
        let bundle = format!("ocp-release-bundle-{version}-x86_64");
        let mut images: Vec<_> = components
            .into_iter()
            .map(|(name, image)| (COMPONENTS, format!("{hex}-{name}"), image))
            .collect();
        images.push((IMAGES, hex, image));
        let marker = Layer::of("bundle", version.as_bytes())?;
        images.push((BUNDLES, bundle, Image::of(vec![marker])));
        Ok(Self { digest, images })
    }

    /// Pushes it as a client does.
    pub(crate) fn push(&self, endpoint: &Endpoint) -> Result<()> {
        self.images
            .iter()
            .try_for_each(|(repository, tag, image)| client::push_image(endpoint, repository, tag, image))
    }

    /// Every tag is there, and every blob has its bytes.
    pub(crate) fn check(&self, endpoint: &Endpoint) -> Result<()> {
        let mut seen = BTreeMap::new();
        for (repository, tag, image) in &self.images {
            let path = format!("/v2/{repository}/manifests/{tag}");
            let manifest = client::manifest(endpoint, "GET", &path)?.expect(200)?;
            ensure!(manifest.body == image.manifest.bytes, "{repository}:{tag} is another manifest");
            for blob in image.blobs() {
                if seen.insert((*repository, blob.digest.clone()), ()).is_none() {
                    client::check_blob(endpoint, repository, blob)?;
                }
            }
        }
        Ok(())
    }

    /// Nobody can see it: neither its bundle nor its image.
    pub(crate) fn check_unseen(&self, endpoint: &Endpoint) -> Result<()> {
        for (repository, tag, _) in self.images.iter().filter(|it| it.0 != COMPONENTS) {
            // A listing shows what is here; a pull would fetch it from wherever it is.
            let list =
                endpoint.get(&format!("/v2/{repository}/tags/list?n=1000"))?.expect_any(&[200, 404])?;
            let is_seen = list.status == 200 && strings(&list.json()?, "tags").contains(&tag.as_str());
            ensure!(!is_seen, "{repository}:{tag} can be seen before the release is whole");
        }
        Ok(())
    }

    /// How many bytes its blobs have, each counted once.
    pub(crate) fn bytes(&self) -> u64 {
        let blobs = self.images.iter().flat_map(|(.., image)| image.blobs());
        let sizes: BTreeMap<_, _> = blobs.map(|it| (it.digest.as_str(), it.bytes.len() as u64)).collect();
        sizes.into_values().sum()
    }
}

fn listed(name: &str, image: &Image) -> serde_json::Value {
    let digest = &image.manifest.digest;
    let from = json!({ "kind": "DockerImage", "name": format!("quay.io/openshift-release-dev/ocp-v4.0-art-dev@{digest}") });
    json!({ "name": name, "from": from })
}
