//! What does a durable push of a large blob cost?
//!
//! One connection, POST, PATCH, PUT. When the answer is there, so are the
//! bytes, on the disk. Beside it `dd conv=fsync` writes the same bytes to the
//! same disk: no server can do better.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::bench::Bench;
use crate::bench::Measured;
use crate::bench::Subject;
use crate::client::exchange::Exchange;
use crate::client::exchange::Payload;
use crate::client::push;
use crate::contender::Access;
use crate::contender::Contender;
use crate::contender::Kind;
use crate::data;
use crate::data::Blob;
use crate::question::Question;
use crate::report::Measure;
use crate::scale::gib;
use crate::scale::size;
use crate::shelf::REPOSITORY;

pub(super) const QUESTION: Question = Question {
    name: "push-blob",
    asks: "How long does a durable push of one large blob take, against `dd conv=fsync` of the same bytes?",
    run,
};

/// Who writes.
enum Writer {
    Dd,
    Registry(Contender),
}

impl Subject for Writer {
    fn kind(&self) -> Kind {
        match self {
            Self::Dd => Kind::Dd,
            Self::Registry(contender) => contender.kind,
        }
    }
}

fn run(bench: &mut Bench) -> Result<()> {
    let directory = bench.directory()?;
    let blob = data::blob(directory.path(), 7, bench.scale.pushed_blob)?;
    let registries = bench.fleet.contenders.iter().filter(|contender| contender.kind.is_registry()).cloned();
    let mut writers: Vec<Writer> = registries.map(Writer::Registry).chain([Writer::Dd]).collect();
    bench.rounds(&size(blob.size), &mut writers, |bench, writer| {
        let target = bench.directory()?;
        // What earlier turns left to be written must not fall on this one.
        rustix::fs::sync();
        match writer {
            Writer::Dd => dd(&blob.path, &target.path().join("copy")),
            Writer::Registry(contender) => push(bench, contender, &blob, target.path()),
        }
    });
    Ok(())
}

fn dd(from: &Path, to: &Path) -> Result<Measured> {
    let start = Instant::now();
    let status = Command::new("dd")
        .arg(format!("if={}", from.display()))
        .arg(format!("of={}", to.display()))
        .args(["bs=1M", "conv=fsync", "status=none"])
        .status()
        .context("running `dd`")?;
    if !status.success() {
        bail!("`dd` failed");
    }
    Ok(vec![(Measure::Seconds, start.elapsed().as_secs_f64())])
}

fn push(bench: &Bench, contender: &Contender, blob: &Blob, root: &Path) -> Result<Measured> {
    let server = contender.start(&bench.site(vec![root.join("store")], Access::ReadWrite))?;
    let mut exchange = Exchange::connect(&server.endpoint)?;
    let file = File::open(&blob.path)?;
    let content = Payload::File { file: &file, length: blob.size, tail: &[] };
    let cpu = server.process.cpu()?;
    let start = Instant::now();
    push::blob(&mut exchange, REPOSITORY, &blob.digest, content)?;
    let took = start.elapsed();
    let cpu = server.process.cpu()?.saturating_sub(cpu);
    check(&mut exchange, blob)?;
    Ok(costs(took, cpu, blob.size))
}

fn costs(took: Duration, cpu: Duration, bytes: u64) -> Measured {
    vec![(Measure::Seconds, took.as_secs_f64()), (Measure::CpuSecondsPerGib, cpu.as_secs_f64() / gib(bytes))]
}

fn check(exchange: &mut Exchange, blob: &Blob) -> Result<()> {
    let head =
        exchange.send("HEAD", &format!("/v2/{REPOSITORY}/blobs/{}", blob.digest), "", Payload::Nothing)?;
    if head.status != 200 || head.content_length()? != blob.size {
        bail!("after the push HEAD answered {} and {} bytes", head.status, head.content_length()?);
    }
    Ok(())
}
