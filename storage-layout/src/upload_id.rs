//! `UploadId`: the UUID that names an upload session.
//!
//! Knows how distribution writes one (`google/uuid`: lower case, hyphens at 8,
//! 13, 18 and 23). Does not know how to draw one at random.

use core::fmt;
use core::str::FromStr;

/// The identity of an upload session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(u128);

impl UploadId {
    /// The session with these 128 bits.
    pub const fn from_u128(bits: u128) -> Self {
        Self(bits)
    }

    /// Parses the canonical form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
    ///
    /// # Errors
    /// The text is in any other form: each session has one spelling.
    pub fn parse(text: &str) -> Result<Self, UploadIdError> {
        if text.len() != 36 {
            return Err(UploadIdError);
        }
        let mut bits = 0_u128;
        for (position, byte) in text.bytes().enumerate() {
            let digit = match byte {
                b'-' if matches!(position, 8 | 13 | 18 | 23) => continue,
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                _ => return Err(UploadIdError),
            };
            if matches!(position, 8 | 13 | 18 | 23) {
                return Err(UploadIdError);
            }
            bits = bits << 4 | u128::from(digit);
        }
        Ok(Self(bits))
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let b = self.0;
        let (time_low, time_mid, time_high) = (b >> 96, b >> 80 & 0xffff, b >> 64 & 0xffff);
        let (clock, node) = (b >> 48 & 0xffff, b & 0xffff_ffff_ffff);
        write!(f, "{time_low:08x}-{time_mid:04x}-{time_high:04x}-{clock:04x}-{node:012x}")
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for UploadId {
    type Err = UploadIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// A text is not the identity of an upload session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadIdError;

impl fmt::Display for UploadIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an upload is named by a lower-case UUID")
    }
}

impl core::error::Error for UploadIdError {}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn grammar_of_upload_ids() {
        for (text, expected) in [
            ("00000000-0000-0000-0000-000000000000", Ok(0)),
            ("ffffffff-ffff-ffff-ffff-ffffffffffff", Ok(u128::MAX)),
            ("2d89834d-ea72-4feb-998b-1b555b28116f", Ok(0x2d89834d_ea72_4feb_998b_1b555b28116f)),
            ("", Err(UploadIdError)),
            ("2d89834dea724feb998b1b555b28116f", Err(UploadIdError)),
            ("2D89834D-EA72-4FEB-998B-1B555B28116F", Err(UploadIdError)),
            ("{2d89834d-ea72-4feb-998b-1b555b28116f}", Err(UploadIdError)),
            ("2d89834d-ea72-4feb-998b-1b555b28116", Err(UploadIdError)),
            ("2d89834d-ea72-4feb-998b-1b555b28116f0", Err(UploadIdError)),
            ("2d89834de-a72-4feb-998b-1b555b28116f", Err(UploadIdError)),
            ("2d89834d-ea72-4feb-998b-1b555b28116-", Err(UploadIdError)),
            ("2d89834d0ea72-4feb-998b-1b555b28116f", Err(UploadIdError)),
            ("../../../../../../../../../etc/passwd", Err(UploadIdError)),
            ("2d89834d-ea72-4feb-998b-1b555b2811g6", Err(UploadIdError)),
        ] {
            let parsed = UploadId::parse(text);
            assert_eq!(parsed, expected.map(UploadId::from_u128), "{text:?}");
            if let Ok(id) = parsed {
                assert_eq!(id.to_string(), text);
            }
        }
    }
}
