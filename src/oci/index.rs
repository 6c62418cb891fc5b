//! `IndexWriter`: an image index that is answered rather than stored.
//!
//! Knows the referrers response of the distribution specification. Does not
//! know where its entries come from.

use crate::oci::Descriptor;
use crate::oci::ManifestType;

/// An index under construction, as JSON, with a bound on its length.
#[derive(Debug)]
pub struct IndexWriter {
    json: Vec<u8>,
    limit: usize,
    is_empty: bool,
}

impl IndexWriter {
    const END: &str = "]}";

    /// An empty index that will not grow past `limit` bytes, but for its first entry, which always fits.
    pub fn new(limit: usize) -> Self {
        let head =
            format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":["#, ManifestType::OciIndex.as_str());
        Self { json: head.into_bytes(), limit, is_empty: true }
    }

    /// Adds an entry; `false` where it does not fit.
    pub fn push(&mut self, entry: &Descriptor) -> bool {
        let before = self.json.len();
        if !self.is_empty {
            self.json.push(b',');
        }
        let written = serde_json::to_writer(&mut self.json, entry).is_ok();
        if written && (self.is_empty || self.json.len() + Self::END.len() <= self.limit) {
            self.is_empty = false;
            return true;
        }
        self.json.truncate(before);
        false
    }

    /// The document.
    pub fn finish(mut self) -> Vec<u8> {
        self.json.extend_from_slice(Self::END.as_bytes());
        self.json
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::Value;
    use storage_layout::Digest;

    use super::*;

    fn entry(annotation: &str) -> Descriptor {
        Descriptor {
            media_type: ManifestType::OciImage.as_str().into(),
            digest: Digest::parse(&format!("sha256:{}", "ab".repeat(32))).unwrap(),
            size: 7,
            urls: vec![],
            annotations: [("note".to_owned(), annotation.to_owned())].into(),
            artifact_type: "application/x".into(),
        }
    }

    #[test]
    fn an_empty_index_has_an_empty_list() {
        let expected = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#,
            ManifestType::OciIndex.as_str()
        );
        assert_eq!(String::from_utf8(IndexWriter::new(0).finish()).unwrap(), expected);
    }

    #[test]
    fn entries_are_whole_and_the_first_always_fits() {
        for (limit, expected) in [(0, 1), (400, 1), (700, 2), (100_000, 3)] {
            let mut index = IndexWriter::new(limit);
            let taken = ["a\"b", "c", "d"].iter().take_while(|text| index.push(&entry(text))).count();
            assert_eq!(taken, expected, "{limit}");
            let json: Value = serde_json::from_slice(&index.finish()).unwrap();
            let manifests = json["manifests"].as_array().unwrap();
            assert_eq!(manifests.len(), expected);
            assert_eq!(manifests[0]["annotations"]["note"], "a\"b");
            assert!(manifests[0].get("urls").is_none());
        }
    }
}
