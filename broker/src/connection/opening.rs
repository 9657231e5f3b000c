//! From CONNECT to CONNACK: admission, policies, session (`spec/jitp.md` section 4, `spec/mqtt-behaviour.md`
//! section 3).
use super::codec::{Aliases, ConnackCode, ConnackProperties, Connect, Outbound};
use super::established::{Established, Expiry};
use super::pipe::{ByteStream, Pipe};
use super::will::will;
use super::{Shared, refusal};
use crate::backend::{Close, OpenError, OpenRequest, ProtocolVersion};
use crate::config::Profile;
use crate::enforcement::{Enforcement, Identity, log_refusal};
use crate::events::Presence;
use crate::message::QoS;
use crate::rates::{Action as Excess, ConnectionRates, Limit};
use crate::record::{Details, Event};
use crate::services::Reservation;
use crate::tls::Peer;
use jitp_provisioner::names::CertificateId;
use jitp_provisioner::policies::{Action, Permissions};
use jitp_provisioner::{Admission, ConnectContext, Presentation, Principal, ReasonCode};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What the client is told instead of CONNACK 0.
struct Refused {
    code: ConnackCode,
    /// Reason String of MQTT 5: nothing that the device's owner may not know.
    reason: Option<&'static str>,
    /// Close without a word (profile `aws`).
    silent: bool,
}

/// Opens the session, or tells the client why not. `None`: the connection is closed.
pub(super) async fn open<S: ByteStream>(
    shared: &Arc<Shared>,
    mut pipe: Pipe<S>,
    peer: Peer,
    source: SocketAddr,
    connect: Connect,
) -> Option<Box<Established<S>>> {
    let mut out = Outbound::new(connect.version, connect.maximum_packet_size);
    match Opening::new(shared, &peer, source, connect).run(&mut out).await {
        Ok(mut prepared) => {
            let session = &prepared.session;
            if let Err(error) = pipe.send(&mut out, || session.ended().is_some()).await {
                refusal::gone_before_connack(prepared.enforcement.identity(), &error);
                return None;
            }
            shared.lifecycle.connected(&mut prepared.presence);
            prepared.enforcement.identity().succeeded(Event::Connect, Details::default());
            Some(Box::new(Established::new(Arc::clone(shared), pipe, out, prepared)))
        }
        Err(refused) => {
            if !refused.silent && out.connack_refused(refused.code, refused.reason) {
                pipe.send_last(&mut out).await;
            }
            pipe.close().await;
            None
        }
    }
}

/// Everything that an established connection is made of.
pub(super) struct Prepared {
    pub version: ProtocolVersion,
    pub session: crate::session::SessionHandle,
    pub registration: crate::live::Registration,
    pub enforcement: Enforcement,
    pub presence: Presence,
    pub aliases: Aliases,
    pub keep_alive: Duration,
    /// CONNECT's Session Expiry Interval was above 0.
    pub persistent: bool,
    /// Topic and RETAIN flag of the will, to be asked about again at the end.
    pub will: Option<(Arc<str>, bool)>,
    pub expiry: Option<Expiry>,
    /// How fast it may be, if that is limited.
    pub rates: Option<Box<ConnectionRates>>,
}

struct Opening<'a> {
    shared: &'a Shared,
    peer: &'a Peer,
    connect: Connect,
    client_id: Arc<str>,
    assigned: bool,
    source: SocketAddr,
    /// `sessionIdentifier` and `traceId`.
    trace: Arc<str>,
}

impl<'a> Opening<'a> {
    fn new(shared: &'a Shared, peer: &'a Peer, source: SocketAddr, connect: Connect) -> Self {
        let assigned = connect.client_id.is_empty();
        let client_id = match assigned {
            true => uuid::Uuid::new_v4().to_string().into(),
            false => connect.client_id.as_str().into(),
        };
        let trace = uuid::Uuid::new_v4().to_string().into();
        Self { shared, peer, connect, client_id, assigned, source, trace }
    }

    /// When the connection ends by itself: one of a provisioning claim always does.
    fn expiry(&self, principal: &Principal) -> Option<Expiry> {
        let now = self.shared.provisioner.clock().now();
        match &principal.claim {
            Some(claim) => Some(Expiry::after(claim.closes_at.unix_seconds(), now)),
            None => self.shared.config.disconnect_at_expiry.then(|| Expiry::of(&principal.certificate, now)),
        }
    }

    async fn run(self, out: &mut Outbound) -> Result<Prepared, Refused> {
        self.check_will()?;
        self.shared.rates.connect().map_err(|limit| self.too_often(&self.unadmitted(), limit))?;
        let (principal, identity) = self.admit().await?;
        let context = self.context();
        let granted = self.shared.provisioner.permissions(&principal, &context).await.map_err(|error| {
            let details = format!("the policies could not be read: {error}");
            refusal::of_session(self.shared, &identity, ReasonCode::Internal.as_str(), &details);
            refused(ConnackCode::UNAVAILABLE, Some(ReasonCode::Internal.as_str()))
        })?;
        let thing = principal.exclusive_thing.clone();
        let presence = Presence::new(&identity, thing);
        self.authorize(&granted.permissions, &identity, &principal, &presence)?;
        if !self.assigned {
            let asked = self.shared.rates.connect_of(&self.client_id);
            asked.map_err(|limit| self.too_often(&identity, limit))?;
        }

        let expiry = self.expiry(&principal);
        let request = self.request(&identity, &context);
        let (permissions, registration) = self.shared.live.enter(principal, context, granted);
        let keep_alive = self.keep_alive();
        let opened = self.shared.backend.open(request).await.map_err(|error| {
            refusal::of_session(self.shared, &identity, "SERVER_ERROR", &error.to_string());
            match error {
                OpenError::Superseded => refused(ConnackCode::SUPERSEDED, None),
                OpenError::StillHeld | OpenError::NotStored(_) => refused(ConnackCode::UNAVAILABLE, None),
            }
        })?;
        if registration.has_ended() {
            refusal::of_session(
                self.shared,
                &identity,
                "AUTH_ERROR",
                "the certificate was refused, or may no longer connect, since it was admitted",
            );
            // It never was connected, so its will does not count.
            opened.session.close(Close::NORMAL);
            return Err(refused(ConnackCode::NOT_AUTHORIZED, None));
        }
        let requested = u64::from(self.connect.session_expiry);
        let in_force = opened.session_expiry.as_secs();
        let aliases = self.shared.limits.topic_aliases;
        out.use_aliases(self.connect.topic_alias_maximum.min(aliases));
        if self.shared.config.profile == Profile::Aws {
            out.round_expiry_down();
        }
        let rates = self.shared.rates.of_connection(identity.certificate);
        out.connack(
            opened.session_present,
            &ConnackProperties {
                receive_maximum: self.shared.limits.receive_maximum,
                maximum_packet_size: self.shared.limits.packet_bytes,
                topic_alias_maximum: aliases,
                session_expiry: (requested != in_force).then(|| u32::try_from(in_force).unwrap_or(u32::MAX)),
                keep_alive: (keep_alive != self.connect.keep_alive).then_some(keep_alive),
                assigned_client_id: self.assigned.then_some(&*self.client_id),
                at_most_qos_1: self.shared.config.profile == Profile::Aws,
            },
        );
        Ok(Prepared {
            version: self.connect.version,
            session: opened.session,
            registration,
            enforcement: Enforcement::new(permissions, Arc::new(identity)),
            presence,
            aliases: Aliases::new(aliases),
            keep_alive: Duration::from_secs(u64::from(keep_alive)),
            persistent: self.connect.session_expiry > 0,
            will: self.connect.will.as_ref().map(|will| (will.topic.as_str().into(), will.retain)),
            expiry,
            rates,
        })
    }

    /// Refuses a will that nobody may have, before anything is looked up or provisioned.
    fn check_will(&self) -> Result<(), Refused> {
        let Some(will) = &self.connect.will else { return Ok(()) };
        let problem = if let Err(error) = self.shared.topics.check_topic(&will.topic) {
            Some((ConnackCode::WILL_TOPIC, format!("the will's topic cannot be used: {error}")))
        } else if self.shared.config.profile == Profile::Aws && will.qos == QoS::ExactlyOnce {
            Some((ConnackCode::WILL_QOS, "the will has QoS 2, which profile aws does not support".to_owned()))
        } else if will.payload.len() > usize::try_from(self.shared.limits.payload_bytes).unwrap_or(usize::MAX)
        {
            Some((ConnackCode::TOO_LARGE, "the will's payload is larger than allowed".to_owned()))
        } else if let Err(problem) = self.shared.limits.check_properties(will.properties.as_deref()) {
            Some((ConnackCode::QUOTA, format!("the will has {problem}")))
        } else if let Err(why) = Reservation::of(&will.topic).check_publish() {
            Some((
                ConnackCode::NOT_AUTHORIZED,
                format!("the will's topic {:?} is refused: {why}", will.topic),
            ))
        } else {
            None
        };
        let Some((code, details)) = problem else { return Ok(()) };
        refusal::of_session(self.shared, &self.unadmitted(), "CLIENT_ERROR", &details);
        Err(refused(code, None))
    }

    /// A rate of connections is exceeded.
    fn too_often(&self, identity: &Identity, limit: Limit) -> Refused {
        limit.count(Excess::Refused, 1);
        let details = format!("connections come more often than {} allows", limit.key());
        refusal::of_session(self.shared, identity, "THROTTLED", &details);
        refused(ConnackCode::QUOTA, None)
    }

    /// Who it says it is.
    fn unadmitted(&self) -> Identity {
        self.identity(self.peer.leaf.id())
    }

    /// Is the certificate let in? Provisions it if need be.
    async fn admit(&self) -> Result<(Principal, Identity), Refused> {
        let chain: Vec<&[u8]> = self.peer.chain.iter().map(|certificate| &**certificate).collect();
        let presentation = Presentation {
            chain: &chain,
            leaf: Some(&self.peer.leaf),
            client_id: &self.client_id,
            source: self.source,
            server_name: self.peer.server_name.as_deref(),
            trace: &self.trace,
        };
        let aws = self.shared.config.profile == Profile::Aws;
        match self.shared.provisioner.admit(&presentation).await {
            Admission::Admitted(principal) => {
                let identity = self.identity(principal.id());
                if aws && principal.provisioned_now {
                    refusal::of_profile_aws(&identity);
                    return Err(Refused { silent: true, ..refused(ConnackCode::UNAVAILABLE, None) });
                }
                Ok((principal, identity))
            }
            Admission::Refused(refusal) => {
                let id = chain
                    .first()
                    .map_or(CertificateId::from_bytes([0; 32]), |leaf| CertificateId::of_der(leaf));
                refusal::of_admission(self.shared, self.peer, &self.identity(id), &refusal);
                let code = admission_code(refusal.reason);
                Err(Refused { silent: aws, ..refused(code, Some(refusal.reason.as_str())) })
            }
        }
    }

    /// `iot:Connect`, and for the will `iot:Publish` and `iot:RetainPublish`.
    fn authorize(
        &self,
        permissions: &Permissions,
        identity: &Identity,
        principal: &Principal,
        presence: &Presence,
    ) -> Result<(), Refused> {
        let will = self.connect.will.as_ref();
        let publish = will.map(|will| (Action::Publish, will.topic.as_str()));
        let retain = will.filter(|will| will.retain).map(|will| (Action::RetainPublish, will.topic.as_str()));
        let asked = [Some((Action::Connect, &*self.client_id)), publish, retain];
        for (action, name) in asked.into_iter().flatten() {
            if !permissions.decide(action, name).is_allowed() {
                log_refusal(identity, permissions, action, name);
                let explanation = permissions.explain(action, name);
                refusal::of_policies(self.shared, self.peer, identity, principal, &explanation);
                self.shared.lifecycle.connect_failed(presence);
                return Err(refused(ConnackCode::NOT_AUTHORIZED, Some(ReasonCode::NotAuthorized.as_str())));
            }
        }
        Ok(())
    }

    fn identity(&self, certificate: CertificateId) -> Identity {
        Identity {
            client_id: Arc::clone(&self.client_id),
            certificate,
            source: self.source,
            trace: Arc::clone(&self.trace),
        }
    }

    fn context(&self) -> ConnectContext {
        let persistent = match self.connect.version {
            ProtocolVersion::V311 => !self.connect.clean_start,
            ProtocolVersion::V5 => self.connect.session_expiry > 0,
        };
        ConnectContext {
            client_id: Arc::clone(&self.client_id),
            source_ip: self.source.ip(),
            server_name: self.peer.server_name.clone(),
            persistent,
            will_topic: self.connect.will.as_ref().map(|will| will.topic.as_str().into()),
        }
    }

    fn request(&self, identity: &Identity, context: &ConnectContext) -> OpenRequest {
        let session_expiry = match self.connect.version {
            ProtocolVersion::V311 if self.connect.clean_start => Duration::ZERO,
            ProtocolVersion::V311 => self.shared.limits.session_expiry,
            ProtocolVersion::V5 => Duration::from_secs(u64::from(self.connect.session_expiry)),
        };
        OpenRequest {
            client_id: Arc::clone(&self.client_id),
            certificate: Some(identity.certificate),
            version: self.connect.version,
            clean_start: self.connect.clean_start,
            session_expiry,
            receive_maximum: self.connect.receive_maximum,
            will: self.connect.will.clone().map(|request| will(self.shared, request, identity, context)),
        }
    }

    /// 0 and anything above the maximum become the maximum (`spec/mqtt-behaviour.md` section 3).
    fn keep_alive(&self) -> u16 {
        let (minimum, maximum) = self.shared.limits.keep_alive;
        match self.connect.keep_alive {
            0 => maximum,
            asked => asked.min(maximum).max(minimum),
        }
    }
}

fn refused(code: ConnackCode, reason: Option<&'static str>) -> Refused {
    Refused { code, reason, silent: false }
}

/// Whether the device should try again, or its owner has to act.
fn admission_code(reason: ReasonCode) -> ConnackCode {
    match reason {
        ReasonCode::CertificateRateExceeded | ReasonCode::CaRateExceeded => ConnackCode::QUOTA,
        ReasonCode::CaBudgetExhausted => ConnackCode::EXHAUSTED,
        ReasonCode::ProvisioningTimeout | ReasonCode::RegistryUnavailable | ReasonCode::Internal => {
            ConnackCode::UNAVAILABLE
        }
        _ => ConnackCode::NOT_AUTHORIZED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_may_come_again_is_told_so() {
        assert_eq!(admission_code(ReasonCode::CertificateRateExceeded), ConnackCode::QUOTA);
        assert_eq!(admission_code(ReasonCode::RegistryUnavailable), ConnackCode::UNAVAILABLE);
        assert_eq!(admission_code(ReasonCode::CertificateRevoked), ConnackCode::NOT_AUTHORIZED);
        assert_eq!(admission_code(ReasonCode::MissingParameter), ConnackCode::NOT_AUTHORIZED);
    }
}
