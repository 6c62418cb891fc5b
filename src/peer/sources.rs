//! `Sources`: the registries that a job may take from, and who is asked next.
//!
//! Knows which source has what, which is busy, and which has failed lately. Does not know what is wanted or
//! why.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use storage_layout::Digest;
use tokio::time::Instant;
use tokio::time::timeout;

use crate::peer::Error;
use crate::peer::client::Client;
use crate::peer::inventory::Have;
use crate::peer::inventory::HaveRequest;
use crate::peer::inventory::HaveResponse;

/// How long a source that failed is left alone, if there are others.
const REST: Duration = Duration::from_secs(5);
/// How long an answer to "do you have these" is believed. Peers that fill each other change many times a
/// second; an answer costs one request for a hundred blobs.
const HAVE_AGE: Duration = Duration::from_millis(200);
/// How long such an answer may take. Whoever takes longer rests: all that is to come waits for it.
const HAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// The largest answer: one letter a digest and the JSON around them.
const HAVE_LIMIT: u64 = HaveRequest::LIMIT as u64 + 1024;

/// A source and what is known of it.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) client: Client,
    /// Named by whoever asked for the job: it is expected to have everything.
    origin: Origin,
    state: Mutex<State>,
}

/// Why a source is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The job names it.
    Named,
    /// It is a peer of this node: it may have what it took from others.
    Peer,
}

#[derive(Debug, Default)]
struct State {
    asked: Option<Instant>,
    holds: HashSet<Digest>,
    fetching: HashSet<Digest>,
    wanted: HashSet<Digest>,
    /// Whether it had all that it was last asked about.
    is_whole: bool,
    /// Whether any of that was on its way to it.
    is_filling: bool,
    /// Whether it answers the question; another registry is asked for each blob as it comes.
    speaks: Option<Speaks>,
    rests_until: Option<Instant>,
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Larder,
    Oci,
}

impl Source {
    pub(crate) fn new(client: Client, origin: Origin) -> Self {
        Self { client, origin, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it is believed to say of a blob.
    fn have(&self, digest: &Digest) -> Have {
        let state = self.state();
        match state.speaks {
            Some(Speaks::Larder) if state.holds.contains(digest) => Have::Yes,
            Some(Speaks::Larder) if state.fetching.contains(digest) => Have::Fetching,
            Some(Speaks::Larder) if state.wanted.contains(digest) => Have::Wanted,
            // What a job names is asked even where it said no, but last: it may have pulled it through by
            // now.
            Some(Speaks::Larder) | None => Have::No,
            Some(Speaks::Oci) if self.origin == Origin::Named => Have::Yes,
            Some(Speaks::Oci) => Have::No,
        }
    }

    pub(crate) fn is_resting(&self) -> bool {
        self.state().rests_until.is_some_and(|until| until > Instant::now())
    }

    /// Whether the job names it.
    pub(crate) fn is_named(&self) -> bool {
        self.origin == Origin::Named
    }

    /// Whether it is none of those that failed for a blob.
    fn is_untried(&self, tried: &HashMap<String, u32>) -> bool {
        !tried.contains_key(self.client.endpoint().authority())
    }

    /// Remembers a failure: it rests, the longer the more often it failed.
    pub(crate) fn failed(&self) {
        self.state().fail();
    }

    /// Remembers a success.
    pub(crate) fn succeeded(&self) {
        let mut state = self.state();
        (state.failures, state.rests_until) = (0, None);
    }

    /// Remembers that it does not have a blob after all, and gives nothing of it.
    pub(crate) fn lacks(&self, digest: &Digest) {
        let mut state = self.state();
        state.holds.remove(digest);
        state.fetching.remove(digest);
    }

    /// Whether others fill from it, as far as is known: it has everything.
    pub(crate) fn is_whole(&self) -> bool {
        let state = self.state();
        match state.speaks {
            Some(Speaks::Larder) => state.is_whole,
            Some(Speaks::Oci) | None => self.origin == Origin::Named,
        }
    }

    /// Asks about `blobs`, if the last answer is too old.
    async fn refresh(&self, blobs: &[Digest]) {
        let now = Instant::now();
        {
            let mut state = self.state();
            let fresh = state.asked.is_some_and(|asked| now.duration_since(asked) < HAVE_AGE);
            let rests = state.rests_until.is_some_and(|until| now < until);
            if fresh || rests || state.speaks == Some(Speaks::Oci) || blobs.is_empty() {
                return;
            }
            state.asked = Some(now);
        }
        for chunk in blobs.chunks(HaveRequest::LIMIT) {
            self.ask(chunk).await;
        }
        self.state().sum_up(blobs);
    }

    async fn ask(&self, blobs: &[Digest]) {
        let request = HaveRequest { blobs: blobs.iter().map(ToString::to_string).collect() };
        let Ok(body) = serde_json::to_vec(&request) else { return };
        let answer = timeout(HAVE_TIMEOUT, self.client.post(HaveRequest::PATH, body, HAVE_LIMIT)).await;
        let mut state = self.state();
        let Ok(answer) = answer else { return state.fail() };
        match answer {
            Ok(Some(answer)) => match serde_json::from_slice::<HaveResponse>(&answer) {
                Ok(answer) => state.learn(blobs, &answer),
                Err(_) => state.speaks = Some(Speaks::Oci),
            },
            // Not found, not allowed, not understood: an OCI registry, which is asked for each blob.
            Ok(None) | Err(crate::peer::Error::Refused { .. } | crate::peer::Error::Unauthorized { .. }) => {
                state.speaks = Some(Speaks::Oci);
            }
            Err(_) => state.fail(),
        }
    }
}

impl State {
    fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1).min(6);
        self.rests_until = Some(Instant::now() + REST * self.failures);
    }

    fn sum_up(&mut self, asked: &[Digest]) {
        self.is_whole = asked.iter().all(|it| self.holds.contains(it));
        self.is_filling = asked.iter().any(|it| self.fetching.contains(it) || self.wanted.contains(it));
    }

    fn learn(&mut self, blobs: &[Digest], answer: &HaveResponse) {
        self.speaks = Some(Speaks::Larder);
        (self.failures, self.rests_until) = (0, None);
        for (digest, letter) in blobs.iter().zip(answer.blobs.chars()) {
            self.holds.remove(digest);
            self.fetching.remove(digest);
            self.wanted.remove(digest);
            match Have::from_letter(letter) {
                Have::Yes => self.holds.insert(*digest),
                Have::Fetching => self.fetching.insert(*digest),
                Have::Wanted => self.wanted.insert(*digest),
                Have::No => false,
            };
        }
    }
}

/// All that a job may take from.
#[derive(Debug)]
pub(crate) struct Sources {
    sources: Vec<Arc<Source>>,
    wanted: Wanted,
}

/// Which of a job's sources have to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All that it names: nobody knows what the others would have had.
    All,
    /// One of them: it names none, and takes what its peers have.
    Any,
}

/// Where to take a blob from now.
#[derive(Debug)]
pub(crate) enum Pick {
    /// From this source, which has it.
    From(Arc<Source>),
    /// Along with this source, which is getting it.
    Along(Arc<Source>),
    /// Only those have it that have everything, and a peer is about to take it from there: better wait for
    /// that peer.
    Later,
    /// Nobody is known to have it.
    Nobody,
}

/// How much there is of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Supply {
    /// Only those have it that have everything.
    Scarce,
    /// Other nodes have it or are getting it.
    Plenty,
    /// Another node is about to get it.
    Soon,
}

/// Whether a blob may come along with another node that is getting it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Along {
    /// It may.
    Allowed,
    /// That was tried often enough.
    Refused,
}

impl Sources {
    pub(crate) fn new(sources: Vec<Source>, wanted: Wanted) -> Self {
        Self { wanted, sources: sources.into_iter().map(Arc::new).collect() }
    }

    pub(crate) fn all(&self) -> &[Arc<Source>] {
        &self.sources
    }

    /// Asks every source that the job names the same; those that cannot be reached are passed over where one
    /// that answers is enough.
    pub(crate) async fn ask_named<T, F>(&self, ask: impl Fn(Client) -> F) -> Result<Vec<T>, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let (mut answers, mut last) = (Vec::new(), None);
        for source in self.named() {
            match ask(source.client.clone()).await {
                Ok(answer) => answers.push(answer),
                Err(error) if self.wanted == Wanted::Any && error.is_transient() => {
                    source.failed();
                    tracing::info!(peer = %source.client.endpoint(), error = %error, "a peer is passed over");
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        match last {
            Some(error) if answers.is_empty() => Err(error),
            _ => Ok(answers),
        }
    }

    /// The sources that the job names.
    pub(crate) fn named(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.sources.iter().filter(|it| it.origin == Origin::Named)
    }

    /// Brings up to date what all sources say of the blobs that are still to come. All are asked at once.
    pub(crate) async fn refresh(&self, blobs: &[Digest]) {
        let mut asked = tokio::task::JoinSet::new();
        for source in &self.sources {
            let (source, blobs) = (source.clone(), blobs.to_vec());
            asked.spawn(async move { source.refresh(&blobs).await });
        }
        while asked.join_next().await.is_some() {}
    }

    /// Asks those that answered before about one blob, whatever they said of it.
    pub(crate) async fn ask_again(&self, digest: &Digest) {
        let mut asked = tokio::task::JoinSet::new();
        for source in self.usual().filter(|it| !it.is_whole()) {
            let (source, digest) = (source.clone(), *digest);
            asked.spawn(async move { source.ask(&[digest]).await });
        }
        while asked.join_next().await.is_some() {}
    }

    /// How many other nodes fill at the same time, as far as is known.
    pub(crate) fn filling(&self) -> usize {
        self.usual().filter(|it| it.state().is_filling).count()
    }

    /// How many have everything, as far as is known.
    pub(crate) fn whole(&self) -> usize {
        self.sources.iter().filter(|it| !it.is_resting() && it.is_whole()).count()
    }

    /// How much there is of a blob.
    pub(crate) fn supply(&self, digest: &Digest) -> Supply {
        let mut supply = Supply::Scarce;
        for source in self.usual() {
            match source.have(digest) {
                Have::Yes if !source.is_whole() => return Supply::Plenty,
                Have::Fetching => return Supply::Plenty,
                Have::Wanted => supply = Supply::Soon,
                Have::Yes | Have::No => {}
            }
        }
        supply
    }

    /// Other Larders that answer.
    fn usual(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.sources.iter().filter(|it| !it.is_resting() && it.state().speaks == Some(Speaks::Larder))
    }

    /// Who to take a blob from. While nodes fill at the same time: rather one of them, even if it has only
    /// the beginning, than one of the few that have everything. Of several the least busy. `tried` are those
    /// that failed for this blob.
    pub(crate) fn pick(&self, digest: &Digest, tried: &HashMap<String, u32>, along: Along) -> Pick {
        let usable = |it: &&Arc<Source>| it.is_untried(tried);
        let holders = self.sources.iter().filter(usable).filter(|it| it.have(digest) == Have::Yes);
        let is_filled = self.filling() == 0;
        let rank =
            |it: &&Arc<Source>| (it.is_resting(), !is_filled && it.is_whole(), it.client.busy(), chance());
        let best = holders.min_by_key(rank);
        if best.is_some_and(|it| !it.is_resting() && !it.is_whole()) || along == Along::Refused {
            return best.map_or_else(|| self.pick_named(tried), |it| Pick::From(it.clone()));
        }
        let getting = |have| self.usual().filter(usable).filter(move |it| it.have(digest) == have);
        if let Some(source) = getting(Have::Fetching).min_by_key(|it| (it.client.busy(), chance())) {
            return Pick::Along(source.clone());
        }
        if getting(Have::Wanted).next().is_some() {
            return Pick::Later;
        }
        best.map_or_else(|| self.pick_named(tried), |it| Pick::From(it.clone()))
    }

    /// Nobody says yes: a named source is asked all the same, since answers age.
    fn pick_named(&self, tried: &HashMap<String, u32>) -> Pick {
        let untried = self.named().filter(|it| it.is_untried(tried));
        let named = untried.min_by_key(|it| (it.is_resting(), it.client.busy()));
        named.map_or(Pick::Nobody, |it| Pick::From(it.clone()))
    }
}

/// Any number: of equals not everybody takes the same.
fn chance() -> u32 {
    uuid::Uuid::new_v4().as_u128() as u32
}
