//! `Roots`: several sources that are one store.
//!
//! Knows in which order sources are asked, and that a question is first asked
//! without waiting. Does not know what is asked.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use storage_layout::RelativePath;

use crate::store::Directory;
use crate::store::Error;
use crate::store::Iso;
use crate::store::Media;
use crate::store::Source;
use crate::store::Wait;

/// The sources of a store, in the order in which they are looked in.
#[derive(Debug)]
pub(super) struct Roots {
    sources: ArcSwap<Vec<Arc<dyn Source>>>,
    /// Those that were there from the beginning, by their paths.
    lasting: Vec<PathBuf>,
    media: Media,
}

/// What can be asked of a source, once without waiting and once more where that gave nothing.
pub(super) trait Question<T>:
    Fn(&dyn Source, Wait) -> Poll<Result<T, Error>> + Clone + Send + 'static
{
}

impl<T, Q> Question<T> for Q where Q: Fn(&dyn Source, Wait) -> Poll<Result<T, Error>> + Clone + Send + 'static {}

impl Roots {
    pub(super) fn open(roots: &[PathBuf], media: Media) -> Result<Self, Error> {
        let sources = roots.iter().map(|root| open(root, &media)).collect::<Result<_, _>>()?;
        Ok(Self { sources: ArcSwap::from_pointee(sources), lasting: roots.to_vec(), media })
    }

    /// Adds a source that is asked last. May wait.
    pub(super) fn attach(&self, root: &Path) -> Result<(), Error> {
        let source = open(root, &self.media)?;
        self.sources.rcu(|sources| {
            let others = sources.iter().filter(|other| other.origin() != root).cloned();
            others.chain([Arc::clone(&source)]).collect::<Vec<_>>()
        });
        Ok(())
    }

    /// Adds a source that is asked first.
    #[cfg(test)]
    pub(super) fn prepend(&self, source: Arc<dyn Source>) {
        self.sources.rcu(|sources| {
            [Arc::clone(&source)].into_iter().chain(sources.iter().cloned()).collect::<Vec<_>>()
        });
    }

    /// Stops asking a source; `false` where there is none of that name.
    pub(super) fn detach(&self, root: &Path) -> bool {
        let before = self.sources.rcu(|sources| {
            sources.iter().filter(|source| source.origin() != root).cloned().collect::<Vec<_>>()
        });
        before.iter().any(|source| source.origin() == root)
    }

    pub(super) fn all(&self) -> Arc<Vec<Arc<dyn Source>>> {
        self.sources.load_full()
    }

    /// The answer of the first source that has one, where neither it nor one before it has to wait or fails. Counts no
    /// reference, as [`Roots::any_of`] does not.
    pub(super) fn first_at_once<T>(
        &self,
        question: impl Fn(&dyn Source, Wait) -> Poll<Result<Option<T>, Error>>,
    ) -> Option<T> {
        for source in self.sources.load().iter() {
            match question(&**source, Wait::Never) {
                Poll::Ready(Ok(Some(answer))) => return Some(answer),
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Err(_)) | Poll::Pending => return None,
            }
        }
        None
    }

    /// The answer of the first source that has one. For what may differ between sources, such as a tag: a
    /// source that fails is not passed over.
    pub(super) async fn first<T: Send + 'static>(
        &self,
        question: impl Question<Option<T>>,
    ) -> Result<Option<T>, Error> {
        for source in &*self.all() {
            if let Some(answer) = ask(source, &question).await? {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    /// The answer of any source that has one. For what is the same wherever it lies, such as a blob: sources
    /// that answer at once go before those that must wait, and one that fails is made good by another.
    pub(super) async fn any<T: Send + 'static>(
        &self,
        question: impl Question<Option<T>>,
    ) -> Result<Option<T>, Error> {
        self.any_of(&question, || question.clone()).await
    }

    /// As [`Roots::any`], of a question that is made to last only where it has to wait.
    pub(super) async fn any_of<T: Send + 'static, Q: Question<Option<T>>>(
        &self,
        at_once: impl Fn(&dyn Source, Wait) -> Poll<Result<Option<T>, Error>>,
        lasting: impl FnOnce() -> Q,
    ) -> Result<Option<T>, Error> {
        let (waiting, mut failed) = match self.ask_at_once(at_once) {
            AtOnce::Answered(answer) => return Ok(Some(answer)),
            AtOnce::Not { waiting, failed } => (waiting, failed),
        };
        if waiting.is_empty() {
            return failed.map_or(Ok(None), Err);
        }
        let question = lasting();
        for source in waiting {
            match Box::pin(ask_waiting(&source, question.clone())).await {
                Ok(Some(answer)) => return Ok(Some(answer)),
                Ok(None) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// The answer of any source that has one and need not wait for it. Counts no reference: threads that ask at
    /// the same time would wait for each other.
    fn ask_at_once<T>(
        &self,
        question: impl Fn(&dyn Source, Wait) -> Poll<Result<Option<T>, Error>>,
    ) -> AtOnce<T> {
        let (mut waiting, mut failed) = (Vec::new(), None);
        for source in self.sources.load().iter() {
            match question(&**source, Wait::Never) {
                Poll::Ready(Ok(Some(answer))) => return AtOnce::Answered(answer),
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Err(error)) => failed = failed.or(Some(error)),
                Poll::Pending => waiting.push(Arc::clone(source)),
            }
        }
        AtOnce::Not { waiting, failed }
    }

    /// What every source answers, in order.
    pub(super) async fn every<T: Send + 'static>(&self, question: impl Question<T>) -> Result<Vec<T>, Error> {
        let sources = self.all();
        let mut answers = Vec::with_capacity(sources.len());
        for source in &*sources {
            answers.push(ask(source, &question).await?);
        }
        Ok(answers)
    }

    /// Another root than `root` that has something at `path`.
    pub(super) async fn other_with(&self, root: &Path, path: RelativePath) -> Result<Option<PathBuf>, Error> {
        for source in self.all().iter().filter(|source| source.origin() != root) {
            let path = path.clone();
            let version = ask(source, &move |source: &dyn Source, wait| source.version(&path, wait)).await?;
            if version.is_some() {
                return Ok(Some(source.origin().to_owned()));
            }
        }
        Ok(None)
    }

    /// Whether every source of the beginning can be read, within a time that a probe waits. One that was
    /// attached later may be taken away at any time, and makes nobody unfit to serve.
    pub(super) async fn check(&self) -> Result<(), Error> {
        let sources = self.all();
        for source in sources.iter().filter(|it| self.lasting.iter().any(|root| it.origin() == root)) {
            let asked = ask_waiting(source, |source, _| Poll::Ready(source.check()));
            let answer = tokio::time::timeout(ANSWERS_WITHIN, asked).await;
            answer.unwrap_or_else(|_| {
                let path = source.origin().display().to_string();
                Err(Error::Io { doing: "read", path, source: io::ErrorKind::TimedOut.into() })
            })?;
        }
        Ok(())
    }
}

/// What was answered without waiting.
enum AtOnce<T> {
    Answered(T),
    Not {
        /// Those that would have to be waited for.
        waiting: Vec<Arc<dyn Source>>,
        /// What was wrong with one of the others.
        failed: Option<Error>,
    },
}

/// How long a probe waits for a medium: half of what `kubelet` and `systemd` grant by habit.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Asks what always may wait.
pub(super) fn waiting<T>(wait: Wait, question: impl FnOnce() -> Result<T, Error>) -> Poll<Result<T, Error>> {
    match wait {
        Wait::Never => Poll::Pending,
        Wait::Allowed => Poll::Ready(question()),
    }
}

async fn ask<T: Send + 'static>(source: &Arc<dyn Source>, question: &impl Question<T>) -> Result<T, Error> {
    match question(&**source, Wait::Never) {
        Poll::Ready(answer) => answer,
        // On the heap, so that what is answered at once does not pay for its size.
        Poll::Pending => Box::pin(ask_waiting(source, question.clone())).await,
    }
}

async fn ask_waiting<T: Send + 'static>(
    source: &Arc<dyn Source>,
    question: impl Question<T>,
) -> Result<T, Error> {
    let medium = Arc::clone(source.medium());
    let source = Arc::clone(source);
    medium
        .run(move || match question(&*source, Wait::Allowed) {
            Poll::Ready(answer) => answer,
            // A source that may wait and does not answer breaks the contract of `Source`.
            Poll::Pending => Err(Error::Closed),
        })
        .await
}

/// Opens a directory, an image's file or device, or the first part of a split image.
fn open(root: &Path, media: &Media) -> Result<Arc<dyn Source>, Error> {
    let kind = std::fs::metadata(root);
    let kind =
        kind.map_err(|source| Error::Io { doing: "open", path: root.display().to_string(), source })?;
    if kind.is_dir() {
        Ok(Arc::new(Directory::open(root, media)?))
    } else {
        Ok(Arc::new(Iso::open(root, media)?))
    }
}
