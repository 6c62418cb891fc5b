//! The rules of the house, as a test. `ARCHITECTURE.md` says why; this says no.
//!
//! The checks read text, by choice: they need nothing but the sources, and what they refuse can be seen by
//! eye. Each is shown below to fail on a sample that breaks it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// The modules of the library in the order of the layers. A module may use itself and what stands before it.
const LAYERS: &[&[&str]] = &[
    &["oci", "iso9660", "reachability", "release", "auth", "config"],
    &["clock", "metrics", "store", "reload", "credentials"],
    &["registry", "maintenance"],
    &["peer"],
    &["http", "agent"],
    &["server", "cli"],
];

/// How many of the layers are pure: values in, values out.
const PURE: usize = 1;

/// What a pure module does not touch: an executor, a log, a clock, the environment, a file or a socket.
const IMPURE: &[&str] = &[
    "tokio",
    "tracing::",
    "rustix",
    "std::env",
    "std::fs",
    "std::io::stdin",
    "std::net::Tcp",
    "std::net::Udp",
    "std::os::",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
];

/// Words that belong to some modules, and why.
const RESERVED: &[Reserved] = &[
    Reserved {
        words: &["std::fs::", "File::open(", "OpenOptions"],
        home: &["store", "reload"],
        why: "files are opened by the store, and an operator's own by `reload`",
    },
    Reserved {
        words: &["tokio::fs"],
        home: &[],
        why: "file work crosses the store's seam, where it can be bounded and recorded",
    },
    Reserved {
        words: &["fs::rename(", "renameat", "fsync(", "fdatasync(", "sync_all(", "sync_data(", "linkat("],
        home: &["store"],
        why: "nothing becomes visible or durable but through `store::publish`",
    },
    Reserved { words: &["TcpListener", "UnixListener"], home: &["server"], why: "only the server listens" },
    Reserved {
        words: &["TcpStream::connect", "UnixStream::connect", "TcpSocket"],
        home: &["server", "peer"],
        why: "only `peer::client` dials",
    },
    Reserved {
        words: &["axum"],
        home: &["http", "server"],
        why: "axum serves the administration endpoints and nothing else",
    },
    Reserved {
        words: &["hyper::", "hyper_util::", "StatusCode"],
        home: &["peer", "http", "server"],
        why: "HTTP is spoken at the border",
    },
    Reserved {
        words: &["kube::", "k8s_openapi"],
        home: &["agent"],
        why: "only the agent speaks to the Kubernetes API",
    },
    Reserved {
        words: &["println!", "eprintln!", "print!", "eprint!", "io::stdout", "io::stderr"],
        home: &["cli"],
        why: "only the command line prints",
    },
    Reserved {
        words: &["clap::", "std::env::"],
        home: &["cli"],
        why: "only the command line reads arguments and the environment",
    },
    Reserved {
        words: &["SystemTime::now"],
        home: &["store", "peer", "http", "agent", "server", "cli"],
        why: "time arrives as `now`",
    },
    Reserved {
        words: &["tokio::spawn(", "tokio::task::spawn("],
        home: &[],
        why: "a task has an owner: a `TaskTracker`, a `JoinSet` or an `AbortOnDropHandle`",
    },
    Reserved { words: &["thread::sleep"], home: &[], why: "nothing sleeps that can be woken" },
];

/// The longest file, in lines. Most should have less than 300: what does not fit on a few screens is two
/// things.
const LONGEST_FILE: usize = 500;

/// Names that say nothing of what is inside.
const NAMELESS: &[&str] =
    &["mod", "util", "utils", "helper", "helpers", "common", "types", "manager", "misc"];

struct Reserved {
    words: &'static [&'static str],
    home: &'static [&'static str],
    why: &'static str,
}

#[test]
fn the_house_is_in_order() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = ["src", "storage-layout/src", "conformance/src", "benches"];
    let files: BTreeMap<_, _> = packages
        .iter()
        .flat_map(|it| sources(&root.join(it)))
        .map(|it| (relative(&it, root), fs::read_to_string(&it).unwrap()))
        .collect();
    assert!(files.len() > 20, "only {} files were looked at", files.len());
    let tests: BTreeSet<_> = files.iter().flat_map(|(path, text)| test_modules(path, text)).collect();
    let is_test = |path: &str| tests.iter().any(|it| path == it || is_below(path, it));
    let all = files.iter().map(|(path, text)| Source { path, text, is_test: is_test(path) });
    let findings: Vec<_> = all.flat_map(|it| check(&it)).collect();
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

/// The files that are compiled for tests only: `#[cfg(test)] mod name;` in `path`.
fn test_modules(path: &str, text: &str) -> Vec<String> {
    let dir = path.trim_end_matches(".rs").trim_end_matches("/lib").to_owned();
    let declared = text.split("#[cfg(test)]\nmod ").skip(1);
    let names = declared.filter_map(|it| it.split_once(';')).map(|(name, _)| name);
    names.filter(|it| !it.contains(' ')).map(|name| format!("{dir}/{name}.rs")).collect()
}

/// Whether `path` belongs to the module in the file `module`.
fn is_below(path: &str, module: &str) -> bool {
    path.strip_prefix(module.trim_end_matches(".rs")).is_some_and(|rest| rest.starts_with('/'))
}

fn relative(file: &Path, root: &Path) -> String {
    file.strip_prefix(root).unwrap().to_str().unwrap().to_owned()
}

#[test]
fn every_module_has_a_layer() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let modules: Vec<_> = lib
        .lines()
        .filter_map(|it| it.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    assert!(!modules.is_empty());
    for module in modules {
        assert!(rank(module).is_some(), "src/lib.rs: {module} has no layer in tests/house.rs");
    }
}

#[test]
fn the_layout_crate_depends_on_nothing() {
    let manifest =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("storage-layout/Cargo.toml")).unwrap();
    assert!(
        !manifest.lines().any(|it| it.trim() == "[dependencies]"),
        "storage-layout stays without dependencies"
    );
}

/// Every rule refuses the sample that breaks it, in these words, and only that one.
#[test]
fn the_rules_can_fail() {
    for (path, text, expected) in [
        ("src/oci.rs", "use crate::store::Store;", "src/oci.rs:2: oci must not use store"),
        ("src/store.rs", "    crate::registry::f();", "src/store.rs:2: store must not use registry"),
        ("src/http.rs", "use crate::server;", "src/http.rs:2: http must not use server"),
        ("src/oci.rs", "use super::store::Store;", "src/oci.rs:2: oci must not use store"),
        (
            "src/store/walk.rs",
            "use super::super::peer::Peer;",
            "src/store/walk.rs:2: store must not use peer",
        ),
        (
            "src/cli.rs",
            "use crate::{store, oci};",
            "src/cli.rs:2: one `use crate::module::..` for each module",
        ),
        ("src/release.rs", "use tokio::sync::Mutex;", "src/release.rs:2: `tokio` is not for a pure module"),
        ("src/auth/x.rs", "tracing::info!();", "src/auth/x.rs:2: `tracing::` is not for a pure module"),
        ("src/peer.rs", "std::fs::read(p)", "src/peer.rs:2: `std::fs::`: files are opened by the store"),
        ("src/registry.rs", "fs::rename(a, b)", "src/registry.rs:2: `fs::rename(`: nothing becomes visible"),
        ("src/registry.rs", "file.sync_all()?;", "src/registry.rs:2: `sync_all(`: nothing becomes visible"),
        ("src/peer.rs", "println!()", "src/peer.rs:2: `println!`: only the command line prints"),
        ("src/registry.rs", "SystemTime::now()", "src/registry.rs:2: `SystemTime::now`: time arrives as"),
        ("src/server.rs", "tokio::spawn(x)", "src/server.rs:2: `tokio::spawn(`: a task has an owner"),
        ("src/registry/mod.rs", "", "src/registry/mod.rs:1: `mod` says nothing of what is inside"),
        ("src/store/utils.rs", "", "src/store/utils.rs:1: `utils` says nothing of what is inside"),
        ("src/attic.rs", "", "src/attic.rs:1: attic has no layer"),
        ("src/oci.rs", "#[cfg(test)]\nmod tests;\nuse crate::peer;", "src/oci.rs:4: oci must not use peer"),
    ] {
        let text = format!("//! Knows a sample. Does not know more.\n{text}\n");
        let findings = check(&Source { path, text: &text, is_test: false });
        assert!(matches!(&findings[..], [one] if one.starts_with(expected)), "{expected}: {findings:?}");
    }
    let long = "//! Knows a sample. Does not know more.\n".to_owned() + &"\n".repeat(LONGEST_FILE);
    assert_eq!(
        check(&Source { path: "src/store.rs", text: &long, is_test: false }),
        ["src/store.rs:501: longer than 500 lines"]
    );
}

/// What is allowed looks much like what is not.
#[test]
fn the_rules_let_pass() {
    for (path, text) in [
        ("src/store.rs", "use crate::metrics::Metrics;"),
        ("src/store.rs", "use crate::store::walk;"),
        ("src/store/walk.rs", "use super::Error;"),
        ("src/cli.rs", "println!();"),
        ("src/registry.rs", "use std::fs::File;"),
        ("src/http.rs", "AbortOnDropHandle::new(tokio::spawn(work))"),
        ("src/registry.rs", "// crate::http::Route decides"),
        ("src/oci.rs", "#[cfg(test)]\nmod tests {\n    use tokio::sync::Mutex;\n}"),
        ("src/oci.rs", "#[cfg(test)]\n#[allow(x)]\nmod tests {\n    use tokio::sync::Mutex;\n}"),
        ("src/main.rs", "larder::cli::main();"),
        ("conformance/src/main.rs", "println!();"),
    ] {
        let text = format!("//! Knows a sample. Does not know more.\n{text}\n");
        assert_eq!(check(&Source { path, text: &text, is_test: false }), [""; 0], "{path}: {text}");
    }
}

/// A file, named relative to the workspace.
struct Source<'a> {
    path: &'a str,
    text: &'a str,
    /// Whether all of it is compiled for tests only.
    is_test: bool,
}

impl<'a> Source<'a> {
    /// The module of the library that the file belongs to; `None` for the crate's root and other crates.
    fn module(&self) -> Option<&'a str> {
        let path = self.path.strip_prefix("src/")?;
        let module = path.split_once('/').map_or_else(|| path.trim_end_matches(".rs"), |(module, _)| module);
        (!matches!(module, "lib" | "main")).then_some(module)
    }

    fn name(&self) -> &'a str {
        self.path.rsplit('/').next().unwrap().trim_end_matches(".rs")
    }

    /// Lines of product code with their numbers: no comments, and nothing from the tests on, which stand
    /// last.
    fn code(&self) -> impl Iterator<Item = (usize, &'a str)> + use<'a> {
        let lines: Vec<_> = if self.is_test { Vec::new() } else { self.text.lines().collect() };
        let tests = (0..lines.len()).find(|at| begins_tests(&lines[*at..])).unwrap_or(lines.len());
        let product = (1..).zip(lines).take(tests);
        product.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

/// Whether a module of tests stands here, rather than the name of a file of them.
fn begins_tests(lines: &[&str]) -> bool {
    let mut rest = lines.iter().skip_while(|it| it.starts_with("#["));
    lines.first() == Some(&"#[cfg(test)]")
        && rest.next().is_some_and(|it| it.starts_with("mod ") && it.ends_with('{'))
}

fn check(source: &Source<'_>) -> Vec<String> {
    let mut findings = Vec::new();
    let mut report = |line: usize, what: String| findings.push(format!("{}:{line}: {what}", source.path));
    if NAMELESS.contains(&source.name()) {
        report(1, format!("`{}` says nothing of what is inside", source.name()));
    }
    if source.text.lines().count() > LONGEST_FILE {
        report(LONGEST_FILE + 1, format!("longer than {LONGEST_FILE} lines"));
    }
    let Some(module) = source.module() else { return findings };
    let Some(own) = rank(module) else {
        report(1, format!("{module} has no layer in tests/house.rs"));
        return findings;
    };
    for (line, text) in source.code() {
        if text.contains("use crate::{") {
            report(line, "one `use crate::module::..` for each module".into());
        }
        for other in LAYERS.concat() {
            if rank(other) > Some(own) && mentions_module(text, other) {
                report(line, format!("{module} must not use {other}"));
            }
        }
        for word in IMPURE.iter().filter(|word| own.0 < PURE && text.contains(**word)) {
            report(line, format!("`{word}` is not for a pure module"));
        }
        for rule in RESERVED.iter().filter(|it| own.0 >= PURE && !it.home.contains(&module)) {
            for word in rule.words.iter().filter(|word| mentions(text, word)) {
                report(line, format!("`{word}`: {}", rule.why));
            }
        }
    }
    findings
}

/// A module's layer, and its place therein.
fn rank(module: &str) -> Option<(usize, usize)> {
    (0..).zip(LAYERS).find_map(|(layer, modules)| Some((layer, modules.iter().position(|it| *it == module)?)))
}

fn mentions_module(line: &str, module: &str) -> bool {
    ["crate::", "super::"].iter().any(|from| {
        let path = format!("{from}{module}");
        line.match_indices(&path).any(|(at, _)| {
            line[at + path.len()..].chars().next().is_none_or(|it| !it.is_alphanumeric() && it != '_')
        })
    })
}

/// Whether a word stands in a line. The type `std::fs::File` opens nothing and may be named by anyone; a task
/// that ends with its handle has an owner.
fn mentions(line: &str, word: &str) -> bool {
    let line = line.replace("std::fs::File;", "").replace("AbortOnDropHandle::new(tokio::spawn(", "");
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(|it: char| it.is_alphanumeric() || it == '_') || word.starts_with(['.', ':'])
    })
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.map(|it| it.unwrap().path()) {
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}
