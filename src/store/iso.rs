//! A tree inside of an ISO image, read straight from the image.
//!
//! Knows where in an image the tree lies, and keeps directories that were read
//! in bounded memory. Opening reads a handful of sectors, whatever the image
//! holds: a registry's tree has a directory for each blob and each link, and
//! they are read when they are asked for. Does not know how an image is built
//! (`iso9660`) or what files it is made of (`image`).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::task::ready;

use quick_cache::OptionsBuilder;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use storage_layout::RelativePath;

use crate::iso9660;
use crate::iso9660::Directory;
use crate::iso9660::Image;
use crate::iso9660::JOLIET_NAME;
use crate::iso9660::Listing;
use crate::iso9660::Names;
use crate::iso9660::Node;
use crate::store::Error;
use crate::store::Extents;
use crate::store::Found;
use crate::store::Item;
use crate::store::ItemKind;
use crate::store::Media;
use crate::store::Medium;
use crate::store::Source;
use crate::store::Version;
use crate::store::Wait;
use crate::store::image::Fault;
use crate::store::image::Pieces;
use crate::store::iso::locate::Located;
use crate::store::iso::locate::cannot;

mod locate;

/// How many bytes of directories are kept per image: nearly all of a tree with 20,000 blobs and their links.
const CACHED: u64 = 16 * 1024 * 1024;

/// An image that holds a tree.
#[derive(Debug)]
pub struct Iso {
    /// The path that it was opened by, for messages.
    origin: Arc<Path>,
    /// Tells the versions of its files from those of every other image that this process opened.
    instance: u64,
    located: Located,
    directories: Cache<u64, Arc<Listing>, Size>,
}

#[derive(Clone, Debug)]
struct Size;

impl Weighter<u64, Arc<Listing>> for Size {
    fn weight(&self, _: &u64, listing: &Arc<Listing>) -> u64 {
        listing.size() as u64
    }
}

impl Iso {
    /// Opens the image at `path`: a file, a block device, or the first part of a split image. Where the image
    /// holds the parts of another one instead of a tree, as the extended live image does, that one is opened
    /// within it. May wait.
    ///
    /// # Errors
    /// A file cannot be opened or read; it is not an image, or one without long names; no tree is in it.
    pub fn open(path: &Path, media: &Media) -> Result<Self, Error> {
        /// No device has numbers as high as these, so that no file of a directory has the version of one of
        /// an image.
        static INSTANCES: AtomicU64 = AtomicU64::new(1 << 63);
        let located = locate::locate(path, Pieces::open(path, media)?)?;
        let options = OptionsBuilder::new()
            .shards(1)
            .estimated_items_capacity(4096)
            .weight_capacity(CACHED)
            .build()
            // Both capacities, which are all that it asks for, are given.
            .map_err(|error| Error::Image { path: path.display().to_string(), why: error.to_string() })?;
        Ok(Self {
            origin: path.into(),
            instance: INSTANCES.fetch_add(1, Ordering::Relaxed),
            located,
            directories: Cache::with_options(options, Size, Default::default(), Default::default()),
        })
    }

    /// The image's label.
    pub fn label(&self) -> &str {
        self.located.image.label()
    }

    /// How many bytes of the image are not there, so that some of its files cannot be read: it was cut short.
    pub fn missing(&self) -> u64 {
        self.located.image.missing()
    }

    /// What lies at `path`, and in which directory. [`Poll::Pending`] only with [`Wait::Never`].
    fn find(&self, path: &str, wait: Wait) -> Poll<Result<Option<(Directory, Node)>, Error>> {
        let mut holder = self.located.top;
        let mut node = Node::Directory(holder);
        let mut parent = "";
        for name in path.split('/') {
            let directory = match node {
                Node::Directory(directory) => directory,
                Node::Special => return Poll::Ready(Err(corrupt(path, "a symbolic link is in the way"))),
                Node::File(_) | Node::Encoded => return Poll::Ready(Ok(None)),
            };
            if self.may_be_cut(parent, name.as_bytes()) {
                return Poll::Ready(Err(self.cut_names(path)));
            }
            let listing = ready!(self.listing(directory, path, wait))?;
            let Some(found) = listing.find(name.as_bytes()) else { return Poll::Ready(Ok(None)) };
            (holder, node, parent) = (directory, found.clone(), name);
        }
        Poll::Ready(Ok(Some((holder, node))))
    }

    /// A directory's listing, read or remembered. Two callers that ask for the same one at once read it once.
    fn listing(&self, directory: Directory, path: &str, wait: Wait) -> Poll<Result<Arc<Listing>, Error>> {
        let key = directory.extent().offset;
        match wait {
            Wait::Never => {
                self.directories.get(&key).map_or(Poll::Pending, |listing| Poll::Ready(Ok(listing)))
            }
            Wait::Allowed => Poll::Ready(self.directories.get_or_insert_with(&key, || {
                let listing = self.located.image.list(&self.located.pieces, directory);
                listing.map(Arc::new).map_err(|error| cannot(&self.origin, path, error))
            })),
        }
    }

    /// Where the bytes of what was found at `path` lie.
    fn open_node(&self, path: &str, holder: Directory, node: &Node) -> Result<Found, Error> {
        let file = match node {
            Node::File(file) => file,
            Node::Directory(_) => return Err(corrupt(path, "it is a directory")),
            Node::Special => return Err(corrupt(path, "it is neither a file nor a directory")),
            Node::Encoded => return Err(corrupt(path, "the image holds it compressed or sparse")),
        };
        let extents = self.located.image.extents(file).map_err(|error| cannot(&self.origin, path, error))?;
        let pieces = extents.iter().flat_map(|extent| self.located.pieces.pieces(*extent));
        Ok(Found { extents: Extents::new(pieces.map(Into::into)), version: self.version_of(holder, node) })
    }

    /// Two files of an image never share a byte unless they are the same; those without any, which may all be
    /// said to lie at the same place, are told apart by their directories.
    fn version_of(&self, holder: Directory, node: &Node) -> Version {
        let (position, len) = match node {
            Node::Directory(directory) => (directory.extent().offset, 0),
            Node::File(file) if !file.is_empty() => {
                (file.extents().first().map_or(0, |it| it.offset), file.len())
            }
            Node::File(_) | Node::Encoded | Node::Special => (holder.extent().offset, 0),
        };
        Version::fixed(self.instance, position, len)
    }

    /// Whether a name is what the maker of a Joliet tree may have left of a longer one. The hex of SHA-256
    /// has 64 characters, and is whole where nothing longer belongs: below `sha256`, and below its own first
    /// two digits.
    fn may_be_cut(&self, directory: &str, name: &[u8]) -> bool {
        let is_hex =
            directory == "sha256" || (directory.len() == 2 && name.starts_with(directory.as_bytes()));
        self.located.image.names() == Names::Joliet && name.len() >= JOLIET_NAME && !is_hex
    }

    fn cut_names(&self, path: &str) -> Error {
        Error::Image {
            path: self.origin.display().to_string(),
            why: format!(
                "it has only Joliet names, which are cut to {JOLIET_NAME} characters, so that {path} cannot be told \
                 from other files; make it again with `-R`"
            ),
        }
    }
}

impl Source for Iso {
    fn origin(&self) -> &Path {
        &self.origin
    }

    fn medium(&self) -> &Arc<Medium> {
        self.located.pieces.medium()
    }

    fn open(&self, path: &RelativePath, wait: Wait) -> Poll<Result<Option<Found>, Error>> {
        let path = path.as_str();
        let found = ready!(self.find(path, wait))?;
        Poll::Ready(found.map(|(holder, node)| self.open_node(path, holder, &node)).transpose())
    }

    fn version(&self, path: &RelativePath, wait: Wait) -> Poll<Result<Option<Version>, Error>> {
        self.find(path.as_str(), wait)
            .map_ok(|found| found.map(|(holder, node)| self.version_of(holder, &node)))
    }

    fn list(&self, path: &RelativePath) -> Result<Option<Vec<Item>>, Error> {
        let Poll::Ready(found) = self.find(path.as_str(), Wait::Allowed) else { return Ok(None) };
        let Some((_, Node::Directory(directory))) = found? else { return Ok(None) };
        let Poll::Ready(listing) = self.listing(directory, path.as_str(), Wait::Allowed) else {
            return Ok(None);
        };
        let listing = listing?;
        if listing.iter().any(|(name, _)| self.may_be_cut(path.file_name(), name)) {
            return Err(self.cut_names(path.as_str()));
        }
        let items = listing.iter().filter_map(|(name, node)| {
            let kind = match node {
                Node::Directory(_) => ItemKind::Directory,
                Node::File(_) | Node::Encoded => ItemKind::File,
                Node::Special => ItemKind::Other,
            };
            Some(Item { name: str::from_utf8(name).ok()?.into(), kind })
        });
        Ok(Some(items.collect()))
    }

    fn check(&self) -> Result<(), Error> {
        let read = Image::open(&self.located.pieces);
        let failed = |error: iso9660::Error<Fault>| cannot(&self.origin, "its descriptors", error);
        match read.map_err(failed)?.label() == self.label() {
            true => Ok(()),
            false => Err(Error::Image {
                path: self.origin.display().to_string(),
                why: format!("another image is there than `{}`, which was opened", self.label()),
            }),
        }
    }
}

fn corrupt(path: &str, why: &str) -> Error {
    Error::Corrupt { path: path.to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests;
