//! `Digest` and `Algorithm`: parsed once, lower-case hex of the right length.
//!
//! Knows the grammar of the image specification's [digests]. Does not know how
//! to compute one.
//!
//! [digests]: https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md#digests

use core::fmt;
use core::str::FromStr;

/// A registered digest algorithm that this registry can verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, which every implementation must support.
    Sha256,
    /// SHA-512, which implementations may support.
    Sha512,
}

impl Algorithm {
    /// Every algorithm, in the order in which directories are searched.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The algorithm named `name` (`sha256` or `sha512`).
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == name)
    }

    /// The name, as it stands before the colon of a digest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// How many bytes a digest of this algorithm has.
    #[expect(clippy::len_without_is_empty, reason = "no digest is empty")]
    pub const fn len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A content digest: an algorithm and a value of exactly its length.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    /// The value, then zeros up to the longest algorithm's length.
    bytes: [u8; Self::MAX],
}

impl Digest {
    const MAX: usize = Algorithm::Sha512.len();

    /// Parses `algorithm:hex`, hex in lower case.
    ///
    /// # Errors
    /// Names what is wrong: no colon, an algorithm that is not supported, or a
    /// value that is not lower-case hex of the right length.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let (algorithm, hex) = text.split_once(':').ok_or(DigestError::NoColon)?;
        let algorithm = Algorithm::parse(algorithm).ok_or(DigestError::UnsupportedAlgorithm)?;
        Self::from_hex(algorithm, hex).ok_or(DigestError::Value(algorithm))
    }

    /// The digest with this lower-case hex value, if it is one.
    pub fn from_hex(algorithm: Algorithm, hex: &str) -> Option<Self> {
        let (pairs, _) = hex.as_bytes().as_chunks::<2>();
        if hex.len() != algorithm.len() * 2 {
            return None;
        }
        let (mut bytes, mut is_hex) = ([0; Self::MAX], true);
        // To the end whatever comes, so that many are looked at in one instruction.
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = value(*high) << 4 | value(*low);
            is_hex &= is_digit(*high) & is_digit(*low);
        }
        if !is_hex {
            return None;
        }
        Some(Self { algorithm, bytes })
    }

    /// The digest with this value, if its length is the algorithm's.
    pub fn from_bytes(algorithm: Algorithm, value: &[u8]) -> Option<Self> {
        if value.len() != algorithm.len() {
            return None;
        }
        let mut bytes = [0; Self::MAX];
        bytes.get_mut(..value.len())?.copy_from_slice(value);
        Some(Self { algorithm, bytes })
    }

    /// The algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The value, as many bytes as the algorithm says.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.split_at(self.algorithm.len()).0
    }

    /// The value as lower-case hex, without the algorithm.
    pub fn hex(&self) -> impl fmt::Display + AsRef<str> {
        Hex::of(self)
    }

    /// The first byte of the value: the directory that the blob lies in.
    pub const fn first_byte(&self) -> u8 {
        self.bytes[0]
    }
}

/// A value, written. At once: every path has one, and byte by byte through a formatter each cost 2 us.
struct Hex {
    text: [u8; 2 * Digest::MAX],
    len: usize,
}

impl Hex {
    fn of(digest: &Digest) -> Self {
        let mut text = [0; 2 * Digest::MAX];
        // All that there is room for, so that many are made in one instruction.
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(digest.bytes) {
            *pair = [digit(byte >> 4), digit(byte & 0xf)];
        }
        Self { text, len: 2 * digest.algorithm.len() }
    }
}

impl AsRef<str> for Hex {
    fn as_ref(&self) -> &str {
        // Digits are UTF-8.
        core::str::from_utf8(self.text.split_at(self.len).0).unwrap_or_default()
    }
}

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_ref())
    }
}

/// How far the letters are from where they would be if they followed the decimal digits.
const GAP: u8 = b'a' - (b'0' + 10);

const fn digit(nibble: u8) -> u8 {
    b'0' + nibble + if nibble > 9 { GAP } else { 0 }
}

/// What a digit stands for; of what is none, anything.
const fn value(digit: u8) -> u8 {
    let decimal = digit.wrapping_sub(b'0');
    if decimal > 9 { decimal.wrapping_sub(GAP) & 0xf } else { decimal }
}

/// Not as a match: that would be a branch for each.
const fn is_digit(byte: u8) -> bool {
    (byte.wrapping_sub(b'0') < 10) | (byte.wrapping_sub(b'a') < 6)
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm.as_str())?;
        f.write_str(":")?;
        fmt::Display::fmt(&self.hex(), f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// Why a text is not a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DigestError {
    /// There is no colon between algorithm and value.
    NoColon,
    /// The algorithm is not one that can be verified here.
    UnsupportedAlgorithm,
    /// The value is not lower-case hex of the algorithm's length.
    Value(Algorithm),
}

impl fmt::Display for DigestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoColon => f.write_str("a digest is written algorithm:hex"),
            Self::UnsupportedAlgorithm => f.write_str("digest algorithm is neither sha256 nor sha512"),
            Self::Value(algorithm) => {
                write!(f, "a {algorithm} digest has {} lower-case hex digits", algorithm.len() * 2)
            }
        }
    }
}

impl core::error::Error for DigestError {}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};

    use super::*;

    const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn grammar_of_digests() {
        let long: String = [NOTHING, NOTHING].concat();
        let upper = NOTHING.to_uppercase();
        let value = |algorithm| Err(DigestError::Value(algorithm));
        for (text, expected) in [
            (["sha256:", NOTHING].concat(), Ok(Algorithm::Sha256)),
            (["sha512:", &long].concat(), Ok(Algorithm::Sha512)),
            (String::new(), Err(DigestError::NoColon)),
            (NOTHING.into(), Err(DigestError::NoColon)),
            ([":", NOTHING].concat(), Err(DigestError::UnsupportedAlgorithm)),
            (["md5:", NOTHING].concat(), Err(DigestError::UnsupportedAlgorithm)),
            (["SHA256:", NOTHING].concat(), Err(DigestError::UnsupportedAlgorithm)),
            (["sha256+b64:", NOTHING].concat(), Err(DigestError::UnsupportedAlgorithm)),
            ("sha256:".into(), value(Algorithm::Sha256)),
            (["sha256:", &upper].concat(), value(Algorithm::Sha256)),
            (["sha256:", &long].concat(), value(Algorithm::Sha256)),
            (["sha512:", NOTHING].concat(), value(Algorithm::Sha512)),
            (["sha256:", NOTHING, "\n"].concat(), value(Algorithm::Sha256)),
            (["sha256:", &NOTHING[1..], "g"].concat(), value(Algorithm::Sha256)),
            (["sha256:", &NOTHING[2..], "é"].concat(), value(Algorithm::Sha256)),
            (["sha256::", &NOTHING[1..]].concat(), value(Algorithm::Sha256)),
        ] {
            assert_eq!(Digest::parse(&text).map(|it| it.algorithm()), expected, "{text:?}");
        }
    }

    #[test]
    fn a_digest_is_written_as_it_was_read() {
        for text in [["sha256:", NOTHING].concat(), ["sha512:", NOTHING, NOTHING].concat()] {
            let digest = Digest::parse(&text).unwrap();
            assert_eq!(digest.to_string(), text);
            assert_eq!(Digest::from_bytes(digest.algorithm(), digest.as_bytes()), Some(digest));
            assert_eq!(digest.first_byte(), 0xe3);
        }
    }

    #[test]
    fn every_byte_is_written_and_read() {
        for byte in 0..=u8::MAX {
            let text = alloc::format!("{byte:02x}").repeat(32);
            let digest = Digest::from_hex(Algorithm::Sha256, &text).unwrap();
            assert_eq!((digest.as_bytes(), digest.hex().to_string()), (&[byte; 32][..], text.clone()));
            let (is_hex, place) =
                (byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte), usize::from(byte) % 64);
            let (before, after) = ("0".repeat(place), "0".repeat(63 - place));
            let found = Digest::from_hex(
                Algorithm::Sha256,
                &[&before, &*char::from(byte).to_string(), &after].concat(),
            );
            assert_eq!(found.is_some(), is_hex, "{byte} at {place}");
        }
    }

    #[test]
    fn a_value_of_another_length_is_no_digest() {
        for len in [0, 1, 31, 33, 63, 65] {
            for algorithm in Algorithm::ALL {
                assert_eq!(
                    Digest::from_bytes(algorithm, &[0; 65][..len]),
                    None,
                    "{algorithm} of {len} bytes"
                );
            }
        }
    }

    #[test]
    fn digests_sort_as_their_text_does() {
        let low = Digest::from_bytes(Algorithm::Sha256, &[0; 32]).unwrap();
        let high = Digest::from_bytes(Algorithm::Sha256, &[0xff; 32]).unwrap();
        let other = Digest::from_bytes(Algorithm::Sha512, &[0; 64]).unwrap();
        assert!(low < high && high < other);
        assert!(low.to_string() < high.to_string() && high.to_string() < other.to_string());
    }
}
