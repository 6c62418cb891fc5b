//! Reading whole files once, for those who read everything.
//!
//! Knows how to leave the page cache as it was: what is served often stays in memory, what was only looked at
//! does not take its place. Does not know what the bytes should be.

use std::io;
use std::io::Read;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::task::Poll;

use rustix::fs::Advice;
use storage_layout::Digest;
use storage_layout::Entry;

use crate::store::Blob;
use crate::store::Error;
use crate::store::FileRange;
use crate::store::Source;
use crate::store::Version;
use crate::store::Wait;
use crate::store::Window;
use crate::store::extent::Sink;
use crate::store::hash::Hasher;
use crate::store::hash::digest_of;
use crate::store::link::read_small;

/// What a blob's bytes were found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// The digest that they have.
    pub computed: Digest,
    /// How many they are.
    pub len: u64,
    /// Which version of the file they are.
    pub version: Version,
}

/// All of these wait for the medium.
impl dyn Source {
    /// How much is read before the pages are given back.
    const WINDOW: u64 = 8 * 1024 * 1024;

    /// Hashes a blob; `None` where it is not here, or `pace`, which is told of each piece before it is read,
    /// breaks off.
    ///
    /// # Errors
    /// The medium cannot be read, or what lies there is no file.
    pub fn hash(
        &self,
        digest: &Digest,
        mut pace: impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Option<Hashed>, Error> {
        let Some(blob) = self.blob(digest)? else { return Ok(None) };
        let mut hasher = Hasher::new(digest.algorithm());
        let mut rest = blob.range(0..u64::MAX);
        while let Some(window) = rest.next_window(Self::WINDOW) {
            if pace(window.len).is_break() {
                return Ok(None);
            }
            read_once(&window, |piece| hasher.update(piece))?;
        }
        Ok(Some(Hashed { computed: hasher.finish(), len: blob.len(), version: *blob.version() }))
    }

    /// A blob as it lies here, whole or not; `None` where it is not here.
    ///
    /// # Errors
    /// The medium cannot be read, or what lies there is no file.
    pub fn blob(&self, digest: &Digest) -> Result<Option<Blob>, Error> {
        let Poll::Ready(found) = self.open(&Entry::Blob(*digest).path(), Wait::Allowed) else {
            return Ok(None);
        };
        Ok(found?.map(|it| Blob::new(*digest, it, self.medium().clone())))
    }

    /// A blob of at most `limit` bytes; `None` where it is not here.
    ///
    /// # Errors
    /// The medium cannot be read; [`Error::TooLarge`]; [`Error::Corrupt`] where its bytes have another digest.
    pub fn whole(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let entry = Entry::Blob(*digest);
        let Some(blob) = self.blob(digest)? else { return Ok(None) };
        if blob.len() > limit {
            return Err(Error::TooLarge { digest: *digest, len: blob.len(), limit });
        }
        let mut content = Vec::new();
        let mut rest = blob.range(0..u64::MAX);
        while let Some(window) = rest.next_window(Self::WINDOW) {
            window.read_through(|piece| content.extend_from_slice(piece))?;
        }
        let computed = digest_of(digest.algorithm(), &content);
        if computed == *digest {
            return Ok(Some(content));
        }
        let path = self.origin().join(entry.path().as_str()).display().to_string();
        Err(Error::Corrupt { path, why: format!("its bytes have the digest {computed}") })
    }

    /// Reads a file that has at most `limit` bytes; `None` where nothing lies there.
    ///
    /// # Errors
    /// The medium cannot be read, or what lies there is no file, or a larger one ([`Error::Corrupt`]).
    pub fn read(&self, entry: &Entry, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let path = entry.path();
        let Poll::Ready(found) = self.open(&path, Wait::Allowed) else { return Ok(None) };
        let Some(found) = found? else { return Ok(None) };
        let len = found.version.len();
        if len > limit {
            let path = self.origin().join(path.as_str()).display().to_string();
            return Err(Error::Corrupt {
                path,
                why: format!("it has {len} bytes, which is more than {limit}"),
            });
        }
        match read_small(&found, self.medium(), Wait::Allowed) {
            Poll::Ready(content) => Ok(Some(content?)),
            Poll::Pending => Ok(None),
        }
    }
}

/// A blob's bytes, read on the thread that asks for them, which may sleep.
#[derive(Debug)]
pub struct Reader {
    rest: FileRange,
    piece: Vec<u8>,
    /// How much of `piece` was given out.
    given: usize,
}

impl Reader {
    /// How much is read at a time.
    const PIECE: u64 = 256 * 1024;

    /// Reads `range` from its beginning.
    pub fn new(range: FileRange) -> Self {
        Self { rest: range, piece: Vec::new(), given: 0 }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.piece.len() {
            self.piece.clear();
            self.given = 0;
            let Some(window) = self.rest.next_window(Self::PIECE) else { return Ok(0) };
            read_once(&window, |piece| self.piece.extend_from_slice(piece)).map_err(io::Error::other)?;
        }
        let read = self.piece.get(self.given..).unwrap_or_default().read(buffer)?;
        self.given += read;
        Ok(read)
    }
}

/// Reads a window, and gives back the pages that were read in for it.
pub(super) fn read_once(window: &Window, each: impl FnMut(&[u8])) -> Result<(), Error> {
    once(window, || window.read_through(each))
}

/// The same, to where it is wanted.
pub(super) fn read_once_into(window: &Window, sink: &mut impl Sink) -> Result<(), Error> {
    once(window, || window.read_into(sink))
}

fn once(window: &Window, read: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    let was_resident = window.is_resident();
    read()?;
    if !was_resident {
        // A hint: where it is not taken the kernel evicts as it always does.
        let _ = rustix::fs::fadvise(&window.file, window.offset, NonZero::new(window.len), Advice::DontNeed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use storage_layout::Algorithm;

    use super::*;
    use crate::store::Directory;
    use crate::store::Media;

    /// A root with one blob, stored under the digest of other bytes if so wanted.
    fn root(content: &[u8], named: &[u8]) -> (tempfile::TempDir, Digest) {
        let root = tempfile::tempdir().unwrap();
        let digest = digest_of(Algorithm::Sha256, named);
        let path = root.path().join(Entry::Blob(digest).path().as_str());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        (root, digest)
    }

    fn source(root: &tempfile::TempDir) -> Directory {
        Directory::open(root.path(), &Media::default()).unwrap()
    }

    #[test]
    fn hashing_tells_what_is_there() {
        let large: Vec<u8> = (0..20_000_000_u32).map(|it| (it >> 7) as u8).collect();
        for content in [&b""[..], b"some bytes", &large] {
            let (root, digest) = root(content, b"other bytes");
            let source: &dyn Source = &source(&root);
            let mut told = 0;
            let hashed = source.hash(&digest, |bytes| {
                told += bytes;
                ControlFlow::Continue(())
            });
            let hashed = hashed.unwrap().unwrap();
            assert_eq!(hashed.computed, digest_of(Algorithm::Sha256, content));
            assert_eq!((hashed.len, told), (content.len() as u64, content.len() as u64));
        }
    }

    #[test]
    fn hashing_can_be_broken_off_and_absence_is_none() {
        let (root, digest) = root(b"some bytes", b"some bytes");
        let source: &dyn Source = &source(&root);
        assert_eq!(source.hash(&digest, |_| ControlFlow::Break(())).unwrap(), None);
        let other = digest_of(Algorithm::Sha256, b"");
        assert_eq!(source.hash(&other, |_| ControlFlow::Continue(())).unwrap(), None);
        assert_eq!(source.read(&Entry::Blob(other), 10).unwrap(), None);
    }

    #[test]
    fn a_reader_gives_the_bytes() {
        let content: Vec<u8> = (0..1_000_000_u32).map(|it| (it >> 3) as u8).collect();
        let (root, digest) = root(&content, &content);
        let source: &dyn Source = &source(&root);
        let blob = source.blob(&digest).unwrap().unwrap();
        let mut read = Vec::new();
        Reader::new(blob.range(0..u64::MAX)).read_to_end(&mut read).unwrap();
        assert_eq!(read, content);
        let mut part = [0; 3];
        Reader::new(blob.range(262_143..u64::MAX)).read_exact(&mut part).unwrap();
        assert_eq!(part, content[262_143..262_146]);
    }

    #[test]
    fn reading_keeps_its_limit() {
        let (root, digest) = root(b"some bytes", b"some bytes");
        let source: &dyn Source = &source(&root);
        assert_eq!(source.read(&Entry::Blob(digest), 10).unwrap().as_deref(), Some(&b"some bytes"[..]));
        assert!(matches!(source.read(&Entry::Blob(digest), 9), Err(Error::Corrupt { .. })));
    }
}
