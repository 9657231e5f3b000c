//! The last will of a connection: from CONNECT to the session, and the permission to publish it later.
use super::Shared;
use super::codec::WillRequest;
use crate::backend::{Will, WillAuthority};
use crate::enforcement::{Identity, log_refusal};
use crate::message::Message;
use crate::record::{Details, Event};
use jitp_provisioner::policies::Action;
use jitp_provisioner::{ConnectContext, Principal, Provisioner, RegistryError};
use std::pin::Pin;
use std::sync::Arc;

/// What the session keeps. Only a will with a delay can be published after its connection has ended, and so needs to
/// know whom to ask then.
pub(super) fn will(
    shared: &Shared,
    request: WillRequest,
    identity: &Identity,
    principal: &Principal,
    connect: &ConnectContext,
) -> Will {
    let topic: Arc<str> = request.topic.into();
    let authority = (!request.delay.is_zero()).then(|| -> Arc<dyn WillAuthority> {
        Arc::new(Policies {
            provisioner: shared.provisioner.clone(),
            identity: identity.clone(),
            principal: principal.clone(),
            connect: connect.clone(),
            topic: Arc::clone(&topic),
            retain: request.retain,
        })
    });
    let mut message = Message::new(topic, request.payload, request.qos);
    message.retain = request.retain;
    message.properties = request.properties;
    let message_expiry = request.message_expiry.map(|expiry| expiry.min(shared.limits.message_expiry));
    Will { message, message_expiry, delay: request.delay, authority }
}

/// The certificate and the policies that are in force when the will is due: nothing follows changes for a connection
/// that has ended.
struct Policies {
    provisioner: Provisioner,
    identity: Identity,
    principal: Principal,
    connect: ConnectContext,
    topic: Arc<str>,
    retain: bool,
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
}

impl Policies {
    async fn ask(&self) -> Result<bool, RegistryError> {
        if let Some(reason) = self.provisioner.recheck(&self.principal).await? {
            self.log(&format!("the will is not published: its certificate is refused by now ({reason})"));
            return Ok(false);
        }
        let permissions = self.provisioner.permissions(&self.principal, &self.connect).await?.permissions;
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
