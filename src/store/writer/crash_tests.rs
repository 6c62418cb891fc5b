//! What a power cut can leave of a push, a retag or a deletion: every prefix
//! of the operations, with what was not synced dropped, torn or reordered.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashSet;
use std::path::Path;

use tempfile::TempDir;

use super::tests::content;
use super::tests::push;
use super::tests::sha256;
use super::tests::tag;
use super::tests::with_disk;
use super::*;
use crate::store::Store;
use crate::store::contract::name;
use crate::store::contract::read_only;
use crate::store::disk::model::Model;
use crate::store::disk::recorder::Operation;
use crate::store::disk::recorder::Recorder;
use crate::store::disk::recorder::SyncAll;

/// Something that a tree says, and an acknowledgement promises.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Says {
    Layer(&'static str, Digest),
    Revision(&'static str, Digest),
    Tag(&'static str, &'static str),
}

/// Present (a tag: with what it points at) or absent.
type Value = Option<Digest>;

/// A store whose operations are recorded, and the promises that it made meanwhile.
struct Recorded {
    root: TempDir,
    store: Store,
    recorder: Arc<Recorder>,
    before: Model,
    /// Begun and acknowledged, by the number of its mark: even numbers begin.
    promises: std::sync::Mutex<Vec<Vec<(Says, Value)>>>,
    /// A blob that is damaged until a push of it is acknowledged.
    damaged: Option<Digest>,
}

/// A directory whose syncs cost nothing, where there is one.
pub(super) fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

impl Recorded {
    fn open(sync_all: SyncAll, prepare: impl FnOnce(&Path)) -> Self {
        let root = in_memory();
        prepare(root.path());
        let recorder = Arc::new(Recorder::open(root.path(), sync_all));
        let before = Model::of(root.path());
        let store = with_disk(root.path(), Arc::clone(&recorder) as Arc<dyn Disk>);
        Self { root, store, recorder, before, promises: std::sync::Mutex::default(), damaged: None }
    }

    /// Does something that makes these things true once it is acknowledged.
    async fn promise<T>(
        &self,
        promises: impl IntoIterator<Item = (Says, Value)>,
        work: impl Future<Output = Result<T, Error>>,
    ) -> T {
        let number = {
            let mut all = self.promises.lock().unwrap();
            all.push(promises.into_iter().collect());
            all.len() - 1
        };
        self.recorder.mark(number * 2);
        let done = work.await.unwrap();
        self.recorder.mark(number * 2 + 1);
        done
    }

    async fn push(&self, repository: &'static str, content: &[u8]) {
        let digest = sha256(content);
        let promise = (Says::Layer(repository, digest), Some(digest));
        assert_eq!(self.promise([promise], push(&self.store, repository, content)).await, Finish::Stored);
    }

    async fn put(&self, repository: &'static str, content: &'static str, tags: &[&'static str]) {
        let digest = sha256(content.as_bytes());
        let mut promises = vec![(Says::Revision(repository, digest), Some(digest))];
        promises.extend(tags.iter().map(|tag| (Says::Tag(repository, tag), Some(digest))));
        let tags: Vec<_> = tags.iter().map(|text| tag(text)).collect();
        let repository = name(repository);
        let writer = self.store.writer().unwrap();
        let put = writer.put_manifest(&repository, &digest, Bytes::from(content), &tags);
        self.promise(promises, put).await;
    }

    /// Cuts the power everywhere and looks at what is left.
    async fn check(self) {
        self.store.close().await;
        let operations = self.recorder.operations();
        let promises = self.promises.into_inner().unwrap();
        let mut model = self.before.clone();
        let (mut known, mut begun) = (BTreeMap::new(), BTreeMap::new());
        let (mut seen, mut random, mut marks) = (HashSet::new(), xorshift(), 0);
        for cut in 0..=operations.len() {
            for left in model.crashes(&mut random) {
                let tree = model.after(&left);
                if seen.insert((tree.signature(), marks)) {
                    let root = in_memory();
                    tree.write_to(root.path());
                    let allowed = allowed(&known, &begun, &promises);
                    let damaged = self.damaged.filter(|_| known.is_empty());
                    if let Err(wrong) = look_at(root.path(), damaged, &allowed).await {
                        panic!(
                            "after {cut} operations with {left:?} left: {wrong}\n{}",
                            told(&operations, cut)
                        );
                    }
                }
            }
            let Some(operation) = operations.get(cut) else { break };
            model.apply(operation);
            if let Operation::Mark(mark) = operation {
                let number = mark / 2;
                marks += 1;
                if mark % 2 == 0 {
                    begun.insert(number, ());
                } else {
                    begun.remove(&number);
                    known.extend(promises[number].iter().cloned());
                }
            }
        }
        assert!(seen.len() > operations.len(), "{} states were looked at", seen.len());
        drop(self.root);
    }
}

/// What each thing may say: what was acknowledged last, or what was begun and not acknowledged. What nobody
/// spoke of is not there.
fn allowed(
    known: &BTreeMap<Says, Value>,
    begun: &BTreeMap<usize, ()>,
    promises: &[Vec<(Says, Value)>],
) -> BTreeMap<Says, BTreeSet<Value>> {
    let mut allowed = BTreeMap::<_, BTreeSet<_>>::new();
    for (says, _) in promises.iter().flatten() {
        allowed.entry(says.clone()).or_default().insert(known.get(says).copied().flatten());
    }
    for (says, value) in begun.keys().flat_map(|number| &promises[*number]) {
        allowed.entry(says.clone()).or_default().insert(*value);
    }
    allowed
}

/// Looks at a tree after a power cut: nothing half-written is visible, and everything says what it may.
async fn look_at(
    root: &Path,
    damaged: Option<Digest>,
    allowed: &BTreeMap<Says, BTreeSet<Value>>,
) -> Result<(), String> {
    let store = read_only(root);
    let wrong = |what: &str, error: Error| format!("{what}: {error}");
    let blobs = store.blobs(None, usize::MAX).await.map_err(|error| wrong("blobs", error))?;
    for blob in blobs.into_iter().filter(|blob| Some(blob.digest) != damaged) {
        let content = store.content(&blob.digest, u64::MAX).await.map_err(|error| wrong("blob", error))?;
        content.ok_or("a blob was listed and is not there")?;
    }
    for repository in
        store.repositories(None, usize::MAX).await.map_err(|error| wrong("repositories", error))?
    {
        check_repository(&store, &repository).await.map_err(|what| format!("{repository}: {what}"))?;
    }
    for (says, values) in allowed {
        let value = match says {
            Says::Layer(repository, digest) => {
                let layer = store.layer(&name(repository), digest).await;
                layer.map_err(|error| wrong("layer", error))?.map(|_| *digest)
            }
            Says::Revision(repository, digest) => {
                let has = store.has_revision(&name(repository), digest).await;
                has.map_err(|error| wrong("revision", error))?.then_some(*digest)
            }
            Says::Tag(repository, text) => {
                let target = store.tag(&name(repository), &tag(text)).await;
                target.map_err(|error| wrong("tag", error))?
            }
        };
        if !values.contains(&value) {
            return Err(format!("{says:?} is {value:?} and may be {values:?}"));
        }
    }
    Ok(())
}

/// Every tag points at a manifest that is there, and every link at a blob.
async fn check_repository(store: &Store, repository: &RepositoryName) -> Result<(), String> {
    let told = |error: Error| error.to_string();
    for tag in store.tags(repository).await.map_err(told)?.unwrap_or_default().iter() {
        let target =
            store.tag(repository, tag).await.map_err(told)?.ok_or("a tag was listed and is not there")?;
        if !store.has_revision(repository, &target).await.map_err(told)? {
            return Err(format!("{tag} points at {target}, which is not there"));
        }
    }
    for digest in store.revisions(repository).await.map_err(told)? {
        store.has_revision(repository, &digest).await.map_err(told)?;
        store
            .content(&digest, u64::MAX)
            .await
            .map_err(told)?
            .ok_or(format!("{digest} has a link and no blob"))?;
    }
    for digest in store.layers(repository).await.map_err(told)? {
        store
            .layer(repository, &digest)
            .await
            .map_err(told)?
            .ok_or(format!("{digest} has a link and no blob"))?;
    }
    Ok(())
}

fn told(operations: &[Operation], cut: usize) -> String {
    let lines = operations.iter().enumerate().map(|(at, operation)| {
        let operation = match operation {
            Operation::Write(file, offset, data) => format!("Write({file}, {offset}, {} bytes)", data.len()),
            other => format!("{other:?}"),
        };
        format!("{}{at:4} {operation}", if at == cut { "--- cut ---\n" } else { "" })
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Numbers below a limit that are the same every time.
fn xorshift() -> impl FnMut(usize) -> usize {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    }
}

const MANIFEST: &str = r#"{"schemaVersion":2,"config":{}}"#;
const OTHER: &str = r#"{"schemaVersion":2,"config":{"other":1}}"#;

async fn both(work: impl AsyncFn(&Recorded)) {
    for sync_all in [SyncAll::Yes, SyncAll::No] {
        let recorded = Recorded::open(sync_all, |_| {});
        work(&recorded).await;
        recorded.check().await;
    }
}

#[tokio::test]
async fn of_a_first_push() {
    both(async |it| {
        it.push("a/b", &content(300)).await;
        it.put("a/b", MANIFEST, &["v1"]).await;
    })
    .await;
}

#[tokio::test]
async fn of_a_push_past_the_page_cache() {
    both(async |it| {
        let (layer, writer) = (content(290_001), it.store.writer().unwrap());
        let (repository, digest) = (name("a"), sha256(&layer));
        let id = writer.start_upload(&repository, None).await.unwrap();
        // The second chunk begins on no boundary.
        for chunk in [&layer[..150_001], &layer[150_001..]] {
            let mut append = writer.append(&repository, id).await.unwrap().unwrap();
            append.write(Bytes::copy_from_slice(chunk)).await.unwrap();
            append.close().await.unwrap();
        }
        let promise = (Says::Layer("a", digest), Some(digest));
        let stored = it.promise([promise], writer.finish_upload(&repository, id, &digest)).await;
        assert_eq!(stored, Finish::Stored);
    })
    .await;
}

#[tokio::test]
async fn of_a_tag_that_moves_and_one_that_comes() {
    both(async |it| {
        it.put("a", MANIFEST, &["v1"]).await;
        it.put("a", OTHER, &["v1", "v2"]).await;
        it.put("a", MANIFEST, &["v1"]).await;
    })
    .await;
}

#[tokio::test]
async fn of_what_is_removed_and_comes_back() {
    both(async |it| {
        let (layer, manifest) = (sha256(&content(40)), sha256(MANIFEST.as_bytes()));
        let (repository, writer) = (name("a"), it.store.writer().unwrap());
        it.push("a", &content(40)).await;
        it.put("a", MANIFEST, &["v1", "v2"]).await;
        let gone = (Says::Tag("a", "v1"), None);
        assert!(it.promise([gone], writer.delete_tag(&repository, &tag("v1"))).await);
        let gone = [(Says::Tag("a", "v2"), None), (Says::Revision("a", manifest), None)];
        assert!(it.promise(gone, writer.delete_revision(&repository, &manifest)).await);
        let gone = (Says::Layer("a", layer), None);
        assert!(it.promise([gone], writer.delete_layer(&repository, &layer)).await);
        let later = SystemTime::now() + Duration::from_secs(60);
        assert!(it.promise([], writer.remove_unused(&Entry::Blob(layer), later)).await);
        it.push("a", &content(40)).await;
        it.put("a", MANIFEST, &["v2"]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_pushes_of_the_same_blob_at_once() {
    both(async |it| {
        let same = content(500);
        let layer = sha256(&same);
        let mount = async |repository: &'static str| {
            // Whoever sees the blob may rely on it.
            while !it.store.writer().unwrap().is_stored(&layer).await.unwrap() {
                tokio::task::yield_now().await;
            }
            let promise = (Says::Layer(repository, layer), Some(layer));
            let (writer, repository) = (it.store.writer().unwrap(), name(repository));
            assert!(it.promise([promise], writer.link_layer(&repository, &layer)).await);
        };
        tokio::join!(it.push("a", &same), it.push("a", &same), it.push("b/c", &same), mount("d"));
    })
    .await;
}

#[tokio::test]
async fn of_a_push_over_a_damaged_blob() {
    let whole = content(200);
    let digest = sha256(&whole);
    let damage = |root: &Path| {
        let path = root.join(Entry::Blob(digest).path().as_str());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, []).unwrap();
    };
    for sync_all in [SyncAll::Yes, SyncAll::No] {
        let it = Recorded { damaged: Some(digest), ..Recorded::open(sync_all, damage) };
        it.push("a", &whole).await;
        assert_eq!(it.store.content(&digest, u64::MAX).await.unwrap().unwrap(), whole);
        it.check().await;
    }
}
