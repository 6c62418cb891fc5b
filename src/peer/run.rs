//! One run of a job: survey, blobs, manifests, tags, in this order and no other.
//!
//! Knows the order in which things become visible. Does not know how a job is asked for or remembered.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use storage_layout::Digest;
use storage_layout::RepositoryName;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::maintenance::releases;
use crate::peer::Error;
use crate::peer::Fetching;
use crate::peer::job::State;
use crate::peer::pressure::Pressure;
use crate::peer::progress::Arrival;
use crate::peer::progress::Progress;
use crate::peer::rate::RateLimit;
use crate::peer::selection::Selection;
use crate::peer::share::Share;
use crate::peer::share::Turn;
use crate::peer::sources::Sources;
use crate::peer::sources::Supply;
use crate::peer::survey;
use crate::peer::survey::Missing;
use crate::peer::survey::Need;
use crate::peer::survey::Plan;
use crate::peer::transfer::Transfer;
use crate::release;
use crate::release::Rank;
use crate::store;
use crate::store::Store;

/// How many blobs are taken at once, unless the job says otherwise: enough to fill a link with small layers,
/// few enough that each of 8 nodes leaves some of an origin's connections to the others.
pub(crate) const BLOBS_AT_ONCE: NonZeroUsize = NonZeroUsize::new(8).unwrap();
/// How many links and manifests are written at once: the store makes a group of them durable with one set of
/// syncs.
const WRITES_AT_ONCE: usize = 64;
/// How many waiting blobs are looked at for the one to take next.
const LOOK_AHEAD: usize = 128;
/// How often the sources are asked what they have by now, and whether more may be taken from few holders.
const LULL: Duration = Duration::from_millis(200);
/// What is left free on the disk, in bytes, on top of what is to come, unless the job says otherwise: links,
/// directories and others' needs.
pub(crate) const RESERVE: u64 = 64 * 1024 * 1024;

/// What a run works with.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) store: Store,
    pub(crate) sources: Arc<Sources>,
    pub(crate) selection: Selection,
    pub(crate) blobs_at_once: NonZeroUsize,
    pub(crate) rate: Option<RateLimit>,
    pub(crate) pressure: Option<Pressure>,
    pub(crate) reserve: u64,
    pub(crate) fetching: Arc<Fetching>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) state: watch::Sender<State>,
    pub(crate) cancel: CancellationToken,
}

impl Run {
    /// Makes this store hold what the sources have of the selection. Gives how much the selection is.
    pub(crate) async fn run(self: &Arc<Self>) -> Result<usize, Error> {
        self.state.send_replace(State::Surveying);
        // Until the tags stand, nothing but this job counts on what it brings: garbage collection leaves it
        // alone.
        let surveyed = survey::survey(&self.store, &self.sources, &self.selection);
        let (plan, _hold) = self.unless_cancelled(surveyed).await?;
        let Plan { manifests, tags, blobs, targets } = plan;
        self.progress.announce(arriving(&tags));
        let (stored, missing) = self.partition(blobs).await?;
        self.announce(&missing, stored.len() + manifests.len()).await?;
        self.state.send_replace(State::Copying);
        self.link(stored).await?;
        self.copy(missing).await?;
        self.state.send_replace(State::Publishing);
        self.publish_manifests(manifests).await?;
        for rank in Rank::ALL {
            if rank == Rank::Release {
                self.check_closure(&tags).await?;
            }
            let of_rank = tags.iter().filter(|(name, ..)| Rank::of(name) == rank);
            self.publish_tags(of_rank.cloned().collect()).await?;
        }
        Ok(targets)
    }

    /// No release becomes visible that lacks something of its payload's own list.
    async fn check_closure(
        &self,
        tags: &[(RepositoryName, storage_layout::Tag, Digest)],
    ) -> Result<(), Error> {
        for (name, tag, image) in tags {
            if name.as_str() != release::IMAGES || release::attached_to(tag).is_some() {
                continue;
            }
            let lacks = releases::lacks(&self.store, *image).await?;
            if let Some(first) = lacks.first() {
                let (release, lacks, more) = (*image, first.to_string(), lacks.len() - 1);
                return Err(Error::Incomplete { release, lacks, more });
            }
        }
        Ok(())
    }

    async fn unless_cancelled<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            result = work => result,
            () = self.cancel.cancelled() => Err(Error::Cancelled),
        }
    }

    /// Parts the blobs that lie here, if perhaps not in each repository, from those that do not.
    async fn partition(
        &self,
        blobs: BTreeMap<Digest, Need>,
    ) -> Result<(Vec<(Digest, Need)>, Vec<(Digest, Need)>), Error> {
        let (mut stored, mut missing) = (Vec::new(), Vec::new());
        for (digest, need) in blobs {
            let here = survey::is_stored(&self.store, &digest, need.size).await?;
            if here { stored.push((digest, need)) } else { missing.push((digest, need)) }
        }
        Ok((stored, missing))
    }

    /// Tells what is to come, and refuses what does not fit before the first byte.
    async fn announce(&self, missing: &[(Digest, Need)], others: usize) -> Result<(), Error> {
        let needed: u64 = missing.iter().map(|(_, need)| need.size).sum();
        self.progress.begin(needed, (missing.len() + others) as u64);
        self.check_space(needed).await
    }

    /// Refuses what would not leave the reserve free. Asked again before each blob, since others write too.
    async fn check_space(&self, needed: u64) -> Result<(), Error> {
        let free = self.store.free_space().await?;
        if needed > 0 && free < needed.saturating_add(self.reserve) {
            return Err(Error::NoSpace { needed, free });
        }
        Ok(())
    }

    /// Links blobs that lie here into the repositories that need them.
    async fn link(self: &Arc<Self>, stored: Vec<(Digest, Need)>) -> Result<(), Error> {
        self.each(stored, WRITES_AT_ONCE, |run, (digest, need)| async move {
            run.link_everywhere(&digest, &need).await?;
            run.progress.object_here();
            Ok(())
        })
        .await
    }

    async fn link_everywhere(&self, digest: &Digest, need: &Need) -> Result<(), Error> {
        for name in &need.repositories {
            if !self.store.has_layer(name, digest).await? {
                self.writer()?.link_layer(name, digest).await?;
            }
        }
        Ok(())
    }

    /// Takes blobs in. Nodes that fill at the same time share the few that hold everything: each takes little
    /// from them at once, but always something, and the rest from each other.
    async fn copy(self: &Arc<Self>, missing: Vec<(Digest, Need)>) -> Result<(), Error> {
        let mut queue = shuffled(missing);
        let mut running = JoinSet::new();
        let mut share = Share::new(self.blobs_at_once, self.sources.all().len());
        loop {
            let waiting: Vec<_> = queue.iter().take(LOOK_AHEAD).map(|(digest, _)| *digest).collect();
            let refreshed = async {
                self.sources.refresh(&waiting).await;
                Ok(())
            };
            self.unless_cancelled(refreshed).await?;
            share.adapt(self.sources.filling(), self.sources.whole());
            while running.len() < self.blobs_at_once.get()
                && let Some((blob, turn)) = self.next_blob(&mut queue, &share, running.is_empty())
            {
                let run = self.clone();
                running.spawn(async move { run.copy_blob(blob.0, blob.1, turn).await });
            }
            if running.is_empty() && queue.is_empty() {
                return Ok(());
            }
            let lull = !queue.is_empty() && running.len() < self.blobs_at_once.get();
            tokio::select! {
                Some(done) = running.join_next() => finished(done)?,
                () = tokio::time::sleep(LULL), if lull => {}
                () = self.cancel.cancelled() => return Err(Error::Cancelled),
            }
        }
    }

    /// The next blob to take: one that few have, if it is this node's turn, or else one that a peer can give.
    fn next_blob(
        &self,
        queue: &mut VecDeque<(Digest, Need)>,
        share: &Share,
        idle: bool,
    ) -> Option<((Digest, Need), Option<Turn>)> {
        let supplies = queue.iter().take(LOOK_AHEAD).map(|(digest, _)| self.sources.supply(digest));
        let mut plenty = None;
        for (index, supply) in supplies.enumerate() {
            match supply {
                Supply::Scarce => {
                    if let Some(turn) = share.turn() {
                        return queue.remove(index).map(|blob| (blob, Some(turn)));
                    }
                }
                Supply::Plenty => plenty = plenty.or(Some(index)),
                Supply::Soon => {}
            }
        }
        // With nothing else under way there is no better use of the time than to wait for what others are
        // about to have.
        queue.remove(plenty.or(idle.then_some(0))?).map(|blob| (blob, None))
    }

    async fn copy_blob(&self, digest: Digest, need: Need, _turn: Option<Turn>) -> Result<(), Error> {
        let Some(name) = need.repositories.first() else { return Ok(()) };
        // Somebody's pull may be fetching it: then it is here soon.
        let arrival = loop {
            match self.fetching.begin(digest, need.repositories.clone()) {
                Some(arrival) => break arrival,
                None => self.unless_cancelled(self.pulled_through(&digest)).await?,
            }
        };
        if survey::is_stored(&self.store, &digest, need.size).await? {
            self.progress.object_here();
            return self.link_everywhere(&digest, &need).await;
        }
        self.check_space(need.size).await?;
        let transfer = Transfer {
            writer: self.writer()?,
            sources: &self.sources,
            progress: &self.progress,
            rate: self.rate.as_ref(),
            pressure: self.pressure.as_ref(),
            cancel: &self.cancel,
            name,
            arrival: &arrival,
            size: need.size,
        };
        match transfer.run().await {
            Err(Error::Missing { .. }) if need.optional => return Ok(()),
            result => result?,
        }
        drop(arrival);
        self.link_everywhere(&digest, &need).await
    }

    /// Waits for a blob that somebody's pull brings.
    async fn pulled_through(&self, digest: &Digest) -> Result<(), Error> {
        while self.fetching.contains(digest) {
            tokio::time::sleep(LULL).await;
        }
        Ok(())
    }

    /// Publishes manifests, what they are made of first.
    async fn publish_manifests(self: &Arc<Self>, manifests: Vec<Missing>) -> Result<(), Error> {
        for batch in batches(manifests) {
            self.each(
                batch,
                WRITES_AT_ONCE,
                |run, missing| async move { run.publish_manifest(missing).await },
            )
            .await?;
        }
        Ok(())
    }

    async fn publish_manifest(&self, missing: Missing) -> Result<(), Error> {
        let Missing { name, digest, content, .. } = missing;
        let content = match content {
            Some(content) => content,
            None => survey::fetch_manifest(&self.sources, &name, &digest).await?.0,
        };
        self.put(&name, &digest, content, &[]).await?;
        self.progress.object_here();
        Ok(())
    }

    async fn publish_tags(
        self: &Arc<Self>,
        tags: Vec<(RepositoryName, storage_layout::Tag, Digest)>,
    ) -> Result<(), Error> {
        self.each(tags, WRITES_AT_ONCE, |run, (name, tag, digest)| async move {
            run.writer()?.put_tag(&name, &tag, &digest).await?;
            Ok(())
        })
        .await
    }

    async fn put(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        content: Bytes,
        tags: &[storage_layout::Tag],
    ) -> Result<(), Error> {
        Ok(self.writer()?.put_manifest(name, digest, content, tags).await?)
    }

    fn writer(&self) -> Result<&store::Writer, Error> {
        self.store.writer().ok_or(Error::ReadOnly)
    }

    /// Does the same with each item, several at once; stops at the first error.
    async fn each<T, F>(
        self: &Arc<Self>,
        items: Vec<T>,
        at_once: usize,
        work: impl Fn(Arc<Self>, T) -> F,
    ) -> Result<(), Error>
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let mut items = items.into_iter();
        let mut running = JoinSet::new();
        loop {
            while running.len() < at_once
                && let Some(item) = items.next()
            {
                running.spawn(work(self.clone(), item));
            }
            tokio::select! {
                done = running.join_next() => match done {
                    Some(done) => finished(done)?,
                    None => return Ok(()),
                },
                () = self.cancel.cancelled() => return Err(Error::Cancelled),
            }
        }
    }
}

/// The releases among the tags that are to come. Which bundle is whose is known where there is one of each.
fn arriving(tags: &[(RepositoryName, storage_layout::Tag, Digest)]) -> Vec<Arrival> {
    let of = |name: &'static str| tags.iter().filter(move |(it, ..)| it.as_str() == name);
    let bundles: Vec<_> = of(release::BUNDLES).map(|(_, tag, _)| tag.to_string()).collect();
    let images = of(release::IMAGES).filter(|(_, tag, _)| release::attached_to(tag).is_none());
    let digests: Vec<_> = images.map(|(.., digest)| digest.to_string()).collect();
    match (&*digests, &*bundles) {
        ([digest], [bundle]) => {
            vec![Arrival { digest: Some(digest.clone()), bundle: Some(bundle.clone()) }]
        }
        _ => digests.into_iter().map(|it| Arrival { digest: Some(it), bundle: None }).collect(),
    }
}

/// A task's result; one that panicked has failed.
fn finished(done: Result<Result<(), Error>, tokio::task::JoinError>) -> Result<(), Error> {
    done.unwrap_or(Err(Error::Cancelled))
}

/// Runs of manifests that may be published at once: of one rank, images before the indexes over them.
fn batches(manifests: Vec<Missing>) -> Vec<Vec<Missing>> {
    let mut batches: Vec<Vec<Missing>> = Vec::new();
    for missing in manifests {
        match batches.last_mut() {
            Some(batch)
                if batch.last().is_some_and(|it| it.rank == missing.rank && it.height == missing.height) =>
            {
                batch.push(missing);
            }
            _ => batches.push(vec![missing]),
        }
    }
    batches
}

/// In an order of this process's own: nodes that fill at the same time begin with different blobs, and large
/// ones rather come first, since they take the longest to pass from node to node. (Weighted sampling without
/// replacement: waiting times of exponential distribution, at a rate of the size.)
fn shuffled(mut items: Vec<(Digest, Need)>) -> VecDeque<(Digest, Need)> {
    let seed = uuid::Uuid::new_v4().into_bytes();
    let key = |digest: &Digest, size: u64| {
        let mixed = digest.as_bytes().iter().zip(seed.iter().cycle());
        let hash = mixed.fold(0xcbf2_9ce4_8422_2325_u64, |hash, (a, b)| {
            (hash ^ u64::from(a ^ b)).wrapping_mul(0x0100_0000_01b3)
        });
        let uniform = (f64::from((hash >> 32) as u32) + 1.0) / (f64::from(u32::MAX) + 2.0);
        -uniform.ln() / size.max(1) as f64
    };
    items.sort_by(|a, b| key(&a.0, a.1.size).total_cmp(&key(&b.0, b.1.size)));
    items.into()
}
