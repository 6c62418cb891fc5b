//! `Asked`: a manifest or a blob that a path names, and the head of the answer; `Memory`: those that were asked for of
//! late.
//!
//! All nodes of a cluster pull the same images, so the same few hundred paths come again and again. What they
//! mean follows from the path alone, and the head of an answer from what has the digest, so nothing here is
//! ever stale. Does not know whether there is such a thing, or who may have it.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use http::HeaderMap;
use quick_cache::unsync::Cache;
use storage_layout::Digest;
use storage_layout::RepositoryName;
use thread_local::ThreadLocal;

use crate::http::blobs::Part;
use crate::http::error::Error;
use crate::oci::Reference;
use crate::oci::ReferenceError;
use crate::registry::LinkedReference;
use crate::store::LinkedBlob;

/// Something with content that a path names.
#[derive(Debug)]
pub(super) struct Asked {
    /// Of this repository.
    pub(super) name: RepositoryName,
    /// This.
    pub(super) what: What,
    head: Mutex<Option<Head>>,
}

/// The headers of an answer with content that has this digest and length.
#[derive(Debug)]
struct Head {
    of: Digest,
    len: u64,
    headers: HeaderMap,
}

/// What has content.
#[derive(Debug)]
pub(super) enum What {
    /// A manifest, by tag or digest.
    Manifest(LinkedReference),
    /// A blob.
    Blob(LinkedBlob),
}

impl Asked {
    /// The manifest of a reference as it stands in a path.
    pub(super) fn manifest(name: RepositoryName, reference: &str) -> Result<Self, Error> {
        let reference = LinkedReference::new(&name, existing(reference)?);
        Ok(Self::new(name, What::Manifest(reference)))
    }

    /// The blob of a digest as it stands in a path.
    pub(super) fn blob(name: RepositoryName, digest: &str) -> Result<Self, Error> {
        let blob = LinkedBlob::layer(&name, &Digest::parse(digest)?);
        Ok(Self::new(name, What::Blob(blob)))
    }

    /// The name of the endpoint that it is asked of, for logs and metrics.
    pub(super) fn operation(&self, part: Part) -> &'static str {
        match (&self.what, part) {
            (What::Manifest(_), Part::AsAsked) => "GetManifest",
            (What::Manifest(_), Part::Head) => "HeadManifest",
            (What::Blob(_), Part::AsAsked) => "GetBlob",
            (What::Blob(_), Part::Head) => "HeadBlob",
        }
    }

    fn new(name: RepositoryName, what: What) -> Self {
        Self { name, what, head: Mutex::default() }
    }

    /// The headers of an answer with the whole content, which has the digest `of` and this length: made anew where
    /// a tag points elsewhere than it did. So does a file that was cut short; it is not to be announced as what it
    /// was.
    pub(super) fn head(&self, of: &Digest, len: u64, make: impl FnOnce() -> HeaderMap) -> HeaderMap {
        let mut known = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some(head) if head.of == *of && head.len == len => head.headers.clone(),
            _ => {
                let headers = make();
                *known = Some(Head { of: *of, len, headers: headers.clone() });
                headers
            }
        }
    }
}

/// The reference to something that is to be there: what cannot be a tag is none.
pub(super) fn existing(reference: &str) -> Result<Reference, Error> {
    Reference::parse(reference).map_err(|error| match error {
        ReferenceError::Tag(error) => Error::TagOfNothing(error),
        ReferenceError::Digest(error) => Error::Digest(error),
    })
}

/// What was asked for of late, by the paths. Each thread has its own: two that count references to the same thing
/// wait for each other at every request.
#[derive(Debug)]
pub(super) struct Memory(ThreadLocal<RefCell<Cache<Box<str>, Arc<Asked>>>>);

impl Memory {
    /// How many paths, at about 3 KiB each: the manifests and configs of a release of 200 images.
    const CAPACITY: usize = 512;
    /// The longest path that is kept: a name of the usual length and a sha512 digest.
    const LONGEST: usize = 512;

    pub(super) fn new() -> Self {
        Self(ThreadLocal::new())
    }

    /// What a path means, if that is remembered.
    pub(super) fn find(&self, path: &str) -> Option<Arc<Asked>> {
        self.0.get()?.borrow().get(path).cloned()
    }

    /// Remembers what a path means.
    pub(super) fn keep(&self, path: &str, asked: Arc<Asked>) {
        if path.len() <= Self::LONGEST {
            let own = self.0.get_or(|| RefCell::new(Cache::new(Self::CAPACITY)));
            own.borrow_mut().insert(path.into(), asked);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderValue;
    use http::header::ETAG;

    use super::*;

    fn head(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ETAG, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_head_is_made_once_for_what_it_is_the_head_of() {
        let name = || RepositoryName::parse("a/b").unwrap();
        let [one, other] =
            ["0f", "f0"].map(|it| Digest::parse(&format!("sha256:{}", it.repeat(32))).unwrap());
        for asked in [
            Asked::blob(name(), &one.to_string()).unwrap(),
            Asked::manifest(name(), &one.to_string()).unwrap(),
            Asked::manifest(name(), "v1").unwrap(),
        ] {
            assert_eq!(asked.head(&one, 3, || head("first")), head("first"));
            assert_eq!(asked.head(&one, 3, || head("second")), head("first"));
            assert_eq!(asked.head(&one, 2, || head("shorter")), head("shorter"));
            assert_eq!(asked.head(&other, 3, || head("of another")), head("of another"));
            assert_eq!(asked.head(&other, 3, || head("second")), head("of another"));
        }
    }

    #[test]
    fn paths_of_any_length_are_asked_for_and_few_are_kept() {
        let memory = Memory::new();
        let asked = Arc::new(Asked::manifest(RepositoryName::parse("a").unwrap(), "v1").unwrap());
        for (len, is_kept) in [(10, true), (Memory::LONGEST, true), (Memory::LONGEST + 1, false)] {
            let path = "x".repeat(len);
            memory.keep(&path, Arc::clone(&asked));
            assert_eq!(memory.find(&path).is_some(), is_kept, "{len}");
        }
        for number in 0..10 * Memory::CAPACITY {
            memory.keep(&number.to_string(), Arc::clone(&asked));
        }
        assert!(memory.0.get().unwrap().borrow().len() <= Memory::CAPACITY);
    }
}
