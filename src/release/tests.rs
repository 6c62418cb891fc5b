//! Releases from tags alone, and the one of the payload fixture from its tags to its closure.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::GzDecoder;
use storage_layout::Algorithm;
use storage_layout::Digest;
use storage_layout::Entry;
use storage_layout::Tag;
use storage_layout::parse_link;

use crate::oci::Manifest;
use crate::reachability::Edges;
use crate::release::*;

/// A release payload as distribution 2.8.2 wrote it.
const STORE: &[u8] = include_bytes!("../../conformance/fixtures/payload-store.tar.gz");
/// What must be found in it.
const EXPECTED: &str = include_str!("../../conformance/fixtures/payload.json");

struct Fixture {
    files: BTreeMap<Entry, Vec<u8>>,
}

impl Fixture {
    fn load() -> Self {
        let mut files = BTreeMap::new();
        let mut archive = tar::Archive::new(GzDecoder::new(STORE));
        for file in archive.entries().unwrap() {
            let mut file = file.unwrap();
            let path = file.path().unwrap().to_str().unwrap().to_owned();
            if let Some(entry) = Entry::parse(path.trim_start_matches("./")) {
                let mut content = Vec::new();
                file.read_to_end(&mut content).unwrap();
                files.insert(entry, content);
            }
        }
        Self { files }
    }

    fn tags(&self, repository: &str) -> Vec<Tagged> {
        let tags = self.files.iter().filter_map(|(entry, link)| match entry {
            Entry::TagCurrent(name, tag) if name.as_str() == repository => {
                Some(Tagged { tag: tag.clone(), digest: parse_link(link).unwrap() })
            }
            _ => None,
        });
        tags.collect()
    }

    fn blob(&self, digest: &Digest) -> &[u8] {
        &self.files[&Entry::Blob(*digest)]
    }

    fn edges(&self, digest: &Digest) -> Result<Edges, String> {
        Manifest::parse(self.blob(digest), None).map(|it| Edges::of(&it)).map_err(|it| it.to_string())
    }
}

#[test]
fn the_release_of_the_fixture_is_whole() {
    let fixture = Fixture::load();
    let expected: serde_json::Value = serde_json::from_str(EXPECTED).unwrap();
    let expected = &expected["release"];

    let mut releases = releases(&fixture.tags(IMAGES), &fixture.tags(COMPONENTS));
    let release = releases.pop().unwrap();
    assert!(releases.is_empty());
    assert_eq!(release.image.digest.to_string(), expected["digest"]);

    let layers = fixture.edges(&release.image.digest).unwrap().blobs;
    let payload =
        layers.iter().rev().find_map(|it| find_payload(fixture.blob(it)).unwrap_or_default()).unwrap();
    assert_eq!(payload.version(), expected["version"]);
    let components: BTreeMap<_, _> =
        payload.components().iter().map(|(name, it)| (name.clone(), it.digest.to_string())).collect();
    let listed: BTreeMap<String, String> = serde_json::from_value(expected["components"].clone()).unwrap();
    assert_eq!(components, listed);
    let tagged: BTreeMap<_, _> =
        release.components.iter().map(|(name, it)| (name.clone(), it.digest.to_string())).collect();
    assert_eq!(tagged, listed);

    let bundles = fixture.tags(BUNDLES);
    let bundle = BundleName::parse(&bundles[0].tag).unwrap();
    assert!(bundle.is_of(payload.version()));
    let members = members(&release, Some(&payload), &[], Some((&bundle, bundles[0].digest)));
    assert_eq!(members.len(), 10);

    // Counted from the manifests by hand: ten of them, ten configs, their own layers and two shared ones.
    let reached = closure(&members, |it| fixture.edges(it)).unwrap();
    assert_eq!(reached.len(), 32);
    assert_eq!(reached.iter().map(|it| fixture.blob(it).len()).sum::<usize>(), 261_930);
}

fn d(byte: u8) -> Digest {
    Digest::from_bytes(Algorithm::Sha256, &[byte; 32]).unwrap()
}

fn tagged(tag: &str, byte: u8) -> Tagged {
    Tagged { tag: Tag::parse(tag).unwrap(), digest: d(byte) }
}

#[test]
fn the_repositories_have_names() {
    for name in [BUNDLES, IMAGES, COMPONENTS] {
        assert_eq!(repository(name).as_str(), name);
    }
}

#[test]
fn components_belong_to_the_longest_tag() {
    let (one, two) = (d(1).hex().to_string(), d(2).hex().to_string());
    let images = [tagged(&one, 1), tagged(&two, 2), tagged("4.22.1", 3), tagged("4.22.1-x86_64", 4)].to_vec();
    let components = [
        tagged(&format!("{one}-etcd"), 10),
        tagged(&format!("{two}-etcd"), 20),
        tagged(&format!("{two}-machine-os-images"), 21),
        tagged(&format!("{two}-"), 22),
        tagged("4.22.1-etcd", 30),
        tagged("4.22.1-x86_64-etcd", 40),
        tagged("4.22.10-etcd", 50),
        tagged("stray", 60),
    ];
    let found: Vec<_> = releases(&images, &components)
        .into_iter()
        .map(|it| {
            let components: Vec<_> =
                it.components.into_iter().map(|(k, v)| (k, v.digest.first_byte())).collect();
            (it.image.digest.first_byte(), components)
        })
        .collect();
    let etcd = |byte| ("etcd".to_owned(), byte);
    assert_eq!(
        found,
        [
            (1, vec![etcd(10)]),
            (2, vec![etcd(20), ("machine-os-images".to_owned(), 21)]),
            (3, vec![etcd(30)]),
            (4, vec![etcd(40)]),
        ]
    );
}

#[test]
fn attachments_are_no_releases() {
    let hex = d(1).hex().to_string();
    let images = ["", ".sig", ".att", ".sbom"].map(|suffix| tagged(&format!("sha256-{hex}{suffix}"), 1));
    assert!(images.iter().all(|it| attached_to(&it.tag) == Some(d(1))));
    assert_eq!(releases(&images, &[]), []);
    for tag in [&*hex, "sha256-1", "sha256-", "v1.sig", &format!("md5-{hex}.sig")] {
        assert_eq!(attached_to(&Tag::parse(tag).unwrap()), None, "{tag}");
    }
}
