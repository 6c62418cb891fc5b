//! Crowds: connections that say nothing, and some that say it slowly.

use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use rustix::process::Resource;

use crate::http::Endpoint;

/// How many come at once.
const CROWD: usize = 10_000;

/// How many of them dribble a header, a byte at a time.
const DRIBBLERS: usize = 200;

/// The cluster's node daemon waits this long.
const PATIENCE: Duration = Duration::from_secs(3);

/// A dribbler is shown the door within this time.
const DOOR: Duration = Duration::from_secs(90);

/// Fills the house, asks for something meanwhile, and sees dribblers out.
pub(super) fn come(endpoint: &Endpoint) -> Result<String> {
    raise_limit()?;
    let mut crowd = Vec::with_capacity(CROWD);
    let began = Instant::now();
    for number in 0..CROWD {
        let socket = TcpStream::connect_timeout(&endpoint.address, PATIENCE)
            .with_context(|| format!("connection {number}"))?;
        crowd.push(socket);
    }
    let filled = began.elapsed();
    let waited = answered(endpoint).context("in a full house")?;
    drop(crowd);
    answered(endpoint).context("after the crowd left")?;
    let door = dribble(endpoint)?;
    Ok(format!(
        "{CROWD} connections in {filled:.1?}, an answer among them in {waited:.1?}, dribblers out in {door:.0?}"
    ))
}

/// How long a stranger waits for an answer.
fn answered(endpoint: &Endpoint) -> Result<Duration> {
    let began = Instant::now();
    endpoint.get("/v2/")?.expect(200)?;
    ensure!(began.elapsed() < PATIENCE, "an answer took {:?}", began.elapsed());
    Ok(began.elapsed())
}

/// Bytes of a header that never ends, until the server has had enough.
fn dribble(endpoint: &Endpoint) -> Result<Duration> {
    use std::io::Read as _;
    use std::io::Write as _;
    let began = Instant::now();
    let mut dribblers = Vec::with_capacity(DRIBBLERS);
    for _ in 0..DRIBBLERS {
        let mut socket = TcpStream::connect(endpoint.address)?;
        socket.write_all(b"GET /v2/ HTTP/1.1\r\nX-Slow: ")?;
        socket.set_nonblocking(true)?;
        dribblers.push(socket);
    }
    while !dribblers.is_empty() {
        ensure!(began.elapsed() < DOOR, "{} dribblers are still there after {DOOR:?}", dribblers.len());
        answered(endpoint).context("among dribblers")?;
        dribblers.retain_mut(|socket| {
            let alive = socket.write_all(b"x").is_ok();
            // An answer or an end: either way it is over. Only `WouldBlock` means that the server still
            // listens.
            alive && matches!(socket.read(&mut [0; 512]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        });
        std::thread::sleep(Duration::from_millis(250));
    }
    Ok(began.elapsed())
}

/// Both ends of the crowd are on this machine: the server inherits the limit that is set here.
fn raise_limit() -> Result<()> {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    let wanted = CROWD as u64 + 1_000;
    ensure!(
        limit.maximum.is_none_or(|maximum| maximum >= wanted),
        "this machine allows {:?} open files",
        limit.maximum
    );
    limit.current = Some(limit.current.unwrap_or(wanted).max(wanted));
    rustix::process::setrlimit(Resource::Nofile, limit).context("raising the limit of open files")
}
