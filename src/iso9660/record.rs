//! One directory record: ECMA-119 9.1.
//!
//! Knows the fixed fields. Does not know what the system use area holds.

use crate::iso9660::BLOCK;
use crate::iso9660::Extent;

/// Bytes before the identifier (9.1.1 to 9.1.10).
const FIXED: usize = 33;

const FLAG_DIRECTORY: u8 = 0x02;
const FLAG_ASSOCIATED: u8 = 0x04;
const FLAG_MULTI_EXTENT: u8 = 0x80;

/// A directory record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) identifier: &'a [u8],
    pub(super) extent: Extent,
    pub(super) system_use: &'a [u8],
    flags: u8,
    interleaved: bool,
}

impl<'a> Record<'a> {
    /// Parses the bytes of one record, whose first byte is their count; `None` where they do not hold
    /// together.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let identifier_len = usize::from(*bytes.get(32)?);
        let identifier_end = FIXED + identifier_len;
        // 9.1.12: a padding byte after an identifier of even length.
        let system_use = bytes.get(identifier_end + (identifier_len + 1) % 2..).unwrap_or_default();
        let attribute_blocks = u64::from(*bytes.get(1)?);
        let block = u64::from(u32_at(bytes, 2)?);
        Some(Self {
            identifier: bytes.get(FIXED..identifier_end).filter(|identifier| !identifier.is_empty())?,
            // 9.1.3: an extended attribute record, where there is one, comes before the data.
            extent: Extent { offset: (block + attribute_blocks) * BLOCK, len: u64::from(u32_at(bytes, 10)?) },
            system_use,
            flags: *bytes.get(25)?,
            interleaved: *bytes.get(26)? != 0 || *bytes.get(27)? != 0,
        })
    }

    /// Splits the first record off what is left of a sector. `None` at the padding that fills a sector up: a
    /// record never crosses into the next (6.8.1.1).
    ///
    /// # Errors
    /// A length that no record has, or that passes the end of the sector.
    pub(super) fn split_first(sector: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, &'static str> {
        let Some(&len) = sector.first().filter(|len| **len != 0) else { return Ok(None) };
        let (bytes, rest) = sector
            .split_at_checked(usize::from(len))
            .ok_or("a directory record passes the end of its sector")?;
        let record = Self::parse(bytes).ok_or("a directory record is too short for what it holds")?;
        Ok(Some((record, rest)))
    }

    pub(super) fn is_directory(&self) -> bool {
        self.flags & FLAG_DIRECTORY != 0
    }

    /// Whether this is the directory itself (`.`) or its parent (`..`), 6.8.2.2.
    pub(super) fn is_self_or_parent(&self) -> bool {
        matches!(self.identifier, [0 | 1])
    }

    /// Whether this is a resource fork of the file that follows.
    pub(super) fn is_associated(&self) -> bool {
        self.flags & FLAG_ASSOCIATED != 0
    }

    /// Whether the file goes on in the record that follows.
    pub(super) fn is_continued(&self) -> bool {
        self.flags & FLAG_MULTI_EXTENT != 0
    }

    /// Whether the file's bytes alternate with gaps (6.4.3).
    pub(super) fn is_interleaved(&self) -> bool {
        self.interleaved
    }
}

/// A 16-bit number recorded in both orders (7.2.3), of which the little-endian one is read, as Linux does.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map(|bytes| u16::from_le_bytes(*bytes))
}

/// A 32-bit number recorded in both orders (7.3.3), of which the little-endian one is read, as Linux does.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map(|bytes| u32::from_le_bytes(*bytes))
}
