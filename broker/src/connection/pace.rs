//! A client that is too fast: what it sends is dropped, or not read for a while; what is for it waits. Only with configured
//! rates; see [`crate::rates`].
use super::ending::Ending;
use super::established::Established;
use super::pipe::ByteStream;
use crate::message::QoS;
use crate::rates::{Action, ConnectionRates, Limit, Nanos, Verdict};
use crate::record::{Details, Event};
use std::time::Duration;
use tokio::time::Instant;

/// The rates of a connection, and until when it pauses because of them.
pub(super) struct Pace {
    rates: Box<ConnectionRates>,
    /// Nothing is read before.
    read_from: Option<Instant>,
    /// Nothing is taken out of the session's queue before.
    send_from: Option<Instant>,
}

impl Pace {
    pub(super) fn new(rates: Box<ConnectionRates>) -> Box<Self> {
        Box::new(Self { rates, read_from: None, send_from: None })
    }

    pub(super) fn read_from(&self) -> Option<Instant> {
        self.read_from
    }

    pub(super) fn send_from(&self) -> Option<Instant> {
        self.send_from
    }

    /// Is each delivery to be counted?
    pub(super) fn limits_deliveries(&self) -> bool {
        self.rates.limits_deliveries()
    }

    /// How many deliveries to take out of the queue at once.
    pub(super) fn deliveries_at_once(&self, most: usize, now: Nanos) -> usize {
        self.rates.deliveries_at_once(most, now)
    }
}

impl<S: ByteStream> Established<S> {
    /// Is anything to be read now? While it is not, the client cannot be heard, and so its keep alive and the deadline of a
    /// packet that has begun count from the end of the pause.
    pub(super) fn may_read(&mut self) -> bool {
        let Some(pace) = &mut self.pace else { return true };
        let (now, was) = (Instant::now(), pace.read_from.is_some());
        let pause = pace.rates.reading_pause(self.shared.rates.now());
        pace.read_from = pause.map(|(pause, _)| now + Duration::from_nanos(pause));
        if let Some((_, limit)) = pause {
            if !was {
                self.too_fast(limit, Action::Delayed, 1);
            }
            return false;
        }
        if was {
            self.heard = now;
            self.incomplete = self.incomplete.map(|_| now);
        }
        true
    }

    /// Is anything to be taken out of the session's queue now?
    pub(super) fn may_send(&mut self) -> bool {
        let Some(pace) = &mut self.pace else { return true };
        let was = pace.send_from.is_some();
        let pause = pace.rates.sending_pause(self.shared.rates.now());
        pace.send_from = pause.map(|(pause, _)| Instant::now() + Duration::from_nanos(pause));
        let Some((_, limit)) = pause else { return true };
        if !was {
            self.too_fast(limit, Action::Delayed, 1);
        }
        false
    }

    /// Is a PUBLISH of the client to be served? `Err`: it was one too many.
    pub(super) fn is_in_time(&mut self, qos: QoS) -> Result<bool, Ending> {
        let Some(pace) = &mut self.pace else { return Ok(true) };
        match pace.rates.publish(qos, self.shared.rates.now()) {
            Verdict::Publish => Ok(true),
            Verdict::Drop(limit) => {
                self.too_fast(limit, Action::Dropped, 1);
                Ok(false)
            }
            Verdict::End(limit) => {
                limit.count(Action::Disconnected, 1);
                Err(Ending::TooFast(format!("messages faster than {} allows", limit.key()).into()))
            }
        }
    }

    /// Is a SUBSCRIBE of the client to be served?
    pub(super) fn may_subscribe_now(&mut self) -> bool {
        let Some(pace) = &mut self.pace else { return true };
        let may = pace.rates.subscribe(self.shared.rates.now());
        if !may {
            self.too_fast(Limit::Subscribes, Action::Refused, 1);
        }
        may
    }

    /// Is a delivery of this QoS to be sent, or dropped?
    pub(super) fn may_deliver(&mut self, qos: QoS) -> bool {
        let Some(pace) = &mut self.pace else { return true };
        pace.rates.deliver(qos, self.shared.rates.now())
    }

    /// So many bytes came or went.
    pub(super) fn moved(&mut self, bytes: usize) {
        if let Some(pace) = &mut self.pace {
            pace.rates.moved(bytes, self.shared.rates.now());
        }
    }

    /// Counts, and says it once per connection and limit.
    pub(super) fn too_fast(&mut self, limit: Limit, action: Action, times: u64) {
        limit.count(action, times);
        if !self.pace.as_mut().is_some_and(|pace| pace.rates.is_news(limit)) {
            return;
        }
        let event = match limit {
            Limit::Deliveries => Event::PublishOut,
            Limit::Subscribes => Event::Subscribe,
            _ => Event::PublishIn,
        };
        let what = match action {
            Action::Delayed => "what comes too fast waits",
            _ => "what comes too fast is not served",
        };
        let details = format!("the client exceeds {}: {what}; said once per connection", limit.key());
        let details = Details { reason: Some("THROTTLED"), details: Some(&details), ..Details::default() };
        self.enforcement.identity().failed(event, details);
    }
}
