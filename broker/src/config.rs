//! How the broker behaves. Typed; the cli parses files and flags into this.
use crate::device_http::DeviceHttp;
use crate::listener::Listener;
use crate::message::PublishProperties;
use std::sync::Arc;
use std::time::Duration;

/// What a device meets (`spec/jitp.md` section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// The first connection just works; refusals carry a reason.
    #[default]
    Standard,
    /// Faithful to AWS: the first connection is closed without CONNACK, refusals are silent.
    Aws,
}

/// Bounds of `spec/mqtt-behaviour.md` section 2. Each is enforced and announced where MQTT 5 can.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Concurrent connections; further ones are closed at accept.
    pub connections: usize,
    /// Concurrent TLS handshakes; further ones wait in order.
    pub handshakes: usize,
    /// Clients that wait for their handshake; further ones are closed at accept, as are those that would wait for longer than
    /// the handshake deadline.
    pub waiting_handshakes: usize,
    /// From accept to the end of the handshake.
    pub handshake_deadline: Duration,
    /// From the end of the handshake to CONNECT.
    pub connect_deadline: Duration,
    /// From the first byte of a packet to its last: a client that trickles is not waited for longer.
    pub packet_deadline: Duration,
    /// A client that takes no data for this long while there is some for it is gone.
    pub write_deadline: Duration,
    /// Bytes of one packet.
    pub packet_bytes: u32,
    /// Bytes of one payload.
    pub payload_bytes: u32,
    /// Bytes of a Content Type.
    pub content_type_bytes: usize,
    /// Bytes of Correlation Data, Response Topic and User Properties of one message together.
    pub property_bytes: usize,
    /// Longest Message Expiry Interval; a longer one is cut.
    pub message_expiry: Duration,
    pub topic_bytes: usize,
    pub topic_levels: usize,
    pub filters_per_subscribe: usize,
    pub subscriptions_per_session: usize,
    /// Unacknowledged messages each way: Receive Maximum.
    pub receive_maximum: u16,
    pub topic_aliases: u16,
    /// Messages queued for one session; at the bound new messages are dropped and counted.
    pub queued_messages: usize,
    /// Bytes queued for one session; at most 4 GiB count.
    pub queued_bytes: usize,
    /// At the bounds of a session's queue its oldest messages are dropped, and not the new one.
    pub drop_oldest: bool,
    /// How long those who publish to a client wait for it while its queue is half full; zero: not at all.
    pub publisher_patience: Duration,
    /// Messages stored for all durable sessions together; at the bound new ones are dropped and counted.
    pub stored_messages: u64,
    /// Bytes stored for all durable sessions together.
    pub stored_bytes: u64,
    /// Upper bound of a session expiry, and the expiry of 3.1.1 persistent sessions.
    pub session_expiry: Duration,
    /// Keep alive in seconds: minimum and maximum accepted.
    pub keep_alive: (u16, u16),
    /// Retained messages in all.
    pub retained_messages: usize,
    /// Requests of fleet provisioning that wait on one connection; further ones are rejected with 429.
    pub queued_requests: usize,
    /// How often things may happen.
    pub rates: Rates,
}

/// So much a second, and as much at once after a pause; 0: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// PUBLISH packets of one connection.
    pub publishes: u32,
    /// PUBLISH packets of all connections of one certificate together.
    pub publishes_of_certificate: u32,
    /// What a PUBLISH that comes too fast leads to.
    pub excess: Excess,
    /// PUBLISH packets to one connection: beyond them QoS 0 is dropped, the rest waits in the session's queue.
    pub deliveries: u32,
    /// Bytes of MQTT of one connection, both ways together: beyond them nothing is read or taken out of the queue.
    pub bytes: u32,
    /// The same for all connections of one certificate together.
    pub bytes_of_certificate: u32,
    /// SUBSCRIBE packets of one connection; further ones are answered with 0x97.
    pub subscribes: u32,
    /// CONNECT packets in all; further ones are answered with 0x97.
    pub connects: u32,
    /// Connections that are let in under one client id; further ones are answered with 0x97.
    pub connects_of_client: u32,
    /// Retained messages on one topic; further ones are refused with 0x97.
    pub retained_of_topic: u32,
    /// With profile `aws`: not above AWS's rates. Otherwise of no effect.
    pub as_aws: bool,
}

/// What a PUBLISH that comes too fast leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Excess {
    /// One of QoS 0 is dropped. One that asks for an acknowledgement is published, and then nothing is read until it would
    /// have been in time.
    #[default]
    Delay,
    /// It is dropped without a word, whatever its QoS, as AWS does it.
    Drop,
    /// The connection ends: 0x96.
    Disconnect,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            publishes: 0,
            publishes_of_certificate: 0,
            excess: Excess::default(),
            deliveries: 0,
            bytes: 0,
            bytes_of_certificate: 0,
            subscribes: 0,
            connects: 0,
            connects_of_client: 0,
            retained_of_topic: 0,
            as_aws: true,
        }
    }
}

impl Rates {
    /// These rates, not above AWS's (`spec/mqtt-behaviour.md` section 2), but for connections of one client id: a test that
    /// connects again would have to wait.
    fn within_aws(self) -> Self {
        let lower = |own: u32, of_aws: u32| if own == 0 { of_aws } else { own.min(of_aws) };
        Self {
            publishes: lower(self.publishes, 100),
            deliveries: lower(self.deliveries, 100),
            bytes: lower(self.bytes, 512 * 1024),
            retained_of_topic: lower(self.retained_of_topic, 1),
            excess: Excess::Drop,
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 100_000,
            handshakes: 256,
            waiting_handshakes: 20_000,
            handshake_deadline: Duration::from_secs(10),
            connect_deadline: Duration::from_secs(10),
            packet_deadline: Duration::from_secs(60),
            write_deadline: Duration::from_secs(30),
            packet_bytes: 149_504,
            payload_bytes: 131_072,
            content_type_bytes: 256,
            property_bytes: 8 * 1024,
            message_expiry: Duration::from_secs(604_800),
            topic_bytes: 1024,
            topic_levels: 32,
            filters_per_subscribe: 64,
            subscriptions_per_session: 1000,
            receive_maximum: 100,
            topic_aliases: 16,
            queued_messages: 10_000,
            queued_bytes: 16 * 1024 * 1024,
            drop_oldest: false,
            publisher_patience: Duration::from_secs(1),
            stored_messages: 10_000_000,
            stored_bytes: 10 * 1024 * 1024 * 1024,
            session_expiry: Duration::from_secs(3600),
            keep_alive: (1, 65_535),
            retained_messages: 1_000_000,
            queued_requests: 16,
            rates: Rates::default(),
        }
    }
}

impl Limits {
    /// These limits, not above what AWS allows: profile `aws`.
    #[must_use]
    pub fn within_aws(mut self) -> Self {
        self.content_type_bytes = self.content_type_bytes.min(256);
        self.property_bytes = self.property_bytes.min(8 * 1024);
        self.message_expiry = self.message_expiry.min(Duration::from_secs(604_800));
        self.topic_bytes = self.topic_bytes.min(256);
        self.topic_levels = self.topic_levels.min(8);
        self.filters_per_subscribe = self.filters_per_subscribe.min(8);
        self.subscriptions_per_session = self.subscriptions_per_session.min(50);
        self.receive_maximum = self.receive_maximum.min(100);
        self.topic_aliases = self.topic_aliases.min(8);
        self.keep_alive = (self.keep_alive.0.clamp(30, 1200), self.keep_alive.1.clamp(30, 1200));
        if self.rates.as_aws {
            self.rates = self.rates.within_aws();
        }
        self
    }

    /// Refuses properties that are larger than allowed, and says which.
    pub(crate) fn check_properties(&self, properties: Option<&PublishProperties>) -> Result<(), String> {
        let Some(properties) = properties else { return Ok(()) };
        if properties.content_type.as_ref().is_some_and(|text| text.len() > self.content_type_bytes) {
            return Err(format!("a Content Type of more than {} bytes", self.content_type_bytes));
        }
        if properties.passed_through_bytes() > self.property_bytes {
            return Err(format!(
                "Correlation Data, Response Topic and User Properties of more than {} bytes together",
                self.property_bytes
            ));
        }
        Ok(())
    }
}

/// Everything the broker needs to know beyond its registry.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where devices connect; at least one speaks [`crate::Protocol::Mqtts`].
    pub listeners: Vec<Listener>,
    pub profile: Profile,
    pub limits: Limits,
    /// Cut sessions when their certificate expires (default false).
    pub disconnect_at_expiry: bool,
    /// Drop live sessions whose `iot:Connect` would now be refused (default false).
    pub recheck_connect: bool,
    /// Who speaks HTTP with devices: on listeners of [`crate::Protocol::Https`], and on the others with those who name
    /// `x-amzn-http-ca` (ALPN). `None`: nobody.
    pub http: Option<Arc<dyn DeviceHttp>>,
}

impl Config {
    /// The limits in force: those of the profile where it is stricter.
    pub fn limits_in_force(&self) -> Limits {
        match self.profile {
            Profile::Standard => self.limits.clone(),
            Profile::Aws => self.limits.clone().within_aws(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_aws_profile_tightens_limits_and_never_loosens_them() {
        let limits = Limits { topic_levels: 4, ..Limits::default() }.within_aws();
        assert_eq!((limits.topic_bytes, limits.topic_levels), (256, 4));
        assert_eq!(limits.keep_alive, (30, 1200));
        let rates = Rates { publishes: 20, bytes: u32::MAX, ..Rates::default() };
        let rates = Limits { rates, ..Limits::default() }.within_aws().rates;
        assert_eq!((rates.publishes, rates.deliveries, rates.bytes, rates.connects), (20, 100, 524_288, 0));
    }

    #[test]
    fn the_rates_of_aws_can_be_left_out_of_its_profile() {
        let rates = Rates { as_aws: false, ..Rates::default() };
        assert_eq!(Limits { rates, ..Limits::default() }.within_aws().rates, rates);
    }

    #[test]
    fn properties_count_by_their_texts() {
        let limits = Limits { content_type_bytes: 2, property_bytes: 6, ..Limits::default() };
        let check = |properties| limits.check_properties(Some(&properties)).is_ok();
        let with = |content_type: &str, name: &str| PublishProperties {
            content_type: Some(content_type.into()),
            correlation_data: Some("c".into()),
            response_topic: Some("r".into()),
            user_properties: vec![(name.into(), "v".into())],
            ..PublishProperties::default()
        };
        assert!(check(with("ab", "abc")));
        assert!(!check(with("abc", "")));
        assert!(!check(with("ab", "abcd")));
        assert!(limits.check_properties(None).is_ok());
    }
}
