//! The fixtures as roots of stores, for tests.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use flate2::read::GzDecoder;
use storage_layout::Entry;
use tempfile::TempDir;

use crate::store::Access;
use crate::store::Options;
use crate::store::Source;
use crate::store::Store;

/// A root of a store that lasts as long as this.
pub(super) struct Root(TempDir);

impl Root {
    /// A release payload as distribution 2.8.2 wrote it.
    pub(super) fn payload() -> Self {
        Self::unpack(include_bytes!("../../conformance/fixtures/payload-store.tar.gz"))
    }

    /// The same with one empty tag link, one empty blob, one flipped bit, and strangers.
    pub(super) fn damaged() -> Self {
        Self::unpack(include_bytes!("../../conformance/fixtures/damaged-store.tar.gz"))
    }

    /// Nothing yet.
    pub(super) fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn unpack(archive: &[u8]) -> Self {
        let root = Self::empty();
        tar::Archive::new(GzDecoder::new(archive)).unpack(root.path()).unwrap();
        root
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Where an entry lies.
    pub(super) fn at(&self, entry: &Entry) -> PathBuf {
        self.path().join(entry.path().as_str())
    }

    /// The root as a source, nothing of it remembered.
    pub(super) fn sources(&self) -> Arc<Vec<Arc<dyn Source>>> {
        let options = Options { roots: vec![self.path().to_owned()], ..Options::default() };
        Store::open(&options).unwrap().sources()
    }

    /// The root as a store to be written.
    pub(super) fn writable(&self) -> Store {
        let options =
            Options { roots: vec![self.path().to_owned()], access: Access::ReadWrite, ..Options::default() };
        Store::open(&options).unwrap()
    }

    /// Every path below the root with what it holds, to see that nothing changed.
    pub(super) fn snapshot(&self) -> Vec<(PathBuf, Option<Vec<u8>>)> {
        let mut found = Vec::new();
        let mut pending = vec![self.path().to_owned()];
        while let Some(path) = pending.pop() {
            if path.is_dir() {
                pending.extend(std::fs::read_dir(&path).unwrap().map(|it| it.unwrap().path()));
                found.push((path, None));
            } else {
                let content = std::fs::read(&path).unwrap();
                found.push((path, Some(content)));
            }
        }
        found.sort();
        found
    }
}
