//! Devices that publish over HTTPS with their certificate (`spec/mqtt-behaviour.md` section 7), ask for their next one (EST),
//! or open a WebSocket. The broker opens the TLS stream, knows the certificate and decides; HTTP itself is spoken by someone
//! else.
use crate::connection::Shared;
use crate::enforcement::{Identity, log_refusal};
use crate::message::QoS;
use crate::publication;
use crate::rates::{Action as Excess, ConnectionRates, Verdict};
use crate::record::{Details, Event};
use crate::tls::{Peer, TlsStream};
use bytes::Bytes;
use jitp_provisioner::certs::Certificate;
use jitp_provisioner::names::CertificateId;
use jitp_provisioner::policies::{Action, Permissions};
use jitp_provisioner::{
    Admission, Answer, ConnectContext, EnrollmentError, Presentation, Publication, PublicationError, Renewal,
};
use parking_lot::Mutex;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// Who may publish here may renew its certificate over EST. Nothing is ever published there.
pub const EST_TOPIC: &str = "$jitp/certificates/renew/est";

/// Speaks HTTP with devices.
pub trait DeviceHttp: Send + Sync {
    /// Serves the requests of one stream until it ends, or, when `stopping` becomes true, the one that is under way. Gives the
    /// stream back if the device opened a WebSocket for MQTT on it and has been told 101.
    fn serve(
        &self,
        stream: DeviceStream,
        device: Arc<Device>,
        stopping: watch::Receiver<bool>,
    ) -> Answer<'static, Option<Upgraded>>;
}

impl fmt::Debug for dyn DeviceHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceHttp")
    }
}

/// What a device says after the TLS handshake, decrypted.
pub type DeviceStream = TlsStream;

/// A stream on which WebSocket frames follow.
pub struct Upgraded {
    /// The rest of it.
    pub stream: DeviceStream,
    /// What was read of it already.
    pub received: Bytes,
}

/// The other side of a TLS stream. It has proved that it holds the key of its certificate, and no more.
pub struct Device {
    pub(crate) shared: Arc<Shared>,
    pub(crate) peer: Peer,
    pub(crate) source: SocketAddr,
    /// How fast it may publish, if that is limited.
    rates: Option<Mutex<Box<ConnectionRates>>>,
}

impl Device {
    pub(crate) fn new(shared: Arc<Shared>, peer: Peer, source: SocketAddr) -> Self {
        let rates = shared.rates.of_connection(peer.leaf.id()).map(Mutex::new);
        Self { shared, peer, source, rates }
    }

    /// Publishes as this device: its certificate must be known and may connect now, and its policies allow the message.
    /// Answers when the message has been taken: for QoS 1 as PUBACK would. `trace` finds the call in the log.
    pub async fn publish(&self, publication: Publication, trace: &str) -> Result<(), PublicationError> {
        let message = publication::message(&self.shared, publication).inspect_err(|error| {
            let details = Details { details: Some(error), ..Details::default() };
            self.identity(self.certificate(), trace).failed(Event::PublishIn, details);
        })?;
        let (permissions, identity) = self.authenticate(trace).await?;
        self.is_in_time(message.payload.len()).inspect_err(|error| {
            identity.failed(Event::PublishIn, Details { details: Some(error), ..Details::default() });
        })?;
        let retain = message.retain.then_some(Action::RetainPublish);
        for action in [Some(Action::Publish), retain].into_iter().flatten() {
            if !permissions.decide(action, &message.topic).is_allowed() {
                log_refusal(&identity, &permissions, action, &message.topic);
                self.shared.figures.requests_refused.increment(1);
                let message = format!("no policy allows {} on {:?}", action.name(), message.topic);
                return Err(PublicationError::Forbidden(message));
            }
        }
        let (topic, retain) = (Arc::clone(&message.topic), Some(message.retain));
        let published = publication::publish(&self.shared, message).await;
        let details = Details { topic: Some(&topic), retain, ..Details::default() };
        match &published {
            Ok(()) => identity.succeeded(Event::PublishIn, details),
            Err(error) => identity.failed(Event::PublishIn, Details { details: Some(error), ..details }),
        }
        published
    }

    /// Renews the certificate of this device for the key of a certificate signing request (PEM), if its policies allow
    /// `iot:Publish` on the topic [`EST_TOPIC`].
    pub async fn enroll(
        &self,
        csr: String,
        same_subject: bool,
        trace: &str,
    ) -> Result<Certificate, EnrollmentError> {
        let (permissions, identity) = self.authenticate(trace).await.map_err(|error| match error {
            PublicationError::Forbidden(why) => EnrollmentError::Forbidden(why),
            error => EnrollmentError::Unavailable(error.to_string()),
        })?;
        if !permissions.decide(Action::Publish, EST_TOPIC).is_allowed() {
            log_refusal(&identity, &permissions, Action::Publish, EST_TOPIC);
            self.shared.figures.requests_refused.increment(1);
            return Err(EnrollmentError::Forbidden(format!("no policy allows iot:Publish on {EST_TOPIC:?}")));
        }
        let renewal = Renewal {
            certificate_id: identity.certificate,
            csr,
            same_subject,
            client_id: String::new(),
            source_ip: self.source.ip().to_string(),
            trace: trace.to_owned(),
        };
        let renewed = self.shared.provisioner.renew(&renewal).await;
        let renewed = renewed.map_err(EnrollmentError::from).and_then(|renewed| {
            Certificate::from_der(&renewed.certificate.der)
                .map_err(|error| EnrollmentError::Unavailable(error.to_string()))
        });
        match &renewed {
            Ok(_) => identity.succeeded(Event::RenewCertificate, Details::default()),
            Err(error) => {
                let details = Details { details: Some(error), ..Details::default() };
                identity.failed(Event::RenewCertificate, details);
            }
        }
        renewed
    }

    /// The CA that certificates are issued under.
    pub fn ca_certificates(&self) -> Vec<Certificate> {
        vec![self.shared.provisioner.issuing_ca().clone()]
    }

    /// Asked for each request: a certificate that is revoked meanwhile publishes no more.
    async fn authenticate(&self, trace: &str) -> Result<(Permissions, Identity), PublicationError> {
        let chain: Vec<&[u8]> = self.peer.chain.iter().map(|certificate| &**certificate).collect();
        let presentation = Presentation {
            chain: &chain,
            leaf: Some(&self.peer.leaf),
            client_id: "",
            source: self.source,
            server_name: self.peer.server_name.as_deref(),
            trace,
        };
        let principal = match self.shared.provisioner.authenticate(&presentation).await {
            Admission::Admitted(principal) => principal,
            Admission::Refused(refusal) => {
                let details = Details {
                    reason: Some(refusal.reason.as_str()),
                    server_name: self.peer.server_name.as_deref(),
                    details: Some(&refusal.message),
                    ..Details::default()
                };
                self.identity(self.certificate(), trace).failed(Event::AuthenticationError, details);
                return Err(match refusal.retry {
                    true => PublicationError::Unavailable(refusal.message),
                    false => PublicationError::Forbidden(refusal.message),
                });
            }
        };
        let context = ConnectContext {
            client_id: "".into(),
            source_ip: self.source.ip(),
            server_name: self.peer.server_name.clone(),
            persistent: false,
            will_topic: None,
        };
        match self.shared.provisioner.permissions(&principal, &context).await {
            Ok(granted) => Ok((granted.permissions, self.identity(principal.id(), trace))),
            Err(error) => {
                let message = format!("the policies could not be read: {error}");
                let details = Details { details: Some(&message), ..Details::default() };
                self.identity(principal.id(), trace).failed(Event::PublishIn, details);
                Err(PublicationError::Unavailable(message))
            }
        }
    }

    /// Over HTTP nothing is dropped or delayed: what comes too fast is refused.
    fn is_in_time(&self, bytes: usize) -> Result<(), PublicationError> {
        let Some(rates) = &self.rates else { return Ok(()) };
        let (mut rates, now) = (rates.lock(), self.shared.rates.now());
        let verdict = match rates.reading_pause(now) {
            Some((_, limit)) => Verdict::Drop(limit),
            None => rates.publish(QoS::AtMostOnce, now),
        };
        let limit = match verdict {
            Verdict::Publish => {
                rates.moved(bytes, now);
                return Ok(());
            }
            Verdict::Drop(limit) | Verdict::End(limit) => limit,
        };
        limit.count(Excess::Refused, 1);
        let message = format!("messages come faster than {} allows; try again later", limit.key());
        Err(PublicationError::LimitExceeded(message))
    }

    fn certificate(&self) -> CertificateId {
        self.peer.leaf.id()
    }

    fn identity(&self, certificate: CertificateId, trace: &str) -> Identity {
        Identity { client_id: "".into(), certificate, source: self.source, trace: trace.into() }
    }
}
