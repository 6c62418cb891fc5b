//! Load: many connections in one thread, each asking again as soon as it is answered.
//!
//! Knows when to start and stop counting. Does not know what is asked.

use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use rustix::event::Timespec;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::time::ClockId;
use rustix::time::clock_gettime;

use crate::client::Endpoint;
use crate::client::Request;
use crate::client::Transport;
use crate::client::plain::Plain;
use crate::client::plain::Progress;
use crate::client::tls::Tls;

/// The most that is dropped in one call: larger would only starve the other connections.
const DROP_AT_ONCE: usize = 1 << 20;

/// A server that has sent nothing for so long hangs.
const SILENCE: Duration = Duration::from_secs(60);

/// What is asked of a server, over and over.
#[derive(Debug)]
pub(crate) struct Load<'a> {
    pub(crate) endpoint: &'a Endpoint,
    /// Each connection begins at another one of these and goes round.
    pub(crate) requests: &'a [Request],
    pub(crate) connections: usize,
}

/// What was counted between two marks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    /// Bytes of bodies.
    pub(crate) bytes: u64,
    pub(crate) responses: u64,
    pub(crate) elapsed: Duration,
    pub(crate) server_cpu: Duration,
    pub(crate) client_cpu: Duration,
}

impl Load<'_> {
    /// Loads the server and counts during a window of time that begins after a warm-up, so that buffers
    /// are as full when counting ends as when it began. `server_cpu` tells the CPU time the server has used.
    pub(crate) fn during(
        &self,
        warm_up: Duration,
        window: Duration,
        server_cpu: impl Fn() -> Result<Duration>,
    ) -> Result<Counted> {
        let mut crew = Crew::start(self, u64::MAX)?;
        crew.run_until(Some(Instant::now() + warm_up))?;
        let before = Mark::now(&crew, server_cpu()?);
        crew.run_until(Some(before.at + window))?;
        Ok(before.until(&Mark::now(&crew, server_cpu()?)))
    }

    /// Loads the server until each connection has had `each` responses.
    pub(crate) fn to_the_end(&self, each: u64, server_cpu: impl Fn() -> Result<Duration>) -> Result<Counted> {
        let cpu = server_cpu()?;
        let start = Instant::now();
        let mut crew = Crew::start(self, each)?;
        let before = Mark { at: start, ..Mark::now(&crew, cpu) };
        crew.run_until(None)?;
        Ok(before.until(&Mark::now(&crew, server_cpu()?)))
    }
}

struct Mark {
    at: Instant,
    bytes: u64,
    responses: u64,
    server_cpu: Duration,
    client_cpu: Duration,
}

impl Mark {
    fn now(crew: &Crew<'_>, server_cpu: Duration) -> Self {
        Self {
            at: Instant::now(),
            bytes: crew.bytes,
            responses: crew.responses,
            server_cpu,
            client_cpu: own_cpu(),
        }
    }

    fn until(&self, end: &Self) -> Counted {
        Counted {
            bytes: end.bytes - self.bytes,
            responses: end.responses - self.responses,
            elapsed: end.at - self.at,
            server_cpu: end.server_cpu.saturating_sub(self.server_cpu),
            client_cpu: end.client_cpu.saturating_sub(self.client_cpu),
        }
    }
}

/// The connections at work.
struct Crew<'a> {
    epoll: OwnedFd,
    workers: Vec<Worker>,
    requests: &'a [Request],
    at_work: usize,
    bytes: u64,
    responses: u64,
}

struct Worker {
    wire: Wire,
    next: usize,
    responses_left: u64,
}

impl<'a> Crew<'a> {
    fn start(load: &Load<'a>, each: u64) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut workers = Vec::with_capacity(load.connections);
        for number in 0..load.connections {
            let wire = Wire::connect(load.endpoint)?;
            let data = epoll::EventData::new_u64(number as u64);
            epoll::add(&epoll, wire.socket(), data, epoll::EventFlags::IN)?;
            workers.push(Worker { wire, next: number, responses_left: each });
        }
        let mut crew =
            Self { epoll, at_work: workers.len(), workers, requests: load.requests, bytes: 0, responses: 0 };
        for worker in &mut crew.workers {
            worker.ask(crew.requests)?;
        }
        Ok(crew)
    }

    /// Works until then, or until all have had their responses.
    fn run_until(&mut self, end: Option<Instant>) -> Result<()> {
        let mut scratch = vec![0; DROP_AT_ONCE];
        let mut events = Vec::with_capacity(self.workers.len().max(1));
        while self.at_work > 0 {
            let wait = match end {
                Some(end) => match end.checked_duration_since(Instant::now()) {
                    None => break,
                    Some(left) => left,
                },
                None => SILENCE,
            };
            events.clear();
            let timeout = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout))?;
            if events.is_empty() && end.is_none() {
                bail!("the server sent nothing for {} s", SILENCE.as_secs());
            }
            for event in &events {
                self.attend(usize::try_from(event.data.u64())?, &mut scratch)?;
            }
        }
        Ok(())
    }

    fn attend(&mut self, number: usize, scratch: &mut [u8]) -> Result<()> {
        let worker = self.workers.get_mut(number).context("an event of no connection")?;
        match worker.wire.advance(scratch)? {
            Progress::Idle => {}
            Progress::Body(bytes) => self.bytes += bytes,
            Progress::Done(bytes) => {
                self.bytes += bytes;
                self.responses += 1;
                worker.responses_left -= 1;
                match worker.responses_left {
                    0 => {
                        epoll::delete(&self.epoll, worker.wire.socket())?;
                        self.at_work -= 1;
                    }
                    _ => worker.ask(self.requests)?,
                }
            }
        }
        Ok(())
    }
}

impl Worker {
    fn ask(&mut self, requests: &[Request]) -> Result<()> {
        let request = requests.get(self.next % requests.len().max(1)).context("nothing to ask")?;
        self.next += 1;
        self.wire.send(request)
    }
}

enum Wire {
    Plain(Plain),
    Tls(Box<Tls>),
}

impl Wire {
    fn connect(endpoint: &Endpoint) -> Result<Self> {
        let socket = TcpStream::connect(endpoint.address).context("connecting")?;
        socket.set_nodelay(true)?;
        Ok(match endpoint.transport {
            Transport::Plain => Self::Plain(Plain::new(socket)),
            Transport::Tls => Self::Tls(Box::new(Tls::new(socket)?)),
        })
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(wire) => wire.socket(),
            Self::Tls(wire) => wire.socket(),
        }
    }

    fn send(&mut self, request: &Request) -> Result<()> {
        match self {
            Self::Plain(wire) => wire.send(request),
            Self::Tls(wire) => wire.send(request),
        }
    }

    fn advance(&mut self, scratch: &mut [u8]) -> Result<Progress> {
        match self {
            Self::Plain(wire) => wire.advance(scratch),
            Self::Tls(wire) => wire.advance(scratch),
        }
    }
}

/// CPU time of the thread that loads.
fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
