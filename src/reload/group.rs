//! `Group`: one file, or several that have to fit each other, and the value parsed from them.

use std::array;
use std::error::Error as StdError;
use std::fmt;
use std::fs;
use std::io;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::metrics::ReloadMetrics;
use crate::metrics::ReloadResult;
use crate::reload::Care;
use crate::reload::Error;
use crate::reload::Report;
use crate::reload::Watched;

/// The longest file that is read. A cluster's pull secret has some ten KiB, an htpasswd file of ten thousand
/// users less than one MiB.
const FILE_LIMIT: u64 = 4 << 20;

/// Something that can be looked at for a change.
pub(super) trait Look: fmt::Debug + Send {
    /// Reads what changed, puts the new value in force if there is one, and says what is wrong otherwise.
    fn look(&mut self, care: Care) -> Report;
}

/// `N` files and the value that a parser makes of them.
pub(super) struct Group<const N: usize, T, P> {
    what: &'static str,
    paths: [PathBuf; N],
    parse: P,
    value: Arc<ArcSwap<T>>,
    /// What the files looked like at the last look.
    stamps: [Option<Stamp>; N],
    /// What was in them when they last parsed.
    contents: [Vec<u8>; N],
    /// Whether the last look found the files as the one before had.
    settled: bool,
    problem: Option<Problem>,
    former_until: FormerUntil<T>,
    metrics: ReloadMetrics,
}

/// Until when a value has what the files said before count beside what they say; `None` where it does not.
pub(super) type FormerUntil<T> = fn(&T, Instant) -> Option<Instant>;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What is wrong with the files, and whether that was said.
#[derive(Debug)]
struct Problem {
    why: String,
    told: bool,
}

impl<const N: usize, T, P> Group<N, T, P>
where
    P: FnMut(&[Vec<u8>; N]) -> Result<T, Box<dyn StdError + Send + Sync>>,
{
    /// Reads and parses the files for the first time.
    pub(super) fn open(
        what: &'static str,
        paths: [PathBuf; N],
        mut parse: P,
        former_until: FormerUntil<T>,
        metrics: ReloadMetrics,
    ) -> Result<(Self, Watched<T>), Error> {
        let stamps = paths.each_ref().map(|path| stamp(path));
        let contents = read(what, &paths)?;
        let value = parsed(what, &paths, parse(&contents))?;
        let value = Arc::new(ArcSwap::from_pointee(value));
        let watched = Watched { value: Arc::clone(&value) };
        // Not settled: a write within the same tick of the file system's clock would leave the stamps as they
        // are, so the next look reads once more.
        let settled = false;
        let problem = None;
        let group =
            Self { what, paths, parse, value, stamps, contents, settled, problem, former_until, metrics };
        Ok((group, watched))
    }

    /// What the last look came to.
    pub(super) fn report(&self) -> Report {
        Report {
            what: self.what,
            paths: self.paths.to_vec(),
            problem: self.problem.as_ref().map(|problem| problem.why.clone()),
            former_until: (self.former_until)(&self.value.load(), Instant::now()),
        }
    }

    /// Whether anything may have changed since the last look.
    fn seems_changed(&mut self) -> bool {
        let stamps = self.paths.each_ref().map(|path| stamp(path));
        let same = stamps == self.stamps;
        let seems_changed = !same || !self.settled;
        self.stamps = stamps;
        self.settled = same;
        seems_changed
    }

    /// Reads the files and puts a new value in force. What was read and parsed before is not parsed again.
    fn reload(&mut self) -> Result<(), Error> {
        let contents = read(self.what, &self.paths)?;
        if contents == self.contents {
            return Ok(());
        }
        let value = parsed(self.what, &self.paths, (self.parse)(&contents))?;
        self.value.store(Arc::new(value));
        self.contents = contents;
        self.metrics.reloaded(self.what, ReloadResult::InForce);
        tracing::info!(what = self.what, path = %self.path().display(), "reloaded");
        Ok(())
    }

    /// Remembers a failure. It is told at the second look that finds it: of files that are being replaced one
    /// after the other, the first look may well see one new and one old.
    fn fail(&mut self, error: &Error) {
        let why = in_words(error);
        let told = match &self.problem {
            Some(problem) if problem.told && problem.why == why => true,
            Some(_) => {
                let path = self.path().display();
                self.metrics.reloaded(self.what, ReloadResult::Refused);
                tracing::error!(what = self.what, %path, error = %why, "cannot reload; the last good value stays");
                true
            }
            None => false,
        };
        self.problem = Some(Problem { why, told });
        self.settled = false;
    }

    fn path(&self) -> &Path {
        self.paths.first().map(PathBuf::as_path).unwrap_or(Path::new(""))
    }
}

impl<const N: usize, T, P> Look for Group<N, T, P>
where
    T: Send + Sync,
    P: FnMut(&[Vec<u8>; N]) -> Result<T, Box<dyn StdError + Send + Sync>> + Send,
{
    fn look(&mut self, care: Care) -> Report {
        if self.seems_changed() || care == Care::Everything {
            match self.reload() {
                Ok(()) => self.problem = None,
                Err(error) => self.fail(&error),
            }
        }
        self.report()
    }
}

impl<const N: usize, T, P> fmt::Debug for Group<N, T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the contents: they are secrets.
        f.debug_struct("Group").field("what", &self.what).field("paths", &self.paths).finish_non_exhaustive()
    }
}

/// What a file looks like, through every symlink on the way to it; `None` where it cannot be seen.
fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        len: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

fn read<const N: usize>(what: &'static str, paths: &[PathBuf; N]) -> Result<[Vec<u8>; N], Error> {
    let mut contents = array::from_fn(|_| Vec::new());
    for (content, path) in contents.iter_mut().zip(paths) {
        *content = read_one(path).map_err(|source| Error::Read { what, path: path.clone(), source })?;
        if content.len() as u64 > FILE_LIMIT {
            return Err(Error::TooLarge { what, path: path.clone(), limit: FILE_LIMIT });
        }
    }
    Ok(contents)
}

/// Reads a file up to just past the limit.
fn read_one(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    fs::File::open(path)?.take(FILE_LIMIT + 1).read_to_end(&mut content)?;
    Ok(content)
}

fn parsed<T, const N: usize>(
    what: &'static str,
    paths: &[PathBuf; N],
    result: Result<T, Box<dyn StdError + Send + Sync>>,
) -> Result<T, Error> {
    let path = paths.first().cloned().unwrap_or_default();
    result.map_err(|source| Error::Parse { what, path, source })
}

/// An error with all that caused it, in one line.
fn in_words(error: &Error) -> String {
    let mut words = error.to_string();
    let mut cause = StdError::source(error);
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn number(content: &[Vec<u8>; 1]) -> Result<u32, Box<dyn StdError + Send + Sync>> {
        Ok(std::str::from_utf8(&content[0])?.trim().parse()?)
    }

    /// Two files that must say the same.
    fn pair(contents: &[Vec<u8>; 2]) -> Result<Vec<u8>, Box<dyn StdError + Send + Sync>> {
        let [left, right] = contents;
        if left == right { Ok(left.clone()) } else { Err("they differ".into()) }
    }

    /// Changes a file in each way that operators and mounts do, and looks once after each.
    #[test]
    fn follows_every_kind_of_change() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("value"), "1").unwrap();
        let (mut group, watched) =
            Group::open("value", [at("value")], number, |_, _| None, ReloadMetrics::default()).unwrap();
        assert_eq!(*watched.current(), 1);

        // Written again in the same tick and with the same length.
        fs::write(at("value"), "2").unwrap();
        group.look(Care::WhatChanged);
        assert_eq!(*watched.current(), 2);

        // Renamed over.
        fs::write(at("new"), "3").unwrap();
        fs::rename(at("new"), at("value")).unwrap();
        group.look(Care::WhatChanged);
        assert_eq!(*watched.current(), 3);

        // A symlink to a file behind a symlink to a directory, which is swapped, as Kubernetes mounts do.
        for (version, content) in [("v4", "4"), ("v5", "5")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("value"), content).unwrap();
        }
        symlink("v4", at("..data")).unwrap();
        symlink("..data/value", at("link")).unwrap();
        fs::rename(at("link"), at("value")).unwrap();
        group.look(Care::WhatChanged);
        assert_eq!(*watched.current(), 4);
        symlink("v5", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        group.look(Care::WhatChanged);
        assert_eq!(*watched.current(), 5);
    }

    #[test]
    fn keeps_the_last_good_value() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("value");
        fs::write(&path, "1").unwrap();
        let (mut group, watched) =
            Group::open("value", [path.clone()], number, |_, _| None, ReloadMetrics::default()).unwrap();
        let mut check = |change: &dyn Fn(), expected: u32, problem: Option<&str>| {
            change();
            let report = group.look(Care::WhatChanged);
            assert_eq!(*watched.current(), expected);
            match (&report.problem, problem) {
                (Some(why), Some(part)) => assert!(why.contains(part), "{why}"),
                (why, part) => assert_eq!(why.as_deref(), part),
            }
        };
        check(&|| fs::write(&path, "not a number").unwrap(), 1, Some("invalid digit"));
        check(&|| {}, 1, Some("invalid digit"));
        check(&|| fs::remove_file(&path).unwrap(), 1, Some("No such file"));
        check(&|| fs::write(&path, vec![b'1'; FILE_LIMIT as usize + 1]).unwrap(), 1, Some("more than"));
        check(&|| fs::write(&path, "2").unwrap(), 2, None);
    }

    #[test]
    fn takes_no_half_of_a_pair() {
        let directory = tempfile::tempdir().unwrap();
        let paths = ["left", "right"].map(|name| directory.path().join(name));
        paths.iter().for_each(|path| fs::write(path, "old").unwrap());
        let (mut group, watched) =
            Group::open("pair", paths.clone(), pair, |_, _| None, ReloadMetrics::default()).unwrap();
        fs::write(&paths[0], "new").unwrap();
        assert!(group.look(Care::WhatChanged).problem.is_some());
        assert_eq!(*watched.current(), b"old");
        fs::write(&paths[1], "new").unwrap();
        assert_eq!(group.look(Care::WhatChanged).problem, None);
        assert_eq!(*watched.current(), b"new");
    }

    #[test]
    fn reads_only_what_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("value");
        fs::write(&path, "1").unwrap();
        let (mut group, _watched) =
            Group::open("value", [path], number, |_, _| None, ReloadMetrics::default()).unwrap();
        assert!(group.seems_changed(), "once more after the first reading");
        assert!(!group.seems_changed());
    }

    #[test]
    fn refuses_what_is_wrong_from_the_start() {
        let missing = PathBuf::from("/nonexistent/file");
        assert!(matches!(
            Group::open("value", [missing], number, |_, _| None, ReloadMetrics::default()),
            Err(Error::Read { .. })
        ));
    }
}
