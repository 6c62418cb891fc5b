//! How soon does a server answer after `exec`?
//!
//! With an empty store, with one release and with a hundred releases in it.
//! Timed from the call that starts the process to the first 200 from `/v2/`; the
//! client tries every 200 microseconds. A registry that walks its store first
//! is seen here.

use std::sync::Arc;

use anyhow::Context;
use anyhow::Result;
use storage_layout::Digest;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use crate::bench::Bench;
use crate::client::exchange::Exchange;
use crate::contender::Access;
use crate::data::image;
use crate::data::image::Image;
use crate::data::tree::Tree;
use crate::question::Question;
use crate::report::Measure;
use crate::shelf::Stored;
use crate::shelf::push_image;

pub(super) const QUESTION: Question = Question {
    name: "start",
    asks: "How long from exec to the first 200, with nothing, 200 and 20,000 images stored?",
    run,
};

/// As many as a release has.
const IMAGES_PER_REPOSITORY: usize = 200;

/// How many turns each server has in a round with each store: a start takes milliseconds, and differs by as many from
/// one to the next.
const TURNS: usize = 4;

fn run(bench: &mut Bench) -> Result<()> {
    let below = bench.directory()?;
    let stored = bench.scale.stored_images.map(|count| {
        let directory = below.path().join(count.to_string());
        std::fs::create_dir(&directory).context("making a directory for a store")?;
        store(bench, &directory, count)
    });
    let stored = stored.into_iter().collect::<Result<Vec<_>>>()?;
    let cases = bench.scale.stored_images.map(|count| format!("{count} images stored"));
    let mut contenders = bench.fleet.contenders.clone();
    bench.cases_in_turn(TURNS, &cases, &mut contenders, |bench, contender, case| {
        let root = stored.get(case).and_then(|it| it.root(contender.kind)).context("it has no store")?;
        let site = bench.site(vec![root], Access::ReadWrite);
        let (_server, took) = contender.start_timed(&site)?;
        Ok(vec![(Measure::Milliseconds, took.as_secs_f64() * 1e3)])
    });
    Ok(())
}

fn store(bench: &Bench, below: &std::path::Path, count: usize) -> Result<Stored> {
    let base = image::layer(1, 4096)?;
    let fill = |tree: &Tree| {
        (0..count).try_for_each(|number| {
            let (repository, tag) = (repository(number), format!("image-{number}"));
            let repository = RepositoryName::parse(&repository).context("a valid name")?;
            tree.put(&repository, &Tag::parse(&tag).context("a valid tag")?, &small_image(&base, number)?)
        })
    };
    let push = |to: &mut Exchange| {
        (0..count).try_for_each(|number| {
            push_image(to, &repository(number), &format!("image-{number}"), &small_image(&base, number)?)
        })
    };
    Stored::new(bench, below, fill, push)
}

fn repository(number: usize) -> String {
    format!("openshift/release-{}", number / IMAGES_PER_REPOSITORY)
}

fn small_image(base: &(Digest, Arc<[u8]>), number: usize) -> Result<Image> {
    Image::over(std::slice::from_ref(base), 1_000_000 + number as u64)
}
