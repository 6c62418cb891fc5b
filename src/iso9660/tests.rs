//! The reader against an image that the appliance builder's flags made, whole and damaged.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::io;

use proptest::prelude::*;

use super::*;

/// Rock Ridge, level 3, label `agentdata`; a registry's tree.
const PAYLOAD: &[u8] = include_bytes!("../../conformance/fixtures/payload.iso");

/// An image in memory, with bytes of it changed.
#[derive(Debug, Default)]
struct Patched {
    len: Option<usize>,
    patches: BTreeMap<usize, u8>,
}

impl Patched {
    fn with(offset: u64, bytes: &[u8]) -> Self {
        let offset = usize::try_from(offset).unwrap();
        Self { len: None, patches: (offset..).zip(bytes.iter().copied()).collect() }
    }
}

impl ReadAt for Patched {
    type Error = io::Error;

    fn len(&self) -> u64 {
        self.len.unwrap_or(PAYLOAD.len()) as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        assert!(offset + buf.len() as u64 <= self.len(), "a read past the end of the image");
        let start = usize::try_from(offset).unwrap();
        buf.copy_from_slice(&PAYLOAD[start..start + buf.len()]);
        for (at, byte) in self.patches.range(start..start + buf.len()) {
            buf[at - start] = *byte;
        }
        Ok(())
    }
}

/// Visits at most `budget` directories, as deep as any path of a registry goes.
fn walk(
    image: &Image,
    reader: &Patched,
    mut budget: usize,
    mut visit: impl FnMut(&str, &Directory, &Node),
) -> Result<(), Error<io::Error>> {
    let mut todo = vec![(String::new(), image.root())];
    while let Some((path, directory)) = todo.pop() {
        if budget == 0 || path.matches('/').count() > 24 {
            break;
        }
        budget -= 1;
        for (name, node) in image.list(reader, directory)?.iter() {
            let path = format!("{path}/{}", String::from_utf8_lossy(name));
            visit(&path, &directory, node);
            if let Node::Directory(below) = node {
                todo.push((path, *below));
            }
        }
    }
    Ok(())
}

#[test]
fn an_image_says_who_it_is() {
    let image = Image::open(&Patched::default()).unwrap();
    assert_eq!(image.label(), "agentdata");
    assert!(matches!(image.names(), Names::RockRidge { skip: 0 }), "{:?}", image.names());
    assert_eq!(image.recorded_len(), 1013 * BLOCK);
    assert_eq!(image.missing(), 0);
}

#[test]
fn every_file_is_found_with_its_bytes() {
    let reader = Patched::default();
    let image = Image::open(&reader).unwrap();
    let mut blobs = 0;
    let mut links = 0;
    walk(&image, &reader, usize::MAX, |path, _, node| {
        let Node::File(file) = node else { return };
        assert_eq!(image.find(&reader, path).unwrap().as_ref(), Some(node), "{path}");
        let [extent] = image.extents::<io::Error>(file).unwrap() else {
            panic!("{path} has several extents")
        };
        assert_eq!(extent.len, file.len());
        let mut content = vec![0; usize::try_from(file.len()).unwrap()];
        reader.read_at(&mut content, extent.offset).unwrap();
        if path.ends_with("/link") {
            links += 1;
            assert!(content.starts_with(b"sha256:") && content.len() == 71, "{path}");
        }
        if let Some(hex) = path.strip_prefix("/docker/registry/v2/blobs/sha256/") {
            blobs += 1;
            let hex = hex.split('/').nth(1).unwrap();
            assert_eq!(hex_sha256(&content), hex);
        }
    })
    .unwrap();
    assert_eq!(blobs, 67, "44 blobs and 23 manifests");
    assert!(links > 100, "{links}");
}

fn hex_sha256(content: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn what_is_not_there_is_none() {
    let reader = Patched::default();
    let image = Image::open(&reader).unwrap();
    for path in ["dockers", "docker/registry/v3", "images/registry/manifest.json/below", "Docker", "DOCKER"] {
        assert_eq!(image.find(&reader, path).unwrap(), None, "{path}");
    }
    assert_eq!(image.find(&reader, "").unwrap(), Some(Node::Directory(image.root())));
}

#[test]
fn a_listing_is_sorted_and_knows_its_size() {
    let reader = Patched::default();
    let image = Image::open(&reader).unwrap();
    let Some(Node::Directory(blobs)) = image.find(&reader, "docker/registry/v2/blobs/sha256").unwrap() else {
        panic!("no blobs");
    };
    let listing = image.list(&reader, blobs).unwrap();
    let names: Vec<_> = listing.iter().map(|(name, _)| name.to_vec()).collect();
    assert!(names.is_sorted() && names.len() == listing.len() && !listing.is_empty());
    assert!(listing.size() > names.len() * 2);
}

/// Where the directory at `path` has its records.
fn records_of(path: &str) -> u64 {
    let reader = Patched::default();
    let image = Image::open(&reader).unwrap();
    match image.find(&reader, path).unwrap() {
        Some(Node::Directory(directory)) => directory.extent().offset,
        other => panic!("{path} is {other:?}"),
    }
}

/// Where the last record begins of the sector at `offset`.
fn last_record_of_sector(mut offset: u64) -> u64 {
    let end = offset + BLOCK;
    loop {
        let next = offset + u64::from(PAYLOAD[usize::try_from(offset).unwrap()]);
        if next >= end || PAYLOAD[usize::try_from(next).unwrap()] == 0 {
            return offset;
        }
        offset = next;
    }
}

#[test]
fn a_damaged_image_is_refused_in_words() {
    let docker = records_of("docker");
    // The third record, after `.` and `..`, is that of `registry`.
    let first = usize::try_from(docker).unwrap();
    let second = first + usize::from(PAYLOAD[first]);
    let third = (second + usize::from(PAYLOAD[second])) as u64;
    let last_record = last_record_of_sector(records_of("docker/registry/v2/blobs/sha256"));
    let checks: &[(&str, Patched, &str)] = &[
        ("no descriptor", Patched::with(DESCRIPTORS + 1, b"NOPE!"), "not an ISO 9660 image"),
        ("only a terminator", Patched::with(DESCRIPTORS, &[255]), "not an ISO 9660 image"),
        ("other blocks", Patched::with(DESCRIPTORS + 128, &[0, 4]), "logical blocks of 1024 bytes"),
        ("root is no directory", Patched::with(DESCRIPTORS + 156 + 25, &[0]), "not a directory record"),
        ("root past the end", Patched::with(DESCRIPTORS + 156 + 2, &[0xFF; 4]), "cut short"),
        ("root elsewhere", Patched::with(DESCRIPTORS + 156 + 2, &[16, 0, 0, 0]), "begin with its own record"),
        ("record past its sector", Patched::with(last_record, &[255]), "passes the end of its sector"),
        ("record of one byte", Patched::with(third, &[1]), "too short for what it holds"),
        ("name past its record", Patched::with(third + 32, &[250]), "too short for what it holds"),
        ("empty name", Patched::with(third + 32, &[0]), "too short for what it holds"),
        ("directory past the end", Patched::with(third + 2, &[0xFF, 0xFF, 0xFF, 0]), "cut short"),
        ("endless directory", Patched::with(third + 10, &[0xFF; 4]), "longer than 32 MiB"),
        ("image of one sector", Patched { len: Some(2048), ..Patched::default() }, "not an ISO 9660 image"),
        ("image cut in its directories", Patched { len: Some(50_000), ..Patched::default() }, "cut short"),
    ];
    for (what, reader, message) in checks {
        let outcome = Image::open(reader).and_then(|image| walk(&image, reader, 1000, |_, _, _| {}));
        let error = outcome.expect_err(what).to_string();
        assert!(error.contains(message), "{what}: {error}");
    }
}

#[test]
fn a_file_past_the_end_is_listed_but_not_given() {
    let reader = Patched { len: Some(600 * 2048), ..Patched::default() };
    let image = Image::open(&reader).unwrap();
    assert_eq!(image.missing(), 413 * BLOCK);
    let mut refused = 0;
    walk(&image, &reader, usize::MAX, |_, _, node| {
        let Node::File(file) = node else { return };
        let past = file.extents().iter().any(|extent| extent.end() > reader.len());
        match image.extents::<io::Error>(file) {
            Ok(_) => assert!(!past),
            Err(error) => {
                assert!(past && error.to_string().contains("it was cut short"), "{error}");
                refused += 1;
            }
        }
    })
    .unwrap();
    assert!(refused > 0);
}

#[test]
fn a_directory_that_holds_itself_ends() {
    let docker = records_of("docker");
    let block = u32::try_from(docker / BLOCK).unwrap().to_le_bytes();
    let first = usize::try_from(docker).unwrap();
    let second = first + usize::from(PAYLOAD[first]);
    let third = (second + usize::from(PAYLOAD[second])) as u64;
    let reader = Patched::with(third + 2, &block);
    let image = Image::open(&reader).unwrap();
    let deep = format!("docker{}", "/registry".repeat(50));
    assert!(matches!(image.find(&reader, &deep).unwrap(), Some(Node::Directory(_))));
}

/// Everywhere a hostile image can lie: the descriptors, and every sector of every directory.
fn structures() -> Vec<usize> {
    let reader = Patched::default();
    let image = Image::open(&reader).unwrap();
    let mut extents = vec![
        Extent { offset: DESCRIPTORS, len: 2 * BLOCK },
        Extent { offset: records_of(""), len: 2 * BLOCK },
    ];
    walk(&image, &reader, usize::MAX, |_, directory, _| extents.push(directory.extent())).unwrap();
    extents.sort_by_key(|extent| extent.offset);
    extents.dedup();
    extents.iter().flat_map(|extent| extent.offset as usize..extent.end() as usize).collect()
}

/// What does damage: ends of ranges, small counts, signs, and the letters of entries that lead somewhere.
fn hostile_bytes() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<Vec<u8>> =
        [&b"CE\x1c\x01"[..], b"NM\xff\x01", b"CL\x0c\x01", b"RE\x04\x01", b"SP\x07\x01"]
            .map(Vec::from)
            .into();
    prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 1..5),
        1 => prop::sample::select(vec![vec![0xFF; 4], vec![0; 4], vec![0x80], vec![0xFF], vec![0], vec![1]]),
        1 => prop::sample::select(known),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever an image says, reading it ends, in an answer or in an error, and never reads past its end.
    #[test]
    fn any_damage_ends(
        damages in prop::collection::vec((any::<prop::sample::Index>(), hostile_bytes()), 1..24),
        len in prop::option::weighted(0.2, 0..PAYLOAD.len()),
    ) {
        thread_local!(static STRUCTURES: Vec<usize> = structures());
        let mut reader = Patched { len, ..Patched::default() };
        STRUCTURES.with(|structures| for (index, bytes) in &damages {
            let at = *index.get(structures);
            reader.patches.extend((at..).zip(bytes.iter().copied()));
        });
        if let Ok(image) = Image::open(&reader) {
            let _ = walk(&image, &reader, 400, |path, _, node| {
                assert!(path.len() < 24 * 1025);
                if let Node::File(file) = node {
                    let given = image.extents::<io::Error>(file).is_ok();
                    assert_eq!(given, file.extents().iter().all(|extent| extent.end() <= reader.len()));
                }
            });
        }
    }
}
