//! Who knocks: the circumstances of one connection, for the attempts that it leaves.
use crate::admission::Presentation;
use crate::admission::cause::Cause;
use crate::attempt::{Attempt, AttemptKind, Outcome};
use crate::clock::Timestamp;
use crate::names::CertificateId;
use crate::reason::ReasonCode;
use jitp_certs::Certificate;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

/// Most characters of a client id or server name that an attempt keeps.
const TEXT_KEPT: usize = 256;
/// Most certificates of a client's chain that are looked at beside the leaf.
const CHAIN_KEPT: usize = 8;

/// The circumstances of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    client_id: String,
    source: SocketAddr,
    server_name: Option<String>,
    trace: String,
    began: Instant,
    certificate_id: Option<CertificateId>,
    subject: Option<String>,
    /// The ids of the certificates that the client sent beside its own.
    pub(crate) sent: Vec<CertificateId>,
}

impl Visit {
    pub(crate) fn new(presentation: &Presentation<'_>, began: Instant) -> Self {
        Self {
            client_id: cut(presentation.client_id),
            source: presentation.source,
            server_name: presentation.server_name.map(cut),
            trace: presentation.trace.to_owned(),
            began,
            certificate_id: None,
            subject: None,
            sent: Vec::new(),
        }
    }
    pub(crate) fn with_id(mut self, id: Option<CertificateId>) -> Self {
        self.certificate_id = id;
        self
    }
    pub(crate) fn with_leaf(mut self, leaf: &Certificate) -> Self {
        self.certificate_id = Some(leaf.id());
        self.subject = Some(leaf.subject().to_string());
        self
    }
    pub(crate) fn with_chain(mut self, chain: &[&[u8]]) -> Self {
        self.sent = chain.iter().skip(1).take(CHAIN_KEPT).map(|der| CertificateId::of_der(der)).collect();
        self
    }
    pub(crate) fn has_server_name(&self) -> bool {
        self.server_name.is_some()
    }
    /// The `traceId` of the connection's log records.
    pub(crate) fn trace(&self) -> &str {
        &self.trace
    }

    /// The attempt of a connection that is refused. The sequence is given by the log.
    pub(crate) fn refused(&self, cause: &Cause, ca: Option<CertificateId>, now: Timestamp) -> Attempt {
        Attempt {
            failing_resource: cause.resource.clone(),
            json_path: cause.json_path.clone(),
            ..self.attempt(Outcome::Refused, cause.reason, cause.message.clone(), ca, now)
        }
    }
    /// The attempt of a connection that was provisioned. The sequence is given by the log.
    pub(crate) fn provisioned(&self, message: String, ca: CertificateId, now: Timestamp) -> Attempt {
        self.attempt(Outcome::Provisioned, ReasonCode::Provisioned, message, Some(ca), now)
    }

    fn attempt(
        &self,
        outcome: Outcome,
        reason: ReasonCode,
        message: String,
        ca_certificate_id: Option<CertificateId>,
        timestamp: Timestamp,
    ) -> Attempt {
        Attempt {
            sequence: 0,
            timestamp,
            kind: AttemptKind::Connection,
            outcome,
            reason,
            message,
            certificate_id: self.certificate_id,
            ca_certificate_id,
            claim_certificate_id: None,
            subject: self.subject.clone(),
            client_id: Some(self.client_id.clone()),
            source_ip: self.source.ip().to_string(),
            source_port: self.source.port(),
            server_name: self.server_name.clone(),
            template_name: None,
            template_version: None,
            parameters: BTreeMap::new(),
            thing_name: None,
            failing_resource: None,
            json_path: None,
            duration_micros: u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_KEPT).collect()
}
