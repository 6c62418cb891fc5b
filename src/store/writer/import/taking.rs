//! Taking in one blob: read, hashed and written a piece at a time.
//!
//! Knows that what is written is what was hashed: both are done from the same memory. Does not know when it
//! becomes visible.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use storage_layout::Digest;

use crate::store::Blob;
use crate::store::Error;
use crate::store::Window;
use crate::store::extent::Sink;
use crate::store::hash::Hasher;
use crate::store::piece::Piece;
use crate::store::scan::read_once_into;
use crate::store::writer::Import;
use crate::store::writer::Intake;
use crate::store::writer::Reservation;
use crate::store::writer::Taken;
use crate::store::writer::import::Throwaway;

impl Import {
    /// How much is read between two looks at whether to go on.
    const STEP: u64 = 4 * 1024 * 1024;
    /// How much is written at once. Measured: 512 KiB keep a disk waiting, 4 MiB keep the processors waiting.
    const PIECE: u64 = 1024 * 1024;

    /// Copies a blob of another store, computing its digest on the way. `each` is told of every piece before
    /// it is read, and may break off.
    ///
    /// # Errors
    /// The disk cannot be written; nothing is left of the blob.
    pub fn take(
        &self,
        blob: &Blob,
        reservation: &Reservation,
        mut each: impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Intake, Error> {
        let staged = self.throwaway()?;
        let content = share(blob, &staged);
        reservation.give_back(blob.len());
        if content == Content::Written {
            self.allocate(&staged, blob.len())?;
        }
        let mut taking = Taking::new(blob, &staged, content);
        let mut rest = blob.range(0..u64::MAX);
        while let Some(mut window) = rest.next_window(Self::STEP) {
            if content == Content::Shared {
                // What is hashed is what will be served.
                window.file = Arc::clone(&staged.file.file);
            }
            if each(window.len).is_break() {
                return Ok(Intake::Stopped);
            }
            if let Err(error) = read_once_into(&window, &mut taking) {
                return Ok(Intake::Unreadable(error));
            }
            taking.check()?;
        }
        let (computed, len) = taking.end()?;
        if computed != *blob.digest() {
            return Ok(Intake::Mismatch { computed });
        }
        Ok(Intake::Taken(Taken { digest: computed, len, staged }))
    }
}

/// How bytes come into a staged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// They are written.
    Written,
    /// The file system lets it share those of another file.
    Shared,
}

/// Tries to have a staged file share a blob's bytes, which takes neither space nor time. Only for what is
/// large, and is a file of its own. `copy_file_range(2)` is not tried: where it does not share it copies
/// through the page cache.
fn share(blob: &Blob, staged: &Throwaway) -> Content {
    let whole = blob.range(0..u64::MAX).next_window(u64::MAX).filter(|it| it.len >= Import::PIECE);
    let is_a_file = |it: &Window| {
        let len = it.file.metadata().map(|it| it.len());
        it.offset == 0 && it.len == blob.len() && len.is_ok_and(|len| len == blob.len())
    };
    match whole.filter(is_a_file) {
        Some(whole) if staged.inner.pipeline.disk.share(&staged.file, &whole.file) => Content::Shared,
        _ => Content::Written,
    }
}

/// A blob on its way: read into a piece, hashed and written from there.
struct Taking<'a> {
    staged: &'a Throwaway,
    hasher: Hasher,
    piece: Piece,
    content: Content,
    /// How much is written.
    at: u64,
    written: io::Result<()>,
}

impl<'a> Taking<'a> {
    fn new(blob: &Blob, staged: &'a Throwaway, content: Content) -> Self {
        let piece = Piece::new(&staged.inner.pipeline.blocks, 0, Import::PIECE.min(blob.len()));
        let hasher = Hasher::new(blob.digest().algorithm());
        Self { staged, hasher, piece, content, at: 0, written: Ok(()) }
    }

    fn hand_on(&mut self) {
        let (staged, parts) = (self.staged, self.piece.parts());
        parts.iter().for_each(|part| self.hasher.update(part));
        let disk = &staged.inner.pipeline.disk;
        if self.written.is_ok() && self.content == Content::Written {
            self.written = disk.write_past_cache(&staged.file, self.at, &parts);
            disk.start_writing_back(&staged.file, self.at, self.piece.len());
        }
        self.at += self.piece.len();
        self.piece.clear();
    }

    /// Whether it could be written.
    fn check(&mut self) -> Result<(), Error> {
        let written = std::mem::replace(&mut self.written, Ok(()));
        written.map_err(|error| self.staged.inner.health.failed("write", &self.staged.path, error))
    }

    /// The digest of what was read, and its length.
    fn end(mut self) -> Result<(Digest, u64), Error> {
        if !self.piece.is_empty() {
            self.hand_on();
        }
        self.check()?;
        Ok((self.hasher.finish(), self.at))
    }
}

impl Sink for Taking<'_> {
    fn room(&mut self) -> &mut [u8] {
        self.piece.room()
    }

    fn filled(&mut self, len: usize) {
        self.piece.filled(len);
        if self.piece.is_full() {
            self.hand_on();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::sync::Arc;

    use storage_layout::Entry;

    use super::*;
    use crate::store::Directory;
    use crate::store::Media;
    use crate::store::Source;
    use crate::store::disk::recorder::Operation;
    use crate::store::disk::recorder::Recorder;
    use crate::store::disk::recorder::SyncAll;
    use crate::store::writer::tests::content;
    use crate::store::writer::tests::sha256;
    use crate::store::writer::tests::with_disk;

    /// Takes a blob whose bytes are `stored` by the digest of `named`, where files can share content.
    async fn take(stored: &[u8], named: &[u8]) -> (Intake, Vec<usize>, Option<Vec<u8>>) {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let digest = sha256(named);
        let path = Entry::Blob(digest).path();
        fs::create_dir_all(from.path().join(path.as_str()).parent().unwrap()).unwrap();
        fs::write(from.path().join(path.as_str()), stored).unwrap();
        let recorder = Arc::new(Recorder::open(to.path(), SyncAll::No).sharing());
        let store = with_disk(to.path(), Arc::clone(&recorder) as Arc<_>);
        let source: &dyn Source = &Directory::open(from.path(), &Media::default()).unwrap();
        let import = store.writer().unwrap().import();
        let reservation = import.reserve(0).unwrap();
        let blob = source.blob(&digest).unwrap().unwrap();
        let mut taken = import.take(&blob, &reservation, |_| ControlFlow::Continue(())).unwrap();
        drop(reservation);
        if let Intake::Taken(whole) = taken {
            import.publish(vec![whole]).await.unwrap();
            taken = Intake::Stopped;
        }
        let wrote = recorder.operations().into_iter().filter_map(|it| match it {
            Operation::Write(_, _, data) if !data.is_empty() => Some(data.len()),
            _ => None,
        });
        (taken, wrote.collect(), fs::read(to.path().join(path.as_str())).ok())
    }

    #[tokio::test]
    async fn what_can_be_shared_is_not_written_and_verified_all_the_same() {
        let (whole, mut other) = (content(3_000_000), content(3_000_000));
        *other.last_mut().unwrap() ^= 1;
        let (_, wrote, stored) = take(&whole, &whole).await;
        assert_eq!((wrote, stored.as_ref()), (vec![3_000_000], Some(&whole)), "once, by the file system");
        let (ended, _, stored) = take(&other, &whole).await;
        assert!(matches!(ended, Intake::Mismatch { computed } if computed == sha256(&other)), "{ended:?}");
        assert_eq!(stored, None);
        // What is small is written: here in one piece.
        let (_, wrote, stored) = take(&whole[..1000], &whole[..1000]).await;
        assert_eq!((wrote, stored.as_deref()), (vec![1000], Some(&whole[..1000])));
    }
}
