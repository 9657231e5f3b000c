//! Saying no: the log record and the attempt of a connection that did not become a session.
use super::Shared;
use super::codec::ConnectRefused;
use crate::enforcement::Identity;
use crate::events::DisconnectReason;
use crate::listener::Door;
use crate::record::{Details, Event, Subject};
use crate::tls::{HandshakeFailure, Peer};
use jitp_provisioner::policies::Explanation;
use jitp_provisioner::{Attempt, AttemptKind, Outcome, Principal, ReasonCode, Refusal, Timestamp};
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;

/// The TLS handshake failed, or what comes before it.
pub(super) fn of_handshake(shared: &Shared, door: &Door, source: SocketAddr, failure: &HandshakeFailure) {
    if failure.silent {
        tracing::debug!(sourceIp = %source.ip(), sourcePort = source.port(), details = failure.message);
        return;
    }
    shared.figures.handshakes_failed.increment(1);
    let details = Details {
        target_port: Some(door.port),
        reason: Some(failure.reason.as_str()),
        details: Some(&failure.message),
        ..Details::default()
    };
    Subject::from(source).failed(Event::AuthenticationError, details);
    shared.provisioner.record_refusal(Attempt {
        reason: failure.reason,
        message: failure.message.clone(),
        ..unidentified(source)
    });
}

/// No CONNECT that could be answered came.
pub(super) fn of_connect(shared: &Shared, peer: &Peer, source: SocketAddr, refused: &ConnectRefused) {
    shared.figures.connects_refused.increment(1);
    let subject = Subject { principal: Some(peer.leaf.id()), ..source.into() };
    subject.failed(Event::Connect, because("CLIENT_ERROR", &refused.message));
}

/// The client went away before it said what it wants: no failure, as it is none when it does so later.
pub(super) fn gone(peer: &Peer, source: SocketAddr, error: &io::Error) {
    let details = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the client closed the connection before a whole CONNECT".to_owned(),
        _ => format!("the connection broke before a whole CONNECT: {error}"),
    };
    let subject = Subject { principal: Some(peer.leaf.id()), ..source.into() };
    subject.succeeded(Event::Disconnect, Details::of_end(DisconnectReason::ConnectionLost, &details));
}

/// The client went away while it was let in.
pub(super) fn gone_before_connack(identity: &Identity, error: &io::Error) {
    let details = format!("the client did not take CONNACK: {error}");
    identity.succeeded(Event::Disconnect, Details::of_end(DisconnectReason::ConnectionLost, &details));
}

/// The certificate is not let in. The attempt is recorded by the provisioner.
pub(super) fn of_admission(shared: &Shared, peer: &Peer, identity: &Identity, refusal: &Refusal) {
    shared.figures.connects_refused.increment(1);
    let details = Details {
        server_name: peer.server_name.as_deref(),
        ..because(refusal.reason.as_str(), &refusal.message)
    };
    identity.failed(Event::AuthenticationError, details);
}

/// It is let in from its next connection on.
pub(super) fn of_profile_aws(identity: &Identity) {
    let details = "profile aws closes the connection that provisioned the device; it comes again";
    identity
        .succeeded(Event::Disconnect, Details::of_end(DisconnectReason::ServerInitiatedDisconnect, &details));
}

/// The policies do not allow the connection or its will. The log has it already.
pub(super) fn of_policies(
    shared: &Shared,
    peer: &Peer,
    identity: &Identity,
    principal: &Principal,
    explanation: &Explanation,
) {
    shared.figures.connects_refused.increment(1);
    shared.provisioner.record_refusal(Attempt {
        reason: ReasonCode::NotAuthorized,
        message: explanation.to_string(),
        certificate_id: Some(identity.certificate),
        ca_certificate_id: principal.ca_certificate_id,
        subject: Some(principal.certificate.subject().to_string()),
        client_id: Some(identity.client_id.to_string()),
        server_name: peer.server_name.as_deref().map(str::to_owned),
        ..unidentified(identity.source)
    });
}

/// Another reason not to connect.
pub(super) fn of_session(shared: &Shared, identity: &Identity, reason: &str, details: &str) {
    shared.figures.connects_refused.increment(1);
    identity.failed(Event::Connect, because(reason, &details));
}

fn because<'a>(reason: &'a str, details: &'a dyn Display) -> Details<'a> {
    Details { reason: Some(reason), details: Some(details), ..Details::default() }
}

fn unidentified(source: SocketAddr) -> Attempt {
    Attempt {
        sequence: 0,
        timestamp: Timestamp::default(),
        kind: AttemptKind::Connection,
        outcome: Outcome::Refused,
        reason: ReasonCode::TlsHandshakeFailed,
        message: String::new(),
        certificate_id: None,
        ca_certificate_id: None,
        claim_certificate_id: None,
        subject: None,
        client_id: None,
        source_ip: source.ip().to_string(),
        source_port: source.port(),
        server_name: None,
        template_name: None,
        template_version: None,
        parameters: Default::default(),
        thing_name: None,
        failing_resource: None,
        json_path: None,
        duration_micros: 0,
    }
}
