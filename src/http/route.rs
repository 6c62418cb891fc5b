//! `Route`: what a path names.
//!
//! Matched from the right, since a name may hold any of the words that stand
//! after one: `/v2/a/blobs/uploads/manifests/x` is the manifest `x` of
//! `a/blobs/uploads`. Nothing is looked up and no name is judged here, so that
//! who may not know does not learn. No framework's router can say this: a
//! wildcard may only stand at the end.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// What a path names. Names are as they came; what stands after them is percent-decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// `/`: is something there?
    Root,
    /// `/healthz`
    Alive,
    /// `/readyz`
    Ready,
    /// `/v2/` (end-1).
    Base,
    /// `/v2/_catalog`.
    Catalog,
    /// `/v2/_oci/ext/discover` and `/v2/<name>/_oci/ext/discover`.
    Discover(Option<&'a str>),
    /// `/v2/_larder/token`: the token service that a Bearer challenge names.
    Token,
    /// `/v2/_larder/status`: what this node is and does.
    Status,
    /// `/v2/_larder/gc`: removing what nothing needs.
    Gc,
    /// `/v2/_larder/verify`: verifying and mending.
    Verify,
    /// `/v2/_larder/roots`: what is attached beside what the server was started with.
    Roots,
    /// `/v2/_larder/releases`: the releases, and how they are doing.
    Releases,
    /// `/v2/_larder/releases/<name>`: one of them.
    Release(Cow<'a, str>),
    /// `/v2/_larder/sync/inventory`: what this node has.
    Inventory,
    /// `/v2/_larder/sync/have`: which of these blobs it has.
    Have,
    /// `/v2/_larder/sync/jobs`.
    Jobs,
    /// `/v2/_larder/sync/jobs/<id>`.
    Job(&'a str),
    /// `/v2/<name>/blobs/<digest>` (end-2, end-10).
    Blob(&'a str, Cow<'a, str>),
    /// `/v2/<name>/manifests/<reference>` (end-3, end-7, end-9).
    Manifest(&'a str, Cow<'a, str>),
    /// `/v2/<name>/blobs/uploads/` (end-4, end-11).
    Uploads(&'a str),
    /// `/v2/<name>/blobs/uploads/<id>` (end-5, end-6, end-13, end-14).
    Upload(&'a str, Cow<'a, str>),
    /// `/v2/<name>/tags/list` (end-8).
    Tags(&'a str),
    /// `/v2/<name>/referrers/<digest>` (end-12).
    Referrers(&'a str, Cow<'a, str>),
}

impl<'a> Route<'a> {
    /// Reads the path of a request; `None` where it names nothing. A slash at the end makes no difference: a
    /// redirect would turn a POST into a GET (net/http), and a stream cannot be sent twice.
    pub(super) fn parse(path: &'a str) -> Option<Self> {
        match path {
            "/" => return Some(Self::Root),
            "/healthz" => return Some(Self::Alive),
            "/readyz" => return Some(Self::Ready),
            _ => {}
        }
        let rest = path.strip_prefix("/v2")?;
        match rest {
            "" | "/" => Some(Self::Base),
            "/_catalog" | "/_catalog/" => Some(Self::Catalog),
            "/_oci/ext/discover" | "/_oci/ext/discover/" => Some(Self::Discover(None)),
            "/_larder/token" => Some(Self::Token),
            "/_larder/status" => Some(Self::Status),
            "/_larder/gc" => Some(Self::Gc),
            "/_larder/verify" => Some(Self::Verify),
            "/_larder/roots" => Some(Self::Roots),
            "/_larder/releases" | "/_larder/releases/" => Some(Self::Releases),
            _ => match (rest.strip_prefix("/_larder/sync/"), rest.strip_prefix("/_larder/releases/")) {
                (Some(rest), _) => Self::of_sync(rest),
                (_, Some(name)) => decode(name).map(Self::Release),
                (None, None) => Self::of_repository(rest.strip_prefix('/')?),
            },
        }
    }

    fn of_sync(path: &'a str) -> Option<Self> {
        match path.strip_suffix('/').unwrap_or(path) {
            "inventory" => Some(Self::Inventory),
            "have" => Some(Self::Have),
            "jobs" => Some(Self::Jobs),
            path => {
                path.strip_prefix("jobs/").filter(|id| !id.is_empty() && !id.contains('/')).map(Self::Job)
            }
        }
    }

    fn of_repository(path: &'a str) -> Option<Self> {
        if let Some(name) = path.strip_suffix("/blobs/uploads/") {
            return named(name, Self::Uploads);
        }
        let (rest, last) = path.strip_suffix('/').unwrap_or(path).rsplit_once('/')?;
        let (name, noun) = rest.rsplit_once('/')?;
        match (noun, last) {
            ("tags", "list") => named(name, Self::Tags),
            ("blobs", "uploads") => named(name, Self::Uploads),
            ("ext", "discover") => named(name.strip_suffix("/_oci")?, |name| Self::Discover(Some(name))),
            ("uploads", id) => {
                let id = decode(id)?;
                named(name.strip_suffix("/blobs")?, |name| Self::Upload(name, id))
            }
            ("blobs", digest) => decode(digest).and_then(|it| named(name, |name| Self::Blob(name, it))),
            ("manifests", reference) => {
                decode(reference).and_then(|it| named(name, |name| Self::Manifest(name, it)))
            }
            ("referrers", digest) => {
                decode(digest).and_then(|it| named(name, |name| Self::Referrers(name, it)))
            }
            _ => None,
        }
    }
}

fn named<'a>(name: &'a str, route: impl FnOnce(&'a str) -> Route<'a>) -> Option<Route<'a>> {
    if name.is_empty() { None } else { Some(route(name)) }
}

/// One segment, decoded. A slash in disguise would be a second segment, so it names nothing.
fn decode(segment: &str) -> Option<Cow<'_, str>> {
    if !segment.contains('%') {
        return Some(Cow::Borrowed(segment)).filter(|it| !it.is_empty() && !it.contains('/'));
    }
    let decoded = percent_decode_str(segment).decode_utf8().ok()?;
    if decoded.is_empty() || decoded.contains('/') { None } else { Some(decoded) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn manifest<'a>(name: &'a str, reference: &'a str) -> Option<Route<'a>> {
        Some(Route::Manifest(name, reference.into()))
    }

    #[test]
    fn paths() {
        let blob = |name, digest: &'static str| Some(Route::Blob(name, digest.into()));
        let upload = |name, id: &'static str| Some(Route::Upload(name, id.into()));
        for (path, expected) in [
            ("/", Some(Route::Root)),
            ("/v2", Some(Route::Base)),
            ("/v2/", Some(Route::Base)),
            ("/v2/_catalog", Some(Route::Catalog)),
            ("/v2/_oci/ext/discover", Some(Route::Discover(None))),
            ("/v2/a/b/_oci/ext/discover", Some(Route::Discover(Some("a/b")))),
            ("/v2/_larder/token", Some(Route::Token)),
            ("/v2/_larder/status", Some(Route::Status)),
            ("/v2/_larder/gc", Some(Route::Gc)),
            ("/v2/_larder/verify", Some(Route::Verify)),
            ("/v2/_larder/roots", Some(Route::Roots)),
            ("/v2/_larder/releases", Some(Route::Releases)),
            ("/v2/_larder/releases/", Some(Route::Releases)),
            ("/v2/_larder/releases/4.22.1", Some(Route::Release("4.22.1".into()))),
            ("/v2/_larder/releases/sha256%3Aab", Some(Route::Release("sha256:ab".into()))),
            ("/v2/_larder/releases/4.22.1/x", None),
            ("/healthz", Some(Route::Alive)),
            ("/readyz", Some(Route::Ready)),
            ("/v2/_larder/sync/inventory", Some(Route::Inventory)),
            ("/v2/_larder/sync/have", Some(Route::Have)),
            ("/v2/_larder/sync/jobs/", Some(Route::Jobs)),
            ("/v2/_larder/sync/jobs/0123", Some(Route::Job("0123"))),
            ("/v2/_larder/sync/jobs/0123/x", None),
            ("/v2/_larder/sync", None),
            ("/v2/a/tags/list", Some(Route::Tags("a"))),
            ("/v2/a/tags/list/", Some(Route::Tags("a"))),
            ("/v2/a/manifests/v1", manifest("a", "v1")),
            ("/v2/a/manifests/list", manifest("a", "list")),
            ("/v2/a/manifests/sha256%3Aab", manifest("a", "sha256:ab")),
            ("/v2/a/blobs/sha256:ab", blob("a", "sha256:ab")),
            ("/v2/a/blobs/sha256%3aab", blob("a", "sha256:ab")),
            ("/v2/a/blobs/uploads", Some(Route::Uploads("a"))),
            ("/v2/a/blobs/uploads/", Some(Route::Uploads("a"))),
            ("/v2/a/blobs/uploads/1-2", upload("a", "1-2")),
            ("/v2/a/blobs/uploads/1-2/", upload("a", "1-2")),
            ("/v2/a/referrers/sha256:ab", Some(Route::Referrers("a", "sha256:ab".into()))),
            // Names made of the words that follow one.
            ("/v2/a/blobs/uploads/manifests/x", manifest("a/blobs/uploads", "x")),
            ("/v2/a/blobs/uploads/blobs/x", blob("a/blobs/uploads", "x")),
            ("/v2/a/blobs/uploads/tags/list", Some(Route::Tags("a/blobs/uploads"))),
            ("/v2/a/blobs/blobs/uploads/x", upload("a/blobs", "x")),
            ("/v2/a/blobs/uploads/blobs/uploads/", Some(Route::Uploads("a/blobs/uploads"))),
            ("/v2/manifests/manifests/manifests", manifest("manifests", "manifests")),
            ("/v2/tags/list/tags/list", Some(Route::Tags("tags/list"))),
            ("/v2/uploads/referrers/blobs/x", blob("uploads/referrers", "x")),
            // Names that are none are left for others to refuse.
            ("/v2/A%2Fb/../c//manifests/x", manifest("A%2Fb/../c/", "x")),
        ] {
            assert_eq!(Route::parse(path), expected, "{path}");
        }
    }

    #[test]
    fn what_names_nothing() {
        for path in [
            "",
            "//",
            "/v1/search",
            "/v3/",
            "/v2x",
            "/v2//",
            "/v2/a",
            "/v2/a/",
            "/v2/a/tags",
            "/v2/a/tags/x",
            "/v2/tags/list",
            "/v2//tags/list",
            "/v2/manifests/x",
            "/v2/blobs/uploads/",
            "/v2/blobs/uploads/x",
            "/v2/uploads/x",
            "/v2/a/uploads/x",
            "/v2/a/manifests/",
            "/v2/a/manifests//",
            "/v2/a/manifests/x%2Fy",
            "/v2/a/manifests/%ff",
            "/v2/a/blobs/uploads/x/y",
            "/v2/ext/discover",
            "/v2/a/_other/ext/discover",
            "/v2/_larder/token/x",
            "/healthz/",
        ] {
            assert_eq!(Route::parse(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_read_without_a_panic(path in "(/|v2|a|b|%|%2F|%ff|blobs|uploads|manifests|tags|list|_oci|\\PC){0,12}") {
            let _ = Route::parse(&path);
        }

        #[test]
        fn every_name_and_reference_comes_back(
            name in "(a|blobs|uploads|manifests|tags|list|referrers)(/(b|blobs|uploads|manifests|tags|list|referrers)){0,5}",
            reference in "[A-Za-z0-9_][A-Za-z0-9._-]{0,20}",
        ) {
            let path = format!("/v2/{name}/manifests/{reference}");
            prop_assert_eq!(Route::parse(&path), manifest(&name, &reference));
            let path = format!("/v2/{name}/tags/list");
            prop_assert_eq!(Route::parse(&path), Some(Route::Tags(&name)));
            let path = format!("/v2/{name}/blobs/uploads/");
            prop_assert_eq!(Route::parse(&path), Some(Route::Uploads(&name)));
            let path = format!("/v2/{name}/blobs/uploads/{reference}");
            prop_assert_eq!(Route::parse(&path), Some(Route::Upload(&name, reference.into())));
        }
    }
}
