//! Messages out: what the session has for its client, as packets.
use super::established::{Established, WRITE_AT};
use super::held::Packet;
use super::pipe::ByteStream;
use crate::batch::{Mail, Part};
use crate::message::{Delivery, Message, QoS};
use crate::rates::{Action, Limit};
use crate::record::{self, Details};
use crate::session::InFlight;
use tokio::time::Instant;

/// Messages taken from the session at once.
const AT_ONCE: usize = 256;

/// What became of messages, for the figures.
#[derive(Default)]
struct Tally {
    sent: u64,
    refused: u64,
    too_large: u64,
    too_fast: u64,
}

impl<S: ByteStream> Established<S> {
    /// Encodes what the session has for the client. Returns whether there may be more.
    pub(super) fn take_mail(&mut self) -> bool {
        let mut more = false;
        while self.out.len() < WRITE_AT {
            if !self.may_send() {
                return false;
            }
            let most = match &self.pace {
                Some(pace) => pace.deliveries_at_once(AT_ONCE, self.shared.rates.now()),
                None => AT_ONCE,
            };
            let taken = self.session.take_mail(most, &mut self.mail);
            if taken == 0 {
                return false;
            }
            let entries = self.mail.len();
            self.deliver();
            if entries < self.mail.capacity() / 8 {
                self.mail.shrink_to(2 * entries);
            }
            if taken < most {
                return false;
            }
            more = true;
        }
        more
    }

    fn deliver(&mut self) {
        let now = Instant::now();
        let mut tally = Tally::default();
        let each_counts = self.pace.as_ref().is_some_and(|pace| pace.limits_deliveries());
        let mut mail = std::mem::take(&mut self.mail);
        for mail in mail.drain(..) {
            match mail {
                Mail::One(delivery) => self.deliver_one(delivery, now, &mut tally),
                Mail::Many(part) if part.qos() == QoS::AtMostOnce && !each_counts => {
                    self.deliver_part(&part, now, &mut tally);
                }
                Mail::Many(part) if part.qos() > QoS::AtMostOnce && !each_counts && self.held.is_none() => {
                    self.deliver_part_assured(*part, now, &mut tally);
                }
                Mail::Many(part) => {
                    part.deliveries().for_each(|delivery| self.deliver_one(delivery, now, &mut tally));
                }
            }
        }
        self.mail = mail;
        if tally.too_fast > 0 {
            self.too_fast(Limit::Deliveries, Action::Dropped, tally.too_fast);
        }
        let figures = &self.shared.figures;
        figures.messages_sent.increment(tally.sent);
        if tally.refused + tally.too_large > 0 {
            figures.deliveries_refused.increment(tally.refused);
            figures.deliveries_too_large.increment(tally.too_large);
        }
    }

    #[inline]
    fn deliver_one(&mut self, delivery: Delivery, now: Instant, tally: &mut Tally) {
        if !self.enforcement.may_receive(&delivery.message.topic) {
            tally.refused += 1;
            return self.session.discard(&delivery);
        }
        if !self.may_deliver(delivery.qos) {
            tally.too_fast += 1;
            return;
        }
        self.log_delivery(&delivery.message, delivery.retain);
        let fits = if delivery.qos == QoS::AtMostOnce {
            self.out.publish(&delivery, 0, false, now)
        } else if let Some(packet_id) = self.packet_ids.allocate() {
            self.deliver_assured(packet_id, delivery, now)
        } else {
            return;
        };
        match fits {
            true => tally.sent += 1,
            false => tally.too_large += 1,
        }
    }

    /// One of QoS 1 or 2. `false`: the client takes no packet that large, and this one is done.
    #[inline]
    fn deliver_assured(&mut self, packet_id: u16, delivery: Delivery, now: Instant) -> bool {
        let again = delivery.stored.is_repeated();
        let fits = if delivery.qos == QoS::ExactlyOnce && self.session.is_durable_session() {
            self.session.sent(packet_id, delivery.clone());
            let packet = Packet::Awaiting(packet_id);
            self.say_when_durable(packet, |out| out.publish(&delivery, packet_id, again, now))
        } else {
            // Behind one of QoS 2 that must wait: they are sent again in the order in which they were sent.
            let fits = match &mut self.held {
                Some(held) => held.say(None, Packet::Awaiting(packet_id), |out| {
                    out.publish(&delivery, packet_id, again, now)
                }),
                None => self.out.publish(&delivery, packet_id, again, now),
            };
            self.session.sent(packet_id, delivery);
            fits
        };
        if !fits {
            self.done(packet_id);
        }
        fits
    }

    /// What came together, with QoS 0: the same as one after the other, for less.
    fn deliver_part(&mut self, part: &Part, now: Instant, tally: &mut Tally) {
        let Some(first) = part.first() else { return };
        if !self.enforcement.may_receive(&first.topic) {
            tally.refused += part.len() as u64;
            return;
        }
        (0..part.len()).for_each(|_| self.log_delivery(first, false));
        let sent = self.out.publish_part(part, now);
        tally.sent += sent as u64;
        tally.too_large += (part.len() - sent) as u64;
    }

    /// What came together, with QoS 1 or 2: nothing of it is stored.
    fn deliver_part_assured(&mut self, mut part: Part, now: Instant, tally: &mut Tally) {
        let Some(first) = part.first() else { return };
        if !self.enforcement.may_receive(&first.topic) {
            tally.refused += part.len() as u64;
            return;
        }
        let packet_ids: Vec<u16> = (0..part.len()).map_while(|_| self.packet_ids.allocate()).collect();
        let part = part.take(packet_ids.len());
        let Some(first) = part.first() else { return };
        packet_ids.iter().for_each(|_| self.log_delivery(first, false));
        let too_large = self.out.publish_part_assured(&part, &packet_ids, now);
        self.session.sent_together(&packet_ids, part);
        tally.sent += (packet_ids.len() - too_large.len()) as u64;
        tally.too_large += too_large.len() as u64;
        too_large.into_iter().for_each(|packet_id| self.done(packet_id));
    }

    fn log_delivery(&self, message: &Message, retain: bool) {
        let details = Details { topic: Some(&message.topic), retain: Some(retain), ..Details::default() };
        self.enforcement.identity().succeeded(record::Event::PublishOut, details);
    }

    /// What was in flight when the client left is sent again first, with the packet ids of then.
    pub(super) fn resend(&mut self) {
        for in_flight in self.session.in_flight() {
            let packet_id = in_flight.packet_id();
            self.packet_ids.take(packet_id);
            match in_flight {
                InFlight::Publish { .. } => self.unsent.push_back(packet_id),
                InFlight::Release { .. } => self.out.pubrel(packet_id, 0),
            }
        }
    }

    /// As far as the client's window goes, which may be smaller than it was. Nothing new is sent before. Returns whether there
    /// is more to be sent now.
    pub(super) fn resend_unsent(&mut self) -> bool {
        if self.unsent.is_empty() {
            return false;
        }
        let now = Instant::now();
        loop {
            let sent = self.session.messages_in_flight().saturating_sub(self.unsent.len());
            if self.unsent.is_empty() || sent >= self.session.window() {
                self.unsent.shrink_to(self.unsent.len());
                return false;
            }
            if self.out.len() >= WRITE_AT {
                return true;
            }
            let Some(packet_id) = self.unsent.pop_front() else { continue };
            let Some(delivery) = self.session.delivery_in_flight(packet_id) else { continue };
            let wanted = self.enforcement.may_receive(&delivery.message.topic)
                && self.out.publish(&delivery, packet_id, true, now);
            if !wanted {
                self.done(packet_id);
            }
        }
    }
}
