//! Media types of manifests.
//!
//! Knows the four that can be pushed, and how to tell which one stored bytes
//! have: distribution's tree keeps no media type beside them.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::oci::object::Object;

/// The media type of a manifest that can be pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestType {
    /// An OCI image manifest.
    OciImage,
    /// An OCI image index.
    OciIndex,
    /// Docker's image manifest, version 2, schema 2.
    DockerImage,
    /// Docker's manifest list.
    DockerList,
}

impl ManifestType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::OciImage, Self::OciIndex, Self::DockerImage, Self::DockerList];

    /// The type that `text` names; parameters (`; charset=..`) and case are ignored (RFC 9110, section
    /// 8.3.1).
    pub fn parse(text: &str) -> Option<Self> {
        let essence = text.split(';').next().unwrap_or_default().trim();
        Self::ALL.into_iter().find(|it| it.as_str().eq_ignore_ascii_case(essence))
    }

    /// The media type as text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OciImage => "application/vnd.oci.image.manifest.v1+json",
            Self::OciIndex => "application/vnd.oci.image.index.v1+json",
            Self::DockerImage => "application/vnd.docker.distribution.manifest.v2+json",
            Self::DockerList => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }

    /// Whether it lists manifests rather than a config and layers.
    pub const fn is_index(self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerList)
    }
}

/// Docker's first format, which is served where a tree holds it and cannot be pushed.
const DOCKER_SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// The media type of a stored manifest, from its bytes alone. Where they do not say, an OCI document is told
/// by its shape, as distribution does (`registry/storage/manifeststore.go`). Bytes that are no JSON object
/// are what any bytes are.
pub fn stored_media_type(content: &[u8]) -> Cow<'static, str> {
    let Ok(Object(head)) = serde_json::from_slice::<Object<Head<'_>>>(content) else {
        return Cow::Borrowed("application/octet-stream");
    };
    match head.media_type.filter(|it| !it.is_empty()) {
        Some(media_type) => match ManifestType::parse(&media_type).filter(|it| it.as_str() == media_type) {
            Some(known) => Cow::Borrowed(known.as_str()),
            None => Cow::Owned(media_type.into_owned()),
        },
        None if head.schema_version == Some(1) => Cow::Borrowed(DOCKER_SCHEMA_1),
        None if head.manifests.is_some() => Cow::Borrowed(ManifestType::OciIndex.as_str()),
        None => Cow::Borrowed(ManifestType::OciImage.as_str()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(default)]
    schema_version: Option<u64>,
    #[serde(default, borrow)]
    media_type: Option<Cow<'a, str>>,
    #[serde(default)]
    manifests: Option<IgnoredAny>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_headers_spell_them() {
        for known in ManifestType::ALL {
            assert_eq!(ManifestType::parse(known.as_str()), Some(known));
            let dressed = format!(" {}; charset=utf-8", known.as_str().to_uppercase());
            assert_eq!(ManifestType::parse(&dressed), Some(known));
        }
        assert_eq!(ManifestType::parse("application/json"), None);
        assert_eq!(ManifestType::parse(""), None);
    }

    #[test]
    fn stored_bytes_tell_their_type() {
        let image = ManifestType::OciImage.as_str();
        for (content, expected) in [
            (r#"{"schemaVersion":2,"config":{},"layers":[]}"#, image),
            (r#"{"schemaVersion":2,"manifests":[]}"#, ManifestType::OciIndex.as_str()),
            (r#"{"schemaVersion":2,"manifests":null}"#, image),
            (r#"{"schemaVersion":2,"mediaType":"","layers":[]}"#, image),
            (r#"{"schemaVersion":1,"name":"a","signatures":[]}"#, DOCKER_SCHEMA_1),
            (r#"{"mediaType":"application/x","manifests":[]}"#, "application/x"),
            ("[1]", "application/octet-stream"),
            ("", "application/octet-stream"),
        ] {
            assert_eq!(stored_media_type(content.as_bytes()), expected, "{content}");
        }
        for known in ManifestType::ALL {
            let content = format!(r#"{{"schemaVersion":2,"mediaType":"{}","x":[[1]]}}"#, known.as_str());
            assert_eq!(stored_media_type(content.as_bytes()), known.as_str());
        }
    }
}
