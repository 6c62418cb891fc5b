//! `Partial`: what an upload holds so far, to be read while it grows.
//!
//! Knows the file, also when it has become a blob by its name. Does not know how far it is: whoever appends
//! does.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;

use crate::store::Error;
use crate::store::medium::blocking;

/// The file of an upload, open. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Partial {
    pub(super) file: Arc<File>,
}

impl Partial {
    /// The `len` bytes at `offset`. Nothing says that they are what they should be.
    ///
    /// # Errors
    /// They cannot be read, or are not there.
    pub async fn read(&self, offset: u64, len: usize) -> Result<Bytes, Error> {
        let file = Arc::clone(&self.file);
        blocking(move || {
            let mut bytes = vec![0; len];
            match file.read_exact_at(&mut bytes, offset) {
                Ok(()) => Ok(bytes.into()),
                Err(source) => Err(Error::Io { doing: "read", path: "an upload".to_owned(), source }),
            }
        })
        .await
    }
}
