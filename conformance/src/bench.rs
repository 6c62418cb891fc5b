//! What a step works with: the registry under test, tools, and a directory of its own.

use std::cell::OnceCell;
use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::anyhow;

use crate::process;
use crate::process::Finished;
use crate::server::Kind;
use crate::server::Registry;
use crate::server::Setup;
use crate::tools::Tool;
use crate::tools::Tools;

/// The longest that a build of the workspace may take: twice the first build on two busy cores.
const BUILD_LIMIT: Duration = Duration::from_secs(25 * 60);

/// Larder as it is shipped.
const BUILD: [&str; 4] = ["build", "--release", "--package", "larder"];

/// The longest that a command of a client may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// A place to work in, cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Bench {
    shared: Rc<Shared>,
    directory: PathBuf,
}

#[derive(Debug)]
struct Shared {
    against: Kind,
    tools: Tools,
    target: PathBuf,
    larder: OnceCell<PathBuf>,
    building: RefCell<Option<JoinHandle<Result<Finished>>>>,
    began: Instant,
}

impl Bench {
    /// A bench whose results go to `conformance/` under Cargo's target directory.
    pub(crate) fn new(against: Kind, larder: Option<PathBuf>) -> Result<Self> {
        let program = std::env::current_exe()?;
        let target = program.ancestors().nth(2).context("the harness lies in target/PROFILE/")?.to_owned();
        let directory = target.join("conformance");
        let cache = cache()?;
        fs::create_dir_all(&directory)?;
        fs::create_dir_all(&cache)?;
        let tools = Tools::new(cache, source().join("conformance/go"), directory.clone());
        let larder = larder
            .map(fs::canonicalize)
            .transpose()
            .context("--larder")?
            .map_or_else(OnceCell::new, OnceCell::from);
        Ok(Self {
            shared: Rc::new(Shared {
                against,
                tools,
                target,
                larder,
                building: RefCell::default(),
                began: began(),
            }),
            directory,
        })
    }

    /// The same bench, in an empty directory called `name` within its own.
    pub(crate) fn enter(&self, name: &str) -> Result<Self> {
        let directory = self.directory.join(name);
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        Ok(Self { shared: Rc::clone(&self.shared), directory })
    }

    /// Where the files of this step go.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The programs of others.
    pub(crate) fn tools(&self) -> &Tools {
        &self.shared.tools
    }

    /// Which registry is under test.
    pub(crate) fn against(&self) -> Kind {
        self.shared.against
    }

    /// The executable of Larder, if it is built.
    pub(crate) fn larder_here(&self) -> Option<PathBuf> {
        self.shared.larder.get().cloned()
    }

    /// When all of this run began.
    pub(crate) fn began(&self) -> Instant {
        self.shared.began
    }

    /// Starts the registry under test.
    pub(crate) fn registry(&self, setup: &Setup) -> Result<Registry> {
        self.start(self.shared.against, setup)
    }

    /// Starts a registry of this kind.
    pub(crate) fn start(&self, kind: Kind, setup: &Setup) -> Result<Registry> {
        Registry::start(kind, &self.program(kind)?, setup, &self.directory)
    }

    /// The executable of a registry.
    pub(crate) fn program(&self, kind: Kind) -> Result<PathBuf> {
        match kind {
            Kind::Larder => self.larder(),
            Kind::Distribution2 => self.provided(Tool::Distribution2),
            Kind::Distribution3 => self.provided(Tool::Distribution3),
        }
    }

    /// Runs a command to its end within two minutes; its outputs stay in `name.out` and `name.err`.
    pub(crate) fn run(&self, name: &str, command: &Command) -> Result<Finished> {
        process::run(command, &self.directory.join(format!("{name}.log")), COMMAND_LIMIT)
    }

    /// Runs cargo in the workspace.
    pub(crate) fn cargo(&self, name: &str, arguments: &[&str]) -> Result<Finished> {
        self.cargo_with(name, arguments, &[])
    }

    /// Runs cargo in the workspace, with this in its environment.
    pub(crate) fn cargo_with(
        &self,
        name: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Finished> {
        let mut cargo = cargo(arguments);
        if self.shared.building.borrow().is_some() {
            cargo = yielding(&cargo);
        }
        cargo.envs(environment.iter().copied());
        process::run(&cargo, &self.directory.join(format!("{name}.log")), BUILD_LIMIT)
    }

    fn larder(&self) -> Result<PathBuf> {
        self.larder_here().map_or_else(|| self.build_larder(), Ok)
    }

    /// Begins to build Larder as it is shipped, which others need not wait for yet: half of the time that
    /// takes one processor alone.
    pub(crate) fn begin_to_build_larder(&self) {
        if self.shared.larder.get().is_none() {
            let log = self.directory.join("build-larder.log");
            let building = thread::spawn(move || process::run(&cargo(&BUILD), &log, BUILD_LIMIT));
            self.shared.building.replace(Some(building));
        }
    }

    /// Builds Larder as it is shipped, or waits for that.
    pub(crate) fn build_larder(&self) -> Result<PathBuf> {
        if self.shared.larder.get().is_none() {
            let built = match self.shared.building.take() {
                Some(building) => building.join().map_err(|_| anyhow!("the thread that builds panicked"))?,
                None => self.cargo("build-larder", &BUILD),
            };
            built?.success()?;
        }
        let path = self.shared.target.join("release/larder");
        Ok(self.shared.larder.get_or_init(|| path).clone())
    }

    fn provided(&self, tool: Tool) -> Result<PathBuf> {
        self.shared.tools.provide(tool)?;
        self.shared.tools.path(tool)
    }
}

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).current_dir(source()).env("CARGO_TERM_COLOR", "never");
    cargo
}

/// The same command, giving way to the release build: of what that takes, half is one processor's alone, and
/// is to begin as soon as it can.
fn yielding(command: &Command) -> Command {
    let mut nice = Command::new("nice");
    nice.args(["-n", "10"]).arg(command.get_program()).args(command.get_args());
    nice.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    if let Some(directory) = command.get_current_dir() {
        nice.current_dir(directory);
    }
    nice
}

/// The root of the workspace.
pub(crate) fn source() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// When this process began. It was cargo first, which built the harness and became it.
fn began() -> Instant {
    let now = Instant::now();
    age().and_then(|age| now.checked_sub(age)).unwrap_or(now)
}

/// How old this process is: proc_pid_stat(5) counts its start, field 22, in ticks since the machine's.
fn age() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name, field 2, may hold anything but ends with the last parenthesis.
    let started = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse::<u64>().ok()?;
    let up = fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse::<f64>().ok()?;
    let started =
        Duration::from_secs(started) / u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    Duration::try_from_secs_f64(up).ok()?.checked_sub(started)
}

/// How much of something is wanted, where the environment says.
pub(crate) fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Builds of other people's tools outlive a fresh clone.
fn cache() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    Ok(base.or_else(home).context("neither HOME nor XDG_CACHE_HOME is set")?.join("larder-conformance"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_is_as_old_as_its_process() {
        let age = age().unwrap();
        assert!(age < Duration::from_secs(3600), "{age:?}");
    }
}
