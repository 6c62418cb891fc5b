//! How `split` names the parts of a file: `data.isoaa`, `data.isoab`, ...
//!
//! Knows names only. Source: the manual of GNU coreutils, "split: Split a file
//! into pieces", with letters or (`-d`) digits, a fixed length (`-a`) or the
//! default one, which grows before it is used up: `yz` is followed by `zaaa`.

use std::collections::BTreeSet;

/// How many parts are put together: at 3 GiB, the size that the appliance builder cuts, 12 TiB.
const MAX_PARTS: usize = 4096;

/// Why the files beside one another are not the parts of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::store) enum Gap {
    #[error("the part `{missing}` is missing, while `{found}` is there")]
    Missing { missing: String, found: String },
    #[error("this is not the first part of a split image: give `{0}`")]
    NotFirst(String),
    #[error("the image has more than {MAX_PARTS} parts")]
    TooMany,
}

/// The names of all parts in order, of which `first` is the first. A name that is not that of a first part
/// stands for itself.
pub(in crate::store) fn parts(first: &str, names: &BTreeSet<String>) -> Result<Vec<String>, Gap> {
    let exists = |name: &str| names.contains(name);
    let mut suffix = trailing(first, |byte| byte == b'a').max(trailing(first, |byte| byte == b'0'));
    if suffix < 2 {
        return match first_of(first).filter(|other| exists(other)) {
            Some(other) => Err(Gap::NotFirst(other)),
            None => Ok(vec![first.to_owned()]),
        };
    }
    let mut parts = vec![first.to_owned()];
    let mut last = first.to_owned();
    loop {
        let next = successor(&last, suffix);
        let grown = grown(&last).filter(|grown| exists(grown));
        last = match grown {
            _ if exists(&next) && next > last => next,
            Some(grown) => {
                suffix = 4;
                grown
            }
            None => break check_rest(parts, next, suffix, names),
        };
        if parts.len() == MAX_PARTS {
            return Err(Gap::TooMany);
        }
        parts.push(last.clone());
    }
}

/// No name of the same shape may come after the last part.
fn check_rest(
    parts: Vec<String>,
    missing: String,
    suffix: usize,
    names: &BTreeSet<String>,
) -> Result<Vec<String>, Gap> {
    let shape = missing.split_at_checked(missing.len() - suffix);
    let is_like = |name: &str| match (shape, name.split_at_checked(missing.len() - suffix)) {
        (Some((stem, like)), Some((other_stem, other))) => {
            stem == other_stem && like.len() == other.len() && same_alphabet(like, other)
        }
        _ => false,
    };
    let found = names.iter().find(|name| is_like(name) && **name > missing);
    match found {
        Some(found) => Err(Gap::Missing { missing, found: found.clone() }),
        None => Ok(parts),
    }
}

fn same_alphabet(a: &str, b: &str) -> bool {
    let all = |is: fn(&u8) -> bool| a.bytes().chain(b.bytes()).all(|byte| is(&byte));
    all(u8::is_ascii_lowercase) || all(u8::is_ascii_digit)
}

/// How many bytes at the end of `name` are `is`.
fn trailing(name: &str, is: impl Fn(u8) -> bool) -> usize {
    name.bytes().rev().take_while(|byte| is(*byte)).count()
}

/// The name after `name`, whose last `suffix` bytes count up; after the last one the first comes again.
pub(in crate::store) fn successor(name: &str, suffix: usize) -> String {
    let mut bytes = name.as_bytes().to_vec();
    for byte in bytes.iter_mut().rev().take(suffix) {
        match byte {
            b'z' => *byte = b'a',
            b'9' => *byte = b'0',
            _ => {
                *byte += 1;
                break;
            }
        }
    }
    // Only letters and digits were counted up.
    String::from_utf8(bytes).unwrap_or_default()
}

/// The name after `name` where `split` makes its suffix longer.
fn grown(name: &str) -> Option<String> {
    let grow = |last: &str, first: &str| Some(format!("{}{first}", name.strip_suffix(last)?));
    grow("yz", "zaaa").or_else(|| grow("89", "9000"))
}

/// The first part of the image of which `name` looks like another part.
fn first_of(name: &str) -> Option<String> {
    let (stem, suffix) = name.split_at_checked(name.len().checked_sub(2)?)?;
    let first = match suffix.as_bytes() {
        [b'a'..=b'z', b'a'..=b'z'] => "aa",
        [b'0'..=b'9', b'0'..=b'9'] => "00",
        _ => return None,
    };
    Some(format!("{stem}{first}")).filter(|first| first != name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn parts_are_found_or_the_gap_is_named() {
        let missing = |missing: &str, found: &str| {
            Err(Gap::Missing { missing: missing.to_owned(), found: found.to_owned() })
        };
        let checks: &[(&str, &[&str], Result<usize, Gap>)] = &[
            ("data.isoaa", &["data.isoaa"], Ok(1)),
            ("data.isoaa", &["data.isoac", "data.isoab", "data.isoaa", "data.iso", "x"], Ok(3)),
            ("data.isoaa", &["data.isoaa", "data.isoac"], missing("data.isoab", "data.isoac")),
            ("data.isoaa", &["data.isoaa", "data.isoab", "data.isoba"], missing("data.isoac", "data.isoba")),
            ("data.isoaa", &["data.isoaa", "data.isoab.sha256", "data.isoA1", "data.iso01"], Ok(1)),
            ("x.iso00", &["x.iso00", "x.iso01", "x.iso02"], Ok(3)),
            ("x.iso00", &["x.iso00", "x.iso02"], missing("x.iso01", "x.iso02")),
            ("x.isoaaa", &["x.isoaaa", "x.isoaab"], Ok(2)),
            ("data.isoab", &["data.isoaa", "data.isoab"], Err(Gap::NotFirst("data.isoaa".to_owned()))),
            ("data.iso", &["data.iso", "data.isoaa"], Ok(1)),
            ("README", &["README"], Ok(1)),
        ];
        for (first, present, expected) in checks {
            let found = parts(first, &names(present)).map(|parts| parts.len());
            assert_eq!(&found, expected, "{first} among {present:?}");
        }
    }

    /// Names as GNU split 9.1 makes them with a file of a thousand bytes cut into single ones.
    #[test]
    fn a_suffix_grows_as_with_split() {
        for (first, before, after) in [("xaa", "xyz", "xzaaa"), ("x00", "x89", "x9000")] {
            let mut all = vec![first.to_owned()];
            while all.last().unwrap() != before {
                all.push(successor(all.last().unwrap(), 2));
            }
            all.push(after.to_owned());
            all.push(successor(after, 4));
            assert_eq!(parts(first, &all.iter().cloned().collect()).unwrap(), all);
        }
    }

    #[test]
    fn parts_have_a_limit() {
        let mut all = vec!["xaaa".to_owned()];
        for _ in 0..MAX_PARTS {
            all.push(successor(all.last().unwrap(), 3));
        }
        assert_eq!(parts("xaaa", &all.into_iter().collect()), Err(Gap::TooMany));
    }
}
