//! Carrying out a task: lines are read in order and provisioned many at a time; what became of them goes into the reports in
//! order again. Whatever goes wrong on the way, the task goes on from what is stored, as after a crash.
use super::home::Home;
use super::line::{Job, Setback, SharedJob};
use super::lines::{Line, Lines};
use super::report::{Outcome, ReportType, Reports};
use super::task::{self, Progress, TaskRecord, TaskStatus};
use crate::error::RegistryError;
use crate::issuing::Issuing;
use crate::registry::Registry;
use crate::registry::templates;
use crate::shared_records::SharedRecords;
use crate::transact::transact;
use jitp_templates::Caller;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Lines that may be read and in no report yet: those under way, and those behind one that takes longer.
const WINDOW: usize = 512;
/// So many finished lines are worth a write.
const WORTH_WRITING: usize = 128;
/// Fewer are written after this time.
const WRITE_EVERY: Duration = Duration::from_millis(250);
/// Before going on after a setback.
const PAUSE: Duration = Duration::from_secs(1);
/// A task that runs for longer is ended (`spec/quotas.md` section 3).
const LONGEST_RUN: u64 = 30 * 24 * 3600 * 1000;

/// A task under way.
pub(super) struct Runner {
    pub(super) registry: Registry,
    pub(super) issuing: Arc<Issuing>,
    pub(super) home: Home,
    pub(super) id: String,
    /// Turns true when the task is to be looked at again, or to be left: see `closing`.
    pub(super) stop: watch::Receiver<bool>,
    /// Why it does not go on now, for whoever asks.
    pub(super) paused: Arc<Mutex<Option<String>>>,
}

/// How a task ended.
struct End {
    status: TaskStatus,
    message: Option<String>,
}

/// Why a round was given up.
enum Halt {
    /// Go on later from what is stored.
    Later(String),
    /// There is nothing to go on with.
    Failed(String),
}

impl From<RegistryError> for Halt {
    fn from(error: RegistryError) -> Self {
        Self::Later(error.to_string())
    }
}

impl Runner {
    /// Runs until the task has ended, or is to be left as it is.
    pub(super) async fn run(mut self) {
        loop {
            let why = match self.round().await {
                Ok(None) => return,
                Ok(Some(end)) => match self.end(&end).await {
                    Ok(()) => return,
                    Err(error) => error.to_string(),
                },
                Err(Halt::Failed(message)) => {
                    let end = End { status: TaskStatus::Failed, message: Some(message) };
                    match self.end(&end).await {
                        Ok(()) => return,
                        Err(error) => error.to_string(),
                    }
                }
                Err(Halt::Later(why)) => why,
            };
            tracing::warn!(task = self.id, why, "a registration task pauses: it goes on by itself");
            *self.paused.lock() = Some(why);
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = left(&mut self.stop) => return,
            }
            *self.paused.lock() = None;
        }
    }

    async fn end(&self, end: &End) -> Result<(), RegistryError> {
        let message = end.message.as_deref();
        transact!(self.registry, |tx| task::end(tx, &self.id, end.status, message))?;
        tracing::info!(task = self.id, status = ?end.status, message, "a registration task has ended");
        let record = self.registry.begin().get::<TaskRecord>(self.id.as_str()).await?;
        if let Some(record) = record {
            self.home.remove_once_only(&record.input);
        }
        Ok(())
    }

    /// Goes on from what is stored. `None`: the task is gone, or is to be left as it is.
    async fn round(&mut self) -> Result<Option<End>, Halt> {
        let mut tx = self.registry.begin();
        let Some(record) = tx.get::<TaskRecord>(self.id.as_str()).await? else { return Ok(None) };
        let progress = task::progress(&mut tx, &self.id).await?;
        let reports = self.reports(progress).await?;
        let writer = Writer { registry: self.registry.clone(), id: self.id.clone(), progress, reports };
        match record.status {
            TaskStatus::InProgress => {}
            TaskStatus::Cancelling => return self.cancelled(writer).await,
            _ => return Ok(None),
        }
        let too_old = |now: u64| now.saturating_sub(record.created_at.millis()) > LONGEST_RUN;
        if too_old(self.registry.clock().now().millis()) {
            return Err(Halt::Failed(
                "it has not ended within 30 days: start another with the lines that are left".into(),
            ));
        }
        let template = templates::parse_for(self.registry.options(), Caller::Rest, &record.template_body);
        let template = template
            .map_err(|problems| Halt::Failed(format!("the template does not validate: {problems}")))?;
        let input = self.input(&record, progress).await?;
        let job = Job {
            registry: self.registry.clone(),
            issuing: Arc::clone(&self.issuing),
            record,
            template,
            shared: SharedRecords::new(1),
        };
        let mut belt = Belt::new(Arc::new(job), writer, self.registry.options().registration_lines_in_flight);
        match belt.run(input, &mut self.stop).await? {
            Ran::ToTheEnd => Ok(Some(End { status: TaskStatus::Completed, message: None })),
            Ran::Left => Ok(None),
            Ran::Stopped(writer) => {
                let record = self.registry.begin().get::<TaskRecord>(self.id.as_str()).await?;
                match record.map(|record| record.status) {
                    Some(TaskStatus::Cancelling) => self.cancelled(*writer).await,
                    Some(TaskStatus::InProgress) => Err(Halt::Later("it was disturbed".into())),
                    _ => Ok(None),
                }
            }
        }
    }

    /// Puts into the reports what was done before the task was stopped.
    async fn cancelled(&self, mut writer: Writer) -> Result<Option<End>, Halt> {
        loop {
            let done = task::outcomes(&mut self.registry.begin(), &self.id, WORTH_WRITING).await?;
            if done.is_empty() {
                return Ok(Some(End { status: TaskStatus::Cancelled, message: None }));
            }
            let Progress { offset, lines, .. } = writer.progress;
            let done = done.into_iter().map(|(at, outcome)| Done { offset: at, end: offset, lines, outcome });
            writer = writer.write(done.collect()).await?;
        }
    }

    async fn reports(&self, progress: Progress) -> Result<Reports, Halt> {
        let directory = self.home.reports(&self.id);
        let opened = blocking(move || Reports::open(&directory, progress.lengths())).await?;
        opened.map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => Halt::Failed(format!("its reports are damaged: {error}")),
            _ => Halt::Later(format!("its reports cannot be written: {error}")),
        })
    }

    async fn input(&self, record: &TaskRecord, progress: Progress) -> Result<Input, Halt> {
        let (home, input, expected) = (self.home.clone(), record.input.clone(), record.identity);
        let opened = blocking(move || {
            let (mut file, identity) = input.open(home.input())?;
            file.seek(SeekFrom::Start(progress.offset))
                .map(|_| (file, identity))
                .map_err(|error| RegistryError::InvalidRequest(format!("the input cannot be read: {error}")))
        });
        let (file, identity) = opened.await?.map_err(|error| Halt::Failed(error.to_string()))?;
        if identity != expected {
            return Err(Halt::Failed(format!(
                "the input {} in bucket {} has been changed since the task was started: leave it alone, and start another \
                 task with the lines that are left",
                record.input.key, record.input.bucket
            )));
        }
        Ok(Input { file, bytes: expected.bytes, progress })
    }
}

/// Returns when everything is to be left as it is.
async fn left(stop: &mut watch::Receiver<bool>) {
    // Whoever has dropped the handle has left as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Halt> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Halt::Later(error.to_string()))
}

/// An input from where its task goes on.
struct Input {
    file: File,
    bytes: u64,
    progress: Progress,
}

impl Input {
    /// Reads lines in a thread of its own, no faster than they are taken.
    fn lines(self, ahead: usize) -> mpsc::Receiver<Result<Line, String>> {
        let (sender, receiver) = mpsc::channel(ahead);
        let Self { file, bytes, progress } = self;
        tokio::task::spawn_blocking(move || {
            let rest = file.take(bytes.saturating_sub(progress.offset));
            let mut lines =
                Lines::after(BufReader::with_capacity(256 * 1024, rest), progress.offset, progress.lines);
            loop {
                let line = match lines.next() {
                    Ok(Some(line)) => Ok(line),
                    Ok(None) if lines.offset() == bytes => return,
                    Ok(None) => Err("the input has become shorter while it was read".to_owned()),
                    Err(error) => Err(format!("the input cannot be read: {error}")),
                };
                let last = line.is_err();
                if sender.blocking_send(line).is_err() || last {
                    return;
                }
            }
        });
        receiver
    }
}

/// A line that is done.
struct Done {
    offset: u64,
    /// Where the task goes on after it.
    end: u64,
    lines: u64,
    outcome: Outcome,
}

/// Puts what is done into the reports.
struct Writer {
    registry: Registry,
    id: String,
    progress: Progress,
    reports: Reports,
}

impl Writer {
    /// Writes the next lines in order: first the reports, then that they are written, and that nothing else need be kept of
    /// these lines.
    async fn write(mut self, done: Vec<Done>) -> Result<Self, Halt> {
        let succeeded = done.iter().filter(|done| done.outcome.report == ReportType::Results).count() as u64;
        let mut progress = self.progress;
        progress.succeeded += succeeded;
        progress.failed += done.len() as u64 - succeeded;
        if let Some(last) = done.last() {
            (progress.offset, progress.lines) = (last.end, last.lines);
        }
        let offsets: Vec<u64> = done.iter().map(|done| done.offset).collect();
        let outcomes: Vec<Outcome> = done.into_iter().map(|done| done.outcome).collect();
        let mut reports = self.reports;
        let (added, reports) = blocking(move || (reports.append(&outcomes), reports)).await?;
        self.reports = reports;
        let added = added.map_err(|error| Halt::Later(format!("its reports cannot be written: {error}")))?;
        progress.results += added.results;
        progress.errors += added.errors;
        let (id, offsets) = (&self.id, &offsets);
        progress = transact!(self.registry, |tx| advance(tx, id, progress, offsets))?;
        self.progress = progress;
        Ok(self)
    }
}

async fn advance(
    tx: &mut crate::tx::Tx,
    id: &str,
    progress: Progress,
    offsets: &[u64],
) -> Result<Progress, RegistryError> {
    // A registry that was returned to where it began must not hold traces of a task.
    tx.require_exists::<TaskRecord>(id).await?;
    let progress = Progress { at: tx.now(), ..progress };
    task::put_progress(tx, id, &progress)?;
    for offset in offsets {
        task::delete_outcome(tx, id, *offset);
    }
    Ok(progress)
}

/// Lines under way, in order.
struct Belt {
    job: SharedJob,
    in_flight: usize,
    workers: JoinSet<(u64, Result<Outcome, Setback>)>,
    slots: VecDeque<Slot>,
    /// The number of the first slot.
    first: u64,
    /// Slots at the front that are done.
    ready: usize,
    writer: Option<Writer>,
    writing: Option<JoinHandle<Result<Writer, Halt>>>,
}

struct Slot {
    offset: u64,
    end: u64,
    lines: u64,
    outcome: Option<Outcome>,
}

/// How the lines came to an end.
enum Ran {
    ToTheEnd,
    /// Everything is to be left as it is; what was begun is done and written.
    Left,
    /// The task is not in progress any more.
    Stopped(Box<Writer>),
}

impl Belt {
    fn new(job: SharedJob, writer: Writer, in_flight: usize) -> Self {
        Self {
            job,
            in_flight: in_flight.clamp(1, WINDOW),
            workers: JoinSet::new(),
            slots: VecDeque::new(),
            first: 0,
            ready: 0,
            writer: Some(writer),
            writing: None,
        }
    }

    async fn run(&mut self, input: Input, stop: &mut watch::Receiver<bool>) -> Result<Ran, Halt> {
        let lines = input.lines(self.in_flight);
        let ran = self.roll(lines, stop).await;
        // Whatever is written must be written before another round looks.
        self.workers.shutdown().await;
        if let Some(writing) = self.writing.take() {
            let written = writing.await.map_err(|error| Halt::Later(error.to_string()))?;
            self.writer = Some(written?);
        }
        match (ran?, self.writer.take()) {
            (Way::End, _) => Ok(Ran::ToTheEnd),
            (Way::Left, _) => Ok(Ran::Left),
            (Way::Stopped, Some(writer)) => Ok(Ran::Stopped(Box::new(writer))),
            (Way::Stopped, None) => Err(Halt::Later("it was disturbed".into())),
        }
    }

    async fn roll(
        &mut self,
        mut lines: mpsc::Receiver<Result<Line, String>>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Way, Halt> {
        let (mut ended, mut leaving) = (false, false);
        let mut tick = tokio::time::interval(WRITE_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut due = false;
        loop {
            let draining = (ended || leaving) && self.workers.is_empty();
            if self.ready >= WORTH_WRITING || (self.ready > 0 && (due || draining)) {
                due &= !self.write();
            }
            if draining && self.slots.is_empty() && self.writing.is_none() {
                return Ok(if leaving { Way::Left } else { Way::End });
            }
            let room = self.workers.len() < self.in_flight && self.slots.len() < WINDOW;
            tokio::select! {
                line = lines.recv(), if room && !ended && !leaving => match line {
                    Some(Ok(line)) => self.begin(line),
                    Some(Err(why)) => return Err(Halt::Failed(why)),
                    None => ended = true,
                },
                Some(done) = self.workers.join_next(), if !self.workers.is_empty() => match done {
                    Ok((number, Ok(outcome))) => self.finish(number, outcome),
                    Ok((_, Err(Setback::Stopped))) => return Ok(Way::Stopped),
                    Ok((_, Err(Setback::Later(why)))) => return Err(Halt::Later(why)),
                    Err(error) => return Err(Halt::Later(error.to_string())),
                },
                written = written(&mut self.writing), if self.writing.is_some() => {
                    self.writing = None;
                    self.writer = Some(written?);
                }
                _ = tick.tick() => due = true,
                () = left(stop), if !leaving => leaving = true,
            }
        }
    }

    fn begin(&mut self, line: Line) {
        let number = self.first + self.slots.len() as u64;
        self.slots.push_back(Slot { offset: line.offset, end: line.end, lines: line.number, outcome: None });
        let job = Arc::clone(&self.job);
        self.workers.spawn(async move { (number, job.provision(&line).await) });
    }

    fn finish(&mut self, number: u64, outcome: Outcome) {
        let at = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        if let Some(slot) = self.slots.get_mut(at) {
            slot.outcome = Some(outcome);
        }
        while self.slots.get(self.ready).is_some_and(|slot| slot.outcome.is_some()) {
            self.ready += 1;
        }
    }

    /// Hands what is ready to the writer, unless that is busy.
    fn write(&mut self) -> bool {
        if self.writing.is_some() {
            return false;
        }
        let Some(writer) = self.writer.take() else { return false };
        let ready: Vec<Done> = self
            .slots
            .drain(..self.ready)
            .filter_map(|slot| {
                let Slot { offset, end, lines, outcome } = slot;
                Some(Done { offset, end, lines, outcome: outcome? })
            })
            .collect();
        self.first += self.ready as u64;
        self.ready = 0;
        self.writing = Some(tokio::spawn(writer.write(ready)));
        true
    }
}

/// How the lines came to an end, before what is written is.
enum Way {
    End,
    Left,
    Stopped,
}

async fn written(writing: &mut Option<JoinHandle<Result<Writer, Halt>>>) -> Result<Writer, Halt> {
    match writing {
        Some(writing) => writing.await.map_err(|error| Halt::Later(error.to_string()))?,
        None => std::future::pending().await,
    }
}
