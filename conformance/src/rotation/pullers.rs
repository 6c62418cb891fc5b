//! Clients that pull all the while, none of which may be refused or cut off.

use std::io::Read;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;

use crate::http::Endpoint;
use crate::http::Response;
use crate::http::Stream;
use crate::http::base64;
use crate::image::Content;
use crate::release::COMPONENTS;
use crate::rotation::PERSON;
use crate::rotation::Scene;

/// How long a client waits before it pulls again: it is to be there all the time, not to load the machine.
const PAUSE: Duration = Duration::from_millis(20);
/// How much a slow client takes at once, and how long it waits then.
const PIECE: u64 = 1_000_000;
const SLOWLY: Duration = Duration::from_millis(150);

/// What all clients are told.
#[derive(Debug)]
pub(super) struct Load {
    /// Where they pull, and what: again and again, and slowly.
    endpoint: Endpoint,
    blob: Content,
    slow: Content,
    has_new: AtomicBool,
    is_over: AtomicBool,
}

/// How a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Once and for all.
    OneConnection,
    /// For each request.
    NewConnections,
}

impl Load {
    pub(super) fn of(scene: &Scene<'_>) -> Result<Self> {
        let (.., image) = scene.release.images.first().context("a release has images")?;
        let blob = image.layers.last().context("an image has layers")?.content.clone();
        let (endpoint, slow) = (scene.giving.endpoint.clone(), scene.slow.clone());
        Ok(Self { endpoint, blob, slow, has_new: AtomicBool::default(), is_over: AtomicBool::default() })
    }

    /// Clients have the new passwords from now on.
    pub(super) fn take_up_new(&self) {
        self.has_new.store(true, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Pulls a blob again and again; gives how often.
    pub(super) fn pull(&self, user: &str, manner: Manner) -> Result<usize> {
        let Self { endpoint, blob, .. } = self;
        let mut connection = endpoint.connect()?;
        let mut pulls = 0;
        while !self.is_over.load(Ordering::Relaxed) {
            let password = if self.has_new.load(Ordering::Relaxed) { "second" } else { "first" };
            if manner == Manner::NewConnections && pulls > 0 {
                connection = endpoint.connect().context("connecting")?;
            }
            let found =
                ask(&mut *connection, endpoint, COMPONENTS, blob, (user, password)).with_context(|| {
                    format!("pull {pulls} of {user} with the {password} password, {manner:?}")
                })?;
            ensure!(found.status == 200, "pull {pulls} of {user} ({password}) was answered {}", found.status);
            ensure!(found.body == blob.bytes, "pull {pulls} of {user} gave other bytes");
            pulls += 1;
            thread::sleep(PAUSE);
        }
        Ok(pulls)
    }

    /// Takes one blob all the while, on a connection from before everything.
    pub(super) fn take_slowly(&self) -> Result<()> {
        let Self { endpoint, slow: blob, .. } = self;
        let mut connection = endpoint.connect()?;
        send(&mut *connection, endpoint, "slow/app", blob, (PERSON, "first"))?;
        let (mut received, mut wanted) = (Vec::new(), PIECE);
        let head = |bytes: &[u8]| bytes.windows(4).position(|it| it == b"\r\n\r\n").map(|at| at + 4);
        while wanted > 0 {
            let piece = Read::by_ref(&mut connection).take(wanted).read_to_end(&mut received)?;
            ensure!(piece > 0, "it ended after {} bytes", received.len());
            let whole = head(&received).context("a head without end")? + blob.bytes.len();
            wanted = PIECE.min(whole.saturating_sub(received.len()) as u64);
            if !self.is_over.load(Ordering::Relaxed) {
                thread::sleep(SLOWLY);
            }
        }
        let begin = head(&received).context("no head")?;
        ensure!(received.starts_with(b"HTTP/1.1 200"), "the blob was refused");
        ensure!(received.get(begin..) == Some(&*blob.bytes), "other bytes came");
        Ok(())
    }
}

fn ask(
    stream: &mut dyn Stream,
    endpoint: &Endpoint,
    repository: &str,
    blob: &Content,
    user: (&str, &str),
) -> Result<Response> {
    send(stream, endpoint, repository, blob, user)?;
    Response::read(stream, "GET", &blob.digest)
}

/// Asks for a blob on a connection that is there.
fn send(
    stream: &mut dyn Stream,
    endpoint: &Endpoint,
    repository: &str,
    blob: &Content,
    (user, password): (&str, &str),
) -> Result<()> {
    let authorization = base64(&format!("{user}:{password}"));
    let (host, digest) = (endpoint.host(), &blob.digest);
    let request = format!(
        "GET /v2/{repository}/blobs/{digest} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Basic {authorization}\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    Ok(stream.flush()?)
}
