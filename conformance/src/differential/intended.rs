//! Where Larder means to answer otherwise than distribution 2.8.2, and why.

use std::fmt;

/// A part of an answer that two registries gave differently.
#[derive(Debug)]
pub(super) struct Difference {
    pub(super) asked: String,
    pub(super) part: &'static str,
    pub(super) their: String,
    pub(super) our: String,
}

/// A difference that is meant. `*` stands for any text.
#[derive(Debug)]
pub(super) struct Intention {
    asked: &'static str,
    part: &'static str,
    their: &'static str,
    our: &'static str,
    pub(super) why: &'static str,
}

#[rustfmt::skip] // A table.
pub(super) const ALL: &[Intention] = &[
    meant("*", "Content-Type", "application/json; charset=utf-8", "application/json",
        "JSON has no charset parameter (RFC 8259, 11)"),
    meant("GET /v2/*", "Content-Length", "*", "*", "no newline after JSON that we write ourselves"),
    meant("*[If-None-Match: *", "*", "-", "*", "a 304 repeats what a 200 says of the content (RFC 9110, 15.4.5)"),
    meant("GET /", "Docker-Distribution-Api-Version", "-", "registry/2.0", "every answer names the API"),
    meant("GET /v2", "*", "*", "*", "served without a redirect, which would make a GET of a POST"),
    meant("GET /v2/*/blobs/uploads/*", "code", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN",
        "the specification's code for an upload that is not known (code-4)"),
    meant("PUT /v2/_catalog", "*", "*", "*", "a 405 with a code, and HEAD among what is allowed"),
    meant("GET *[Range: bytes=1-2,5-6]", "body", "*", "*", "the order of headers within a part"),
    meant("* /v2/*/manifests/latest", "*", "*", "*",
        "the stored bytes whatever the Accept, and tags can be deleted (specification, \"Deleting tags\")"),
    meant("GET /v2/*/referrers/*", "*", "*", "*", "the referrers API, which 2.8 does not have"),
    meant("POST /v2/*/blobs/uploads/?digest=*", "*", "*", "*", "an upload in one request, which 2.8 answers with a session"),
    meant("POST /v2/*/blobs/uploads/?mount=*&alone", "*", "*", "*", "a mount that names no source, which 2.8 answers with a session"),
    meant("PATCH UPLOAD+5 *[Content-Range: 9-13]", "*", "*", "*", "a chunk at the wrong place is refused (end-5)"),
    meant("GET /v2/*/tags/list?n=*", "*", "*", "*", "tags in pages, which 2.8 does not have"),
    meant("PUT /v2/*/manifests/sha256:short*", "*", "500", "400", "a digest that is none is the client's error"),
    meant("PUT /v2/*/manifests/sha256:short*", "code", "*", "DIGEST_INVALID", "and has its code"),
];

const fn meant(
    asked: &'static str,
    part: &'static str,
    their: &'static str,
    our: &'static str,
    why: &'static str,
) -> Intention {
    Intention { asked, part, their, our, why }
}

impl Intention {
    /// Whether this difference is meant by it.
    pub(super) fn covers(&self, difference: &Difference) -> bool {
        matches(self.asked, &difference.asked)
            && matches(self.part, difference.part)
            && matches(self.their, &difference.their)
            && matches(self.our, &difference.our)
    }
}

/// Whether `text` is what `pattern` says.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    after.is_empty() || (0..=rest.len()).any(|skip| rest.get(skip..).is_some_and(|rest| matches(after, rest)))
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: theirs {:?}, ours {:?}", self.asked, self.part, self.their, self.our)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text_and_the_rest_is_itself() {
        for (pattern, text, is) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abde", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, text), is, "{pattern} {text}");
        }
    }
}
