//! `Payload`: what a release consists of, in its own words.
//!
//! Knows `release-manifests/image-references`, the ImageStream that a release image carries and by which the
//! cluster version operator installs it. Does not know where it was found, or whether what it names is
//! stored.

use std::collections::BTreeMap;

use serde::Deserialize;
use storage_layout::Digest;

/// The components of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    version: String,
    components: BTreeMap<String, Component>,
}

/// A component of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its image.
    pub digest: Digest,
    /// The repository that it is pulled from where there is no mirror, with its host:
    /// `quay.io/openshift-release-dev/ocp-v4.0-art-dev`.
    pub source: String,
}

impl Payload {
    /// Where it lies in the layers of a release image.
    pub const PATH: &str = "release-manifests/image-references";
    /// The largest list that is read, in bytes. Those of 4.x have 200 components and 150 kB.
    pub const MAX_LEN: u64 = 8 * 1024 * 1024;

    /// Parses an ImageStream (`image.openshift.io/v1`), as `oc adm release info` does.
    ///
    /// # Errors
    /// The text is not one, or names a component by anything but a digest.
    pub fn parse(json: &[u8]) -> Result<Self, PayloadError> {
        let stream: ImageStream = serde_json::from_slice(json).map_err(PayloadError::Json)?;
        if stream.kind != "ImageStream" {
            return Err(PayloadError::Kind(stream.kind));
        }
        let components: Result<_, _> = stream.spec.tags.into_iter().map(component).collect();
        Ok(Self { version: stream.metadata.name, components: components? })
    }

    /// The version, such as `4.22.1`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The components by name.
    pub fn components(&self) -> &BTreeMap<String, Component> {
        &self.components
    }
}

fn component(tag: ImageTag) -> Result<(String, Component), PayloadError> {
    let reference = tag.from.name;
    let parsed = reference.rsplit_once('@').and_then(|(source, digest)| {
        Some(Component { digest: Digest::parse(digest).ok()?, source: source.to_owned() })
    });
    match parsed {
        Some(component) => Ok((tag.name, component)),
        None => Err(PayloadError::Reference { component: tag.name, reference }),
    }
}

/// Why a text is not the list of a release's components.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// It is not JSON, or lacks a member.
    #[error("`{}` is not a list of images", Payload::PATH)]
    Json(#[source] serde_json::Error),
    /// It is another object.
    #[error("`{}` is of kind `{_0}` rather than `ImageStream`", Payload::PATH)]
    Kind(String),
    /// A component is not named by digest.
    #[error("component `{component}` is named by `{reference}`, which has no digest")]
    Reference {
        /// Which component.
        component: String,
        /// How it is named.
        reference: String,
    },
}

#[derive(Deserialize)]
struct ImageStream {
    kind: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
struct Spec {
    tags: Vec<ImageTag>,
}

#[derive(Deserialize)]
struct ImageTag {
    name: String,
    from: From,
}

#[derive(Deserialize)]
struct From {
    name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "quay.io/openshift-release-dev/ocp-v4.0-art-dev";
    const DIGEST: &str = "sha256:edccef9de32bc60c4ce1b429f42a78f86e6a3b35e7fd0ced035375ee6bb26077";

    fn stream(kind: &str, reference: &str) -> String {
        format!(
            r#"{{"kind":"{kind}","apiVersion":"image.openshift.io/v1","metadata":{{"name":"4.22.1"}},
                "spec":{{"lookupPolicy":{{"local":false}},"tags":[{{"name":"etcd","annotations":{{}},
                "from":{{"kind":"DockerImage","name":"{reference}"}}}}]}}}}"#
        )
    }

    #[test]
    fn components_have_names_digests_and_sources() {
        let payload =
            Payload::parse(stream("ImageStream", &[SOURCE, "@", DIGEST].concat()).as_bytes()).unwrap();
        assert_eq!(payload.version(), "4.22.1");
        let etcd = Component { digest: Digest::parse(DIGEST).unwrap(), source: SOURCE.to_owned() };
        assert_eq!(payload.components(), &BTreeMap::from([("etcd".to_owned(), etcd)]));
    }

    #[test]
    fn what_is_no_payload_says_why() {
        for (text, expected) in [
            (String::new(), "is not a list of images"),
            ("[]".into(), "is not a list of images"),
            (r#"{"kind":"ImageStream"}"#.into(), "is not a list of images"),
            (stream("List", DIGEST), "of kind `List`"),
            (stream("ImageStream", &[SOURCE, ":4.22.1"].concat()), "component `etcd` is named by"),
            (stream("ImageStream", DIGEST), "which has no digest"),
            (stream("ImageStream", &[SOURCE, "@sha256:12"].concat()), "which has no digest"),
        ] {
            let error = Payload::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
