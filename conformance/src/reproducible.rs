//! Built twice from the same sources: at other places, from another home of cargo's, at another hour, the
//! same bytes.
//!
//! Knows what a build leaves of its surroundings: the paths of other people's crates, for which a flag says
//! what to call them, and the time of packing. The toolchain and the C compiler are the same both times.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;

use crate::bench::Bench;
use crate::bench::source;
use crate::image::digest;
use crate::packages;
use crate::process;

/// How long one release build may take on a machine that does other things too.
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// What one build came to.
struct Built {
    program: Vec<u8>,
    deb: Vec<u8>,
    rpm: Vec<u8>,
}

/// The program, both packages.
pub(crate) fn twice(bench: &Bench) -> Result<String> {
    let epoch = epoch(bench)?;
    let home = cargo_home()?;
    let first = build(bench, "one", &home, &epoch)?;
    let other_home = bench.directory().join("home-of-another");
    symlink(&home, &other_home)?;
    let second = build(bench, "another/and/deeper", &other_home, &epoch)?;
    let mut hashes = Vec::new();
    for (what, one, other) in [
        ("larder", &first.program, &second.program),
        ("deb", &first.deb, &second.deb),
        ("rpm", &first.rpm, &second.rpm),
    ] {
        let [one, other] = [one, other].map(|it| digest(it));
        ensure!(one == other, "{what} is {one}, and built again {other}");
        hashes.push(format!("{what} {}", one.get(..19).unwrap_or(&one)));
    }
    let text = String::from_utf8_lossy(&first.program);
    for place in [source(), bench.directory(), &home] {
        let place = place.display().to_string();
        ensure!(!text.contains(&place), "the program says `{place}`");
    }
    Ok(format!("the same from two directories and two homes of cargo's: {}", hashes.join(", ")))
}

fn build(bench: &Bench, place: &str, home: &Path, epoch: &str) -> Result<Built> {
    let tree = bench.directory().join(place);
    copy_sources(bench, &tree)?;
    let target = tree.join("target");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--locked", "--package", "larder"]).current_dir(&tree);
    // Separated by what no path has.
    let flags = ["--remap-path-prefix", &format!("{}/registry/src=/registry", home.display())].join("\u{1f}");
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags).env_remove("RUSTFLAGS");
    cargo.env("CARGO_HOME", home).env("CARGO_TARGET_DIR", &target).env("SOURCE_DATE_EPOCH", epoch);
    let log = bench.directory().join(format!("build-{}.log", place.replace('/', "-")));
    process::run(&cargo, &log, BUILD_LIMIT)?.success()?;
    let program = fs::read(target.join("release/larder"))?;
    let deb = packages::deb_of(bench, &tree, &target, epoch)?;
    let rpm = packages::rpm_of(bench, &tree, &target, epoch)?;
    let built = Built { program, deb: fs::read(deb)?, rpm: fs::read(rpm)? };
    fs::remove_dir_all(target)?;
    Ok(built)
}

/// The files that git knows, as they are now.
fn copy_sources(bench: &Bench, tree: &Path) -> Result<()> {
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(source());
    let listed = bench.run("sources", &git)?.success()?;
    // What was removed is listed until that is committed.
    for name in listed.lines().filter(|it| source().join(it).exists()) {
        let (from, to) = (source().join(name), tree.join(name));
        fs::create_dir_all(to.parent().context("a file has a directory")?)?;
        fs::copy(&from, &to).with_context(|| format!("copying `{name}`"))?;
    }
    Ok(())
}

/// When the sources were last changed, as tools that pack want it said.
pub(crate) fn epoch(bench: &Bench) -> Result<String> {
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(source());
    Ok(bench.run("epoch", &git)?.success()?.trim().to_owned())
}

fn cargo_home() -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let usual = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    home.or_else(usual).context("neither CARGO_HOME nor HOME is set")
}
