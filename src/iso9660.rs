//! A reader of ISO 9660 images, as values over [`ReadAt`].
//!
//! ```text
//! descriptor   where the volume begins: ECMA-119 chapter 8, Joliet's supplementary descriptor
//! record       one directory record: ECMA-119 9.1
//! system_use   what Rock Ridge adds to a record: SUSP 1.12, RRIP 1.12
//! directory    a directory's records, read into a compact `Listing`
//! ```
//!
//! Knows names and where a file's bytes lie, and that an image may have been
//! made to do harm: every count, length and chain in it has a limit with a
//! name. Does not know how an image is opened, what is in its files, or that
//! there is a registry. Never writes, and keeps nothing between two calls: who
//! asks for the same directory again should keep its [`Listing`].

mod descriptor;
mod directory;
mod error;
mod record;
mod system_use;

pub use directory::Listing;
pub use directory::Node;
pub use error::Error;

use std::sync::Arc;

/// The size of a sector, and the only size of a logical block that is read, in bytes. Every tool that makes
/// images today uses it (ECMA-119 6.2.2 allows smaller ones).
pub const BLOCK: u64 = 2048;

/// Where the volume descriptors begin, in bytes (ECMA-119 6.2.1: sixteen sectors belong to the system).
pub const DESCRIPTORS: u64 = 16 * BLOCK;

/// The bytes of an image.
pub trait ReadAt {
    /// Why a read failed.
    type Error: std::error::Error + 'static;

    /// How many bytes there are.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buf` with the bytes that begin at `offset`, which lie before [`ReadAt::len`].
    ///
    /// # Errors
    /// The medium failed, or ended early.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), Self::Error>;
}

impl<R: ReadAt + ?Sized> ReadAt for &R {
    type Error = R::Error;

    fn len(&self) -> u64 {
        (**self).len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), Self::Error> {
        (**self).read_at(buf, offset)
    }
}

/// Whether bytes 32768 to 32773 of a file, where a volume descriptor has its identifier, are those of an
/// image.
pub fn is_descriptor(sector: &[u8]) -> bool {
    sector.get(1..6) == Some(descriptor::IDENTIFIER)
}

/// What an image's descriptors say: enough to read its directories.
#[derive(Clone, Debug)]
pub struct Image {
    label: String,
    recorded_len: u64,
    len: u64,
    names: Names,
    root: Directory,
}

/// Which of an image's names are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Rock Ridge: any bytes, up to 255 of them.
    RockRidge {
        /// How many bytes of each record's system use area are not Rock Ridge's (SUSP 5.3).
        skip: u8,
    },
    /// Joliet: Unicode, but cut by most tools to 64 characters.
    Joliet,
}

/// The longest name that every maker of Joliet images keeps whole, in characters (Joliet specification, "128
/// bytes"). A name of this length may be what is left of a longer one.
pub const JOLIET_NAME: usize = 64;

/// A directory of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Directory {
    extent: Extent,
}

impl Directory {
    /// Where its records lie: what tells it from every other directory of the image.
    pub fn extent(&self) -> Extent {
        self.extent
    }
}

/// A piece of an image, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub len: u64,
}

impl Extent {
    /// Where it ends. An extent is made from a 32-bit block and a 32-bit length, or of several that follow
    /// one another, and is far from overflowing.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}

/// A file of an image: where its bytes lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    extents: Extents,
}

/// Nearly every file has one extent; only one of 4 GiB or more has several (ECMA-119 9.1.4: a length has 32
/// bits).
#[derive(Clone, Debug, PartialEq, Eq)]
enum Extents {
    One(Extent),
    Several(Arc<[Extent]>),
}

impl File {
    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.extents().iter().map(|extent| extent.len).sum()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its pieces, in order; those that follow one another in the image are already joined.
    pub fn extents(&self) -> &[Extent] {
        match &self.extents {
            Extents::One(extent) => std::slice::from_ref(extent),
            Extents::Several(extents) => extents,
        }
    }
}

impl Image {
    /// Reads the volume descriptors and finds out which names the image has.
    ///
    /// # Errors
    /// [`Error::NotAnImage`]; [`Error::NoLongNames`] where names longer than 31 characters were lost when the image
    /// was made; a malformed descriptor; a failed read.
    pub fn open<R: ReadAt>(reader: &R) -> Result<Self, Error<R::Error>> {
        let volumes = descriptor::read(reader)?;
        let skip = directory::rock_ridge(reader, volumes.primary.root)?;
        let (names, root) = match (skip, volumes.joliet) {
            (Some(skip), _) => (Names::RockRidge { skip }, volumes.primary.root),
            (None, Some(joliet)) => (Names::Joliet, joliet.root),
            (None, None) => return Err(Error::NoLongNames),
        };
        Ok(Self {
            label: volumes.primary.label,
            recorded_len: volumes.primary.len,
            len: reader.len(),
            names,
            root: Directory { extent: root },
        })
    }

    /// The volume's label: at most 32 characters, without the spaces that fill it up.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// How long the image says that it is, in bytes, without padding after its end.
    pub fn recorded_len(&self) -> u64 {
        self.recorded_len
    }

    /// How many bytes of the image are not there: a download or a transfer that was cut short.
    pub fn missing(&self) -> u64 {
        self.recorded_len.saturating_sub(self.len)
    }

    /// Which names are read.
    pub fn names(&self) -> Names {
        self.names
    }

    /// The directory at the top.
    pub fn root(&self) -> Directory {
        self.root
    }

    /// Reads a directory whole.
    ///
    /// # Errors
    /// A malformed record, a limit that is exceeded, an extent past the end of the image, a failed read.
    pub fn list<R: ReadAt>(&self, reader: &R, directory: Directory) -> Result<Listing, Error<R::Error>> {
        directory::read(reader, self.names, directory)
    }

    /// What lies at `path`, whose components are separated by `/`. Reads every directory on the way.
    ///
    /// # Errors
    /// As [`Image::list`].
    pub fn find<R: ReadAt>(&self, reader: &R, path: &str) -> Result<Option<Node>, Error<R::Error>> {
        let mut node = Node::Directory(self.root);
        for component in path.split('/').filter(|component| !component.is_empty()) {
            let Node::Directory(directory) = node else { return Ok(None) };
            let Some(found) = self.list(reader, directory)?.find(component.as_bytes()).cloned() else {
                return Ok(None);
            };
            node = found;
        }
        Ok(Some(node))
    }

    /// The pieces of a file, all of which lie within the image.
    ///
    /// # Errors
    /// [`Error::PastEnd`] for a file whose bytes are not all there.
    pub fn extents<'a, E>(&self, file: &'a File) -> Result<&'a [Extent], Error<E>> {
        let extents = file.extents();
        match extents.iter().find(|extent| extent.end() > self.len) {
            None => Ok(extents),
            Some(extent) => Err(Error::PastEnd { what: "a file", extent: *extent, len: self.len }),
        }
    }
}

/// Reads `extent`, which is checked to lie within the image first: no length found in an image is ever
/// allocated before it is known to be backed by one.
fn read<R: ReadAt>(
    reader: &R,
    extent: Extent,
    what: &'static str,
    buf: &mut Vec<u8>,
) -> Result<(), Error<R::Error>> {
    let len = reader.len();
    if extent.end() > len {
        return Err(Error::PastEnd { what, extent, len });
    }
    let size = usize::try_from(extent.len).map_err(|_| Error::PastEnd { what, extent, len })?;
    buf.clear();
    buf.resize(size, 0);
    reader.read_at(buf, extent.offset).map_err(|source| Error::Read { what, extent, source })
}

#[cfg(test)]
mod tests;
