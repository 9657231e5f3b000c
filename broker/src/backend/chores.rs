//! Work on what is stored that nobody waits for: deleting what ended sessions have left, and making room in long queues. One
//! after another, so that it never takes more than a task's share.
use super::Local;
use crate::message::SessionId;
use crate::session::Session;
use crate::session::durable::{Recorder, StoredDelivery, StoredWhere};
use jitp_provisioner::RegistryError;
use jitp_provisioner::sessions::{SessionRow, SessionRows};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

/// Rows at a time.
const PAGE: usize = 128;
/// Chores that are begun together, if there are as many: what is on its way into the store is waited for once for all of them.
/// When a fleet's sessions expire at once that is one commit instead of as many as there are sessions.
const TOGETHER: usize = 256;
/// The pause after the store could not be read.
const PAUSE: Duration = Duration::from_secs(1);
/// A queue in which no room could be made is not looked at again so soon.
const FRUITLESS: Duration = Duration::from_secs(10);

/// What is to be done. There is at most one of each kind for a session, so the queue is bounded by the sessions.
pub(super) struct Chores(UnboundedSender<Chore>);

pub(super) enum Chore {
    /// A session has ended: all its rows go. What came by shared subscriptions from this place on was not in memory, and is
    /// given to other members.
    Reap { session: SessionId, rest: Option<(Arc<Session>, u64)> },
    /// A queue is at its bounds, and part of it is not in memory.
    Trim(Arc<Session>),
}

impl Chores {
    pub(super) fn new() -> (Self, UnboundedReceiver<Chore>) {
        let (sender, receiver) = unbounded_channel();
        (Self(sender), receiver)
    }
    pub(super) fn reap(&self, session: SessionId, rest: Option<(Arc<Session>, u64)>) {
        // Fails only while the backend is being dropped.
        let _ = self.0.send(Chore::Reap { session, rest });
    }
    pub(super) fn trim(&self, session: &Arc<Session>) {
        if session.wants_trim() {
            let _ = self.0.send(Chore::Trim(Arc::clone(session)));
        }
    }
}

/// Does chores until the backend is gone.
pub(super) async fn run(local: Weak<Local>, recorder: Arc<Recorder>, mut to_do: UnboundedReceiver<Chore>) {
    let mut chores = Vec::with_capacity(TOGETHER);
    while to_do.recv_many(&mut chores, TOGETHER).await > 0 {
        // What is on its way into the store must be seen.
        recorder.settled().await;
        for chore in chores.drain(..) {
            chore.see_to(&local, &recorder).await;
        }
    }
}

impl Chore {
    /// Does it, however often that has to be tried. What was recorded before it was asked for is in the store.
    async fn see_to(self, local: &Weak<Local>, recorder: &Recorder) {
        loop {
            let done = match &self {
                Self::Reap { session, rest } => reap(local, recorder, *session, rest.as_ref()).await,
                Self::Trim(session) => trim(local, recorder, session).await,
            };
            let Err(error) = done else { return };
            tracing::error!(%error, "what is stored of a session could not be read; trying again");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn reap(
    local: &Weak<Local>,
    recorder: &Recorder,
    session: SessionId,
    rest: Option<&(Arc<Session>, u64)>,
) -> Result<(), RegistryError> {
    let id = session.0.get();
    for rows in [
        SessionRows::Subscriptions(Some(id)),
        SessionRows::InFlight(Some(id)),
        SessionRows::Received(Some(id)),
        SessionRows::Queued(Some(id)),
    ] {
        let mut after = None;
        loop {
            let page = recorder.store().scan(rows, after.as_ref(), PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            let through = page.len() < PAGE;
            for (row, value) in page {
                match row {
                    SessionRow::Queued { sequence, .. } => {
                        reap_delivery(local, recorder, session, sequence, &value, rest).await?;
                    }
                    row => recorder.record().delete(row),
                }
            }
            recorder.room().await;
            tokio::task::consume_budget().await;
            if through {
                break;
            }
        }
    }
    Ok(())
}

async fn reap_delivery(
    local: &Weak<Local>,
    recorder: &Recorder,
    session: SessionId,
    sequence: u64,
    value: &[u8],
    rest: Option<&(Arc<Session>, u64)>,
) -> Result<(), RegistryError> {
    let Ok(stored) = StoredDelivery::decode(value) else {
        recorder.record().delete(SessionRow::Queued { session: session.0.get(), sequence });
        return Ok(());
    };
    let (charge, place) = (stored.charge, stored.message.stored());
    if let Some((from, first)) = rest
        && stored.is_shared()
        && sequence >= *first
        && let Some(local) = local.upgrade()
    {
        let message = message_of(recorder, &stored).await?;
        if let Ok(delivery) = stored.into_delivery(sequence, message.as_deref(), recorder.wall())
            && !delivery.message.is_expired(Instant::now())
            && !local.pass_on(&delivery, from, false, &mut local.recording())
        {
            local.dropped.no_member();
        }
    }
    recorder.record().forget_stored(session, sequence, charge, place);
    Ok(())
}

/// The bytes of a delivery's message, if they are in a row of their own.
pub(crate) async fn message_of(
    recorder: &Recorder,
    stored: &StoredDelivery<'_>,
) -> Result<Option<Vec<u8>>, RegistryError> {
    match stored.message {
        StoredWhere::Here(_) => Ok(None),
        StoredWhere::Numbered(number) => recorder.store().read(&SessionRow::Message { number }).await,
    }
}

async fn trim(local: &Weak<Local>, recorder: &Recorder, session: &Arc<Session>) -> Result<(), RegistryError> {
    let Some(local) = local.upgrade() else { return Ok(()) };
    let mut removed = 0;
    if let Some(queued) = session.queued_while_offline() {
        let bounds = local.bounds;
        // A little more than needed, so that it is not needed again at once.
        let wanted = bounds.messages - bounds.messages / 16;
        let mut messages = queued.messages.saturating_sub(wanted);
        let mut bytes = queued.bytes.saturating_sub(bounds.bytes - bounds.bytes / 16);
        let mut after =
            Some(SessionRow::Queued { session: session.id.0.get(), sequence: queued.from.saturating_sub(1) });
        'pages: loop {
            let rows = SessionRows::Queued(Some(session.id.0.get()));
            let page = recorder.store().scan(rows, after.as_ref(), PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            let through = page.len() < PAGE;
            for (row, value) in &page {
                let SessionRow::Queued { sequence, .. } = row else { continue };
                let Ok(stored) = StoredDelivery::decode(value) else { continue };
                let (charge, place) = (stored.charge, stored.message.stored());
                let excess = bounds.drop_oldest && (messages > 0 || bytes > 0);
                let message = message_of(recorder, &stored).await?;
                let delivery = stored.into_delivery(*sequence, message.as_deref(), recorder.wall());
                let expired = delivery.is_ok_and(|delivery| delivery.message.is_expired(Instant::now()));
                if !excess && !expired {
                    continue;
                }
                let mut recording = recorder.record();
                if !session.trim(1, charge) {
                    break 'pages;
                }
                recording.forget_stored(session.id, *sequence, charge, place);
                drop(recording);
                match expired {
                    true => local.dropped.expired(1),
                    false => local.dropped.full(1),
                }
                removed += 1;
                (messages, bytes) = (messages.saturating_sub(1), bytes.saturating_sub(charge));
            }
            recorder.room().await;
            tokio::task::consume_budget().await;
            if through {
                break;
            }
        }
    }
    let session = Arc::clone(session);
    match removed {
        0 => drop(tokio::spawn(async move {
            tokio::time::sleep(FRUITLESS).await;
            session.end_trim();
        })),
        _ => session.end_trim(),
    }
    Ok(())
}
