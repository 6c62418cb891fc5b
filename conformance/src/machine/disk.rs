//! `Disk`: a disk with a cache that loses what was not flushed when power is cut.
//!
//! Knows the network block device protocol (NBD, `doc/proto.md`, fixed newstyle), as much of it as qemu
//! speaks. A file behind a killed qemu would not do: what the guest wrote is in the host's page cache, and
//! outlives any kill. Here what was written is durable once it was flushed, and of what was not, each block
//! of 4 KiB is kept or lost by itself.

use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread;

use anyhow::Context as _;
use anyhow::Result;
use fastrand::Rng;

/// What is kept or lost whole: the block of the guest's file system, and the sector of today's disks.
const BLOCK: usize = 4096;

/// The largest request: qemu's own limit.
const REQUEST_LIMIT: u32 = 32 << 20;

const NBDMAGIC: u64 = 0x4e42_444d_4147_4943;
const IHAVEOPT: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const SIMPLE_REPLY: u32 = 0x6744_6698;

/// Fixed newstyle, and no 124 zeros.
const HANDSHAKE_FLAGS: u16 = 0b11;
/// It has flags; it knows flushes and writes that are their own flush (FUA).
const TRANSMISSION_FLAGS: u16 = 0b1101;

const OPT_EXPORT_NAME: u32 = 1;
const OPT_ABORT: u32 = 2;
const OPT_GO: u32 = 7;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_ERR_UNSUP: u32 = (1 << 31) + 1;
const INFO_EXPORT: u16 = 0;

const CMD_READ: u16 = 0;
const CMD_WRITE: u16 = 1;
const CMD_DISC: u16 = 2;
const CMD_FLUSH: u16 = 3;
const CMD_FLAG_FUA: u16 = 1;
const EINVAL: u32 = 22;

/// A disk that a virtual machine reaches through a socket. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    socket: PathBuf,
    content: Arc<Mutex<Content>>,
    /// Power is on again.
    is_back: Arc<Condvar>,
}

/// Whether the disk has power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    On,
    /// It goes when so many blocks are not flushed.
    UntilPending(usize),
    Off,
}

/// What happened to what was not flushed when power was cut.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loss {
    /// Blocks that were kept all the same.
    pub(crate) kept: usize,
    /// Blocks that were lost.
    pub(crate) lost: usize,
}

#[derive(Debug)]
struct Content {
    /// What reads see.
    current: Vec<u8>,
    /// What a power cut leaves for certain.
    durable: Vec<u8>,
    /// What was written since the last flush, in order.
    pending: Vec<Piece>,
    power: Power,
}

/// Part of a write, within one block.
#[derive(Debug)]
struct Piece {
    offset: usize,
    bytes: Vec<u8>,
}

impl Disk {
    /// A disk with the bytes of the file `image`, served at `socket` for as long as the harness runs.
    pub(crate) fn serve(image: &Path, socket: PathBuf) -> Result<Self> {
        let durable = std::fs::read(image).with_context(|| format!("reading `{}`", image.display()))?;
        let content = Content { current: durable.clone(), durable, pending: Vec::new(), power: Power::On };
        let listener = UnixListener::bind(&socket).with_context(|| format!("`{}`", socket.display()))?;
        let disk = Self { socket, content: Arc::new(Mutex::new(content)), is_back: Arc::default() };
        let served = disk.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let disk = served.clone();
                // A connection ends with its qemu, usually in the middle of something.
                thread::spawn(move || drop(disk.talk(stream)));
            }
        });
        Ok(disk)
    }

    /// Where qemu finds it.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Has power go at the next moment at which so many blocks are not flushed: at most moments there are
    /// none, and then a cut loses nothing. From that moment on nothing is read, written or answered.
    pub(crate) fn fail_at(&self, pending: usize) {
        self.content().power = Power::UntilPending(pending);
    }

    /// Whether power has gone.
    pub(crate) fn is_off(&self) -> bool {
        self.content().power == Power::Off
    }

    /// Power is cut, and is back for the next machine: of what was not flushed, each block is kept with this
    /// probability.
    pub(crate) fn cut(&self, random: &mut Rng, keep: f64) -> Loss {
        let mut content = self.content();
        let mut loss = Loss::default();
        for piece in std::mem::take(&mut content.pending) {
            if random.f64() < keep {
                loss.kept += 1;
                content.store(&piece);
            } else {
                loss.lost += 1;
            }
        }
        content.current = content.durable.clone();
        content.power = Power::On;
        self.is_back.notify_all();
        loss
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // A thread that panicked did so between two requests of a guest that is gone.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn talk(&self, mut stream: UnixStream) -> io::Result<()> {
        if self.negotiate(&mut stream)? {
            while self.answer(&mut stream)? {}
        }
        Ok(())
    }

    /// Whether the client goes on to read and write.
    fn negotiate(&self, stream: &mut UnixStream) -> io::Result<bool> {
        stream.write_all(&NBDMAGIC.to_be_bytes())?;
        stream.write_all(&IHAVEOPT.to_be_bytes())?;
        stream.write_all(&HANDSHAKE_FLAGS.to_be_bytes())?;
        let _client_flags: [u8; 4] = take(stream)?;
        let size = self.content().durable.len() as u64;
        loop {
            let magic = u64::from_be_bytes(take(stream)?);
            let option = u32::from_be_bytes(take(stream)?);
            let len = u32::from_be_bytes(take(stream)?);
            if magic != IHAVEOPT || len > REQUEST_LIMIT {
                return Err(io::ErrorKind::InvalidData.into());
            }
            io::copy(&mut Read::take(&mut *stream, len.into()), &mut io::sink())?;
            match option {
                OPT_EXPORT_NAME => {
                    stream.write_all(&size.to_be_bytes())?;
                    stream.write_all(&TRANSMISSION_FLAGS.to_be_bytes())?;
                    return Ok(true);
                }
                OPT_GO => {
                    let info = [
                        &INFO_EXPORT.to_be_bytes()[..],
                        &size.to_be_bytes(),
                        &TRANSMISSION_FLAGS.to_be_bytes(),
                    ];
                    reply(stream, option, REP_INFO, &info.concat())?;
                    reply(stream, option, REP_ACK, &[])?;
                    return Ok(true);
                }
                OPT_ABORT => return reply(stream, option, REP_ACK, &[]).map(|()| false),
                _ => reply(stream, option, REP_ERR_UNSUP, &[])?,
            }
        }
    }

    /// Waits for the end of a machine whose power is gone.
    fn has_power(&self) -> io::Result<()> {
        let mut content = self.content();
        let had_power = content.power != Power::Off;
        while content.power == Power::Off {
            content = self.is_back.wait(content).unwrap_or_else(PoisonError::into_inner);
        }
        if had_power { Ok(()) } else { Err(io::ErrorKind::ConnectionAborted.into()) }
    }

    /// Answers one request; `false` when the client said goodbye.
    fn answer(&self, stream: &mut UnixStream) -> io::Result<bool> {
        let magic = u32::from_be_bytes(take(stream)?);
        let flags = u16::from_be_bytes(take(stream)?);
        let command = u16::from_be_bytes(take(stream)?);
        let cookie: [u8; 8] = take(stream)?;
        let offset = u64::from_be_bytes(take(stream)?);
        let len = u32::from_be_bytes(take(stream)?);
        if magic != REQUEST || len > REQUEST_LIMIT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.has_power()?;
        let mut bytes = vec![0; if command == CMD_WRITE { len as usize } else { 0 }];
        stream.read_exact(&mut bytes)?;
        let done = match command {
            CMD_READ => self.content().read(offset, len).map(|read| bytes = read),
            CMD_WRITE => self.content().write(offset, &bytes, flags & CMD_FLAG_FUA != 0),
            CMD_FLUSH => {
                self.content().flush();
                Some(())
            }
            CMD_DISC => return Ok(false),
            _ => None,
        };
        self.has_power()?;
        let error = if done.is_some() { 0 } else { EINVAL };
        stream.write_all(&[&SIMPLE_REPLY.to_be_bytes()[..], &error.to_be_bytes(), &cookie].concat())?;
        if command == CMD_READ && done.is_some() {
            stream.write_all(&bytes)?;
        }
        Ok(true)
    }
}

impl Content {
    fn read(&self, offset: u64, len: u32) -> Option<Vec<u8>> {
        let offset = usize::try_from(offset).ok()?;
        self.current.get(offset..offset.checked_add(len as usize)?).map(<[u8]>::to_vec)
    }

    fn write(&mut self, offset: u64, bytes: &[u8], is_durable: bool) -> Option<()> {
        let offset = usize::try_from(offset).ok()?;
        self.current.get_mut(offset..offset.checked_add(bytes.len())?)?.copy_from_slice(bytes);
        let mut at = offset;
        while at < offset + bytes.len() {
            let end = ((at / BLOCK + 1) * BLOCK).min(offset + bytes.len());
            let piece = Piece { offset: at, bytes: bytes.get(at - offset..end - offset)?.to_vec() };
            if is_durable {
                // What was written there before may not come back over it.
                self.pending.retain(|it| it.offset < at || it.offset + it.bytes.len() > end);
                self.store(&piece);
            } else {
                self.pending.push(piece);
            }
            at = end;
        }
        if let Power::UntilPending(count) = self.power
            && self.pending.len() >= count
        {
            self.power = Power::Off;
        }
        Some(())
    }

    fn flush(&mut self) {
        for piece in std::mem::take(&mut self.pending) {
            self.store(&piece);
        }
    }

    fn store(&mut self, piece: &Piece) {
        if let Some(place) = self.durable.get_mut(piece.offset..piece.offset + piece.bytes.len()) {
            place.copy_from_slice(&piece.bytes);
        }
    }
}

fn take<const N: usize>(stream: &mut UnixStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn reply(stream: &mut UnixStream, option: u32, kind: u32, content: &[u8]) -> io::Result<()> {
    let len = (content.len() as u32).to_be_bytes();
    let head = [&OPTION_REPLY.to_be_bytes()[..], &option.to_be_bytes(), &kind.to_be_bytes(), &len];
    stream.write_all(&[&head.concat(), content].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> Content {
        let durable = vec![0; 4 * BLOCK];
        Content { current: durable.clone(), durable, pending: Vec::new(), power: Power::On }
    }

    fn cut(content: Content, keep: f64) -> Vec<u8> {
        let disk =
            Disk { socket: PathBuf::new(), content: Arc::new(Mutex::new(content)), is_back: Arc::default() };
        disk.cut(&mut Rng::with_seed(1), keep);
        let content = disk.content();
        assert_eq!(content.current, content.durable);
        content.durable.clone()
    }

    #[test]
    fn what_is_flushed_stays_and_what_is_not_may_go() {
        let written = |content: &mut Content| {
            content.write(0, &[1; BLOCK], false).unwrap();
            content.flush();
            content.write(100, &[2; BLOCK], false).unwrap();
        };
        for (keep, first, second) in [(0.0, 1, 0), (1.0, 2, 2)] {
            let mut content = content();
            written(&mut content);
            assert_eq!(content.read(100, 1), Some(vec![2]), "reads see the cache");
            let after = cut(content, keep);
            assert_eq!((after[0], after[100], after[BLOCK + 99]), (1, first, second));
        }
    }

    #[test]
    fn a_write_that_is_its_own_flush_is_not_undone_by_an_earlier_one() {
        let mut content = content();
        content.write(0, &[1; BLOCK], false).unwrap();
        content.write(0, &[2; BLOCK], true).unwrap();
        assert_eq!(cut(content, 1.0)[0], 2);
    }

    #[test]
    fn beyond_the_end_is_refused() {
        let mut content = content();
        assert!(content.write(4 * BLOCK as u64, &[1], false).is_none());
        assert!(content.read(u64::MAX, 1).is_none());
    }
}
