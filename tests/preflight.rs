//! `larder preflight`: a line for each check, a hint for each that fails, and how it exits.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

const PAYLOAD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/conformance/fixtures/payload.iso");

/// What a preflight said, and how it exited.
struct Said {
    code: i32,
    lines: Vec<Value>,
}

impl Said {
    fn of(&self, check: &str) -> Vec<&Value> {
        self.lines.iter().filter(|it| it["check"] == check).collect()
    }

    /// A check ended so, and said that; what is not fine has a hint.
    fn check(&self, check: &str, verdict: &str, message: &str) {
        let is_it = |it: &&Value| {
            it["verdict"] == verdict
                && it["message"].as_str().unwrap().contains(message)
                && it["hint"].is_null() == (verdict == "fine")
        };
        assert!(
            self.of(check).iter().any(is_it),
            "no {check} that is {verdict}: {message}\n{:#?}",
            self.lines
        );
    }
}

fn preflight(root: &Path, more: &[&str]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_larder"))
        .env_clear()
        .args(["preflight", "--admin-socket", "none", "--output", "json", "--root"])
        .arg(root)
        .args(more)
        .output()
        .unwrap();
    let Ok(lines) = serde_json::from_slice(&output.stdout) else {
        panic!("{}", String::from_utf8_lossy(&output.stderr))
    };
    Said { code: output.status.code().unwrap(), lines }
}

/// A port that nobody listens on just now.
fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn a_node_that_is_fit() {
    let root = TempDir::new().unwrap();
    let said = preflight(root.path(), &["--listen", &free(), "--medium", PAYLOAD, "--release", "4.22.1"]);
    assert_eq!(said.code, 0, "{:#?}", said.lines);
    said.check("port", "fine", "is free");
    said.check("label", "fine", "`agentdata`");
    said.check("medium", "fine", "read at its start, middle and end");
    said.check("contents", "fine", "67 blobs");
    assert!(said.of("space")[0]["message"].as_str().unwrap().starts_with("needs "));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0, "nothing was written");
}

#[test]
fn a_port_that_is_taken() {
    let root = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let said = preflight(root.path(), &["--listen", &taken.local_addr().unwrap().to_string()]);
    assert_eq!(said.code, 1);
    said.check("port", "problem", "is taken by another program");
}

#[test]
fn a_medium_that_is_not_the_one_or_not_whole() {
    let root = TempDir::new().unwrap();
    let listen = ["--listen", &free()];
    let with = |more: &[&str]| preflight(root.path(), &[&listen, more].concat());
    let said = with(&["--medium", PAYLOAD, "--label", "ocp-release-bundle-4.19.0-x86_64"]);
    assert_eq!(said.code, 1);
    said.check("label", "problem", "`agentdata`, where `ocp-release-bundle-4.19.0-x86_64` is expected");
    let said = with(&["--medium", PAYLOAD, "--release", "4.0.0"]);
    assert_eq!(said.code, 1);
    said.check("contents", "problem", "release 4.0.0 is not there");

    let cut = root.path().join("cut.iso");
    fs::write(&cut, &fs::read(PAYLOAD).unwrap()[..1_500_000]).unwrap();
    let said = with(&["--medium", cut.to_str().unwrap()]);
    assert_eq!(said.code, 1);
    said.check("medium", "problem", "it was cut short");
    let said = with(&["--medium", "/nonexistent"]);
    assert_eq!(said.code, 1);
    said.check("medium", "problem", "/nonexistent");
}

#[test]
fn certificates_and_credentials() {
    let place = TempDir::new().unwrap();
    let file = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let issued = rcgen::generate_simple_self_signed(vec!["registry.example".to_owned()]).unwrap();
    fs::write(file("tls.crt"), issued.cert.pem()).unwrap();
    fs::write(file("tls.key"), issued.signing_key.serialize_pem()).unwrap();
    fs::write(file("htpasswd"), "nobody:plain\n").unwrap();
    let (certificate, key, users) = (file("tls.crt"), file("tls.key"), file("htpasswd"));
    let free = free();
    let base = ["--listen", &free, "--tls-cert", &certificate, "--tls-key"];
    let root = place.path().join("root");
    let with = |more: &[&str]| preflight(&root, &[&base, more].concat());

    let said = with(&[&key, "--host-name", "registry.example"]);
    assert_eq!(said.code, 0, "{:#?}", said.lines);
    said.check("certificate", "fine", "for registry.example; valid for");
    let said = with(&[&key, "--host-name", "other.example"]);
    assert_eq!(said.code, 1);
    said.check("certificate", "problem", "it is not for `other.example`");
    let said = with(&[&certificate, "--htpasswd", &users]);
    assert_eq!(said.code, 1);
    said.check("certificate", "problem", "no private key in PEM form");
    said.check("credentials", "problem", "");
}
