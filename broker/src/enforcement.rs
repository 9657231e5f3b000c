//! Asking the policies, and saying so when they refuse (`spec/policies.md` section 9).
use crate::live::LivePermissions;
use crate::record::{Details, Event};
use arc_swap::Cache;
use jitp_provisioner::names::CertificateId;
use jitp_provisioner::policies::{Action, Permissions};
use std::net::SocketAddr;
use std::sync::Arc;

/// Who a connection is, for logs.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// Empty: there is none, as it speaks HTTP.
    pub client_id: Arc<str>,
    pub certificate: CertificateId,
    pub source: SocketAddr,
    /// `sessionIdentifier` of its events; also the `traceId` of its log records.
    pub trace: Arc<str>,
}

/// The permissions of one connection as they are now. Changes of policies reach it through
/// [`LivePermissions`].
pub(crate) struct Enforcement {
    permissions: Cache<LivePermissions, Arc<Permissions>>,
    identity: Arc<Identity>,
    published: Remembered,
    received: Remembered,
}

/// The last answer of one kind. A device mostly asks the same thing again, and comparing two topics is
/// cheaper than matching patterns.
#[derive(Debug, Default)]
struct Remembered {
    topic: Option<Arc<str>>,
    /// Of which permissions; keeps them alive, so that the address is not used again.
    by: Option<Arc<Permissions>>,
    allowed: bool,
}

impl Enforcement {
    pub(crate) fn new(permissions: LivePermissions, identity: Arc<Identity>) -> Self {
        Self {
            permissions: Cache::new(permissions),
            identity,
            published: Remembered::default(),
            received: Remembered::default(),
        }
    }

    pub(crate) fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// `iot:Publish`, and `iot:RetainPublish` if the message is to be retained. Every refusal is logged.
    pub(crate) fn may_publish(&mut self, topic: &Arc<str>, retain: bool) -> bool {
        let permissions = self.permissions.load();
        let allowed = match self.published.answer(permissions, topic) {
            Some(allowed) => allowed,
            None => {
                let allowed = permissions.decide(Action::Publish, topic).is_allowed();
                self.published.remember(permissions, topic, allowed);
                allowed
            }
        };
        if !allowed {
            log_refusal(&self.identity, permissions, Action::Publish, topic);
            return false;
        }
        let retained = !retain || permissions.decide(Action::RetainPublish, topic).is_allowed();
        if !retained {
            log_refusal(&self.identity, permissions, Action::RetainPublish, topic);
        }
        retained
    }

    /// `iot:Subscribe` on a filter, shared or not. Every refusal is logged.
    pub(crate) fn may_subscribe(&mut self, filter: &str) -> bool {
        let permissions = self.permissions.load();
        let allowed = permissions.decide_subscribe(filter).is_allowed();
        if !allowed {
            log_refusal(&self.identity, permissions, Action::Subscribe, filter);
        }
        allowed
    }

    /// `iot:Receive`, asked for each delivery. A refusal is logged when topic or policies are not those of
    /// the delivery before it.
    pub(crate) fn may_receive(&mut self, topic: &Arc<str>) -> bool {
        let permissions = self.permissions.load();
        if let Some(allowed) = self.received.answer(permissions, topic) {
            return allowed;
        }
        let allowed = permissions.decide(Action::Receive, topic).is_allowed();
        self.received.remember(permissions, topic, allowed);
        if !allowed {
            log_refusal(&self.identity, permissions, Action::Receive, topic);
        }
        allowed
    }
}

impl Remembered {
    fn answer(&self, permissions: &Arc<Permissions>, topic: &Arc<str>) -> Option<bool> {
        // Mostly it is the very same text.
        let is_topic = |known: &Arc<str>| Arc::ptr_eq(known, topic) || known == topic;
        let same = self.by.as_ref().is_some_and(|by| Arc::ptr_eq(by, permissions))
            && self.topic.as_ref().is_some_and(is_topic);
        same.then_some(self.allowed)
    }
    fn remember(&mut self, permissions: &Arc<Permissions>, topic: &Arc<str>, allowed: bool) {
        self.topic = Some(Arc::clone(topic));
        if !self.by.as_ref().is_some_and(|by| Arc::ptr_eq(by, permissions)) {
            self.by = Some(Arc::clone(permissions));
        }
        self.allowed = allowed;
    }
}

/// One record per refusal: client id, principal, action, resource, reason.
pub(crate) fn log_refusal(identity: &Identity, permissions: &Permissions, action: Action, name: &str) {
    let explanation = permissions.explain(action, name);
    let event = match action {
        Action::Connect => Event::Connect,
        Action::Subscribe => Event::Subscribe,
        Action::Receive => Event::PublishOut,
        _ => Event::PublishIn,
    };
    let details = Details {
        topic: (action != Action::Connect).then_some(name),
        action: Some(action.name()),
        resource: Some(&explanation.resource),
        reason: Some("AUTHORIZATION_FAILURE"),
        details: Some(&explanation),
        ..Details::default()
    };
    identity.failed(event, details);
}
