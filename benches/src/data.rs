//! The data: blobs and images, and the trees that servers read them from.
//!
//! Knows how to make content that no server can guess or compress, and
//! distribution's tree, which all but zot read: the same files for everyone.
//! Does not know the servers.

use std::fs;
use std::fs::File;
use std::io::BufWriter;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use sha2::Digest as _;
use sha2::Sha256;
use storage_layout::Algorithm;
use storage_layout::Digest;

pub(crate) mod image;
pub(crate) mod tree;

/// How much is made and hashed at once.
const PIECE: usize = 1 << 20;

/// A blob that lies in a file.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) path: PathBuf,
}

/// Makes a blob of `size` bytes in a directory. The same seed gives the same bytes.
pub(crate) fn blob(directory: &Path, seed: u64, size: u64) -> Result<Blob> {
    let path = directory.join(format!("blob-{seed}-{size}"));
    let mut file = BufWriter::with_capacity(PIECE, File::create(&path).context("creating a blob")?);
    let mut hash = Sha256::new();
    let mut noise = Noise(seed);
    let mut left = size;
    while left > 0 {
        let piece = noise.bytes(usize::try_from(left.min(PIECE as u64))?);
        hash.update(&piece);
        file.write_all(&piece)?;
        left -= piece.len() as u64;
    }
    file.into_inner().context("writing a blob")?.sync_all()?;
    Ok(Blob { digest: digest_of(hash)?, size, path })
}

/// The hash of a file so far, to be gone on with.
pub(crate) fn hash_of(path: &Path) -> Result<Sha256> {
    let mut hash = Sha256::new();
    let mut file = File::open(path)?;
    let mut piece = vec![0; PIECE];
    loop {
        let got = std::io::Read::read(&mut file, &mut piece)?;
        match piece.get(..got) {
            Some([]) | None => return Ok(hash),
            Some(bytes) => hash.update(bytes),
        }
    }
}

/// What a hash comes to.
pub(crate) fn digest_of(hash: Sha256) -> Result<Digest> {
    Digest::from_bytes(Algorithm::Sha256, &hash.finalize()).context("SHA-256 has 32 bytes")
}

/// The digest of bytes.
pub(crate) fn digest(bytes: &[u8]) -> Result<Digest> {
    digest_of(Sha256::new_with_prefix(bytes))
}

/// Bytes without a pattern, the same for the same seed (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    /// The next word.
    pub(crate) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        for chunk in bytes.chunks_mut(8) {
            let word = self.word().to_le_bytes();
            chunk.copy_from_slice(word.get(..chunk.len()).unwrap_or_default());
        }
        bytes
    }
}

/// Writes a file and the directories above it.
fn write(path: &Path, content: &[u8]) -> Result<()> {
    let doing = || format!("writing {}", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(doing)?;
    }
    fs::write(path, content).with_context(doing)
}
