//! A medium with one sector that cannot be read.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::task::Poll;

use storage_layout::Entry;
use storage_layout::RelativePath;

use super::*;
use crate::metrics::Metrics;
use crate::store::Directory;
use crate::store::Extent;
use crate::store::Extents;
use crate::store::Found;
use crate::store::Item;
use crate::store::Options;
use crate::store::Source;
use crate::store::Store;
use crate::store::Version;
use crate::store::Wait;
use crate::store::contract::digest;
use crate::store::contract::name;
use crate::store::contract::unpacked;

/// A config of the payload, and the repository that links it.
const CONFIG: &str = "sha256:98f52a7cf658385b9297bd3c196a73faaddb0cd53284f91eb1a6c91086d9d82f";
const REPOSITORY: &str = "a/b/c/d/e/f";

/// A directory of which the bytes of one blob cannot be read.
#[derive(Debug)]
struct Scratched {
    inner: Directory,
    scratch: RelativePath,
}

impl Source for Scratched {
    fn origin(&self) -> &Path {
        self.inner.origin()
    }

    fn medium(&self) -> &Arc<Medium> {
        self.inner.medium()
    }

    fn open(&self, path: &RelativePath, wait: Wait) -> Poll<Result<Option<Found>, Error>> {
        let found = self.inner.open(path, wait);
        if path.as_str() != self.scratch.as_str() {
            return found;
        }
        // Nothing of this process lies at address nought, so that reading it is an I/O error
        // (`proc_pid_mem(5)`).
        let file = Arc::new(File::open("/proc/self/mem").unwrap());
        found.map_ok(|it| {
            it.map(|Found { version, extents }| Found {
                version,
                extents: Extents::new([Extent { file, offset: 0, len: extents.len() }]),
            })
        })
    }

    fn version(&self, path: &RelativePath, wait: Wait) -> Poll<Result<Option<Version>, Error>> {
        self.inner.version(path, wait)
    }

    fn list(&self, path: &RelativePath) -> Result<Option<Vec<Item>>, Error> {
        self.inner.list(path)
    }

    fn check(&self) -> Result<(), Error> {
        self.inner.check()
    }
}

/// A store whose first root is scratched; its other one, if there is to be one, is whole.
fn scratched(root: &Path, others: &[&Path], metrics: &Metrics) -> Store {
    let roots = others.iter().map(|it| it.to_path_buf()).collect();
    let store =
        Store::open(&Options { roots, metrics: metrics.store.clone(), ..Options::default() }).unwrap();
    // A registry of media of its own, as if it were another device.
    let inner = Directory::open(root, &Media::new(metrics.store.clone())).unwrap();
    let scratch = Entry::Blob(digest(CONFIG)).path();
    store.inner.roots.prepend(Arc::new(Scratched { inner, scratch }));
    store
}

#[tokio::test]
async fn a_sector_that_cannot_be_read_is_named_and_counted_once_for_each_try() {
    let root = unpacked("payload-store.tar.gz");
    let metrics = Metrics::new("0");
    let store = scratched(root.path(), &[], &metrics);
    let blob = store.layer(&name(REPOSITORY), &digest(CONFIG)).await.unwrap().unwrap();
    let error = store.vouch(blob).await.unwrap_err();
    let Error::Medium { medium, path, offset: 0, digest: of, source } = &error else { panic!("{error:?}") };
    assert!(Path::new(medium) == root.path() && path.ends_with("/mem") && *of == digest(CONFIG), "{error}");
    assert_eq!(source.raw_os_error(), Some(libc::EIO));
    let expected = Faults {
        medium: root.path().display().to_string(),
        count: 2,
        last: Some(format!("byte 0 of {path}: {source}")),
    };
    assert_eq!(store.faults().as_slice(), std::slice::from_ref(&expected));
    let line = format!("larder_store_medium_faults_total{{medium=\"{}\"}} 2", root.path().display());
    assert!(metrics.encode().contains(&line), "{}", metrics.encode());

    // It is not tried again for a while.
    let again = store.layer(&name(REPOSITORY), &digest(CONFIG)).await.unwrap_err();
    assert_eq!(again.to_string(), error.to_string());
    assert_eq!(store.faults(), [expected]);
    for other in store.blobs(None, usize::MAX).await.unwrap() {
        if other.digest != digest(CONFIG) {
            let blob = store.blob(&other.digest).await.unwrap().unwrap();
            store.vouch(blob).await.unwrap();
        }
    }
}

#[tokio::test]
async fn another_root_that_has_it_serves_it() {
    let (root, whole) = (unpacked("payload-store.tar.gz"), unpacked("payload-store.tar.gz"));
    let store = scratched(root.path(), &[whole.path()], &Metrics::new("0"));
    let first = store.layer(&name(REPOSITORY), &digest(CONFIG)).await.unwrap().unwrap();
    assert!(matches!(store.vouch(first).await, Err(Error::Medium { .. })));
    let second = store.layer(&name(REPOSITORY), &digest(CONFIG)).await.unwrap().unwrap();
    store.vouch(second).await.unwrap();
}
