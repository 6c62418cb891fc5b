//! Byte ranges (RFC 9110, section 14), as clients of registries use them.
//!
//! Knows which bytes a `Range` header asks for. Does not know how they are sent.
//!
//! containers/storage asks for up to 1,024 ranges of a layer in one request and
//! wants one part for each, in its order; the only refusal that it understands
//! is 400, after which it merges ranges and asks again (`pkg/chunked`).

use std::ops::Range;

/// What of a blob is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// All of it: nothing that can be understood was asked for.
    Whole,
    /// One piece.
    One(Range<u64>),
    /// A part for each piece, in this order. Also where all but one of several cannot be had.
    Many(Vec<Range<u64>>),
}

/// Why nothing of a blob is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RangeError {
    /// No range lies in the blob: 416.
    Unsatisfiable,
    /// There are more ranges than [`MAX_RANGES`]: 400.
    TooMany,
}

/// How many ranges one request may ask for: as many as containers/storage ever does
/// (`maxNumberMissingChunks`).
pub(super) const MAX_RANGES: usize = 1024;

/// Reads a `Range` header for a blob of `len` bytes.
///
/// What breaks the grammar is no range at all and is ignored, as is any range of an empty blob (some clients put
/// `bytes=0-` on every request; net/http does the same). Ranges that together are longer than the blob are ignored
/// too, so that a short request cannot ask for a blob a thousand times over.
///
/// # Errors
/// Nothing can be sent, or too much was asked.
pub(super) fn select(header: &str, len: u64) -> Result<Selection, RangeError> {
    let Some(list) = strip_unit(header).filter(|_| len > 0) else { return Ok(Selection::Whole) };
    let mut asked = 0;
    let mut found = Vec::new();
    for spec in list.split(',').map(|it| it.trim_matches([' ', '\t'])).filter(|it| !it.is_empty()) {
        asked += 1;
        if asked > MAX_RANGES {
            return Err(RangeError::TooMany);
        }
        match piece(spec, len) {
            Piece::Invalid => return Ok(Selection::Whole),
            Piece::Outside => {}
            Piece::Inside(range) => found.push(range),
        }
    }
    let total = found.iter().fold(0_u64, |sum, range| sum.saturating_add(range.end - range.start));
    match (asked, found.as_slice()) {
        (0, _) => Ok(Selection::Whole),
        (_, []) => Err(RangeError::Unsatisfiable),
        (1, [range]) => Ok(Selection::One(range.clone())),
        _ if total > len => Ok(Selection::Whole),
        _ => Ok(Selection::Many(found)),
    }
}

fn strip_unit(header: &str) -> Option<&str> {
    let (unit, list) = header.split_once('=')?;
    unit.trim().eq_ignore_ascii_case("bytes").then_some(list)
}

enum Piece {
    /// Breaks the grammar.
    Invalid,
    /// Holds no byte of the blob.
    Outside,
    Inside(Range<u64>),
}

/// One of `first-last`, `first-` and `-length`. One that ends before it begins holds nothing: RFC 9110 calls
/// it invalid, and the conformance suite wants 416 for it.
fn piece(spec: &str, len: u64) -> Piece {
    let Some((first, last)) = spec.split_once('-') else { return Piece::Invalid };
    let (Some(first), Some(last)) = (number(first), number(last)) else { return Piece::Invalid };
    match (first, last) {
        (None, None) => Piece::Invalid,
        (None, Some(0)) => Piece::Outside,
        (None, Some(suffix)) => Piece::Inside(len.saturating_sub(suffix)..len),
        (Some(first), last) => {
            let end = last.unwrap_or(u64::MAX).saturating_add(1).min(len);
            if first < end { Piece::Inside(first..end) } else { Piece::Outside }
        }
    }
}

/// Digits, or none: `None` where there is anything else. What does not fit is as large as can be.
#[expect(clippy::option_option, reason = "a number may be invalid or absent, and both are answers")]
fn number(text: &str) -> Option<Option<u64>> {
    if text.is_empty() {
        return Some(None);
    }
    text.bytes()
        .try_fold(0_u64, |value, byte| {
            byte.is_ascii_digit().then(|| value.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
        })
        .map(Some)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_asked_for() {
        let one = |range| Ok(Selection::One(range));
        let many = |ranges: &[Range<u64>]| Ok(Selection::Many(ranges.to_vec()));
        let whole = Ok(Selection::Whole);
        let outside = Err(RangeError::Unsatisfiable);
        for (header, expected) in [
            ("bytes=500-1499", one(500..1500)),
            ("bytes=500-", one(500..2048)),
            ("bytes=-500", one(1548..2048)),
            ("bytes=-5000", one(0..2048)),
            ("bytes=2000-5000", one(2000..2048)),
            ("bytes=0-0", one(0..1)),
            ("bytes=0-", one(0..2048)),
            ("Bytes = 1-2 ", one(1..3)),
            ("bytes=2047-2047", one(2047..2048)),
            ("bytes=2048-", outside.clone()),
            ("bytes=5000-10000", outside.clone()),
            ("bytes=500-0", outside.clone()),
            ("bytes=-0", outside.clone()),
            ("bytes=9999-,-0", outside.clone()),
            ("bytes=0-99999999999999999999999", one(0..2048)),
            ("bytes=99999999999999999999999-", outside),
            ("bytes=0-1,3-4", many(&[0..2, 3..5])),
            ("bytes=3-4, 0-1 ,,", many(&[3..5, 0..2])),
            ("bytes=0-1,9999-", many(std::slice::from_ref(&(0..2)))),
            ("bytes=0-99,50-149", many(&[0..100, 50..150])),
            ("bytes=0-,0-", whole.clone()),
            ("bytes=", whole.clone()),
            ("bytes=,", whole.clone()),
            ("bytes=-", whole.clone()),
            ("bytes=a-b", whole.clone()),
            ("bytes=1-2,x", whole.clone()),
            ("bytes=+1-2", whole.clone()),
            ("bytes 1-2", whole.clone()),
            ("items=1-2", whole.clone()),
            ("", whole.clone()),
        ] {
            assert_eq!(select(header, 2048), expected, "{header}");
        }
        assert_eq!(select("bytes=0-", 0), whole);
    }

    #[test]
    fn as_many_ranges_as_a_client_may_ask_for() {
        let list = |count: u64| (0..count).map(|it| format!("{0}-{0}", it * 2)).collect::<Vec<_>>().join(",");
        let Ok(Selection::Many(ranges)) = select(&format!("bytes={}", list(1024)), 4096) else {
            unreachable!("1,024 ranges are allowed");
        };
        assert_eq!(ranges.len(), MAX_RANGES);
        assert_eq!(select(&format!("bytes={}", list(1025)), 4096), Err(RangeError::TooMany));
    }

    proptest! {
        #[test]
        fn pieces_lie_in_the_blob_and_hold_something(
            header in "(bytes=)?([0-9]{0,5}-[0-9]{0,5}[, ]{0,2}){0,6}|\\PC{0,30}",
            len in 0_u64..20_000,
        ) {
            let pieces = match select(&header, len) {
                Ok(Selection::One(range)) => vec![range],
                Ok(Selection::Many(ranges)) => ranges,
                Ok(Selection::Whole) | Err(_) => vec![],
            };
            for range in pieces {
                prop_assert!(range.start < range.end && range.end <= len);
            }
        }

        #[test]
        fn one_range_is_read_back(first in 0_u64..1000, count in 1_u64..1000) {
            let last = first + count - 1;
            prop_assert_eq!(select(&format!("bytes={first}-{last}"), 2000), Ok(Selection::One(first..last + 1)));
        }
    }
}
