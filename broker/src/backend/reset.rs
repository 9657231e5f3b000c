//! Forgetting everything, as after a reset of the registry: a part at a time, so that others have their turn in between. What comes
//! meanwhile is of the time after the reset, and stays.
use super::{Local, SessionEnd};
use crate::overload::{PART, Turns, go_last};
use crate::session::Session;
use jitp_provisioner::sessions::SessionRow;
use std::sync::Arc;

impl Local {
    /// Ends all connections without their wills, and forgets all sessions and all retained messages that there are now.
    pub(super) async fn forget_all(&self) {
        let mut sessions = Vec::new();
        self.directory.for_each(|slot| sessions.push(Arc::clone(&slot.session)));
        let mut turns = Turns::default();
        for session in sessions {
            self.forget_session(&session);
            turns.one_done().await;
        }
        self.forget_retained().await;
    }

    /// If its client id has another one by now, it is over already.
    fn forget_session(&self, session: &Arc<Session>) {
        let waiting = self.directory.with_session(session, |slot| match slot.get().parked {
            Some(_) => Some(slot.remove().0),
            None => {
                session.end(SessionEnd::Administrative { prevent_will: true, clean_session: true });
                None
            }
        });
        if let Some(slot) = waiting.flatten() {
            self.discard(slot, false);
        }
    }

    async fn forget_retained(&self) {
        let mut forgotten = self.retained.clear();
        loop {
            let topics: Vec<_> = forgotten.by_ref().take(PART).collect();
            if topics.is_empty() {
                return;
            }
            self.record_forgotten(topics);
            go_last().await;
        }
    }

    fn record_forgotten(&self, topics: Vec<Arc<str>>) {
        let mut recording = self.recording();
        if let Some(recording) = recording.begin() {
            // Whoever retains another one meanwhile begins to record before.
            for topic in topics.into_iter().filter(|topic| !self.retained.has(topic)) {
                recording.delete(SessionRow::Retained { topic });
            }
        }
        recording.urgent();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{clean, message, open, options, persistent, retained};
    use super::super::{Backend, Counts, PublishError};
    use super::*;
    use crate::message::QoS;
    use crate::session::SessionHandle;
    use jitp_provisioner::SystemClock;
    use jitp_provisioner::sessions::{SessionRows, SessionStore};

    const MANY: usize = 3 * PART;

    fn retain(backend: &Backend, topic: &str) -> Result<(), PublishError> {
        let message = retained("", "x", QoS::AtLeastOnce);
        backend.publish(crate::message::Message { topic: topic.into(), ..message }).map(drop)
    }

    fn lines(prefix: &str) -> impl Iterator<Item = String> {
        (0..MANY).map(move |number| format!("{prefix}/{number}"))
    }

    /// Does something whenever it is others' turn.
    async fn meanwhile(forgetting: impl Future<Output = ()>, mut turn: impl AsyncFnMut()) {
        let mut forgetting = std::pin::pin!(forgetting);
        let mut is_over = false;
        while !is_over {
            is_over = std::future::poll_fn(|context| {
                std::task::Poll::Ready(forgetting.as_mut().poll(context).is_ready())
            })
            .await;
            turn().await;
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn very_many_are_forgotten_a_part_at_a_time_and_what_comes_meanwhile_stays() {
        let store = SessionStore::in_memory();
        let start = || Backend::restore(options(), store.clone(), Arc::new(SystemClock), &|_, _, _| None);
        let backend = start().await.unwrap();
        for client in lines("away") {
            drop(open(&backend, persistent(&client)).await);
        }
        let mut here: Vec<SessionHandle> = Vec::new();
        for client in lines("here") {
            here.push(open(&backend, clean(&client)).await);
        }
        lines("old").for_each(|topic| retain(&backend, &topic).unwrap());

        let (mut turns, mut new) = (0, Vec::new());
        let mut waiting = backend.counts().offline;
        meanwhile(backend.local.forget_all(), async || {
            turns += 1;
            let left = backend.counts().offline;
            assert!(waiting - left <= PART);
            waiting = left;
            // A client id and a topic that were there before, and are anew.
            new.push(open(&backend, persistent(&format!("away/{turns}"))).await);
            retain(&backend, "old/7").unwrap();
            retain(&backend, "new").unwrap();
        })
        .await;
        assert!(turns >= 3 * MANY / PART, "{turns}");
        assert!(here.iter().all(|session| session.ended().is_some()));
        drop(here);
        // Those that came while theirs was still waiting took it over, and it was forgotten with the others.
        let ended = new.iter().filter(|session| session.ended().is_some()).count();
        assert!(ended < new.len(), "the last one came after all others were forgotten");
        assert_eq!(backend.counts(), Counts { online: new.len(), retained: 2, ..Counts::default() });
        backend.publish(message("t", "x", QoS::AtMostOnce)).unwrap();
        drop(new);
        backend.settled().await;
        let rows = store.scan(SessionRows::Retained, None, usize::MAX).await.unwrap();
        let topics = rows.into_iter().map(|(row, _)| match row {
            SessionRow::Retained { topic } => topic.to_string(),
            other => format!("{other:?}"),
        });
        assert_eq!(topics.collect::<Vec<_>>(), ["new", "old/7"]);
    }
}
