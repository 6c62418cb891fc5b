//! `Selection`: what of a source is wanted.
//!
//! Knows releases by their names in the tree (oc-mirror's, see `release`) and repositories by theirs. Does
//! not know what a source has.

use std::collections::BTreeSet;

use storage_layout::Digest;
use storage_layout::RepositoryName;
use storage_layout::Tag;

/// The repository of bundles: a tag is a bundle's name.
pub(crate) const BUNDLES: &str = "openshift/release-bundles";
/// The repository of release images: a tag is the digest of one, in hex.
pub(crate) const RELEASE_IMAGES: &str = "openshift/release-images";
/// The repository of components: a tag is the release's hex, a hyphen and the component's name.
pub(crate) const COMPONENTS: &str = "openshift/release";

/// What of a source is wanted. Nothing named means everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Release images, by digest.
    pub releases: BTreeSet<Digest>,
    /// Bundles, by name; or releases by version or tag, until a source says which they are.
    pub bundles: BTreeSet<Tag>,
    /// The tags of release images, as far as a source has said them.
    pub tags: BTreeSet<Tag>,
    /// Repositories, whole.
    pub repositories: BTreeSet<RepositoryName>,
}

/// A manifest that a source has, perhaps under a tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    pub(crate) name: RepositoryName,
    pub(crate) digest: Digest,
    pub(crate) tag: Option<Tag>,
}

impl Selection {
    /// Whether everything is wanted.
    pub fn is_everything(&self) -> bool {
        self.releases.is_empty() && self.bundles.is_empty() && self.repositories.is_empty()
    }

    /// Whether anything of a repository can be wanted, so that its listing is worth asking for.
    pub(crate) fn may_want(&self, name: &RepositoryName) -> bool {
        let of_release = matches!(name.as_str(), BUNDLES | RELEASE_IMAGES | COMPONENTS);
        let releases = !self.releases.is_empty() || !self.bundles.is_empty();
        self.is_everything() || self.repositories.contains(name) || (releases && of_release)
    }

    /// Whether all of a repository is wanted.
    pub(crate) fn is_whole(&self, name: &RepositoryName) -> bool {
        self.is_everything() || self.repositories.contains(name)
    }

    /// Whether a target is wanted.
    pub(crate) fn wants(&self, target: &Target) -> bool {
        match &target.tag {
            Some(tag) => self.wants_tag(&target.name, tag),
            None => self.is_whole(&target.name),
        }
    }

    /// Whether what a tag points at is wanted.
    pub(crate) fn wants_tag(&self, name: &RepositoryName, tag: &Tag) -> bool {
        if self.is_whole(name) {
            return true;
        }
        match name.as_str() {
            BUNDLES => self.bundles.contains(tag),
            RELEASE_IMAGES => {
                self.tags.contains(tag)
                    || self.releases.iter().any(|it| tag.as_str().contains(it.hex().as_ref()))
            }
            COMPONENTS => {
                let begins = |release: &str| {
                    tag.as_str().strip_prefix(release).is_some_and(|rest| rest.starts_with('-'))
                };
                self.tags.iter().any(|it| begins(it.as_str()))
                    || self.releases.iter().any(|it| begins(it.hex().as_ref()))
            }
            _ => false,
        }
    }

    /// Whether a target is the signature of one of `wanted`, which lie in the same repository.
    pub(crate) fn signs(target: &Target, wanted: &BTreeSet<(RepositoryName, Digest)>) -> bool {
        let Some(digest) = target.tag.as_ref().and_then(signed_digest) else { return false };
        wanted.contains(&(target.name.clone(), digest))
    }
}

/// The digest that a tag `sha256-<hex>.sig` (or `.att`, `.sbom`) belongs to.
fn signed_digest(tag: &Tag) -> Option<Digest> {
    let (algorithm, rest) = tag.as_str().split_once('-')?;
    let (hex, _) = rest.split_once('.')?;
    Digest::parse(&format!("{algorithm}:{hex}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str, tag: &str) -> Target {
        let digest = Digest::parse(&format!("sha256:{}", "cd".repeat(32))).unwrap();
        Target { name: RepositoryName::parse(name).unwrap(), digest, tag: Tag::parse(tag).ok() }
    }

    #[test]
    fn a_release_is_its_image_its_components_and_its_bundle() {
        let hex = "ab".repeat(32);
        let mut selection = Selection::default();
        selection.releases.insert(Digest::parse(&format!("sha256:{hex}")).unwrap());
        selection.bundles.insert(Tag::parse("ocp-release-bundle-4.18.0-x86_64").unwrap());
        let check = |name: &str, tag: &str, want: bool| {
            assert_eq!(selection.wants(&target(name, tag)), want, "{name}:{tag}");
        };
        check(BUNDLES, "ocp-release-bundle-4.18.0-x86_64", true);
        check(BUNDLES, "ocp-release-bundle-4.19.0-x86_64", false);
        check(RELEASE_IMAGES, &hex, true);
        check(RELEASE_IMAGES, &"ef".repeat(32), false);
        check(RELEASE_IMAGES, &format!("sha256-{hex}.sig"), true);
        check(COMPONENTS, &format!("{hex}-etcd"), true);
        check(COMPONENTS, &format!("{}-etcd", "ef".repeat(32)), false);
        check("metallb/operator", "v1", false);
    }

    #[test]
    fn signatures_follow_what_they_sign() {
        let signed = target(COMPONENTS, "x-etcd");
        let wanted = BTreeSet::from([(signed.name.clone(), signed.digest)]);
        let signature = target(COMPONENTS, &format!("sha256-{}.sig", "cd".repeat(32)));
        assert!(Selection::signs(&signature, &wanted));
        assert!(!Selection::signs(&target(COMPONENTS, "sha256-00.sig"), &wanted));
        assert!(!Selection::signs(&target("other", &format!("sha256-{}.sig", "cd".repeat(32))), &wanted));
    }
}
