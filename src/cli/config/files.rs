//! The files that a configuration names, tried as a server would use them.

use std::path::Path;

use crate::cli::serve;
use crate::cli::serve::files::Files;
use crate::config::Access;
use crate::config::Config;
use crate::config::Problem;
use crate::metrics::Metrics;

/// Something that would keep a server from starting.
pub(super) struct Finding {
    pub(super) problem: String,
    pub(super) hint: Option<String>,
}

impl Finding {
    pub(super) fn of(problem: &Problem) -> Self {
        Self { problem: problem.to_string(), hint: problem.hint().map(str::to_owned) }
    }
}

/// Reads every file that `config` names.
pub(super) fn check(config: &Config) -> Vec<Finding> {
    let mut files = Files::new(&Metrics::new(env!("CARGO_PKG_VERSION")));
    let tls = files.tls(config).map(drop);
    let credentials = files.credentials(config).map(drop);
    let headers = serve::headers(config).map(drop);
    let failed = [tls, credentials, headers].into_iter().filter_map(Result::err);
    let missing = config.roots.value.iter().filter_map(|root| missing_root(root, config));
    failed.map(|error| Finding { problem: format!("{error:#}"), hint: None }).chain(missing).collect()
}

/// A root that is to be written is made if it is not there; one that is only read has to be there.
fn missing_root(root: &Path, config: &Config) -> Option<Finding> {
    if root.exists() || config.access.value == Access::ReadWrite {
        return None;
    }
    let problem = format!("`{}` does not exist, and nothing may be written to make it", root.display());
    Some(Finding { problem, hint: Some("check the path, and whether what holds it is mounted".to_owned()) })
}
