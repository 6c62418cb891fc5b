//! Copies of the fixtures: whole, damaged, in part, again, and cut off.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZero;
use std::path::Path;

use storage_layout::RepositoryName;

use super::*;
use crate::maintenance::fixture::Root;
use crate::maintenance::verify::Releases;
use crate::maintenance::verify::Tally;
use crate::maintenance::verify::verify;
use crate::store::Access;
use crate::store::Options;
use crate::store::Source;
use crate::store::Store;

const PAYLOAD: &[u8] = include_bytes!("../../../conformance/fixtures/payload.iso");

fn open(root: &Path, access: Access) -> Store {
    Store::open(&Options { roots: vec![root.to_owned()], access, ..Options::default() }).unwrap()
}

fn plan(source: &Path, selection: &Selection) -> Result<Plan, PlanError> {
    Plan::new(open(source, Access::ReadOnly).sources(), selection)
}

async fn copy_with(plan: Plan, to: &Path, held: Held) -> Result<Report, Error> {
    let store = open(to, Access::ReadWrite);
    let import = store.writer().unwrap().import();
    let report = copy(plan, import, held, Arc::new(Pace::new(None)), Arc::default()).await;
    store.close().await;
    report.map(Option::unwrap)
}

async fn copy_all(from: &Path, to: &Path) -> Report {
    copy_with(plan(from, &Selection::Everything).unwrap(), to, Held::Trusted).await.unwrap()
}

/// The payload as an image.
struct Image(tempfile::TempDir);

impl Image {
    fn payload() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("data.iso"), PAYLOAD).unwrap();
        Self(directory)
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("data.iso")
    }
}

/// What a tree holds that a copy brings: everything but uploads, what tags once pointed at, and what is ours.
fn content(root: &Path) -> BTreeSet<(String, Vec<u8>)> {
    let mut found = BTreeSet::new();
    let mut pending = vec![root.join("docker")];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|it| it.unwrap().path()));
            continue;
        }
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if Entry::parse(&name).is_some() && !name.contains("/_uploads/") && !name.contains("/index/") {
            found.insert((name, fs::read(path).unwrap()));
        }
    }
    found
}

fn assert_verifies(root: &Path) {
    let sources: Arc<Vec<Arc<dyn Source>>> = open(root, Access::ReadOnly).sources();
    let threads = NonZero::<usize>::MIN;
    let report = verify(&sources, &Releases::All, threads, &Pace::new(None), &Tally::default()).unwrap();
    assert!(report.problems.is_empty() && report.strangers.is_empty(), "{report:?}");
}

#[tokio::test]
async fn a_copy_is_what_was_copied() {
    let (image, directory, copy) = (Image::payload(), Root::payload(), Root::empty());
    let expected = content(directory.path());
    for source in [image.path(), directory.path().to_owned()] {
        let to = copy.path().join(source.file_name().unwrap());
        let report = copy_all(&source, &to).await;
        assert_eq!(report.problems, []);
        assert_eq!((report.copied_blobs, report.skipped_blobs, report.tags), (67, 0, 19));
        assert_eq!(content(&to), expected);
        assert_verifies(&to);
    }
}

#[tokio::test]
async fn a_second_copy_finds_nothing_to_do() {
    let (image, to) = (Image::payload(), Root::empty());
    let first = copy_all(&image.path(), to.path()).await;
    let before = to.snapshot();
    let second = copy_all(&image.path(), to.path()).await;
    let expected =
        Report { skipped_blobs: first.copied_blobs, skipped_bytes: first.copied_bytes, ..Report::default() };
    assert_eq!(second, expected);
    assert_eq!(to.snapshot(), before);
}

#[tokio::test]
async fn what_is_held_is_hashed_where_that_is_asked_for() {
    let (image, to) = (Image::payload(), Root::empty());
    copy_all(&image.path(), to.path()).await;
    let plan_of_all = || plan(&image.path(), &Selection::Everything).unwrap();
    let wanted = plan_of_all().blobs.last().copied().unwrap();
    let path = to.at(&Entry::Blob(wanted.digest));
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let trusted = copy_with(plan_of_all(), to.path(), Held::Trusted).await.unwrap();
    assert_eq!(trusted.copied_blobs, 0);
    let hashed = copy_with(plan_of_all(), to.path(), Held::Hashed).await.unwrap();
    assert_eq!((hashed.copied_blobs, hashed.copied_bytes), (1, wanted.len));
    assert_verifies(to.path());
}

#[tokio::test]
async fn what_is_damaged_is_named_and_nothing_that_needs_it_is_tagged() {
    let (damaged, to) = (Root::damaged(), Root::empty());
    let report = copy_all(damaged.path(), to.path()).await;
    let told: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
    let count = |text: &str| told.iter().filter(|it| it.contains(text)).count();
    assert_eq!(count("have the digest"), 2, "{told:?}");
    assert_eq!(count("library/app:v2 cannot be copied"), 1, "{told:?}");
    assert!(count("is left out, since it needs") >= 2, "{told:?}");
    // What is there can be served: all of it but the three faults' own.
    let sources = open(to.path(), Access::ReadOnly).sources();
    let found =
        verify(&sources, &Releases::Unchecked, NonZero::<usize>::MIN, &Pace::new(None), &Tally::default());
    let found = found.unwrap();
    assert!(found.problems.is_empty(), "{found:?}");
    // The next copy, from a whole source, brings the rest.
    let image = Image::payload();
    let rest = copy_all(&image.path(), to.path()).await;
    assert_eq!((rest.problems.len(), rest.copied_blobs), (0, 2));
    assert_verifies(to.path());
}

#[tokio::test]
async fn a_repository_is_copied_alone() {
    let (image, to) = (Image::payload(), Root::empty());
    let name = RepositoryName::parse("openshift/release-images").unwrap();
    let selection = Selection::Repositories(vec![name.clone()]);
    let report = copy_with(plan(&image.path(), &selection).unwrap(), to.path(), Held::Trusted).await.unwrap();
    assert!(report.is_complete() && report.copied_blobs > 2, "{report:?}");
    let store = open(to.path(), Access::ReadOnly);
    assert_eq!(store.repositories(None, 10).await.unwrap(), [name]);
    let none = RepositoryName::parse("openshift/none").unwrap();
    let refused = plan(&image.path(), &Selection::Repositories(vec![none])).unwrap_err();
    assert_eq!(refused.to_string(), "there is no repository openshift/none in the source");
}

#[tokio::test]
async fn a_release_is_copied_with_all_that_it_reaches() {
    let (image, to) = (Image::payload(), Root::empty());
    let sources = open(&image.path(), Access::ReadOnly).sources();
    let release = crate::maintenance::releases::releases(&sources).unwrap().remove(0);
    let selection = Selection::Releases(vec![release.name()]);
    let report = copy_with(plan(&image.path(), &selection).unwrap(), to.path(), Held::Trusted).await.unwrap();
    assert!(report.is_complete(), "{report:?}");
    let sources = open(to.path(), Access::ReadOnly).sources();
    let copied = crate::maintenance::releases::releases(&sources).unwrap();
    assert_eq!(copied, [release]);
    assert_verifies(to.path());
    let refused =
        plan(&image.path(), &Selection::Releases(vec!["4.0.0".to_owned()])).unwrap_err().to_string();
    assert!(refused.starts_with("there is no release 4.0.0 in the source, which has "), "{refused}");
}

/// Whoever sees a release must find its components, and whoever sees a bundle the release.
#[test]
fn the_tags_of_a_release_come_after_those_of_its_components() {
    let image = Image::payload();
    let plan = plan(&image.path(), &Selection::Everything).unwrap();
    let all = plan.tags.len();
    let batches: Vec<_> = pointers::in_order(plan.tags).collect();
    let names = |tags: &[pointers::Tagged]| {
        tags.iter().map(|it| it.from.0.to_string()).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    let [components, releases, bundles] = &batches[..] else { panic!("{batches:?}") };
    assert!(names(components).contains(&"openshift/release".to_owned()));
    assert_eq!(names(releases), ["openshift/release-images"]);
    assert_eq!(names(bundles), ["openshift/release-bundles"]);
    assert_eq!(batches.concat().len(), all);
    let many = vec![components[0].clone(); 600];
    assert_eq!(pointers::in_order(many).map(|it| it.len()).collect::<Vec<_>>(), [256, 256, 88]);
}

#[tokio::test]
async fn a_release_that_lost_a_component_on_the_way_is_not_announced() {
    let (source, to) = (Root::payload(), Root::empty());
    let sources = open(source.path(), Access::ReadOnly).sources();
    let release = crate::maintenance::releases::releases(&sources).unwrap().remove(0);
    let component = release.members.iter().find(|it| matches!(it.part, crate::release::Part::Component(_)));
    let component = component.unwrap();
    let path = source.at(&Entry::Blob(component.digest));
    let whole = fs::read(&path).unwrap();
    fs::write(&path, whole.to_ascii_uppercase()).unwrap();
    let report = copy_all(source.path(), to.path()).await;
    assert!(!report.is_complete());
    let tags = |name: &str| to.path().join(format!("docker/registry/v2/repositories/{name}/_manifests/tags"));
    assert!(!tags("openshift/release-images").exists() && !tags("openshift/release-bundles").exists());
    assert!(tags("openshift/release").exists(), "components that are whole are there");
    fs::write(&path, whole).unwrap();
    assert!(copy_all(source.path(), to.path()).await.is_complete());
    assert_verifies(to.path());
}

/// The source ends before a layer of etcd came: its image is not tagged, nor is the release, whose list
/// cannot be read any more; what was whole is.
#[tokio::test]
async fn a_source_that_goes_in_the_middle_announces_nothing() {
    const ETCD: &str = "sha256:edccef9de32bc60c4ce1b429f42a78f86e6a3b35e7fd0ced035375ee6bb26077";
    let (directory, image) = (Root::payload(), Image::payload());
    for (source, end) in [
        (directory.path().to_owned(), (|it| fs::remove_dir_all(it).unwrap()) as fn(&Path)),
        (image.path(), |it| fs::File::options().write(true).open(it).unwrap().set_len(0).unwrap()),
    ] {
        let root = Root::payload();
        let blob = |digest: &str| root.at(&Entry::Blob(digest.parse().unwrap()));
        fs::remove_dir_all(root.path().join("docker/registry/v2/repositories")).unwrap();
        let etcd: serde_json::Value = serde_json::from_slice(&fs::read(blob(ETCD)).unwrap()).unwrap();
        fs::remove_file(blob(etcd["layers"].as_array().unwrap().last().unwrap()["digest"].as_str().unwrap()))
            .unwrap();

        let plan = plan(&source, &Selection::Everything).unwrap();
        end(&source);
        let report = copy_with(plan, root.path(), Held::Trusted).await.unwrap();
        let withheld = report.problems.iter().filter(|it| matches!(it, Problem::Withheld { .. })).count();
        assert_eq!(withheld, 3, "etcd, the release and its bundle: {report:?}");
        assert!(root.path().join("docker/registry/v2/repositories/tools/multi/_manifests/tags/v1").is_dir());
        assert_verifies(root.path());
    }
}

#[tokio::test]
async fn too_little_room_is_told_before_anything_is_written() {
    let (image, to) = (Image::payload(), Root::empty());
    let mut plan = plan(&image.path(), &Selection::Everything).unwrap();
    // 16 EiB.
    plan.blobs[0].len = u64::MAX / 2;
    let refused = copy_with(plan, to.path(), Held::Trusted).await.unwrap_err();
    let Error::Space { needed, free, .. } = &refused else { panic!("{refused}") };
    assert!(needed > free);
    let message = refused.to_string();
    assert!(
        message.starts_with("needs 8589934592.0 GiB, ") && message.contains(" GiB free at "),
        "{message}"
    );
    assert_eq!(content(to.path()).len(), 0);
}

#[tokio::test]
async fn a_copy_that_is_stopped_goes_on_later() {
    let (image, to) = (Image::payload(), Root::empty());
    let store = open(to.path(), Access::ReadWrite);
    let pace = Arc::new(Pace::new(None));
    pace.stop();
    let plan_of_all = plan(&image.path(), &Selection::Everything).unwrap();
    let import = store.writer().unwrap().import();
    assert_eq!(copy(plan_of_all, import, Held::Trusted, pace, Arc::default()).await.unwrap(), None);
    store.close().await;
    drop(store);
    assert!(content(to.path()).iter().all(|(name, _)| !name.contains("/tags/")));
    copy_all(&image.path(), to.path()).await;
    assert_verifies(to.path());
}

#[tokio::test]
async fn progress_ends_at_the_whole() {
    let (image, to) = (Image::payload(), Root::empty());
    let progress = Arc::new(Progress::default());
    for skipped in [false, true] {
        let store = open(to.path(), Access::ReadWrite);
        let plan = plan(&image.path(), &Selection::Everything).unwrap();
        let total = plan.bytes();
        let (import, pace) = (store.writer().unwrap().import(), Arc::new(Pace::new(None)));
        let progress = if skipped { Arc::default() } else { Arc::clone(&progress) };
        copy(plan, import, Held::Trusted, pace, Arc::clone(&progress)).await.unwrap();
        store.close().await;
        let skipped = if skipped { total } else { 0 };
        assert_eq!(progress.snapshot(), Snapshot { phase: Phase::Done, bytes: total, total, skipped });
    }
}
