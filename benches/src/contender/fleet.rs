//! The fleet: which contenders there are on this machine, built where they must be.
//!
//! Knows where each comes from. Those that cannot be had are left out with a
//! reason that is printed and stored; without Larder there is no comparison.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::contender::Contender;
use crate::contender::Kind;
use crate::contender::go::Module;

const DISTRIBUTION_3: Module = Module {
    path: "github.com/distribution/distribution/v3",
    version: "v3.1.2",
    package: "./cmd/registry",
    tags: "",
};

const ZOT: Module = Module {
    path: "zotregistry.dev/zot/v2",
    version: "v2.1.20",
    package: "./cmd/zot",
    tags: "containers_image_openpgp",
};

/// What takes part, and what does not and why.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    pub(crate) contenders: Vec<Contender>,
    pub(crate) left_out: Vec<(Kind, String)>,
}

impl Fleet {
    /// Finds or builds the contenders that are wanted.
    pub(crate) fn assemble(wanted: &[Kind], build_directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(build_directory).context("making a directory for built servers")?;
        let build_directory = build_directory.canonicalize()?;
        let mut fleet = Self::default();
        for kind in wanted.iter().copied() {
            match find(kind, &build_directory) {
                Ok(contender) => fleet.contenders.push(contender),
                Err(error) => fleet.left_out.push((kind, format!("{error:#}"))),
            }
        }
        Ok(fleet)
    }
}

fn find(kind: Kind, build_directory: &Path) -> Result<Contender> {
    let (program, version) = match kind {
        Kind::Larder => {
            let program = build_larder()?;
            let version = first_line(&program, "--version")?;
            (program, version)
        }
        Kind::Nginx => named("/usr/sbin/nginx", "-v")?,
        Kind::Distribution2 => named("/usr/bin/docker-registry", "--version")?,
        Kind::Distribution3 => (DISTRIBUTION_3.build(build_directory)?, DISTRIBUTION_3.version.to_owned()),
        Kind::Zot => (ZOT.build(build_directory)?, ZOT.version.to_owned()),
        Kind::Dd => bail!("`dd` is not a server"),
    };
    Ok(Contender { kind, program, version })
}

fn named(program: &str, version_flag: &str) -> Result<(PathBuf, String)> {
    let program = PathBuf::from(program);
    let version = first_line(&program, version_flag)?;
    Ok((program, version))
}

/// Builds Larder in the profile that is shipped; its binary lies beside this one's.
fn build_larder() -> Result<PathBuf> {
    let target = std::env::current_exe()?
        .parent()
        .and_then(Path::parent)
        .context("not below a target directory")?
        .to_owned();
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--package", "larder", "--bin", "larder", "--target-dir"])
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .context("running `cargo`")?;
    if !status.success() {
        bail!("`cargo build` of larder failed");
    }
    Ok(target.join("release/larder"))
}

fn first_line(program: &Path, flag: &str) -> Result<String> {
    let output = Command::new(program)
        .arg(flag)
        .output()
        .with_context(|| format!("running `{}`", program.display()))?;
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned())
}
