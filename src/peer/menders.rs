//! `Menders`: registries that give back what is damaged here.
//!
//! Knows how to ask them one after the other, and that what they give is verified before anybody sees it.
//! Does not know what is damaged, or how that was found.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use storage_layout::Digest;
use storage_layout::RepositoryName;
use storage_layout::Tag;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

use crate::maintenance::repair::Asked;
use crate::maintenance::repair::Registries;
use crate::peer::Dialer;
use crate::peer::Endpoint;
use crate::peer::Error;
use crate::peer::Fetching;
use crate::peer::client::Client;
use crate::peer::progress::Progress;
use crate::peer::rate::RateLimit;
use crate::peer::sources::Origin;
use crate::peer::sources::Source;
use crate::peer::sources::Sources;
use crate::peer::sources::Wanted;
use crate::peer::survey::fetch_manifest;
use crate::peer::transfer::Transfer;
use crate::store::Store;

/// How often a blob that somebody's pull is fetching is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Registries that mend. What is under way ends when this is dropped.
#[derive(Debug)]
pub struct Menders {
    store: Store,
    fetching: Arc<Fetching>,
    sources: Sources,
    rate: Option<RateLimit>,
    progress: Progress,
    cancel: CancellationToken,
    _ended: DropGuard,
}

impl Menders {
    /// Those at `endpoints`, in this order, for `store`, into which `fetching` comes already. Dials nobody
    /// yet.
    pub fn new(
        store: Store,
        fetching: Arc<Fetching>,
        dialer: &Dialer,
        endpoints: &[Endpoint],
        bytes_per_second: Option<NonZeroU64>,
    ) -> Self {
        let sources = endpoints.iter().map(|it| Source::new(dialer.client(it), Origin::Named)).collect();
        let cancel = CancellationToken::new();
        Self {
            store,
            fetching,
            sources: Sources::new(sources, Wanted::Any),
            rate: bytes_per_second.map(RateLimit::new),
            progress: Progress::default(),
            _ended: cancel.clone().drop_guard(),
            cancel,
        }
    }

    /// The first that answers with something. Who cannot be reached is not asked again for a while.
    async fn first<T, F>(&self, ask: impl Fn(Client) -> F) -> Option<(T, String)>
    where
        F: Future<Output = Result<Option<T>, Error>>,
    {
        for source in self.sources.all().iter().filter(|it| !it.is_resting()) {
            let endpoint = source.client.endpoint().to_string();
            match ask(source.client.clone()).await {
                Ok(Some(answer)) => return Some((answer, endpoint)),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(peer = %endpoint, error = &error as &dyn std::error::Error, "cannot mend from it");
                    source.failed();
                }
            }
        }
        None
    }

    async fn has_manifest(&self, name: &RepositoryName, digest: &Digest) -> Option<String> {
        let ask = async |client: Client| client.manifest(name, &digest.to_string()).await;
        self.first(ask).await.map(|(_, who)| who)
    }

    async fn blob_size(&self, name: &RepositoryName, digest: &Digest) -> Option<(u64, String)> {
        self.first(async |client: Client| client.blob_size(name, digest).await).await
    }

    async fn fetch(&self, name: &RepositoryName, digest: &Digest) -> Result<(), Error> {
        let writer = self.store.writer().ok_or(Error::ReadOnly)?;
        if self.has_manifest(name, digest).await.is_some() {
            let (content, _) = fetch_manifest(&self.sources, name, digest).await?;
            return Ok(writer.put_manifest(name, digest, content, &[]).await?);
        }
        let size = self.blob_size(name, digest).await;
        let (size, _) = size.ok_or_else(|| Error::Missing { what: format!("{name}@{digest}") })?;
        let arrival = loop {
            // Somebody's pull may be fetching it.
            match self.fetching.begin(*digest, [name.clone()].into()) {
                Some(arrival) => break arrival,
                None => tokio::time::sleep(LOOK_AGAIN).await,
            }
        };
        let transfer = Transfer {
            writer,
            sources: &self.sources,
            progress: &self.progress,
            rate: self.rate.as_ref(),
            pressure: None,
            cancel: &self.cancel,
            name,
            arrival: &arrival,
            size,
        };
        transfer.run().await
    }
}

impl Registries for Menders {
    fn have<'a>(&'a self, name: &'a RepositoryName, digest: &'a Digest) -> Asked<'a, Option<String>> {
        Box::pin(async move {
            match self.has_manifest(name, digest).await {
                Some(who) => Some(who),
                None => self.blob_size(name, digest).await.map(|(_, who)| who),
            }
        })
    }

    fn tag<'a>(&'a self, name: &'a RepositoryName, tag: &'a Tag) -> Asked<'a, Option<(Digest, String)>> {
        Box::pin(async move { self.first(async |client: Client| client.resolve(name, tag).await).await })
    }

    fn bring<'a>(&'a self, name: &'a RepositoryName, digest: &'a Digest) -> Asked<'a, Result<(), String>> {
        Box::pin(async move { self.fetch(name, digest).await.map_err(|error| error.to_string()) })
    }
}
