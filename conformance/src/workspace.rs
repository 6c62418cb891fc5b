//! The workspace's own checks: format, lints, tests, documentation, the release build.

use std::process::Command;

use anyhow::Result;
use anyhow::ensure;

use crate::bench::Bench;
use crate::bench::source;
use crate::step;
use crate::tools::Provided;
use crate::tools::Tool;

/// Installs what later steps need, says what this machine has no way to get, and has the release build begin
/// beside the steps that need none.
pub(crate) fn install(bench: &Bench) -> Result<String> {
    let (needed, mut missing) = (step::needed(), Vec::new());
    for tool in &needed {
        if let Provided::Missing(why) = bench.tools().provide(*tool)? {
            missing.push(why);
        }
    }
    bench.begin_to_build_larder();
    let here = needed.len() - missing.len();
    Ok(std::iter::once(format!("{here} of {} tools here", needed.len()))
        .chain(missing)
        .collect::<Vec<_>>()
        .join("\n"))
}

/// `cargo fmt --check`.
pub(crate) fn format(bench: &Bench) -> Result<String> {
    bench.cargo("fmt", &["fmt", "--all", "--check"])?.success()?;
    Ok("as rustfmt would write it".into())
}

/// Clippy over everything, warnings being errors.
pub(crate) fn lint(bench: &Bench) -> Result<String> {
    bench.cargo("clippy", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?.success()?;
    Ok("no warnings".into())
}

/// Every test of the workspace.
pub(crate) fn test(bench: &Bench) -> Result<String> {
    let said = bench.cargo("test", &["test", "--workspace"])?.success()?;
    let (passed, ignored) = count_tests(&said);
    ensure!(passed > 0, "no test ran");
    ensure!(ignored == 0, "{ignored} tests are ignored");
    Ok(format!("{passed} tests"))
}

/// The documentation, warnings being errors.
pub(crate) fn document(bench: &Bench) -> Result<String> {
    let arguments = ["doc", "--workspace", "--no-deps"];
    let finished = bench.cargo_with("doc", &arguments, &[("RUSTDOCFLAGS", "-D warnings")])?;
    finished.success()?;
    Ok("no warnings".into())
}

/// `cargo deny`, by what `deny.toml` says; without the advisories, which need a database from the network.
pub(crate) fn deny(bench: &Bench) -> Result<String> {
    let mut deny = Command::new(bench.tools().path(Tool::CargoDeny)?);
    deny.args(["check", "licenses", "bans", "sources"]).current_dir(source());
    let said = bench.run("deny", &deny)?.success()?;
    Ok(said.lines().last().unwrap_or("nothing to say").trim().to_owned())
}

/// The executable that the live steps run.
pub(crate) fn build(bench: &Bench) -> Result<String> {
    let larder = bench.build_larder()?;
    let size = std::fs::metadata(&larder)?.len();
    Ok(format!("larder, {} MiB", size >> 20))
}

/// Passed and ignored tests in what `cargo test` said.
fn count_tests(said: &str) -> (u64, u64) {
    let count = |line: &str, word: &str| -> u64 {
        let field = line.split([';', '.']).map(str::trim).find_map(|field| field.strip_suffix(word));
        field.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
    };
    let lines = said.lines().filter(|line| line.starts_with("test result:"));
    lines.fold((0, 0), |(passed, ignored), line| {
        (passed + count(line, "passed"), ignored + count(line, "ignored"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_over_all_binaries() {
        let said = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.0s\n\
                    running 2 tests\n\
                    test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.2s\n";
        assert_eq!(count_tests(said), (43, 1));
    }
}
