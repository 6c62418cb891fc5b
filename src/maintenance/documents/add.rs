//! Adding a release: the request and the report.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;
use serde::Serialize;

use crate::maintenance::Addition;
use crate::maintenance::Fault;
use crate::maintenance::Pace;
use crate::maintenance::background;
use crate::maintenance::copy;
use crate::maintenance::copy::Held;
use crate::maintenance::copy::Plan;
use crate::maintenance::copy::PlanError;
use crate::maintenance::copy::Progress;
use crate::maintenance::copy::Selection;
use crate::maintenance::pace::StopOnDrop;
use crate::store::Error;
use crate::store::Source;
use crate::store::Store;

/// Which release is to be brought onto the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddRequest {
    /// By bundle, version, tag or digest.
    pub release: String,
}

/// What was brought onto the disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AddReport {
    /// As it was asked for.
    pub release: String,
    /// Where it came from.
    pub from: Vec<PathBuf>,
    /// Blobs that were copied.
    pub blobs: u64,
    /// Bytes that were copied.
    pub bytes: u64,
    /// Blobs that were there.
    pub skipped_blobs: u64,
    /// What could not be copied, in words: then it is not complete.
    pub problems: Vec<String>,
    /// The peers that were told to take it, and what each said.
    #[serde(default)]
    pub peers: Vec<PeerAnswer>,
    /// How long it took.
    pub seconds: f64,
}

/// What a peer said when it was told to take a release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerAnswer {
    /// Which.
    pub peer: String,
    /// The job that it began or had under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Why a release was not added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// There is nothing that it could come from.
    #[error("no medium is attached: there is no root but the one that is written")]
    NothingAttached,
    /// No medium has it.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Somebody had it removed meanwhile.
    #[error("it was given up: somebody removed the release")]
    GivenUp,
    /// It could not be copied.
    #[error(transparent)]
    Copy(#[from] copy::Error),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Brings a release from the roots that are only read onto the one that is written; `None` where none is.
/// Whoever hangs up ends it, and the next one goes on where it was: until the release is whole it is
/// remembered as an [`Addition`].
///
/// # Errors
/// No medium has it, or the disk cannot be written.
pub async fn add(store: &Store, request: &AddRequest) -> Result<Option<AddReport>, AddError> {
    let began = Instant::now();
    let (Some(writer), Some(written)) = (store.writer(), store.written()) else { return Ok(None) };
    let sources = store.sources();
    let media: Vec<Arc<dyn Source>> =
        sources.iter().filter(|it| it.origin() != written.origin()).cloned().collect();
    if media.is_empty() {
        return Err(AddError::NothingAttached);
    }
    let from: Vec<_> = media.iter().map(|it| it.origin().to_owned()).collect();
    let selection = Selection::Releases(vec![request.release.clone()]);
    let media = Arc::new(media);
    let plan = background::run(move || Plan::new(media, &selection)).await??;
    let addition = note(request, &plan, &from);
    if let Some(addition) = &addition {
        addition.keep(store).await?;
    }
    let pace = Arc::new(Pace::new(None));
    let _stop = StopOnDrop(Arc::clone(&pace));
    let copied = copy::copy(plan, writer.import(), Held::Trusted, pace, Arc::new(Progress::default())).await;
    if let Some(addition) = addition {
        end(store, addition, Fault::of(&copied)).await?;
    }
    let Some(copied) = copied? else { return Err(AddError::Store(Error::Closed)) };
    Ok(Some(AddReport {
        release: request.release.clone(),
        from,
        blobs: copied.copied_blobs,
        bytes: copied.copied_bytes,
        skipped_blobs: copied.skipped_blobs,
        problems: copied.problems.iter().map(ToString::to_string).collect(),
        peers: Vec::new(),
        seconds: began.elapsed().as_secs_f64(),
    }))
}

fn note(request: &AddRequest, plan: &Plan, from: &[PathBuf]) -> Option<Addition> {
    let (asked, from) = (request.release.clone(), from.to_vec());
    plan.releases().first().map(|it| Addition { asked, release: it.clone(), from, fault: None })
}

/// Notes what is in the way; where nothing is, the release is here.
async fn end(store: &Store, addition: Addition, fault: Option<Fault>) -> Result<(), Error> {
    let Some(fault) = fault else {
        return Addition::forget(store, &addition.release.digest).await.map(drop);
    };
    let noted = Addition { fault: Some(fault), ..addition }.keep(store).await;
    if let Err(error) = noted {
        // On a disk that is full, say. That it is under way is noted already, and why it is not done is being
        // told.
        tracing::warn!(error = %error, "what is in the way of a release cannot be noted");
    }
    Ok(())
}
