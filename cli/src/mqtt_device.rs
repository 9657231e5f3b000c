//! A device: an MQTT 5 client with a certificate, as `jitp device connect` and `jitp demo` use it.
use crate::exit::InvalidInput;
use anyhow::{Context, bail};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, DisconnectReasonCode, Packet, PubAckReason, Publish, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use rumqttc::{TlsConfiguration, Transport};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use std::time::Duration;

/// Who connects, and where.
pub struct Identity<'a> {
    pub host: &'a str,
    pub port: u16,
    pub client_id: &'a str,
    /// PEM: whom the device trusts.
    pub server_ca: &'a str,
    /// PEM: the leaf, optionally followed by its CA.
    pub certificate: &'a str,
    /// PEM.
    pub private_key: &'a str,
}

/// A connected device.
pub struct Device {
    client: AsyncClient,
    events: EventLoop,
}

/// How the first contact ended, when it was not an error of the network.
pub enum Contact {
    Accepted(Box<Device>),
    /// The broker answered CONNECT with this.
    Refused(ConnectReturnCode),
    /// The broker closed without an answer.
    Closed(String),
}

/// What a connected device hears.
pub enum Heard {
    Message(Publish),
    Published(PubAckReason),
    Subscribed(Vec<SubscribeReasonCode>),
    Disconnected(DisconnectReasonCode, Option<String>),
    Lost(String),
}

impl Device {
    /// Connects and waits for the broker's answer, one try only.
    pub async fn connect(identity: &Identity<'_>, patience: Duration) -> anyhow::Result<Contact> {
        let mut options = MqttOptions::new(identity.client_id, identity.host, identity.port);
        options.set_keep_alive(Duration::from_secs(30)).set_clean_start(true);
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(Arc::new(tls(identity)?))));
        // How long is decided below; rumqttc itself would give up after 5 seconds.
        options.set_connection_timeout(patience.as_secs().saturating_add(1));
        let (client, mut events) = AsyncClient::new(options, 64);
        let answer = async {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => return Ok(None),
                    Ok(_) => {}
                    Err(ConnectionError::ConnectionRefused(code)) => return Ok(Some(Contact::Refused(code))),
                    Err(ConnectionError::Io(error))
                        if error.kind() == std::io::ErrorKind::ConnectionRefused =>
                    {
                        bail!("nothing listens on {}:{}", identity.host, identity.port)
                    }
                    Err(error) => return Ok(Some(Contact::Closed(in_words(&error)))),
                }
            }
        };
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(None)) => Ok(Contact::Accepted(Box::new(Self { client, events }))),
            Ok(Ok(Some(contact))) => Ok(contact),
            Ok(Err(error)) => Err(error),
            Err(_) => bail!("the broker did not answer CONNECT within {patience:?}"),
        }
    }

    /// The next thing that happens on this connection.
    pub async fn hear(&mut self) -> Heard {
        loop {
            match self.events.poll().await {
                Ok(Event::Incoming(Packet::Publish(publish))) => return Heard::Message(publish),
                Ok(Event::Incoming(Packet::PubAck(ack))) => return Heard::Published(ack.reason),
                Ok(Event::Incoming(Packet::SubAck(ack))) => return Heard::Subscribed(ack.return_codes),
                Ok(_) => {}
                Err(ConnectionError::MqttState(StateError::ServerDisconnect {
                    reason_code,
                    reason_string,
                })) => {
                    return Heard::Disconnected(reason_code, reason_string);
                }
                Err(error) => return Heard::Lost(in_words(&error)),
            }
        }
    }

    /// Asks for messages; the answer is heard as [`Heard::Subscribed`].
    pub async fn subscribe(&self, filter: &str) -> anyhow::Result<()> {
        Ok(self.client.subscribe(filter, QoS::AtLeastOnce).await?)
    }

    /// Publishes with QoS 1; the answer is heard as [`Heard::Published`].
    pub async fn publish(&self, topic: &str, payload: &str) -> anyhow::Result<()> {
        Ok(self.client.publish(topic, QoS::AtLeastOnce, false, payload.to_owned()).await?)
    }

    /// Says goodbye and waits until it is on its way.
    pub async fn disconnect(mut self: Box<Self>) -> anyhow::Result<()> {
        self.client.disconnect().await?;
        let flush = async { while self.events.poll().await.is_ok() {} };
        let _ = tokio::time::timeout(Duration::from_secs(2), flush).await;
        Ok(())
    }
}

fn tls(identity: &Identity<'_>) -> anyhow::Result<rustls::ClientConfig> {
    let invalid = |what: &str| InvalidInput(format!("{what} is not PEM, or holds something else"));
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(identity.server_ca.as_bytes()) {
        roots
            .add(certificate.map_err(|_| invalid("the server CA"))?)
            .map_err(|_| invalid("the server CA"))?;
    }
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(identity.certificate.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| invalid("the device's certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(identity.private_key.as_bytes())
        .map_err(|_| invalid("the device's private key"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .context("the device's certificate and key do not fit together")
}

fn in_words(error: &ConnectionError) -> String {
    match error {
        ConnectionError::Io(error) => error.to_string(),
        ConnectionError::Tls(error) => format!("TLS: {error}"),
        ConnectionError::MqttState(StateError::ConnectionAborted) => "the connection was closed".into(),
        other => other.to_string(),
    }
}
