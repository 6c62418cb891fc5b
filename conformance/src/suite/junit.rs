//! The one file that both suites write: how many checks, and which went how.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use anyhow::Result;

/// How a run went.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// How many checks there are.
    pub(super) total: u64,
    /// The names of those that failed.
    pub(super) failed: Vec<String>,
    /// The names of those that could not be made.
    pub(super) broken: Vec<String>,
    /// The names of those that were passed over.
    pub(super) skipped: Vec<String>,
}

impl Tally {
    /// Reads the file at `path`.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("reading `{}`", path.display()))?;
        Self::parse(&text).context("reading the suite's JUnit file")
    }

    /// Enough of XML for what Go's encoder writes: text is escaped, so what looks like an element is one.
    fn parse(text: &str) -> Result<Self> {
        let suites = text.split("<testsuites").nth(1).context("no <testsuites>")?;
        let total = attribute(suites, "tests").context("no count of tests")?.parse()?;
        let mut tally = Self { total, ..Self::default() };
        for case in text.split("<testcase").skip(1) {
            let name = attribute(case, "name").context("a case without a name")?.to_owned();
            match attribute(case, "status").context("a case without a status")? {
                "passed" => {}
                "skipped" => tally.skipped.push(name),
                "failure" | "failed" => tally.failed.push(name),
                _ => tally.broken.push(name),
            }
        }
        Ok(tally)
    }
}

/// The value of the first attribute of this name in an element's text.
fn attribute<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = element.split_once(&format!(" {name}=\""))?;
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_is_told_apart() {
        let text = r#"<testsuites time="1" tests="5" failures="1"><testsuite name="s" tests="5">
            <testcase name="a" time="0" status="passed"></testcase>
            <testcase name="b" time="0" status="failure"><failure message="no">&lt;skipped</failure></testcase>
            <testcase name="c" time="0" status="skipped"><skipped message="later"></skipped></testcase>
            <testcase name="d" time="0" status="error"><error message="oh"></error></testcase>
            <testcase name="e" time="0" status="failed"></testcase>
            </testsuite></testsuites>"#;
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let expected =
            Tally { total: 5, failed: names(&["b", "e"]), broken: names(&["d"]), skipped: names(&["c"]) };
        assert_eq!(Tally::parse(text).unwrap(), expected);
    }

    #[test]
    fn a_file_without_a_count_is_no_result() {
        Tally::parse("<html>").unwrap_err();
    }
}
