//! Roots that come and go while a server runs: media that hold a release, above all.
//!
//! Knows what was attached since the server began, and which releases each of them holds, read from its
//! content: a volume's label holds 32 characters and a bundle's name can be longer. Does not know who noticed
//! the medium, or who may attach one.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::maintenance::documents::AttachedRelease;
use crate::maintenance::documents::AttachedRoot;
use crate::maintenance::releases::releases;
use crate::store::Error;
use crate::store::Source;
use crate::store::Store;

/// How many roots may be attached at once. Each is looked in for whatever the others have not, and a node has
/// two optical drives at the most.
pub const ATTACHED_LIMIT: usize = 16;

/// What was attached to a store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Attachments {
    store: Store,
    roots: Arc<Mutex<BTreeMap<PathBuf, Vec<AttachedRelease>>>>,
}

/// Why a root is not attached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The server does not share its working directory with whoever asks.
    #[error("`{}` does not begin at the root of the file system", path.display())]
    Relative {
        /// What was asked for.
        path: PathBuf,
    },
    /// There are enough.
    #[error("{ATTACHED_LIMIT} roots are attached already")]
    TooMany,
    /// It was not attached.
    #[error("`{}` is not attached", path.display())]
    NotAttached {
        /// What was asked for.
        path: PathBuf,
    },
    /// It cannot be read, or holds no tree.
    #[error("cannot attach it")]
    Unreadable(#[from] Error),
}

impl Attachments {
    /// Nothing is attached yet.
    pub fn new(store: Store) -> Self {
        Self { store, roots: Arc::default() }
    }

    /// Has a root looked in after the others, and says what it holds. Again, for a medium that was changed,
    /// it is opened anew; for a root that the server was started with, nothing changes.
    ///
    /// # Errors
    /// There is no tree in it, or it cannot be read; then it is not attached.
    pub async fn attach(&self, root: PathBuf) -> Result<AttachedRoot, AttachError> {
        if !root.is_absolute() {
            return Err(AttachError::Relative { path: root });
        }
        let is_known = self.held().contains_key(&root);
        if !is_known && self.store.roots().contains(&root) {
            let releases = self.releases_in(&root).await?;
            return Ok(AttachedRoot { path: root, releases, problem: None });
        }
        if !is_known && self.held().len() >= ATTACHED_LIMIT {
            return Err(AttachError::TooMany);
        }
        self.store.attach(root.clone()).await?;
        let releases = self.releases_in(&root).await.inspect_err(|_| {
            self.held().remove(&root);
            self.store.detach(&root);
        })?;
        self.held().insert(root.clone(), releases.clone());
        let names: Vec<_> = releases.iter().map(AttachedRelease::name).collect();
        tracing::info!(root = %root.display(), releases = names.join(" "), "root attached");
        Ok(AttachedRoot { path: root, releases, problem: None })
    }

    /// Stops looking in a root. What is being sent from it is sent to the end.
    ///
    /// # Errors
    /// It was not attached.
    pub fn detach(&self, root: &Path) -> Result<(), AttachError> {
        if self.held().remove(root).is_none() {
            return Err(AttachError::NotAttached { path: root.to_owned() });
        }
        self.store.detach(root);
        tracing::info!(root = %root.display(), "root detached");
        Ok(())
    }

    /// What is attached, and whether it can still be read.
    pub async fn list(&self) -> Vec<AttachedRoot> {
        let roots = self.held().clone();
        let mut list = Vec::with_capacity(roots.len());
        for (path, releases) in roots {
            let problem = match self.source(&path) {
                Some(source) => self.problem(source).await,
                None => None,
            };
            list.push(AttachedRoot { path, releases, problem });
        }
        list
    }

    async fn problem(&self, source: Arc<dyn Source>) -> Option<String> {
        let medium = Arc::clone(source.medium());
        let checked = medium.run(move || source.check()).await;
        checked.err().map(|error| error.to_string())
    }

    async fn releases_in(&self, root: &Path) -> Result<Vec<AttachedRelease>, Error> {
        let Some(source) = self.source(root) else { return Ok(Vec::new()) };
        let medium = Arc::clone(source.medium());
        let found = medium.run(move || releases(&[source])).await?;
        Ok(found.iter().map(AttachedRelease::from).collect())
    }

    fn source(&self, root: &Path) -> Option<Arc<dyn Source>> {
        self.store.sources().iter().find(|source| source.origin() == root).cloned()
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Vec<AttachedRelease>>> {
        // The map is whole between any two of its calls.
        self.roots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
