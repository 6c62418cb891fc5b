//! Digests that are computed while bytes come in, and their states at rest.
//!
//! Knows distribution's `hashstates` files, which hold what Go's `crypto/sha256`
//! and `crypto/sha512` give as `encoding.BinaryMarshaler`: a magic word, eight
//! words of state and the unfinished block (zero to its end), all big-endian,
//! then the count of bytes. Does not know where such files lie.

use sha2::Digest as _;
use sha2::Sha256;
use sha2::Sha512;
use sha2::digest::common::hazmat::SerializableState;
use sha2::digest::common::hazmat::SerializedState;
use storage_layout::Algorithm;
use storage_layout::Digest;

/// A digest in the making.
#[derive(Clone, Debug)]
pub(super) enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

/// The digest of bytes that are in memory.
pub(super) fn digest_of(algorithm: Algorithm, content: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(content);
    hasher.finish()
}

impl Hasher {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => digest(Algorithm::Sha256, hasher.finalize().as_ref()),
            Self::Sha512(hasher) => digest(Algorithm::Sha512, hasher.finalize().as_ref()),
        }
    }

    /// The state after `len` bytes, as Go writes it.
    pub(super) fn save(&self, len: u64) -> Vec<u8> {
        match self {
            Self::Sha256(hasher) => GO_SHA256.write(&hasher.serialize(), len),
            Self::Sha512(hasher) => GO_SHA512.write(&hasher.serialize(), len),
        }
    }

    /// The state that Go wrote after `len` bytes; `None` where `saved` is not that.
    pub(super) fn load(algorithm: Algorithm, saved: &[u8], len: u64) -> Option<Self> {
        match algorithm {
            Algorithm::Sha256 => load(&GO_SHA256, saved, len).map(Self::Sha256),
            Algorithm::Sha512 => load(&GO_SHA512, saved, len).map(Self::Sha512),
        }
    }
}

fn load<H: SerializableState>(form: &GoForm, saved: &[u8], len: u64) -> Option<H> {
    let state = form.read(saved, len)?;
    H::deserialize(&SerializedState::<H>::try_from(&*state).ok()?).ok()
}

#[expect(clippy::expect_used, reason = "an algorithm's output has its length")]
fn digest(algorithm: Algorithm, value: &[u8]) -> Digest {
    Digest::from_bytes(algorithm, value).expect("an algorithm's output has its length")
}

/// How Go and the `sha2` crate lay out the same state, in bytes. The crate's own form is eight little-endian
/// words, the count of blocks, how much of the next block there is, and that.
struct GoForm {
    magic: &'static [u8; 4],
    word: usize,
    block: usize,
    count: usize,
}

/// Go's `crypto/sha256`: `magic256`.
const GO_SHA256: GoForm = GoForm { magic: b"sha\x03", word: 4, block: 64, count: 8 };
/// Go's `crypto/sha512`: `magic512`.
const GO_SHA512: GoForm = GoForm { magic: b"sha\x07", word: 8, block: 128, count: 16 };

impl GoForm {
    /// Words of state.
    const WORDS: usize = 8;

    /// From the crate's form to Go's.
    fn write(&self, state: &[u8], len: u64) -> Vec<u8> {
        let (words, rest) = state.split_at(Self::WORDS * self.word);
        let (_blocks, rest) = rest.split_at(self.count);
        let (pending, partial) = rest.split_at(1);
        let pending = pending.first().map_or(0, |pending| usize::from(*pending));
        let mut saved = self.magic.to_vec();
        saved.extend(words.chunks(self.word).flat_map(|word| word.iter().rev()));
        saved.extend(partial.iter().take(pending));
        saved.resize(self.magic.len() + words.len() + self.block, 0);
        saved.extend(len.to_be_bytes());
        saved
    }

    /// From Go's form to the crate's.
    fn read(&self, saved: &[u8], len: u64) -> Option<Vec<u8>> {
        let rest = saved.strip_prefix(self.magic)?;
        let (words, rest) = rest.split_at_checked(Self::WORDS * self.word)?;
        let (partial, count) = rest.split_at_checked(self.block)?;
        if count != len.to_be_bytes() {
            return None;
        }
        let pending = usize::try_from(len % self.block as u64).ok()?;
        let blocks = len / self.block as u64;
        let mut state: Vec<u8> =
            words.chunks(self.word).flat_map(|word| word.iter().rev()).copied().collect();
        state.extend(blocks.to_le_bytes());
        state.resize(words.len() + self.count, 0);
        state.push(u8::try_from(pending).ok()?);
        state.extend(partial.iter().take(pending));
        state.resize(words.len() + self.count + self.block, 0);
        Some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at % 251) as u8).collect()
    }

    /// States that Go 1.26 wrote after 200 bytes, each `byte(i % 251)`.
    const GO: [(Algorithm, &str); 2] = [
        (Algorithm::Sha256, include_str!("hash/go-sha256-200.hex")),
        (Algorithm::Sha512, include_str!("hash/go-sha512-200.hex")),
    ];

    #[test]
    fn states_are_those_of_go() {
        for (algorithm, saved) in GO {
            let saved = hex(saved);
            let mut hasher = Hasher::new(algorithm);
            hasher.update(&content(200));
            assert_eq!(hasher.save(200), saved, "{algorithm}");
            let mut loaded = Hasher::load(algorithm, &saved, 200).unwrap();
            loaded.update(b"and more");
            hasher.update(b"and more");
            assert_eq!(loaded.finish(), hasher.finish(), "{algorithm}");
        }
    }

    #[test]
    fn states_of_any_length_come_back() {
        for algorithm in Algorithm::ALL {
            for len in [0, 1, 55, 63, 64, 65, 111, 127, 128, 129, 1000, 4096] {
                let mut hasher = Hasher::new(algorithm);
                hasher.update(&content(len));
                let saved = hasher.save(len as u64);
                let loaded = Hasher::load(algorithm, &saved, len as u64).unwrap();
                assert_eq!(loaded.finish(), digest_of(algorithm, &content(len)), "{algorithm} after {len}");
            }
        }
    }

    #[test]
    fn what_is_no_state_is_refused() {
        let (_, saved) = GO[0];
        let good = hex(saved);
        assert!(Hasher::load(Algorithm::Sha256, &good, 199).is_none(), "another length");
        assert!(Hasher::load(Algorithm::Sha512, &good, 200).is_none(), "another algorithm");
        assert!(Hasher::load(Algorithm::Sha256, &good[..107], 200).is_none(), "too short");
        assert!(Hasher::load(Algorithm::Sha256, &[&*good, &[0]].concat(), 200).is_none(), "too long");
        assert!(Hasher::load(Algorithm::Sha256, &[], 0).is_none(), "empty, as after a power cut");
    }
}
