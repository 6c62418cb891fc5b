//! Where in an image a registry's tree lies.
//!
//! Knows the places that images have had it in, and that the tree's own image
//! may lie in parts inside of another.

use std::collections::BTreeSet;
use std::path::Path;

use storage_layout::Dir;

use crate::iso9660;
use crate::iso9660::Directory;
use crate::iso9660::Extent;
use crate::iso9660::Image;
use crate::iso9660::Node;
use crate::store::Error;
use crate::store::image::Fault;
use crate::store::image::Pieces;
use crate::store::image::split;

/// Directories of an image below which `docker/registry/v2` is looked for: the top, where the appliance
/// builder puts it; and where the same builder put it before.
const PREFIXES: [&str; 2] = ["", "oc-mirror/install"];

/// The directory in which the extended live image keeps the parts of the data image.
const NESTED: &str = "registry";

/// An image, and the directory in it that holds `docker`.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) pieces: Pieces,
    pub(super) image: Image,
    pub(super) top: Directory,
}

/// Finds the tree in the image that `pieces` are, or in the image whose parts lie in that one.
pub(super) fn locate(path: &Path, pieces: Pieces) -> Result<Located, Error> {
    let failed = |error| cannot(path, "", error);
    let outer = Image::open(&pieces).map_err(failed)?;
    if let Some(top) = top_of(&outer, &pieces).map_err(failed)? {
        return Ok(Located { pieces, image: outer, top });
    }
    if let Some(pieces) = nested(path, &outer, &pieces)? {
        let image = Image::open(&pieces).map_err(failed)?;
        if let Some(top) = top_of(&image, &pieces).map_err(failed)? {
            return Ok(Located { pieces, image, top });
        }
    }
    Err(Error::Image {
        path: path.display().to_string(),
        why: format!(
            "no registry's tree (`{}`) is in it, nor a data image in parts (`{NESTED}/*aa`); its label is `{}`",
            Dir::Root.path(),
            outer.label()
        ),
    })
}

fn top_of(image: &Image, pieces: &Pieces) -> Result<Option<Directory>, iso9660::Error<Fault>> {
    for prefix in PREFIXES {
        let root = format!("{prefix}/{}", Dir::Root.path());
        if let Some(Node::Directory(_)) = image.find(pieces, &root)? {
            let Some(Node::Directory(top)) = image.find(pieces, prefix)? else { continue };
            return Ok(Some(top));
        }
    }
    Ok(None)
}

/// The image whose parts lie in a directory of this one: the extents of one are pieces of the other, so that
/// nothing has to be copied or mounted.
fn nested(path: &Path, outer: &Image, pieces: &Pieces) -> Result<Option<Pieces>, Error> {
    let failed = |error| cannot(path, NESTED, error);
    let Some(Node::Directory(directory)) = outer.find(pieces, NESTED).map_err(failed)? else {
        return Ok(None);
    };
    let listing = outer.list(pieces, directory).map_err(failed)?;
    let names: BTreeSet<_> =
        listing.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
    let Some(first) = names.iter().find(|name| name.ends_with("aa")) else { return Ok(None) };
    let parts = split::parts(first, &names)
        .map_err(|gap| Error::Image { path: path.display().to_string(), why: gap.to_string() })?;
    let mut extents: Vec<Extent> = Vec::new();
    for part in parts {
        let Some(Node::File(file)) = listing.find(part.as_bytes()) else { return Ok(None) };
        extents.extend(outer.extents(file).map_err(failed)?);
    }
    Ok(Some(pieces.within(extents)))
}

/// An error of the image at `path`, met on the way to `wanted`.
pub(super) fn cannot(path: &Path, wanted: &str, error: iso9660::Error<Fault>) -> Error {
    match error {
        iso9660::Error::Read { source: Fault { path: file, offset, source }, .. } => Error::Lookup {
            medium: path.display().to_string(),
            path: file.display().to_string(),
            offset,
            wanted: if wanted.is_empty() { "a tree".to_owned() } else { wanted.to_owned() },
            source,
        },
        error if wanted.is_empty() => {
            Error::Image { path: path.display().to_string(), why: error.to_string() }
        }
        error => Error::Image { path: path.display().to_string(), why: format!("{error} (at {wanted})") },
    }
}
