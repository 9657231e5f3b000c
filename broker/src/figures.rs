//! Counters and gauges of the broker, looked up once: a counter on the way of a message must cost an addition
//! only.
use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

/// All figures of connections. Names start with `jitp_broker_`.
pub(crate) struct Figures {
    /// Connections that are past CONNACK.
    pub connected: Gauge,
    pub accepted: Counter,
    pub handshakes_failed: Counter,
    pub connects_accepted: Counter,
    pub connects_refused: Counter,
    pub messages_received: Counter,
    pub messages_sent: Counter,
    pub bytes_received: Counter,
    pub bytes_sent: Counter,
    /// A policy refused Publish, Subscribe or a reserved topic.
    pub requests_refused: Counter,
    /// Deliveries skipped by iot:Receive.
    pub deliveries_refused: Counter,
    /// Deliveries larger than the client takes.
    pub deliveries_too_large: Counter,
    pub protocol_violations: Counter,
    /// A publisher waited for a client that lags behind.
    pub publisher_waits: Counter,
    /// Answers of services that nobody got.
    pub replies_dropped: Counter,
}

impl Figures {
    /// Call after the recorder is installed.
    pub(crate) fn register() -> Self {
        let count = |name: &'static str, what: &'static str| {
            describe_counter!(name, what);
            counter!(name)
        };
        describe_gauge!("jitp_broker_connections", "Connections past CONNACK.");
        Self {
            connected: gauge!("jitp_broker_connections"),
            accepted: count("jitp_broker_accepted_total", "TCP connections accepted."),
            handshakes_failed: count("jitp_broker_handshakes_failed_total", "TLS handshakes that failed."),
            connects_accepted: count("jitp_broker_connects_accepted_total", "CONNECT packets accepted."),
            connects_refused: count("jitp_broker_connects_refused_total", "CONNECT packets refused."),
            messages_received: count("jitp_broker_messages_received_total", "PUBLISH packets from clients."),
            messages_sent: count("jitp_broker_messages_sent_total", "PUBLISH packets to clients."),
            bytes_received: count("jitp_broker_bytes_received_total", "Bytes of MQTT from clients."),
            bytes_sent: count("jitp_broker_bytes_sent_total", "Bytes of MQTT to clients."),
            requests_refused: count(
                "jitp_broker_requests_refused_total",
                "PUBLISH and filters that policies refused.",
            ),
            deliveries_refused: count(
                "jitp_broker_deliveries_refused_total",
                "Deliveries skipped by iot:Receive.",
            ),
            deliveries_too_large: count(
                "jitp_broker_deliveries_too_large_total",
                "Deliveries skipped because the client takes only smaller packets.",
            ),
            publisher_waits: count(
                "jitp_broker_publisher_waits_total",
                "Times that a publisher waited for a client that lags behind.",
            ),
            replies_dropped: count(
                "jitp_broker_replies_dropped_total",
                "Answers to requests of fleet provisioning that the client had not subscribed to or may not receive.",
            ),
            protocol_violations: count(
                "jitp_broker_protocol_violations_total",
                "Connections closed because the client broke the protocol or a limit.",
            ),
        }
    }
}
