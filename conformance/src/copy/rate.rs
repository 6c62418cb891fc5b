//! How long a copy takes that is verified and durable, against `rsync -a` with `sync`, and against `cp`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use fastrand::Rng;

use crate::bench::Bench;
use crate::copy::Copy;
use crate::image::Content;
use crate::iso::make_image;

/// How many blobs there are, and how long each is: 4 GiB.
const BLOBS: u64 = 500;
const LEN: usize = (4 << 30) / 500;

/// How often all are run in turn.
const ROUNDS: usize = 5;

/// What may be taken of the others' time.
const OF_RSYNC: f64 = 1.1;
const OF_CP: f64 = 1.3;

/// Copies 4 GiB in 500 blobs from an image, and the same tree by others; each in turn, so that all meet the
/// same disk.
pub(crate) fn compared(bench: &Bench) -> Result<String> {
    let tree = bench.directory().join("tree");
    write(&tree)?;
    let image = make_image(&tree, &bench.directory().join("data.iso"))?;
    let (copy, to) = (Copy::new(bench)?, bench.directory().join("to"));
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let larder = time(bench, &to, &[copy.command(&image, &to, &[])])?;
        let rsync = time(bench, &to, &[command("rsync", &["-a"], &tree, &to), Command::new("sync")])?;
        let cp = time(bench, &to, &[command("cp", &["-r"], &tree, &to)])?;
        let synced = time(bench, &to, &[command("cp", &["-r"], &tree, &to), Command::new("sync")])?;
        rounds.push([larder, rsync, cp, synced]);
    }
    fs::remove_dir_all(bench.directory())?;
    let of = |other: usize| median(rounds.iter().map(|it| ratio(it, other)).collect());
    let (rsync, cp, synced) = (of(1)?, of(2)?, of(3)?);
    let told = format!(
        "4 GiB in {BLOBS} blobs, verified and durable, in {:.1} s: {rsync:.2} of rsync -a and sync, {cp:.2} of cp, \
         {synced:.2} of cp and sync (medians of {ROUNDS} rounds)",
        median(rounds.iter().filter_map(|it| it.first()).map(Duration::as_secs_f64).collect())?
    );
    ensure!(rsync <= OF_RSYNC && cp <= OF_CP, "{told}");
    Ok(told)
}

fn write(tree: &Path) -> Result<()> {
    let mut bytes = Content::random(&mut Rng::with_seed(3), LEN).bytes;
    for number in 0..BLOBS {
        let (head, _) = bytes.split_first_chunk_mut::<8>().context("a blob is longer")?;
        *head = number.to_le_bytes();
        super::images::blob(tree, &Content::new(bytes.clone()))?;
    }
    Ok(())
}

fn command(program: &str, flags: &[&str], tree: &Path, to: &Path) -> Command {
    let mut command = Command::new(program);
    // What the tree holds, not the tree.
    command.args(flags).arg(tree.join(".")).arg(to);
    command
}

/// Into an empty directory, when nothing of before is left to be written.
fn time(bench: &Bench, to: &Path, commands: &[Command]) -> Result<Duration> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    bench.run("sync", &Command::new("sync"))?.success()?;
    let began = Instant::now();
    for command in commands {
        bench.run("timed", command)?.success()?;
    }
    Ok(began.elapsed())
}

fn ratio(round: &[Duration; 4], other: usize) -> f64 {
    let other = round.get(other).map_or(f64::NAN, Duration::as_secs_f64);
    round.first().map_or(f64::NAN, Duration::as_secs_f64) / other
}

fn median(mut values: Vec<f64>) -> Result<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().context("there are rounds")
}
