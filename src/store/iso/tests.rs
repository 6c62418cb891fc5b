//! Trees in images: the fixture's, and those that `xorriso` makes as the appliance builder does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::LazyLock;
use std::time::Duration;
use std::time::Instant;

use storage_layout::Digest;
use storage_layout::Dir;
use storage_layout::Entry;
use storage_layout::Tag;

use crate::store::Blob;
use crate::store::Window;
use crate::store::contract::check_payload;
use crate::store::contract::name;
use crate::store::contract::read_only;
use crate::store::image::split;

use super::*;

const PAYLOAD: &[u8] = include_bytes!("../../../conformance/fixtures/payload.iso");

/// What the appliance builder gives to `genisoimage`.
const BUILDER: &[&str] = &["-iso-level", "3", "-R", "-D", "-V", "agentdata"];

/// Makes an image of `tree` with `xorriso -as mkisofs`, with holes where it is zero; `None`, loudly, where it
/// is not installed. Under `CI=true` it has to be.
fn make_image(tree: &Path, image: &Path, flags: &[&str]) -> Option<()> {
    let made = Command::new("xorriso")
        .args(["-as", "mkisofs", "-quiet", "-o", "-"])
        .args(flags)
        .arg(tree)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut made = match made {
        Err(error) if std::env::var("CI").as_deref() != Ok("true") => {
            // Past the test harness, which would keep it to itself.
            writeln!(std::io::stderr(), "NOT TESTED: xorriso cannot be started ({error}); install it")
                .unwrap();
            return None;
        }
        made => made.expect("xorriso, which the tests of images need"),
    };
    let mut sparse = File::create(image).unwrap();
    let mut stdout = made.stdout.take().unwrap();
    let zeros = vec![0; 1 << 20];
    let mut chunk = zeros.clone();
    let mut len = 0;
    loop {
        let read = stdout.read(&mut chunk).unwrap();
        if read == 0 {
            break;
        }
        let bytes = chunk.get(..read).unwrap();
        // A comparison of slices is fast also where nothing is optimized.
        if Some(bytes) != zeros.get(..read) {
            sparse.write_all_at(bytes, len).unwrap();
        }
        len += read as u64;
    }
    sparse.set_len(len).unwrap();
    sparse.flush().unwrap();
    assert!(made.wait().unwrap().success(), "xorriso {flags:?}");
    Some(())
}

/// A directory with a tree to make an image of, and place for the image.
struct Workshop {
    directory: tempfile::TempDir,
}

impl Workshop {
    fn new() -> Self {
        // In memory where that is possible: what is large here is nearly all holes, and there is much that is
        // small.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self { directory: directory.unwrap() }
    }

    /// Memory cannot tell what of it is in memory, and the contract of a store asks for that.
    fn on_disk() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn tree(&self) -> PathBuf {
        self.directory.path().join("tree")
    }

    fn put(&self, path: impl AsRef<str>, content: &[u8]) {
        let path = self.tree().join(path.as_ref());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn image(&self, flags: &[&str]) -> Option<PathBuf> {
        let image = self.directory.path().join("data.iso");
        make_image(&self.tree(), &image, flags).map(|()| image)
    }
}

fn read_all(found: Found) -> Vec<u8> {
    read_range(&found, 0..found.extents.len())
}

fn read_range(found: &Found, range: Range<u64>) -> Vec<u8> {
    static MEDIUM: LazyLock<Arc<Medium>> =
        LazyLock::new(|| Media::default().of(&tempfile::tempfile().unwrap(), Path::new("test")).unwrap());
    let mut range = Blob::new(digest_of(b""), found.clone(), Arc::clone(&MEDIUM)).range(range);
    let mut content = Vec::new();
    while let Some(Window { file, offset, len, .. }) = range.next_window(1 << 20) {
        let mut part = vec![0; usize::try_from(len).unwrap()];
        file.read_exact_at(&mut part, offset).unwrap();
        content.extend(part);
    }
    content
}

fn open(path: &Path) -> Result<Iso, Error> {
    Iso::open(path, &Media::default())
}

fn ready<T>(poll: Poll<T>) -> T {
    match poll {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("pending although it may wait"),
    }
}

fn file(iso: &Iso, path: &RelativePath) -> Found {
    ready(iso.open(path, Wait::Allowed)).unwrap().unwrap_or_else(|| panic!("{path} is not there"))
}

fn digest_of(content: &[u8]) -> Digest {
    use sha2::Digest as _;
    let hex: String = sha2::Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    Digest::parse(&format!("sha256:{hex}")).unwrap()
}

#[tokio::test]
async fn the_payload_is_whole_in_one_file_and_in_parts_of_any_size() {
    for size in [PAYLOAD.len(), 4097, 32_769, 65_536, 1_000_003, 2_000_000] {
        let directory = tempfile::tempdir().unwrap();
        let mut part = directory.path().join("data.isoaa");
        let first = part.clone();
        for content in PAYLOAD.chunks(size) {
            fs::write(&part, content).unwrap();
            part.set_file_name(split::successor(part.file_name().unwrap().to_str().unwrap(), 2));
        }
        let iso = open(&first).unwrap();
        assert_eq!((iso.label(), iso.missing()), ("agentdata", 0));
        check_payload(&read_only(&first)).await;
    }
}

/// A block device whose bytes are those of a file; `None`, loudly, where this process may not make one.
struct Loop(PathBuf);

impl Loop {
    fn over(file: &Path) -> Option<Self> {
        let made = Command::new("losetup").args(["--find", "--show", "--read-only"]).arg(file).output();
        let device = made.ok().filter(|made| made.status.success()).map(|made| made.stdout);
        let Some(device) = device.and_then(|name| String::from_utf8(name).ok()) else {
            writeln!(std::io::stderr(), "NOT TESTED: a block device, for which `losetup` needs to be root")
                .unwrap();
            return None;
        };
        Some(Self(device.trim().into()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

#[tokio::test]
async fn the_payload_is_whole_on_a_block_device() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("data.iso");
    fs::write(&image, PAYLOAD).unwrap();
    let Some(device) = Loop::over(&image) else { return };
    let iso = open(&device.0).unwrap();
    assert_eq!((iso.label(), iso.missing()), ("agentdata", 0));
    check_payload(&read_only(&device.0)).await;
}

#[tokio::test]
async fn a_device_that_fails_is_named_and_the_rest_is_served() {
    const LEFT: u64 = 1_200_128;
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("data.iso");
    fs::write(&image, PAYLOAD).unwrap();
    let Some(device) = Loop::over(&image) else { return };
    let store = read_only(&device.0);
    let blobs = store.blobs(None, usize::MAX).await.unwrap();
    // What is behind a loop device and not there any more is an I/O error.
    File::options().write(true).open(&image).unwrap().set_len(LEFT).unwrap();
    let (mut served, mut failed) = (0, 0);
    for blob in &blobs {
        let found = store.blob(&blob.digest).await.unwrap().unwrap();
        let window = found.range(0..u64::MAX).next_window(u64::MAX).unwrap();
        match window.read().await {
            Ok(content) => {
                assert_eq!(digest_of(&content), blob.digest);
                served += 1;
            }
            Err(Error::Medium { medium, path, offset, digest, source }) => {
                assert_eq!(digest, blob.digest);
                assert!(Path::new(&medium) == device.0 && Path::new(&path) == device.0, "{medium} {path}");
                assert!(offset + found.len() > LEFT, "{offset}: {source}");
                failed += 1;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(served > 10 && failed > 10, "{served} and {failed}");
}

#[test]
fn a_part_that_is_cut_off_at_the_end_is_missed() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("data.iso");
    fs::write(&image, PAYLOAD.get(..1_500_000).unwrap()).unwrap();
    let iso = open(&image).unwrap();
    assert_eq!(iso.missing(), PAYLOAD.len() as u64 - 1_500_000);
}

#[test]
fn what_is_not_an_image_is_said_to_be_none() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("data.iso");
    for content in [&b""[..], b"hello", &[0; 100_000]] {
        fs::write(&image, content).unwrap();
        let error = open(&image).unwrap_err().to_string();
        assert!(error.contains("not an ISO 9660 image"), "{error}");
    }
    let error = open(&directory.path().join("nothing.iso")).unwrap_err();
    assert!(matches!(error, Error::Io { doing: "open", .. }), "{error:?}");
}

#[test]
fn names_of_128_characters_and_a_label_of_32() {
    let workshop = Workshop::new();
    let tag = "t".repeat(128);
    let link = Entry::TagCurrent(name("a/b/c"), Tag::parse(&tag).unwrap()).path();
    workshop.put(link.as_str(), b"sha256:");
    for index in 0..400 {
        // Enough of them for continuation areas to fill several sectors, and share them.
        let tag = format!("{index:03}{}", "x".repeat(125));
        workshop.put(Entry::TagCurrent(name("a/b/c"), Tag::parse(&tag).unwrap()).path(), tag.as_bytes());
    }
    let label = "L23456789_123456789_123456789_12";
    for padding in ["-no-pad", "-pad"] {
        let Some(image) = workshop.image(&["-iso-level", "3", "-R", "-D", padding, "-V", label]) else {
            return;
        };
        let iso = open(&image).unwrap();
        assert_eq!((iso.label(), iso.missing()), (label, 0));
        assert_eq!(read_all(file(&iso, &link)), b"sha256:");
        let tag = format!("399{}", "x".repeat(125));
        let last = Entry::TagCurrent(name("a/b/c"), Tag::parse(&tag).unwrap()).path();
        assert_eq!(read_all(file(&iso, &last)), tag.as_bytes());
    }
}

#[test]
fn directories_that_were_moved_up_are_found_where_they_belong() {
    let workshop = Workshop::new();
    let deep = Entry::LayerLink(name("a/b/c/d/e/f/g/h/i/j"), digest_of(b"")).path();
    let other = Entry::LayerLink(name("z/y/x/w/v/u/t/s"), digest_of(b"")).path();
    workshop.put(deep.as_str(), b"deep");
    workshop.put(other.as_str(), b"other");
    for flags in [&["-R", "-rr_reloc_dir", "rr_moved"][..], &["-R", "-hide-rr-moved"], &["-R", "-D"]] {
        let Some(image) = workshop.image(flags) else { return };
        let iso = open(&image).unwrap();
        assert_eq!(read_all(file(&iso, &deep)), b"deep", "{flags:?}");
        assert_eq!(read_all(file(&iso, &other)), b"other", "{flags:?}");
    }
}

#[test]
fn an_image_without_long_names_says_so() {
    let workshop = Workshop::new();
    workshop.put(Entry::Blob(digest_of(b"blob")).path(), b"blob");
    let Some(image) = workshop.image(&["--norock", "-iso-level", "3"]) else { return };
    let error = open(&image).unwrap_err().to_string();
    assert!(
        error.contains("neither Rock Ridge nor Joliet") && error.contains("xorriso -as mkisofs"),
        "{error}"
    );
}

#[test]
fn joliet_serves_what_its_names_can_tell_apart() {
    let workshop = Workshop::new();
    let blob = Entry::Blob(digest_of(b"blob")).path();
    let short = Entry::TagCurrent(name("short"), Tag::parse("v1").unwrap()).path();
    let long = Tag::parse(&format!("{}-etcd", digest_of(b"").hex())).unwrap();
    let cut = Entry::TagCurrent(name("long"), long).path();
    workshop.put(blob.as_str(), b"blob");
    workshop.put(short.as_str(), b"short");
    workshop.put(cut.as_str(), b"cut");
    for flags in [&["--norock", "-J"][..], &["--norock", "-J", "-joliet-long"]] {
        let Some(image) = workshop.image(flags) else { return };
        let iso = open(&image).unwrap();
        assert_eq!(read_all(file(&iso, &blob)), b"blob");
        assert_eq!(read_all(file(&iso, &short)), b"short");
        let errors = [
            ready(iso.open(&cut, Wait::Allowed)).unwrap_err(),
            iso.list(&Dir::Tags(name("long")).path()).unwrap_err(),
        ];
        for error in errors.map(|error| error.to_string()) {
            assert!(error.contains("cut to 64 characters") && error.contains("`-R`"), "{error}");
        }
        assert_eq!(iso.list(&Dir::Tags(name("short")).path()).unwrap().map(|items| items.len()), Some(1));
        assert_eq!(iso.list(&Dir::Tags(name("none")).path()).unwrap(), None);
    }
}

#[tokio::test]
async fn the_data_image_is_served_out_of_the_live_image_that_holds_its_parts() {
    let workshop = Workshop::on_disk();
    for (index, part) in PAYLOAD.chunks(700_001).enumerate() {
        workshop.put(
            ["registry/data.isoaa", "registry/data.isoab", "registry/data.isoac"].get(index).unwrap(),
            part,
        );
    }
    workshop.put("images/ignition.img", b"ignition");
    let Some(image) = workshop.image(&["-R", "-V", "rhcos-4.22"]) else { return };
    let iso = open(&image).unwrap();
    assert_eq!(iso.label(), "agentdata");
    check_payload(&read_only(&image)).await;
}

#[test]
fn an_image_without_a_tree_says_what_it_looked_for() {
    let workshop = Workshop::new();
    workshop.put("README", b"nothing");
    let Some(image) = workshop.image(BUILDER) else { return };
    let error = open(&image).unwrap_err().to_string();
    assert!(error.contains("`docker/registry/v2`") && error.contains("`agentdata`"), "{error}");
}

#[test]
fn opening_costs_the_same_whatever_the_image_holds() {
    let workshop = Workshop::new();
    let digests: Vec<_> = (0..20_000_u32).map(|index| digest_of(&index.to_le_bytes())).collect();
    for digest in &digests {
        workshop.put(Entry::Blob(*digest).path(), digest.hex().to_string().as_bytes());
    }
    let Some(image) = workshop.image(BUILDER) else { return };
    let began = Instant::now();
    let iso = open(&image).unwrap();
    assert!(began.elapsed() < Duration::from_millis(50), "{:?}", began.elapsed());
    assert!(iso.directories.is_empty(), "opening keeps no directory");
    for digest in &digests {
        let content = read_all(file(&iso, &Entry::Blob(*digest).path()));
        assert_eq!(content, digest.hex().to_string().as_bytes());
    }
    assert!(iso.directories.weight() <= CACHED, "{} bytes", iso.directories.weight());
    assert!(iso.directories.len() > 10_000, "most of the tree is kept: {}", iso.directories.len());
}

#[test]
fn an_answer_that_would_wait_is_pending_until_it_is_remembered() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("data.iso");
    fs::write(&image, PAYLOAD).unwrap();
    let iso = open(&image).unwrap();
    let blob = Entry::Blob(
        Digest::parse("sha256:0ec08ffabef53b47a3933bfc575a0258d1398db50c2fb707466ad13ce02a560e").unwrap(),
    );
    let missing = Entry::Blob(digest_of(b"missing")).path();
    assert!(
        iso.open(&blob.path(), Wait::Never).is_pending()
            && iso.version(&blob.path(), Wait::Never).is_pending()
    );
    let version = ready(iso.version(&blob.path(), Wait::Allowed)).unwrap().unwrap();
    assert_eq!(version.len(), 400);
    assert_eq!(ready(iso.version(&blob.path(), Wait::Never)).unwrap(), Some(version));
    assert_eq!(ready(iso.open(&blob.path(), Wait::Never)).unwrap().unwrap().version, version);
    assert!(ready(iso.open(&missing, Wait::Never)).unwrap().is_none());
    assert!(ready(iso.open(&Dir::Root.path(), Wait::Allowed)).is_err(), "a directory is no file");
    assert_ne!(ready(open(&image).unwrap().version(&blob.path(), Wait::Allowed)).unwrap(), Some(version));
}

#[test]
fn a_medium_that_ends_early_is_named_with_the_place() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("data.iso");
    fs::write(&image, PAYLOAD).unwrap();
    let iso = open(&image).unwrap();
    File::options().write(true).open(&image).unwrap().set_len(40_000).unwrap();
    let wanted = Entry::Blob(digest_of(b"wanted")).path();
    let error = ready(iso.open(&wanted, Wait::Allowed)).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("data.iso") && message.contains(wanted.as_str()) && message.contains("at byte"),
        "{message}"
    );
    File::options().write(true).open(&image).unwrap().set_len(0).unwrap();
    assert!(iso.check().is_err());
}
