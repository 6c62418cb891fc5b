//! `Section`: a mapping that is read key by key and knows what nobody asked for.

use crate::config::Notice;
use crate::config::Problem;
use crate::config::Setting;
use crate::config::Source;
use crate::config::problem::Issues;
use crate::config::tree::Node;
use crate::config::tree::Value;
use crate::config::tree::join;

/// A mapping of a configuration. Each key is taken out as it is read; what is left at the end is unknown.
pub(super) struct Section {
    path: String,
    entries: Vec<(String, Node)>,
}

impl Section {
    /// The whole document.
    pub(super) fn root(node: Node, issues: &mut Issues) -> Self {
        Self::of(String::new(), Some(node), issues)
    }

    /// A section below this one; empty where there is none.
    pub(super) fn section(&mut self, key: &str, issues: &mut Issues) -> Self {
        let path = join(&self.path, key);
        let node = self.take(key);
        Self::of(path, node, issues)
    }

    /// A section that distribution also takes as a bare word: `storage: filesystem`.
    pub(super) fn section_or_word(&mut self, key: &str, issues: &mut Issues) -> Self {
        let path = join(&self.path, key);
        match self.take(key) {
            Some(Node { value: Value::Scalar(word), source }) => {
                Self { path, entries: vec![(word, Node { value: Value::Map(Vec::new()), source })] }
            }
            node => Self::of(path, node, issues),
        }
    }

    /// A scalar, read by `parse`; `expected` says with an article what it has to be.
    pub(super) fn scalar<T>(
        &mut self,
        key: &str,
        expected: &'static str,
        issues: &mut Issues,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<Setting<T>> {
        let Node { value, source } = self.take(key)?;
        let found = match value {
            Value::Null => return None,
            Value::Scalar(text) if text.is_empty() => return None,
            Value::Scalar(text) => match parse(&text) {
                Some(value) => return Some(Setting { value, source }),
                None => format!("`{text}`"),
            },
            other => return self.refuse(key, expected, &other, source, issues),
        };
        issues.problem(Problem::WrongType { key: join(&self.path, key), expected, found, origin: source });
        None
    }

    /// Any text.
    pub(super) fn text(&mut self, key: &str, issues: &mut Issues) -> Option<Setting<String>> {
        self.scalar(key, "text", issues, |text| Some(text.to_owned()))
    }

    /// Yes or no, in any of YAML 1.1's words, quoted or not.
    pub(super) fn switch(&mut self, key: &str, issues: &mut Issues) -> Option<Setting<bool>> {
        self.scalar(key, "`true` or `false`", issues, parse_switch)
    }

    /// A list of text. One text alone counts as a list of one.
    pub(super) fn texts(&mut self, key: &str, issues: &mut Issues) -> Option<Setting<Vec<String>>> {
        let Node { value, source } = self.take(key)?;
        let texts = match &value {
            Value::Null => return None,
            Value::Scalar(text) => Some(vec![text.clone()]),
            Value::List(list) => list.iter().map(text_of).collect(),
            // Variables such as `REGISTRY_HTTP_TLS_CLIENTCAS_0` make a list where none stands.
            Value::Map(map) => map
                .iter()
                .zip(0..)
                .map(|((key, node), index)| (key.parse() == Ok(index)).then(|| text_of(node)).flatten())
                .collect::<Option<Vec<_>>>(),
            Value::Broken(_) => None,
        };
        match texts {
            Some(value) => Some(Setting { value, source }),
            None => self.refuse(key, "a list of text", &value, source, issues),
        }
    }

    /// Every entry that is left, by name.
    pub(super) fn names(&self) -> Vec<String> {
        self.entries.iter().map(|(key, _)| key.clone()).collect()
    }

    /// The text of a scalar that stays where it is.
    pub(super) fn peek(&self, key: &str) -> Option<&str> {
        match self.entries.iter().find(|(known, _)| known == key)? {
            (_, Node { value: Value::Scalar(text), .. }) => Some(text),
            _ => None,
        }
    }

    /// Where a key was given; `None` where it was not, or as nothing.
    pub(super) fn origin(&self, key: &str) -> Option<Source> {
        let (_, node) = self.entries.iter().find(|(known, _)| known == key)?;
        (node.value != Value::Null).then(|| node.source.clone())
    }

    /// Where anything in this section was given.
    pub(super) fn any_origin(&self) -> Option<Source> {
        self.entries.first().map(|(_, node)| node.source.clone())
    }

    /// Takes out keys that distribution knows and whose absence changes nothing that a client could see.
    pub(super) fn skip(&mut self, keys: &[&str]) {
        self.entries.retain(|(known, _)| !keys.contains(&known.as_str()));
    }

    /// Takes out a key that distribution knows, and says that it has no effect here.
    pub(super) fn no_effect(&mut self, key: &str, why: &'static str, issues: &mut Issues) {
        if let Some(origin) = self.origin(key) {
            issues.notice(Notice::NoEffect { key: join(&self.path, key), origin, why });
        }
        self.skip(&[key]);
    }

    /// Takes out a key that must not be passed over.
    pub(super) fn unsupported(&mut self, key: &str, instead: &'static str, issues: &mut Issues) {
        if let Some(origin) = self.origin(key) {
            issues.problem(Problem::Unsupported { key: join(&self.path, key), origin, instead });
        }
        self.skip(&[key]);
    }

    /// Takes out a section that must not be passed over, even an empty one: its name alone means something.
    pub(super) fn unsupported_section(&mut self, key: &str, instead: &'static str, issues: &mut Issues) {
        if let Some(Node { source: origin, .. }) = self.take(key) {
            issues.problem(Problem::Unsupported { key: join(&self.path, key), origin, instead });
        }
    }

    /// Says what nobody asked for.
    pub(super) fn finish(self, issues: &mut Issues) {
        for (key, node) in self.entries {
            issues.notice(match node.source {
                Source::Environment(name) => Notice::UnknownVariable { name },
                origin => Notice::UnknownKey { key: join(&self.path, &key), origin },
            });
        }
    }

    fn of(path: String, node: Option<Node>, issues: &mut Issues) -> Self {
        let entries = match node {
            None | Some(Node { value: Value::Null, .. }) => Vec::new(),
            Some(Node { value: Value::Map(map), .. }) => map,
            Some(Node { value, source }) => {
                let key = if path.is_empty() { "the document" } else { &path };
                issues.problem(wrong_type(key.to_owned(), "a mapping", &value, source));
                Vec::new()
            }
        };
        Self { path, entries }
    }

    fn take(&mut self, key: &str) -> Option<Node> {
        let index = self.entries.iter().position(|(known, _)| known == key)?;
        Some(self.entries.remove(index).1)
    }

    fn refuse<T>(
        &self,
        key: &str,
        expected: &'static str,
        value: &Value,
        source: Source,
        issues: &mut Issues,
    ) -> Option<T> {
        issues.problem(wrong_type(join(&self.path, key), expected, value, source));
        None
    }
}

/// `true` and `false` in the words of YAML 1.1, which distribution's reader takes.
pub(super) fn parse_switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => Some(true),
        "false" | "no" | "off" | "n" => Some(false),
        _ => None,
    }
}

fn text_of(node: &Node) -> Option<String> {
    match &node.value {
        Value::Scalar(text) => Some(text.clone()),
        Value::Null | Value::List(_) | Value::Map(_) | Value::Broken(_) => None,
    }
}

fn wrong_type(key: String, expected: &'static str, value: &Value, origin: Source) -> Problem {
    let found = match value {
        Value::Broken(problem) => return problem.clone(),
        Value::Null => "nothing".to_owned(),
        Value::Scalar(text) => format!("`{text}`"),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a mapping".to_owned(),
    };
    Problem::WrongType { key, expected, found, origin }
}
