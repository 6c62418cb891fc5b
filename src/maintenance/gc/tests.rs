//! Collecting in the payload fixture. Its files are from 1970, so that all of it is old.

use std::fs;
use std::num::NonZero;

use storage_layout::Algorithm;
use storage_layout::Tag;

use super::*;
use crate::maintenance::fixture::Root;
use crate::maintenance::verify;
use crate::maintenance::verify::Releases;
use crate::maintenance::verify::Tally;

const LISTED: Policy = Policy { keep: Keep::Listed, grace: Policy::GRACE };
const TAGGED: Policy = Policy { keep: Keep::Tagged, grace: Policy::GRACE };

fn sha256(hex: &str) -> Digest {
    Digest::from_hex(Algorithm::Sha256, hex).unwrap()
}

fn name(text: &str) -> RepositoryName {
    RepositoryName::parse(text).unwrap()
}

fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

fn garbage(root: &Root, policy: Policy) -> Garbage {
    garbage_unless(root, policy, |_| false)
}

fn garbage_unless(root: &Root, policy: Policy, leased: impl Fn(&Digest) -> bool) -> Garbage {
    let sources = root.sources();
    find(&sources, &*sources[0], policy, SystemTime::now(), leased, &Pace::new(None)).unwrap()
}

fn told(garbage: &Garbage) -> Vec<String> {
    garbage.plan.entries.iter().map(|it| format!("{:?}", it.entry)).collect()
}

/// `library/app` was pushed twice as `latest`: the older image has no tag any more.
const OLDER: &str = "e72fee4b8ccb004d999a6bfc50c4404e3c5821937e346e1f9b6a9a288cf1ef27";
const LATEST: &str = "47713f6b1f4471951cf0ba5c196bc08df44f9faace02dc0a607505188f302d7a";

#[test]
fn a_store_as_it_was_pushed_holds_no_garbage() {
    let garbage = garbage(&Root::payload(), LISTED);
    assert_eq!(told(&garbage), [""; 0]);
    assert_eq!((garbage.plan.spared, garbage.kept_whole), (0, vec![]));
}

#[test]
fn an_image_without_a_tag_goes_where_only_tags_count() {
    let root = Root::payload();
    let found = garbage(&root, TAGGED);
    // Its link, that of the tag's history, those of config and layer, and three blobs.
    assert_eq!(found.plan.entries.len(), 7, "{:#?}", told(&found));
    assert_eq!(found.plan.entries.iter().filter(|it| matches!(it.entry, Entry::Blob(_))).count(), 3);
    assert!(found.plan.entries.iter().any(|it| it.entry == Entry::Blob(sha256(OLDER))));
    assert!(found.plan.bytes > 25_000);
}

#[test]
fn what_is_young_or_leased_is_spared() {
    let root = Root::payload();
    let all = garbage(&root, TAGGED).plan.bytes;
    let young = Policy { grace: Duration::from_secs(u64::MAX >> 32), ..TAGGED };
    let found = garbage(&root, young);
    assert_eq!((told(&found), found.plan.spared > 0), (vec![], true));
    let leased = garbage_unless(&root, TAGGED, |it| *it == sha256(OLDER));
    assert!(leased.plan.entries.iter().all(|it| it.entry != Entry::Blob(sha256(OLDER))));
    assert_eq!(leased.plan.bytes + leased.plan.spared, all - blob_len(&root, OLDER));
}

fn blob_len(root: &Root, hex: &str) -> u64 {
    fs::metadata(root.at(&Entry::Blob(sha256(hex)))).unwrap().len()
}

#[test]
fn a_deleted_image_goes_with_what_only_it_used() {
    let root = Root::payload();
    let app = name("library/app");
    fs::remove_dir_all(root.at(&Entry::RevisionLink(app, sha256(OLDER))).parent().unwrap()).unwrap();
    let found = garbage(&root, LISTED);
    assert_eq!(found.plan.entries.len(), 6, "{:#?}", told(&found));
    let first_blob = found.plan.entries.iter().position(|it| matches!(it.entry, Entry::Blob(_))).unwrap();
    assert_eq!(first_blob, 3, "links go first");
    for it in &found.plan.entries {
        fs::remove_file(root.at(&it.entry)).unwrap();
    }
    let report = verify::verify(
        &root.sources(),
        &Releases::All,
        NonZero::new(2).unwrap(),
        &Pace::new(None),
        &Tally::default(),
    );
    assert_eq!(report.unwrap().problems, [], "what is left is whole");
    assert_eq!(told(&garbage(&root, LISTED)), [""; 0], "and holds no more garbage");
}

#[test]
fn what_cannot_be_read_keeps_its_repository_whole() {
    let app = name("library/app");
    let cases: [(&str, Entry, Option<&str>); 4] = [
        ("an empty manifest", Entry::Blob(sha256(LATEST)), Some("")),
        ("a spoilt manifest", Entry::Blob(sha256(LATEST)), Some("{}")),
        ("a missing manifest", Entry::Blob(sha256(LATEST)), None),
        ("an empty tag", Entry::TagCurrent(app.clone(), tag("v2")), Some("")),
    ];
    for (case, entry, content) in cases {
        let root = Root::payload();
        match content {
            Some(content) => fs::write(root.at(&entry), content).unwrap(),
            None => fs::remove_file(root.at(&entry)).unwrap(),
        }
        let found = garbage(&root, TAGGED);
        assert_eq!(told(&found), [""; 0], "{case}");
        assert_eq!(found.kept_whole.iter().map(|(name, _)| name).collect::<Vec<_>>(), [&app], "{case}");
    }
}

#[test]
fn a_platform_that_was_not_mirrored_is_no_damage() {
    let root = Root::payload();
    let (tools, child) =
        (name("tools/multi"), sha256("d26c2b6b2a644907e91f114ff07a937578df574140d9008ecfd39c5409486f07"));
    fs::remove_file(root.at(&Entry::Blob(child))).unwrap();
    fs::remove_file(root.at(&Entry::RevisionLink(tools, child))).unwrap();
    let found = garbage(&root, LISTED);
    assert_eq!(found.kept_whole, []);
    // Its config and layer are reached by nothing else, and the tree cannot know that they were its.
    assert!(!found.plan.entries.is_empty());
}

#[test]
fn children_of_a_tagged_index_are_not_untagged() {
    let found = garbage(&Root::payload(), TAGGED);
    assert!(
        !told(&found).iter().any(|it| it.contains("tools/multi") || it.contains("busybox")),
        "{found:#?}"
    );
}

#[tokio::test]
async fn a_plan_is_carried_out_but_for_what_is_needed_again() {
    let root = Root::payload();
    let store = root.writable();
    let (sources, written) = (store.sources(), store.written().unwrap());
    let now = SystemTime::now();
    let found = find(&sources, &*written, TAGGED, now, |_| false, &Pace::new(None)).unwrap();
    let (entries, bytes) = (found.plan.entries.len() as u64, found.plan.bytes);
    // Between plan and sweep the older image is asked for, by someone who may be about to tag it.
    store.tell(&sha256(OLDER));
    assert!(store.has_revision(&name("library/app"), &sha256(OLDER)).await.unwrap());
    let writer = store.writer().unwrap();
    let collected = sweep(writer, found.plan, now - Policy::GRACE).await.unwrap();
    assert_eq!(collected.rescued, 3, "its link, its history and its blob");
    assert_eq!(collected.links + collected.blobs + collected.rescued, entries);
    assert!(collected.bytes > 24_000 && collected.bytes < bytes);
    assert!(root.at(&Entry::Blob(sha256(OLDER))).exists());
}
