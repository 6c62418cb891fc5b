//! `Query`: the parameters of a request's URL.

use std::borrow::Cow;
use std::str::FromStr;

use percent_encoding::AsciiSet;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::percent_decode_str;
use percent_encoding::utf8_percent_encode;

/// The parameters of a URL, decoded as they are asked for. Ones that nobody asks for are ignored (containerd adds
/// `ns` to everything). A `+` is a plus: media types have them, and nothing that is asked for here has a space.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// What stands after the question mark.
    pub(super) fn new(query: Option<&'a str>) -> Self {
        Self(query.unwrap_or_default())
    }

    /// Every value of a parameter, in order.
    pub(super) fn all(self, name: &'static str) -> impl Iterator<Item = Cow<'a, str>> {
        self.0
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .filter(move |(key, _)| percent_decode_str(key).eq(name.bytes()))
            .map(|(_, value)| percent_decode_str(value).decode_utf8_lossy())
    }

    /// The first value of a parameter.
    pub(super) fn first(self, name: &'static str) -> Option<Cow<'a, str>> {
        self.all(name).next()
    }

    /// The first value of a parameter, parsed.
    ///
    /// # Errors
    /// It cannot be parsed.
    pub(super) fn parsed<T: FromStr>(self, name: &'static str) -> Result<Option<T>, T::Err> {
        self.first(name).map(|value| value.parse()).transpose()
    }
}

/// What may stand in a parameter as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A value as it stands in a URL.
pub(super) fn encoded(value: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(value, PLAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let query =
            Query::new(Some("digest=sha256%3Aab&tag=a&x&tag=b%2Fc&t%61g=d&type=a/b+json&n=7&m=-1&empty="));
        assert_eq!(query.first("digest").as_deref(), Some("sha256:ab"));
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["a", "b/c", "d"]);
        assert_eq!(query.first("type").as_deref(), Some("a/b+json"));
        assert_eq!(query.first("x").as_deref(), Some(""));
        assert_eq!(query.first("empty").as_deref(), Some(""));
        assert_eq!(query.first("y"), None);
        assert_eq!(query.parsed::<usize>("n"), Ok(Some(7)));
        assert!(query.parsed::<usize>("m").is_err());
        assert_eq!(query.parsed::<usize>("o"), Ok(None));
        assert_eq!(Query::new(None).first(""), Some(Cow::Borrowed("")));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for value in ["a", "a/b", "sha256:ab", "x&y=z+ %", "ü"] {
            let query = format!("last={}&n=1", encoded(value));
            assert_eq!(Query::new(Some(&query)).first("last").as_deref(), Some(value));
        }
        assert_eq!(encoded("a/b:c-d_e.f").to_string(), "a%2Fb%3Ac-d_e.f");
    }
}
