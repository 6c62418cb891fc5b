//! `Authorization`: what the header of that name says.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::GeneralPurpose;
use base64::engine::GeneralPurposeConfig;

use crate::auth::Credential;
use crate::auth::Password;

/// What an `Authorization` header presents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// Nothing: no header, or the `Basic Og==` (an empty user with an empty password) that containers/image
    /// sends when it has no credential for a registry that wants one.
    Anonymous,
    /// A name and a password (RFC 7617).
    Basic(Credential),
    /// A token (RFC 6750).
    Bearer(Box<str>),
    /// Something that cannot be a credential of ours. To be answered like a wrong one.
    Malformed,
}

impl Authorization {
    /// The longest header worth reading, in bytes. Tokens of other issuers reach a few KiB.
    pub const MAX_LEN: usize = 16 * 1024;

    /// Reads the value of an `Authorization` header, `None` where there is none. The scheme's case does not
    /// matter (RFC 9110, section 11.1); padding may be missing; the name must be UTF-8 without control
    /// characters (RFC 7617, section 2), the password is any bytes but NUL, which bcrypt cannot tell from its
    /// end.
    pub fn parse(header: Option<&[u8]>) -> Self {
        let Some(header) = header else { return Self::Anonymous };
        let Some((scheme, parameter)) = split_scheme(header) else { return Self::Malformed };
        if scheme.eq_ignore_ascii_case("basic") {
            basic(parameter)
        } else if scheme.eq_ignore_ascii_case("bearer") && !parameter.is_empty() {
            Self::Bearer(parameter.into())
        } else {
            Self::Malformed
        }
    }
}

fn split_scheme(header: &[u8]) -> Option<(&str, &str)> {
    if header.len() > Authorization::MAX_LEN {
        return None;
    }
    let (scheme, parameter) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    Some((scheme, parameter.trim_matches(' ')))
}

fn basic(parameter: &str) -> Authorization {
    let Ok(pair) = BASE64.decode(parameter) else { return Authorization::Malformed };
    let Some(colon) = pair.iter().position(|byte| *byte == b':') else { return Authorization::Malformed };
    let (user, password) = pair.split_at(colon);
    let password = password.get(1..).unwrap_or_default();
    if user.is_empty() && password.is_empty() {
        return Authorization::Anonymous;
    }
    match std::str::from_utf8(user) {
        Ok(user) if !user.contains(char::is_control) && !password.contains(&0) => {
            Authorization::Basic(Credential { user: user.into(), password: Password::from(password) })
        }
        _ => Authorization::Malformed,
    }
}

/// The standard alphabet; padding as the client likes it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use super::*;

    fn basic_of(user: &str, password: &[u8]) -> Authorization {
        Authorization::Basic(Credential { user: user.into(), password: Password::from(password) })
    }

    #[test]
    fn headers() {
        let malformed = Authorization::Malformed;
        for (header, expected) in [
            ("Basic Og==", Authorization::Anonymous),
            ("basic Og", Authorization::Anonymous),
            ("Basic dXNlcjpwYXNz", basic_of("user", b"pass")),
            ("BASIC  dXNlcjpwYXNz ", basic_of("user", b"pass")),
            ("Basic dTpwOnE=", basic_of("u", b"p:q")),
            ("Basic dTpwOnE", basic_of("u", b"p:q")),
            ("Basic dTo=", basic_of("u", b"")),
            ("Basic OnA=", basic_of("", b"p")),
            ("Basic w7w6w6Q=", basic_of("ü", "ä".as_bytes())),
            ("Basic dTr/", basic_of("u", b"\xff")),
            ("Basic /zpw", malformed.clone()),
            ("Basic dTpwAHE=", malformed.clone()),
            ("Basic dQp1OnA=", malformed.clone()),
            ("Basic dXNlcg==", malformed.clone()),
            ("Basic ***", malformed.clone()),
            ("Basic ", malformed.clone()),
            ("Basic", malformed.clone()),
            ("", malformed.clone()),
            ("Bearer abc.def", Authorization::Bearer("abc.def".into())),
            ("Bearer ", malformed.clone()),
            ("Negotiate abc", malformed.clone()),
        ] {
            assert_eq!(Authorization::parse(Some(header.as_bytes())), expected, "{header:?}");
        }
        assert_eq!(Authorization::parse(None), Authorization::Anonymous);
        assert_eq!(Authorization::parse(Some(b"Basic \xff")), malformed);
        let long = format!("Bearer {}", "a".repeat(Authorization::MAX_LEN));
        assert_eq!(Authorization::parse(Some(long.as_bytes())), malformed);
    }
}
