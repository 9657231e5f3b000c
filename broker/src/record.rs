//! Log records of connections, in one shape (`spec/events.md` section 6): who it is about, what happened, whether it
//! went well. The level follows from the last two.
use crate::enforcement::Identity;
use crate::events::DisconnectReason;
use jitp_provisioner::names::CertificateId;
use std::fmt::Display;
use std::net::SocketAddr;

/// Who a record is about, as far as that is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub trace: Option<&'a str>,
    pub client_id: Option<&'a str>,
    pub over_http: bool,
    pub principal: Option<CertificateId>,
    pub source: SocketAddr,
}

/// `eventType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Connect,
    Disconnect,
    PublishIn,
    PublishOut,
    Subscribe,
    Unsubscribe,
    AuthenticationError,
    GetDeviceCredentials,
    RenewCertificate,
}

/// What a record says beyond its subject; what is `None` is left out.
#[derive(Default, Clone, Copy)]
pub(crate) struct Details<'a> {
    pub topic: Option<&'a str>,
    pub retain: Option<bool>,
    /// The action that the policies refused, and on what.
    pub action: Option<&'a str>,
    pub resource: Option<&'a dyn Display>,
    pub reason: Option<&'a str>,
    pub disconnect_reason: Option<&'a str>,
    pub device_certificate: Option<CertificateId>,
    pub server_name: Option<&'a str>,
    pub target_port: Option<u16>,
    /// For a person: what happened, and what to do about it.
    pub details: Option<&'a dyn Display>,
}

impl<'a> Details<'a> {
    /// Of a connection that has ended.
    pub(crate) fn of_end(reason: DisconnectReason, details: &'a dyn Display) -> Self {
        let reason = Some(reason.as_str());
        Self { reason, disconnect_reason: reason, details: Some(details), ..Self::default() }
    }
}

impl Identity {
    /// It went well. Costs next to nothing while its level is switched off.
    #[inline]
    pub(crate) fn succeeded(&self, event: Event, details: Details<'_>) {
        Subject::from(self).succeeded(event, details);
    }

    /// It did not: always `ERROR`.
    pub(crate) fn failed(&self, event: Event, details: Details<'_>) {
        Subject::from(self).failed(event, details);
    }
}

/// The one place that names the members.
macro_rules! write_record {
    ($level:ident, $status:literal, $subject:ident, $event:ident, $details:ident) => {
        tracing::$level!(
            eventType = $event.as_str(),
            status = $status,
            protocol = $subject.protocol($event),
            authenticationType = ($event == Event::AuthenticationError).then_some("AWS_X509"),
            traceId = $subject.trace,
            clientId = $subject.client_id,
            principalId = $subject.principal.map(tracing::field::display),
            deviceCertificateId = $details.device_certificate.map(tracing::field::display),
            sourceIp = %$subject.source.ip(),
            sourcePort = $subject.source.port(),
            targetPort = $details.target_port,
            serverNameIndication = $details.server_name,
            topicName = $details.topic,
            retain = $details.retain,
            action = $details.action,
            resource = $details.resource.map(tracing::field::display),
            reason = $details.reason,
            disconnectReason = $details.disconnect_reason,
            details = $details.details.map(tracing::field::display),
        )
    };
}

impl Subject<'_> {
    const fn protocol(self, event: Event) -> Option<&'static str> {
        match event {
            Event::GetDeviceCredentials => None,
            // Before its first packet nobody knows what a client speaks.
            Event::AuthenticationError if self.trace.is_none() => None,
            _ if self.over_http => Some("HTTP"),
            _ => Some("MQTT"),
        }
    }

    #[inline]
    pub(crate) fn succeeded(self, event: Event, details: Details<'_>) {
        match event.is_frequent() {
            true => write_record!(debug, "Success", self, event, details),
            false => write_record!(info, "Success", self, event, details),
        }
    }

    pub(crate) fn failed(self, event: Event, details: Details<'_>) {
        write_record!(error, "Failure", self, event, details);
    }
}

impl<'a> From<&'a Identity> for Subject<'a> {
    #[inline]
    fn from(identity: &'a Identity) -> Self {
        Self {
            trace: Some(&identity.trace),
            client_id: Some(&identity.client_id).filter(|id| !id.is_empty()).map(|id| &**id),
            over_http: identity.client_id.is_empty(),
            principal: Some(identity.certificate),
            source: identity.source,
        }
    }
}

impl From<SocketAddr> for Subject<'_> {
    fn from(source: SocketAddr) -> Self {
        Self { trace: None, client_id: None, over_http: false, principal: None, source }
    }
}

impl Event {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "Connect",
            Self::Disconnect => "Disconnect",
            Self::PublishIn => "Publish-In",
            Self::PublishOut => "Publish-Out",
            Self::Subscribe => "Subscribe",
            Self::Unsubscribe => "Unsubscribe",
            Self::AuthenticationError => "Connection.AuthNError",
            Self::GetDeviceCredentials => "GetDeviceCredentials",
            Self::RenewCertificate => "RenewCertificate",
        }
    }

    /// Success is `DEBUG`, otherwise `INFO`.
    const fn is_frequent(self) -> bool {
        matches!(self, Self::PublishIn | Self::PublishOut | Self::Subscribe | Self::Unsubscribe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The only record that `log` writes, without its time.
    fn record(log: impl FnOnce(&Identity)) -> Value {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_target(false)
            .with_max_level(tracing::Level::DEBUG)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        let identity = Identity {
            client_id: "pump".into(),
            certificate: CertificateId::from_bytes([0xab; 32]),
            source: ([192, 0, 2, 7], 4711).into(),
            trace: "trace".into(),
        };
        tracing::subscriber::with_default(subscriber, || log(&identity));
        serde_json::from_slice(&written.0.lock().unwrap()).unwrap()
    }

    #[test]
    fn every_record_of_a_connection_says_whose_it_is() {
        for (event, name, level) in [
            (Event::Connect, "Connect", "INFO"),
            (Event::Disconnect, "Disconnect", "INFO"),
            (Event::PublishIn, "Publish-In", "DEBUG"),
            (Event::PublishOut, "Publish-Out", "DEBUG"),
            (Event::Subscribe, "Subscribe", "DEBUG"),
            (Event::Unsubscribe, "Unsubscribe", "DEBUG"),
        ] {
            let mut expected = json!({
                "eventType": name, "level": level, "status": "Success", "protocol": "MQTT", "traceId": "trace",
                "clientId": "pump", "principalId": "ab".repeat(32), "sourceIp": "192.0.2.7", "sourcePort": 4711
            });
            assert_eq!(record(|identity| identity.succeeded(event, Details::default())), expected);
            expected["level"] = "ERROR".into();
            expected["status"] = "Failure".into();
            assert_eq!(record(|identity| identity.failed(event, Details::default())), expected);
        }
    }

    #[test]
    fn a_refusal_says_what_was_refused_and_why() {
        let written = record(|identity| {
            let details = Details {
                topic: Some("t"),
                action: Some("iot:Publish"),
                resource: Some(&"arn"),
                reason: Some("AUTHORIZATION_FAILURE"),
                details: Some(&"no policy allows it"),
                ..Details::default()
            };
            identity.failed(Event::PublishIn, details);
        });
        for (member, value) in [
            ("topicName", "t"),
            ("action", "iot:Publish"),
            ("resource", "arn"),
            ("reason", "AUTHORIZATION_FAILURE"),
            ("details", "no policy allows it"),
        ] {
            assert_eq!(written[member], value);
        }
    }

    #[test]
    fn before_mqtt_only_the_address_is_known() {
        let written = record(|identity| {
            let details =
                Details { target_port: Some(8883), server_name: Some("host"), ..Details::default() };
            Subject::from(identity.source).failed(Event::AuthenticationError, details);
        });
        let expected = json!({
            "eventType": "Connection.AuthNError", "level": "ERROR", "status": "Failure",
            "authenticationType": "AWS_X509", "sourceIp": "192.0.2.7", "sourcePort": 4711,
            "targetPort": 8883, "serverNameIndication": "host"
        });
        assert_eq!(written, expected);
    }
}
