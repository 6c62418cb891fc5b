//! Opening a store to write it.
//!
//! Knows which root is written. Does not know what is written there.

use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::store::Directory;
use crate::store::Error;
use crate::store::Media;
use crate::store::disk::LocalDisk;
use crate::store::lock::Lock;
use crate::store::writer::Shared;
use crate::store::writer::Writer;

/// Makes the first root where nothing is there yet, as distribution does at the first push.
pub(super) fn make_root(roots: &[PathBuf]) -> Result<(), Error> {
    let Some(root) = roots.first().filter(|root| matches!(root.try_exists(), Ok(false))) else {
        return Ok(());
    };
    let made = std::fs::create_dir_all(root).and_then(|()| sync_parent(root));
    made.map_err(|source| failed("make", root, source))
}

/// The writer of the first root that is a writable directory; `None` where none is.
pub(super) fn writer(roots: &[PathBuf], media: &Media, shared: Shared) -> Result<Option<Writer>, Error> {
    for root in roots.iter().filter(|root| root.is_dir()) {
        let Some(lock) = Lock::take(root)?.map(Arc::new) else { continue };
        let tree = Arc::new(Directory::open(root, media)?);
        let disk = LocalDisk::open(root, Arc::clone(&lock)).map_err(|source| failed("open", root, source))?;
        let writer = Writer::new(tree, Arc::new(disk), Shared { lock: Some(lock), ..shared })?;
        writer.clean_up();
        return Ok(Some(writer));
    }
    tracing::info!("no root can be written, so there are no pushes");
    Ok(None)
}

/// How many bytes can be written below the nearest directory of `path` that is there.
pub(super) fn free_at(path: &Path) -> Result<u64, Error> {
    let absolute = std::path::absolute(path).map_err(|source| failed("look at", path, source))?;
    let there = absolute.ancestors().find(|it| it.exists()).unwrap_or(Path::new("/"));
    let stat = rustix::fs::statvfs(there).map_err(|source| failed("look at", there, source.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The name of a root that was just made is to last as long as what is stored in it.
fn sync_parent(root: &Path) -> io::Result<()> {
    match root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io { doing, path: path.display().to_string(), source }
}
