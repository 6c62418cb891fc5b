//! The RPM package: installed by rpm into a root file system of its own, and taken away again.
//!
//! Knows that Debian's rpm installs into any directory. That file system is of Debian packages, so what an
//! RPM distribution's own systemd makes of the units is not shown.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use anyhow::ensure;

use crate::bench::Bench;
use crate::machine;

/// What is enabled once the package is installed.
const ENABLED: [&str; 3] = ["larder.socket", "larder.service", "larder-scrub.timer"];

/// Its scriptlets make the user and enable the units, what it brought is as it was packed, and nothing of
/// that is left when it goes.
pub(super) fn comes_and_goes(bench: &Bench, package: &Path) -> Result<()> {
    let root = bench.directory().join("rpm-root");
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(machine::base(bench)?.join("root")).arg(&root);
    bench.run("rpm-copy", &copy)?.success()?;
    rpm(bench, &root, "rpm-install", &["--install", "--nodeps"], package)?;
    for unit in ENABLED {
        let asked = Command::new("systemctl").arg("--root").arg(&root).args(["is-enabled", unit]).output()?;
        ensure!(asked.stdout == b"enabled\n", "{unit} is not enabled by the RPM package");
    }
    let users = std::fs::read_to_string(root.join("etc/passwd"))?;
    ensure!(users.contains("\nlarder:"), "the RPM package makes no user");
    rpm(bench, &root, "rpm-verify", &["--verify", "--nodeps"], Path::new("larder"))?;
    rpm(bench, &root, "rpm-erase", &["--erase"], Path::new("larder"))?;
    for path in ["usr/bin/larder", "usr/lib/systemd/system/larder.service"] {
        ensure!(!root.join(path).exists(), "{path} stays when the RPM package goes");
    }
    for unit in ENABLED {
        let wanted = root.join("etc/systemd/system");
        let links =
            ["sockets", "multi-user", "timers"].map(|it| wanted.join(format!("{it}.target.wants/{unit}")));
        ensure!(links.iter().all(|it| it.symlink_metadata().is_err()), "{unit} stays enabled");
    }
    Ok(std::fs::remove_dir_all(root)?)
}

fn rpm(bench: &Bench, root: &Path, name: &str, verb: &[&str], package: &Path) -> Result<()> {
    let mut rpm = Command::new("rpm");
    rpm.arg("--root").arg(root).args(["--dbpath", "/var/lib/rpm"]).args(verb).arg(package);
    bench.run(name, &rpm)?.success().map(drop)
}
