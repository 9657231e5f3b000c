//! Wills that are published after their connection has ended: whoever set one is asked first whether it still may be.
use super::{Along, KeptWill, Local, PublishError, UnderWay, Wakers};
use crate::message::Message;
use crate::session::Session;
use crate::session::durable::NotStored;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Answers for a will when the connection that brought it is gone (`spec/policies.md` section 9: permission is checked
/// again when the will is published).
pub trait WillAuthority: fmt::Debug + Send + Sync {
    /// Whether the will may be published now. If that cannot be found out: no.
    fn may_publish(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;

    /// What another process needs to know to answer in its place, beside the client and the message: see [`ReviveAuthority`]. At most
    /// 65,535 bytes.
    fn stored(&self) -> Vec<u8>;
}

/// Makes who is asked for a will of an earlier process: of the client id, the message, and what [`WillAuthority::stored`] gave
/// there. `None`: that cannot be read.
pub type ReviveAuthority<'a> =
    &'a (dyn Fn(&Arc<str>, &Message, &[u8]) -> Option<Arc<dyn WillAuthority>> + Send + Sync);

/// Wills in the order in which they fell due. There is at most one for each session that was left with one, so the
/// queue is bounded by those.
pub(super) struct LateWills {
    due: UnboundedSender<(Arc<Session>, Box<KeptWill>)>,
}

/// The other end of the queue.
pub(super) type DueWills = UnboundedReceiver<(Arc<Session>, Box<KeptWill>)>;

impl LateWills {
    pub(super) fn new() -> (Self, DueWills) {
        let (due, wills) = unbounded_channel();
        (Self { due }, wills)
    }

    /// Publishes a will once it may be, and can be.
    pub(super) fn ask(&self, session: &Arc<Session>, will: Box<KeptWill>) {
        // Fails only while the backend is being dropped: what is stored of it is for the next process.
        let _ = self.due.send((Arc::clone(session), will));
    }
}

impl Local {
    /// Publishes a will whose connection has ended before, if its authority agrees; without one at once.
    pub(super) fn publish_late(&self, session: &Arc<Session>, kept: Box<KeptWill>) {
        if kept.will.authority.is_none() {
            self.publish_will(session, kept);
        } else {
            self.late_wills.ask(session, kept);
        }
    }

    /// Publishes a will: one that is stored, but cannot be published while nothing can be stored, afterwards.
    pub(super) fn publish_will(&self, session: &Arc<Session>, kept: Box<KeptWill>) {
        let mut wakers = Wakers::default();
        match self.try_publish_will(session, &kept, &mut wakers) {
            Ok(rest) => drop(rest.map(|rest| rest.finish(self, &mut wakers))),
            Err(NotStored) => self.late_wills.ask(session, kept),
        }
        self.waking.wake(&mut wakers);
    }

    /// Publishes a will; adds who is to be woken. Returns those who are still to get it, if they are very many.
    ///
    /// # Errors
    /// It is stored, and cannot be published now.
    pub(crate) fn try_publish_will(
        &self,
        session: &Session,
        kept: &KeptWill,
        wakers: &mut Wakers,
    ) -> Result<Option<Box<UnderWay>>, NotStored> {
        let row = kept.row(session);
        let message = kept.will.to_message(session);
        let along = row.clone().map(|row| Along::Will { row, charge: kept.charge() });
        match self.publish_from(message, along, wakers, false) {
            Ok((_, rest)) => return Ok(rest),
            Err(PublishError::NotStored) if row.is_some() => return Err(NotStored),
            Err(error) => {
                tracing::warn!(client_id = %session.client_id, %error, "the last will was not published");
            }
        }
        self.withdraw(session, kept, &mut self.recording());
        Ok(None)
    }
}

/// Asks for one will after another until the backend is gone.
pub(super) async fn ask_and_publish(local: Weak<Local>, mut wills: DueWills) {
    while let Some((session, kept)) = wills.recv().await {
        let allowed = match &kept.will.authority {
            Some(authority) => authority.may_publish().await,
            None => true,
        };
        loop {
            let Some(local) = local.upgrade() else { return };
            if !allowed {
                local.withdraw(&session, &kept, &mut local.recording());
                break;
            }
            let mut wakers = Wakers::default();
            let tried = local.try_publish_will(&session, &kept, &mut wakers);
            local.waking.wake(&mut wakers);
            if let Ok(rest) = tried {
                if let Some(rest) = rest {
                    rest.finish_in_turns(local).await;
                }
                break;
            }
            let Some(recorder) = local.recorder.clone() else { break };
            drop(local);
            recorder.settled().await;
        }
        // Many may be due at once: let others run in between.
        tokio::task::consume_budget().await;
    }
}
