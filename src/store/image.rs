//! The bytes of an image: a file, a block device, the parts of a split image,
//! or files inside of another image.
//!
//! Knows how such pieces make one run of bytes, and which piece of which file
//! a range of it is. Does not know what the bytes mean.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::io::Seek;
use std::io::SeekFrom;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::pread;
use rustix::io::retry_on_intr;

use crate::iso9660;
use crate::iso9660::Extent;
use crate::iso9660::ReadAt;
use crate::store;
use crate::store::Error;
use crate::store::Media;
use crate::store::Medium;

pub(super) mod split;

/// Pieces of files that are read as one run of bytes.
#[derive(Clone, Debug)]
pub(super) struct Pieces {
    pieces: Box<[Piece]>,
    len: u64,
    medium: Arc<Medium>,
}

/// A piece of a file.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) file: Arc<File>,
    /// The file's path, for messages.
    pub(super) path: Arc<Path>,
    /// Where the piece begins in its file.
    pub(super) offset: u64,
    pub(super) len: u64,
    /// Where the piece begins in the whole.
    start: u64,
}

impl From<Piece> for store::Extent {
    fn from(Piece { file, offset, len, .. }: Piece) -> Self {
        Self { file, offset, len }
    }
}

/// A read that failed, and where.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {} at byte {offset}", path.display())]
pub(super) struct Fault {
    pub(super) path: Arc<Path>,
    pub(super) offset: u64,
    pub(super) source: io::Error,
}

/// Whether there is an image's first volume descriptor in `file`.
///
/// # Errors
/// The file cannot be read. One that is too short is no image.
pub(super) fn is_image(file: &File) -> io::Result<bool> {
    let mut head = [0; 6];
    match file.read_exact_at(&mut head, iso9660::DESCRIPTORS) {
        Ok(()) => Ok(iso9660::is_descriptor(&head)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

impl Pieces {
    /// Opens an image's file or block device. Where it is the first part of a split image, the other parts,
    /// which lie beside it, are opened too.
    ///
    /// # Errors
    /// A file cannot be opened or read; a part is missing; `path` is not the first part.
    pub(super) fn open(path: &Path, media: &Media) -> Result<Self, Error> {
        let failed = |doing| move |source| Error::Io { doing, path: path.display().to_string(), source };
        let first = OpenedFile::open(path)?;
        let medium = media.of(&first.file, path).map_err(failed("look at"))?;
        if is_image(&first.file).map_err(failed("read"))? && is_whole(&first) {
            return Ok(Self::of([first], medium));
        }
        let names = match path.file_name().and_then(OsStr::to_str) {
            Some(name) => split::parts(name, &siblings(path).map_err(failed("list the parts of"))?)
                .map_err(|gap| Error::Image { path: path.display().to_string(), why: gap.to_string() })?,
            None => Vec::new(),
        };
        let rest = names.iter().skip(1).map(|name| OpenedFile::open(&path.with_file_name(name)));
        let parts = std::iter::once(Ok(first)).chain(rest).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::of(parts, medium))
    }

    fn of(files: impl IntoIterator<Item = OpenedFile>, medium: Arc<Medium>) -> Self {
        let pieces = files.into_iter().map(|OpenedFile { file, path, len }| Piece {
            file: Arc::new(file),
            path: path.into(),
            offset: 0,
            len,
            start: 0,
        });
        Self::joined(pieces, medium)
    }

    /// The run of bytes that `extents` of this one make: a file of an image, or several, as an image of their
    /// own.
    pub(super) fn within(&self, extents: impl IntoIterator<Item = Extent>) -> Self {
        Self::joined(extents.into_iter().flat_map(|extent| self.pieces(extent)), Arc::clone(&self.medium))
    }

    fn joined(pieces: impl IntoIterator<Item = Piece>, medium: Arc<Medium>) -> Self {
        let mut len = 0;
        let pieces = pieces
            .into_iter()
            .map(|piece| {
                let start = len;
                len += piece.len;
                Piece { start, ..piece }
            })
            .collect();
        Self { pieces, len, medium }
    }

    /// What they are read from. The parts of a split image lie beside one another.
    pub(super) fn medium(&self) -> &Arc<Medium> {
        &self.medium
    }

    /// The pieces of files that `extent` is made of; what lies past the end is left out.
    pub(super) fn pieces(&self, extent: Extent) -> impl Iterator<Item = Piece> {
        let first = self.pieces.partition_point(|piece| piece.start + piece.len <= extent.offset);
        let pieces = self.pieces.get(first..).unwrap_or_default();
        pieces.iter().take_while(move |piece| piece.start < extent.end()).map(move |piece| {
            let skipped = extent.offset.saturating_sub(piece.start);
            let len = (piece.len - skipped).min(extent.end() - piece.start - skipped);
            Piece { offset: piece.offset + skipped, len, start: piece.start + skipped, ..piece.clone() }
        })
    }
}

impl ReadAt for Pieces {
    type Error = Fault;

    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), Fault> {
        let mut rest = buf;
        for piece in self.pieces(Extent { offset, len: rest.len() as u64 }) {
            // A piece is no longer than the buffer that it was cut to.
            let (part, after) = rest.split_at_mut(usize::try_from(piece.len).unwrap_or(0));
            self.read_piece(&piece, part)?;
            rest = after;
        }
        Ok(())
    }
}

impl Pieces {
    fn read_piece(&self, piece: &Piece, mut buf: &mut [u8]) -> Result<(), Fault> {
        let mut offset = piece.offset;
        while !buf.is_empty() {
            let read = self.medium.read_twice(|| retry_on_intr(|| pread(&piece.file, &mut *buf, offset)));
            let read = match read {
                Ok(0) => {
                    self.medium.count_fault();
                    Err(io::ErrorKind::UnexpectedEof.into())
                }
                read => read,
            };
            let read = read.map_err(|source| {
                self.medium.note(piece.path.display(), offset, &source);
                Fault { path: Arc::clone(&piece.path), offset, source }
            })?;
            offset += read as u64;
            buf = std::mem::take(&mut buf).split_at_mut(read).1;
        }
        Ok(())
    }
}

struct OpenedFile {
    file: File,
    path: PathBuf,
    len: u64,
}

impl OpenedFile {
    fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Io { doing: "open", path: path.display().to_string(), source };
        let mut file = File::open(path).map_err(failed)?;
        // The metadata of a block device has no length; its end can be sought.
        let len = file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self { file, path: path.to_owned(), len })
    }
}

/// Whether an image has as many bytes as it says: the first part of a split one has fewer.
fn is_whole(first: &OpenedFile) -> bool {
    let mut space = [0; 4];
    let read = first.file.read_exact_at(&mut space, iso9660::DESCRIPTORS + 80);
    read.is_ok() && u64::from(u32::from_le_bytes(space)) * iso9660::BLOCK <= first.len
}

/// The names of the files beside `path`, itself included.
fn siblings(path: &Path) -> io::Result<BTreeSet<String>> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = directory.read_dir()?.map(|entry| Ok(entry?.file_name().into_string().ok()));
    entries.filter_map(Result::transpose).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Writes `content` to parts of `size` bytes, named as `split` names them.
    fn split_into(directory: &Path, content: &[u8], size: usize) -> PathBuf {
        let mut name = "data.isoaa".to_owned();
        for part in content.chunks(size) {
            std::fs::write(directory.join(&name), part).unwrap();
            name = split::successor(&name, 2);
        }
        directory.join("data.isoaa")
    }

    #[test]
    fn parts_of_any_size_read_as_one() {
        let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        for size in [1000, 4096, 65_537, 399_999, 400_000, 500_000] {
            let directory = tempfile::tempdir().unwrap();
            let pieces =
                Pieces::open(&split_into(directory.path(), &content, size), &Media::default()).unwrap();
            assert_eq!(pieces.len(), content.len() as u64);
            for (offset, len) in [(0, 400_000), (0, 1), (999, 2), (65_536, 70_000), (399_999, 1), (0, 0)] {
                let mut buf = vec![0; len];
                pieces.read_at(&mut buf, offset as u64).unwrap();
                assert_eq!(buf, content.get(offset..offset + len).unwrap(), "{len} at {offset} of {size}");
                let extent = Extent { offset: offset as u64, len: len as u64 };
                assert_eq!(pieces.pieces(extent).map(|piece| piece.len).sum::<u64>(), len as u64);
            }
        }
    }

    #[test]
    fn pieces_of_pieces_compose() {
        let content: Vec<u8> = (0..=255).collect();
        let directory = tempfile::tempdir().unwrap();
        let pieces = Pieces::open(&split_into(directory.path(), &content, 100), &Media::default()).unwrap();
        let nested = pieces.within([Extent { offset: 90, len: 120 }, Extent { offset: 10, len: 5 }]);
        let mut buf = vec![0; 125];
        nested.read_at(&mut buf, 0).unwrap();
        let expected: Vec<u8> = (90..210).chain(10..15).collect();
        assert_eq!(buf, expected);
    }

    #[test]
    fn a_missing_part_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let first = split_into(directory.path(), &[7; 500], 100);
        std::fs::remove_file(directory.path().join("data.isoac")).unwrap();
        let error = Pieces::open(&first, &Media::default()).unwrap_err().to_string();
        assert!(error.contains("`data.isoac` is missing"), "{error}");
        let error =
            Pieces::open(&directory.path().join("data.isoab"), &Media::default()).unwrap_err().to_string();
        assert!(error.contains("`data.isoaa`"), "{error}");
    }

    #[test]
    fn a_part_that_shrank_is_a_fault_with_a_place() {
        let directory = tempfile::tempdir().unwrap();
        let pieces = Pieces::open(&split_into(directory.path(), &[7; 500], 100), &Media::default()).unwrap();
        File::options().write(true).open(directory.path().join("data.isoab")).unwrap().set_len(10).unwrap();
        let fault = pieces.read_at(&mut [0; 200], 50).unwrap_err();
        assert!(fault.path.ends_with("data.isoab") && fault.offset == 10, "{fault}");
        assert_eq!(fault.source.kind(), io::ErrorKind::UnexpectedEof);
    }
}
