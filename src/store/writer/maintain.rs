//! What maintenance changes: removing what nothing needs, and setting aside what is damaged.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use storage_layout::Digest;
use storage_layout::Dir;
use storage_layout::Entry;

use crate::store::Error;
use crate::store::Hold;
use crate::store::disk::DiskPath;
use crate::store::medium::blocking;
use crate::store::publish::Change;
use crate::store::publish::Since;
use crate::store::writer::Writer;
use crate::store::writer::was_there;

impl Writer {
    /// Removes a blob or a link that nothing needs, unless it was stored, pushed again or linked at `before`
    /// or later, or somebody counts on it ([`Writer::hold`], or a client that was told that it is there);
    /// says whether it did. The check and the removal are one: no push can come between them. Tags and
    /// uploads are not removed so.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub async fn remove_unused(&self, entry: &Entry, before: SystemTime) -> Result<bool, Error> {
        self.sweep(entry, Since::Grace(before)).await
    }

    /// As [`Writer::remove_unused`], for what was published before `published` and is removed on purpose:
    /// clients that were told of it before then pushed just that, and do not count.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub async fn remove_published(&self, entry: &Entry, published: SystemTime) -> Result<bool, Error> {
        self.sweep(entry, Since::Published(published)).await
    }

    async fn sweep(&self, entry: &Entry, since: Since) -> Result<bool, Error> {
        let (digest, dir) = match entry {
            Entry::Blob(digest) => (*digest, Dir::Blob(*digest)),
            Entry::LayerLink(name, digest) => (*digest, Dir::Layer(name.clone(), *digest)),
            Entry::RevisionLink(name, digest) => (*digest, Dir::Revision(name.clone(), *digest)),
            Entry::TagIndex(name, tag, digest) => {
                (*digest, Dir::TagRevision(name.clone(), tag.clone(), *digest))
            }
            Entry::TagCurrent(..)
            | Entry::UploadData(..)
            | Entry::UploadStartedAt(..)
            | Entry::UploadHashState(..) => return Ok(false),
        };
        let sweep = Change::Sweep { file: entry.path().into(), dir: dir.path().into(), digest, since };
        let inner = Arc::clone(&self.inner);
        self.to_the_end(
            async move { inner.publisher.publish([vec![sweep]], Vec::new()).await.map(was_there) },
        )
        .await
    }

    /// Keeps digests from being removed as garbage until the hold is dropped: a job that brings in an image's
    /// blobs long before its manifest counts on them.
    pub fn hold(&self, digests: Vec<Digest>) -> Hold {
        self.inner.leases.hold(digests)
    }

    /// Whether somebody counts on it: a hold, or a client that was told that it is there.
    pub fn is_leased(&self, digest: &Digest) -> bool {
        self.inner.leases.is_leased(digest)
    }

    /// Whether somebody counts on it: a hold, or a client that was told that it is there at `since` or later.
    pub fn is_leased_since(&self, digest: &Digest, since: SystemTime) -> bool {
        self.inner.leases.is_leased_since(digest, since)
    }

    /// Moves a damaged file out of the tree, to where an administrator finds it; gives where, or `None` where
    /// it is not there. It is never deleted.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub async fn set_aside(&self, entry: &Entry) -> Result<Option<PathBuf>, Error> {
        let (inner, file) = (Arc::clone(&self.inner), DiskPath::from(entry.path()));
        let to = {
            let inner = Arc::clone(&inner);
            let wanted = file.as_str().replace('/', ":");
            blocking(move || inner.free_name(&wanted)).await?
        };
        let place = self.root().join(to.as_str());
        let move_it = vec![Change::SetAside { file, to }];
        let moved = self
            .to_the_end(async move { inner.publisher.publish([move_it], Vec::new()).await.map(was_there) })
            .await?;
        Ok(moved.then_some(place))
    }
}

impl super::Inner {
    /// A name in the quarantine that nothing has yet. May wait.
    fn free_name(&self, wanted: &str) -> Result<DiskPath, Error> {
        let quarantine = DiskPath::own("quarantine");
        let made = self.pipeline.disk.make_dir(&quarantine);
        made.map_err(|error| self.health.failed("make", &quarantine, error))?;
        let taken = self.tree.list_at(&quarantine)?.unwrap_or_default();
        let is_free = |name: &String| taken.iter().all(|it| *it.name != **name);
        let numbered = (1..=taken.len()).map(|number| format!("{wanted}:{number}"));
        let mut names = std::iter::once(wanted.to_owned()).chain(numbered);
        // Among one more names than are taken there is a free one.
        Ok(quarantine.join(&names.find(is_free).unwrap_or_else(|| wanted.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use bytes::Bytes;
    use storage_layout::RepositoryName;
    use tempfile::TempDir;

    use super::*;
    use crate::store::Access;
    use crate::store::Options;
    use crate::store::Store;
    use crate::store::contract;

    /// A config of the payload fixture, whose files are from 1970.
    const CONFIG: &str = "sha256:98f52a7cf658385b9297bd3c196a73faaddb0cd53284f91eb1a6c91086d9d82f";

    fn open(root: &Path) -> Store {
        let options =
            Options { roots: vec![root.to_owned()], access: Access::ReadWrite, ..Options::default() };
        Store::open(&options).unwrap()
    }

    struct Case {
        root: TempDir,
        store: Store,
        name: RepositoryName,
        digest: Digest,
    }

    impl Case {
        fn new() -> Self {
            let root = contract::unpacked("payload-store.tar.gz");
            let store = open(root.path());
            Self { root, store, name: contract::name("a/b/c/d/e/f"), digest: contract::digest(CONFIG) }
        }

        fn blob(&self) -> Entry {
            Entry::Blob(self.digest)
        }

        fn link(&self) -> Entry {
            Entry::LayerLink(self.name.clone(), self.digest)
        }

        fn has(&self, entry: &Entry) -> bool {
            self.root.path().join(entry.path().as_str()).exists()
        }

        fn writer(&self) -> &Writer {
            self.store.writer().unwrap()
        }

        async fn remove(&self, entry: &Entry) -> bool {
            let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
            let was_there = self.has(entry);
            let removed = self.writer().remove_unused(entry, an_hour_ago).await.unwrap();
            assert_eq!(self.has(entry), was_there && !removed, "{entry:?}");
            removed
        }
    }

    #[tokio::test]
    async fn what_nobody_needs_is_removed_once() {
        let case = Case::new();
        for entry in [case.link(), case.blob()] {
            assert!(case.remove(&entry).await);
            assert!(!case.remove(&entry).await);
        }
        assert!(!case.store.has_layer(&case.name, &case.digest).await.unwrap());
        assert!(case.store.blob(&case.digest).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_a_client_was_told_of_stays() {
        let case = Case::new();
        case.store.tell(&case.digest);
        assert!(case.store.has_layer(&case.name, &case.digest).await.unwrap());
        assert!(!case.remove(&case.link()).await && !case.remove(&case.blob()).await);
    }

    #[tokio::test]
    async fn whoever_was_told_before_it_was_published_does_not_count() {
        let case = Case::new();
        case.store.tell(&case.digest);
        let published = SystemTime::now() + Duration::from_secs(1);
        for entry in [case.link(), case.blob()] {
            assert!(!case.writer().remove_published(&entry, SystemTime::UNIX_EPOCH).await.unwrap());
            assert!(case.writer().remove_published(&entry, published).await.unwrap());
            assert!(!case.has(&entry));
        }
    }

    #[tokio::test]
    async fn what_is_held_stays_while_it_is_held() {
        let case = Case::new();
        let hold = case.writer().hold(vec![case.digest]);
        assert!(!case.remove(&case.blob()).await);
        drop(hold);
        assert!(case.remove(&case.blob()).await);
    }

    #[tokio::test]
    async fn what_was_pushed_again_stays_with_its_old_links() {
        let case = Case::new();
        let manifest = "sha256:a843334f84417f7c1dfa4909bf566ade4231bc202145309f3a23b2a8642a22f1";
        let manifest = contract::digest(manifest);
        let revision = Entry::RevisionLink(case.name.clone(), manifest);
        let content = fs::read(case.root.path().join(Entry::Blob(manifest).path().as_str())).unwrap();
        case.writer().put_manifest(&case.name, &manifest, Bytes::from(content), &[]).await.unwrap();
        assert!(!case.remove(&revision).await && !case.remove(&Entry::Blob(manifest)).await);
    }

    #[tokio::test]
    async fn tags_and_uploads_are_never_garbage() {
        let case = Case::new();
        let tag = Entry::TagCurrent(case.name.clone(), storage_layout::Tag::parse("v1").unwrap());
        assert!(!case.remove(&tag).await);
    }

    #[tokio::test]
    async fn what_is_set_aside_is_kept_elsewhere() {
        let case = Case::new();
        let content = fs::read(case.root.path().join(case.blob().path().as_str())).unwrap();
        let place = case.writer().set_aside(&case.blob()).await.unwrap().unwrap();
        assert!(place.starts_with(case.root.path().join("larder/quarantine")), "{}", place.display());
        assert_eq!(fs::read(&place).unwrap(), content);
        assert!(!case.has(&case.blob()));
        assert_eq!(case.writer().set_aside(&case.blob()).await.unwrap(), None);

        fs::write(case.root.path().join(case.blob().path().as_str()), "again").unwrap();
        let second = case.writer().set_aside(&case.blob()).await.unwrap().unwrap();
        assert_ne!(second, place);
        assert_eq!(fs::read(second).unwrap(), b"again");
    }
}
