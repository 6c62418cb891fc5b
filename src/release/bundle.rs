//! `BundleName`: the name by which a cluster asks for a release.
//!
//! Knows how the appliance builder makes one from a version, and that it has made it in two ways. Does not
//! know what is in a bundle: today's are empty images whose name is all they say.

use std::fmt;

use storage_layout::Tag;

/// `ocp-release-bundle-<version>[-<arch>]`, cut at 64 characters: the longest name that
/// `InternalReleaseImage.spec.releases` takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleName(Tag);

impl BundleName {
    /// What every bundle's name begins with.
    const PREFIX: &str = "ocp-release-bundle-";
    /// Where the builder cuts (appliance `pkg/releasebundle`).
    const MAX_LEN: usize = 64;
    /// What may follow a version, in Go's words and in the kernel's.
    const ARCHITECTURES: [&str; 7] = ["x86_64", "amd64", "aarch64", "arm64", "ppc64le", "s390x", "multi"];

    /// The bundle that a tag names; `None` for another tag.
    pub fn parse(tag: &Tag) -> Option<Self> {
        let version = tag.as_str().strip_prefix(Self::PREFIX)?;
        (!version.is_empty() && tag.as_str().len() <= Self::MAX_LEN).then(|| Self(tag.clone()))
    }

    /// Whether this bundle is the release of `version`: with and without the architecture, for both are in
    /// the field, and cut as the builder cuts.
    pub fn is_of(&self, version: &str) -> bool {
        let plain = [Self::PREFIX, version].concat();
        let name = self.0.as_str();
        name == cut(&plain)
            || Self::ARCHITECTURES.iter().any(|arch| name == cut(&[&*plain, "-", arch].concat()))
    }

    /// The tag.
    pub fn tag(&self) -> &Tag {
        &self.0
    }
}

fn cut(name: &str) -> &str {
    name.get(..BundleName::MAX_LEN).unwrap_or(name)
}

impl fmt::Display for BundleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_bundle_is_of_which_version() {
        let nightly = "4.22.0-0.nightly-multi-2026-01-01-000000";
        for (tag, version, expected) in [
            ("ocp-release-bundle-4.22.1-x86_64", "4.22.1", true),
            ("ocp-release-bundle-4.22.1", "4.22.1", true),
            ("ocp-release-bundle-4.22.10", "4.22.1", false),
            ("ocp-release-bundle-4.22.1-rc.1", "4.22.1", false),
            ("ocp-release-bundle-4.22.1-rc.1-x86_64", "4.22.1-rc.1", true),
            ("ocp-release-bundle-4.22.0-0.nightly-multi-2026-01-01-000000", nightly, true),
            ("ocp-release-bundle-4.22.0-0.nightly-multi-2026-01-01-000000-x86_", nightly, true),
            ("ocp-release-bundle-4.22.0-0.nightly-multi-2026-01-01-000000-x86_64", nightly, false),
        ] {
            let bundle = BundleName::parse(&Tag::parse(tag).unwrap());
            assert_eq!(bundle.is_some_and(|it| it.is_of(version)), expected, "{tag} of {version}");
        }
    }

    #[test]
    fn other_tags_name_no_bundle() {
        for tag in ["latest", "ocp-release-bundle-", "release-bundle-4.22.1"] {
            assert_eq!(BundleName::parse(&Tag::parse(tag).unwrap()), None, "{tag}");
        }
    }
}
