//! A transfer: one blob, from whoever has it, into the store.
//!
//! Knows how to go on where an attempt stopped, here or at another source, and when a source is too slow.
//! Does not know which blobs are wanted or in which order.

use std::collections::HashMap;
use std::time::Duration;

use storage_layout::Digest;
use storage_layout::RepositoryName;
use storage_layout::UploadId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::peer::Error;
use crate::peer::client::BlobStream;
use crate::peer::fetching::FetchingGuard;
use crate::peer::fetching::StreamGuard;
use crate::peer::fetching::Upstream;
use crate::peer::pressure::Pressure;
use crate::peer::progress::Progress;
use crate::peer::rate::RateLimit;
use crate::peer::sources::Along;
use crate::peer::sources::Pick;
use crate::peer::sources::Source;
use crate::peer::sources::Sources;
use crate::peer::tee::Tee;
use crate::store::Append;
use crate::store::Finish;
use crate::store::Writer;

/// How often one source is tried for one blob. A second time is for the broken connection, a third for bad
/// luck.
const TRIES_PER_SOURCE: u32 = 3;
/// How often peers that are getting the blob themselves are asked for what they have of it, before one of the
/// few is asked that have everything.
const ALONG_TRIES: u32 = 24;
/// The first wait before they are asked again; it doubles, with jitter.
const FIRST_ALONG: Duration = Duration::from_millis(30);
/// The longest such wait.
const LONGEST_ALONG: Duration = Duration::from_millis(500);
/// From which size on, in bytes, others are asked before a blob is taken from one of the few: less than this
/// passes in the time that asking takes.
const WORTH_ASKING: u64 = 64 * 1024;
/// After how many bytes the disk's pressure is looked at: what is handed to the disk at once.
const EASE_EVERY: u64 = 1024 * 1024;
/// How often nodes that are about to take the same blob look at each other before one of them begins.
const TIES: u32 = 4;
/// The first wait after a failure; it doubles, with jitter, so that nodes do not come back in step.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest such wait.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long a source may take for the first byte before another that has the blob is asked too: most answer
/// within milliseconds, and a second request costs little where they do not.
const HEDGE_AFTER: Duration = Duration::from_millis(1500);
/// Over how long a source's speed is judged.
const SLOW_AFTER: Duration = Duration::from_secs(10);
/// Below how many bytes a second another source is preferred, if one has the blob: a tenth of a 10 Mbit/s
/// link.
const SLOW: u64 = 128 * 1024;

/// A blob to take in, and where to.
#[derive(Debug)]
pub(crate) struct Transfer<'a> {
    pub(crate) writer: &'a Writer,
    pub(crate) sources: &'a Sources,
    pub(crate) progress: &'a Progress,
    pub(crate) rate: Option<&'a RateLimit>,
    pub(crate) pressure: Option<&'a Pressure>,
    pub(crate) cancel: &'a CancellationToken,
    pub(crate) name: &'a RepositoryName,
    pub(crate) arrival: &'a FetchingGuard,
    pub(crate) size: u64,
}

/// Where the bytes of an attempt go.
struct Into<'a> {
    append: &'a mut Append,
    /// Peers that read along.
    relay: Option<&'a StreamGuard>,
    /// A client that waits.
    tee: &'a mut Tee,
}

/// How one attempt ended.
enum Attempt {
    Stored,
    /// The source does not have it.
    Absent,
    /// Another source may be quicker; what came stays.
    TooSlow,
}

impl Transfer<'_> {
    /// Takes the blob in: durable and linked into the repository when this returns.
    pub(crate) async fn run(&self) -> Result<(), Error> {
        self.run_with(Tee::nobody()).await
    }

    /// Takes the blob in and hands its bytes on as they come.
    pub(crate) async fn run_with(&self, mut tee: Tee) -> Result<(), Error> {
        let mut tried = HashMap::new();
        let mut last = None;
        let (mut wait, mut along_wait) = (FIRST_WAIT, FIRST_ALONG);
        let mut along = 0;
        loop {
            let picked = self.pick(&exhausted(&tried), may_come_along(along)).await?;
            let Some((source, upstream)) = picked else {
                return Err(last.unwrap_or_else(|| self.missing()));
            };
            let who = source.client.endpoint().authority().to_owned();
            match (self.attempt(&source, upstream, &mut tee).await, upstream) {
                (Ok(Attempt::Stored), _) => {
                    source.succeeded();
                    self.progress.object(&who);
                    return Ok(());
                }
                // It has enough readers, or nothing comes to it any more: others are asked before it is.
                (Ok(Attempt::Absent | Attempt::TooSlow), Upstream::Reader) => {
                    source.lacks(self.digest());
                    along += 1;
                    self.pause(&mut along_wait, LONGEST_ALONG).await?;
                    self.sources.ask_again(self.digest()).await;
                }
                (Err(error), Upstream::Reader) if error.is_transient() => {
                    tracing::debug!(peer = %who, digest = %self.digest(), error = %error, "what came along ended");
                    source.lacks(self.digest());
                    along += ALONG_TRIES / 4;
                    self.pause(&mut along_wait, LONGEST_ALONG).await?;
                }
                (Ok(Attempt::Absent), Upstream::Holder) => {
                    source.lacks(self.digest());
                    tried.insert(who, TRIES_PER_SOURCE);
                }
                (Ok(Attempt::TooSlow), Upstream::Holder) => *tried.entry(who).or_default() += 1,
                (Err(error), Upstream::Holder) if error.is_transient() => {
                    tracing::info!(peer = %who, digest = %self.digest(), error = %error, "an attempt failed");
                    self.progress.failure(&who);
                    source.failed();
                    *tried.entry(who).or_default() += 1;
                    last = Some(error);
                    self.pause(&mut wait, LONGEST_WAIT).await?;
                }
                (Err(error), _) => return Err(error),
            }
        }
    }

    fn digest(&self) -> &Digest {
        self.arrival.digest()
    }

    fn missing(&self) -> Error {
        Error::Missing { what: format!("{}@{}", self.name, self.digest()) }
    }

    /// Who to take it from. Before it is taken from one of the few that have everything, the others are asked
    /// whether one of them is about to take it: this node said so itself before it asks, so that at least one
    /// of two hears.
    async fn pick(
        &self,
        exhausted: &HashMap<String, u32>,
        mut along: Along,
    ) -> Result<Option<(std::sync::Arc<Source>, Upstream)>, Error> {
        let mut has_asked = self.size < WORTH_ASKING;
        for _ in 0..TIES {
            match self.sources.pick(self.digest(), exhausted, along) {
                Pick::From(source) if has_asked || !source.is_whole() || along == Along::Refused => {
                    return Ok(Some((source, Upstream::Holder)));
                }
                Pick::From(_) => {}
                Pick::Along(source) => return Ok(Some((source, Upstream::Reader))),
                Pick::Later => self.sleep(with_jitter(FIRST_ALONG)).await?,
                Pick::Nobody => return Ok(None),
            }
            self.sources.ask_again(self.digest()).await;
            has_asked = true;
        }
        along = Along::Refused;
        Ok(match self.sources.pick(self.digest(), exhausted, along) {
            Pick::From(source) => Some((source, Upstream::Holder)),
            Pick::Along(source) => Some((source, Upstream::Reader)),
            Pick::Later | Pick::Nobody => None,
        })
    }

    /// The bytes of the blob from `offset` on, from `source`, or from another that has the blob where that
    /// one is slow to begin; `None` where it is not there.
    async fn open(
        &self,
        source: &std::sync::Arc<Source>,
        upstream: Upstream,
        offset: u64,
    ) -> Result<Option<(std::sync::Arc<Source>, BlobStream)>, Error> {
        let first = self.open_at(source.clone(), offset);
        tokio::pin!(first);
        tokio::select! {
            opened = &mut first => return opened,
            () = tokio::time::sleep(HEDGE_AFTER) => {}
        }
        let here = source.client.endpoint().authority().to_owned();
        let Some(other) = self.other(here).filter(|_| upstream == Upstream::Holder) else {
            return first.await;
        };
        let second = self.open_at(other, offset);
        tokio::pin!(second);
        tokio::select! {
            opened = &mut first => match opened {
                Ok(Some(opened)) => Ok(Some(opened)),
                failed => second.await.ok().flatten().map_or(failed, |opened| Ok(Some(opened))),
            },
            opened = &mut second => match opened {
                Ok(Some(opened)) => Ok(Some(opened)),
                Ok(None) | Err(_) => first.await,
            },
        }
    }

    async fn open_at(
        &self,
        source: std::sync::Arc<Source>,
        offset: u64,
    ) -> Result<Option<(std::sync::Arc<Source>, BlobStream)>, Error> {
        let stream = source.client.blob(self.name, self.digest(), offset).await?;
        Ok(stream.map(|stream| (source, stream)))
    }

    async fn attempt(
        &self,
        source: &std::sync::Arc<Source>,
        upstream: Upstream,
        tee: &mut Tee,
    ) -> Result<Attempt, Error> {
        let mut from = source.clone();
        let mut append =
            self.writer.resume_upload(self.name, upload_id(self.digest()), self.digest().algorithm()).await?;
        let offset = append.offset();
        tee.attempt(offset);
        if offset < self.size || self.size == 0 {
            let Some((opened, stream)) = self.open(source, upstream, offset).await? else {
                append.close().await?;
                return Ok(Attempt::Absent);
            };
            from = opened;
            self.progress.resumed(offset);
            let relay =
                append.partial().map(|partial| self.arrival.stream(self.size, upstream, partial, offset));
            let into = Into { append: &mut append, relay: relay.as_ref(), tee };
            let outcome = self.receive(stream, into, &from, upstream).await;
            let held = append.close().await?;
            if let Some(relay) = &relay {
                relay.settle(held);
            }
            match outcome {
                Ok(Attempt::Stored) => {}
                // What came counts again when the next attempt resumes.
                other => {
                    self.progress.lost(held);
                    return other;
                }
            }
        } else {
            append.close().await?;
            self.progress.resumed(offset);
        }
        let outcome = self.finish(&from).await?;
        tee.verified().await;
        Ok(outcome)
    }

    async fn receive(
        &self,
        mut stream: BlobStream,
        into: Into<'_>,
        source: &Source,
        upstream: Upstream,
    ) -> Result<Attempt, Error> {
        let Into { append, relay, tee } = into;
        let endpoint = || source.client.endpoint().clone();
        if stream.total().is_some_and(|total| total != self.size) {
            let why = format!(
                "{} has {:?} bytes there and {} in its manifest",
                self.digest(),
                stream.total(),
                self.size
            );
            return Err(Error::Protocol { endpoint: endpoint(), why });
        }
        let mut pace = Pace::default();
        loop {
            let data = tokio::select! {
                data = stream.next() => data?,
                () = self.cancel.cancelled() => return Err(Error::Cancelled),
            };
            let Some(data) = data else { break };
            let len = data.len();
            if append.offset() + len as u64 > self.size {
                return Err(Error::TooLarge {
                    endpoint: endpoint(),
                    request: self.digest().to_string(),
                    limit: self.size,
                });
            }
            if let Some(rate) = self.rate {
                rate.take(len).await;
            }
            if let Some(pressure) = self.pressure
                && append.offset() / EASE_EVERY != (append.offset() + len as u64) / EASE_EVERY
            {
                pressure.ease().await;
            }
            append.write(data.clone()).await?;
            if let Some(relay) = relay {
                relay.grow(data.clone(), append.written());
            }
            tee.data(data).await;
            self.progress.bytes(endpoint().authority(), len as u64);
            if pace.is_slow(len) && self.is_elsewhere(source, upstream) {
                return Ok(Attempt::TooSlow);
            }
        }
        if append.offset() == self.size {
            Ok(Attempt::Stored)
        } else {
            Err(Error::Cut { endpoint: endpoint() })
        }
    }

    /// Whether another source has it. What comes along with another is as slow as what comes there.
    fn is_elsewhere(&self, source: &Source, upstream: Upstream) -> bool {
        let here = source.client.endpoint().authority().to_owned();
        upstream == Upstream::Holder && self.other(here).is_some()
    }

    fn other(&self, than: String) -> Option<std::sync::Arc<Source>> {
        match self.sources.pick(self.digest(), &HashMap::from([(than, TRIES_PER_SOURCE)]), Along::Refused) {
            Pick::From(other) => Some(other),
            Pick::Along(_) | Pick::Later | Pick::Nobody => None,
        }
    }

    async fn finish(&self, source: &Source) -> Result<Attempt, Error> {
        match self.writer.finish_upload(self.name, upload_id(self.digest()), self.digest()).await? {
            Finish::Stored => Ok(Attempt::Stored),
            Finish::Mismatch { computed } => {
                self.progress.lost(self.size);
                let (endpoint, wanted) = (source.client.endpoint().clone(), *self.digest());
                Err(Error::WrongDigest { endpoint, wanted, computed })
            }
            // Garbage collection or a client took the upload away: the next attempt begins anew.
            Finish::Unknown => {
                self.progress.lost(self.size);
                Err(Error::Cut { endpoint: source.client.endpoint().clone() })
            }
        }
    }

    async fn pause(&self, wait: &mut Duration, longest: Duration) -> Result<(), Error> {
        self.sleep(with_jitter(*wait)).await?;
        *wait = (*wait * 2).min(longest);
        Ok(())
    }

    async fn sleep(&self, time: Duration) -> Result<(), Error> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            () = self.cancel.cancelled() => Err(Error::Cancelled),
        }
    }
}

fn may_come_along(tries: u32) -> Along {
    if tries < ALONG_TRIES { Along::Allowed } else { Along::Refused }
}

/// Between half of `time` and one and a half times it.
pub(crate) fn with_jitter(time: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().as_u128() as u32;
    time.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX))
}

/// The upload that a blob is taken in by: named by the blob, so that an attempt after a restart finds what
/// the one before it left.
pub(crate) fn upload_id(digest: &Digest) -> UploadId {
    let head = digest.as_bytes().first_chunk().copied().unwrap_or_default();
    UploadId::from_u128(u128::from_be_bytes(head))
}

fn exhausted(tried: &HashMap<String, u32>) -> HashMap<String, u32> {
    tried
        .iter()
        .filter(|(_, tries)| **tries >= TRIES_PER_SOURCE)
        .map(|(who, tries)| (who.clone(), *tries))
        .collect()
}

/// The speed of a source over the last moments.
#[derive(Debug, Default)]
struct Pace {
    since: Option<Instant>,
    bytes: u64,
}

impl Pace {
    /// Counts what came; says whether the last [`SLOW_AFTER`] were slow.
    fn is_slow(&mut self, len: usize) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.bytes += len as u64;
        let elapsed = since.elapsed();
        if elapsed < SLOW_AFTER {
            return false;
        }
        let slow = self.bytes < SLOW * elapsed.as_secs();
        *self = Self::default();
        slow
    }
}
