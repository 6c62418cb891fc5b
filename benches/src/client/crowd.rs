//! A crowd: very many connections that each pull at their own slow rate.
//!
//! Knows how to be slow: small receive buffers, and a share of bytes each turn.
//! One thread serves all, so that a thousand slow clients do not need the
//! processor that the server is to be seen on.

use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use rustix::net::AddressFamily;
use rustix::net::SocketType;
use rustix::net::sockopt;

use crate::client::Endpoint;
use crate::client::Request;
use crate::client::plain::Plain;
use crate::client::plain::Progress;

/// So little that the kernel does not take a blob's worth on the client's behalf.
const RECEIVE_BUFFER: usize = 64 * 1024;

/// A client's turn comes this often; turns of different clients are spread over it.
const TURN: Duration = Duration::from_millis(250);

/// Clients are served in so many groups, one after the other in each turn.
const GROUPS: usize = 25;

/// Pulls `members` times at once, each at `bytes_per_second`.
///
/// # Errors
/// One of them fails, or they are not done `allowed` after the beginning.
pub(crate) fn pull(
    endpoint: &Endpoint,
    request: &Request,
    members: usize,
    bytes_per_second: u64,
    allowed: Duration,
) -> Result<Duration> {
    let share = bytes_per_second * TURN.as_millis() as u64 / 1000;
    let start = Instant::now();
    let mut crowd = gather(endpoint, request, members)?;
    let mut scratch = vec![0; usize::try_from(share)?];
    let mut turn = 0;
    while crowd.iter().any(Option::is_some) {
        if start.elapsed() > allowed {
            let left = crowd.iter().flatten().count();
            bail!("{left} of {members} pulls were not done after {} s", allowed.as_secs());
        }
        let group = turn % GROUPS;
        for member in crowd.iter_mut().skip(group).step_by(GROUPS) {
            take_share(member, share, &mut scratch)?;
        }
        turn += 1;
        let due = start + TURN * u32::try_from(turn)? / GROUPS as u32;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(start.elapsed())
}

fn gather(endpoint: &Endpoint, request: &Request, members: usize) -> Result<Vec<Option<Plain>>> {
    let mut crowd = Vec::with_capacity(members);
    for _ in 0..members {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
        // Before connecting: afterwards the window that was offered stays as it is.
        sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
        rustix::net::connect(&socket, &endpoint.address).context("connecting")?;
        let mut member = Plain::new(TcpStream::from(socket));
        member.send(request)?;
        crowd.push(Some(member));
    }
    Ok(crowd)
}

/// Takes up to a share; the place of one that is done becomes empty.
fn take_share(place: &mut Option<Plain>, share: u64, scratch: &mut [u8]) -> Result<()> {
    let Some(member) = place else { return Ok(()) };
    let mut left = share;
    while left > 0 {
        let most = scratch.len().min(usize::try_from(left)?);
        match member.advance(scratch.get_mut(..most).unwrap_or_default())? {
            Progress::Idle => break,
            Progress::Body(bytes) => left = left.saturating_sub(bytes.max(1)),
            Progress::Done(_) => {
                *place = None;
                break;
            }
        }
    }
    Ok(())
}
