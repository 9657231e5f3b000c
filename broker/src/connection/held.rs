//! What a client is not told before it is durable: that a message was taken over, and packets whose packet id must be known
//! after a crash.
use super::codec::Outbound;
use crate::session::PacketIdSet;
use crate::session::durable::{Progress, Ticket};
use std::collections::VecDeque;
use tokio::sync::watch;

/// More is not held at once: a client that goes on sending is read again when less is.
const LONG: usize = 256;
/// A client that goes on sending although nothing can be stored is let go.
const TOO_LONG: usize = 4096;

/// Packets in order, each with the batch that it waits for.
pub(super) struct Held {
    out: Outbound,
    waiting: VecDeque<Waiting>,
    /// How many of them are PUBACK and PUBREC, and how many of those refuse.
    answers: usize,
    refusals: usize,
    /// What waits of [`Packet::Awaiting`].
    unsent: PacketIdSet,
    progress: watch::Receiver<Progress>,
}

/// A packet that waits.
struct Waiting {
    ticket: Ticket,
    length: usize,
    packet: Packet,
}

/// What waits, as far as the order is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packet {
    /// PUBACK or PUBREC for a message that was taken over. They are sent in the order of the messages.
    Acknowledgement,
    /// The same for one that was not.
    Refusal,
    /// PUBLISH or PUBREL with this packet id: the client cannot have answered it before it is sent.
    Awaiting(u16),
    /// Any other.
    Other,
}

impl Held {
    /// Nothing yet.
    pub(super) fn new(out: Outbound, progress: watch::Receiver<Progress>) -> Self {
        Self {
            out,
            waiting: VecDeque::new(),
            answers: 0,
            refusals: 0,
            unsent: PacketIdSet::default(),
            progress,
        }
    }

    /// Says something later: with a batch, or with what was said before.
    pub(super) fn say<R>(
        &mut self,
        ticket: Option<Ticket>,
        packet: Packet,
        say: impl FnOnce(&mut Outbound) -> R,
    ) -> R {
        let before = self.out.len();
        let said = say(&mut self.out);
        let length = self.out.len() - before;
        let last = self.waiting.back().map_or(0, |last| last.ticket);
        self.waiting.push_back(Waiting { ticket: ticket.unwrap_or_default().max(last), length, packet });
        match packet {
            Packet::Acknowledgement => self.answers += 1,
            Packet::Refusal => {
                self.answers += 1;
                self.refusals += 1;
            }
            Packet::Awaiting(packet_id) => drop(self.unsent.insert(packet_id)),
            Packet::Other => {}
        }
        said
    }

    /// Moves what need not wait any more. Returns whether nothing is left.
    pub(super) fn release(&mut self, out: &mut Outbound, is_durable: impl Fn(Ticket) -> bool) -> bool {
        let mut bytes = 0;
        while let Some(released) = self.waiting.pop_front_if(|waiting| is_durable(waiting.ticket)) {
            bytes += released.length;
            match released.packet {
                Packet::Acknowledgement => self.answers -= 1,
                Packet::Refusal => {
                    self.answers -= 1;
                    self.refusals -= 1;
                }
                Packet::Awaiting(packet_id) => drop(self.unsent.remove(packet_id)),
                Packet::Other => {}
            }
        }
        out.take_from(&mut self.out, bytes);
        self.waiting.is_empty()
    }

    /// Does any PUBACK or PUBREC wait? Others come behind it.
    pub(super) fn has_answers(&self) -> bool {
        self.answers > 0
    }

    /// Does one wait that refuses?
    pub(super) fn has_refusals(&self) -> bool {
        self.refusals > 0
    }

    /// Does PUBLISH or PUBREL with this packet id wait?
    pub(super) fn is_unsent(&self, packet_id: u16) -> bool {
        self.unsent.contains(packet_id)
    }

    /// Is more held than should be?
    pub(super) fn is_long(&self) -> bool {
        self.waiting.len() >= LONG
    }

    pub(super) fn is_too_long(&self) -> bool {
        self.waiting.len() >= TOO_LONG
    }

    /// Waits until the store has come further.
    pub(super) async fn changed(&mut self) {
        // An error: there is no store any more, and so nothing to wait for; the connection is about to end.
        if self.progress.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::ProtocolVersion;

    #[test]
    fn what_is_held_comes_in_order_and_not_before_its_batch() {
        let (_progress, receiver) = watch::channel(Progress::default());
        let mut out = Outbound::new(ProtocolVersion::V311, u32::MAX);
        let mut held = Held::new(out.like(), receiver);
        held.say(Some(2), Packet::Acknowledgement, |out| out.puback(1, 0));
        held.say(None, Packet::Refusal, |out| out.puback(2, 0));
        held.say(Some(5), Packet::Awaiting(3), |out| out.pubrel(3, 0));
        assert!(!held.release(&mut out, |ticket| ticket <= 1));
        assert!(out.is_empty() && held.has_answers() && held.has_refusals());
        assert!(!held.release(&mut out, |ticket| ticket <= 4));
        assert_eq!(out.bytes(), [0x40, 2, 0, 1, 0x40, 2, 0, 2]);
        assert!(!held.has_answers() && !held.has_refusals());
        assert!(held.is_unsent(3) && !held.is_unsent(2));
        assert!(held.release(&mut out, |ticket| ticket <= 5));
        assert!(!held.is_unsent(3));
        assert_eq!(out.len(), 12);
    }
}
