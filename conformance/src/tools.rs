//! The programs that steps need, and how each comes onto this machine.
//!
//! Knows Debian packages by name and Go modules by version. Does not know what
//! a step does with them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;

use crate::process;

/// The longest that one package or one Go build may take: distribution 3 with its cloud drivers
/// needs two and a half minutes on two idle cores.
const INSTALL_LIMIT: Duration = Duration::from_secs(15 * 60);

/// A program of somebody else that a step runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tool {
    /// The official suite of the specification's main branch.
    SuiteMain,
    /// The official suite of 1.1.1.
    Suite111,
    /// distribution 2.8, as Debian ships it.
    Distribution2,
    /// distribution 3.
    Distribution3,
    /// skopeo, of the containers/image family.
    Skopeo,
    /// podman, of the containers/image family.
    Podman,
    /// buildah, of the containers/image family.
    Buildah,
    /// crane, of go-containerregistry.
    Crane,
    /// oras.
    Oras,
    /// regctl, of regclient.
    Regctl,
    /// OpenSSL's command, which writes the key formats that rcgen does not.
    Openssl,
    /// `ip` and `tc`.
    Iproute,
    /// xorriso, which makes images as the appliance builder does.
    Xorriso,
    /// fuseiso, which mounts an image where the kernel cannot.
    Fuseiso,
    /// rsync, which copies what Larder copies and verifies nothing.
    Rsync,
    /// qemu, which is the machine.
    Qemu,
    /// What makes a root file system of Debian packages.
    Debootstrap,
    /// What packs the first file system that a kernel sees.
    Cpio,
    /// What makes a Debian package of a crate.
    CargoDeb,
    /// What makes an RPM package of a crate.
    CargoGenerateRpm,
    /// What installs an RPM package.
    Rpm,
    /// What looks at the licences and sources of crates.
    CargoDeny,
}

enum Source {
    Debian {
        package: &'static str,
        program: &'static str,
    },
    /// `go install`: the version is the pin, the checksum database keeps it.
    Go {
        package: &'static str,
        version: &'static str,
    },
    /// `cargo install`: the version is the pin, crates.io and the crate's own lock file keep it.
    Cargo {
        package: &'static str,
        version: &'static str,
    },
    /// A module of `conformance/go` whose `go.sum` is the pin: for commits without a tag.
    Pinned {
        module: &'static str,
        build: &'static [&'static str],
    },
}

/// The package inside both pinned modules.
const SUITE: &str = "github.com/opencontainers/distribution-spec/conformance";

impl Tool {
    fn source(self) -> Source {
        match self {
            Self::SuiteMain => Source::Pinned { module: "suite-main", build: &["build"] },
            Self::Suite111 => Source::Pinned { module: "suite-1.1.1", build: &["test", "-c"] },
            Self::Distribution2 => Source::Debian { package: "docker-registry", program: "docker-registry" },
            Self::Distribution3 => Source::Go {
                package: "github.com/distribution/distribution/v3/cmd/registry",
                version: "v3.1.2",
            },
            Self::Skopeo => Source::Debian { package: "skopeo", program: "skopeo" },
            Self::Podman => Source::Debian { package: "podman", program: "podman" },
            Self::Buildah => Source::Debian { package: "buildah", program: "buildah" },
            Self::Crane => {
                Source::Go { package: "github.com/google/go-containerregistry/cmd/crane", version: "v0.22.1" }
            }
            Self::Oras => Source::Go { package: "oras.land/oras/cmd/oras", version: "v1.3.6" },
            Self::Regctl => {
                Source::Go { package: "github.com/regclient/regclient/cmd/regctl", version: "v0.11.7" }
            }
            Self::Openssl => Source::Debian { package: "openssl", program: "openssl" },
            Self::Iproute => Source::Debian { package: "iproute2", program: "tc" },
            Self::Xorriso => Source::Debian { package: "xorriso", program: "xorriso" },
            Self::Fuseiso => Source::Debian { package: "fuseiso", program: "fuseiso" },
            Self::Rsync => Source::Debian { package: "rsync", program: "rsync" },
            Self::Qemu => Source::Debian { package: "qemu-system-x86", program: "qemu-system-x86_64" },
            Self::Debootstrap => Source::Debian { package: "debootstrap", program: "debootstrap" },
            Self::Cpio => Source::Debian { package: "cpio", program: "cpio" },
            Self::CargoDeb => Source::Cargo { package: "cargo-deb", version: "3.8.0" },
            Self::CargoGenerateRpm => Source::Cargo { package: "cargo-generate-rpm", version: "0.21.1" },
            Self::Rpm => Source::Debian { package: "rpm", program: "rpm" },
            // The first ones understand no lock file of version 4.
            Self::CargoDeny => Source::Cargo { package: "cargo-deny", version: "0.20.2" },
        }
    }
}

/// Whether what was asked for can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Provided {
    /// It can.
    Here,
    /// This machine has no way to get it.
    Missing(String),
}

/// What was found or installed so far.
#[derive(Debug)]
pub(crate) struct Tools {
    cache: PathBuf,
    go_modules: PathBuf,
    logs: PathBuf,
    found: RefCell<BTreeMap<Tool, PathBuf>>,
}

impl Tools {
    /// Nothing is looked for yet. Builds go to `cache`, logs to `logs`; `go_modules` holds the pinned
    /// modules.
    pub(crate) fn new(cache: PathBuf, go_modules: PathBuf, logs: PathBuf) -> Self {
        Self { cache, go_modules, logs, found: RefCell::default() }
    }

    /// Makes all of `tools` runnable.
    ///
    /// # Errors
    /// An installation that this machine should manage failed.
    pub(crate) fn provide_all(&self, tools: &[Tool]) -> Result<Provided> {
        for tool in tools {
            if let Provided::Missing(why) = self.provide(*tool)? {
                return Ok(Provided::Missing(why));
            }
        }
        Ok(Provided::Here)
    }

    /// Where a tool lies that the step named among its needs.
    ///
    /// # Errors
    /// It was not named there.
    pub(crate) fn path(&self, tool: Tool) -> Result<PathBuf> {
        self.found
            .borrow()
            .get(&tool)
            .cloned()
            .with_context(|| format!("{tool:?} is not among the step's needs"))
    }

    /// Makes a tool runnable: finds it, or installs it.
    pub(crate) fn provide(&self, tool: Tool) -> Result<Provided> {
        if self.found.borrow().contains_key(&tool) {
            return Ok(Provided::Here);
        }
        let path = match tool.source() {
            Source::Debian { package, program } => self.debian(package, program)?,
            Source::Go { package, version } => self.go_install(package, version)?,
            Source::Cargo { package, version } => self.cargo_install(package, version)?,
            Source::Pinned { module, build } => self.go_pinned(module, build)?,
        };
        Ok(match path {
            Ok(path) => {
                self.found.borrow_mut().insert(tool, path);
                Provided::Here
            }
            Err(why) => Provided::Missing(why),
        })
    }

    fn debian(&self, package: &str, program: &str) -> Result<Result<PathBuf, String>> {
        if let Some(path) = on_path(program) {
            return Ok(Ok(path));
        }
        if on_path("apt-get").is_none() || !rustix::process::getuid().is_root() {
            return Ok(Err(format!(
                "`{program}` is not installed, and only root on Debian can install it here"
            )));
        }
        let apt = |arguments: &[&str]| {
            let mut command = Command::new("apt-get");
            command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
            process::run(&command, &self.log(package), INSTALL_LIMIT)?.success()
        };
        let install = ["install", "--yes", "--no-install-recommends", package];
        // The list of packages may be older than the archive, or not there yet.
        apt(&install).or_else(|_| apt(&["update"]).and_then(|_| apt(&install)))?;
        Ok(Ok(on_path(program).with_context(|| format!("package {package} has no `{program}`"))?))
    }

    fn go_install(&self, package: &str, version: &str) -> Result<Result<PathBuf, String>> {
        let program = package.rsplit('/').next().unwrap_or(package);
        let directory = self.cache.join(format!("{program}-{version}"));
        let path = directory.join(program);
        if path.exists() {
            return Ok(Ok(path));
        }
        let Some(mut go) = go() else { return Ok(Err(no_go(program))) };
        go.args(["install", &format!("{package}@{version}")]).env("GOBIN", &directory);
        process::run(&go, &self.log(program), INSTALL_LIMIT)?.success()?;
        Ok(Ok(path))
    }

    /// Unoptimized, since it runs once and is built more often than that.
    fn cargo_install(&self, package: &str, version: &str) -> Result<Result<PathBuf, String>> {
        let directory = self.cache.join(format!("{package}-{version}"));
        let path = directory.join("bin").join(package);
        if path.exists() {
            return Ok(Ok(path));
        }
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args(["install", "--debug", "--locked", "--version", version, package, "--root"])
            .arg(&directory);
        // Away from the workspace, whose settings are not its own.
        cargo.current_dir(&self.cache).env("CARGO_TARGET_DIR", self.cache.join("cargo-install"));
        process::run(&cargo, &self.log(package), INSTALL_LIMIT)?.success()?;
        Ok(Ok(path))
    }

    fn go_pinned(&self, module: &str, build: &[&str]) -> Result<Result<PathBuf, String>> {
        let source = self.go_modules.join(module);
        let path = self.cache.join(format!("{module}-{}", pin(&source)?));
        if path.exists() {
            return Ok(Ok(path));
        }
        let Some(mut go) = go() else { return Ok(Err(no_go(module))) };
        go.args(build).arg("-o").arg(&path).arg(SUITE).current_dir(&source);
        process::run(&go, &self.log(module), INSTALL_LIMIT)?.success()?;
        Ok(Ok(path))
    }

    /// A directory that outlives this run, for what takes long to make and is the same every time.
    pub(crate) fn cache(&self) -> &Path {
        &self.cache
    }

    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("install-{}.log", name.replace('/', "-")))
    }
}

fn go() -> Option<Command> {
    let mut go = Command::new(on_path("go")?);
    go.env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=readonly -trimpath -buildvcs=false").env_remove("GOBIN");
    Some(go)
}

fn no_go(what: &str) -> String {
    format!("`{what}` is built from its Go module, and there is no Go toolchain here")
}

/// The commit that a pinned module requires, as the last part of its pseudo-version.
fn pin(module: &Path) -> Result<String> {
    let text = std::fs::read_to_string(module.join("go.mod"))?;
    let line = text.lines().find(|line| line.contains(SUITE) && line.contains(" v0.0.0-"));
    let version = line.and_then(|line| line.split(" v0.0.0-").nth(1)).context("go.mod pins no suite")?;
    let commit = version.split_whitespace().next().and_then(|stamp| stamp.split('-').nth(1));
    Ok(commit.context("go.mod pins no commit")?.to_owned())
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|path| path.is_file())
}
