//! Remedies that other registries have.
//!
//! Knows what to ask them and which repository to name, since a registry gives out nothing without one. Does
//! not know how they are reached: whoever can dial implements [`Registries`].

use std::fmt;
use std::pin::Pin;

use storage_layout::Digest;
use storage_layout::Entry;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use crate::maintenance::repair::Remedy;
use crate::maintenance::repair::Witness;
use crate::maintenance::verify::Problem;
use crate::store::Error;
use crate::store::Store;

/// An answer that takes a while.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Other registries, in the order in which they are asked. One that cannot be reached has nothing.
pub trait Registries: fmt::Debug + Send + Sync {
    /// Who says that they have a manifest or a blob in a repository. Not a byte of it has been looked at.
    fn have<'a>(&'a self, name: &'a RepositoryName, digest: &'a Digest) -> Asked<'a, Option<String>>;

    /// What a tag points at, and who says so.
    fn tag<'a>(&'a self, name: &'a RepositoryName, tag: &'a Tag) -> Asked<'a, Option<(Digest, String)>>;

    /// Stores a manifest or a blob, verified, and links it into the repository; says why not, if so.
    fn bring<'a>(&'a self, name: &'a RepositoryName, digest: &'a Digest) -> Asked<'a, Result<(), String>>;
}

/// Nobody.
impl Registries for () {
    fn have<'a>(&'a self, _: &'a RepositoryName, _: &'a Digest) -> Asked<'a, Option<String>> {
        Box::pin(async { None })
    }

    fn tag<'a>(&'a self, _: &'a RepositoryName, _: &'a Tag) -> Asked<'a, Option<(Digest, String)>> {
        Box::pin(async { None })
    }

    fn bring<'a>(&'a self, _: &'a RepositoryName, _: &'a Digest) -> Asked<'a, Result<(), String>> {
        Box::pin(async { Err("there is nobody to ask".to_owned()) })
    }
}

/// Asks registries for what nothing nearer mends. A tag is rather told by a registry than by its own history.
///
/// # Errors
/// The store cannot be read.
pub async fn ask(
    store: &Store,
    remedies: Vec<(Problem, Remedy)>,
    registries: &dyn Registries,
) -> Result<Vec<(Problem, Remedy)>, Error> {
    let mut asked = Vec::with_capacity(remedies.len());
    for (problem, remedy) in remedies {
        let better = match (&problem, &remedy) {
            (_, Remedy::Fetch { .. } | Remedy::Link { .. } | Remedy::Tag { by: Witness::Other(_), .. }) => {
                None
            }
            (Problem::Link { entry: Entry::TagCurrent(name, tag), .. }, _) => {
                told(store, name, tag, registries).await?
            }
            _ => brought(&problem, registries).await,
        };
        asked.push((problem, better.unwrap_or(remedy)));
    }
    Ok(asked)
}

/// A tag, if its manifest is listed here.
async fn told(
    store: &Store,
    name: &RepositoryName,
    tag: &Tag,
    registries: &dyn Registries,
) -> Result<Option<Remedy>, Error> {
    let Some((to, by)) = registries.tag(name, tag).await else { return Ok(None) };
    let is_listed = store.has_revision(name, &to).await?;
    let (name, tag, by) = (name.clone(), tag.clone(), Witness::Other(by));
    Ok(is_listed.then_some(Remedy::Tag { name, tag, to, by }))
}

/// A manifest or a blob, by the first repository that needs it and of which a registry has it.
async fn brought(problem: &Problem, registries: &dyn Registries) -> Option<Remedy> {
    let (digest, names) = match problem {
        Problem::Blob { digest, repositories, .. } => (digest, repositories.iter().collect()),
        Problem::Missing { digest, needs } => (digest, needs.iter().map(|it| &it.repository).collect()),
        Problem::Dangling { repository, digest, .. } => (digest, vec![repository]),
        _ => return None,
    };
    for name in names {
        if let Some(from) = registries.have(name, digest).await {
            return Some(Remedy::Bring { name: name.clone(), digest: *digest, from, links: problem.links() });
        }
    }
    None
}
