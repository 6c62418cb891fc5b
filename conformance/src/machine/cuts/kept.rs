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
use crate::image::Content;

/// How many of the things acknowledged last are asked for in each life; after the last, all are.
const CHECKED: usize = 12;

/// How many images are deleted in a life, and of how many of those that are there the oldest one.
const VICTIMS: usize = 8;
const ONE_OF: usize = 3;

/// How old garbage must be: older than what is just being pushed.
pub(super) const GRACE: Duration = Duration::from_secs(30);

/// What was acknowledged: what is there, and what is not there any more.
#[derive(Debug, Default)]
pub(super) struct Kept {
    things: Vec<Acknowledged>,
    deleted: Vec<(&'static str, String)>,
}

impl Kept {
    pub(super) fn extend(&mut self, things: Vec<Acknowledged>) {
        self.things.extend(things);
    }

    pub(super) fn deleted(&mut self, tags: Vec<(&'static str, String)>) {
        self.deleted.extend(tags);
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
    pub(super) fn give_up(&mut self) -> Vec<(&'static str, String, Content)> {
        let images = self.things.iter().filter(|it| matches!(it, Acknowledged::Tag(..))).count();
        let count = (images / ONE_OF).min(VICTIMS);
        let mut victims = Vec::new();
        let mut blobs = HashSet::new();
        self.things.retain(|thing| match thing {
            Acknowledged::Tag(repository, tag, manifest) if victims.len() < count => {
                blobs.extend(children(thing));
                victims.push((*repository, tag.clone(), manifest.clone()));
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

fn is_gone(endpoint: &Endpoint, (repository, tag): &(&'static str, String)) -> Result<()> {
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
