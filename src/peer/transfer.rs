//! A transfer: one blob, from whoever has it, into the store.
//!
//! Knows how to go on where an attempt stopped, here or at another source, and when a source is too slow. Does not
//! know which blobs are wanted or in which order.

use std::collections::HashMap;
use std::time::Duration;

use storage_layout::Digest;
use storage_layout::RepositoryName;
use storage_layout::UploadId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::peer::Error;
use crate::peer::client::BlobStream;
use crate::peer::progress::Progress;
use crate::peer::rate::RateLimit;
use crate::peer::sources::Pick;
use crate::peer::sources::Source;
use crate::peer::sources::Sources;
use crate::peer::tee::Tee;
use crate::store::Append;
use crate::store::Finish;
use crate::store::Writer;

/// How often one source is tried for one blob. A second time is for the broken connection, a third for bad luck.
const TRIES_PER_SOURCE: u32 = 3;
/// How long to wait for a peer that is taking the blob itself, before it is taken from the origin all the same.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often such a peer is asked.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// The first wait after a failure; it doubles, with jitter, so that nodes do not come back in step.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest such wait.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long a source may take for the first byte before another that has the blob is asked too: most answer within
/// milliseconds, and a second request costs little where they do not.
const HEDGE_AFTER: Duration = Duration::from_millis(1500);
/// Over how long a source's speed is judged.
const SLOW_AFTER: Duration = Duration::from_secs(10);
/// Below how many bytes a second another source is preferred, if one has the blob: a tenth of a 10 Mbit/s link.
const SLOW: u64 = 128 * 1024;

/// A blob to take in, and where to.
#[derive(Debug)]
pub(crate) struct Transfer<'a> {
    pub(crate) writer: &'a Writer,
    pub(crate) sources: &'a Sources,
    pub(crate) progress: &'a Progress,
    pub(crate) rate: Option<&'a RateLimit>,
    pub(crate) cancel: &'a CancellationToken,
    pub(crate) name: &'a RepositoryName,
    pub(crate) digest: &'a Digest,
    pub(crate) size: u64,
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
        let mut wait = FIRST_WAIT;
        loop {
            let Some(source) = self.pick(&exhausted(&tried)).await? else {
                return Err(
                    last.unwrap_or_else(|| Error::Missing { what: format!("{}@{}", self.name, self.digest) })
                );
            };
            let who = source.client.endpoint().authority().to_owned();
            match self.attempt(&source, &mut tee).await {
                Ok(Attempt::Stored) => {
                    source.succeeded();
                    self.progress.object(&who);
                    return Ok(());
                }
                Ok(Attempt::Absent) => {
                    source.lacks(self.digest);
                    tried.insert(who, TRIES_PER_SOURCE);
                }
                Ok(Attempt::TooSlow) => *tried.entry(who).or_default() += 1,
                Err(error) if error.is_transient() => {
                    tracing::info!(peer = %who, digest = %self.digest, error = %error, "an attempt failed");
                    self.progress.failure(&who);
                    source.failed();
                    *tried.entry(who).or_default() += 1;
                    last = Some(error);
                    self.pause(&mut wait).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Who to take it from; waits a while for a peer that is taking it from elsewhere.
    async fn pick(&self, exhausted: &HashMap<String, u32>) -> Result<Option<std::sync::Arc<Source>>, Error> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.sources.pick(self.digest, exhausted) {
                Pick::From(source) => return Ok(Some(source)),
                Pick::Later(source) if Instant::now() >= until => return Ok(Some(source)),
                Pick::Later(_) => {
                    self.sleep(ASK_AGAIN).await?;
                    self.sources.refresh(std::slice::from_ref(self.digest)).await;
                }
                Pick::Nobody => return Ok(None),
            }
        }
    }

    /// The bytes of the blob from `offset` on, from `source`, or from another that has the blob where that one is slow to
    /// begin; `None` where it is not there.
    async fn open(
        &self,
        source: &std::sync::Arc<Source>,
        offset: u64,
    ) -> Result<Option<(std::sync::Arc<Source>, BlobStream)>, Error> {
        let first = self.open_at(source.clone(), offset);
        tokio::pin!(first);
        tokio::select! {
            opened = &mut first => return opened,
            () = tokio::time::sleep(HEDGE_AFTER) => {}
        }
        let here = source.client.endpoint().authority().to_owned();
        let other = match self.sources.pick(self.digest, &HashMap::from([(here, TRIES_PER_SOURCE)])) {
            Pick::From(other) => other,
            Pick::Later(_) | Pick::Nobody => return first.await,
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
        let stream = source.client.blob(self.name, self.digest, offset).await?;
        Ok(stream.map(|stream| (source, stream)))
    }

    async fn attempt(&self, source: &std::sync::Arc<Source>, tee: &mut Tee) -> Result<Attempt, Error> {
        let mut from = source.clone();
        let mut append =
            self.writer.resume_upload(self.name, upload_id(self.digest), self.digest.algorithm()).await?;
        let offset = append.offset();
        tee.attempt(offset);
        if offset < self.size || self.size == 0 {
            let Some((opened, stream)) = self.open(source, offset).await? else {
                append.close().await?;
                return Ok(Attempt::Absent);
            };
            from = opened;
            self.progress.resumed(offset);
            let outcome = self.receive(stream, &mut append, &from, tee).await;
            let held = append.close().await?;
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
        append: &mut Append,
        source: &Source,
        tee: &mut Tee,
    ) -> Result<Attempt, Error> {
        let endpoint = || source.client.endpoint().clone();
        if stream.total().is_some_and(|total| total != self.size) {
            let why = format!(
                "{} has {:?} bytes there and {} in its manifest",
                self.digest,
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
                    request: self.digest.to_string(),
                    limit: self.size,
                });
            }
            if let Some(rate) = self.rate {
                rate.take(len).await;
            }
            append.write(data.clone()).await?;
            tee.data(data).await;
            self.progress.bytes(endpoint().authority(), len as u64);
            if pace.is_slow(len) && self.others_have(source) {
                return Ok(Attempt::TooSlow);
            }
        }
        if append.offset() == self.size {
            Ok(Attempt::Stored)
        } else {
            Err(Error::Cut { endpoint: endpoint() })
        }
    }

    fn others_have(&self, source: &Source) -> bool {
        let here = source.client.endpoint().authority().to_owned();
        matches!(self.sources.pick(self.digest, &HashMap::from([(here, TRIES_PER_SOURCE)])), Pick::From(_))
    }

    async fn finish(&self, source: &Source) -> Result<Attempt, Error> {
        match self.writer.finish_upload(self.name, upload_id(self.digest), self.digest).await? {
            Finish::Stored => Ok(Attempt::Stored),
            Finish::Mismatch { computed } => {
                self.progress.lost(self.size);
                let (endpoint, wanted) = (source.client.endpoint().clone(), *self.digest);
                Err(Error::WrongDigest { endpoint, wanted, computed })
            }
            // Garbage collection or a client took the upload away: the next attempt begins anew.
            Finish::Unknown => {
                self.progress.lost(self.size);
                Err(Error::Cut { endpoint: source.client.endpoint().clone() })
            }
        }
    }

    async fn pause(&self, wait: &mut Duration) -> Result<(), Error> {
        self.sleep(with_jitter(*wait)).await?;
        *wait = (*wait * 2).min(LONGEST_WAIT);
        Ok(())
    }

    async fn sleep(&self, time: Duration) -> Result<(), Error> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            () = self.cancel.cancelled() => Err(Error::Cancelled),
        }
    }
}

/// Between half of `time` and one and a half times it.
pub(crate) fn with_jitter(time: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().as_u128() as u32;
    time.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX))
}

/// The upload that a blob is taken in by: named by the blob, so that an attempt after a restart finds what the one
/// before it left.
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
