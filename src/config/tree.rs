//! `Node`: a YAML document as a tree in which every value knows its line.
//!
//! A scalar keeps its spelling. Which type it has is decided by who reads it, as in distribution, where a
//! field that is text takes `0755` as it stands.

use std::fmt;

use serde::de::Deserialize;
use serde::de::Deserializer;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde_saphyr::DuplicateKeyPolicy;
use serde_saphyr::Spanned;

use crate::config::Notice;
use crate::config::Problem;
use crate::config::Source;
use crate::config::problem::Issues;

/// A value and where it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) source: Source,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
    /// The text of a variable that is not YAML: a fault only if somebody reads it.
    Broken(Problem),
}

/// The largest configuration, in bytes. A full one has a few KiB; what is larger is another file.
const MAX_LEN: usize = 1024 * 1024;

impl Node {
    /// Reads the text of a configuration file. The library bounds depth, nodes and what aliases may expand
    /// to.
    pub(super) fn parse_file(text: &str, issues: &mut Issues) -> Result<Self, Problem> {
        Self::parse(text, &|line| Source::File { line }, issues)
    }

    /// Reads the value of an environment variable, which distribution takes as YAML too.
    pub(super) fn parse_variable(name: &str, text: &str, issues: &mut Issues) -> Self {
        let source = Source::Environment(name.to_owned());
        match Self::parse(text, &|_| source.clone(), issues) {
            Ok(node) => node,
            Err(problem) => Self { value: Value::Broken(problem), source },
        }
    }

    fn parse(text: &str, source: &dyn Fn(u64) -> Source, issues: &mut Issues) -> Result<Self, Problem> {
        if text.len() > MAX_LEN {
            let what = format!("more than {MAX_LEN} bytes");
            return Err(Problem::NotYaml { what, origin: source(1) });
        }
        let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::PassThrough };
        let raw: Spanned<Raw> = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let line = error.location().map_or(1, |place| place.line());
            Problem::NotYaml { what: error.without_snippet().to_string(), origin: source(line) }
        })?;
        Ok(Converter { text, source, issues }.node(raw, ""))
    }
}

/// A document as it comes from the library; scalars that are not text are still places in the source.
enum Raw {
    Null,
    Spelled,
    Text(String),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

struct Converter<'a> {
    text: &'a str,
    source: &'a dyn Fn(u64) -> Source,
    issues: &'a mut Issues,
}

impl Converter<'_> {
    fn node(&mut self, raw: Spanned<Raw>, path: &str) -> Node {
        let source = (self.source)(raw.referenced.line());
        let value = match raw.value {
            Raw::Null => Value::Null,
            Raw::Text(text) => Value::Scalar(text),
            Raw::Spelled => Value::Scalar(self.spelling(raw.defined).to_owned()),
            Raw::List(list) => Value::List(list.into_iter().map(|item| self.node(item, path)).collect()),
            Raw::Map(map) => Value::Map(self.map(map, path)),
        };
        Node { value, source }
    }

    fn map(&mut self, raw: Vec<(Spanned<String>, Spanned<Raw>)>, path: &str) -> Vec<(String, Node)> {
        let mut map: Vec<(String, Node)> = Vec::with_capacity(raw.len());
        for (Spanned { value: key, referenced, .. }, value) in raw {
            let path = join(path, &key);
            let node = self.node(value, &path);
            if let Some((_, earlier)) = map.iter_mut().find(|(known, _)| *known == key) {
                *earlier = node;
                self.issues.notice(Notice::Duplicate { key: path, line: referenced.line() });
            } else {
                map.push((key, node));
            }
        }
        map
    }

    /// What stands in the source; a scalar that is not text has no escapes.
    fn spelling(&self, place: serde_saphyr::Location) -> &str {
        let span = place.span();
        let start = span.byte_offset().and_then(|offset| usize::try_from(offset).ok());
        let len = span.byte_len().and_then(|len| usize::try_from(len).ok());
        let range = start.zip(len).and_then(|(start, len)| Some(start..start.checked_add(len)?));
        range.and_then(|range| self.text.get(range)).unwrap_or_default()
    }
}

/// `path.key`, or `key` at the top.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar, a list or a mapping")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Spelled)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Spelled)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Spelled)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Spelled)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Spelled)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Spelled)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    fn scalars(text: &str) -> Vec<(String, Option<String>, Source)> {
        let mut issues = Issues::default();
        let node = Node::parse_file(text, &mut issues).unwrap();
        let Value::Map(map) = node.value else { panic!("{node:?}") };
        map.into_iter()
            .map(|(key, node)| match node.value {
                Value::Scalar(text) => (key, Some(text), node.source),
                _ => (key, None, node.source),
            })
            .collect()
    }

    #[test]
    fn scalars_keep_their_spelling_and_line() {
        let text = "version: 0.1\naddr: :5000\nmode: 0755\nyes: on\nquoted: \"0755\"\nnothing:\n\"é\": 1e5 # x\nblock: |\n  a\n  b\n";
        let expected = [
            ("version", Some("0.1"), 1),
            ("addr", Some(":5000"), 2),
            ("mode", Some("0755"), 3),
            ("yes", Some("on"), 4),
            ("quoted", Some("0755"), 5),
            ("nothing", None, 6),
            ("é", Some("1e5"), 7),
            ("block", Some("a\nb\n"), 9),
        ];
        let expected =
            expected.map(|(key, text, line)| (key.into(), text.map(str::to_owned), Source::File { line }));
        assert_eq!(scalars(text), expected);
    }

    #[test]
    fn the_last_of_two_counts_and_is_told() {
        let mut issues = Issues::default();
        let node = Node::parse_file("http:\n  addr: a\n  addr: b\n", &mut issues).unwrap();
        assert!(
            format!("{node:?}").contains(r#"Scalar("b")"#) && !format!("{node:?}").contains(r#"Scalar("a")"#)
        );
        assert_eq!(issues.notices, [Notice::Duplicate { key: "http.addr".into(), line: 3 }]);
    }

    #[test]
    fn what_is_no_yaml_or_too_much_of_it() {
        let laughs = (1..40).fold("a0: &a0 [x,x,x,x,x,x,x,x]\n".to_owned(), |text, n| {
            let m = n - 1;
            text + &format!("a{n}: &a{n} [*a{m},*a{m},*a{m},*a{m},*a{m},*a{m},*a{m},*a{m}]\n")
        });
        let deep = "[".repeat(100_000);
        let long = format!("a: {}", "x".repeat(MAX_LEN));
        for text in
            ["a: b: c", "x: [", "a: &x [*x]", "@", "? [a]\n: b", "a: 1\n---\nb: 2\n", &laughs, &deep, &long]
        {
            let problem = Node::parse_file(text, &mut Issues::default()).unwrap_err();
            assert!(matches!(problem, Problem::NotYaml { .. }), "{problem}");
            assert!(problem.to_string().len() < 300, "{problem}");
        }
    }
}
