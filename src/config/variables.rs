//! The `REGISTRY_*` variables, applied to a configuration tree as distribution applies them
//! (`configuration/parser.go`).
//!
//! The name without its prefix, split at `_`, is a path of keys; the value is YAML and takes the place of what
//! stands there. They are applied in the order of their names, so that `REGISTRY_STORAGE` comes before
//! `REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY`. A level that is missing on the way is made, whatever its type
//! will be: that distribution makes the wrong one is why `REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED=true`
//! panics there and works here.

use crate::config::Notice;
use crate::config::Problem;
use crate::config::Source;
use crate::config::problem::Issues;
use crate::config::tree::Node;
use crate::config::tree::Value;
use crate::config::tree::join;

/// What every variable begins with.
pub const PREFIX: &str = "REGISTRY_";

/// Says which file to read, and is no setting.
pub const CONFIGURATION_PATH: &str = "REGISTRY_CONFIGURATION_PATH";

/// Applies those of `variables` that begin with [`PREFIX`].
pub(super) fn apply(tree: &mut Node, variables: &[(String, String)], issues: &mut Issues) {
    let mut ours: Vec<_> =
        variables.iter().filter(|(name, _)| name.starts_with(PREFIX) && name != CONFIGURATION_PATH).collect();
    ours.sort();
    for (name, value) in ours {
        let path: Vec<&str> = name.split('_').skip(1).collect();
        let node = Node::parse_variable(name, value, issues);
        place(tree, &path, "", node, issues);
    }
}

/// Puts `leaf` where `path` leads from `node`, which itself stands at `at`.
fn place(node: &mut Node, path: &[&str], at: &str, leaf: Node, issues: &mut Issues) {
    let Some((first, rest)) = path.split_first() else {
        *node = leaf;
        return;
    };
    open(node, at, &leaf.source);
    let next = match &mut node.value {
        Value::Map(map) => Some(entry(map, first, &leaf.source)),
        Value::List(list) => match element(list, first, &leaf.source) {
            Some(element) => Some(element),
            None => {
                return issues.problem(Problem::NoElement { variable: name_of(&leaf), key: at.to_owned() });
            }
        },
        Value::Null | Value::Scalar(_) | Value::Broken(_) => None,
    };
    match next {
        Some(next) => place(next, rest, &join(at, &first.to_lowercase()), leaf, issues),
        None => issues.notice(Notice::UnknownVariable { name: name_of(&leaf) }),
    }
}

/// Makes a mapping of what can become one: nothing, and the short form `storage: filesystem`.
fn open(node: &mut Node, at: &str, source: &Source) {
    match &node.value {
        Value::Null => *node = Node { value: Value::Map(Vec::new()), source: source.clone() },
        Value::Scalar(kind) if at == "storage" || at == "auth" => {
            let empty = Node { value: Value::Null, source: node.source.clone() };
            node.value = Value::Map(vec![(kind.clone(), empty)]);
        }
        _ => {}
    }
}

fn entry<'a>(map: &'a mut Vec<(String, Node)>, key: &str, source: &Source) -> &'a mut Node {
    let known = map.iter().position(|(known, _)| known.eq_ignore_ascii_case(key));
    let index = known.unwrap_or(map.len());
    if known.is_none() {
        map.push((key.to_lowercase(), Node { value: Value::Null, source: source.clone() }));
    }
    #[expect(
        clippy::indexing_slicing,
        reason = "the index was found in the map, or an entry was pushed there"
    )]
    &mut map[index].1
}

/// An element by its number; the number after the last one makes a new one.
fn element<'a>(list: &'a mut Vec<Node>, number: &str, source: &Source) -> Option<&'a mut Node> {
    let index: usize = number.parse().ok()?;
    if index == list.len() {
        list.push(Node { value: Value::Null, source: source.clone() });
    }
    list.get_mut(index)
}

fn name_of(leaf: &Node) -> String {
    match &leaf.source {
        Source::Environment(name) => name.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn flat(node: &Node, path: &str, into: &mut Vec<String>) {
        match &node.value {
            Value::Null => into.push(format!("{path}=null")),
            Value::Scalar(text) => into.push(format!("{path}={text}")),
            Value::Broken(_) => into.push(format!("{path}=broken")),
            Value::List(list) => {
                list.iter().zip(0..).for_each(|(it, index)| flat(it, &format!("{path}[{index}]"), into));
            }
            Value::Map(map) => map.iter().for_each(|(key, it)| flat(it, &join(path, key), into)),
        }
    }

    fn check(file: &str, variables: &[(&str, &str)], expected: &[&str], issues: usize) {
        let mut found = Issues::default();
        let mut tree = Node::parse_file(file, &mut found).unwrap();
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        apply(&mut tree, &variables, &mut found);
        let mut lines = Vec::new();
        flat(&tree, "", &mut lines);
        assert_eq!(lines, expected, "{file:?} {variables:?}");
        assert_eq!(found.notices.len() + found.problems.len(), issues, "{found:?}");
    }

    #[test]
    fn variables_take_the_place_of_what_stands_there() {
        check(
            "http:\n  addr: a",
            &[("REGISTRY_HTTP_ADDR", "0.0.0.0:22625")],
            &["http.addr=0.0.0.0:22625"],
            0,
        );
        check("http: {addr: a}", &[("REGISTRY_http_Addr", "b")], &["http.addr=b"], 0);
        check("http:", &[("REGISTRY_HTTP_TLS_KEY", "k")], &["http.tls.key=k"], 0);
        check("a: 1", &[("OTHER_A", "2"), ("REGISTRY", "3"), (CONFIGURATION_PATH, "/x")], &["a=1"], 0);
        check(
            "a: 1",
            &[("REGISTRY_DIR", "/x"), ("REGISTRY_IMAGE", "@")],
            &["a=1", "dir=/x", "image=broken"],
            0,
        );
    }

    #[test]
    fn both_spellings_of_read_only() {
        let read_only = &["storage.maintenance.readonly.enabled=true"];
        check("{}", &[("REGISTRY_STORAGE_MAINTENANCE_READONLY", r#"{"enabled":true}"#)], read_only, 0);
        check("{}", &[("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED", "true")], read_only, 0);
        check(
            "storage: {maintenance: {readonly: {enabled: false}}}",
            &[("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED", "true")],
            read_only,
            0,
        );
    }

    #[test]
    fn the_more_specific_variable_comes_last() {
        let root = ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/b");
        let whole = ("REGISTRY_STORAGE", "{filesystem: {rootdirectory: /a, maxthreads: 50}}");
        let expected = &["storage.filesystem.rootdirectory=/b", "storage.filesystem.maxthreads=50"];
        check("storage: {s3: {bucket: x}}", &[root, whole], expected, 0);
        check("storage: filesystem", &[root], &["storage.filesystem.rootdirectory=/b"], 0);
    }

    #[test]
    fn elements_of_lists() {
        let file = "l: [a, b]";
        check(file, &[("REGISTRY_L_0", "x"), ("REGISTRY_L_2", "z")], &["l[0]=x", "l[1]=b", "l[2]=z"], 0);
        check(file, &[("REGISTRY_L_4", "x"), ("REGISTRY_L_X", "z")], &["l[0]=a", "l[1]=b"], 2);
    }

    #[test]
    fn a_path_through_a_value_leads_nowhere() {
        check("http: {addr: a}", &[("REGISTRY_HTTP_ADDR_X", "b")], &["http.addr=a"], 1);
    }
}
