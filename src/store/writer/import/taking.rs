//! Taking in one blob: read, hashed and written a piece at a time.
//!
//! Knows that what is written is what was hashed: both are done from the same memory. Does not know when it becomes
//! visible.

use std::io;
use std::ops::ControlFlow;

use storage_layout::Digest;

use crate::store::Blob;
use crate::store::Error;
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

    /// Copies a blob of another store, computing its digest on the way. `each` is told of every piece before it is
    /// read, and may break off.
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
        reservation.give_back(blob.len());
        self.allocate(&staged, blob.len())?;
        let mut taking = Taking::new(blob, &staged);
        let mut rest = blob.range(0..u64::MAX);
        while let Some(window) = rest.next_window(Self::STEP) {
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

/// A blob on its way: read into a piece, hashed and written from there.
struct Taking<'a> {
    staged: &'a Throwaway,
    hasher: Hasher,
    piece: Piece,
    /// How much is written.
    at: u64,
    written: io::Result<()>,
}

impl<'a> Taking<'a> {
    fn new(blob: &Blob, staged: &'a Throwaway) -> Self {
        let piece = Piece::new(&staged.inner.pipeline.blocks, 0, Import::PIECE.min(blob.len()));
        Self { staged, hasher: Hasher::new(blob.digest().algorithm()), piece, at: 0, written: Ok(()) }
    }

    fn hand_on(&mut self) {
        let (staged, parts) = (self.staged, self.piece.parts());
        parts.iter().for_each(|part| self.hasher.update(part));
        let disk = &staged.inner.pipeline.disk;
        if self.written.is_ok() {
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
