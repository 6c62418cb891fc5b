//! Conditional requests (RFC 9110, section 13): is what the client has what it
//! would get?
//!
//! An entity tag is the quoted digest, and strong. distribution also takes it
//! bare, so clients send it so.

use http::HeaderMap;
use http::HeaderValue;
use http::header::AsHeaderName;
use http::header::IF_MATCH;
use http::header::IF_NONE_MATCH;
use http::header::IF_RANGE;

/// What is to be done about a request for content that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Send it.
    Send,
    /// The client has it: 304.
    NotModified,
    /// The client wants another: 412.
    PreconditionFailed,
}

/// Evaluates `If-Match` and `If-None-Match`, in the order of section 13.2.2. Dates are not: content that has
/// a digest has none.
pub(super) fn evaluate(headers: &HeaderMap, digest: &impl ToString) -> Outcome {
    if !headers.contains_key(IF_MATCH) && !headers.contains_key(IF_NONE_MATCH) {
        return Outcome::Send;
    }
    let digest = digest.to_string();
    let digest = digest.as_str();
    if headers.contains_key(IF_MATCH) && !any_matches(headers, IF_MATCH, digest, Strength::Strong) {
        return Outcome::PreconditionFailed;
    }
    if any_matches(headers, IF_NONE_MATCH, digest, Strength::Weak) {
        return Outcome::NotModified;
    }
    Outcome::Send
}

/// Whether a `Range` counts: there is no `If-Range`, or it names this content. A date never does.
pub(super) fn range_applies(headers: &HeaderMap, digest: &str) -> bool {
    headers
        .get(IF_RANGE)
        .is_none_or(|value| value.to_str().is_ok_and(|value| matches(value.trim(), digest, Strength::Strong)))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Strength {
    Strong,
    Weak,
}

fn any_matches(headers: &HeaderMap, name: impl AsHeaderName, digest: &str, strength: Strength) -> bool {
    let values = headers.get_all(name);
    let mut tags =
        values.iter().filter_map(|value: &HeaderValue| value.to_str().ok()).flat_map(|it| it.split(','));
    tags.any(|tag| tag.trim() == "*" || matches(tag.trim(), digest, strength))
}

fn matches(tag: &str, digest: &str, strength: Strength) -> bool {
    let tag = match (tag.strip_prefix("W/"), strength) {
        (Some(_), Strength::Strong) => return false,
        (Some(tag), Strength::Weak) => tag,
        (None, _) => tag,
    };
    tag.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or(tag) == digest
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:aa";

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn preconditions() {
        for (pairs, expected) in [
            (&[][..], Outcome::Send),
            (&[("if-none-match", "\"sha256:aa\"")], Outcome::NotModified),
            (&[("if-none-match", "sha256:aa")], Outcome::NotModified),
            (&[("if-none-match", "W/\"sha256:aa\"")], Outcome::NotModified),
            (&[("if-none-match", "*")], Outcome::NotModified),
            (&[("if-none-match", "\"x\" , \"sha256:aa\"")], Outcome::NotModified),
            (&[("if-none-match", "\"x\""), ("if-none-match", "\"sha256:aa\"")], Outcome::NotModified),
            (&[("if-none-match", "\"sha256:bb\"")], Outcome::Send),
            (&[("if-none-match", "")], Outcome::Send),
            (&[("if-match", "\"sha256:aa\"")], Outcome::Send),
            (&[("if-match", "*")], Outcome::Send),
            (&[("if-match", "W/\"sha256:aa\"")], Outcome::PreconditionFailed),
            (&[("if-match", "\"sha256:bb\"")], Outcome::PreconditionFailed),
            (&[("if-match", "\"sha256:bb\""), ("if-none-match", "*")], Outcome::PreconditionFailed),
        ] {
            assert_eq!(evaluate(&headers(pairs), &DIGEST), expected, "{pairs:?}");
        }
    }

    #[test]
    fn ranges_of_something_else_do_not_count() {
        for (pairs, expected) in [
            (&[][..], true),
            (&[("if-range", "\"sha256:aa\"")], true),
            (&[("if-range", "W/\"sha256:aa\"")], false),
            (&[("if-range", "\"sha256:bb\"")], false),
            (&[("if-range", "Sun, 06 Nov 1994 08:49:37 GMT")], false),
        ] {
            assert_eq!(range_applies(&headers(pairs), DIGEST), expected, "{pairs:?}");
        }
    }
}
