//! The volume descriptors: ECMA-119 chapter 8.
//!
//! Knows the primary descriptor, Joliet's supplementary one and the terminator.
//! Deliberately does not know boot records, partitions, or the enhanced
//! descriptor of ISO 9660:1999.

use crate::iso9660::BLOCK;
use crate::iso9660::DESCRIPTORS;
use crate::iso9660::Error;
use crate::iso9660::Extent;
use crate::iso9660::ReadAt;
use crate::iso9660::record::Record;
use crate::iso9660::record::u16_at;
use crate::iso9660::record::u32_at;

/// ECMA-119 8.1.2.
pub(super) const IDENTIFIER: &[u8] = b"CD001";

/// How many descriptors are looked at. Real images have two to five; Linux gives up after 100
/// (`isofs_fill_super`).
const MAX_DESCRIPTORS: u64 = 100;

const PRIMARY: u8 = 1;
const SUPPLEMENTARY: u8 = 2;
const TERMINATOR: u8 = 255;

/// The escape sequences that say that a supplementary descriptor is Joliet's: UCS-2 levels 1 to 3.
const JOLIET_ESCAPES: [&[u8]; 3] = [b"%/@", b"%/C", b"%/E"];

/// The trees of an image.
#[derive(Debug)]
pub(super) struct Volumes {
    pub(super) primary: Volume,
    pub(super) joliet: Option<Volume>,
}

/// What one descriptor says.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) label: String,
    /// The volume space size (8.4.8), in bytes.
    pub(super) len: u64,
    pub(super) root: Extent,
}

/// Reads the set of descriptors up to its terminator, or to the first sector that is not one.
pub(super) fn read<R: ReadAt>(reader: &R) -> Result<Volumes, Error<R::Error>> {
    let mut primary = None;
    let mut joliet = None;
    let mut sector = Vec::new();
    for index in 0..MAX_DESCRIPTORS {
        let extent = Extent { offset: DESCRIPTORS + index * BLOCK, len: BLOCK };
        if extent.end() > reader.len() {
            break;
        }
        super::read(reader, extent, "a volume descriptor", &mut sector)?;
        match sector.first() {
            _ if !super::is_descriptor(&sector) => break,
            Some(&TERMINATOR) => break,
            // A second primary descriptor is a copy of the first (8.4).
            Some(&PRIMARY) if primary.is_none() => primary = Some(parse(&sector, extent.offset)?),
            Some(&SUPPLEMENTARY) if joliet.is_none() && is_joliet(&sector) => {
                joliet = Some(parse(&sector, extent.offset)?);
            }
            _ => {}
        }
    }
    Ok(Volumes { primary: primary.ok_or(Error::NotAnImage)?, joliet })
}

fn is_joliet(sector: &[u8]) -> bool {
    JOLIET_ESCAPES.iter().any(|escape| sector.get(88..91) == Some(escape))
}

/// 8.4: the volume identifier at 40, the space size at 80, the block size at 128, the root's record at 156.
fn parse<E>(sector: &[u8], offset: u64) -> Result<Volume, Error<E>> {
    let cut = || Error::Malformed { offset, why: "a volume descriptor is cut short" };
    let block_size = u16_at(sector, 128).ok_or_else(cut)?;
    if u64::from(block_size) != BLOCK {
        return Err(Error::BlockSize(block_size));
    }
    let root = sector.get(156..190).and_then(Record::parse);
    let root = root.filter(Record::is_directory).ok_or(Error::Malformed {
        offset,
        why: "the volume descriptor's root directory is not a directory record",
    })?;
    Ok(Volume {
        label: String::from_utf8_lossy(sector.get(40..72).ok_or_else(cut)?)
            .trim_end_matches([' ', '\0'])
            .to_owned(),
        len: u64::from(u32_at(sector, 80).ok_or_else(cut)?) * BLOCK,
        root: root.extent,
    })
}
