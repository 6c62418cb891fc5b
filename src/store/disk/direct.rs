//! Writes past the page cache (`O_DIRECT`).
//!
//! Knows what of a write can go that way, and when a file system cannot do it.
//! The same file is open twice then, since what does not end on a boundary is
//! written, and what is there is read, as ever.

use std::fs::File;
use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use rustix::fs::AtFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::StatxFlags;
use rustix::io::Errno;

use crate::store::disk::ALIGNMENT;

/// The least that is worth it: a disk answers one such write after the other, and does not gather them.
const LEAST: usize = 128 * 1024;

/// Whether the file system of a root can be written past the page cache, as far as is known.
#[derive(Debug)]
pub(super) struct Direct {
    is_possible: AtomicBool,
    was_asked: AtomicBool,
}

/// A write in three parts, of which only the middle one goes past the page cache.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split<'a> {
    pub(super) head: Vec<&'a [u8]>,
    pub(super) middle: Vec<&'a [u8]>,
    pub(super) tail: Vec<&'a [u8]>,
}

impl<'a> Split<'a> {
    /// Splits the bytes that go to `offset`; `None` where they do not lie as they must, or are too few.
    pub(super) fn of(offset: u64, pieces: &[&'a [u8]]) -> Option<Self> {
        let alignment = ALIGNMENT as usize;
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        let head = (offset.next_multiple_of(ALIGNMENT) - offset) as usize;
        let middle = len.checked_sub(head)? / alignment * alignment;
        let (head, rest) = split_at(pieces, head);
        let (middle, tail) = split_at(&rest, middle);
        let lies_right = |piece: &&[u8]| {
            piece.as_ptr().addr().is_multiple_of(alignment) && piece.len().is_multiple_of(alignment)
        };
        let is_worth_it = middle.iter().map(|piece| piece.len()).sum::<usize>() >= LEAST;
        (is_worth_it && middle.iter().all(lies_right)).then_some(Self { head, middle, tail })
    }
}

/// The first `at` bytes of the pieces, and the others.
pub(super) fn split_at<'a>(pieces: &[&'a [u8]], mut at: usize) -> (Vec<&'a [u8]>, Vec<&'a [u8]>) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for piece in pieces {
        let (left, right) = piece.split_at(at.min(piece.len()));
        at -= left.len();
        before.extend((!left.is_empty()).then_some(left));
        after.extend((!right.is_empty()).then_some(right));
    }
    (before, after)
}

impl Direct {
    pub(super) fn new() -> Self {
        Self { is_possible: AtomicBool::new(true), was_asked: AtomicBool::new(false) }
    }

    /// Whether to try. The first time the file system is asked, if the kernel knows (`STATX_DIOALIGN`, Linux
    /// 6.1).
    pub(super) fn is_possible(&self, file: &File) -> bool {
        if !self.was_asked.swap(true, Ordering::Relaxed) && is_refused(file) {
            self.give_up();
        }
        self.is_possible.load(Ordering::Relaxed)
    }

    /// Tries no more.
    pub(super) fn give_up(&self) {
        self.is_possible.store(false, Ordering::Relaxed);
    }

    /// Writes as much as the system takes, and gives how much that was: the rest is to be written as ever.
    pub(super) fn write(&self, file: &File, offset: u64, pieces: &[&[u8]]) -> rustix::io::Result<usize> {
        let direct = match opened_directly(file) {
            Ok(direct) => direct,
            // Another time.
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => return Ok(0),
            Err(_) => {
                self.give_up();
                return Ok(0);
            }
        };
        let mut slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let (mut rest, mut done) = (&mut *slices, 0_usize);
        while !rest.is_empty() && done.is_multiple_of(ALIGNMENT as usize) {
            let at = offset + done as u64;
            match rustix::io::retry_on_intr(|| rustix::io::pwritev(&direct, rest, at)) {
                Ok(0) => break,
                Ok(written) => {
                    done += written;
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                    self.give_up();
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

/// The same file, opened anew: whoever reads it meanwhile goes on through the page cache.
fn opened_directly(file: &File) -> rustix::io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::open(path, OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC, Mode::empty())
}

/// Whether the file system says that it cannot, or wants larger blocks than ours.
fn is_refused(file: &File) -> bool {
    let Ok(stat) = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN) else {
        return false;
    };
    let says = stat.stx_mask & StatxFlags::DIOALIGN.bits() != 0;
    let takes = |align: u32| align != 0 && ALIGNMENT.is_multiple_of(align.into());
    says && !(takes(stat.stx_dio_mem_align) && takes(stat.stx_dio_offset_align))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(4096))]
    struct Aligned([u8; 400_000]);

    #[test]
    fn only_what_lies_right_goes_past_the_cache() {
        let memory = Aligned([7; 400_000]);
        let at = |from: usize, to: usize| memory.0.get(from..to).unwrap();
        let lens = |offset, pieces: &[&[u8]]| {
            let sum = |pieces: Vec<&[u8]>| pieces.iter().map(|piece| piece.len()).sum::<usize>();
            Split::of(offset, pieces).map(|it| (sum(it.head), sum(it.middle), sum(it.tail)))
        };
        for (offset, pieces, expected) in [
            (0, &[at(0, 131_072)][..], Some((0, 131_072, 0))),
            (0, &[at(0, 131_071)], None),
            (8192, &[at(0, 65_536), at(65_536, 200_000)], Some((0, 196_608, 3392))),
            (8193, &[at(1, 65_536), at(65_536, 262_144)], Some((4095, 258_048, 0))),
            (8193, &[at(0, 262_144)], None),
            (1, &[at(0, 100)], None),
            (0, &[], None),
        ] {
            assert_eq!(lens(offset, pieces), expected, "at {offset}");
        }
    }
}
