//! A thread that writes messages at their times and reads what comes.
use super::line::Line;
use super::turns::Turn;
use crate::scenarios::traffic::receiving::Watch;
use anyhow::Context;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::iter::Peekable;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Messages that are written before it reads again, however many are due.
const BURST: usize = 16;
/// Connections that it hears of at once.
const EVENTS: usize = 64;
/// It does not sleep for less: to fall asleep and wake up costs more than a message.
const GRAIN: Duration = Duration::from_micros(50);
/// So often it looks whether it is over.
const LOOK: Duration = Duration::from_millis(10);

/// The connections, and the turns of their publishers.
pub struct Pacer<'a, T: Iterator<Item = Turn>> {
    lines: Vec<Line>,
    /// Which of the lines each publisher is.
    publishers: Vec<usize>,
    turns: Peekable<T>,
    watch: Watch,
    over: &'a AtomicBool,
    poll: OwnedFd,
    late: Vec<u32>,
}

/// What it has found, in microseconds.
#[derive(Default)]
pub struct Found {
    /// From when each timed message was due to when it was read.
    pub took: Vec<u32>,
    /// From when each was due to when it was its turn to be written: what of that is the generator's.
    pub late: Vec<u32>,
}

impl<'a, T: Iterator<Item = Turn>> Pacer<'a, T> {
    /// Lines that publish take turns in their order. It goes on until it is over.
    pub fn new(lines: Vec<Line>, turns: T, watch: Watch, over: &'a AtomicBool) -> anyhow::Result<Self> {
        let poll = epoll::create(CreateFlags::CLOEXEC)?;
        for (number, line) in (0..).zip(&lines) {
            epoll::add(&poll, line.wire(), EventData::new_u64(number), EventFlags::IN)?;
        }
        let publishers = lines.iter().enumerate().filter(|(_, line)| line.publishes());
        let publishers = publishers.map(|(number, _)| number).collect();
        Ok(Self { lines, publishers, turns: turns.peekable(), watch, over, poll, late: Vec::new() })
    }

    /// Blocks this thread.
    pub fn run(mut self) -> anyhow::Result<Found> {
        let mut events = Vec::with_capacity(EVENTS);
        for line in &mut self.lines {
            line.take()?;
        }
        while !self.over.load(Ordering::Relaxed) {
            self.publish_what_is_due()?;
            if self.wait()? {
                epoll::wait(&self.poll, spare_capacity(&mut events), Some(&Timespec::default()))?;
            }
            for event in events.drain(..) {
                self.serve(event)?;
                self.publish_what_is_due()?;
            }
        }
        let took = self.lines.into_iter().flat_map(Line::end).collect();
        Ok(Found { took, late: self.late })
    }

    fn publish_what_is_due(&mut self) -> anyhow::Result<()> {
        for _ in 0..BURST {
            let now = Instant::now();
            let since = self.watch.nanos(now);
            let Some(turn) = self.turns.next_if(|turn| turn.due <= since) else { break };
            self.late.extend(self.watch.micros_since(turn.due, now));
            let number = *self.publishers.get(turn.publisher).context("a turn of nobody")?;
            let line = self.lines.get_mut(number).context("a publisher without a line")?;
            line.publish(turn.due)?;
            listen(&self.poll, line, number)?;
        }
        Ok(())
    }

    /// Until something has come, or a message is due, but not for less than the grain. True: something has come.
    ///
    /// Of the system calls that wait for both, this one knows times below a millisecond on every kernel.
    fn wait(&mut self) -> anyhow::Result<bool> {
        if !self.until_next().is_zero() {
            std::thread::sleep(GRAIN);
        }
        let timeout = Timespec::try_from(self.until_next())?;
        match poll(&mut [PollFd::new(&self.poll, PollFlags::IN)], Some(&timeout)) {
            Err(Errno::INTR) => Ok(false),
            ready => Ok(ready? > 0),
        }
    }

    /// Until the next message is due, or until it has to look whether it is over.
    fn until_next(&mut self) -> Duration {
        let since = self.watch.nanos(Instant::now());
        let next = self.turns.peek().map(|turn| Duration::from_nanos(turn.due.saturating_sub(since)));
        next.map_or(LOOK, |next| next.min(LOOK))
    }

    fn serve(&mut self, event: Event) -> anyhow::Result<()> {
        let Event { flags, data, .. } = event;
        let number = usize::try_from(data.u64())?;
        let line = self.lines.get_mut(number).context("news of nobody")?;
        if flags.contains(EventFlags::OUT) {
            line.writable()?;
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            line.readable()?;
        }
        listen(&self.poll, line, number)
    }
}

/// Hears of what comes, and, while its socket is full, of when it takes more.
fn listen(poll: &OwnedFd, line: &mut Line, number: usize) -> anyhow::Result<()> {
    if let Some(full) = line.became() {
        let flags = if full { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        epoll::modify(poll, line.wire(), EventData::new_u64(u64::try_from(number)?), flags)?;
    }
    Ok(())
}
