//! What a release is, told from a store's tags and documents alone.
//!
//! Knows the names by which oc-mirror v2 and the appliance builder lay a release out, the payload's own list
//! of components, and what a cluster must be told to find them here. Does not know how a tag or a manifest is
//! read, what is really stored, or how a release is moved: tags, documents and edges arrive as values.
//!
//! | what | repository | tag |
//! |---|---|---|
//! | bundle | `openshift/release-bundles` | `ocp-release-bundle-<version>[-<arch>]`, cut at 64 characters |
//! | release image | `openshift/release-images` | what stood after the last `:` of its reference: as a rule the 64 hex digits of its digest |
//! | component | `openshift/release` | `<the release image's tag>-<component>` |
//! | signature of any | the same | `sha256-<hex>.sig` |
//!
//! Sources: oc-mirror `v2/internal/pkg/release`, appliance `pkg/releasebundle`, cosign's tag scheme.

use std::collections::BTreeMap;

use storage_layout::Algorithm;
use storage_layout::Digest;
use storage_layout::RepositoryName;
use storage_layout::Tag;

mod bundle;
mod catalog;
mod closure;
mod condition;
mod layer;
mod mirror;
mod payload;

pub use bundle::BundleName;
pub use catalog::Catalog;
pub use catalog::CatalogFormat;
pub use catalog::catalog_sources;
pub use catalog::cluster_catalogs;
pub use closure::Member;
pub use closure::Part;
pub use closure::closure;
pub use closure::members;
pub use condition::Condition;
pub use condition::ConditionType;
pub use condition::Facts;
pub use layer::LayerError;
pub use layer::find_payload;
pub use mirror::Host;
pub use mirror::HostError;
pub use mirror::Mirrors;
pub use mirror::certificate_path;
pub use payload::Component;
pub use payload::Payload;
pub use payload::PayloadError;

/// Where bundles are tagged.
pub const BUNDLES: &str = "openshift/release-bundles";
/// Where release images are tagged.
pub const IMAGES: &str = "openshift/release-images";
/// Where their components are tagged.
pub const COMPONENTS: &str = "openshift/release";

/// When a manifest or a tag becomes visible: components and whatever else, then the release, then what
/// announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// A component, or an image of no release.
    Component,
    /// A release image.
    Release,
    /// A bundle.
    Bundle,
}

impl Rank {
    /// All, in their order.
    pub const ALL: [Self; 3] = [Self::Component, Self::Release, Self::Bundle];

    /// The rank of what lies in a repository.
    pub fn of(name: &RepositoryName) -> Self {
        match name.as_str() {
            BUNDLES => Self::Bundle,
            IMAGES => Self::Release,
            _ => Self::Component,
        }
    }
}

/// A tag and what it points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    /// The tag.
    pub tag: Tag,
    /// The manifest.
    pub digest: Digest,
}

/// A release, as far as tags tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The release image and its tag in [`IMAGES`].
    pub image: Tagged,
    /// The components that are tagged in [`COMPONENTS`], by name. What the release consists of is for its
    /// [`Payload`] to say.
    pub components: BTreeMap<String, Tagged>,
}

/// The releases that tags name, in the order of `images`, the tags of [`IMAGES`]; `components` are those of
/// [`COMPONENTS`]. Signatures and other attachments are no releases.
pub fn releases(images: &[Tagged], components: &[Tagged]) -> Vec<Release> {
    let mut releases: Vec<_> = images
        .iter()
        .filter(|it| attached_to(&it.tag).is_none())
        .map(|image| Release { image: image.clone(), components: BTreeMap::new() })
        .collect();
    for tagged in components {
        // One release's tag may begin with another's (`4.22.1` and `4.22.1-x86_64`): the longest fits.
        let owner = releases
            .iter_mut()
            .filter_map(|release| {
                let name = component_of(&release.image.tag, &tagged.tag)?.to_owned();
                Some((release, name))
            })
            .max_by_key(|(release, _)| release.image.tag.as_str().len());
        if let Some((release, name)) = owner {
            release.components.insert(name, tagged.clone());
        }
    }
    releases
}

/// The digest that a tag is attached to by cosign's scheme (`sha256-<hex>.sig`, `.att`, `.sbom`) or by the
/// specification's referrers tag schema (`sha256-<hex>`).
pub fn attached_to(tag: &Tag) -> Option<Digest> {
    let (algorithm, rest) = tag.as_str().split_once('-')?;
    let hex = rest.split_once('.').map_or(rest, |(hex, _)| hex);
    Digest::from_hex(Algorithm::parse(algorithm)?, hex)
}

/// The component that `tag` names, if it belongs to the release tagged `release`.
fn component_of<'a>(release: &Tag, tag: &'a Tag) -> Option<&'a str> {
    tag.as_str().strip_prefix(release.as_str())?.strip_prefix('-').filter(|it| !it.is_empty())
}

/// One of the three repositories above.
pub(crate) fn repository(name: &'static str) -> RepositoryName {
    #[expect(clippy::expect_used, reason = "the names are constants, and a test parses them all")]
    RepositoryName::parse(name).expect("a repository's name")
}

#[cfg(test)]
mod tests;
