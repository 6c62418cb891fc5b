//! A tree that distribution 2.8.2 wrote, name by name: every file is an entry,
//! every directory a directory, and nothing is left over.

use std::collections::BTreeMap;

use storage_layout::{Dir, Entry};

/// The listing of a release payload: eight components, an index, a docker list, signatures, deep names and an
/// unfinished upload. Directories end in a slash.
const PAYLOAD: &str = include_str!("payload-store.txt");

/// What an unclean file system and careless hands added to the same tree.
const STRANGERS: &[&str] = &[
    "docker/registry/v2/blobs/sha256/zz/",
    "docker/registry/v2/repositories/lost+found/",
    "docker/registry/v2/repositories/stray.txt",
];

#[test]
fn every_file_is_an_entry_that_lies_there() {
    let mut kinds = BTreeMap::new();
    for path in PAYLOAD.lines().filter(|it| !it.ends_with('/')) {
        let entry = Entry::parse(path).unwrap_or_else(|| panic!("{path} is a stranger"));
        assert_eq!(entry.path().as_str(), path);
        *kinds.entry(kind(&entry)).or_insert(0) += 1;
    }
    // Counted with find(1) in the unpacked tree.
    let expected = [
        ("blob", 67),
        ("hash state", 2),
        ("layer", 46),
        ("revision", 23),
        ("started at", 1),
        ("tag", 19),
        ("tag index", 20),
        ("upload", 1),
    ];
    assert_eq!(kinds, BTreeMap::from(expected));
}

#[test]
fn every_directory_is_a_directory_that_lies_there() {
    let directories: Vec<_> = PAYLOAD.lines().filter_map(|it| it.strip_suffix('/')).collect();
    assert_eq!(directories.len(), 389);
    for path in directories {
        let dir = Dir::parse(path).unwrap_or_else(|| panic!("{path} is a stranger"));
        assert_eq!(dir.path().as_str(), path);
    }
}

#[test]
fn strangers_are_told_apart() {
    for path in STRANGERS {
        assert_eq!(Entry::parse(path), None, "{path}");
        assert_eq!(Dir::parse(path.trim_end_matches('/')).filter(|_| path.ends_with('/')), None, "{path}");
    }
}

fn kind(entry: &Entry) -> &'static str {
    match entry {
        Entry::Blob(_) => "blob",
        Entry::LayerLink(..) => "layer",
        Entry::RevisionLink(..) => "revision",
        Entry::TagCurrent(..) => "tag",
        Entry::TagIndex(..) => "tag index",
        Entry::UploadData(..) => "upload",
        Entry::UploadStartedAt(..) => "started at",
        Entry::UploadHashState(..) => "hash state",
    }
}
