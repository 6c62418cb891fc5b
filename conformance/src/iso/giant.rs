//! An image of 20,000 files, names of 128 characters and a blob of 5 GiB, made as the appliance builder makes
//! one.

use std::fs;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use sha2::Digest as _;
use sha2::Sha256;

use crate::bench::Bench;
use crate::client;
use crate::http::Endpoint;
use crate::image::Content;
use crate::image::hex;
use crate::iso::hot;
use crate::server::Registry;
use crate::server::Setup;

/// What the appliance builder gives to `genisoimage`.
const BUILDER: &[&str] = &["-iso-level", "3", "-R", "-D", "-V", "agentdata"];

/// The blob of 5 GiB: nothing, but for a byte at each of [`MARKS`], which is its number there.
const GIANT: &str = "sha256:5ded905d8d1c33c5fcf00a1bc8fa2abba0d1542ca23143ceaa57e49f2a91dd12";
const GIANT_LEN: u64 = 5 << 30;
const MARKS: [u64; 5] = [0, (1 << 32) - 2049, (1 << 32) - 1, 1 << 32, GIANT_LEN - 1];

/// How many small blobs there are, each with its link: 20,000 files with the tags and manifests.
const SMALL: u32 = 9_850;

/// Of how many small blobs one is asked for.
const EVERY: usize = 7;

/// How many tags of 128 characters there are.
const TAGS: usize = 100;

/// How long a server may take from its start to its first answer, all of it.
const OPENING: Duration = Duration::from_millis(50);

/// How often the start is tried where the machine was busy with something else.
const STARTS: usize = 7;

/// The most memory that serving it all may take.
const MEMORY: u64 = 32 << 20;

/// The repository.
const NAME: &str = "agent/data";

/// All of it is served; how long opening takes and how much memory serving; and how fast a hot blob comes.
pub(crate) fn served(bench: &Bench) -> Result<String> {
    let tree = Tree::write(&bench.directory().join("tree"))?;
    let image = make_image(&tree.root, &bench.directory().join("data.iso"))?;
    let opening = fastest_start(bench, &image)?;
    let registry = bench.registry(&Setup::new(&image))?;
    tree.check(&registry.endpoint)?;
    check_giant(&registry.endpoint)?;
    let memory = registry.peak_memory()?;
    ensure!(memory < MEMORY, "serving took {} MiB of memory", memory >> 20);
    let ratio = hot::compare(bench, &registry, &tree.root, (NAME, &tree.hot))?;
    registry.stop()?;
    fs::remove_dir_all(bench.directory())?;
    Ok(format!(
        "{} files, first answer {} ms after the start, {:.1} MiB of memory; a hot blob at {ratio:.2} of its rate from \
         a directory",
        tree.files,
        opening.as_millis(),
        memory as f64 / f64::from(1 << 20)
    ))
}

/// What the image is made of.
struct Tree {
    root: PathBuf,
    small: Vec<Content>,
    manifest: Content,
    tags: Vec<String>,
    hot: String,
    files: usize,
}

impl Tree {
    fn write(root: &Path) -> Result<Self> {
        let manifest =
            br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
        let mut tree = Self {
            root: root.to_owned(),
            small: (0..SMALL).map(|number| Content::new(number.to_le_bytes().to_vec())).collect(),
            manifest: Content::new(manifest.to_vec()),
            tags: (0..TAGS).map(|number| format!("{number:03}{}", "x".repeat(125))).collect(),
            hot: String::new(),
            files: 0,
        };
        for content in &std::mem::take(&mut tree.small) {
            tree.put(&data(&content.digest), &content.bytes)?;
            tree.link(&format!("_layers/{}", content.digest), &content.digest)?;
            tree.small.push(content.clone());
        }
        let Content { digest, bytes } = tree.manifest.clone();
        tree.put(&data(&digest), &bytes)?;
        tree.link(&format!("_manifests/revisions/{digest}"), &digest)?;
        for tag in tree.tags.clone() {
            tree.link(&format!("_manifests/tags/{tag}/current"), &digest)?;
            tree.link(&format!("_manifests/tags/{tag}/index/{digest}"), &digest)?;
        }
        let Content { digest, bytes } = hot::blob();
        tree.put(&data(&digest), &bytes)?;
        tree.link(&format!("_layers/{digest}"), &digest)?;
        tree.hot = digest;
        tree.giant()?;
        ensure!(tree.files >= 19_900, "only {} files", tree.files);
        Ok(tree)
    }

    fn put(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        let path = self.root.join("docker/registry/v2").join(path);
        fs::create_dir_all(path.parent().context("below the root")?)?;
        self.files += 1;
        Ok(fs::write(path, bytes)?)
    }

    fn link(&mut self, path: &str, digest: &str) -> Result<()> {
        self.put(&format!("repositories/{NAME}/{}/link", path.replace(':', "/")), digest.as_bytes())
    }

    fn giant(&mut self) -> Result<()> {
        self.put(&data(GIANT), b"")?;
        let sparse =
            File::options().write(true).open(self.root.join("docker/registry/v2").join(data(GIANT)))?;
        sparse.set_len(GIANT_LEN)?;
        for (number, mark) in (1..).zip(MARKS) {
            sparse.write_all_at(&[number], mark)?;
        }
        self.link(&format!("_layers/{GIANT}"), GIANT)
    }

    /// What is small: blobs, and a manifest by each of its names.
    fn check(&self, endpoint: &Endpoint) -> Result<()> {
        for content in self.small.iter().step_by(EVERY) {
            let found = endpoint.get(&format!("/v2/{NAME}/blobs/{}", content.digest))?.expect(200)?;
            ensure!(found.body == content.bytes, "{}: other bytes", content.digest);
        }
        let listed = endpoint.get(&format!("/v2/{NAME}/tags/list"))?.expect(200)?.json()?;
        ensure!(crate::payload::strings(&listed, "tags") == self.tags, "{listed}");
        for tag in &self.tags {
            let path = format!("/v2/{NAME}/manifests/{tag}");
            let found = client::manifest(endpoint, "GET", &path)?.expect(200)?;
            ensure!(found.body == self.manifest.bytes, "{tag}: another manifest");
        }
        Ok(())
    }
}

/// The blob of 5 GiB: its length, the bytes around each mark, and all of them by their digest.
fn check_giant(endpoint: &Endpoint) -> Result<()> {
    let path = format!("/v2/{NAME}/blobs/{GIANT}");
    endpoint.head(&path)?.expect(200)?.expect_header("Content-Length", &GIANT_LEN.to_string())?;
    for (number, mark) in (1..).zip(MARKS) {
        let range = format!("bytes={}-{}", mark.saturating_sub(1), (mark + 1).min(GIANT_LEN - 1));
        let part = endpoint.request("GET", &path).header("Range", &range).send()?.expect(206)?;
        let at = usize::from(mark > 0);
        ensure!(part.body.get(at) == Some(&number), "{range}: {:?}", part.body);
    }
    let mut hasher = Sha256::new();
    let len = hot::get(endpoint, &path, |piece| hasher.update(piece))?;
    let computed = hex(&hasher.finalize());
    ensure!(len == GIANT_LEN && GIANT.ends_with(&computed), "{len} bytes came, which have {computed}");
    Ok(())
}

fn fastest_start(bench: &Bench, image: &Path) -> Result<Duration> {
    let mut fastest = Duration::MAX;
    for _ in 0..STARTS {
        let began = Instant::now();
        let registry: Registry = bench.registry(&Setup::new(image))?;
        registry.endpoint.get(&format!("/v2/{NAME}/tags/list"))?.expect(200)?;
        fastest = fastest.min(began.elapsed());
        registry.stop()?;
    }
    ensure!(fastest < OPENING, "the first answer came after {fastest:?}");
    Ok(fastest)
}

/// Makes an image of a tree, with holes where there is nothing.
pub(crate) fn make_image(tree: &Path, image: &Path) -> Result<PathBuf> {
    let mut xorriso = Command::new("xorriso");
    xorriso.args(["-as", "mkisofs", "-quiet", "-o", "-"]).args(BUILDER).arg(tree);
    let mut made =
        xorriso.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("starting xorriso")?;
    let mut bytes = made.stdout.take().context("its output is piped")?;
    let sparse = File::create(image)?;
    let zeros = vec![0; 1 << 20];
    let mut piece = zeros.clone();
    let mut len = 0;
    loop {
        let read = bytes.read(&mut piece)?;
        let Some(new) = piece.get(..read).filter(|new| !new.is_empty()) else { break };
        if Some(new) != zeros.get(..read) {
            sparse.write_all_at(new, len)?;
        }
        len += read as u64;
    }
    sparse.set_len(len)?;
    ensure!(made.wait()?.success(), "xorriso failed");
    Ok(image.to_owned())
}

/// Where a blob lies.
fn data(digest: &str) -> String {
    let (algorithm, encoded) = digest.split_once(':').unwrap_or_default();
    format!("blobs/{algorithm}/{}/{encoded}/data", encoded.get(..2).unwrap_or_default())
}
