//! `multipart/byteranges` (RFC 9110, section 14.6): one part for each range,
//! never joined, left out or put in another order.

use std::ops::Range;

use bytes::Bytes;
use storage_layout::Digest;

use crate::http::Part;
use crate::store::Blob;

/// A body of several parts.
#[derive(Debug)]
pub(super) struct Multipart {
    /// What to send, in order.
    pub(super) parts: Vec<Part>,
    /// How many bytes that is.
    pub(super) len: u64,
    /// What stands between the parts.
    pub(super) boundary: String,
}

/// The parts of `blob` at `ranges`.
pub(super) fn multipart(blob: &Blob, ranges: Vec<Range<u64>>) -> Multipart {
    let boundary = boundary(blob.digest());
    let whole = blob.len();
    let mut parts = Vec::with_capacity(ranges.len() * 2 + 1);
    let mut len = 0;
    let mut delimiter = format!("--{boundary}");
    for range in ranges {
        let head = format!(
            "{delimiter}\r\nContent-Type: application/octet-stream\r\nContent-Range: {}\r\n\r\n",
            content_range(&range, whole)
        );
        let piece = blob.range(range);
        len += head.len() as u64 + piece.len();
        parts.extend([Part::Bytes(Bytes::from(head)), Part::File(piece.into())]);
        delimiter = format!("\r\n--{boundary}");
    }
    let end = format!("{delimiter}--\r\n");
    len += end.len() as u64;
    parts.push(Part::Bytes(Bytes::from(end)));
    Multipart { parts, len, boundary }
}

/// The value of `Content-Range`. distribution's client wants the length as a number.
pub(super) fn content_range(range: &Range<u64>, whole: u64) -> String {
    format!("bytes {}-{}/{whole}", range.start, range.end.saturating_sub(1))
}

/// What cannot occur in the blob: no content can be found that holds half of its own digest. At most 70
/// characters (RFC 2046, section 5.1.1).
fn boundary(digest: &Digest) -> String {
    format!("{:.32}", digest.hex().to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn values() {
        assert_eq!(content_range(&(0..1), 10), "bytes 0-0/10");
        assert_eq!(content_range(&(5..10), 10), "bytes 5-9/10");
        for algorithm in ["sha256", "sha512"] {
            let digits = if algorithm == "sha256" { 64 } else { 128 };
            let digest = Digest::parse(&format!("{algorithm}:{}", "0f".repeat(digits / 2))).unwrap();
            assert_eq!(boundary(&digest), "0f".repeat(16));
        }
    }
}
