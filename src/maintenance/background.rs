//! Work that must not be noticed: the node's processors and disks belong to etcd.
//!
//! Knows how a thread steps back behind all others. Does not know what it does.

use rustix::process::setpriority_process;
use rustix::thread::gettid;
use tokio::sync::oneshot;

use crate::store::Error;

/// The lowest priority that there is (`setpriority(2)`).
const LOWEST: i32 = 19;

/// Does something that waits for the disk on a thread of its own, which steps back.
///
/// # Errors
/// [`Error::Closed`] where no thread can be had, or it ended in the middle.
pub(super) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    start(move || {
        step_back();
        work()
    })
    .await
}

/// Does something that waits for the disk on a thread of its own, in its turn: somebody waits for it, and
/// beside pulls at full speed one that steps back would have no turn for seconds.
///
/// # Errors
/// As of [`run`].
pub(super) async fn waited_for<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    start(work).await
}

async fn start<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let (done, answer) = oneshot::channel();
    let thread = std::thread::Builder::new().name("larder-upkeep".to_owned()).spawn(move || {
        // Whoever asked may be gone.
        let _ = done.send(work());
    });
    thread.map_err(|source| Error::Io { doing: "start", path: "a thread".to_owned(), source })?;
    answer.await.map_err(|_| Error::Closed)
}

/// Steps back: this thread gets the processor and the disk when nobody else wants them. Where the system does
/// not allow it the thread goes on as it is. For threads of our own only: a pool's would keep it for its next
/// task.
pub(super) fn step_back() {
    let _ = setpriority_process(Some(gettid()), LOWEST);
    idle_disk_class();
}

/// Puts this thread into the idle class of the disk's scheduler (`ioprio_set(2)`), which no crate that is
/// kept offers. Without it the kernel derives the lowest of the best-effort priorities from the one above.
#[expect(unsafe_code, reason = "there is no safe way to this system call")]
fn idle_disk_class() {
    const WHO_PROCESS: libc::c_int = 1;
    const THIS_THREAD: libc::c_int = 0;
    const CLASS_IDLE: libc::c_int = 3 << 13;
    // SAFETY: the call takes three numbers, reads and writes no memory of ours, and changes only how the
    // kernel orders this thread's reads.
    unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, THIS_THREAD, CLASS_IDLE) };
}

#[cfg(test)]
mod tests {
    use rustix::process::getpriority_process;

    use super::*;

    #[test]
    fn only_this_thread_steps_back() {
        let before = getpriority_process(None).unwrap();
        let (priority, class) = std::thread::spawn(|| {
            step_back();
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            // The 18th and 19th fields, the 16th and 17th after the command's closing parenthesis.
            let nice = stat.rsplit(')').next().unwrap().split_whitespace().nth(16).unwrap().to_owned();
            (nice, disk_class())
        })
        .join()
        .unwrap();
        assert_eq!(priority, "19");
        assert_eq!(class, 3, "the idle class");
        assert_eq!(getpriority_process(None).unwrap(), before);
    }

    #[allow(unsafe_code)]
    fn disk_class() -> libc::c_long {
        // SAFETY: takes two numbers and gives one.
        unsafe { libc::syscall(libc::SYS_ioprio_get, 1, 0) >> 13 }
    }
}
