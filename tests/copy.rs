//! `larder copy` as a command: how it ends where it may not write.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use larder::store::Access;
use larder::store::Options;
use larder::store::Store;

const PAYLOAD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/conformance/fixtures/payload.iso");

#[test]
fn a_destination_that_is_served_is_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let options =
        Options { roots: vec![place.path().to_owned()], access: Access::ReadWrite, ..Options::default() };
    let served = Store::open(&options).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_larder"))
        .args(["copy", PAYLOAD])
        .arg(place.path())
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert!(message.contains("is being written by another process"), "{message}");
    assert!(message.contains("hint: "), "{message}");
    drop(served);
}
