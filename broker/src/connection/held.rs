//! What a client is not told before it is durable: that a message was taken over, and packets whose packet id must be known
//! after a crash.
use super::codec::Outbound;
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
    /// Batches, and the length of what waits for them.
    waiting: VecDeque<(Ticket, usize)>,
    progress: watch::Receiver<Progress>,
}

impl Held {
    /// Nothing yet.
    pub(super) fn new(out: Outbound, progress: watch::Receiver<Progress>) -> Self {
        Self { out, waiting: VecDeque::new(), progress }
    }

    /// Says something later: with a batch, or with what was said before.
    pub(super) fn say<R>(&mut self, ticket: Option<Ticket>, say: impl FnOnce(&mut Outbound) -> R) -> R {
        let before = self.out.len();
        let said = say(&mut self.out);
        let length = self.out.len() - before;
        let last = self.waiting.back().map_or(0, |(last, _)| *last);
        self.waiting.push_back((ticket.unwrap_or_default().max(last), length));
        said
    }

    /// Moves what need not wait any more. Returns whether nothing is left.
    pub(super) fn release(&mut self, out: &mut Outbound, is_durable: impl Fn(Ticket) -> bool) -> bool {
        let mut bytes = 0;
        while let Some((_, length)) = self.waiting.pop_front_if(|(ticket, _)| is_durable(*ticket)) {
            bytes += length;
        }
        out.take_from(&mut self.out, bytes);
        self.waiting.is_empty()
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
        held.say(Some(2), |out| out.puback(1, 0));
        held.say(None, |out| out.puback(2, 0));
        held.say(Some(5), |out| out.pubrec(3, 0));
        assert!(!held.release(&mut out, |ticket| ticket <= 1));
        assert!(out.is_empty());
        assert!(!held.release(&mut out, |ticket| ticket <= 4));
        assert_eq!(out.bytes(), [0x40, 2, 0, 1, 0x40, 2, 0, 2]);
        assert!(held.release(&mut out, |ticket| ticket <= 5));
        assert_eq!(out.len(), 12);
    }
}
