//! Deleting all that a store keeps under a root.
//!
//! Knows the order: what clients see goes at once and first, the lock last, so that nothing half is ever
//! served and no other writer gets in between. Does not know who serves it still, or whether anybody needs
//! it.

use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;

use storage_layout::Dir;

use crate::store::Error;
use crate::store::lock::Lock;

/// Where content stands that is not served any more, until it is gone.
const DOOMED: &str = "deleted";

/// Deletes distribution's tree and Larder's own directory under `root`, and nothing else that lies there.
/// Begun again where it was cut off, it ends all the same.
///
/// # Errors
/// [`Error::Locked`] where a process writes there; [`Error::BecameReadOnly`] where nobody can; the disk's.
pub fn delete_all(root: &Path) -> Result<(), Error> {
    let Some(lock) = Lock::take(root)? else {
        return Err(Error::BecameReadOnly { path: root.to_owned() });
    };
    let own = root.join("larder");
    let (tree, doomed) = (root.join(Dir::Root.path().as_str()), own.join(DOOMED));
    let deleted = remove(&doomed)
        .and_then(|()| if_there(fs::rename(&tree, &doomed)))
        .and_then(|()| sync(&[&own, tree.parent().unwrap_or(root)]))
        .and_then(|()| remove(&own));
    deleted.map_err(|source| Error::Io { doing: "delete", path: root.display().to_string(), source })?;
    // Other things may lie beside the tree, and keep its directories.
    for parent in tree.ancestors().skip(1).take_while(|it| *it != root) {
        let _ = fs::remove_dir(parent);
    }
    drop(lock);
    sync(&[root]).map_err(|source| Error::Io { doing: "sync", path: root.display().to_string(), source })
}

/// Removes a directory with all that is in it; follows no symbolic link.
fn remove(directory: &Path) -> io::Result<()> {
    if_there(fs::remove_dir_all(directory))
}

fn if_there(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn sync(directories: &[&Path]) -> io::Result<()> {
    directories.iter().try_for_each(|it| if_there(File::open(it).and_then(|it| it.sync_all())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::symlink;

    use super::*;
    use crate::store::Access;
    use crate::store::Options;
    use crate::store::Store;

    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("docker/registry/v2/blobs/sha256")).unwrap();
        fs::create_dir(root.path().join("larder")).unwrap();
        root
    }

    fn names(root: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(root).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn only_what_a_store_keeps_goes() {
        let (root, elsewhere) = (tree(), tempfile::tempdir().unwrap());
        fs::write(elsewhere.path().join("kept"), "").unwrap();
        symlink(elsewhere.path(), root.path().join("docker/registry/v2/out")).unwrap();
        fs::create_dir(root.path().join("lost+found")).unwrap();
        fs::write(root.path().join("docker/notes"), "").unwrap();
        delete_all(root.path()).unwrap();
        assert_eq!(names(root.path()), ["docker", "lost+found"]);
        assert_eq!(names(&root.path().join("docker")), ["notes"]);
        assert_eq!(names(elsewhere.path()), ["kept"]);
    }

    #[test]
    fn what_was_cut_off_is_ended() {
        let root = tree();
        fs::create_dir_all(root.path().join("larder").join(DOOMED).join("blobs")).unwrap();
        delete_all(root.path()).unwrap();
        assert!(names(root.path()).is_empty());
        delete_all(root.path()).unwrap();
        assert!(names(root.path()).is_empty(), "there was nothing");
    }

    #[tokio::test]
    async fn a_root_that_is_written_stays() {
        let root = tree();
        let options =
            Options { roots: vec![root.path().to_owned()], access: Access::ReadWrite, ..Options::default() };
        let store = Store::open(&options).unwrap();
        assert!(matches!(delete_all(root.path()), Err(Error::Locked { .. })));
        assert_eq!(names(root.path()), ["docker", "larder"]);
        store.close().await;
    }
}
