//! `larder copy` as a command, where somebody else writes already.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

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

/// A server that writes `root`, until it is dropped.
struct Serving(std::process::Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(root: &Path, socket: &Path) -> Serving {
    let child = Command::new(env!("CARGO_BIN_EXE_larder"))
        .args(["serve", "--listen", "127.0.0.1:0", "--log-level", "error", "--root"])
        .arg(root)
        .arg("--admin-socket")
        .arg(socket)
        .spawn()
        .unwrap();
    let serving = Serving(child);
    for _ in 0..1000 {
        if std::os::unix::net::UnixStream::connect(socket).is_ok() {
            return serving;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the server does not answer");
}

fn copy(root: &Path, socket: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_larder"))
        .args(["copy", PAYLOAD])
        .arg(root)
        .arg("--admin-socket")
        .arg(socket)
        .args(arguments)
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_server_takes_what_is_copied_to_where_it_writes() {
    let place = tempfile::tempdir().unwrap();
    let (root, other) = (place.path().join("root"), place.path().join("other"));
    let (socket, other_socket) = (place.path().join("admin.sock"), place.path().join("other.sock"));
    let serving = serve(&root, &socket);
    let _other = serve(&other, &other_socket);

    let (code, message) = copy(&root, &other_socket, &[]);
    assert_eq!(code, Some(3), "another server: {message}");
    assert!(message.contains("is being written by another process"), "{message}");

    let (code, message) = copy(&root, &socket, &["--repository", "library/app"]);
    assert_eq!(code, Some(0), "{message}");
    assert!(
        root.join("docker/registry/v2/repositories/library/app/_manifests/tags/latest/current/link").exists()
    );
    assert!(!root.join("docker/registry/v2/repositories/openshift").exists());

    let (code, message) = copy(&root, &socket, &[]);
    assert_eq!(code, Some(0), "{message}");
    drop(serving);
    let verified =
        Command::new(env!("CARGO_BIN_EXE_larder")).arg("verify").arg("--root").arg(&root).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let list = |root: &str| {
        let mut listed = Command::new(env!("CARGO_BIN_EXE_larder"));
        listed.args(["release", "list", "--output", "json", "--root", root]).output().unwrap().stdout
    };
    assert_eq!(list(root.to_str().unwrap()), list(PAYLOAD), "the releases of the image are here");
}
