//! The last will of a connection: from CONNECT to the session, and the permission to publish it later.
use super::Shared;
use super::codec::WillRequest;
use crate::backend::{Will, WillAuthority};
use crate::enforcement::{Identity, log_refusal};
use crate::message::Message;
use crate::record::{Details, Event};
use jitp_provisioner::certs::CertificateId;
use jitp_provisioner::policies::Action;
use jitp_provisioner::{ConnectContext, Provisioner, RegistryError};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

/// What the session keeps: also whom to ask if it is published after its connection has ended.
pub(super) fn will(
    shared: &Shared,
    request: WillRequest,
    identity: &Identity,
    connect: &ConnectContext,
) -> Will {
    let topic: Arc<str> = request.topic.into();
    let authority = Arc::new(Policies {
        provisioner: shared.provisioner.clone(),
        identity: identity.clone(),
        connect: connect.clone(),
        topic: Arc::clone(&topic),
        retain: request.retain,
    });
    let mut message = Message::new(topic, request.payload, request.qos);
    message.retain = request.retain;
    message.properties = request.properties;
    let message_expiry = request.message_expiry.map(|expiry| expiry.min(shared.limits.message_expiry));
    Will { message, message_expiry, delay: request.delay, authority: Some(authority) }
}

/// Makes who is asked for the wills of an earlier process.
pub(super) fn reviving(
    provisioner: &Provisioner,
) -> impl Fn(&Arc<str>, &Message, &[u8]) -> Option<Arc<dyn WillAuthority>> + use<> {
    let provisioner = provisioner.clone();
    move |client_id, message, stored| {
        let Stored { certificate, source, trace, server_name, persistent } =
            serde_json::from_slice(stored).ok()?;
        let client_id = Arc::clone(client_id);
        Some(Arc::new(Policies {
            provisioner: provisioner.clone(),
            connect: ConnectContext {
                client_id: Arc::clone(&client_id),
                source_ip: source.ip(),
                server_name,
                persistent,
                will_topic: Some(Arc::clone(&message.topic)),
            },
            identity: Identity { client_id, certificate, source, trace },
            topic: Arc::clone(&message.topic),
            retain: message.retain,
        }))
    }
}

/// The certificate and the policies that are in force when the will is due: nothing follows changes for a connection
/// that has ended. A provisioning claim has no will: its policy allows none.
struct Policies {
    provisioner: Provisioner,
    identity: Identity,
    connect: ConnectContext,
    topic: Arc<str>,
    retain: bool,
}

/// What is stored of [`Policies`], beside the will itself.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    certificate: CertificateId,
    source: SocketAddr,
    trace: Arc<str>,
    server_name: Option<Arc<str>>,
    persistent: bool,
}

impl WillAuthority for Policies {
    fn may_publish(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async {
            self.ask().await.unwrap_or_else(|error| {
                let why = format!("the will is not published: the registry could not be read: {error}");
                self.log(&why);
                false
            })
        })
    }

    fn stored(&self) -> Vec<u8> {
        // Texts, flags and an address can always be written.
        serde_json::to_vec(&Stored {
            certificate: self.identity.certificate,
            source: self.identity.source,
            trace: Arc::clone(&self.identity.trace),
            server_name: self.connect.server_name.clone(),
            persistent: self.connect.persistent,
        })
        .unwrap_or_default()
    }
}

impl Policies {
    async fn ask(&self) -> Result<bool, RegistryError> {
        let principal = match self.provisioner.principal(self.identity.certificate).await? {
            Ok(principal) => principal,
            Err(reason) => {
                let why = format!("the will is not published: its certificate is refused by now ({reason})");
                self.log(&why);
                return Ok(false);
            }
        };
        let permissions = self.provisioner.permissions(&principal, &self.connect).await?.permissions;
        let retain = self.retain.then_some(Action::RetainPublish);
        for action in [Some(Action::Publish), retain].into_iter().flatten() {
            if !permissions.decide(action, &self.topic).is_allowed() {
                log_refusal(&self.identity, &permissions, action, &self.topic);
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn log(&self, why: &str) {
        let details = Details {
            topic: Some(&self.topic),
            retain: Some(self.retain),
            reason: Some("AUTHORIZATION_FAILURE"),
            details: Some(&why),
            ..Details::default()
        };
        self.identity.failed(Event::PublishIn, details);
    }
}

impl std::fmt::Debug for Policies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policies").field("identity", &self.identity).finish_non_exhaustive()
    }
}
