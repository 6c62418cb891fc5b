//! Symbolic links in the tree, planted by one who could write there once.

use std::fmt;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;

use crate::client;
use crate::fixtures;
use crate::http::Endpoint;
use crate::image::Content;
use crate::image::MANIFEST;

const SECRET: &str = "what lies outside the tree must not get out of it";

/// What was planted, and where it leads.
#[derive(Debug)]
pub(super) struct Planted {
    outside: PathBuf,
    blob: String,
    reads: Vec<String>,
}

impl fmt::Display for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reads.len())
    }
}

/// Plants links of every kind into a payload under `root`; they lead to `outside`.
pub(super) fn plant(root: &Path, outside: &Path) -> Result<Planted> {
    fixtures::unpack_payload(root)?;
    fs::create_dir_all(outside)?;
    super::write_secret(&outside.join("data"), SECRET)?;
    let blob = Content::new(SECRET.as_bytes().to_vec()).digest;
    fs::write(outside.join("link"), &blob)?;
    let base = root.join("docker/registry/v2");
    let encoded = blob.trim_start_matches("sha256:");

    // A blob that is a link to a file outside, with the very digest that it says.
    let directory = base.join(format!("blobs/sha256/{}/{encoded}", encoded.get(..2).context("a digest")?));
    fs::create_dir_all(&directory)?;
    symlink(outside.join("data"), directory.join("data"))?;
    let layers = base.join("repositories/library/app/_layers/sha256");
    fs::create_dir_all(layers.join(encoded))?;
    fs::write(layers.join(encoded).join("link"), &blob)?;

    // A repository, a tag and a layer's link that are links to directories outside.
    symlink(outside, base.join("repositories/outside"))?;
    symlink(outside, base.join("repositories/library/app/_manifests/tags/outside"))?;
    fs::create_dir_all(outside.join("current"))?;
    fs::write(outside.join("current/link"), &blob)?;
    // What an upload would write through.
    symlink(outside, base.join("repositories/library/app/_uploads/11111111-1111-4111-8111-111111111111"))?;

    let reads = vec![
        format!("/v2/library/app/blobs/{blob}"),
        "/v2/library/app/manifests/outside".into(),
        "/v2/outside/tags/list".into(),
        format!("/v2/outside/blobs/{blob}"),
        "/v2/library/app/blobs/uploads/11111111-1111-4111-8111-111111111111".into(),
    ];
    Ok(Planted { outside: outside.to_owned(), blob, reads })
}

impl Planted {
    /// Nothing of what lies outside gets out, and what lies inside is served.
    pub(super) fn check(&self, endpoint: &Endpoint) -> Result<()> {
        for path in &self.reads {
            let answer = client::manifest(endpoint, "GET", path)?;
            ensure!(answer.status >= 400, "{path} was answered {}", answer.status);
            ensure!(!super::holds(&answer.body, SECRET), "{path}: it got out");
        }
        let upload = self.reads.last().context("an upload")?;
        for method in ["PATCH", "PUT", "DELETE"] {
            let path = client::with_digest(upload, &self.blob);
            let answer = endpoint.request(method, &path).body(b"overwritten").send()?;
            ensure!(answer.status >= 400, "{method} {path} was answered {}", answer.status);
        }
        let answer = client::put_manifest(endpoint, "outside", "v1", MANIFEST, b"{}")?;
        ensure!(answer.status >= 400, "a manifest was put into a repository outside");
        client::manifest(endpoint, "GET", "/v2/library/app/manifests/latest")?.expect(200)?;
        endpoint.get("/v2/_catalog")?.expect(200)?;
        Ok(())
    }

    /// Nothing was written outside.
    pub(super) fn check_untouched(&self) -> Result<()> {
        ensure!(fs::read_to_string(self.outside.join("data"))? == SECRET, "what lies outside was written");
        let names = fs::read_dir(&self.outside)?.count();
        ensure!(names == 3, "{names} files outside, where 3 were");
        Ok(())
    }
}
