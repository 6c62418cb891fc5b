//! `Piece`: bytes on their way to a disk.
//!
//! Knows how bytes must lie in memory for a disk to take them from there, past
//! the page cache, and lends the same memory again and again: that which is
//! new has to be cleared by the kernel first, and in a virtual machine to be
//! found by its host. Does not know whose bytes they are.

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use bytes::Bytes;

use crate::store::append::Pipeline;
use crate::store::disk::ALIGNMENT;

/// Memory that a disk can be given as it is.
#[repr(C, align(4096))]
struct Block([u8; Self::LEN]);

const _: () =
    assert!(align_of::<Block>() as u64 == ALIGNMENT && (Block::LEN as u64).is_multiple_of(ALIGNMENT));

impl Block {
    /// Small enough for a push among hundreds, large enough that a write of a megabyte has few of them.
    const LEN: usize = 64 * 1024;
}

/// The blocks that are not in use. Shared by all who write.
#[derive(Default)]
pub(super) struct Blocks {
    spare: Mutex<Vec<Box<Block>>>,
}

impl Blocks {
    /// How many are kept while there are pushes: what these may have waiting in all, and no more.
    const KEPT: usize = Pipeline::WAITING as usize / Block::LEN;
    /// And when there are none: enough for one push.
    const KEPT_IDLE: usize = 2 * 1024 * 1024 / Block::LEN;

    fn take(self: &Arc<Self>) -> Lent {
        let spare = self.spare().pop();
        Lent { block: Some(spare.unwrap_or_else(|| Box::new(Block([0; Block::LEN])))), of: Arc::clone(self) }
    }

    /// Nobody pushes any more.
    pub(super) fn rest(&self) {
        let mut spare = self.spare();
        spare.truncate(Self::KEPT_IDLE);
        spare.shrink_to_fit();
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Box<Block>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocks").field("spare", &self.spare().len()).finish()
    }
}

/// A block in use. Dropping it gives it back.
struct Lent {
    /// Taken out only by `drop`.
    block: Option<Box<Block>>,
    of: Arc<Blocks>,
}

impl Lent {
    fn bytes(&self) -> &[u8] {
        self.block.as_ref().map_or(&[], |block| &block.0)
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.block.as_mut().map_or(&mut [], |block| &mut block.0)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut spare = self.of.spare();
        if spare.len() < Blocks::KEPT {
            spare.extend(self.block.take());
        }
    }
}

/// Bytes that follow each other in a file, gathered until there are enough to write. They lie in blocks as
/// they will in the file, so that what begins on a boundary there does so here; a few stay where they came.
pub(super) struct Piece {
    pool: Arc<Blocks>,
    few: Vec<Bytes>,
    blocks: Vec<Lent>,
    /// How much of the first block is left out, because the piece does not begin on a boundary.
    begin: usize,
    len: usize,
    /// How many bytes the blocks may have, what is left out included.
    capacity: usize,
}

impl Piece {
    /// How many bytes take no block: a small push costs what it brings.
    const FEW: usize = 32 * 1024;
    /// And how many parts of them, each of which may hold on to a buffer of its connection.
    const FEW_PARTS: usize = 16;

    /// An empty piece for the bytes from `offset` on, to end on a boundary after about `wanted` bytes.
    pub(super) fn new(pool: &Arc<Blocks>, offset: u64, wanted: u64) -> Self {
        let blocks = usize::try_from(wanted).unwrap_or(0).div_ceil(Block::LEN).max(1);
        Self {
            pool: Arc::clone(pool),
            few: Vec::new(),
            blocks: Vec::new(),
            begin: (offset % ALIGNMENT) as usize,
            len: 0,
            capacity: blocks * Block::LEN,
        }
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> u64 {
        self.len as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it is to be written before anything else can be taken in.
    pub(super) fn is_full(&self) -> bool {
        self.begin + self.len >= self.capacity
    }

    /// Takes in as much of `data` as there is room for.
    pub(super) fn take_in(&mut self, data: &mut Bytes) {
        let stays = self.blocks.is_empty() && self.few.len() < Self::FEW_PARTS;
        if stays && self.len + data.len() <= Self::FEW {
            self.len += data.len();
            self.few.push(std::mem::take(data));
            return;
        }
        let few = std::mem::take(&mut self.few);
        self.len -= few.iter().map(Bytes::len).sum::<usize>();
        for mut part in few {
            self.copy_in(&mut part);
        }
        self.copy_in(data);
    }

    fn copy_in(&mut self, data: &mut Bytes) {
        while !data.is_empty() && !self.is_full() {
            let room = self.room();
            let part = data.split_to(data.len().min(room.len()));
            room.split_at_mut(part.len()).0.copy_from_slice(&part);
            self.filled(part.len());
        }
    }

    /// Where the next bytes go: at least one, unless it is full.
    pub(super) fn room(&mut self) -> &mut [u8] {
        let end = self.begin + self.len;
        let (block, at) = (end / Block::LEN, end % Block::LEN);
        if end < self.capacity && block == self.blocks.len() {
            self.blocks.push(self.pool.take());
        }
        self.blocks.get_mut(block).map_or(&mut [], |block| block.bytes_mut().split_at_mut(at).1)
    }

    /// Counts what was put [there](Piece::room).
    pub(super) fn filled(&mut self, len: usize) {
        self.len += len;
    }

    /// The bytes, in order.
    pub(super) fn parts(&self) -> Vec<&[u8]> {
        if self.blocks.is_empty() {
            return self.few.iter().map(|part| &**part).collect();
        }
        let end = self.begin + self.len;
        let parts = self.blocks.iter().enumerate().map(|(number, block)| {
            let before = number * Block::LEN;
            let from = self.begin.saturating_sub(before);
            let to = end.saturating_sub(before).min(Block::LEN);
            block.bytes().get(from..to).unwrap_or_default()
        });
        parts.filter(|part| !part.is_empty()).collect()
    }

    /// Forgets the bytes, for those that follow a full piece.
    pub(super) fn clear(&mut self) {
        self.few.clear();
        (self.begin, self.len) = (0, 0);
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Piece").field("begin", &self.begin).field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that are not all the same.
    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 31 % 251) as u8).collect()
    }

    #[test]
    fn bytes_come_out_as_they_went_in_and_lie_as_in_the_file() {
        let pool = Arc::new(Blocks::default());
        for offset in [0, 1, 4095, 4096, 70_001] {
            for part in [1000, 40_000, 200_000] {
                let whole = content(700_001);
                let (mut at, mut gathered) = (offset, Vec::new());
                let mut piece = Piece::new(&pool, at, 192 * 1024);
                for part in whole.chunks(part) {
                    let mut data = Bytes::copy_from_slice(part);
                    while !data.is_empty() {
                        piece.take_in(&mut data);
                        if piece.is_full() {
                            assert_eq!((at + piece.len()) % ALIGNMENT, 0);
                            check_lie(&piece, at);
                            gathered.extend(piece.parts().concat());
                            at += piece.len();
                            piece = Piece::new(&pool, at, 192 * 1024);
                        }
                    }
                }
                gathered.extend(piece.parts().concat());
                assert!(gathered == whole, "from {offset} on in parts of {part}");
            }
        }
    }

    fn check_lie(piece: &Piece, mut at: u64) {
        for part in piece.parts() {
            assert_eq!(part.as_ptr() as u64 % ALIGNMENT, at % ALIGNMENT);
            at += part.len() as u64;
        }
    }

    #[test]
    fn a_few_bytes_take_no_block_and_blocks_are_given_back() {
        let pool = Arc::new(Blocks::default());
        let mut piece = Piece::new(&pool, 0, 1 << 20);
        piece.take_in(&mut Bytes::from(content(Piece::FEW)));
        assert!(piece.blocks.is_empty());
        piece.take_in(&mut Bytes::from(content(1)));
        assert_eq!(piece.blocks.len(), 1);
        piece.take_in(&mut Bytes::from(content(1 << 20)));
        assert!(piece.is_full());
        drop(piece);
        assert_eq!(pool.spare().len(), (1 << 20) / Block::LEN);
        let mut many = Piece::new(&pool, 0, 1 << 20);
        (0..=Piece::FEW_PARTS).for_each(|_| many.take_in(&mut Bytes::from_static(b"x")));
        assert_eq!(many.blocks.len(), 1, "many parts of a few bytes");
        let lent: Vec<_> = (0..Blocks::KEPT + 10).map(|_| pool.take()).collect();
        drop(lent);
        assert_eq!(pool.spare().len(), Blocks::KEPT);
        pool.rest();
        assert_eq!(pool.spare().len(), Blocks::KEPT_IDLE);
    }
}
