//! The connection's side of an open session.
use crate::backend::{
    Close, PublishError, Published, SessionEnd, SubscribeError, SubscribeOptions, Subscribed,
};
use crate::message::{Delivery, Message, SessionId};
use crate::session::InFlight;
use crate::topic::Filter;

/// Held by exactly one connection. Dropping it is [`SessionHandle::close`] with [`Close::ABRUPT`].
///
/// Sending, in short:
///
/// ```text
/// open → resend in_flight() in order, DUP, same packet ids
/// loop wait_for_mail → drain(max) → for each: send; if QoS > 0: sent(packet id, delivery)
///      PUBACK → acknowledged(id)    PUBREC → received(id), send PUBREL    PUBCOMP → acknowledged(id)
/// ```
#[derive(Debug)]
pub struct SessionHandle {}

/// Why [`SessionHandle::wait_for_mail`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// [`SessionHandle::drain`] has something.
    Mail,
    /// The connection must end now: tell the client why, then close. Also stop writes that are stuck.
    Ended(SessionEnd),
}

impl SessionHandle {
    /// The session's id.
    pub fn id(&self) -> SessionId {
        unimplemented!()
    }

    /// Publishes a message of this client; `publisher` is filled in. Returns the number of matches.
    pub fn publish(&self, _message: Message) -> Result<Published, PublishError> {
        unimplemented!()
    }

    /// Subscribes, or replaces the options of an existing subscription. Retained messages come with the next mail:
    /// send SUBACK before draining.
    pub async fn subscribe(
        &mut self,
        _filter: &Filter,
        _options: SubscribeOptions,
    ) -> Result<Subscribed, SubscribeError> {
        unimplemented!()
    }

    /// Unsubscribes. Returns whether there was such a subscription. Messages that are queued already still come.
    pub async fn unsubscribe(&mut self, _filter: &Filter) -> bool {
        unimplemented!()
    }

    /// Waits until there is something to drain that the window allows, or the connection must end. Cancel-safe; an end is
    /// reported before mail and again on every call.
    pub async fn wait_for_mail(&self) -> Wake {
        unimplemented!()
    }

    /// The end, if the connection must end.
    pub fn ended(&self) -> Option<SessionEnd> {
        unimplemented!()
    }

    /// Appends up to `max` deliveries to `mail`, in order, not more of QoS 1 and 2 than the window has room for:
    /// min(client's Receive Maximum, ours) less what is in flight. Everything with QoS > 0 must be sent and
    /// reported by [`SessionHandle::sent`] before the next call. Expired messages are left out.
    pub fn drain(&mut self, _max: usize, _mail: &mut Vec<Delivery>) {
        unimplemented!()
    }

    /// A QoS 1 or 2 delivery was written with this packet id.
    pub fn sent(&mut self, _packet_id: u16, _delivery: Delivery) {
        unimplemented!()
    }

    /// PUBREC came. Returns whether that packet id is in flight with QoS 2. A PUBREC with an error code (>= 0x80) is
    /// [`SessionHandle::acknowledged`] instead.
    pub fn received(&mut self, _packet_id: u16) -> bool {
        unimplemented!()
    }

    /// PUBACK or PUBCOMP came: the message is done. Returns whether the packet id was in flight.
    pub fn acknowledged(&mut self, _packet_id: u16) -> bool {
        unimplemented!()
    }

    /// What is in flight, in the order of sending. After opening: what to send again first.
    pub fn in_flight(&self) -> impl Iterator<Item = &InFlight> {
        std::iter::empty()
    }

    /// A QoS 2 PUBLISH came with this packet id. Returns whether it is new: only then publish it. Answer PUBREC always.
    pub fn begin_exactly_once(&mut self, _packet_id: u16) -> bool {
        unimplemented!()
    }

    /// PUBREL came. Returns whether the packet id was known. Answer PUBCOMP (0x92 if not known).
    pub fn end_exactly_once(&mut self, _packet_id: u16) -> bool {
        unimplemented!()
    }

    /// Packet ids of QoS 2 messages that came and were not released yet.
    pub fn exactly_once(&self) -> impl Iterator<Item = u16> {
        std::iter::empty()
    }

    /// Lets go of the session: it ends, or waits for the client's return until it expires.
    pub fn close(self, _how: Close) {
        unimplemented!()
    }
}
