//! The laws of the layout, by property: paths and what lies there are inverse,
//! whatever the names.

use proptest::prelude::*;
use proptest::sample::select;
use storage_layout::{Algorithm, Digest, Dir, Entry, RepositoryName, Tag, UploadId};

/// Words that mean something in a path, where a naive reader would stop.
const WORDS: &[&str] = &[
    "layers",
    "manifests",
    "uploads",
    "tags",
    "revisions",
    "current",
    "index",
    "link",
    "data",
    "blobs",
    "repositories",
    "docker",
    "registry",
    "v2",
    "sha256",
    "sha512",
    "hashstates",
    "startedat",
    "00",
    "ff",
];

/// What hostile paths are made of.
const PIECES: &[&str] = &[
    "..",
    ".",
    "",
    "/",
    "//",
    "\\",
    "\0",
    "\n",
    " ",
    "%2e%2e",
    "%2f",
    "_layers",
    "_manifests",
    "_uploads",
    "_deleted",
    "A",
    "é",
    "+",
    "-0",
    "00",
    "0x1",
    "link/",
    "lost+found",
    "zz",
];

fn name() -> impl Strategy<Value = RepositoryName> {
    let component = prop_oneof![
        "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}",
        select(WORDS).prop_map(String::from),
    ];
    prop::collection::vec(component, 1..6).prop_map(|it| RepositoryName::parse(&it.join("/")).unwrap())
}

fn tag() -> impl Strategy<Value = Tag> {
    prop_oneof![
        "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}",
        select(WORDS).prop_map(String::from),
        select(WORDS).prop_map(|it| format!("_{it}")),
    ]
    .prop_map(|it| Tag::parse(&it).unwrap())
}

fn algorithm() -> impl Strategy<Value = Algorithm> {
    select(&Algorithm::ALL)
}

fn digest() -> impl Strategy<Value = Digest> {
    (algorithm(), prop::collection::vec(any::<u8>(), 64))
        .prop_map(|(algorithm, bytes)| Digest::from_bytes(algorithm, &bytes[..algorithm.len()]).unwrap())
}

fn id() -> impl Strategy<Value = UploadId> {
    any::<u128>().prop_map(UploadId::from_u128)
}

fn entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        digest().prop_map(Entry::Blob),
        (name(), digest()).prop_map(|(name, digest)| Entry::LayerLink(name, digest)),
        (name(), digest()).prop_map(|(name, digest)| Entry::RevisionLink(name, digest)),
        (name(), tag()).prop_map(|(name, tag)| Entry::TagCurrent(name, tag)),
        (name(), tag(), digest()).prop_map(|(name, tag, digest)| Entry::TagIndex(name, tag, digest)),
        (name(), id()).prop_map(|(name, id)| Entry::UploadData(name, id)),
        (name(), id()).prop_map(|(name, id)| Entry::UploadStartedAt(name, id)),
        (name(), id(), algorithm(), any::<u64>())
            .prop_map(|(name, id, algorithm, offset)| Entry::UploadHashState(name, id, algorithm, offset)),
    ]
}

fn dir() -> impl Strategy<Value = Dir> {
    prop_oneof![
        select(vec![Dir::Root, Dir::AllBlobs, Dir::Repositories]),
        algorithm().prop_map(Dir::Blobs),
        (algorithm(), any::<u8>()).prop_map(|(algorithm, byte)| Dir::BlobPrefix(algorithm, byte)),
        digest().prop_map(Dir::Blob),
        (name(), id(), algorithm()).prop_flat_map(|(name, id, algorithm)| {
            select(vec![
                Dir::Repository(name.clone()),
                Dir::AllLayers(name.clone()),
                Dir::Layers(name.clone(), algorithm),
                Dir::Manifests(name.clone()),
                Dir::AllRevisions(name.clone()),
                Dir::Revisions(name.clone(), algorithm),
                Dir::Tags(name.clone()),
                Dir::Uploads(name.clone()),
                Dir::Upload(name.clone(), id),
                Dir::AllHashStates(name.clone(), id),
                Dir::HashStates(name, id, algorithm),
            ])
        }),
        (name(), tag(), digest()).prop_flat_map(|(name, tag, digest)| {
            select(vec![
                Dir::Layer(name.clone(), digest),
                Dir::Revision(name.clone(), digest),
                Dir::Tag(name.clone(), tag.clone()),
                Dir::TagCurrent(name.clone(), tag.clone()),
                Dir::TagIndexes(name.clone(), tag.clone()),
                Dir::TagIndex(name.clone(), tag.clone(), digest.algorithm()),
                Dir::TagRevision(name, tag, digest),
            ])
        }),
    ]
}

/// A path of the tree that something was done to: a piece put in, or one component replaced.
fn spoilt() -> impl Strategy<Value = String> {
    let whole = prop_oneof![entry().prop_map(|it| it.path()), dir().prop_map(|it| it.path())];
    (whole, any::<prop::sample::Index>(), select(PIECES), any::<bool>()).prop_map(
        |(path, at, piece, replace)| {
            let path = path.as_str();
            if replace {
                let mut components: Vec<&str> = path.split('/').collect();
                let at = at.index(components.len());
                components[at] = piece;
                return components.join("/");
            }
            let (head, tail) = path.split_at(at.index(path.len() + 1));
            [head, piece, tail].concat()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_entry_is_found_where_it_lies(entry in entry()) {
        let path = entry.path();
        prop_assert_eq!(Entry::parse(path.as_str()), Some(entry));
        prop_assert_eq!(Dir::parse(path.as_str()), None, "a file is not a directory");
    }

    #[test]
    fn a_directory_is_found_where_it_lies(dir in dir()) {
        let path = dir.path();
        prop_assert_eq!(Dir::parse(path.as_str()), Some(dir));
        prop_assert_eq!(Entry::parse(path.as_str()), None, "a directory is not a file");
    }

    #[test]
    fn everything_above_an_entry_is_a_directory(entry in entry()) {
        let mut path = entry.path();
        while path.as_str() != Dir::Root.path().as_str() {
            path = path.parent().unwrap();
            prop_assert!(Dir::parse(path.as_str()).is_some(), "{}", path);
        }
    }

    #[test]
    fn what_parses_has_one_spelling(path in prop_oneof![spoilt(), ".{0,80}", "(/?[a-z0-9_.-]{0,6}){0,12}"]) {
        if let Some(entry) = Entry::parse(&path) {
            let spelt = entry.path();
            prop_assert_eq!(spelt.as_str(), &path);
        }
        if let Some(dir) = Dir::parse(&path) {
            let spelt = dir.path();
            prop_assert_eq!(spelt.as_str(), &path);
        }
    }

    #[test]
    fn no_path_leaves_the_store(entry in entry()) {
        let path = entry.path();
        prop_assert!(path.as_str().starts_with("docker/registry/v2/"));
        prop_assert!(path.as_str().split('/').all(|it| !matches!(it, "" | "." | "..") && !it.contains('\0')));
    }
}

#[test]
fn strangers_are_not_entries() {
    let digest = Digest::from_bytes(Algorithm::Sha256, &[0xab; 32]).unwrap();
    let hex = digest.hex().to_string();
    let repositories = "docker/registry/v2/repositories";
    for path in [
        String::new(),
        "/".into(),
        "data".into(),
        "images/registry/manifest.json".into(),
        format!("/docker/registry/v2/blobs/sha256/ab/{hex}/data"),
        format!("docker/registry/v2/blobs/sha256/ab/{hex}/data/"),
        format!("docker/registry/v2/blobs/sha256/ab/{hex}/data.partial"),
        format!("docker/registry/v2/blobs/sha256/ab/{hex}"),
        format!("docker/registry/v2/blobs/sha256/ac/{hex}/data"),
        format!("docker/registry/v2/blobs/sha256/a/{hex}/data"),
        format!("docker/registry/v2/blobs/sha256/AB/{hex}/data"),
        format!("docker/registry/v2/blobs/sha256//{hex}/data"),
        format!("docker/registry/v2/blobs/sha512/ab/{hex}/data"),
        format!("docker/registry/v2/blobs/md5/ab/{hex}/data"),
        format!("docker/registry/v2/blobs/sha256/ab/../ab/{hex}/data"),
        format!("docker/registry/v1/blobs/sha256/ab/{hex}/data"),
        format!("{repositories}/a/_layers/sha256/{hex}/data"),
        format!("{repositories}/_layers/sha256/{hex}/link"),
        format!("{repositories}/../_layers/sha256/{hex}/link"),
        format!("{repositories}/A/_layers/sha256/{hex}/link"),
        format!("{repositories}/a/_deleted/sha256/{hex}/link"),
        format!("{repositories}/a/_manifests/revisions/sha256/{hex}/signatures/sha256/{hex}/link"),
        format!("{repositories}/a/_manifests/tags/../current/link"),
        format!("{repositories}/a/_manifests/tags/v1/index/current/link"),
        format!("{repositories}/a/_manifests/tags/v1/current/link.tmp"),
        format!("{repositories}/a/_uploads/not-a-uuid/data"),
        format!("{repositories}/a/_uploads/00000000-0000-0000-0000-000000000000/hashstates/sha256/"),
        format!("{repositories}/a/_uploads/00000000-0000-0000-0000-000000000000/hashstates/sha256/01"),
        format!("{repositories}/a/_uploads/00000000-0000-0000-0000-000000000000/hashstates/sha256/+1"),
        format!(
            "{repositories}/a/_uploads/00000000-0000-0000-0000-000000000000/hashstates/sha256/18446744073709551616"
        ),
    ] {
        assert_eq!(Entry::parse(&path), None, "{path:?}");
    }
}
