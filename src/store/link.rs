//! Reading `link` files: what a name in the tree points at.
//!
//! Knows when a link that was read before need not be read again. Does not
//! know what is linked, or why.

use std::cell::RefCell;
use std::sync::Arc;
use std::task::Poll;
use std::task::ready;
use std::time::SystemTime;

use quick_cache::unsync::Cache;
use storage_layout::Digest;
use storage_layout::RelativePath;
use storage_layout::parse_link;
use thread_local::ThreadLocal;

use crate::store::Error;
use crate::store::Extent;
use crate::store::Found;
use crate::store::Medium;
use crate::store::Source;
use crate::store::Version;
use crate::store::Wait;
use crate::store::extent::Fault;

/// The digests that links were found to hold, by the version of the file: what is remembered cannot be stale,
/// since a link that was changed has another version, whoever changed it.
#[derive(Clone, Debug)]
pub(super) struct Links {
    /// Each thread has its own, so that none waits for another.
    known: Arc<ThreadLocal<RefCell<Cache<Version, Digest>>>>,
}

impl Links {
    /// How many are remembered by each thread, at about 250 bytes each: the manifests and tags that a cluster
    /// asks for again and again are a few hundred.
    const REMEMBERED: usize = 1024;
    /// The longest link: a sha512 digest with room for white space.
    const LONGEST: u64 = 256;

    pub(super) fn new() -> Self {
        Self { known: Arc::default() }
    }

    /// The digest in the link at `path`; `None` where there is no link.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it holds no digest: it is empty, as a power cut leaves distribution's links, or
    /// something else lies there.
    pub(super) fn read(
        &self,
        source: &dyn Source,
        path: &RelativePath,
        wait: Wait,
    ) -> Poll<Result<Option<Digest>, Error>> {
        let Some(found) = ready!(source.open(path, wait))? else { return Poll::Ready(Ok(None)) };
        if let Some(digest) = self.known(&found.version) {
            return Poll::Ready(Ok(Some(digest)));
        }
        let corrupt = |why: String| Error::Corrupt { path: in_source(source, path), why };
        let content = match found.version.len() {
            0 => return Poll::Ready(Err(corrupt("it is empty".to_owned()))),
            1..=Self::LONGEST => ready!(read_small(&found, source.medium(), wait))
                .map_err(|fault| source.medium().lost(fault, path.as_str(), found.version.place()))?,
            len => return Poll::Ready(Err(corrupt(format!("it has {len} bytes, and a link is one digest")))),
        };
        let digest = parse_link(&content).map_err(|error| corrupt(format!("it holds no digest: {error}")))?;
        // Not on the threads that may wait: they are many, and each would have its own.
        if wait == Wait::Never && found.version.is_settled(SystemTime::now()) {
            let known = self.known.get_or(|| RefCell::new(Cache::new(Self::REMEMBERED)));
            known.borrow_mut().insert(found.version, digest);
        }
        Poll::Ready(Ok(Some(digest)))
    }

    fn known(&self, version: &Version) -> Option<Digest> {
        self.known.get()?.borrow().get(version).copied()
    }

    /// As [`Links::read`], for a link whose own name says what it holds: `digest`, or the same bytes by
    /// another algorithm.
    ///
    /// # Errors
    /// [`Error::Corrupt`] also where it holds another digest of the same algorithm: to follow it would be to serve the
    /// wrong bytes.
    pub(super) fn read_named(
        &self,
        source: &dyn Source,
        path: &RelativePath,
        digest: &Digest,
        wait: Wait,
    ) -> Poll<Result<Option<Digest>, Error>> {
        let Some(target) = ready!(self.read(source, path, wait))? else { return Poll::Ready(Ok(None)) };
        if target == *digest || target.algorithm() != digest.algorithm() {
            return Poll::Ready(Ok(Some(target)));
        }
        let why = format!("it holds the digest {target}");
        Poll::Ready(Err(Error::Corrupt { path: in_source(source, path), why }))
    }
}

/// Where something lies, for messages.
pub(super) fn in_source(source: &dyn Source, path: &RelativePath) -> String {
    source.origin().join(path.as_str()).display().to_string()
}

/// Reads a file whole; [`Poll::Pending`] where it is not all in memory and may not be waited for.
pub(super) fn read_small(found: &Found, medium: &Medium, wait: Wait) -> Poll<Result<Vec<u8>, Fault>> {
    let mut content = Vec::with_capacity(usize::try_from(found.extents.len()).unwrap_or(0));
    for extent in found.extents.iter() {
        match wait {
            Wait::Allowed => extent.read_through(medium, |piece| content.extend_from_slice(piece))?,
            Wait::Never => ready!(append_resident(extent, &mut content)),
        }
    }
    Poll::Ready(Ok(content))
}

fn append_resident(extent: &Extent, content: &mut Vec<u8>) -> Poll<()> {
    let before = content.len();
    let Ok(len) = usize::try_from(extent.len) else { return Poll::Pending };
    content.resize(before + len, 0);
    let (_, buffer) = content.split_at_mut(before);
    match extent.try_read(0, buffer) {
        Ok(read) if read == len => Poll::Ready(()),
        _ => Poll::Pending,
    }
}
