//! `Descriptors`: small files that stay open because they are asked for again and again.
//!
//! Knows when what is open is still what its name means. Does not know what the
//! files hold.
//!
//! Finding a link by its name costs the kernel a walk over nine directories; asking an open file whether it
//! changed costs a sixth of that. Whatever is done to a file or to its own name shows in its version: its
//! times, its length, its number of names. What does not show is that a directory above it was moved. Of
//! those that the writer moves it tells us; of anybody else's (an operator's `mv`) it is learnt within about
//! [`Descriptors::RESOLVED_FOR`].
//!
//! Each thread opens for itself: two that ask the kernel about one open file wait for each other.

use std::fmt;
use std::time::Duration;
use std::time::SystemTime;

use quick_cache::unsync::Cache;
use rustix::process::Resource;
use rustix::process::getrlimit;

use crate::clock::Tick;
use crate::store::Found;
use crate::store::own::Generation;
use crate::store::own::Own;

/// The open files of one directory.
pub(super) struct Descriptors(Own<Cache<Box<str>, Open>>);

/// A file that was found under a name, and stays open.
struct Open {
    found: Found,
    resolved: Tick,
}

impl Descriptors {
    /// How many files stay open for each thread that serves: the links and configs of a release of 200 images,
    /// at about a KiB each with what the kernel keeps.
    const MOST: usize = 512;
    /// Where the process may open few files, this part of them; at most four threads serve.
    const SHARE: u64 = 32;
    /// The largest file that stays open: what another process removes keeps its place on the disk until it is
    /// asked for again.
    const LARGEST: u64 = 64 * 1024;
    /// For how long a name is taken to mean what it did when it was last looked up, as long as the file
    /// itself has not changed.
    const RESOLVED_FOR: Duration = Duration::from_secs(1);

    pub(super) fn new() -> Self {
        let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / Self::SHARE;
        let most = usize::try_from(allowed).unwrap_or(usize::MAX).min(Self::MOST);
        Self(Own::new(move || Cache::new(most)))
    }

    /// What this thread found under a name a moment ago; whether it has changed is for the caller to ask of the
    /// file.
    pub(super) fn find(&self, path: &str) -> Option<Found> {
        self.0.with(|open| {
            let open = open.get(path)?;
            (open.resolved.elapsed() < Self::RESOLVED_FOR).then(|| open.found.clone())
        })
    }

    /// To be asked before a name is looked up that is to be [kept](Self::keep).
    pub(super) fn generation(&self) -> Generation {
        self.0.generation()
    }

    /// Keeps open what this thread found under a name, if it is small and has been left alone for a while.
    pub(super) fn keep(&self, path: &str, found: &Found, generation: Generation) {
        let is_small = (1..=Self::LARGEST).contains(&found.version.len());
        if is_small && found.version.is_settled(SystemTime::now()) {
            let open = Open { found: found.clone(), resolved: Tick::now() };
            self.0.with_of(generation, |files| files.insert(path.into(), open));
        }
    }

    /// Closes a file that is no longer what its name means.
    pub(super) fn forget(&self, path: &str) {
        self.0.with(|open| open.remove(path));
    }

    /// None is what its name means any more: a directory was moved. Each thread closes its own when it looks for
    /// the next.
    pub(super) fn forget_all(&self) {
        self.0.revoke();
    }
}

impl fmt::Debug for Descriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Descriptors").field(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;
    use std::path::PathBuf;
    use std::task::Poll;
    use std::thread::sleep;

    use storage_layout::Dir;
    use storage_layout::Entry;
    use storage_layout::RelativePath;
    use storage_layout::RepositoryName;
    use storage_layout::Tag;

    use super::*;
    use crate::store::Directory;
    use crate::store::Media;
    use crate::store::Source;
    use crate::store::Wait;

    fn tag() -> (RepositoryName, Tag) {
        (RepositoryName::parse("a/b").unwrap(), Tag::parse("v1").unwrap())
    }

    fn link() -> RelativePath {
        let (name, tag) = tag();
        Entry::TagCurrent(name, tag).path()
    }

    /// A tree with a link that has settled, opened by a reader that has it open, and by a writer.
    struct Tree {
        root: tempfile::TempDir,
        reader: Directory,
        writer: Directory,
    }

    impl Tree {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let file = root.path().join(link().as_str());
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "first").unwrap();
            sleep(Duration::from_millis(60));
            let media = Media::default();
            let [reader, writer] = [(); 2].map(|()| Directory::open(root.path(), &media).unwrap());
            let tree = Self { root, reader, writer };
            assert_eq!(tree.read().as_deref(), Some("first"));
            assert!(tree.reader.still_open(link().as_str()).unwrap().is_some(), "it stays open");
            tree
        }

        fn file(&self) -> PathBuf {
            self.root.path().join(link().as_str())
        }

        /// What the reader finds under the link's name, asked as for a client.
        fn read(&self) -> Option<String> {
            let found = match self.reader.open(&link(), Wait::Never) {
                Poll::Pending => self.reader.open(&link(), Wait::Allowed),
                found => found,
            };
            let Poll::Ready(found) = found else { panic!("who may wait gets an answer") };
            let extent = found.unwrap()?.extents.at(0).unwrap();
            let mut text = vec![0; usize::try_from(extent.len).unwrap()];
            extent.try_read(0, &mut text).unwrap();
            Some(String::from_utf8(text).unwrap())
        }
    }

    fn replace(file: &Path) {
        let staged = file.with_extension("staged");
        std::fs::write(&staged, "other").unwrap();
        std::fs::rename(staged, file).unwrap();
    }

    #[test]
    fn what_others_do_to_a_file_shows_at_once() {
        let tree = Tree::new();
        std::fs::write(tree.file(), "other").unwrap();
        assert_eq!(tree.read().as_deref(), Some("other"), "written in place");
        let tree = Tree::new();
        replace(&tree.file());
        assert_eq!(tree.read().as_deref(), Some("other"), "replaced");
        let tree = Tree::new();
        std::fs::hard_link(tree.file(), tree.root.path().join("kept")).unwrap();
        sleep(Duration::from_millis(60));
        assert_eq!(tree.read().as_deref(), Some("first"));
        replace(&tree.file());
        assert_eq!(tree.read().as_deref(), Some("other"), "replaced, although the file has another name");
        let tree = Tree::new();
        std::fs::remove_dir_all(tree.root.path().join("docker")).unwrap();
        assert_eq!(tree.read(), None, "removed");
    }

    #[test]
    fn a_directory_that_the_writer_moves_is_gone_at_once() {
        let tree = Tree::new();
        let (name, tag) = tag();
        let moved = tree.root.path().join(Dir::Tag(name, tag).path().as_str());
        std::fs::rename(moved, tree.root.path().join("trash")).unwrap();
        tree.writer.forget_names();
        assert_eq!(tree.read(), None);
    }

    #[test]
    fn a_directory_that_somebody_moves_is_gone_soon() {
        let tree = Tree::new();
        std::fs::rename(tree.root.path().join("docker"), tree.root.path().join("away")).unwrap();
        sleep(Descriptors::RESOLVED_FOR + Duration::from_millis(200));
        assert_eq!(tree.read(), None);
    }
}
