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
            shared: Rc::new(Shared { against, tools, target, larder, building: RefCell::default() }),
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
        cargo.envs(environment.iter().copied());
        process::run(&cargo, &self.directory.join(format!("{name}.log")), BUILD_LIMIT)
    }

    fn larder(&self) -> Result<PathBuf> {
        match self.shared.larder.get() {
            Some(path) => Ok(path.clone()),
            None => self.build_larder(),
        }
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

/// The root of the workspace.
pub(crate) fn source() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
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
