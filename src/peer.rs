//! Other registries: what they have, and how it comes here.
//!
//! Knows how to ask peers and any OCI registry, and how to take in a release so that nobody sees it before it
//! is whole. Does not know how a peer's request reaches this node: that is `http`'s.

mod challenge;
pub mod client;
mod dialer;
mod endpoint;
mod error;
mod fetching;
pub mod inventory;
mod job;
mod jobs;
mod local;
mod menders;
mod pressure;
mod progress;
mod pull_through;
pub mod rate;
mod releases;
mod run;
mod selection;
mod share;
mod sources;
mod survey;
mod tee;
mod transfer;
mod trust;

pub use client::Client;
pub use dialer::Dialer;
pub use endpoint::Endpoint;
pub use endpoint::EndpointError;
pub use error::Error;
pub use fetching::Fetching;
pub use job::Job;
pub use job::JobError;
pub use job::JobId;
pub use job::JobRequest;
pub use job::JobStatus;
pub use job::Percent;
pub use job::State;
pub use jobs::Jobs;
pub use jobs::Submitted;
pub use local::Events;
pub use local::Local;
pub use local::LocalError;
pub use menders::Menders;
pub use progress::Arrival;
pub use progress::Counts;
pub use progress::SourceCount;
pub use pull_through::PeerPullThrough;
pub use releases::ConditionDocument;
pub use releases::PeerReleases;
pub use releases::ReleaseDocument;
pub use releases::ReleaseList;
pub use releases::Releases;
pub use selection::Selection;
pub use trust::Trust;
