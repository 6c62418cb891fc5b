//! A medium that does not answer: a file system of the tests' own, whose reads hang until they are let go.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;
use std::time::UNIX_EPOCH;

use fuser::Errno;
use fuser::FileAttr;
use fuser::FileHandle;
use fuser::FileType;
use fuser::Filesystem;
use fuser::Generation;
use fuser::INodeNo;
use fuser::LockOwner;
use fuser::MountOption;
use fuser::OpenFlags;
use fuser::ReplyAttr;
use fuser::ReplyData;
use fuser::ReplyEntry;
use fuser::Request as FuseRequest;

use super::*;
use crate::server::tests::lifecycle::until;

/// How long what has nothing to do with the medium may take. Without the medium it takes less than a
/// millisecond; the machine that runs tests may be busy, and a thread that waited for the medium would wait
/// for ever.
const PROMPT: Duration = Duration::from_secs(5);

/// Where a damaged medium is damaged: in the middle of a window, after the first.
const DAMAGED_AT: u64 = 3_500_000;

/// How a medium reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    Hang,
    Answer,
    FailFrom(u64),
}

/// A directory tree with one file in it, which has [`CONTENT`].
struct Slow {
    /// The path of the file; its components have the inodes 2 and up.
    names: Vec<String>,
    state: Arc<Mutex<State>>,
}

struct State {
    reads: Reads,
    hanging: HashMap<u64, Hanging>,
    next: u64,
}

struct Hanging {
    reply: ReplyData,
    offset: u64,
    size: u32,
}

/// A mounted [`Slow`], and a store on it.
struct Mounted {
    blob: Blob,
    state: Arc<Mutex<State>>,
    _session: fuser::BackgroundSession,
    _directory: tempfile::TempDir,
}

impl Mounted {
    /// `None`, with a word about it, where this user cannot mount file systems.
    async fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let digest = content_digest();
        let names = Entry::Blob(digest).path().as_ref().split('/').map(str::to_owned).collect();
        let state = Arc::new(Mutex::new(State { reads: Reads::Answer, hanging: HashMap::new(), next: 0 }));
        let mut config = fuser::Config::default();
        config.mount_options = vec![MountOption::RO, MountOption::FSName("slow".to_owned())];
        let slow = Slow { names, state: Arc::clone(&state) };
        let session = match fuser::spawn_mount(slow, directory.path(), &config) {
            Ok(session) => session,
            Err(error) if std::env::var_os("CI").is_none() => {
                println!("left out: cannot mount a file system ({error})");
                return None;
            }
            Err(error) => panic!("cannot mount a file system: {error}"),
        };
        let blob = open(directory.path(), &digest).await;
        Some(Self { blob, state, _session: session, _directory: directory })
    }

    fn reads(&self, reads: Reads) {
        let mut state = self.state.lock().unwrap();
        state.reads = reads;
        if reads != Reads::Hang {
            let hanging = std::mem::take(&mut state.hanging);
            hanging.into_values().for_each(|it| answer(reads, it));
        }
    }

    fn hanging(&self) -> usize {
        self.state.lock().unwrap().hanging.len()
    }
}

async fn open(root: &Path, digest: &Digest) -> Blob {
    let options = store::Options { roots: vec![root.to_owned()], ..store::Options::default() };
    let store = tokio::task::spawn_blocking(move || Store::open(&options)).await.unwrap().unwrap();
    store.blob(digest).await.unwrap().unwrap()
}

impl Slow {
    fn attributes(&self, inode: u64) -> FileAttr {
        let is_file = inode == self.names.len() as u64 + 1;
        FileAttr {
            ino: INodeNo(inode),
            size: if is_file { CONTENT_LEN as u64 } else { 0 },
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_file { FileType::RegularFile } else { FileType::Directory },
            perm: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
            blksize: 4096,
        }
    }
}

impl Filesystem for Slow {
    fn lookup(&self, _: &FuseRequest, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let child = self.names.get(parent.0 as usize - 1).filter(|child| name == child.as_str());
        match child {
            Some(_) => reply.entry(&PROMPT, &self.attributes(parent.0 + 1), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &FuseRequest, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&PROMPT, &self.attributes(inode.0));
    }

    fn read(
        &self,
        _: &FuseRequest,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut state = self.state.lock().unwrap();
        let it = Hanging { reply, offset, size };
        match state.reads {
            Reads::Hang => {
                state.next += 1;
                let next = state.next;
                state.hanging.insert(next, it);
            }
            reads => answer(reads, it),
        }
    }
}

fn answer(reads: Reads, Hanging { reply, offset, size }: Hanging) {
    let end = offset + u64::from(size);
    match reads {
        Reads::FailFrom(from) if end > from => reply.error(Errno::EIO),
        _ => {
            let end = (end as usize).min(CONTENT_LEN);
            reply.data(&CONTENT[(offset as usize).min(end)..end]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_need_a_hanging_medium_is_served_as_if_nothing_were_wrong() {
    let Some(slow) = Mounted::new().await else { return };
    slow.reads(Reads::Hang);
    let (_stored, hot) = content_blob().await;
    let cold = pieces_of(slow.blob.clone());
    let hot = pieces_of(hot);
    let both = Arc::new((cold, hot));
    let service = move |request: Request<RequestBody>, peer: PeerInfo| {
        let both = Arc::clone(&both);
        async move {
            match request.headers().contains_key("x-cold") {
                true => both.0.respond(request, peer).await,
                false => both.1.respond(request, peer).await,
            }
        }
    };
    let server = Running::start_service(service, None).await;
    let mut pulls = Vec::new();
    for _ in 0..64 {
        let mut pull = server.connect().await;
        pull.send("GET /0-5242880 HTTP/1.1\r\nHost: test\r\nX-Cold: yes\r\n\r\n").await;
        pulls.push(pull);
    }
    until(|| slow.hanging() > 0 && server.http.requests.in_flight() == 64).await;

    let began = Instant::now();
    let mut other = server.connect().await;
    for path in ["bytes/2", "0-3000", "0-5242880", "7-1048600,3-5"] {
        let answer = tokio::time::timeout(PROMPT, other.get(path)).await.unwrap();
        assert!(answer.body == expected(path), "{path}");
    }
    assert!(began.elapsed() < PROMPT);

    slow.reads(Reads::Answer);
    for mut pull in pulls {
        assert!(pull.answer().await.body == expected("0-5242880"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_ends_the_connection_early() {
    let Some(slow) = Mounted::new().await else { return };
    slow.reads(Reads::FailFrom(DAMAGED_AT));
    for tls in [None, Some(super::over_tls::tls())] {
        let is_tls = tls.is_some();
        let server = Running::start(slow.blob.clone(), tls).await;
        match is_tls {
            false => breaks_off(server.connect().await, server.connect().await).await,
            true => breaks_off(over_tls::client(&server).await, over_tls::client(&server).await).await,
        }
    }
}

async fn breaks_off<S: AsyncRead + AsyncWrite + Unpin>(mut client: Client<S>, mut other: Client<S>) {
    client.send("GET /0-5242880 HTTP/1.1\r\nHost: test\r\n\r\n").await;
    client.head().await;
    let mut received = Vec::new();
    let _ = client.stream.read_to_end(&mut received).await;
    assert!(received.len() < DAMAGED_AT as usize, "{}", received.len());
    assert!(received == CONTENT[..received.len()], "what came is right");
    assert_eq!(other.get("0-9").await.body, CONTENT[..9], "what can be read is served");
}
