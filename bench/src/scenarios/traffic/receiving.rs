//! What a participant receives: counted, and, if messages carry their time, timed.
use super::Flow;
use crate::frames::Packet;
use anyhow::ensure;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// The receiving half of a participant.
pub struct Receiving {
    flow: Arc<Flow>,
    index: usize,
    /// Bytes of topic and payload of every message.
    expected: usize,
    payload: usize,
    watch: Option<Watch>,
    came: u64,
    wrong: u64,
    micros: Vec<u32>,
}

/// Times messages from when they were due.
#[derive(Debug, Clone)]
pub struct Watch {
    /// What their times count from: set before the first one is due.
    pub epoch: Arc<OnceLock<Instant>>,
    /// Those before are not timed: in nanoseconds after the epoch.
    pub from: u64,
}

impl Watch {
    /// From a time in nanoseconds after the epoch until now, if that is timed.
    pub fn micros_since(&self, time: u64, now: Instant) -> Option<u32> {
        let epoch = self.epoch.get().filter(|_| time >= self.from)?;
        let nanos = u64::try_from(now.duration_since(*epoch).as_nanos()).unwrap_or(u64::MAX);
        Some(u32::try_from(nanos.saturating_sub(time) / 1000).unwrap_or(u32::MAX))
    }
}

impl Receiving {
    /// The subscriber of this number in a flow.
    pub fn new(flow: Arc<Flow>, index: usize, topic: usize, payload: usize, watch: Option<Watch>) -> Self {
        let (came, wrong, micros) = (0, 0, Vec::new());
        Self { flow, index, expected: topic + payload, payload, watch, came, wrong, micros }
    }

    /// Takes a PUBLISH.
    pub fn take(&mut self, packet: &Packet<'_>, now: Option<Instant>) {
        let around = if packet.qos() == 0 { 2 } else { 4 };
        self.came += 1;
        self.wrong += u64::from(packet.body.len() != around + self.expected);
        let Some((watch, now)) = self.watch.as_ref().zip(now) else { return };
        let start = packet.body.len().saturating_sub(self.payload);
        let stamp =
            packet.body.get(start..).and_then(<[u8]>::first_chunk).map(|bytes| u64::from_be_bytes(*bytes));
        self.micros.extend(stamp.and_then(|stamp| watch.micros_since(stamp, now)));
    }

    /// Tells the flow what has come since the last time.
    pub fn report(&mut self) -> anyhow::Result<()> {
        ensure!(self.wrong == 0, "{} messages came with a length that nobody published", self.wrong);
        if self.came > 0 {
            self.flow.arrived(self.index, self.came);
            self.came = 0;
        }
        Ok(())
    }

    /// The time now, if anybody asks.
    pub fn clock(&self) -> Option<Instant> {
        self.watch.as_ref().map(|_| Instant::now())
    }

    /// Whose messages these are.
    pub fn flow(&self) -> Arc<Flow> {
        self.flow.clone()
    }

    /// How long each timed message took, in microseconds.
    pub fn into_micros(self) -> Vec<u32> {
        self.micros
    }
}
