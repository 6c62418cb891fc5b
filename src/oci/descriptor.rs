//! `Descriptor`: a pointer to content, as the image specification [draws] it.
//!
//! Knows the members this registry acts on; the others stay in the bytes they
//! came in. Does not know whether the content exists.
//!
//! [draws]: https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::Error as _;
use storage_layout::Digest;

/// What a document says about itself, in pairs.
pub type Annotations = BTreeMap<String, String>;

/// A pointer to content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    #[serde(default)]
    pub media_type: String,
    /// Which bytes.
    #[serde(serialize_with = "digest_to_text", deserialize_with = "digest_from_text")]
    pub digest: Digest,
    /// How many.
    pub size: u64,
    /// Where else they may be had: a registry need not hold what has any.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// What the content says about itself.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
    /// What kind of artifact the content is, where it is one.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub artifact_type: String,
}

fn digest_to_text<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(digest)
}

fn digest_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    Digest::parse(&text).map_err(D::Error::custom)
}

/// Go writes an empty list as `null` as often as not.
pub(super) fn null_as_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
