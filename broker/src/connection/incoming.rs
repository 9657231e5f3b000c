//! What each packet of a connected client does (`spec/policies.md` section 9, `spec/mqtt-behaviour.md`
//! sections 5 and 6).
use super::codec::{InboundPublish, Violation};
use super::ending::Ending;
use super::established::Established;
use super::pipe::ByteStream;
use crate::backend::{ProtocolVersion, PublishError, SubscribeError, SubscribeOptions};
use crate::config::{Excess, Profile};
use crate::message::{Message, PublishProperties, QoS};
use crate::record::{Details, Event};
use crate::services::{Api, Request, Reservation};
use crate::session::Awaited;
use crate::topic::Filter;
use bytes::Bytes;
use mqtt_protocol_core::mqtt::result_code::{
    DisconnectReasonCode, PubackReasonCode, PubcompReasonCode, SubackReasonCode, SubackReturnCode,
    UnsubackReasonCode,
};
use std::sync::Arc;
use std::time::Duration;

/// A PUBLISH, taken out of the read buffer.
pub(super) struct Publish {
    packet_id: u16,
    qos: QoS,
    retain: bool,
    topic: Arc<str>,
    payload: Bytes,
    properties: Option<Box<PublishProperties>>,
    expiry: Option<Duration>,
}

impl Publish {
    pub(super) fn new(publish: InboundPublish<'_>, topic: Arc<str>) -> Self {
        Self {
            packet_id: publish.packet_id,
            qos: publish.qos,
            retain: publish.retain,
            topic,
            payload: Bytes::copy_from_slice(publish.payload),
            properties: publish.properties,
            expiry: publish.expiry,
        }
    }
}

/// PUBACK or PUBREC; of QoS 0 nothing.
pub(super) struct Acknowledgement {
    qos: QoS,
    packet_id: u16,
    code: u8,
}

/// Why a message is not published, and what follows.
struct PublishRefused {
    /// For PUBACK and PUBREC of MQTT 5.
    code: PubackReasonCode,
    /// When that cannot be said.
    otherwise: Otherwise,
}
enum Otherwise {
    End(Ending),
    /// Forget the message, keep the connection.
    Drop,
    /// The same, and no acknowledgement: as AWS leaves out what is too much.
    Silence,
}

impl<S: ByteStream> Established<S> {
    /// Returns what the client is told when all have the message, which may be under way to them.
    pub(super) fn publish(&mut self, publish: Publish) -> Result<Option<Acknowledgement>, Ending> {
        self.arrived += 1;
        self.check_publish(&publish)?;
        if !self.is_in_time(publish.qos)? {
            return Ok(None);
        }
        let (qos, packet_id) = (publish.qos, publish.packet_id);
        if qos == QoS::ExactlyOnce {
            if !self.session.begin_exactly_once(packet_id) {
                return Ok(Some(Acknowledgement { qos, packet_id, code: 0 }));
            }
            if self.session.exactly_once().len() > usize::from(self.shared.limits.receive_maximum) {
                self.session.abandon_exactly_once(packet_id);
                let message = "more unacknowledged QoS 2 messages than Receive Maximum allows";
                let code = DisconnectReasonCode::ReceiveMaximumExceeded;
                return Err(Ending::Violation(Violation::new(code, message)));
            }
        }
        let code = match self.authorize_and_publish(publish) {
            Ok(()) => 0,
            Err(PublishRefused { code, otherwise }) => {
                self.shared.figures.requests_refused.increment(1);
                if qos == QoS::ExactlyOnce {
                    self.session.abandon_exactly_once(packet_id);
                }
                match otherwise {
                    Otherwise::Silence => return Ok(None),
                    _ if qos > QoS::AtMostOnce && self.version == ProtocolVersion::V5 => code as u8,
                    Otherwise::End(ending) => return Err(ending),
                    Otherwise::Drop => 0,
                }
            }
        };
        Ok(Some(Acknowledgement { qos, packet_id, code }))
    }

    /// All have the message.
    pub(super) fn answer_publish(&mut self, due: Option<Acknowledgement>) {
        let Some(Acknowledgement { qos, packet_id, code }) = due else { return };
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.acknowledge(code, |out| out.puback(packet_id, code)),
            QoS::ExactlyOnce => self.acknowledge(code, |out| out.pubrec(packet_id, code)),
        }
        // A request that found no room is rejected at once, before the next one takes the place of its answer.
        self.answer();
    }

    /// What ends the connection whatever the policies say.
    fn check_publish(&self, publish: &Publish) -> Result<(), Ending> {
        let limits = &self.shared.limits;
        if publish.payload.len() > usize::try_from(limits.payload_bytes).unwrap_or(usize::MAX) {
            let message = format!(
                "a payload of {} bytes, the limit is {}",
                publish.payload.len(),
                limits.payload_bytes
            );
            return Err(Ending::Violation(Violation::new(DisconnectReasonCode::PacketTooLarge, message)));
        }
        if let Err(message) = limits.check_properties(publish.properties.as_deref()) {
            return Err(Ending::Violation(Violation::new(DisconnectReasonCode::QuotaExceeded, message)));
        }
        if publish.qos == QoS::ExactlyOnce {
            self.check_exactly_once(&publish.topic)?;
        }
        if !Arc::ptr_eq(&publish.topic, &self.last_topic)
            && let Err(error) = self.shared.topics.check_topic(&publish.topic)
        {
            let message = format!("a PUBLISH to a topic that cannot be used: {error}");
            return Err(Ending::Violation(Violation::new(DisconnectReasonCode::TopicNameInvalid, message)));
        }
        Ok(())
    }

    /// Where QoS 2 ends the connection. For a request it is no QoS of AWS's in any profile, and would promise what is not
    /// kept: it is served at least once. PUBREC has no reason code for that, so it is DISCONNECT 0x9B, as for all QoS 2 on
    /// AWS (`spec/mqtt-behaviour.md` sections 1 and 8, `spec/fleet-provisioning.md` section 2).
    fn check_exactly_once(&self, topic: &str) -> Result<(), Ending> {
        let message = if self.shared.config.profile == Profile::Aws {
            "a PUBLISH of QoS 2, which profile aws does not support"
        } else if Api::of(topic).is_some() {
            "a request with QoS 2: send it with QoS 0 or 1"
        } else {
            return Ok(());
        };
        Err(Ending::Violation(Violation::new(DisconnectReasonCode::QosNotSupported, message)))
    }

    fn authorize_and_publish(&mut self, publish: Publish) -> Result<(), PublishRefused> {
        if let Some(api) = Api::of(&publish.topic) {
            return self.request(api, publish);
        }
        if let Err(why) = Reservation::of(&publish.topic).check_publish() {
            let message = format!("a PUBLISH to {:?} is refused: {why}", publish.topic);
            self.log_reserved(Event::PublishIn, &publish.topic, why);
            return Err(forbidden(message));
        }
        if !self.enforcement.may_publish(&publish.topic, publish.retain) {
            return Err(forbidden(format!("no policy allows a PUBLISH to {:?}", publish.topic)));
        }
        let mut message = Message::new(Arc::clone(&publish.topic), publish.payload, publish.qos);
        message.retain = publish.retain;
        message.properties = publish.properties;
        if let Some(expiry) = publish.expiry {
            message = message.expiring_after(expiry.min(self.shared.limits.message_expiry));
        }
        let packet_id = (message.qos == QoS::ExactlyOnce).then_some(publish.packet_id);
        let more = self.has_more();
        let result = self.session.publish_unannounced(message, packet_id, more);
        self.last_topic = publish.topic;
        let identity = self.enforcement.identity();
        let details =
            Details { topic: Some(&self.last_topic), retain: Some(publish.retain), ..Details::default() };
        if let Ok(published) = &result {
            self.turn = self.turn.saturating_sub(published.matched);
            identity.succeeded(Event::PublishIn, details);
        }
        let published = result.map_err(|error| {
            identity.failed(Event::PublishIn, Details { details: Some(&error), ..details });
            match error {
                PublishError::RetainedFull { .. } => PublishRefused {
                    code: PubackReasonCode::QuotaExceeded,
                    otherwise: match publish.qos {
                        QoS::AtMostOnce => Otherwise::Drop,
                        _ => Otherwise::End(Ending::Throttled(error.to_string().into())),
                    },
                },
                PublishError::RetainedTooOften => PublishRefused {
                    code: PubackReasonCode::QuotaExceeded,
                    otherwise: match (self.shared.limits.rates.excess, publish.qos) {
                        (Excess::Drop, _) => Otherwise::Silence,
                        (_, QoS::AtMostOnce) => Otherwise::Drop,
                        _ => Otherwise::End(Ending::TooFast(error.to_string().into())),
                    },
                },
                PublishError::RetainedReserved => forbidden(error.to_string()),
                PublishError::NotStored => PublishRefused {
                    code: PubackReasonCode::UnspecifiedError,
                    otherwise: match publish.qos {
                        QoS::AtMostOnce => Otherwise::Drop,
                        _ => Otherwise::End(Ending::Throttled(error.to_string().into())),
                    },
                },
            }
        })?;
        if let Some(lag) = published.lag {
            self.wait_for_receiver(lag);
        }
        Ok(())
    }

    /// A request of fleet provisioning: taken here, and forwarded to nobody.
    fn request(&mut self, api: Api, publish: Publish) -> Result<(), PublishRefused> {
        if publish.retain {
            let why = "a request cannot be retained: send it without RETAIN";
            self.log_reserved(Event::PublishIn, &publish.topic, why);
            return Err(forbidden(format!("a PUBLISH to {:?} is refused: {why}", publish.topic)));
        }
        if !self.enforcement.may_publish(&publish.topic, false) {
            return Err(forbidden(format!("no policy allows a PUBLISH to {:?}", publish.topic)));
        }
        let details = Details { topic: Some(&publish.topic), retain: Some(false), ..Details::default() };
        self.enforcement.identity().succeeded(Event::PublishIn, details);
        self.ask(Request {
            api,
            topic: publish.topic,
            payload: publish.payload,
            correlation: publish.properties.and_then(|properties| properties.correlation_data),
        });
        Ok(())
    }

    pub(super) async fn subscribe(
        &mut self,
        packet_id: u16,
        subscriptions: &[(String, SubscribeOptions)],
    ) -> Result<(), Ending> {
        self.check_answer("a SUBSCRIBE", subscriptions.len())?;
        let mut codes = Vec::with_capacity(subscriptions.len());
        let mut granted = Vec::new();
        let too_many =
            subscriptions.len() > self.shared.limits.filters_per_subscribe || !self.may_subscribe_now();
        for (filter, options) in subscriptions {
            let code = match too_many {
                true => SubackReasonCode::QuotaExceeded,
                false => self.subscribe_one(filter, *options).await?,
            };
            if (code as u8) < 0x80 {
                granted.push(filter.as_str());
            } else {
                self.shared.figures.requests_refused.increment(1);
            }
            codes.push(match self.version {
                ProtocolVersion::V5 => code as u8,
                ProtocolVersion::V311 if (code as u8) < 0x80 => code as u8,
                ProtocolVersion::V311 => SubackReturnCode::Failure as u8,
            });
        }
        self.settle().await?;
        self.out.suback(packet_id, &codes);
        self.log_filters(Event::Subscribe, &granted);
        if !granted.is_empty() {
            self.shared.lifecycle.subscribed(&self.presence, &granted);
        }
        Ok(())
    }

    async fn subscribe_one(
        &mut self,
        text: &str,
        options: SubscribeOptions,
    ) -> Result<SubackReasonCode, Ending> {
        let aws = self.shared.config.profile == Profile::Aws;
        let filter = match Filter::parse(text, self.shared.topics) {
            Ok(filter) => filter,
            Err(error) => {
                self.log_subscribe(text, &error.to_string());
                return Ok(SubackReasonCode::TopicFilterInvalid);
            }
        };
        if aws && options.identifier.is_some() {
            let message = "a Subscription Identifier, which profile aws does not support";
            let code = DisconnectReasonCode::SubscriptionIdentifiersNotSupported;
            return Err(Ending::Violation(Violation::new(code, message)));
        }
        if aws && options.qos == QoS::ExactlyOnce {
            self.log_subscribe(text, "profile aws does not support QoS 2");
            return Ok(SubackReasonCode::UnspecifiedError);
        }
        if let Err(why) = Reservation::of(filter.path()).check_subscribe() {
            self.log_reserved(Event::Subscribe, text, why);
            return Ok(SubackReasonCode::NotAuthorized);
        }
        if !self.enforcement.may_subscribe(text) {
            if aws && self.version == ProtocolVersion::V311 {
                let message = format!("no policy allows a SUBSCRIBE to {text:?}");
                return Err(Ending::Forbidden(Violation::new(DisconnectReasonCode::NotAuthorized, message)));
            }
            return Ok(SubackReasonCode::NotAuthorized);
        }
        match self.session.subscribe(&filter, options).await {
            Ok(subscribed) => Ok(match subscribed.granted {
                QoS::AtMostOnce => SubackReasonCode::GrantedQos0,
                QoS::AtLeastOnce => SubackReasonCode::GrantedQos1,
                QoS::ExactlyOnce => SubackReasonCode::GrantedQos2,
            }),
            Err(error @ SubscribeError::TooMany { .. }) => {
                self.log_subscribe(text, &error.to_string());
                Ok(SubackReasonCode::QuotaExceeded)
            }
            Err(error @ SubscribeError::NoLocalOnShared { .. }) => {
                Err(Ending::Violation(Violation::protocol(error.to_string())))
            }
        }
    }

    pub(super) async fn unsubscribe(&mut self, packet_id: u16, filters: &[String]) -> Result<(), Ending> {
        self.check_answer("an UNSUBSCRIBE", filters.len())?;
        let mut codes = Vec::with_capacity(filters.len());
        for text in filters {
            codes.push(match Filter::parse(text, self.shared.topics) {
                Ok(filter) if self.session.unsubscribe(&filter).await => UnsubackReasonCode::Success,
                Ok(_) => UnsubackReasonCode::NoSubscriptionExisted,
                Err(_) => UnsubackReasonCode::TopicFilterInvalid,
            } as u8);
        }
        self.settle().await?;
        self.out.unsuback(packet_id, &codes);
        let topics: Vec<&str> = filters.iter().map(String::as_str).collect();
        self.log_filters(Event::Unsubscribe, &topics);
        self.shared.lifecycle.unsubscribed(&self.presence, &topics);
        Ok(())
    }

    /// The answer to so many filters must not be larger than the client takes.
    fn check_answer(&self, packet: &str, filters: usize) -> Result<(), Ending> {
        if self.out.fits_codes(filters) {
            return Ok(());
        }
        let message =
            format!("{packet} with {filters} filters: the answer is larger than its Maximum Packet Size");
        Err(Ending::Violation(Violation::new(DisconnectReasonCode::PacketTooLarge, message)))
    }

    /// PUBACK.
    pub(super) fn acknowledged(&mut self, packet_id: u16) -> Result<(), Ending> {
        if self.is_due(packet_id, Awaited::Puback)?.is_some() && !self.answer_acknowledged(packet_id) {
            self.done(packet_id);
        }
        Ok(())
    }

    /// PUBCOMP.
    pub(super) fn completed(&mut self, packet_id: u16) -> Result<(), Ending> {
        if self.is_due(packet_id, Awaited::Pubcomp)?.is_some() {
            self.done(packet_id);
        }
        Ok(())
    }

    /// What the message in flight with this packet id waits for, if there is one: it has to be what came. Nothing need be in
    /// flight: what came may be about what was dropped meanwhile.
    ///
    /// # Errors
    /// It is another packet than the flow of the message's QoS has next (sections 4.3 and 4.13 of MQTT 5, 4.8 of 3.1.1).
    fn is_due(&mut self, packet_id: u16, came: Awaited) -> Result<Option<Awaited>, Ending> {
        let awaited = match self.is_answer_in_flight(packet_id) {
            true => Some(Awaited::Puback),
            false => self.session.awaited(packet_id),
        };
        match awaited {
            Some(awaited) if awaited != came => Err(out_of_order(packet_id, came, awaited)),
            Some(_) if self.is_unsent(packet_id) => Err(too_early(packet_id, came)),
            awaited => Ok(awaited),
        }
    }

    /// A message in flight is done.
    pub(super) fn done(&mut self, packet_id: u16) {
        if self.session.acknowledged(packet_id) {
            self.packet_ids.free(packet_id);
        }
    }

    /// PUBREC. One that accepts may come again until PUBCOMP does: each is answered by PUBREL.
    pub(super) fn received(&mut self, packet_id: u16, refused: bool) -> Result<(), Ending> {
        if !refused && self.session.awaited(packet_id) == Some(Awaited::Pubcomp) {
            self.release_message(packet_id);
            return Ok(());
        }
        match self.is_due(packet_id, Awaited::Pubrec)? {
            Some(_) if refused => self.done(packet_id),
            Some(_) => {
                self.session.received(packet_id);
                self.release_message(packet_id);
            }
            None if refused => {}
            None => self.out.pubrel(packet_id, PubcompReasonCode::PacketIdentifierNotFound as u8),
        }
        Ok(())
    }

    /// PUBREL.
    pub(super) fn released(&mut self, packet_id: u16) {
        let known = self.session.end_exactly_once(packet_id);
        let code =
            if known { PubcompReasonCode::Success } else { PubcompReasonCode::PacketIdentifierNotFound };
        self.complete(packet_id, code as u8);
    }

    /// What was subscribed is durable if the session is.
    async fn settle(&self) -> Result<(), Ending> {
        self.session.settled().await.map_err(|error| Ending::Throttled(error.to_string().into()))
    }

    /// DISCONNECT.
    pub(super) fn goodbye(&self, with_will: bool, session_expiry: Option<u32>) -> Ending {
        match session_expiry {
            Some(seconds) if seconds > 0 && !self.persistent => Ending::Violation(Violation::protocol(
                "a Session Expiry Interval in DISCONNECT after 0 in CONNECT",
            )),
            seconds => Ending::Goodbye {
                with_will,
                session_expiry: seconds.map(|seconds| Duration::from_secs(u64::from(seconds))),
            },
        }
    }

    fn log_filters(&self, event: Event, filters: &[&str]) {
        for filter in filters {
            let details = Details { topic: Some(filter), ..Details::default() };
            self.enforcement.identity().succeeded(event, details);
        }
    }

    fn log_reserved(&self, event: Event, topic: &str, why: &str) {
        self.log_refused(event, topic, "AUTHORIZATION_FAILURE", why);
    }

    fn log_subscribe(&self, filter: &str, why: &str) {
        self.log_refused(Event::Subscribe, filter, "CLIENT_ERROR", why);
    }

    fn log_refused(&self, event: Event, topic: &str, reason: &str, why: &str) {
        let details =
            Details { topic: Some(topic), reason: Some(reason), details: Some(&why), ..Details::default() };
        self.enforcement.identity().failed(event, details);
    }
}

fn out_of_order(packet_id: u16, came: Awaited, awaited: Awaited) -> Ending {
    let message = format!("{came} for the message with packet id {packet_id}, where {awaited} comes next");
    Ending::Violation(Violation::protocol(message))
}

fn too_early(packet_id: u16, came: Awaited) -> Ending {
    let message = format!("{came} with packet id {packet_id} for what was not sent yet");
    Ending::Violation(Violation::protocol(message))
}

fn forbidden(message: String) -> PublishRefused {
    let violation = Violation::new(DisconnectReasonCode::NotAuthorized, message);
    PublishRefused {
        code: PubackReasonCode::NotAuthorized,
        otherwise: Otherwise::End(Ending::Forbidden(violation)),
    }
}
