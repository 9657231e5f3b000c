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
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 100_000,
            handshakes: 256,
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
            stored_messages: 10_000_000,
            stored_bytes: 10 * 1024 * 1024 * 1024,
            session_expiry: Duration::from_secs(3600),
            keep_alive: (1, 65_535),
            retained_messages: 1_000_000,
            queued_requests: 16,
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
