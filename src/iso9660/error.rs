//! What can be wrong with an image.

use crate::iso9660::Extent;

/// A fault of an image or of what it is read from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error<E> {
    /// The medium failed.
    #[error("cannot read {what} of the image, {} bytes at byte {}", extent.len, extent.offset)]
    Read {
        /// What was to be read.
        what: &'static str,
        /// Where it lies.
        extent: Extent,
        /// Why it could not be.
        source: E,
    },
    /// There is no volume descriptor where one must be.
    #[error("not an ISO 9660 image: no primary volume descriptor at byte 32768")]
    NotAnImage,
    /// The image was made with another size of block.
    #[error("the image has logical blocks of {0} bytes, and only 2048 can be read")]
    BlockSize(u16),
    /// Longer names were cut and changed when the image was made.
    #[error(
        "the image has neither Rock Ridge nor Joliet names, so the long names of its files are lost: \
         make it again with `-R`, as in `xorriso -as mkisofs -iso-level 3 -R -D -V agentdata -o data.iso DIRECTORY`"
    )]
    NoLongNames,
    /// Something lies where the image has no bytes: it was cut short, or it lies.
    #[error("{what} lies at bytes {} to {} of the image, which has {len}: it was cut short", extent.offset, extent.end())]
    PastEnd {
        /// What lies there.
        what: &'static str,
        /// Where that is.
        extent: Extent,
        /// How long the image is.
        len: u64,
    },
    /// A structure of the image breaks the rules of its standard.
    #[error("the image is malformed at byte {offset}: {why}")]
    Malformed {
        /// Where the structure begins.
        offset: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// More than any image needs.
    #[error("the image is malformed at byte {offset}: more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are read.
        limit: usize,
        /// Where the structure begins that has more.
        offset: u64,
    },
}
