//! `Reservation`: space for what is to come.
//!
//! Knows how space is held, by a file that nobody sees, and given back bit by bit. Does not know what comes.

use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::store::writer::import::Throwaway;

/// Space that was set aside. Dropping it gives it back.
#[derive(Debug)]
pub struct Reservation {
    staged: Throwaway,
    left: Mutex<Left>,
}

/// What is left of a reservation.
#[derive(Clone, Copy, Debug)]
struct Left {
    /// How many bytes are set aside.
    reserved: u64,
    /// How many were given back and are not used yet.
    free: u64,
}

impl Reservation {
    /// How much is given back at once: each time costs the file system a transaction.
    const STEP: u64 = 256 * 1024 * 1024;

    pub(super) fn new(staged: Throwaway, bytes: u64) -> Self {
        let reservation = Self { staged, left: Mutex::new(Left { reserved: bytes, free: 0 }) };
        reservation.cut(bytes);
        reservation
    }

    /// Gives back as many bytes as something else uses from now on.
    pub(super) fn give_back(&self, bytes: u64) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if left.free < bytes {
            let given = bytes.max(Self::STEP).min(left.reserved);
            left.reserved -= given;
            left.free += given;
            self.cut(left.reserved);
        }
        left.free = left.free.saturating_sub(bytes);
    }

    fn cut(&self, bytes: u64) {
        // What is not given back now is when all of it is.
        let _: io::Result<()> = self.staged.inner.pipeline.disk.truncate(&self.staged.file, bytes);
    }
}
