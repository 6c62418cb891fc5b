//! `Manifest`: an image manifest or an index, of OCI or of Docker.
//!
//! Knows what one points at and which documents are not to be accepted. Keeps
//! none of the bytes: those are stored and served as they came.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::oci::Annotations;
use crate::oci::Descriptor;
use crate::oci::ManifestType;
use crate::oci::descriptor::null_as_default;
use crate::oci::object::Object;
use crate::oci::object::object;
use crate::oci::object::objects;

/// A parsed manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    media_type: ManifestType,
    content: Content,
    subject: Option<Descriptor>,
    artifact_type: String,
    annotations: Annotations,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Image { config: Descriptor, layers: Vec<Descriptor> },
    Index { manifests: Vec<Descriptor> },
}

impl Manifest {
    /// The largest manifest, in bytes: what the specification asks a registry to take ("Pushing Manifests"),
    /// and where containers/image and containerd stop reading (4 MiB both).
    pub const MAX_LEN: usize = 4 * 1024 * 1024;

    /// Parses a manifest that a client pushes as `content_type`. Unknown members are of no concern. A
    /// `mediaType` may be missing from an OCI document; where both speak they must agree, and a document must
    /// not be an image and an index at once, or two clients could read two things in the same bytes
    /// ([CVE-2021-41190]).
    ///
    /// [CVE-2021-41190]: https://github.com/opencontainers/image-spec/security/advisories/GHSA-77vh-xpmg-72qh
    ///
    /// # Errors
    /// Says which rule the document breaks.
    pub fn parse(content: &[u8], content_type: Option<&str>) -> Result<Self, ManifestError> {
        let Object(document) =
            serde_json::from_slice::<Object<Document>>(content).map_err(ManifestError::Json)?;
        if document.schema_version != 2 {
            return Err(ManifestError::SchemaVersion(document.schema_version));
        }
        let media_type = document.agreed_type(content_type)?;
        document.into_manifest(media_type)
    }

    /// What kind of manifest it is.
    pub fn media_type(&self) -> ManifestType {
        self.media_type
    }

    /// The manifest that this one refers to: it need not exist, and does not keep this one alive.
    pub fn subject(&self) -> Option<&Descriptor> {
        self.subject.as_ref()
    }

    /// What kind of artifact it is (distribution-spec, "Listing Referrers"): its own word, else an image's
    /// config's media type, else nothing.
    pub fn artifact_type(&self) -> &str {
        match &self.content {
            Content::Image { config, .. } if self.artifact_type.is_empty() => &config.media_type,
            _ => &self.artifact_type,
        }
    }

    /// What it says about itself.
    pub fn annotations(&self) -> &Annotations {
        &self.annotations
    }
}

/// Something a manifest is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child<'a> {
    /// What it is to the manifest.
    pub role: Role,
    /// Which content.
    pub descriptor: &'a Descriptor,
}

/// What a child is to its manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The config: a blob.
    Config,
    /// A layer: a blob.
    Layer,
    /// An entry of an index that is a manifest.
    Manifest,
    /// An entry of an index that is no manifest known here: a blob, as in the build caches of BuildKit.
    Blob,
}

impl Child<'_> {
    /// Whether a registry may go without it: content that may not be distributed, or that lies elsewhere too.
    pub fn is_optional(&self) -> bool {
        const PREFIXES: [&str; 2] = [
            "application/vnd.oci.image.layer.nondistributable.",
            "application/vnd.docker.image.rootfs.foreign.",
        ];
        !self.descriptor.urls.is_empty()
            || PREFIXES.iter().any(|prefix| self.descriptor.media_type.starts_with(prefix))
    }
}

/// What a manifest is made of, in its order. The only follower of edges in this crate: pushing, collecting
/// garbage, verifying and copying all walk the graph through here.
pub fn children(manifest: &Manifest) -> impl Iterator<Item = Child<'_>> {
    let (config, listed) = match &manifest.content {
        Content::Image { config, layers } => (Some(config), layers),
        Content::Index { manifests } => (None, manifests),
    };
    let is_index = manifest.media_type.is_index();
    let role = move |descriptor: &Descriptor| match (is_index, ManifestType::parse(&descriptor.media_type)) {
        (false, _) => Role::Layer,
        (true, Some(_)) => Role::Manifest,
        (true, None) => Role::Blob,
    };
    let config = config.map(|descriptor| Child { role: Role::Config, descriptor });
    config
        .into_iter()
        .chain(listed.iter().map(move |descriptor| Child { role: role(descriptor), descriptor }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    schema_version: u64,
    #[serde(default, deserialize_with = "null_as_default")]
    media_type: String,
    #[serde(default, deserialize_with = "object")]
    config: Option<Descriptor>,
    #[serde(default, deserialize_with = "objects")]
    layers: Option<Vec<Descriptor>>,
    #[serde(default, deserialize_with = "objects")]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default, deserialize_with = "object")]
    subject: Option<Descriptor>,
    #[serde(default, deserialize_with = "null_as_default")]
    artifact_type: String,
    #[serde(default, deserialize_with = "null_as_default")]
    annotations: Annotations,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<IgnoredAny>,
}

impl Document {
    fn agreed_type(&self, content_type: Option<&str>) -> Result<ManifestType, ManifestError> {
        let sent = content_type.and_then(ManifestType::parse);
        // What says of itself that it is something else is no manifest. Some send documents as what they are
        // written in.
        let other = content_type.filter(|it| sent.is_none() && !matches!(it.trim(), "" | "application/json"));
        if let Some(other) = other {
            return Err(ManifestError::ContentType(other.to_owned()));
        }
        if self.media_type.is_empty() {
            return match sent {
                Some(docker @ (ManifestType::DockerImage | ManifestType::DockerList)) => {
                    Err(ManifestError::NoMediaType(docker.as_str()))
                }
                Some(oci) => Ok(oci),
                None if self.manifests.is_some() => Ok(ManifestType::OciIndex),
                None => Ok(ManifestType::OciImage),
            };
        }
        let unsupported = || ManifestError::MediaType(self.media_type.clone());
        let own = ManifestType::parse(&self.media_type).ok_or_else(unsupported)?;
        match sent {
            Some(sent) if sent != own => {
                Err(ManifestError::Disagreement { content_type: sent.as_str(), media_type: own.as_str() })
            }
            _ => Ok(own),
        }
    }

    fn into_manifest(self, media_type: ManifestType) -> Result<Manifest, ManifestError> {
        let is_image = self.config.is_some() || self.layers.is_some() || self.fs_layers.is_some();
        let content = match (media_type.is_index(), self.config) {
            (true, _) if is_image => return Err(ManifestError::Ambiguous),
            (true, _) => Content::Index { manifests: self.manifests.unwrap_or_default() },
            (false, _) if self.manifests.is_some() || self.fs_layers.is_some() => {
                return Err(ManifestError::Ambiguous);
            }
            (false, None) => return Err(ManifestError::NoConfig),
            (false, Some(config)) => Content::Image { config, layers: self.layers.unwrap_or_default() },
        };
        let Self { subject, artifact_type, annotations, .. } = self;
        Ok(Manifest { media_type, content, subject, artifact_type, annotations })
    }
}

/// Why a document is not a manifest to accept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// It is not JSON, is nested too deeply, or a member has another type than the specification gives it.
    #[error("{0}")]
    Json(serde_json::Error),
    /// It is of another format.
    #[error("schemaVersion is {0}, and only 2 is supported")]
    SchemaVersion(u64),
    /// Its media type is not one of the four.
    #[error("media type `{0}` is not that of a manifest or index of OCI or Docker (schema 2)")]
    MediaType(String),
    /// It was sent as something that is none of the four.
    #[error("sent as `{0}`, which is not the media type of a manifest or index of OCI or Docker (schema 2)")]
    ContentType(String),
    /// It is one of Docker's, which must say so themselves.
    #[error("a document of media type `{0}` must have a mediaType member")]
    NoMediaType(&'static str),
    /// The request and the document name different media types.
    #[error("sent as `{content_type}`, but its mediaType is `{media_type}`")]
    Disagreement {
        /// What the request said.
        content_type: &'static str,
        /// What the document says.
        media_type: &'static str,
    },
    /// It has the members of an image and those of an index.
    #[error("a document must not be an image and an index at once")]
    Ambiguous,
    /// It is an image without a config.
    #[error("an image manifest must have a config")]
    NoConfig,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const OCI_IMAGE: &str = ManifestType::OciImage.as_str();
    const OCI_INDEX: &str = ManifestType::OciIndex.as_str();
    const DOCKER_IMAGE: &str = ManifestType::DockerImage.as_str();
    const DOCKER_LIST: &str = ManifestType::DockerList.as_str();

    /// `D`, `I` and `L` stand for a descriptor of a config, of an image and of a layer.
    fn expand(document: &str) -> String {
        let descriptor = |media_type: &str| {
            format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{HEX}","size":0,"data":""}}"#)
        };
        document
            .replace("$D", &descriptor("application/vnd.oci.image.config.v1+json"))
            .replace("$I", &descriptor(OCI_IMAGE))
            .replace("$L", &descriptor("application/vnd.oci.image.layer.v1.tar+gzip"))
    }

    fn parse(document: &str, content_type: Option<&str>) -> Result<Manifest, ManifestError> {
        Manifest::parse(expand(document).as_bytes(), content_type)
    }

    #[test]
    fn accepted() {
        let typed = |media_type| {
            format!(r#"{{"schemaVersion":2,"mediaType":"{media_type}","config":$D,"layers":[]}}"#)
        };
        let listed =
            |media_type| format!(r#"{{"schemaVersion":2,"mediaType":"{media_type}","manifests":[$I]}}"#);
        for (document, content_type, expected) in [
            (
                r#"{"schemaVersion":2,"config":$D,"layers":[$L]}"#.into(),
                Some(OCI_IMAGE),
                ManifestType::OciImage,
            ),
            (r#"{"schemaVersion":2,"config":$D,"layers":[]}"#.into(), None, ManifestType::OciImage),
            (r#"{"schemaVersion":2,"config":$D,"layers":null}"#.into(), None, ManifestType::OciImage),
            (r#"{"schemaVersion":2,"config":$D,"x":{"y":[1]}}"#.into(), None, ManifestType::OciImage),
            (r#"{"schemaVersion":2,"manifests":[]}"#.into(), Some(OCI_INDEX), ManifestType::OciIndex),
            (r#"{"schemaVersion":2,"manifests":null}"#.into(), Some(OCI_INDEX), ManifestType::OciIndex),
            (
                r#"{"schemaVersion":2,"manifests":[$I]}"#.into(),
                Some("application/json"),
                ManifestType::OciIndex,
            ),
            (
                typed(OCI_IMAGE),
                Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"),
                ManifestType::OciImage,
            ),
            (typed(OCI_IMAGE), Some("application/json"), ManifestType::OciImage),
            (typed(DOCKER_IMAGE), None, ManifestType::DockerImage),
            (listed(DOCKER_LIST), Some(DOCKER_LIST), ManifestType::DockerList),
        ] {
            assert_eq!(parse(&document, content_type).unwrap().media_type(), expected, "{document}");
        }
    }

    #[test]
    fn refused() {
        for (document, content_type, expected) in [
            ("", None, "EOF while parsing"),
            (r#"{"schemaVersion":2,"config":$D,"layers":[]}"#, Some("text/plain"), "sent as `text/plain`"),
            ("{}{}", None, "trailing characters"),
            ("[]", None, "expected an object"),
            (r#"[2,"",$D]"#, None, "expected an object"),
            (r#"{"schemaVersion":2,"config":["a","sha256:$",1]}"#, None, "expected an object"),
            ("{}", None, "schemaVersion is 0"),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, None, "schemaVersion is 1"),
            (r#"{"schemaVersion":"2"}"#, None, "invalid type: string"),
            (r#"{"schemaVersion":2,"schemaVersion":2}"#, None, "duplicate field"),
            (r#"{"schemaVersion":2,"config":$D,"manifests":[]}"#, None, "at once"),
            (r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#, None, "at once"),
            (r#"{"schemaVersion":2,"config":$D,"manifests":[$I]}"#, Some(OCI_IMAGE), "at once"),
            (r#"{"schemaVersion":2,"layers":[]}"#, None, "must have a config"),
            (r#"{"schemaVersion":2,"config":$D}"#, Some(DOCKER_IMAGE), "must have a mediaType"),
            (r#"{"schemaVersion":2,"mediaType":"text/html","config":$D}"#, None, "`text/html`"),
            (r#"{"schemaVersion":2,"config":{"digest":"sha256:1","size":1}}"#, None, "64 lower-case hex"),
            (r#"{"schemaVersion":2,"config":{"digest":"sha256:$","size":-1}}"#, None, "64 lower-case hex"),
            (r#"{"schemaVersion":2,"config":$D,"annotations":{"a":1}}"#, None, "invalid type: integer"),
        ] {
            let error = parse(document, content_type).unwrap_err().to_string();
            assert!(error.contains(expected), "{document}: {error}");
        }
        let typed = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_IMAGE}","config":$D}}"#);
        assert!(parse(&typed, Some(DOCKER_IMAGE)).unwrap_err().to_string().starts_with("sent as `"));
    }

    #[test]
    fn nesting_does_not_exhaust_the_stack() {
        let deep = format!(
            r#"{{"schemaVersion":2,"config":$D,"x":{}{}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert!(parse(&deep, None).is_ok());
        let deep = format!(r#"{{"annotations":{}{}}}"#, "{\"a\":".repeat(100_000), "}".repeat(100_000));
        assert!(parse(&deep, None).is_err());
    }

    #[test]
    fn children_come_in_order_with_their_roles() {
        let roles = |document: &str| -> Vec<Role> {
            children(&parse(document, None).unwrap()).map(|child| child.role).collect()
        };
        assert_eq!(
            roles(r#"{"schemaVersion":2,"config":$D,"layers":[$L,$L],"subject":$I}"#),
            [Role::Config, Role::Layer, Role::Layer]
        );
        assert_eq!(
            roles(r#"{"schemaVersion":2,"manifests":[$I,$L],"subject":$I}"#),
            [Role::Manifest, Role::Blob]
        );
    }

    #[test]
    fn what_lies_elsewhere_may_be_missing() {
        for (members, expected) in [
            (r#""mediaType":"application/vnd.oci.image.layer.v1.tar""#, false),
            (r#""mediaType":"application/vnd.oci.image.layer.v1.tar","urls":["https://a/b"]"#, true),
            (r#""mediaType":"application/vnd.oci.image.layer.v1.tar","urls":null"#, false),
            (r#""mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip""#, true),
            (r#""mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip""#, true),
        ] {
            let layer = format!(r#"{{"digest":"sha256:{HEX}","size":1,{members}}}"#);
            let manifest =
                parse(&format!(r#"{{"schemaVersion":2,"config":$D,"layers":[{layer}]}}"#), None).unwrap();
            assert_eq!(children(&manifest).last().unwrap().is_optional(), expected, "{members}");
        }
    }

    #[test]
    fn the_artifact_type_has_three_sources() {
        let config = "application/vnd.oci.image.config.v1+json";
        for (document, expected) in [
            (r#"{"schemaVersion":2,"config":$D,"artifactType":"application/x"}"#, "application/x"),
            (r#"{"schemaVersion":2,"config":$D}"#, config),
            (r#"{"schemaVersion":2,"manifests":[],"artifactType":"application/y"}"#, "application/y"),
            (r#"{"schemaVersion":2,"manifests":[]}"#, ""),
        ] {
            assert_eq!(parse(document, None).unwrap().artifact_type(), expected, "{document}");
        }
    }
}
