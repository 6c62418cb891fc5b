//! `Htpasswd`: users and their bcrypt hashes, from the text of a `.htpasswd` file.
//!
//! Reads what distribution reads (`registry/auth/htpasswd/htpasswd.go`): one `user:hash` a line, empty lines
//! and lines that begin with `#` skipped, the last of several lines for one user in force, bcrypt only.
//! Unlike distribution it never makes a file, and it says which entries it cannot use.

use std::collections::BTreeMap;
use std::fmt;

use bcrypt::HashParts;

use crate::auth::Credential;

/// The users of a htpasswd file.
#[derive(Clone)]
pub struct Htpasswd {
    users: BTreeMap<Box<str>, Hash>,
    refused: Vec<RefusedEntry>,
}

/// An entry that nobody can sign in with, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: user `{user}`: {why}")]
pub struct RefusedEntry {
    /// Where it stands, counted from one.
    pub line: usize,
    /// Whose it is.
    pub user: Box<str>,
    /// What is wrong with it.
    pub why: RefusedHash,
}

/// Why a hash is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedHash {
    /// Not bcrypt: too cheap to guess.
    #[error("{0} is not accepted, only bcrypt is (`htpasswd -B`)")]
    NotBcrypt(&'static str),
    /// Begins like bcrypt and is not.
    #[error("the bcrypt hash is malformed")]
    Malformed,
    /// So many rounds that checking it would take the processor away.
    #[error("a bcrypt cost of {0} is above the limit of {MAX_COST}")]
    TooCostly(u32),
}

/// A file that is no htpasswd file. Its entries may be somebody's secrets, so only their places are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HtpasswdError {
    /// Not text.
    #[error("is not UTF-8 text")]
    NotText,
    /// A line without a user or without a colon.
    #[error("line {line}: expected `user:hash`")]
    NoEntry {
        /// Which, counted from one.
        line: usize,
    },
    /// More users than fit.
    #[error("has more than {MAX_USERS} users")]
    TooManyUsers,
}

/// The highest bcrypt cost: 2^16 rounds are several seconds of one core, and every step doubles that.
pub(crate) const MAX_COST: u32 = 16;

/// The most users: far more than any cluster has, few enough to bound what a wrong file can take.
pub(crate) const MAX_USERS: usize = 10_000;

impl Htpasswd {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// The text is no htpasswd file at all. Entries with a hash that is not accepted are left out instead,
    /// see [`Htpasswd::refused`]: one old entry must not lock everybody out.
    pub fn parse(text: &[u8]) -> Result<Self, HtpasswdError> {
        let text = std::str::from_utf8(text).map_err(|_| HtpasswdError::NotText)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut all = Self { users: BTreeMap::new(), refused: Vec::new() };
        for (line, entry) in (1..).zip(text.lines().map(str::trim)) {
            if !entry.is_empty() && !entry.starts_with('#') {
                all.add(line, entry)?;
            }
        }
        Ok(all)
    }

    /// Whether the credential is that of a user. Takes as long as bcrypt takes, also for a user who does not
    /// exist, so that the time tells nobody who does.
    pub fn verify(&self, credential: &Credential) -> bool {
        let password = credential.password.as_bytes();
        match self.users.get(&credential.user) {
            Some(hash) => hash.matches(password),
            None => {
                let _ = self.users.values().next().is_some_and(|any| any.matches(password));
                false
            }
        }
    }

    /// Whether there is such a user.
    pub fn contains(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    /// The users, in byte order.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(AsRef::as_ref)
    }

    /// The entries that were left out.
    pub fn refused(&self) -> &[RefusedEntry] {
        &self.refused
    }

    fn add(&mut self, line: usize, entry: &str) -> Result<(), HtpasswdError> {
        let Some((user, hash)) = entry.split_once(':').filter(|(user, _)| !user.is_empty()) else {
            return Err(HtpasswdError::NoEntry { line });
        };
        self.users.remove(user);
        match Hash::parse(hash) {
            Ok(hash) if self.users.len() < MAX_USERS => drop(self.users.insert(user.into(), hash)),
            Ok(_) => return Err(HtpasswdError::TooManyUsers),
            Err(why) if self.refused.len() < MAX_USERS => {
                self.refused.push(RefusedEntry { line, user: user.into(), why });
            }
            Err(_) => return Err(HtpasswdError::TooManyUsers),
        }
        Ok(())
    }
}

impl fmt::Debug for Htpasswd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Htpasswd").field("users", &self.users.keys()).field("refused", &self.refused).finish()
    }
}

/// A bcrypt hash that has been parsed: checking against it cannot fail, only not match.
#[derive(Clone)]
struct Hash(Box<str>);

impl Hash {
    fn parse(text: &str) -> Result<Self, RefusedHash> {
        if !["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)) {
            return Err(RefusedHash::NotBcrypt(kind_of(text)));
        }
        let parts: HashParts = text.parse().map_err(|_| RefusedHash::Malformed)?;
        match parts.get_cost() {
            0..=3 => Err(RefusedHash::Malformed),
            cost if cost > MAX_COST => Err(RefusedHash::TooCostly(cost)),
            _ => Ok(Self(text.into())),
        }
    }

    fn matches(&self, password: &[u8]) -> bool {
        bcrypt::verify(password, &self.0).unwrap_or(false)
    }
}

/// What Apache's `htpasswd` and its relatives write, by its prefix.
fn kind_of(text: &str) -> &'static str {
    const KINDS: &[(&str, &str)] = &[
        ("$apr1$", "MD5"),
        ("$1$", "MD5"),
        ("{SHA}", "SHA-1"),
        ("$5$", "SHA-256"),
        ("$6$", "SHA-512"),
        ("$argon2", "Argon2"),
        ("$y$", "yescrypt"),
        ("$2", "this variant of bcrypt"),
    ];
    let known = KINDS.iter().find(|(prefix, _)| text.starts_with(prefix));
    known.map_or("a crypt hash or plain text", |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::auth::Password;

    /// A well-formed hash without its prefix.
    const REST: &str = "$04$C6KvqbEZMmX9yoXGmAjUeuPxJ6bQxlRSt4d0QFVYJwYYAPGEc5aqu";

    fn hash_of(password: &str) -> String {
        bcrypt::hash(password, 4).unwrap()
    }

    fn verifies(file: &Htpasswd, user: &str, password: &str) -> bool {
        file.verify(&Credential { user: user.into(), password: Password::from(password) })
    }

    #[test]
    fn users_sign_in_with_every_accepted_prefix() {
        let hash = hash_of("secret");
        let (_, rest) = hash.split_at(3);
        for prefix in ["$2a", "$2b", "$2y"] {
            let file = Htpasswd::parse(format!("openshift:{prefix}{rest}\n").as_bytes()).unwrap();
            assert!(verifies(&file, "openshift", "secret"), "{prefix}");
            assert!(!verifies(&file, "openshift", "Secret"), "{prefix}");
            assert!(!verifies(&file, "openshift", ""), "{prefix}");
            assert!(!verifies(&file, "openshift1", "secret"), "{prefix}");
            assert!(file.refused().is_empty());
        }
    }

    #[test]
    fn comments_blank_lines_and_the_last_of_two() {
        let text = format!(
            "\u{feff}# rotated\r\n\r\n  openshift:{}\r\nopenshift1:{}\n#openshift1:x\nopenshift:{}",
            hash_of("old"),
            hash_of("other"),
            hash_of("new")
        );
        let file = Htpasswd::parse(text.as_bytes()).unwrap();
        assert_eq!(file.users().collect::<Vec<_>>(), ["openshift", "openshift1"]);
        assert!(verifies(&file, "openshift", "new"));
        assert!(!verifies(&file, "openshift", "old"));
        assert!(verifies(&file, "openshift1", "other"));
    }

    #[test]
    fn hashes_that_are_refused() {
        let malformed = REST.replace('C', "!");
        for (hash, why) in [
            ("$apr1$salt$abc", RefusedHash::NotBcrypt("MD5")),
            ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", RefusedHash::NotBcrypt("SHA-1")),
            ("$6$salt$abc", RefusedHash::NotBcrypt("SHA-512")),
            ("secret", RefusedHash::NotBcrypt("a crypt hash or plain text")),
            ("", RefusedHash::NotBcrypt("a crypt hash or plain text")),
            (&format!("$2x{REST}"), RefusedHash::NotBcrypt("this variant of bcrypt")),
            (&format!("$2b{malformed}"), RefusedHash::Malformed),
            ("$2b$10$short", RefusedHash::Malformed),
            (&format!("$2b{}", REST.replace("$04$", "$03$")), RefusedHash::Malformed),
            (&format!("$2b{}", REST.replace("$04$", "$31$")), RefusedHash::TooCostly(31)),
        ] {
            let text = format!("u:{}\nu:{hash}\nother:{}", hash_of("p"), hash_of("p"));
            let file = Htpasswd::parse(text.as_bytes()).unwrap();
            assert_eq!(file.refused(), [RefusedEntry { line: 2, user: "u".into(), why }], "{hash}");
            assert_eq!(file.users().collect::<Vec<_>>(), ["other"], "{hash}");
            assert!(!verifies(&file, "u", "p"), "a refused line takes the place of an older one: {hash}");
            assert!(hash.is_empty() || !file.refused().first().unwrap().to_string().contains(hash));
        }
    }

    #[test]
    fn files_that_are_none() {
        for (text, error) in [
            (b"openshift\n".as_slice(), HtpasswdError::NoEntry { line: 1 }),
            (b"# ok\n:x\n", HtpasswdError::NoEntry { line: 2 }),
            (b"u:\xff", HtpasswdError::NotText),
        ] {
            assert_eq!(Htpasswd::parse(text).map(|_| ()), Err(error));
        }
        assert_eq!(Htpasswd::parse(b"").unwrap().users().count(), 0);
    }

    #[test]
    fn a_long_password_counts_as_far_as_bcrypt_reads() {
        let long = "x".repeat(80);
        let file = Htpasswd::parse(format!("u:{}", hash_of(&long)).as_bytes()).unwrap();
        assert!(verifies(&file, "u", &long));
        assert!(!verifies(&file, "u", &"x".repeat(71)));
    }
}
