//! A run: the contenders, the data they share, and what was measured.
//!
//! Knows how a comparison is made fair: every contender in turn, the turns
//! interleaved and their order rotated, so that whatever else the machine does
//! falls on all of them. Does not know the questions.

use std::path::Path;
use std::path::PathBuf;
use std::thread;

use anyhow::Context;
use anyhow::Result;
use tempfile::TempDir;

use crate::client::Transport;
use crate::contender::Access;
use crate::contender::Auth;
use crate::contender::Contender;
use crate::contender::Kind;
use crate::contender::Server;
use crate::contender::Site;
use crate::contender::fleet::Fleet;
use crate::contender::secrets::Secrets;
use crate::report::Measure;
use crate::report::Note;
use crate::report::Sample;
use crate::scale::Scale;
use crate::shelf::Shelf;

/// Larder runs connections on as many threads as there are cores, and on no more than these. The others get
/// as many.
const LARDER_THREADS: usize = 4;

/// A run.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) fleet: Fleet,
    pub(crate) scale: Scale,
    pub(crate) samples: Vec<Sample>,
    pub(crate) notes: Vec<Note>,
    question: &'static str,
    /// What the names of the cases that are asked hold; every case where there is none.
    cases: Vec<String>,
    shelf: Option<Shelf>,
    secrets: Secrets,
    workers: usize,
    work: TempDir,
}

/// Something that takes part in rounds.
pub(crate) trait Subject {
    /// Which server it is.
    fn kind(&self) -> Kind;
}

impl Subject for Server {
    fn kind(&self) -> Kind {
        self.kind
    }
}

impl Subject for Contender {
    fn kind(&self) -> Kind {
        self.kind
    }
}

/// What one turn measured.
pub(crate) type Measured = Vec<(Measure, f64)>;

impl Bench {
    /// Prepares a run whose data lies below `work`, a directory on the disk that is to be measured.
    pub(crate) fn prepare(fleet: Fleet, scale: Scale, cases: &[String], work: &Path) -> Result<Self> {
        let work = TempDir::new_in(work.canonicalize()?).context("making a directory for the data")?;
        Ok(Self {
            fleet,
            scale,
            samples: Vec::new(),
            notes: Vec::new(),
            question: "",
            cases: cases.to_vec(),
            shelf: None,
            secrets: Secrets::create(work.path())?,
            workers: thread::available_parallelism()?.get().min(LARDER_THREADS),
            work,
        })
    }

    /// What follows belongs to this question.
    pub(crate) fn begin(&mut self, question: &'static str) {
        self.question = question;
    }

    /// The blobs and the image that are pulled, made when first asked for.
    pub(crate) fn shelf(&mut self) -> Result<Shelf> {
        if self.shelf.is_none() {
            self.shelf = Some(Shelf::stock(self)?);
        }
        self.shelf.clone().context("just stocked")
    }

    /// A new empty directory on the disk that is measured, gone when dropped.
    pub(crate) fn directory(&self) -> Result<TempDir> {
        TempDir::new_in(self.work.path()).context("making a directory")
    }

    /// A place for a server over these roots.
    pub(crate) fn site(&self, roots: Vec<PathBuf>, access: Access) -> Site<'_> {
        Site {
            roots,
            access,
            transport: Transport::Plain,
            auth: Auth::Open,
            secrets: &self.secrets,
            workers: self.workers,
        }
    }

    /// Starts every contender that `site` gives a place. One that does not start is noted and left out.
    pub(crate) fn start_all<'b>(
        &'b self,
        site: impl Fn(&'b Self, Kind) -> Option<Site<'b>>,
    ) -> (Vec<Server>, Vec<Note>) {
        let mut servers = Vec::new();
        let mut notes = Vec::new();
        for contender in &self.fleet.contenders {
            let Some(site) = site(self, contender.kind) else { continue };
            match contender.start(&site) {
                Ok(server) => servers.push(server),
                Err(error) => notes.push(self.note(contender.kind, "start", &error)),
            }
        }
        (servers, notes)
    }

    /// Keeps the servers that pass a check; the others are noted.
    pub(crate) fn keep(&mut self, servers: &mut Vec<Server>, check: impl Fn(&Server) -> Result<()>) {
        servers.retain(|server| match check(server) {
            Ok(()) => true,
            Err(error) => {
                let note = self.note(server.kind, "check", &error);
                self.notes.push(note);
                false
            }
        });
    }

    /// Asks each subject once in each round. One that fails is noted and left out of the further rounds of
    /// the case.
    pub(crate) fn rounds<S: Subject>(
        &mut self,
        case: &str,
        subjects: &mut [S],
        mut ask: impl FnMut(&Self, &mut S) -> Result<Measured>,
    ) {
        self.repeat(self.scale.pairs, &[case], subjects, |bench, it, _| ask(bench, it));
    }

    /// Asks each subject `turns` times in each round, in turn with the others: for what takes little time and differs
    /// by less than the machine does from one second to the next.
    pub(crate) fn short_turns<S: Subject>(
        &mut self,
        turns: usize,
        case: &str,
        subjects: &mut [S],
        mut ask: impl FnMut(&Self, &mut S) -> Result<Measured>,
    ) {
        self.repeat(self.scale.pairs * turns, &[case], subjects, |bench, it, _| ask(bench, it));
    }

    /// Asks each subject once, for what takes long and varies little.
    pub(crate) fn once<S: Subject>(
        &mut self,
        case: &str,
        subjects: &mut [S],
        mut ask: impl FnMut(&Self, &mut S) -> Result<Measured>,
    ) {
        self.repeat(1, &[case], subjects, |bench, it, _| ask(bench, it));
    }

    /// [`short_turns`](Self::short_turns) in several cases that are to be compared with each other: each round asks all
    /// of them, so `ask` is told of which one it is.
    pub(crate) fn cases_in_turn<S: Subject>(
        &mut self,
        turns: usize,
        cases: &[String],
        subjects: &mut [S],
        ask: impl FnMut(&Self, &mut S, usize) -> Result<Measured>,
    ) {
        self.repeat(self.scale.pairs * turns, cases, subjects, ask);
    }

    fn repeat<S: Subject>(
        &mut self,
        pairs: usize,
        cases: &[impl AsRef<str>],
        subjects: &mut [S],
        mut ask: impl FnMut(&Self, &mut S, usize) -> Result<Measured>,
    ) {
        let cases = cases.iter().map(AsRef::as_ref).enumerate();
        let wanted: Vec<_> = cases.filter(|(_, case)| self.is_wanted(case)).collect();
        let mut failed = Vec::new();
        for pair in 0..pairs {
            for &(number, case) in &wanted {
                self.round(pair, case, subjects, &mut failed, &mut |bench, it| ask(bench, it, number));
            }
        }
        wanted.into_iter().for_each(|(_, case)| self.say(case));
    }

    fn is_wanted(&self, case: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|it| case.contains(it))
    }

    /// Asks each subject once that has not failed.
    fn round<'c, S: Subject>(
        &mut self,
        pair: usize,
        case: &'c str,
        subjects: &mut [S],
        failed: &mut Vec<(&'c str, Kind)>,
        ask: &mut dyn FnMut(&Self, &mut S) -> Result<Measured>,
    ) {
        for turn in 0..subjects.len() {
            let Some(subject) = subjects.get_mut((turn + pair) % subjects.len().max(1)) else { continue };
            let kind = subject.kind();
            if failed.contains(&(case, kind)) {
                continue;
            }
            match ask(self, subject) {
                Ok(measured) => self.record(case, kind, pair, measured),
                Err(error) => {
                    failed.push((case, kind));
                    let note = self.note(kind, case, &error);
                    self.notes.push(note);
                }
            }
        }
    }

    fn record(&mut self, case: &str, contender: Kind, pair: usize, measured: Measured) {
        self.samples.extend(measured.into_iter().map(|(measure, value)| Sample {
            question: self.question.to_owned(),
            case: case.to_owned(),
            contender,
            pair,
            measure,
            value,
        }));
    }

    fn note(&self, contender: Kind, case: &str, error: &anyhow::Error) -> Note {
        let note = Note {
            question: self.question.to_owned(),
            case: case.to_owned(),
            contender,
            text: format!("{error:#}"),
        };
        eprintln!("! {}, {case}: {contender}: {}", note.question, note.text);
        note
    }

    /// Says that a case is done, with the medians.
    fn say(&self, case: &str) {
        let mut line = format!("{}, {case}:", self.question);
        for (measure, kind, series) in crate::report::series_of(&self.samples, self.question, case) {
            line += &format!(" {kind} {} {};", crate::report::figure(series.median()), measure.unit());
        }
        eprintln!("{line}");
    }
}
