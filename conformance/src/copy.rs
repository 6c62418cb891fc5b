//! `larder copy`: what it brings, what it leaves alone, what it says, and what is left of it when it is killed.
//!
//! Knows what a copy must be. The trees are judged by the harness's own auditor, not by Larder.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use fastrand::Rng;
use serde_json::Value;

use crate::bench::Bench;
use crate::fixtures;
use crate::fixtures::Payload;
use crate::payload;
use crate::process::Finished;
use crate::process::Running;
use crate::server::Kind;
use crate::server::Setup;
use crate::tree;

mod images;
mod rate;

pub(crate) use rate::compared as rate_compared;

/// How often a copy is killed.
const KILLS: u32 = 100;

/// How many of the kills must have met a copy that was under way.
const MET: u32 = 40;

/// How long a copy that finds nothing to do may take.
const NOTHING_TO_DO: Duration = Duration::from_millis(200);

/// What may be tried again where the machine was busy with something else.
const TRIES: usize = 5;

/// The longest that any copy here may take.
const LIMIT: Duration = Duration::from_secs(60);

/// From the image into a directory: all of it, again, mended, in part, and without room.
pub(crate) fn copied(bench: &Bench) -> Result<String> {
    let copy = Copy::new(bench)?;
    let (truth, whole) = (bench.directory().join("truth"), bench.directory().join("whole"));
    fixtures::unpack_payload(&truth)?;
    let said = copy.run(&fixtures::iso(), &whole, &["--output", "json"])?;
    check_lines(&said.stderr)?;
    let report: Value = serde_json::from_str(&said.success()?)?;
    check_served(bench, &whole, &truth)?;
    let again = nothing_to_do(&copy, &whole)?;
    mended(&copy, &whole)?;
    in_part(&copy, bench)?;
    without_room(&copy, bench)?;
    let count = |key: &str| report.get(key).and_then(Value::as_u64).unwrap_or_default();
    Ok(format!(
        "{} blobs and {} tags, served byte for byte; with nothing to do {} ms",
        count("copied_blobs"),
        count("tags"),
        again.as_millis()
    ))
}

/// The command under test.
struct Copy<'a> {
    bench: &'a Bench,
    larder: PathBuf,
}

impl<'a> Copy<'a> {
    fn new(bench: &'a Bench) -> Result<Self> {
        Ok(Self { bench, larder: bench.program(Kind::Larder)? })
    }

    fn command(&self, source: &Path, destination: &Path, more: &[&str]) -> Command {
        let mut command = Command::new(&self.larder);
        command.arg("copy").arg(source).arg(destination).args(more);
        command
    }

    fn run(&self, source: &Path, destination: &Path, more: &[&str]) -> Result<Finished> {
        self.bench.run("copy", &self.command(source, destination, more))
    }

    /// The tree is whole by Larder's word and by the auditor's.
    fn verify(&self, root: &Path) -> Result<tree::Audit> {
        let mut verify = Command::new(&self.larder);
        verify.args(["verify", "--limit-rate", "0", "--root"]).arg(root);
        self.bench.run("verify", &verify)?.success()?;
        tree::audit(root)
    }
}

/// What a program reads: whole percents that only grow, and the end.
fn check_lines(said: &str) -> Result<()> {
    let lines = said.lines().map(|line| serde_json::from_str::<Value>(line).context(line.to_owned()));
    let lines = lines.collect::<Result<Vec<_>>>()?;
    let percents: Vec<_> = lines.iter().filter_map(|line| line.get("percent")?.as_u64()).collect();
    ensure!(percents.len() == lines.len() && percents.is_sorted(), "percents: {percents:?}");
    let last = lines.last().context("no progress was told")?;
    let ended = (last.get("phase").and_then(Value::as_str), last.get("percent").and_then(Value::as_u64));
    ensure!(ended == (Some("done"), Some(100)), "the last line: {last}");
    Ok(())
}

fn check_served(bench: &Bench, whole: &Path, truth: &Path) -> Result<()> {
    let registry = bench.registry(&Setup::new(whole).read_only())?;
    payload::check_all(&registry.endpoint, &Payload::read()?, truth).context("from the copy")?;
    registry.stop()
}

/// A copy of what is there already: nothing is written, and it takes no time.
fn nothing_to_do(copy: &Copy<'_>, whole: &Path) -> Result<Duration> {
    let mut fastest = Duration::MAX;
    for _ in 0..TRIES {
        let began = Instant::now();
        let said = copy.run(&fixtures::iso(), whole, &[])?.success()?;
        fastest = fastest.min(began.elapsed());
        ensure!(said.starts_with("copied 0 blobs") && said.contains("wrote 0 links and 0 tags"), "{said}");
    }
    ensure!(fastest < NOTHING_TO_DO, "with nothing to do it took {fastest:?}");
    Ok(fastest)
}

/// A flipped bit in the destination is found by `--verify`, and only by that.
fn mended(copy: &Copy<'_>, whole: &Path) -> Result<()> {
    let blob = tree::files(&whole.join("docker/registry/v2/blobs"))?;
    let blob = blob.iter().max_by_key(|path| fs::metadata(path).map_or(0, |it| it.len()));
    let blob = blob.context("a copy has blobs")?;
    let mut bytes = fs::read(blob)?;
    *bytes.last_mut().context("the largest blob is not empty")? ^= 1;
    fs::write(blob, bytes)?;
    for (more, expected) in [(&[][..], "copied 0 blobs"), (&["--verify"], "copied 1 blobs")] {
        let said = copy.run(&fixtures::iso(), whole, more)?.success()?;
        ensure!(said.starts_with(expected), "{more:?}: {said}");
    }
    copy.verify(whole).map(drop)
}

/// One repository, and the release with all that it reaches.
fn in_part(copy: &Copy<'_>, bench: &Bench) -> Result<()> {
    let payload = Payload::read()?;
    let one = bench.directory().join("one");
    copy.run(&fixtures::iso(), &one, &["--repository", "library/app"])?.success()?;
    ensure!(copy.verify(&one)?.repositories == 1, "another repository was copied than the one");
    let release = bench.directory().join("release");
    copy.run(&fixtures::iso(), &release, &["--release", &payload.release.digest])?.success()?;
    let blobs = copy.verify(&release)?.blobs;
    let needed = || payload.release.components.values().chain([&payload.release.digest]);
    ensure!(needed().all(|digest| blobs.contains(digest)), "the release lacks a component");
    ensure!(blobs.len() < payload.blobs.len(), "more was copied than the release");
    Ok(())
}

/// Room is looked for before the first byte, and the figures are told.
fn without_room(copy: &Copy<'_>, bench: &Bench) -> Result<()> {
    /// 4 TiB of nothing: more than is free where this runs, and less than the largest file.
    const HUGE: u64 = 4 << 40;
    let (source, destination) = (bench.directory().join("huge"), bench.directory().join("full"));
    let hex = "0".repeat(64);
    let blob = source.join("docker/registry/v2/blobs/sha256/00").join(&hex);
    fs::create_dir_all(&blob)?;
    fs::File::create(blob.join("data"))?.set_len(HUGE)?;
    let refused = copy.run(&source, &destination, &[])?;
    fs::remove_dir_all(&source)?;
    ensure!(refused.status.code() == Some(3), "{}: {}", refused.status, refused.said());
    let told = refused.stderr.contains("needs 4096.0 GiB, ") && refused.stderr.contains(" GiB free at ");
    ensure!(told, "{}", refused.stderr);
    ensure!(tree::files(&destination.join("docker"))?.is_empty(), "something was written");
    Ok(())
}

/// Killed at many moments of a copy: whatever is under a tag then is whole, and the next copy finishes.
pub(crate) fn killed(bench: &Bench) -> Result<String> {
    let mut random = Rng::with_seed(7);
    let place = Place::new(bench)?;
    let (source, destination) = (place.0.join("source"), place.0.join("destination"));
    let tags = images::write(&source, &mut random)?;
    let copy = Copy::new(bench)?;
    let mut whole = timed(&copy, &source, &destination)?;
    let (mut met, mut seen) = (0, 0);
    for kill in 0..KILLS {
        fs::remove_dir_all(&destination)?;
        let (was_under_way, tagged) = kill_one(&copy, (&source, &destination), whole.mul_f64(random.f64()))
            .with_context(|| format!("at kill {kill}"))?;
        met += u32::from(was_under_way);
        seen += tagged;
        let took = timed(&copy, &source, &destination).with_context(|| format!("after kill {kill}"))?;
        // What a busy machine takes longer for is met later.
        whole = (whole * 3 + took) / 4;
        let audit = copy.verify(&destination).with_context(|| format!("after kill {kill}"))?;
        ensure!(audit.tags == tags, "after kill {kill}: {} of {tags} tags", audit.tags);
        let left = tree::files(&destination.join("larder/stage"))?;
        ensure!(left.is_empty(), "after kill {kill}: {left:?} is left");
    }
    ensure!(met >= MET, "only {met} of {KILLS} kills met a copy under way");
    Ok(format!(
        "{KILLS} kills, {met} in the middle, {seen} tags seen after them, all whole; each next copy finished"
    ))
}

/// Where copies are killed: in memory where there is such a place. A process that is killed leaves what the
/// kernel knows, whatever is under that; a hundred times the syncs of a disk would take minutes where others
/// write too.
struct Place(PathBuf);

impl Place {
    fn new(bench: &Bench) -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory } else { bench.directory() };
        let place = base.join(format!("larder-conformance-{}", std::process::id()));
        fs::create_dir_all(&place)?;
        Ok(Self(place))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed goes with the machine's memory.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Runs a copy for a while and kills it; says whether it was under way, and how many tags there were.
fn kill_one(copy: &Copy<'_>, (source, destination): (&Path, &Path), life: Duration) -> Result<(bool, usize)> {
    let log = copy.bench.directory().join("killed.log");
    let mut copying = Running::start(&copy.command(source, destination, &[]), &log, &log)?;
    std::thread::sleep(life);
    let was_under_way = copying.ended()?.is_none();
    copying.kill();
    // Links may lack their manifests' other links; what is under a tag may lack nothing.
    Ok((was_under_way, images::check_tagged(destination)?))
}

fn timed(copy: &Copy<'_>, source: &Path, destination: &Path) -> Result<Duration> {
    let began = Instant::now();
    let mut copying = Running::start(
        &copy.command(source, destination, &[]),
        &copy.bench.directory().join("copy.out"),
        &copy.bench.directory().join("copy.err"),
    )?;
    let status = copying.wait(LIMIT)?;
    ensure!(status.success(), "the copy ended with {status}: {}", copying.said());
    Ok(began.elapsed())
}
