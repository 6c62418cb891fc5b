//! Mending what a verification found, from what other stores and registries hold and from what the tree
//! itself still tells.
//!
//! Knows which evidence is good enough: bytes that have the digest, a link's own path, a tag's history where
//! it leaves one choice. Does not know how a problem was found. What cannot be mended is set aside, never
//! deleted.

use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use storage_layout::Digest;
use tokio::task::spawn_blocking;

use crate::maintenance::verify::Problem;
use crate::store::Error;
use crate::store::Import;
use crate::store::Intake;
use crate::store::Pointer;
use crate::store::Source;
use crate::store::Store;

mod plan;
mod registries;

pub use plan::Remedy;
pub use plan::Witness;
pub use plan::plan;
pub use registries::Asked;
pub use registries::Registries;
pub use registries::ask;

/// Stores that mend, in the order in which they are asked.
pub type Donors = Arc<Vec<Arc<dyn Source>>>;

/// What became of a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is mended.
    Mended,
    /// The damaged file is out of the tree.
    SetAside {
        /// Where it is now.
        to: PathBuf,
    },
    /// It is as it was.
    Left {
        /// Why.
        why: String,
    },
}

/// Carries out remedies, each for the problem before it; gives what became of each.
///
/// # Errors
/// The store cannot be written. What was mended until then is mended.
pub async fn repair(
    store: &Store,
    remedies: Vec<(Problem, Remedy)>,
    registries: &dyn Registries,
) -> Result<Vec<(Problem, Outcome)>, Error> {
    let mut outcomes = Vec::with_capacity(remedies.len());
    // What points at blobs comes after the blobs.
    let is_of_a_blob = |(_, remedy): &(Problem, Remedy)| {
        matches!(remedy, Remedy::Fetch { .. } | Remedy::Bring { .. } | Remedy::SetAside { .. })
    };
    let (first, then): (Vec<_>, Vec<_>) = remedies.into_iter().partition(is_of_a_blob);
    for (problem, remedy) in first.into_iter().chain(then) {
        let outcome = match apply(store, remedy, registries).await {
            Ok(outcome) => outcome,
            Err(
                error @ (Error::NoSpace { .. }
                | Error::NoInodes { .. }
                | Error::BecameReadOnly { .. }
                | Error::Closed),
            ) => {
                return Err(error);
            }
            Err(error) => Outcome::Left { why: error.to_string() },
        };
        tracing::info!(%problem, %outcome, "repaired");
        outcomes.push((problem, outcome));
    }
    Ok(outcomes)
}

async fn apply(store: &Store, remedy: Remedy, registries: &dyn Registries) -> Result<Outcome, Error> {
    let Some(writer) = store.writer() else {
        return Ok(Outcome::Left { why: "the store is read-only".to_owned() });
    };
    let import = writer.import();
    match remedy {
        Remedy::Fetch { digest, from, donors, links } => {
            replace_damaged(store, &digest).await?;
            if !fetch(&import, &digest, &donors).await? {
                return Ok(Outcome::Left {
                    why: format!("{} does not give it whole any more", from.display()),
                });
            }
            import.link(links.into_iter().map(|from| Pointer { from, to: digest }).collect()).await?;
        }
        Remedy::Bring { name, digest, from, links } => {
            replace_damaged(store, &digest).await?;
            if let Err(why) = registries.bring(&name, &digest).await {
                return Ok(Outcome::Left { why: format!("{from} does not give it whole: {why}") });
            }
            import.link(links.into_iter().map(|from| Pointer { from, to: digest }).collect()).await?;
        }
        Remedy::Link { link, to } => import.link(vec![Pointer { from: link, to }]).await?,
        Remedy::Tag { name, tag, to, .. } => import.tag(vec![Pointer { from: (name, tag), to }]).await?,
        Remedy::SetAside { entry } => {
            return Ok(match writer.set_aside(&entry).await? {
                Some(to) => Outcome::SetAside { to },
                None => Outcome::Left { why: "it lies in a root that is only read".to_owned() },
            });
        }
        Remedy::None { why } => return Ok(Outcome::Left { why }),
    }
    Ok(Outcome::Mended)
}

/// Has the store take a new copy of a blob: one that it believes to be whole it would keep.
async fn replace_damaged(store: &Store, digest: &Digest) -> Result<(), Error> {
    let Some(written) = store.written() else { return Ok(()) };
    let digest = *digest;
    let damaged = blocking(move || written.blob(&digest)).await?;
    damaged.iter().for_each(|it| store.report_damage(it));
    Ok(())
}

/// Copies a blob from the first donor that gives it whole.
async fn fetch(import: &Import, digest: &Digest, donors: &Donors) -> Result<bool, Error> {
    let (import, digest, donors) = (import.clone(), *digest, Arc::clone(donors));
    let taking = import.clone();
    let taken = blocking(move || {
        for donor in &*donors {
            let Ok(Some(blob)) = donor.blob(&digest) else { continue };
            let reservation = taking.reserve(blob.len())?;
            if let Ok(Intake::Taken(taken)) = taking.take(&blob, &reservation, |_| ControlFlow::Continue(()))
            {
                return Ok(Some(taken));
            }
        }
        Ok(None)
    })
    .await?;
    let Some(taken) = taken else { return Ok(false) };
    import.publish(vec![taken]).await?;
    Ok(true)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    spawn_blocking(work).await.unwrap_or(Err(Error::Closed))
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mended => f.write_str("mended"),
            Self::SetAside { to } => write!(f, "set aside as {}", to.display()),
            Self::Left { why } => write!(f, "left as it is: {why}"),
        }
    }
}

#[cfg(test)]
mod tests;
