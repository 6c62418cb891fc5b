//! The documents in which releases are told.
//!
//! Knows their members, which programs rely on: new ones may come, none goes or changes. A node reads those
//! of its peers, which may be of a neighbouring version.

use std::time::SystemTime;

use serde::Deserialize;
use serde::Serialize;

use crate::peer::Endpoint;
use crate::peer::Error;
use crate::peer::releases::facts::Known;
use crate::peer::releases::transitions::Transitions;
use crate::release;

/// The body of `GET /v2/_larder/releases`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ReleaseList {
    /// Of this node.
    pub releases: Vec<ReleaseDocument>,
    /// Of its peers, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<Vec<PeerReleases>>,
}

/// A release as it is told.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseDocument {
    /// Its bundle; where there is none its version, its tag or its digest.
    pub name: String,
    /// Its bundle, which makes it known to the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
    /// Its version, where the payload's list can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Its image in this registry, by digest; to be put behind the registry's host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How many images it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<u64>,
    /// How many of them are here whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<u64>,
    /// How many bytes of it are here.
    #[serde(default)]
    pub bytes: u64,
    /// What it lacks, in words: a hundred things at the most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// How it is doing.
    pub conditions: Vec<ConditionDocument>,
    /// All that it is called.
    #[serde(skip)]
    names: Vec<String>,
}

/// A condition, as the cluster's API writes it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConditionDocument {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True` or `False`.
    pub status: String,
    /// Why, in one word.
    pub reason: String,
    /// Why, in words.
    #[serde(default)]
    pub message: String,
    /// When its status last changed, by RFC 3339.
    pub last_transition_time: String,
}

/// The releases of a peer, or why they are not known.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct PeerReleases {
    /// Which.
    pub peer: String,
    /// Its releases.
    #[serde(default)]
    pub releases: Vec<ReleaseDocument>,
    /// Why they are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl ReleaseDocument {
    /// Whether it is called so.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.names.iter().any(|it| it == name)
    }
}

impl PeerReleases {
    /// What a peer answered; nothing in time is `None`.
    pub(super) fn of(peer: &Endpoint, answer: Option<Result<Option<ReleaseList>, Error>>) -> Self {
        let peer = peer.to_string();
        let failed = |error: String| Self { peer: peer.clone(), error: Some(error), ..Self::default() };
        match answer {
            None => failed("it did not answer in time".to_owned()),
            Some(Err(error)) => failed(error.to_string()),
            Some(Ok(None)) => failed("it does not tell of releases".to_owned()),
            Some(Ok(Some(list))) => Self { peer, releases: list.releases, error: None },
        }
    }
}

/// How a release is told.
pub(super) fn of(known: &Known, transitions: &mut Transitions, now: SystemTime) -> ReleaseDocument {
    let conditions = known.facts.conditions();
    let changed = transitions.observe(&known.key(), &conditions, known.since.unwrap_or(now), now);
    let conditions = conditions.into_iter().map(|it| {
        let kind = it.kind.as_str();
        let since = changed.get(kind).map_or(now, |(_, since)| *since);
        ConditionDocument {
            kind: kind.to_owned(),
            status: if it.holds { "True" } else { "False" }.to_owned(),
            reason: it.reason,
            message: it.message,
            last_transition_time: humantime::format_rfc3339_seconds(since).to_string(),
        }
    });
    ReleaseDocument {
        name: known.names.first().cloned().unwrap_or_default(),
        bundle: known.bundle.clone(),
        version: known.version.clone(),
        image: known.digest.as_ref().map(|it| format!("{}@{it}", release::IMAGES)),
        images: known.facts.images.map(|it| it.0),
        present: known.facts.images.map(|it| it.1),
        bytes: known.bytes,
        missing: known.facts.lacks.clone(),
        conditions: conditions.collect(),
        names: known.names.clone(),
    }
}
