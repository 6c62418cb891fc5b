//! `Pressure`: how hard the disk is pressed, and stepping back from it.
//!
//! Knows what the kernel says of the whole system (PSI, `Documentation/accounting/psi.rst`): the share of
//! time in which some task waited for storage. etcd writes to the same disk and is made slow by that wait,
//! whoever caused it. Does not know what is written. Where the kernel does not say it (before 4.20, or
//! without `psi=1`), nothing is held back.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;

use crate::peer::job::Percent;

/// Where the kernel says it.
const KERNEL: &str = "/proc/pressure/io";
/// Over how long pressure is measured: the kernel's own shortest mean is over ten seconds, in which an etcd
/// election is lost.
const WINDOW: Duration = Duration::from_millis(500);
/// How long is stepped back before it is looked again.
const STEP: Duration = Duration::from_millis(250);
/// How long one piece of a blob is held back at most: a disk that others press for hours must not end a sync,
/// nor may its sources take it for dead.
const LONGEST: Duration = Duration::from_secs(2);

/// A limit on the disk's pressure.
#[derive(Debug)]
pub(crate) struct Pressure {
    most: Percent,
    kernel: PathBuf,
    window: Mutex<Window>,
}

/// The last measurement.
#[derive(Clone, Copy, Debug)]
struct Window {
    began: Instant,
    /// How long some task had waited by then, in all; `None` where the kernel does not say it.
    waited: Option<Duration>,
    is_pressed: bool,
}

impl Pressure {
    /// Steps back where some task waits for storage for more than this part of the time.
    pub(crate) fn new(most: Percent) -> Self {
        Self::by(most, KERNEL.into())
    }

    fn by(most: Percent, kernel: PathBuf) -> Self {
        let waited = waited(&kernel);
        if waited.is_none() {
            tracing::warn!(file = %kernel.display(), "the kernel does not say how hard the disk is pressed: a sync is not held back");
        }
        let window = Window { began: Instant::now(), waited, is_pressed: false };
        Self { most, kernel, window: Mutex::new(window) }
    }

    /// Waits while the disk is pressed too hard, within a bound.
    pub(crate) async fn ease(&self) {
        let began = Instant::now();
        while self.is_pressed() && began.elapsed() < LONGEST {
            sleep(STEP).await;
        }
    }

    fn is_pressed(&self) -> bool {
        let mut window = self.lock();
        let elapsed = window.began.elapsed();
        if elapsed >= WINDOW {
            let now = waited(&self.kernel);
            let share = now.zip(window.waited).map(|(now, before)| {
                now.saturating_sub(before).as_secs_f64() / elapsed.as_secs_f64() * 100.0
            });
            let is_pressed = share.is_some_and(|it| it > f64::from(self.most.get()));
            *window = Window { began: Instant::now(), waited: now, is_pressed };
        }
        window.is_pressed
    }

    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long some task has waited since the system started. The file is the kernel's memory: reading it waits
/// for no disk.
fn waited(kernel: &std::path::Path) -> Option<Duration> {
    let text = fs::read_to_string(kernel).ok()?;
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let total = some.split_ascii_whitespace().find_map(|it| it.strip_prefix("total="))?;
    total.parse().ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn says(kernel: &std::path::Path, waited: Duration) {
        let text = format!(
            "some avg10=0.00 avg60=0.00 avg300=0.00 total={}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n",
            waited.as_micros()
        );
        fs::write(kernel, text).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn steps_back_while_too_much_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let kernel = directory.path().join("io");
        says(&kernel, Duration::from_secs(5));
        let pressure = Pressure::by(Percent::new(40).unwrap(), kernel.clone());
        for (waits_ms, pressed) in [(0, false), (200, false), (201, true), (500, true), (10, false)] {
            tokio::time::advance(WINDOW).await;
            says(&kernel, waited(&kernel).unwrap() + Duration::from_millis(waits_ms));
            assert_eq!(pressure.is_pressed(), pressed, "{waits_ms}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_others_press_holds_nothing_up_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let kernel = directory.path().join("io");
        says(&kernel, Duration::ZERO);
        let pressure = Pressure::by(Percent::new(1).unwrap(), kernel.clone());
        tokio::time::advance(WINDOW).await;
        says(&kernel, Duration::from_secs(3600));
        let began = Instant::now();
        pressure.ease().await;
        assert!(began.elapsed() >= STEP && began.elapsed() <= LONGEST + STEP, "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_kernel_that_says_nothing_holds_nothing_back() {
        let pressure = Pressure::by(Percent::new(1).unwrap(), "/nonexistent".into());
        tokio::time::advance(WINDOW).await;
        assert!(!pressure.is_pressed());
    }
}
