//! What is asked of both: reads of all that is there and of what is not, and a push in every form.

use std::fmt;

use anyhow::Result;

use crate::client::with_digest;
use crate::fixtures::Payload;
use crate::http::Endpoint;
use crate::http::Response;
use crate::image::Content;
use crate::image::INDEX;
use crate::image::MANIFEST;

/// One request, or a short conversation whose last answer counts.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    opening: Opening,
}

/// What must have been said before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    Nothing,
    /// An upload was begun; the path is what is added to its location.
    Upload,
    /// The same, and five bytes were sent.
    Chunk,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.opening {
            Opening::Nothing => write!(f, "{} {}", self.method, self.path)?,
            Opening::Upload => write!(f, "{} UPLOAD {}", self.method, self.path)?,
            Opening::Chunk => write!(f, "{} UPLOAD+5 {}", self.method, self.path)?,
        }
        self.headers.iter().try_for_each(|(name, value)| write!(f, " [{name}: {value}]"))
    }
}

impl Asked {
    fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: Vec::new(), opening: Opening::Nothing }
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn body(self, body: &[u8]) -> Self {
        Self { body: body.to_vec(), ..self }
    }

    fn after(self, opening: Opening) -> Self {
        Self { opening, ..self }
    }

    /// Says all of it to one registry.
    pub(super) fn send(&self, endpoint: &Endpoint) -> Result<Response> {
        let path = match self.opening {
            Opening::Nothing => self.path.clone(),
            Opening::Upload => self.with_path(&begin(endpoint)?),
            Opening::Chunk => {
                let begun = begin(endpoint)?;
                let sent = endpoint.request("PATCH", &begun).body(b"hello").send()?.expect(202)?;
                self.with_path(&sent.location()?)
            }
        };
        let request = endpoint.request(self.method, &path);
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        if self.body.is_empty() { request.send() } else { request.body(&self.body).send() }
    }

    fn with_path(&self, location: &str) -> String {
        match self.path.strip_prefix("?digest=") {
            Some(digest) => with_digest(location, digest),
            None => format!("{location}{}", self.path),
        }
    }
}

fn begin(endpoint: &Endpoint) -> Result<String> {
    crate::client::start_upload(endpoint, "library/app")
}

/// A location without what is made up anew each time: the upload's id and distribution's signed state.
pub(super) fn without_ids(location: &str) -> String {
    let location = location.split_once("://").map_or(location, |(_, rest)| rest.trim_start_matches("HOST"));
    match location.split_once("/blobs/uploads/") {
        Some((before, _)) => format!("{before}/blobs/uploads/ID"),
        None => location.to_owned(),
    }
}

/// The whole list. What writes stands last.
pub(super) fn all(payload: &Payload) -> Vec<Asked> {
    let mut asked = reads(payload);
    asked.extend(ranges(payload));
    asked.extend(absent());
    asked.extend(writes());
    asked.extend(newer());
    asked
}

const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

fn reads(payload: &Payload) -> Vec<Asked> {
    let mut asked =
        vec![Asked::new("GET", "/v2/"), Asked::new("GET", "/v2/_catalog"), Asked::new("GET", "/")];
    for page in ["n=3", "n=3&last=library/app", "n=100", "last=tools/multi"] {
        asked.push(Asked::new("GET", format!("/v2/_catalog?{page}")));
    }
    for (name, repository) in &payload.repositories {
        asked.push(Asked::new("GET", format!("/v2/{name}/tags/list")));
        for reference in repository.tags.keys().chain(repository.manifests.keys()) {
            for method in ["GET", "HEAD"] {
                asked.push(
                    Asked::new(method, format!("/v2/{name}/manifests/{reference}")).header("Accept", ACCEPT),
                );
            }
        }
        for digest in repository.manifests.keys() {
            let path = format!("/v2/{name}/manifests/{digest}");
            asked.push(
                Asked::new("GET", path)
                    .header("Accept", ACCEPT)
                    .header("If-None-Match", format!("\"{digest}\"")),
            );
        }
        for digest in &repository.blobs {
            for method in ["GET", "HEAD"] {
                asked.push(Asked::new(method, format!("/v2/{name}/blobs/{digest}")));
            }
            let path = format!("/v2/{name}/blobs/{digest}");
            asked.push(Asked::new("GET", path).header("If-None-Match", format!("\"{digest}\"")));
        }
    }
    asked
}

fn ranges(payload: &Payload) -> Vec<Asked> {
    let largest = payload
        .repositories
        .get("library/app")
        .and_then(|repository| repository.blobs.iter().max_by_key(|digest| payload.blobs.get(*digest)));
    let path = format!("/v2/library/app/blobs/{}", largest.map_or("", String::as_str));
    let ranges = [
        "bytes=0-0",
        "bytes=0-",
        "bytes=100-200",
        "bytes=-5",
        "bytes=5-999999",
        "bytes=1-2,5-6",
        "bytes=-999999",
    ];
    let range = |range: &str| Asked::new("GET", &path).header("Range", range);
    ranges.into_iter().map(range).collect()
}

fn absent() -> Vec<Asked> {
    let digest = Content::new(b"absent".to_vec()).digest;
    let mut asked = Vec::new();
    for name in ["library/app", "no/such", "library"] {
        for path in [
            format!("/v2/{name}/manifests/none"),
            format!("/v2/{name}/manifests/{digest}"),
            format!("/v2/{name}/blobs/{digest}"),
        ] {
            for method in ["GET", "HEAD"] {
                asked.push(Asked::new(method, &path).header("Accept", ACCEPT));
            }
        }
        asked.push(Asked::new("DELETE", format!("/v2/{name}/blobs/{digest}")));
        asked.push(Asked::new("DELETE", format!("/v2/{name}/manifests/{digest}")));
    }
    asked.push(Asked::new("GET", "/v2/no/such/tags/list"));
    asked.push(Asked::new("GET", "/v2/library/app/blobs/uploads/00000000-0000-4000-8000-000000000000"));
    asked.push(Asked::new("GET", "/v2"));
    asked.push(Asked::new("GET", "/bogus"));
    asked.push(Asked::new("PUT", "/v2/_catalog"));
    asked
}

/// What 2.8 does not know, or not right: so that the list of intended differences is whole.
fn newer() -> Vec<Asked> {
    let hello = Content::new(b"hello".to_vec()).digest;
    vec![
        Asked::new("GET", "/v2/library/app/manifests/latest"),
        Asked::new("DELETE", "/v2/library/app/manifests/latest"),
        Asked::new("GET", format!("/v2/library/app/referrers/{hello}")),
        Asked::new("POST", format!("/v2/library/app/blobs/uploads/?digest={hello}")).body(b"hello"),
        Asked::new("POST", format!("/v2/team/third/blobs/uploads/?mount={hello}&alone")),
        Asked::new("PATCH", "").body(b"world").header("Content-Range", "9-13").after(Opening::Chunk),
        Asked::new("GET", "/v2/library/app/tags/list?n=1"),
        Asked::new("PUT", "/v2/library/app/manifests/sha256:short").header("Content-Type", INDEX).body(b"{}"),
    ]
}

fn writes() -> Vec<Asked> {
    let hello = Content::new(b"hello".to_vec()).digest;
    let wrong = Content::new(b"wrong".to_vec()).digest;
    let put = |reference: &str, media_type: &str, body: &str| {
        let path = format!("/v2/library/app/manifests/{reference}");
        Asked::new("PUT", path).header("Content-Type", media_type).body(body.as_bytes())
    };
    let empty = format!("{{\"schemaVersion\":2,\"mediaType\":\"{INDEX}\",\"manifests\":[]}}");
    let index = Content::new(empty.clone().into_bytes()).digest;
    vec![
        Asked::new("POST", "/v2/library/app/blobs/uploads/"),
        Asked::new("GET", "").after(Opening::Upload),
        Asked::new("GET", "").after(Opening::Chunk),
        Asked::new("PATCH", "").body(b"hello").after(Opening::Upload),
        Asked::new("PATCH", "").body(b"hello").header("Content-Range", "0-4").after(Opening::Upload),
        Asked::new("PATCH", "").body(b"world").header("Content-Range", "5-9").after(Opening::Chunk),
        Asked::new("DELETE", "").after(Opening::Upload),
        Asked::new("PUT", format!("?digest={wrong}")).body(b"hello").after(Opening::Upload),
        Asked::new("PUT", format!("?digest={wrong}")).after(Opening::Chunk),
        Asked::new("PUT", format!("?digest={hello}")).body(b"hello").after(Opening::Upload),
        Asked::new("PUT", format!("?digest={hello}")).after(Opening::Chunk),
        Asked::new("GET", format!("/v2/library/app/blobs/{hello}")),
        Asked::new("POST", format!("/v2/team/other/blobs/uploads/?mount={hello}&from=library/app")),
        Asked::new("POST", format!("/v2/team/other/blobs/uploads/?mount={wrong}&from=library/app")),
        Asked::new("HEAD", format!("/v2/team/other/blobs/{hello}")),
        put("new", INDEX, &empty),
        put(&index, INDEX, &empty),
        put(&wrong, INDEX, &empty),
        put("broken", MANIFEST, "no manifest"),
        Asked::new("GET", "/v2/library/app/manifests/new").header("Accept", ACCEPT),
        Asked::new("GET", "/v2/library/app/tags/list"),
        Asked::new("DELETE", format!("/v2/library/app/manifests/{index}")),
        Asked::new("GET", "/v2/library/app/manifests/new").header("Accept", ACCEPT),
        Asked::new("DELETE", format!("/v2/library/app/blobs/{hello}")),
        Asked::new("HEAD", format!("/v2/library/app/blobs/{hello}")),
        Asked::new("HEAD", format!("/v2/team/other/blobs/{hello}")),
    ]
}
