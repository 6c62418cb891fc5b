//! Mending the damaged fixture, and what can be mended without help.

use std::fs;
use std::num::NonZero;
use std::path::Path;

use storage_layout::Algorithm;
use storage_layout::Entry;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use super::*;
use crate::maintenance::Pace;
use crate::maintenance::fixture::Root;
use crate::maintenance::verify::Releases;
use crate::maintenance::verify::Tally;
use crate::maintenance::verify::verify;
use crate::store::Options;

fn sha256(hex: &str) -> Digest {
    Digest::from_hex(Algorithm::Sha256, hex).unwrap()
}

fn name(text: &str) -> RepositoryName {
    RepositoryName::parse(text).unwrap()
}

fn problems(root: &Root) -> Vec<Problem> {
    let threads = NonZero::new(2).unwrap();
    verify(&root.sources(), &Releases::All, threads, &Pace::new(None), &Tally::default()).unwrap().problems
}

fn donors(paths: &[&Path]) -> Donors {
    let roots = paths.iter().map(|it| it.to_path_buf()).collect();
    Store::open(&Options { roots, ..Options::default() }).unwrap().sources()
}

fn remedies(root: &Root, donors: &Donors) -> Vec<(Problem, Remedy)> {
    let sources = root.sources();
    plan(problems(root), &sources, &*sources[0], donors, &Pace::new(None)).unwrap()
}

async fn mend(root: &Root, donors: &Donors) -> Vec<(Problem, Outcome)> {
    let remedies = remedies(root, donors);
    let store = root.writable();
    let outcomes = repair(&store, remedies, &()).await.unwrap();
    store.close().await;
    outcomes
}

fn iso() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/fixtures/payload.iso")
}

#[tokio::test]
async fn the_image_mends_all_that_is_damaged() {
    let root = Root::damaged();
    let outcomes = mend(&root, &donors(&[&iso()])).await;
    assert_eq!(outcomes.len(), 3);
    assert!(outcomes.iter().all(|(_, it)| *it == Outcome::Mended), "{outcomes:#?}");
    assert_eq!(problems(&root), []);
}

#[tokio::test]
async fn a_directory_mends_as_well() {
    let (root, whole) = (Root::damaged(), Root::payload());
    mend(&root, &donors(&[whole.path()])).await;
    assert_eq!(problems(&root), []);
}

#[test]
fn a_plan_changes_nothing() {
    let root = Root::damaged();
    let before = root.snapshot();
    let planned = remedies(&root, &donors(&[&iso()]));
    let image = iso().display().to_string();
    let told: Vec<_> = planned.iter().map(|(_, it)| it.to_string().replace(&image, "the image")).collect();
    let tag = "sha256:bb9a42e218e6e2aaaefac75d3f64f147b5a289441aedc71ac51b80718e186a5e";
    assert_eq!(
        told,
        [
            "would be copied from the image",
            "would be copied from the image",
            &format!("would point at {tag}, says the image")
        ]
    );
    assert_eq!(root.snapshot(), before);
}

#[tokio::test]
async fn without_donors_a_tag_is_told_by_its_history_and_blobs_are_set_aside() {
    let root = Root::damaged();
    let outcomes = mend(&root, &donors(&[])).await;
    let [(_, Outcome::SetAside { to: flipped }), (_, Outcome::SetAside { to: empty }), (_, Outcome::Mended)] =
        &outcomes[..]
    else {
        panic!("{outcomes:#?}")
    };
    assert_eq!((fs::read(flipped).unwrap().len(), fs::read(empty).unwrap().len()), (185, 0));
    let left = problems(&root);
    assert!(matches!(left[..], [Problem::Missing { .. }, Problem::Missing { .. }]), "{left:#?}");
}

#[tokio::test]
async fn a_donor_that_is_damaged_itself_is_passed_over() {
    let (root, whole) = (Root::damaged(), Root::payload());
    let spoilt = Root::damaged();
    mend(&root, &donors(&[spoilt.path(), whole.path()])).await;
    assert_eq!(problems(&root), []);
}

#[tokio::test]
async fn links_are_mended_from_their_own_paths() {
    let app = name("library/app");
    let latest = sha256("47713f6b1f4471951cf0ba5c196bc08df44f9faace02dc0a607505188f302d7a");
    let layer = sha256("028cded6b92f4ed800cd301444219ab718a3218e69c8c11227a00807cdb59734");
    let tag = Tag::parse("latest").unwrap();
    for link in [
        Entry::RevisionLink(app.clone(), latest),
        Entry::LayerLink(app.clone(), layer),
        Entry::TagIndex(app.clone(), tag.clone(), latest),
    ] {
        let root = Root::payload();
        let before = fs::read(root.at(&link)).unwrap();
        for spoilt in [Some(""), Some("sha256:0"), None] {
            match spoilt {
                Some(content) => fs::write(root.at(&link), content).unwrap(),
                None if matches!(link, Entry::TagIndex(..)) => continue,
                None => fs::remove_file(root.at(&link)).unwrap(),
            }
            assert_ne!(problems(&root), [], "{link:?} {spoilt:?}");
            mend(&root, &donors(&[])).await;
            assert_eq!(problems(&root), [], "{link:?} {spoilt:?}");
            assert_eq!(fs::read(root.at(&link)).unwrap(), before, "{link:?} {spoilt:?}");
        }
    }
}

#[tokio::test]
async fn a_tag_that_moved_is_not_guessed() {
    let root = Root::payload();
    let latest = Entry::TagCurrent(name("library/app"), Tag::parse("latest").unwrap());
    fs::write(root.at(&latest), "").unwrap();
    let outcomes = mend(&root, &donors(&[])).await;
    assert!(
        matches!(&outcomes[..], [(_, Outcome::Left { why })] if why.contains("several")),
        "{outcomes:#?}"
    );
    mend(&root, &donors(&[&iso()])).await;
    assert_eq!(problems(&root), []);
}

#[tokio::test]
async fn what_is_missing_is_brought_in() {
    let root = Root::payload();
    let etcd = sha256("edccef9de32bc60c4ce1b429f42a78f86e6a3b35e7fd0ced035375ee6bb26077");
    let shared = sha256("4b512d4057743b68c1dace3e8026893e22a7c311c50362183f981a0375b46e61");
    for digest in [etcd, shared] {
        fs::remove_file(root.at(&Entry::Blob(digest))).unwrap();
    }
    mend(&root, &donors(&[&iso()])).await;
    assert_eq!(problems(&root), []);
}
