//! Servers that are Go modules, built here at a pinned version.
//!
//! Knows the `go` command and nothing of what it builds.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use serde::Deserialize;

/// A program of a module.
#[derive(Debug)]
pub(super) struct Module {
    pub(super) path: &'static str,
    pub(super) version: &'static str,
    /// The package of the program, below the module.
    pub(super) package: &'static str,
    pub(super) tags: &'static str,
}

impl Module {
    /// Builds it unless that was done before.
    pub(super) fn build(&self, into: &Path) -> Result<PathBuf> {
        let program = into.join(format!("{}-{}", self.path.replace('/', "-"), self.version));
        if program.exists() {
            return Ok(program);
        }
        let source = self.download()?;
        let mut go = Command::new("go");
        go.current_dir(source).env("GOFLAGS", "-mod=readonly -buildvcs=false");
        let built = go.args(["build", "-tags", self.tags, "-trimpath", "-o"]).arg(&program).arg(self.package);
        let output = built.output().context("running `go build`")?;
        if !output.status.success() {
            bail!("`go build` of {} failed: {}", self.path, last_line(&output.stderr));
        }
        Ok(program)
    }

    /// The module's source, in the module cache. It is built there, so that its own `replace`
    /// directives hold, which `go install MODULE@VERSION` refuses.
    fn download(&self) -> Result<PathBuf> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Downloaded {
            #[serde(default)]
            dir: PathBuf,
            #[serde(default)]
            error: String,
        }
        let module = format!("{}@{}", self.path, self.version);
        let output = Command::new("go")
            .args(["mod", "download", "-json", &module])
            .output()
            .context("running `go`")?;
        let answer: Downloaded = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`go mod download` said: {}", last_line(&output.stderr)))?;
        if !answer.error.is_empty() {
            bail!("{}", answer.error);
        }
        Ok(answer.dir)
    }
}

fn last_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).lines().last().unwrap_or_default().to_owned()
}
