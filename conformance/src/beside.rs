//! Steps that mostly wait, beside those that work.
//!
//! Knows that they run one after the other on a thread of their own, at a bench of their own, and that each is
//! told in its turn of the table. Does not know what they show.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::bench::Bench;
use crate::server::Kind;
use crate::step::Ended;
use crate::step::Outcome;
use crate::step::Pace;
use crate::step::Step;

/// The longest that one of them is waited for: each has limits of its own, which are shorter even where the
/// packages of a machine are to be fetched first.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// The steps of a run that wait.
#[derive(Debug)]
pub(crate) struct Beside {
    waiting: Vec<&'static Step>,
    running: Option<Running>,
}

/// The thread on which they run.
#[derive(Debug)]
struct Running {
    steps: BTreeSet<&'static str>,
    ended: Receiver<Ended>,
}

impl Beside {
    /// Those of `steps` that wait; none where no other step works meanwhile.
    pub(crate) fn new(steps: &[&'static Step]) -> Self {
        let (waiting, working): (Vec<_>, Vec<_>) = steps.iter().partition(|step| step.pace == Pace::Waits);
        Self { waiting: if working.is_empty() { Vec::new() } else { waiting }, running: None }
    }

    /// Has them run from now on, if they do not yet: in the order of the table, since two of them at once
    /// would be two that work.
    ///
    /// What one needs is provided first, and here: two installations at once are in each other's way. Where
    /// that fails, the step says so in its turn.
    pub(crate) fn begin(&mut self, bench: &Bench, larder: PathBuf) {
        let waiting = std::mem::take(&mut self.waiting);
        let steps: Vec<_> = waiting.into_iter().filter(|step| step.is_provided(bench)).collect();
        if steps.is_empty() {
            return;
        }
        let names = steps.iter().map(|step| step.name).collect();
        let against = bench.against();
        let (sender, ended) = mpsc::channel();
        // Ends with the last of them; or, in the middle of one, with the harness.
        thread::spawn(move || {
            for step in steps {
                // Nobody listens any more where one was given up.
                if sender.send(run(step, against, &larder)).is_err() {
                    break;
                }
            }
        });
        self.running = Some(Running { steps: names, ended });
    }

    /// How this step ended, waiting for that; `None` where it is not among them.
    pub(crate) fn ended(&mut self, step: &Step) -> Option<Ended> {
        // Whose turn has come before these began runs in it.
        self.waiting.retain(|waiting| waiting.name != step.name);
        let running = self.running.as_mut()?;
        if !running.steps.remove(step.name) {
            return None;
        }
        let began = Instant::now();
        let ended = running.ended.recv_timeout(LIMIT);
        Some(ended.unwrap_or_else(|error| {
            let why = match error {
                RecvTimeoutError::Timeout => {
                    format!("beside the others it was not over after {LIMIT:?} more")
                }
                RecvTimeoutError::Disconnected => {
                    "it or one before it, beside the others, panicked".to_owned()
                }
            };
            // What comes later is not this step's any more.
            running.ended = mpsc::channel().1;
            Ended { outcome: Outcome::Failed(why), elapsed: began.elapsed() }
        }))
    }
}

fn run(step: &Step, against: Kind, larder: &Path) -> Ended {
    match Bench::new(against, Some(larder.to_owned())) {
        Ok(bench) => step.run(&bench),
        Err(error) => Ended { outcome: Outcome::Failed(format!("{error:#}")), elapsed: Duration::ZERO },
    }
}
