//! A connection whose messages are due at their times.
use super::wire::Wire;
use crate::frames::Frames;
use crate::mqtt;
use crate::scenarios::traffic::answers::Answers;
use crate::scenarios::traffic::members::Member;
use crate::scenarios::traffic::outgoing::Outgoing;
use crate::scenarios::traffic::receiving::{Receiving, Watch};
use std::collections::VecDeque;

/// One device.
pub struct Line {
    wire: Wire,
    outgoing: Option<Outgoing>,
    receiving: Option<Receiving>,
    /// Messages that are due: the server takes no more of them now.
    waiting: VecDeque<u64>,
    frames: Frames,
    answers: Answers,
    was_full: bool,
}

impl Line {
    /// A member; what it receives is timed by a watch.
    pub fn new(member: Member, watch: Watch) -> anyhow::Result<Self> {
        Ok(Self {
            wire: Wire::new(member.stream)?,
            outgoing: member.publishes.map(|(outgoing, _)| outgoing),
            receiving: member.receives.map(|receiving| receiving.timed_by(watch)),
            waiting: VecDeque::new(),
            frames: Frames::default(),
            answers: Answers::default(),
            was_full: false,
        })
    }

    /// It is one of those who take turns.
    pub fn publishes(&self) -> bool {
        self.outgoing.is_some()
    }

    /// Its stream, to be polled.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// A message is due; it is written at once if the window and the socket have room.
    pub fn publish(&mut self, due: u64) -> anyhow::Result<()> {
        self.waiting.push_back(due);
        self.write_waiting()
    }

    /// The socket takes more.
    pub fn writable(&mut self) -> anyhow::Result<()> {
        self.wire.flush()?;
        self.write_waiting()
    }

    /// Something has come.
    pub fn readable(&mut self) -> anyhow::Result<()> {
        self.wire.read()?;
        self.take()
    }

    /// Whether the socket is full, if that has changed since this was asked last.
    pub fn became(&mut self) -> Option<bool> {
        let before = std::mem::replace(&mut self.was_full, self.wire.is_full());
        (before != self.was_full).then_some(self.was_full)
    }

    /// Takes what was read.
    pub fn take(&mut self) -> anyhow::Result<()> {
        let Self { wire, outgoing, receiving, frames, answers, .. } = self;
        answers.clear();
        wire.take(|bytes| answers.take(frames, bytes, receiving.as_mut()))?;
        if let Some(receiving) = receiving {
            receiving.report()?;
        }
        if let Some(outgoing) = outgoing {
            outgoing.settle(answers.settled)?;
        }
        if !answers.bytes.is_empty() {
            wire.write(&answers.bytes)?;
        }
        self.write_waiting()
    }

    /// A message each write, as devices do.
    fn write_waiting(&mut self) -> anyhow::Result<()> {
        let Some(outgoing) = &mut self.outgoing else { return Ok(()) };
        while !self.wire.is_full() && outgoing.has_room(1) {
            let Some(due) = self.waiting.pop_front() else { break };
            self.wire.write(outgoing.message_due_at(due))?;
        }
        Ok(())
    }

    /// Disconnects; gives how long each timed message took, in microseconds.
    pub fn end(self) -> Vec<u32> {
        self.wire.close(&mqtt::DISCONNECT);
        self.receiving.map(Receiving::into_micros).unwrap_or_default()
    }
}
