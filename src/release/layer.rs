//! Finding a payload's list in a layer.
//!
//! Knows tar, and gzip and zstd by their first bytes, since layers in the field are not always what their
//! media type says. Does not know where the bytes come from; reads no more of them than it must, and keeps
//! none but the list.

use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::BlockDecodingStrategy;
use ruzstd::decoding::FrameDecoder;
use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::errors::ReadFrameHeaderError;
use tar::Archive;

use crate::release::Payload;
use crate::release::PayloadError;

/// How much of a layer is looked at, in bytes after decompression. A release image's own layer, the last, has
/// some 50 MB; the base layers below it hold an operating system of half a gigabyte.
const MAX_LAYER: u64 = 2 * 1024 * 1024 * 1024;

/// The payload's list, if `layer` holds it. A release image's layers are to be asked last to first.
///
/// # Errors
/// The layer cannot be read or is not an archive, or the list in it is not one.
pub fn find_payload(mut layer: impl Read) -> Result<Option<Payload>, LayerError> {
    let mut magic = Vec::new();
    layer.by_ref().take(4).read_to_end(&mut magic).map_err(LayerError::Read)?;
    let layer = magic.as_slice().chain(layer);
    match magic.as_slice() {
        [0x1f, 0x8b, ..] => search(MultiGzDecoder::new(layer)),
        // A frame, or one of those to be skipped (RFC 8878, sections 3.1.1 and 3.1.2).
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => search(Zstd::new(layer)),
        _ => search(layer),
    }
}

fn search(layer: impl Read) -> Result<Option<Payload>, LayerError> {
    let mut archive = Archive::new(layer.take(MAX_LAYER));
    // Raw: long names and extended headers stay entries of their own, rather than being read into memory at
    // whatever length they claim. The name sought is short.
    for entry in archive.entries().map_err(LayerError::Read)?.raw(true) {
        let mut entry = entry.map_err(LayerError::Read)?;
        let is_list = {
            let path = entry.path_bytes();
            let path = path.strip_prefix(b"./").or_else(|| path.strip_prefix(b"/")).unwrap_or(&path);
            path == Payload::PATH.as_bytes() && entry.header().entry_type().is_file()
        };
        if is_list {
            let mut list = Vec::new();
            entry.by_ref().take(Payload::MAX_LEN).read_to_end(&mut list).map_err(LayerError::Read)?;
            return Payload::parse(&list).map(Some).map_err(LayerError::Payload);
        }
    }
    Ok(None)
}

/// Why a layer gives no payload.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// It cannot be read, decompressed or taken apart.
    #[error("cannot read the layer")]
    Read(#[source] io::Error),
    /// It holds the list, which is not one.
    #[error(transparent)]
    Payload(#[from] PayloadError),
}

/// The largest window that a zstd frame may ask for, in bytes: what level 19 uses, four times over. The
/// decoder holds that much in memory, on a machine whose memory belongs to others.
const MAX_WINDOW: u64 = 32 * 1024 * 1024;

/// A zstd stream of any number of frames: `zstd:chunked` layers have one for each file, and some to be
/// skipped.
struct Zstd<R> {
    source: BufReader<R>,
    decoder: FrameDecoder,
    inside: bool,
}

impl<R: Read> Zstd<R> {
    fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        Self { source: BufReader::new(source), decoder, inside: false }
    }

    /// Goes to the next frame that holds data; `false` at the end of the stream.
    fn enter(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => {
                    self.inside = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    io::copy(&mut self.source.by_ref().take(u64::from(length)), &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.inside || self.enter()? {
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(io::Error::other)?;
            }
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(buffer);
            }
            self.inside = false;
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::CompressionLevel;
    use ruzstd::encoding::compress_to_vec;

    use super::*;

    const LIST: &str = r#"{"kind":"ImageStream","metadata":{"name":"4.22.1"},"spec":{"tags":[]}}"#;

    fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// Frames of 700 bytes with one to be skipped before each, as in `zstd:chunked`.
    fn zstd(content: &[u8]) -> Vec<u8> {
        let frames = content.chunks(700).map(|it| compress_to_vec(it, CompressionLevel::Fastest));
        let skipped = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        frames.flat_map(|frame| [skipped.clone(), frame].concat()).collect()
    }

    #[test]
    fn the_list_is_found_however_it_is_packed() {
        let plain = archive(&[("etc/os-release", "NAME=x"), (Payload::PATH, LIST), ("z", "")]);
        let dotted = archive(&[("./release-manifests/image-references", LIST)]);
        for layer in [gzip(&plain), zstd(&plain), gzip(&dotted), plain] {
            assert_eq!(find_payload(&*layer).unwrap().unwrap().version(), "4.22.1");
        }
    }

    #[test]
    fn a_layer_without_it_is_none() {
        let other = archive(&[("release-manifests/image-references.bak", LIST), ("a", "b")]);
        for layer in [gzip(&other), zstd(&other), other, Vec::new()] {
            assert!(find_payload(&*layer).unwrap().is_none());
        }
    }

    #[test]
    fn a_layer_that_cannot_be_read_is_an_error() {
        let packed = gzip(&archive(&[("a", "b"), (Payload::PATH, LIST)]));
        for layer in [&packed[..packed.len() / 2], &[0x28, 0xb5, 0x2f, 0xfd, 1], &[0x1f, 0x8b], &[7; 600]] {
            assert!(matches!(find_payload(layer), Err(LayerError::Read(_))), "{} bytes", layer.len());
        }
        let spoilt = archive(&[(Payload::PATH, "{}")]);
        assert!(matches!(find_payload(&*spoilt), Err(LayerError::Payload(_))));
    }

    #[test]
    fn a_long_name_that_claims_to_be_huge_is_not_read_into_memory() {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_size(1 << 40);
        header.set_cksum();
        let endless = header.as_bytes().chain(io::repeat(0)).take(1 << 22);
        assert!(matches!(find_payload(endless), Err(LayerError::Read(_)) | Ok(None)));
    }
}
