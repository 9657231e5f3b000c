//! Ending all connections: a part at a time, so that others have their turn in between. Those that are woken have something to do.
use super::{Local, SessionEnd};
use crate::overload::Turns;
use crate::session::Session;
use std::sync::Arc;

impl Local {
    pub(super) fn disconnect_all(&self, end: SessionEnd) -> usize {
        self.directory.connected().map(|session| usize::from(self.disconnect_session(&session, end))).sum()
    }

    pub(super) async fn disconnect_all_in_turns(&self, end: SessionEnd) {
        let mut turns = Turns::default();
        for session in self.directory.connected() {
            self.disconnect_session(&session, end);
            turns.one_done().await;
        }
    }

    /// `false`: it has no connection any more.
    fn disconnect_session(&self, session: &Arc<Session>, end: SessionEnd) -> bool {
        let is_connected = self.directory.with_session(session, |slot| {
            let is_connected = slot.get().parked.is_none();
            if is_connected {
                session.end(end);
            }
            is_connected
        });
        is_connected.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Backend;
    use super::super::tests::{clean, open, options, persistent};
    use super::*;
    use crate::overload::PART;
    use crate::session::SessionHandle;
    use std::pin::pin;
    use std::task::{Context, Waker};

    #[tokio::test]
    async fn very_many_are_ended_a_part_at_a_time_and_those_without_a_connection_wait_on() {
        let backend = Backend::start(options());
        let mut here: Vec<SessionHandle> = Vec::new();
        for number in 0..3 * PART {
            here.push(open(&backend, clean(&format!("here-{number}"))).await);
            drop(open(&backend, persistent(&format!("away-{number}"))).await);
        }
        let ended = || here.iter().filter(|session| session.ended().is_some()).count();
        let mut ending = pin!(backend.disconnect_all_in_turns(SessionEnd::ShuttingDown));
        let mut context = Context::from_waker(Waker::noop());
        let mut before = 0;
        while ending.as_mut().poll(&mut context).is_pending() {
            let now = ended();
            assert!(now - before <= PART, "{now} after {before}");
            before = now;
        }
        assert_eq!(ended(), here.len());
        assert_eq!(backend.disconnect_all(SessionEnd::ShuttingDown), here.len());
        assert_eq!(backend.counts().offline, 3 * PART);
        let back = open(&backend, persistent("away-0")).await;
        assert_eq!(back.ended(), None);
    }
}
