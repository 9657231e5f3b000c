//! The answers of services on their way to the one client that asked (`spec/fleet-provisioning.md` section 2).
use super::established::Established;
use super::pipe::ByteStream;
use crate::message::{Delivery, QoS};
use crate::record::{Details, Event};
use crate::services::{Desk, Reply, Request};
use std::sync::Arc;
use tokio::time::Instant;

/// What became of an answer.
enum Sent {
    Yes,
    /// The client's window is full: later.
    Later(Reply),
    /// Nobody gets it.
    No,
}

impl<S: ByteStream> Established<S> {
    /// Has a request served.
    pub(super) fn ask(&mut self, request: Request) {
        let desk = self.desk.get_or_insert_with(|| {
            let identity = Arc::clone(self.enforcement.identity());
            let provisioner = self.shared.provisioner.clone();
            Box::new(Desk::open(provisioner, identity, self.shared.limits.queued_requests))
        });
        if !desk.submit(request) {
            self.shared.figures.replies_dropped.increment(1);
        }
    }

    /// Sends the answers that are there, as far as the client's window goes.
    pub(super) fn answer(&mut self) {
        let Some(mut desk) = self.desk.take() else { return };
        while let Some(reply) = desk.take() {
            match self.send_answer(reply, &mut desk) {
                Sent::Yes => {}
                Sent::No => self.shared.figures.replies_dropped.increment(1),
                Sent::Later(reply) => {
                    desk.put_back(reply);
                    break;
                }
            }
        }
        self.desk = Some(desk);
    }

    /// Has the client not acknowledged an answer with this packet id yet?
    pub(super) fn is_answer_in_flight(&self, packet_id: u16) -> bool {
        self.desk.as_ref().is_some_and(|desk| desk.is_in_flight(packet_id))
    }

    /// PUBACK of an answer. `false`: it is not one.
    pub(super) fn answer_acknowledged(&mut self, packet_id: u16) -> bool {
        let of_answer = self.desk.as_mut().is_some_and(|desk| desk.acknowledged(packet_id));
        if of_answer {
            self.session.give_back();
            self.packet_ids.free(packet_id);
        }
        of_answer
    }

    /// The client must have subscribed to the topic itself and be allowed to receive it, now.
    fn send_answer(&mut self, reply: Reply, desk: &mut Desk) -> Sent {
        let Some((granted, subscription_identifiers)) = self.session.granted(&reply.topic) else {
            return Sent::No;
        };
        if !self.enforcement.may_receive(&reply.topic) {
            self.shared.figures.deliveries_refused.increment(1);
            return Sent::No;
        }
        let qos = granted.min(QoS::AtLeastOnce);
        let confirmed = qos > QoS::AtMostOnce;
        if confirmed && !self.session.set_aside() {
            return Sent::Later(reply);
        }
        let packet_id = if confirmed { self.packet_ids.allocate() } else { Some(0) };
        let delivery = Delivery {
            message: Arc::new(reply.message()),
            qos,
            retain: false,
            stored: crate::session::durable::Sequence::default(),
            subscription_identifiers,
            shared: None,
        };
        let written = packet_id.is_some_and(|id| self.out.publish(&delivery, id, false, Instant::now()));
        if !written {
            if confirmed {
                self.session.give_back();
                self.packet_ids.free(packet_id.unwrap_or_default());
            }
            self.shared.figures.deliveries_too_large.increment(1);
            return match reply.too_large() {
                Some(smaller) => self.send_answer(smaller, desk),
                None => Sent::No,
            };
        }
        let details = Details { topic: Some(&reply.topic), retain: Some(false), ..Details::default() };
        self.enforcement.identity().succeeded(Event::PublishOut, details);
        self.shared.figures.messages_sent.increment(1);
        if let Some(id) = packet_id.filter(|_| confirmed) {
            desk.sent(id);
        }
        Sent::Yes
    }
}
