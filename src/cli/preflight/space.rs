//! Is there room for what is to come?

use std::path::Path;
use std::sync::Arc;

use crate::cli::output::bytes;
use crate::cli::preflight::Args;
use crate::cli::preflight::Line;
use crate::config::Access;
use crate::config::Config;
use crate::maintenance::copy::Plan;
use crate::maintenance::copy::PlanError;
use crate::maintenance::copy::Selection;
use crate::store::Options;
use crate::store::Source;
use crate::store::Store;

const CHECK: &str = "space";

/// What a release takes with room for the next one to come in beside it, in bytes: the cluster's
/// documentation asks for 60 GB.
const RECOMMENDED: u64 = 60_000_000_000;

/// The room where writes go; `None` where there are none.
pub(super) fn check(
    config: &Config,
    args: &Args,
    medium: Option<&Arc<Vec<Arc<dyn Source>>>>,
) -> Option<Line> {
    let root = config.roots.value.iter().find(|root| root.is_dir() || !root.exists())?;
    if config.access.value == Access::ReadOnly {
        return None;
    }
    let free = match Store::free_at(root) {
        Ok(free) => free,
        Err(error) => return Some(Line::problem(CHECK, error.to_string(), "check what `--root` names")),
    };
    let needed = match medium.map(|medium| needed(args, medium, root)).transpose() {
        Ok(needed) => needed,
        Err(error) => return Some(Line::problem(CHECK, error.to_string(), "check what `--release` names")),
    };
    Some(judge(needed, args.release.is_some(), free, root))
}

/// How many bytes of what is to come are not there.
fn needed(args: &Args, medium: &Arc<Vec<Arc<dyn Source>>>, root: &Path) -> Result<u64, PlanError> {
    let selection = match &args.release {
        Some(release) => Selection::Releases(vec![release.clone()]),
        None => Selection::Everything,
    };
    let plan = Plan::new(Arc::clone(medium), &selection)?;
    if !root.exists() {
        return Ok(plan.bytes());
    }
    let here = Store::open(&Options { roots: vec![root.to_owned()], ..Options::default() })?;
    Ok(plan.bytes_missing_from(&here.sources())?)
}

fn judge(needed: Option<u64>, is_release: bool, free: u64, root: &Path) -> Line {
    let place = root.display();
    let told = match needed {
        Some(needed) => format!("needs {}, {} free at {place}", bytes(needed), bytes(free)),
        None => format!("{} free at {place}", bytes(free)),
    };
    let hint = format!(
        "a release should find {}: give `--root` a larger disk, or collect garbage with `larder gc`",
        bytes(RECOMMENDED)
    );
    match needed {
        Some(needed) if needed > free => Line::problem(CHECK, told, hint),
        None if is_release && free < RECOMMENDED => Line::problem(CHECK, told, hint),
        _ if free < RECOMMENDED && needed != Some(0) => Line::advice(CHECK, told, hint),
        _ => Line::fine(CHECK, told),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::preflight::Verdict;

    #[test]
    fn what_is_needed_decides_and_then_what_is_recommended() {
        const GB: u64 = 1_000_000_000;
        for (needed, is_release, free, verdict) in [
            (Some(20 * GB), false, 18 * GB, Verdict::Problem),
            (Some(20 * GB), false, 21 * GB, Verdict::Advice),
            (Some(20 * GB), true, 61 * GB, Verdict::Fine),
            (Some(0), true, GB, Verdict::Fine),
            (None, true, 59 * GB, Verdict::Problem),
            (None, false, 59 * GB, Verdict::Advice),
            (None, false, 60 * GB, Verdict::Fine),
        ] {
            let line = judge(needed, is_release, free, Path::new("/srv"));
            assert_eq!(line.verdict, verdict, "{line:?}");
            assert!(
                line.message.contains(" free at /srv") && line.hint.is_some() == (verdict != Verdict::Fine)
            );
        }
        let line = judge(Some(21 << 30), false, 18 << 30, Path::new("/srv"));
        assert_eq!(line.message, "needs 21.0 GiB, 18.0 GiB free at /srv");
    }
}
