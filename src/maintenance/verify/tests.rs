//! Verifying the fixtures, whole and damaged in every way that a report tells apart.

use std::fs;
use std::path::Path;

use storage_layout::Algorithm;
use storage_layout::Digest;
use storage_layout::Entry;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use super::*;
use crate::maintenance::fixture::Root;

const IMAGE: &str = "48b44cb7cd5efd6e24aadda9ffa4183a35969ccac9de42bdb5229d4ac83d242d";
const ETCD: &str = "edccef9de32bc60c4ce1b429f42a78f86e6a3b35e7fd0ced035375ee6bb26077";
/// A base layer of all eight components and the release image.
const SHARED: &str = "4b512d4057743b68c1dace3e8026893e22a7c311c50362183f981a0375b46e61";

fn sha256(hex: &str) -> Digest {
    Digest::from_hex(Algorithm::Sha256, hex).unwrap()
}

fn name(text: &str) -> RepositoryName {
    RepositoryName::parse(text).unwrap()
}

fn run(root: &Root, releases: &Releases) -> Report {
    let threads = NonZero::new(2).unwrap();
    verify(&root.sources(), releases, threads, &Pace::new(None), &Tally::default()).unwrap()
}

fn told(root: &Root, report: &Report) -> Vec<String> {
    let prefix = format!("{}/", root.path().display());
    report.problems.iter().map(|it| it.to_string().replace(&prefix, "")).collect()
}

#[test]
fn a_whole_store_is_clean() {
    let root = Root::payload();
    let before = root.snapshot();
    let report = run(&root, &Releases::All);
    assert_eq!(report.problems, []);
    assert_eq!(report.strangers, [""; 0]);
    let Checked { blobs, links, repositories, manifests, .. } = report.checked;
    assert_eq!((blobs, links, repositories, manifests), (67, 108, 10, 23));
    assert_eq!(root.snapshot(), before, "verifying writes nothing");
}

#[test]
fn the_damaged_store_has_three_faults_and_three_strangers() {
    let root = Root::damaged();
    let report = run(&root, &Releases::Unchecked);
    assert_eq!(
        told(&root, &report),
        [
            "blob sha256:84f73eca685bf0e6725c90fc78696ad425700a0e6f859fef5c33eb447c4322c1 has 185 bytes whose digest is \
             sha256:8acbc170e3c202044bbee1a6d39ee6ff5ac51b530bfb22b489af6d5e5e2d3910 (in metallb/operator)",
            "blob sha256:98f52a7cf658385b9297bd3c196a73faaddb0cd53284f91eb1a6c91086d9d82f is empty (in a/b/c/d/e/f)",
            "tag library/app:v2 is empty",
        ]
    );
    let strangers: Vec<_> = report.strangers.iter().map(|it| it.rsplit('/').next().unwrap()).collect();
    assert_eq!(strangers, ["zz", "lost+found", "stray.txt"]);
}

/// Each damage, done to a whole store, is found and nothing else.
#[test]
fn every_kind_of_damage_is_told() {
    let app = || name("library/app");
    let tag = |tag: &str| Tag::parse(tag).unwrap();
    let latest = sha256("47713f6b1f4471951cf0ba5c196bc08df44f9faace02dc0a607505188f302d7a");
    let older = sha256("e72fee4b8ccb004d999a6bfc50c4404e3c5821937e346e1f9b6a9a288cf1ef27");
    let config = sha256("98f52a7cf658385b9297bd3c196a73faaddb0cd53284f91eb1a6c91086d9d82f");
    let deep = || name("a/b/c/d/e/f");
    let write = |content: &'static str| move |path: &Path| fs::write(path, content).unwrap();
    let remove = |path: &Path| fs::remove_file(path).unwrap();
    let elsewhere = move |path: &Path| fs::write(path, older.to_string()).unwrap();
    type Damage = Box<dyn Fn(&Path)>;
    let cases: Vec<(Entry, Damage, &[&str])> = vec![
        (Entry::TagCurrent(app(), tag("latest")), Box::new(write("")), &["tag library/app:latest is empty"]),
        (
            Entry::TagCurrent(app(), tag("latest")),
            Box::new(write("sha256:12")),
            &["tag library/app:latest holds no digest"],
        ),
        (Entry::TagCurrent(app(), tag("latest")), Box::new(elsewhere), &[]),
        (
            Entry::RevisionLink(app(), latest),
            Box::new(remove),
            &["tag library/app:latest points at sha256:47713f6b"],
        ),
        (
            Entry::RevisionLink(app(), latest),
            Box::new(elsewhere),
            &[
                "manifest link library/app@sha256:47713f6b1f4471951cf0ba5c196bc08df44f9faace02dc0a607505188f302d7a leads to",
            ],
        ),
        (
            Entry::Blob(latest),
            Box::new(remove),
            &[
                "blob sha256:47713f6b1f4471951cf0ba5c196bc08df44f9faace02dc0a607505188f302d7a is not stored (needed by \
               library/app@sha256:47713f6b1f4471951cf0ba5c196bc08df44f9faace02dc0a607505188f302d7a)",
            ],
        ),
        (Entry::LayerLink(deep(), config), Box::new(remove), &["blob sha256:98f52a7c"]),
        (Entry::LayerLink(deep(), config), Box::new(write("x")), &["blob link a/b/c/d/e/f@sha256:98f52a7c"]),
        (Entry::Blob(config), Box::new(write("not a config")), &["blob sha256:98f52a7c"]),
        (
            Entry::Blob(config),
            Box::new(|path| {
                fs::remove_file(path).unwrap();
                std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
            }),
            &["blob sha256:98f52a7c"],
        ),
    ];
    for (entry, damage, expected) in cases {
        let root = Root::payload();
        damage(&root.at(&entry));
        let told = told(&root, &run(&root, &Releases::Unchecked));
        assert_eq!(told.len(), expected.len(), "{entry:?}: {told:#?}");
        assert!(told.iter().zip(expected).all(|(told, expected)| told.starts_with(expected)), "{told:#?}");
    }
}

#[test]
fn what_many_need_is_missing_once() {
    let root = Root::payload();
    fs::remove_file(root.at(&Entry::Blob(sha256(SHARED)))).unwrap();
    let report = run(&root, &Releases::Named("4.22.1".to_owned()));
    let [Problem::Missing { digest, needs }, Problem::Incomplete { release, missing }] = &report.problems[..]
    else {
        panic!("{:#?}", report.problems)
    };
    assert_eq!((*digest, needs.len()), (sha256(SHARED), 9));
    assert_eq!((release.as_str(), missing.len()), ("4.22.1", 9));
}

#[test]
fn a_release_lacks_what_is_damaged_or_not_listed() {
    let spoil = |root: &Root| fs::write(root.at(&Entry::Blob(sha256(ETCD))), "{}").unwrap();
    let unlist = |root: &Root| {
        let link = Entry::RevisionLink(name("openshift/release"), sha256(ETCD));
        fs::remove_file(root.at(&link)).unwrap();
    };
    for damage in [&spoil as &dyn Fn(&Root), &unlist] {
        let root = Root::payload();
        damage(&root);
        for asked in [Releases::All, Releases::Named(IMAGE.to_owned())] {
            let report = run(&root, &asked);
            let Some(Problem::Incomplete { missing, .. }) = report.problems.last() else {
                panic!("{:#?}", report.problems)
            };
            assert_eq!(missing, &[format!("component etcd sha256:{ETCD}")]);
        }
        let other = run(&root, &Releases::Named("4.99.0".to_owned()));
        assert!(matches!(other.problems.last(), Some(Problem::NoRelease { .. })));
    }
}

#[test]
fn a_stopped_verification_gives_no_report() {
    let (root, pace) = (Root::payload(), Pace::new(None));
    pace.stop();
    let threads = NonZero::new(1).unwrap();
    assert_eq!(verify(&root.sources(), &Releases::All, threads, &pace, &Tally::default()), None);
}

#[test]
fn a_tally_counts_up_to_what_there_is() {
    let (root, tally) = (Root::payload(), Tally::default());
    let threads = NonZero::new(2).unwrap();
    verify(&root.sources(), &Releases::Unchecked, threads, &Pace::new(None), &tally).unwrap();
    let Tally { blobs, bytes, blobs_done, bytes_done, damaged } = tally;
    assert_eq!((blobs.into_inner(), damaged.into_inner()), (67, 0));
    assert_eq!((bytes.into_inner(), blobs_done.into_inner()), (bytes_done.into_inner(), 67));
}
