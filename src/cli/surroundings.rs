//! What decides without an operator: who runs the program, where such a user's things lie, and what it runs
//! on.

use std::env;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use rustix::fs::Access;
use rustix::process::geteuid;
use tokio::runtime;
use tokio::runtime::Runtime;

use crate::cli::Failure;
use crate::config::Surroundings;

/// Where a server's data and socket lie when nobody says where, as podman does it: for root among the system's,
/// for everybody else among their own (XDG Base Directory Specification). systemd's `StateDirectory=` and
/// `RuntimeDirectory=` win over both.
pub(super) fn find() -> Surroundings {
    let is_root = geteuid().is_root();
    let runtime = first_of("RUNTIME_DIRECTORY").or_else(|| match is_root {
        true => Some(PathBuf::from("/run/larder")),
        false => absolute("XDG_RUNTIME_DIR").map(|dir| dir.join("larder")),
    });
    let root = first_of("STATE_DIRECTORY").unwrap_or_else(|| match is_root {
        true => PathBuf::from("/var/lib/larder"),
        false => data_home().join("larder"),
    });
    let admin_socket = runtime.filter(|dir| can_hold_a_socket(dir)).map(|dir| dir.join("admin.sock"));
    Surroundings { root, admin_socket }
}

/// What a command runs on: the thread that it was started on. Connections of a server, hashing and disks have
/// threads of their own.
pub(super) fn runtime() -> anyhow::Result<Runtime> {
    runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")
}

/// Where the server on this host can be asked: at `named`, or where it puts its socket when nobody says
/// where.
///
/// # Errors
/// Nobody says, and there is no place for one.
pub(super) fn admin_socket(named: Option<PathBuf>) -> Result<PathBuf, Failure> {
    named.or_else(|| find().admin_socket).ok_or_else(|| {
        Failure::usage("there is no place for an administration socket")
            .with_hint("name it with `--admin-socket`")
    })
}

/// Whether files can be made in a directory, or the directory itself can be made.
fn can_hold_a_socket(dir: &Path) -> bool {
    let usable = |dir: &Path| rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    if dir.exists() { usable(dir) } else { dir.parent().is_some_and(usable) }
}

fn data_home() -> PathBuf {
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .unwrap_or_else(|| PathBuf::from("/var/lib"))
}

/// A path of the environment; one that is not absolute does not count, as the specification wants it.
fn absolute(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// The first of a list of paths with colons between them, as systemd gives them.
fn first_of(name: &str) -> Option<PathBuf> {
    let list = env::var_os(name)?;
    env::split_paths(&list).find(|path| path.is_absolute())
}
