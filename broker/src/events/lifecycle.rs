//! Lifecycle events: presence and subscriptions (`spec/events.md` section 4).
use super::version_numbers::VersionNumbers;
use crate::backend::Backend;
use crate::enforcement::Identity;
use crate::message::{Message, QoS};
use jitp_provisioner::names::{CertificateId, ThingName};
use jitp_provisioner::{Clock, Connectivity};
use parking_lot::Mutex;
use serde::Serialize;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::time::Instant;

/// Publishes lifecycle events. One for the broker.
pub(crate) struct Lifecycle {
    backend: Backend,
    clock: Arc<dyn Clock>,
    connectivity: Connectivity,
    numbers: Mutex<VersionNumbers>,
}

/// What all events of one connection say.
#[derive(Debug)]
pub(crate) struct Presence {
    client_id: Arc<str>,
    /// Constant over the life of one connection.
    session: Arc<str>,
    principal: CertificateId,
    thing: Option<ThingName>,
    ip_address: IpAddr,
    number: Option<u64>,
}

/// `disconnectReason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum DisconnectReason {
    ClientInitiatedDisconnect,
    ClientError,
    ConnectionLost,
    DuplicateClientid,
    MqttKeepAliveTimeout,
    AuthError,
    ForbiddenAccess,
    ServerInitiatedDisconnect,
    ApiInitiatedDisconnect,
    Throttled,
}

impl DisconnectReason {
    /// As in events and logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::ClientInitiatedDisconnect => "CLIENT_INITIATED_DISCONNECT",
            Self::ClientError => "CLIENT_ERROR",
            Self::ConnectionLost => "CONNECTION_LOST",
            Self::DuplicateClientid => "DUPLICATE_CLIENTID",
            Self::MqttKeepAliveTimeout => "MQTT_KEEP_ALIVE_TIMEOUT",
            Self::AuthError => "AUTH_ERROR",
            Self::ForbiddenAccess => "FORBIDDEN_ACCESS",
            Self::ServerInitiatedDisconnect => "SERVER_INITIATED_DISCONNECT",
            Self::ApiInitiatedDisconnect => "API_INITIATED_DISCONNECT",
            Self::Throttled => "THROTTLED",
        }
    }
}

/// The JSON of a lifecycle event.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    client_id: &'a str,
    timestamp: u64,
    event_type: &'static str,
    session_identifier: &'a str,
    principal_identifier: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    thing_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_number: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_initiated_disconnect: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnect_reason: Option<DisconnectReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect_failure_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topics: Option<&'a [&'a str]>,
}

impl Lifecycle {
    pub(crate) fn new(backend: Backend, clock: Arc<dyn Clock>, connectivity: Connectivity) -> Self {
        let numbers = VersionNumbers::starting_at(clock.now().millis(), Instant::now());
        Self { backend, clock, connectivity, numbers: Mutex::new(numbers) }
    }

    /// CONNACK 0 was sent.
    pub(crate) fn connected(&self, presence: &mut Presence) {
        presence.number = Some(self.numbers.lock().connect(&presence.client_id, Instant::now()));
        if let Some(thing) = presence.known_as() {
            self.connectivity.connected(&thing, &presence.session, self.clock.now());
        }
        self.publish("presence/connected", presence, |presence, event| Event {
            event_type: "connected",
            ip_address: Some(presence.ip_address),
            version_number: presence.number,
            ..event
        });
    }

    /// That connection ended. Not for one that never was [`Lifecycle::connected`].
    pub(crate) fn disconnected(&self, presence: &Presence, reason: DisconnectReason) {
        if presence.number.is_none() {
            return;
        }
        self.numbers.lock().disconnect(&presence.client_id, Instant::now());
        if let Some(thing) = presence.known_as() {
            self.connectivity.disconnected(&thing, &presence.session, reason.as_str(), self.clock.now());
        }
        self.publish("presence/disconnected", presence, |presence, event| Event {
            event_type: "disconnected",
            client_initiated_disconnect: Some(reason == DisconnectReason::ClientInitiatedDisconnect),
            disconnect_reason: Some(reason),
            version_number: presence.number,
            ..event
        });
    }

    /// Authenticated, but not authorised to connect, or not for its will.
    pub(crate) fn connect_failed(&self, presence: &Presence) {
        self.publish("presence/connect_failed", presence, |presence, event| Event {
            event_type: "connect_failed",
            ip_address: Some(presence.ip_address),
            connect_failure_reason: Some("AUTHORIZATION_FAILED"),
            ..event
        });
    }

    /// SUBACK granted these filters.
    pub(crate) fn subscribed(&self, presence: &Presence, topics: &[&str]) {
        self.publish("subscriptions/subscribed", presence, |_, event| Event {
            event_type: "subscribed",
            topics: Some(topics),
            ..event
        });
    }

    /// UNSUBACK was sent for these filters.
    pub(crate) fn unsubscribed(&self, presence: &Presence, topics: &[&str]) {
        self.publish("subscriptions/unsubscribed", presence, |_, event| Event {
            event_type: "unsubscribed",
            topics: Some(topics),
            ..event
        });
    }

    fn publish<'a>(
        &self,
        kind: &str,
        presence: &'a Presence,
        complete: impl FnOnce(&'a Presence, Event<'a>) -> Event<'a>,
    ) {
        if presence.client_id.contains(['#', '+']) {
            return;
        }
        let topic = format!("$aws/events/{kind}/{}", presence.client_id);
        if !self.backend.has_subscriber(&topic) {
            return;
        }
        let event = complete(presence, presence.event(self.clock.now().millis()));
        match serde_json::to_vec(&event) {
            Ok(json) => {
                // Nothing is retained here, so it cannot be refused.
                let _ = self.backend.publish(Message::new(topic, json, QoS::AtLeastOnce));
            }
            Err(error) => tracing::error!(%error, topic, "a lifecycle event could not be written as JSON"),
        }
    }
}

impl Presence {
    /// The thing that is connected: the connection's, else the one that is named like the client id.
    fn known_as(&self) -> Option<ThingName> {
        self.thing.clone().or_else(|| ThingName::new(&self.client_id).ok())
    }
    pub(crate) fn new(identity: &Identity, thing: Option<ThingName>) -> Self {
        Self {
            client_id: Arc::clone(&identity.client_id),
            session: Arc::clone(&identity.trace),
            principal: identity.certificate,
            thing,
            ip_address: identity.source.ip(),
            number: None,
        }
    }

    fn event(&self, timestamp: u64) -> Event<'_> {
        Event {
            client_id: &self.client_id,
            timestamp,
            session_identifier: &self.session,
            principal_identifier: self.principal.to_string(),
            thing_name: self.thing.as_ref().map(ThingName::as_str),
            ..Event::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disconnected_event_has_the_members_of_the_specification() {
        let id = CertificateId::from_bytes([0xab; 32]);
        let identity = Identity {
            client_id: "pump".into(),
            certificate: id,
            source: ([127, 0, 0, 1], 4711).into(),
            trace: "s".into(),
        };
        let presence = Presence::new(&identity, None);
        let event = Event {
            event_type: "disconnected",
            client_initiated_disconnect: Some(false),
            disconnect_reason: Some(DisconnectReason::MqttKeepAliveTimeout),
            version_number: Some(3),
            ..presence.event(5)
        };
        let expected = serde_json::json!({
            "clientId": "pump", "timestamp": 5, "eventType": "disconnected", "sessionIdentifier": "s",
            "principalIdentifier": "ab".repeat(32), "clientInitiatedDisconnect": false,
            "disconnectReason": "MQTT_KEEP_ALIVE_TIMEOUT", "versionNumber": 3
        });
        assert_eq!(serde_json::to_value(&event).unwrap(), expected);
    }

    #[test]
    fn reasons_read_the_same_in_events_and_logs() {
        for reason in [
            DisconnectReason::DuplicateClientid,
            DisconnectReason::ApiInitiatedDisconnect,
            DisconnectReason::ClientInitiatedDisconnect,
        ] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
