//! `Kept`: what the machine acknowledged, and so must have.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;

use crate::client;
use crate::crash::Acknowledged;
use crate::crash::still_there;
use crate::http::Endpoint;
use crate::http::Response;
use crate::image::Content;

/// How many of the things acknowledged last are asked for in each life; after the last, all are.
const CHECKED: usize = 12;

/// How many images are being deleted when power goes, and of how many of those that are there the oldest one.
const VICTIMS: usize = 8;
const ONE_OF: usize = 3;

/// How many images are kept when the rest is thinned out: each life begins by having all of the store verified,
/// and two hundred lives would take most of their time for that.
const MOST: usize = 30;

/// How old garbage must be: older than what is just being pushed.
pub(super) const GRACE: Duration = Duration::from_secs(30);

/// What was acknowledged: what is there, and what is not there any more.
#[derive(Debug, Default)]
pub(super) struct Kept {
    things: Vec<Acknowledged>,
    deleted: Vec<Tagged>,
    /// Whose deletion was not acknowledged.
    doubtful: Vec<Victim>,
}

/// A repository and a tag in it.
pub(super) type Tagged = (&'static str, String);

/// An image that is to be deleted.
#[derive(Clone, Debug)]
pub(super) struct Victim {
    tagged: Tagged,
    manifest: Content,
}

impl Victim {
    /// Has it deleted.
    ///
    /// # Errors
    /// It was not acknowledged.
    pub(super) fn delete(&self, endpoint: &Endpoint) -> Result<Response> {
        let (repository, _) = self.tagged;
        endpoint.delete(&format!("/v2/{repository}/manifests/{}", self.manifest.digest))
    }
}

impl Kept {
    pub(super) fn extend(&mut self, things: Vec<Acknowledged>) {
        self.things.extend(things);
    }

    /// The first `acknowledged` of them are gone; what became of the others is not known.
    pub(super) fn deleted(&mut self, mut victims: Vec<Victim>, acknowledged: usize) {
        self.doubtful.extend(victims.drain(acknowledged.min(victims.len())..));
        self.deleted.extend(victims.into_iter().map(|it| it.tagged));
    }

    /// Blobs whose image power did not let be finished are garbage, and may go.
    pub(super) fn forget_what_is_garbage(&mut self) {
        let needed: HashSet<String> = self.things.iter().flat_map(children).collect();
        self.things.retain(|thing| match thing {
            Acknowledged::Blob(_, blob) => needed.contains(&blob.digest),
            Acknowledged::Tag(..) => true,
        });
    }

    /// Images that are about to be deleted, the oldest; what becomes of them and of their blobs is not known
    /// until that is acknowledged.
    pub(super) fn give_up(&mut self) -> Vec<Victim> {
        self.oldest((self.images() / ONE_OF).min(VICTIMS))
    }

    /// Has all but the newest images deleted.
    ///
    /// # Errors
    /// One was not.
    pub(super) fn thin_out(&mut self, endpoint: &Endpoint) -> Result<()> {
        for victim in std::mem::take(&mut self.doubtful) {
            victim.delete(endpoint)?.expect_any(&[202, 404])?;
            self.deleted.push(victim.tagged);
        }
        let victims = self.oldest(self.images().saturating_sub(MOST));
        victims.iter().try_for_each(|it| it.delete(endpoint)?.expect(202).map(drop))?;
        self.deleted.extend(victims.into_iter().map(|it| it.tagged));
        Ok(())
    }

    fn images(&self) -> usize {
        self.things.iter().filter(|it| matches!(it, Acknowledged::Tag(..))).count()
    }

    /// Takes the oldest images out of what must be there.
    fn oldest(&mut self, count: usize) -> Vec<Victim> {
        let mut victims = Vec::new();
        let mut blobs = HashSet::new();
        self.things.retain(|thing| match thing {
            Acknowledged::Tag(repository, tag, manifest) if victims.len() < count => {
                blobs.extend(children(thing));
                victims.push(Victim { tagged: (*repository, tag.clone()), manifest: manifest.clone() });
                false
            }
            _ => true,
        });
        self.things
            .retain(|thing| !matches!(thing, Acknowledged::Blob(_, blob) if blobs.contains(&blob.digest)));
        victims
    }

    /// What was acknowledged last is as it was said.
    pub(super) fn recent(&self, endpoint: &Endpoint) -> Result<()> {
        let mut recent = self.things.iter().rev().take(CHECKED);
        recent.try_for_each(|thing| still_there(endpoint, thing)).context("acknowledged before the cut")?;
        self.deleted.iter().rev().take(CHECKED).try_for_each(|it| is_gone(endpoint, it))
    }

    /// All of it is.
    pub(super) fn all(&self, endpoint: &Endpoint) -> Result<()> {
        self.things.iter().try_for_each(|thing| still_there(endpoint, thing))?;
        self.deleted.iter().try_for_each(|it| is_gone(endpoint, it))
    }
}

fn is_gone(endpoint: &Endpoint, (repository, tag): &Tagged) -> Result<()> {
    let found = client::manifest(endpoint, "HEAD", &format!("/v2/{repository}/manifests/{tag}"))?;
    ensure!(found.status == 404, "{repository}:{tag} was deleted before the cut, and is back");
    Ok(())
}

/// The digests that a manifest lists.
fn children(thing: &Acknowledged) -> Vec<String> {
    let Acknowledged::Tag(_, _, manifest) = thing else { return Vec::new() };
    let manifest: Value = serde_json::from_slice(&manifest.bytes).unwrap_or_default();
    let layers = manifest.get("layers").and_then(Value::as_array).into_iter().flatten();
    let all = layers.chain(manifest.get("config"));
    all.filter_map(|it| Some(it.get("digest")?.as_str()?.to_owned())).collect()
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (things, deleted) = (self.things.len(), self.deleted.len());
        write!(f, "{things} acknowledged blobs and tags and {deleted} acknowledged deletions")
    }
}
