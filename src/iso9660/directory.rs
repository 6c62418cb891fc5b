//! A directory's records, and the compact `Listing` made of them.
//!
//! Knows which records make one file, and how each kind of name is spelled.

use crate::iso9660::BLOCK;
use crate::iso9660::Directory;
use crate::iso9660::Error;
use crate::iso9660::Extent;
use crate::iso9660::Extents;
use crate::iso9660::File;
use crate::iso9660::Names;
use crate::iso9660::ReadAt;
use crate::iso9660::record::Record;
use crate::iso9660::system_use;
use crate::iso9660::system_use::Form;
use crate::iso9660::system_use::RockRidge;
use crate::iso9660::system_use::SystemUseReader;

/// The longest directory in bytes: some 130,000 names of the longest kind.
const MAX_DIRECTORY: u64 = 32 * 1024 * 1024;

/// How many names of a directory are kept, so that a listing stays below some 30 MiB whatever the image says.
const MAX_ENTRIES: usize = 200_000;

/// How many extents a file may have: at 4 GiB each, far beyond what an image can hold of use.
const MAX_EXTENTS: usize = 256;

/// How much of a directory is read at once.
const CHUNK: u64 = 32 * BLOCK;

/// What a name of an image stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory(Directory),
    /// A file whose bytes lie in the image as they are.
    File(File),
    /// A file that is compressed (zisofs) or sparse, so that its bytes cannot be served from the image.
    Encoded,
    /// A symbolic link, a device or the like.
    Special,
}

/// What a directory holds, in the byte order of the names.
#[derive(Clone, Debug)]
pub struct Listing {
    names: Box<[u8]>,
    slots: Box<[Slot]>,
}

#[derive(Clone, Debug)]
struct Slot {
    name_at: u32,
    name_len: u16,
    node: Node,
}

impl Listing {
    /// What `name` stands for.
    pub fn find(&self, name: &[u8]) -> Option<&Node> {
        let found = self.slots.binary_search_by(|slot| self.name(slot).cmp(name)).ok()?;
        self.slots.get(found).map(|slot| &slot.node)
    }

    /// Everything, in the byte order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Node)> {
        self.slots.iter().map(|slot| (self.name(slot), &slot.node))
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How much memory this takes, in bytes.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.names.len() + size_of_val(&*self.slots)
    }

    fn name(&self, slot: &Slot) -> &[u8] {
        let start = slot.name_at as usize;
        self.names.get(start..start + usize::from(slot.name_len)).unwrap_or_default()
    }
}

/// Whether the tree below `root` has Rock Ridge, and if so how many bytes to skip in each system use area.
pub(super) fn rock_ridge<R: ReadAt>(reader: &R, root: Extent) -> Result<Option<u8>, Error<R::Error>> {
    let mut sector = Vec::new();
    let own = own_record(reader, root.offset, &mut sector)?;
    let Some(skip) = system_use::sharing_protocol(own.system_use) else { return Ok(None) };
    let extensions = SystemUseReader::new(reader, 0).read(own.system_use, root.offset)?;
    Ok(extensions.is_rock_ridge.then_some(skip))
}

/// Reads a directory.
pub(super) fn read<R: ReadAt>(
    reader: &R,
    names: Names,
    directory: Directory,
) -> Result<Listing, Error<R::Error>> {
    let Extent { offset, len } = directory.extent;
    if len > MAX_DIRECTORY {
        return Err(Error::Malformed { offset, why: "a directory is longer than 32 MiB" });
    }
    let mut builder = Builder::new(reader, names);
    let mut chunk = Vec::new();
    let mut done = 0;
    while done < len {
        let extent = Extent { offset: offset + done, len: CHUNK.min(len - done) };
        super::read(reader, extent, "a directory", &mut chunk)?;
        let mut sector_at = extent.offset;
        for sector in chunk.chunks(BLOCK as usize) {
            builder.take_sector(sector, sector_at)?;
            sector_at += BLOCK;
        }
        done += extent.len;
    }
    builder.finish(offset)
}

/// The record that a directory has of itself, which always comes first (6.8.2.2).
fn own_record<'a, R: ReadAt>(
    reader: &R,
    offset: u64,
    sector: &'a mut Vec<u8>,
) -> Result<Record<'a>, Error<R::Error>> {
    super::read(reader, Extent { offset, len: BLOCK }, "a directory", sector)?;
    match Record::split_first(sector) {
        Ok(Some((record, _))) if record.is_directory() && record.is_self_or_parent() => Ok(record),
        _ => Err(Error::Malformed { offset, why: "a directory does not begin with its own record" }),
    }
}

/// Makes a listing of records.
struct Builder<'r, R> {
    reader: &'r R,
    names: Names,
    system_use: SystemUseReader<'r, R>,
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    /// A file of which more extents follow.
    open: Option<OpenFile>,
}

struct OpenFile {
    identifier: Vec<u8>,
    name: Vec<u8>,
    form: Form,
    extents: Vec<Extent>,
}

impl<'r, R: ReadAt> Builder<'r, R> {
    fn new(reader: &'r R, names: Names) -> Self {
        let skip = match names {
            Names::RockRidge { skip } => skip,
            Names::Joliet => 0,
        };
        let system_use = SystemUseReader::new(reader, skip);
        Self { reader, names, system_use, bytes: Vec::new(), slots: Vec::new(), open: None }
    }

    fn take_sector(&mut self, sector: &[u8], sector_at: u64) -> Result<(), Error<R::Error>> {
        let mut rest = sector;
        loop {
            let offset = sector_at + (sector.len() - rest.len()) as u64;
            match Record::split_first(rest) {
                Err(why) => return Err(Error::Malformed { offset, why }),
                Ok(None) => return Ok(()),
                Ok(Some((record, after))) => {
                    if !record.is_self_or_parent() && !record.is_associated() {
                        self.take_record(&record, offset)?;
                    }
                    rest = after;
                }
            }
        }
    }

    fn take_record(&mut self, record: &Record<'_>, offset: u64) -> Result<(), Error<R::Error>> {
        if let Some(open) = self.open.take() {
            return self.take_continuation(open, record, offset);
        }
        let RockRidge { name, child, relocated, form, is_rock_ridge: _ } = match self.names {
            Names::RockRidge { .. } => self.system_use.read(record.system_use, offset)?,
            Names::Joliet => RockRidge { name: Some(joliet_name(record.identifier)), ..RockRidge::default() },
        };
        if relocated {
            return Ok(());
        }
        let name = name.unwrap_or_else(|| plain_name(record.identifier));
        if let Some(block) = child {
            let moved = self.moved_directory(u64::from(block) * BLOCK)?;
            return self.push(&name, Node::Directory(moved), offset);
        }
        if record.is_directory() {
            return self.push(&name, Node::Directory(Directory { extent: record.extent }), offset);
        }
        if record.is_interleaved() {
            return self.push(&name, Node::Encoded, offset);
        }
        let file =
            OpenFile { identifier: record.identifier.to_vec(), name, form, extents: vec![record.extent] };
        self.take_file(file, record, offset)
    }

    /// One more extent of a file that the record before did not finish (ECMA-119 9.1.6, bit 7).
    fn take_continuation(
        &mut self,
        mut open: OpenFile,
        record: &Record<'_>,
        offset: u64,
    ) -> Result<(), Error<R::Error>> {
        if record.identifier != open.identifier || record.is_directory() {
            return Err(Error::Malformed { offset, why: "a file of several extents lacks its last one" });
        }
        if open.extents.len() == MAX_EXTENTS {
            return Err(Error::TooMany { what: "extents of one file", limit: MAX_EXTENTS, offset });
        }
        match open.extents.last_mut() {
            // Only a whole number of blocks can be continued right behind itself.
            Some(last) if last.end() == record.extent.offset => last.len += record.extent.len,
            _ => open.extents.push(record.extent),
        }
        self.take_file(open, record, offset)
    }

    fn take_file(&mut self, file: OpenFile, record: &Record<'_>, offset: u64) -> Result<(), Error<R::Error>> {
        if record.is_continued() {
            self.open = Some(file);
            return Ok(());
        }
        let extents = match file.extents.as_slice() {
            [one] => Extents::One(*one),
            several => Extents::Several(several.into()),
        };
        let node = match file.form {
            Form::Plain => Node::File(File { extents }),
            Form::Special => Node::Special,
            Form::Encoded => Node::Encoded,
        };
        self.push(&file.name, node, offset)
    }

    /// The directory that a CL entry leads to, whose length only its own record knows (RRIP 4.1.5.1).
    fn moved_directory(&self, offset: u64) -> Result<Directory, Error<R::Error>> {
        let mut sector = Vec::new();
        let own = own_record(self.reader, offset, &mut sector)?;
        if own.extent.offset != offset {
            return Err(Error::Malformed { offset, why: "a moved directory's own record lies elsewhere" });
        }
        Ok(Directory { extent: own.extent })
    }

    fn push(&mut self, name: &[u8], node: Node, offset: u64) -> Result<(), Error<R::Error>> {
        if self.slots.len() == MAX_ENTRIES {
            return Err(Error::TooMany { what: "names in one directory", limit: MAX_ENTRIES, offset });
        }
        let too_long = Error::Malformed { offset, why: "a directory's names are too long" };
        let (Ok(name_at), Ok(name_len)) = (u32::try_from(self.bytes.len()), u16::try_from(name.len())) else {
            return Err(too_long);
        };
        self.bytes.extend_from_slice(name);
        self.slots.push(Slot { name_at, name_len, node });
        Ok(())
    }

    fn finish(self, offset: u64) -> Result<Listing, Error<R::Error>> {
        if self.open.is_some() {
            return Err(Error::Malformed { offset, why: "a file of several extents lacks its last one" });
        }
        let mut listing =
            Listing { names: self.bytes.into_boxed_slice(), slots: self.slots.into_boxed_slice() };
        let mut slots = std::mem::take(&mut listing.slots).into_vec();
        // Rock Ridge sorts by the short names, and a stable sort keeps the first of two equal names first.
        slots.sort_by(|a, b| listing.name(a).cmp(listing.name(b)));
        slots.dedup_by(|later, earlier| listing.name(later) == listing.name(earlier));
        listing.slots = slots.into_boxed_slice();
        Ok(listing)
    }
}

/// A name of the primary tree that has no NM entry, as Linux shows it (`isofs_name_translate`).
fn plain_name(identifier: &[u8]) -> Vec<u8> {
    let name = identifier.strip_suffix(b";1").unwrap_or(identifier);
    name.strip_suffix(b".").unwrap_or(name).to_ascii_lowercase()
}

/// UCS-2 in big-endian order, with the version that the standard wants (`;1`) taken off.
fn joliet_name(identifier: &[u8]) -> Vec<u8> {
    let units = identifier.as_chunks::<2>().0.iter().map(|unit| u16::from_be_bytes(*unit));
    let name: String =
        char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    name.strip_suffix(";1").unwrap_or(&name).into()
}
