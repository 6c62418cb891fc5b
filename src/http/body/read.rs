//! Reading windows that are in memory. Does not ask whether they are: that is for the caller, who knows how long
//! ago it looked.

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::io::pread;

use crate::http::body::Error;
use crate::store::Window;

/// The bytes of a window, all of them.
///
/// # Errors
/// The file cannot be read, or is shorter than it was.
pub(crate) fn whole(window: &Window) -> Result<Bytes, Error> {
    // Callers cut windows to WINDOW_LIMIT or less before they read them.
    let len = window.len as usize;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let offset = window.offset + bytes.len() as u64;
        match pread(&window.file, spare_capacity(&mut bytes), offset) {
            Ok(0) => return Err(Error::Truncated { digest: window.digest }),
            Ok(_) | Err(Errno::INTR) => {}
            Err(source) => return Err(Error::Read { digest: window.digest, source: source.into() }),
        }
    }
    bytes.truncate(len);
    Ok(bytes.into())
}

/// Fills `buffer` with the first bytes of a window, as many as fit; says how many those are.
///
/// # Errors
/// The file cannot be read, or is shorter than it was.
pub(crate) fn into(window: &Window, buffer: &mut [u8]) -> Result<usize, Error> {
    let len = usize::try_from(window.len).unwrap_or(usize::MAX).min(buffer.len());
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..len).filter(|rest| !rest.is_empty()) {
        match pread(&window.file, rest, window.offset + filled as u64) {
            Ok(0) => return Err(Error::Truncated { digest: window.digest }),
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(source) => return Err(Error::Read { digest: window.digest, source: source.into() }),
        }
    }
    Ok(len)
}
