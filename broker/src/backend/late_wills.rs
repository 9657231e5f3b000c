//! Wills that are published after their connection has ended: whoever set one is asked first whether it still may be.
use super::{Local, Will};
use crate::session::Session;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Answers for a will when the connection that brought it is gone (`spec/policies.md` section 9: permission is checked
/// again when the will is published).
pub trait WillAuthority: fmt::Debug + Send + Sync {
    /// Whether the will may be published now. If that cannot be found out: no.
    fn may_publish(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;
}

/// Wills in the order in which they fell due. There is at most one for each session that was left with one, so the
/// queue is bounded by those.
pub(super) struct LateWills {
    due: UnboundedSender<(Arc<Session>, Box<Will>)>,
}

/// The other end of the queue.
pub(super) type DueWills = UnboundedReceiver<(Arc<Session>, Box<Will>)>;

impl LateWills {
    pub(super) fn new() -> (Self, DueWills) {
        let (due, wills) = unbounded_channel();
        (Self { due }, wills)
    }
}

impl Local {
    /// Publishes a will whose connection has ended before, if its authority agrees; without one at once.
    pub(super) fn publish_late(&self, session: &Arc<Session>, will: Box<Will>) {
        if will.authority.is_none() {
            self.publish_will(session, *will);
        } else {
            // Fails only while the backend is being dropped.
            let _ = self.late_wills.due.send((Arc::clone(session), will));
        }
    }
}

/// Asks for one will after another until the backend is gone.
pub(super) async fn ask_and_publish(local: Weak<Local>, mut wills: DueWills) {
    while let Some((session, will)) = wills.recv().await {
        let allowed = match &will.authority {
            Some(authority) => authority.may_publish().await,
            None => true,
        };
        let Some(local) = local.upgrade() else { return };
        if allowed {
            local.publish_will(&session, *will);
        }
        drop(local);
        // Many may be due at once: let others run in between.
        tokio::task::consume_budget().await;
    }
}
