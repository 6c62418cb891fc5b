//! `Addition`: a release that is on its way from a medium onto the disk, noted where a power cut leaves it.
//!
//! Knows the note's form. It is there from before the first blob comes until the release is whole, or is
//! removed: so a medium that is taken out, or power that goes, ends nothing, and whoever sees the medium next
//! goes on. Does not know who that is.

use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::maintenance::copy;
use crate::maintenance::copy::Problem;
use crate::maintenance::documents::AttachedRelease;
use crate::store::Error;
use crate::store::Store;

/// Under which name they are kept in the store's own directory.
const DOCUMENT: &str = "additions.json";
/// How many are remembered: a disk has room for a few releases. The oldest is forgotten for the newest.
const LIMIT: usize = 16;

/// A release that is on its way.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Addition {
    /// What it was asked for by.
    pub asked: String,
    /// The release, as its medium tells of it.
    pub release: AttachedRelease,
    /// Where it comes from.
    pub from: Vec<PathBuf>,
    /// What was in the way when it was last tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// What was in the way.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// In one word, as a condition's reason.
    pub reason: String,
    /// In words.
    pub message: String,
}

impl Addition {
    /// What is on its way onto this disk, the oldest first; nothing where none is written.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub async fn pending(store: &Store) -> Result<Vec<Self>, Error> {
        let note = store.document(DOCUMENT).await?.unwrap_or_default();
        // What another version wrote and this one does not understand is asked for again.
        Ok(serde_json::from_slice(&note).unwrap_or_default())
    }

    /// Whether it is called so: as it was asked for, or by bundle, version or digest.
    pub fn is_called(&self, name: &str) -> bool {
        let AttachedRelease { digest, version, bundle, .. } = &self.release;
        self.asked == name || digest == name || [version, bundle].iter().any(|it| it.as_deref() == Some(name))
    }

    /// Makes it last, instead of what was noted of the same release.
    pub(super) async fn keep(&self, store: &Store) -> Result<(), Error> {
        let mut all = Self::pending(store).await?;
        all.retain(|it| it.release.digest != self.release.digest);
        all.drain(..(all.len() + 1).saturating_sub(LIMIT));
        all.push(self.clone());
        write(store, &all).await
    }

    /// Forgets what is called so: it is here, or nobody wants it any more. Gives whether there was anything.
    ///
    /// # Errors
    /// The disk cannot be read or written.
    pub async fn forget(store: &Store, name: &str) -> Result<bool, Error> {
        let mut all = Self::pending(store).await?;
        let before = all.len();
        all.retain(|it| !it.is_called(name));
        let is_changed = all.len() < before;
        if is_changed {
            write(store, &all).await?;
        }
        Ok(is_changed)
    }
}

async fn write(store: &Store, all: &[Addition]) -> Result<(), Error> {
    let Some(writer) = store.writer() else { return Ok(()) };
    writer.put_document(DOCUMENT, serde_json::to_vec(all).unwrap_or_default().into()).await
}

impl Fault {
    /// What kept a copy from being whole; `None` where nothing did.
    pub(super) fn of(copied: &Result<Option<copy::Report>, copy::Error>) -> Option<Self> {
        match copied {
            Ok(Some(report)) => Self::of_problems(&report.problems),
            Ok(None) => None,
            Err(error) => {
                let is_full = matches!(
                    error,
                    copy::Error::Space { .. }
                        | copy::Error::Destination(Error::NoSpace { .. } | Error::NoInodes { .. })
                );
                let reason = if is_full { "NotEnoughStorageSpace" } else { "StorageError" };
                Some(Self { reason: reason.to_owned(), message: error.to_string() })
            }
        }
    }

    fn of_problems(problems: &[Problem]) -> Option<Self> {
        let more = problems.len().saturating_sub(1);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        problems.first().map(|problem| Self {
            reason: "ReleaseImageNotAvailable".to_owned(),
            message: format!("{problem}{more}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use storage_layout::Entry;

    use super::*;
    use crate::maintenance::documents;
    use crate::maintenance::documents::AddRequest;
    use crate::maintenance::documents::RemoveRequest;
    use crate::maintenance::fixture::Root;
    use crate::store::Access;
    use crate::store::Options;

    const ETCD: &str = "sha256:edccef9de32bc60c4ce1b429f42a78f86e6a3b35e7fd0ced035375ee6bb26077";

    fn open(disk: &Path, medium: &Path) -> Store {
        let roots = vec![disk.to_owned(), medium.to_owned()];
        Store::open(&Options { roots, access: Access::ReadWrite, ..Options::default() }).unwrap()
    }

    /// The payload, with a layer of its release that has other bytes.
    fn damaged() -> Root {
        let root = Root::payload();
        let blob = |digest: &str| root.at(&Entry::Blob(digest.parse().unwrap()));
        let manifest: serde_json::Value = serde_json::from_slice(&fs::read(blob(ETCD)).unwrap()).unwrap();
        let layer = blob(manifest["layers"][0]["digest"].as_str().unwrap());
        let len = fs::metadata(&layer).unwrap().len();
        fs::write(layer, vec![0; len as usize]).unwrap();
        root
    }

    async fn add(store: &Store) -> usize {
        let request = AddRequest { release: "4.22.1".to_owned() };
        documents::add(store, &request).await.unwrap().unwrap().problems.len()
    }

    #[tokio::test]
    async fn what_is_not_whole_is_remembered_until_it_is() {
        let (disk, damaged, whole) = (Root::empty(), damaged(), Root::payload());
        let store = open(disk.path(), damaged.path());
        assert!(add(&store).await > 0);
        store.close().await;
        drop(store);

        let store = open(disk.path(), whole.path());
        let pending = Addition::pending(&store).await.unwrap();
        let [addition] = &pending[..] else { panic!("{pending:?}") };
        assert_eq!(
            (addition.from.as_slice(), addition.asked.as_str()),
            (&[damaged.path().to_owned()][..], "4.22.1")
        );
        assert!(addition.is_called("ocp-release-bundle-4.22.1-x86_64"), "{addition:?}");
        assert_eq!(addition.fault.as_ref().unwrap().reason, "ReleaseImageNotAvailable");
        assert_eq!(add(&store).await, 0);
        assert_eq!(Addition::pending(&store).await.unwrap(), []);
        store.close().await;
    }

    #[tokio::test]
    async fn removing_it_gives_it_up() {
        let (disk, damaged) = (Root::empty(), damaged());
        let store = open(disk.path(), damaged.path());
        assert!(add(&store).await > 0);
        store.detach(damaged.path());
        let request = RemoveRequest { release: "4.22.1".to_owned(), ..RemoveRequest::default() };
        let now = std::time::SystemTime::now();
        let report = documents::remove(&store, &request, now).await.unwrap().unwrap();
        assert_eq!((report.release.as_str(), report.tags), ("4.22.1", 0));
        assert_eq!(Addition::pending(&store).await.unwrap(), []);
        documents::remove(&store, &request, now).await.unwrap_err();
        store.close().await;
    }
}
