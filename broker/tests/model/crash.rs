//! What a restart and a kill of the broker leave. What a crash may take, and only that, is not expected but allowed: see
//! [`Certainty`](super::session::Certainty).
use super::retained::Kept;
use super::script::CLIENTS;
use super::semantics::Model;
use super::session::{Away, Session, Will};

impl Model {
    /// Everything that was said so far is stored.
    pub fn settled(&mut self) {
        self.ghosts = Default::default();
        for session in self.sessions.iter_mut().flatten() {
            session.pending.iter_mut().for_each(|expected| expected.fresh = false);
            session.seen.retain(|expected| !expected.acknowledged);
            session.seen.iter_mut().for_each(|expected| expected.fresh = false);
            session.scans.retain(|scan| !scan.through);
            session.away.iter_mut().for_each(|away| away.fresh = false);
            session.left_with = None;
        }
        for retained in self.retained.values_mut() {
            let last = retained.0.pop().flatten();
            retained.0 = vec![last];
        }
        self.groups.settled();
    }

    /// The broker was stopped in order, after every connection was ended, and is started again.
    pub fn restarted(&mut self) {
        self.sessions.iter_mut().flatten().for_each(Session::merge_scans);
        self.set_timers_anew();
        self.groups.restarted();
    }

    /// In the order of the sessions.
    fn set_timers_anew(&mut self) {
        let first = self.event();
        for session in self.sessions.iter_mut().flatten() {
            session.away.iter_mut().for_each(|away| away.timer_set = first + session.born);
        }
        self.events += first;
    }

    /// The broker is killed and started again. `retained`: what is retained then.
    pub fn killed(&mut self, retained: impl Fn(&str) -> Option<usize>) -> Result<(), String> {
        self.keep_what_is_published_again();
        let mut suspects = Vec::new();
        for client in 0..CLIENTS {
            if let Some(mut ghost) = self.ghosts[client].take() {
                ghost.uncertain = true;
                self.sessions[client] = Some(ghost);
            }
            let Some(session) = &mut self.sessions[client] else { continue };
            if !session.durable {
                // Its will is not stored.
                self.sessions[client] = None;
                self.groups.left(client);
                self.member_is_gone(client);
                continue;
            }
            session.crash();
            session.uncertain |= session.away.as_ref().is_some_and(|away| away.fresh);
            let (expires_at, delayed) = match session.away.take() {
                Some(away) => (away.expires_at, away.delayed),
                None => {
                    let expires_at = self.now + session.expiry;
                    // Nobody knows when the broker was killed: its delay begins now.
                    let due = |will: Will| (expires_at.min(self.now + will.delay), will);
                    (expires_at, session.will.take().map(due))
                }
            };
            let left_with = session.left_with.take().map(|left| left.will);
            suspects.extend(left_with.filter(|_| session.uncertain));
            let delayed = delayed.filter(|_| !session.uncertain);
            session.away = Some(Away { expires_at, delayed, timer_set: 0, fresh: false });
        }
        self.set_timers_anew();
        let uncertain = self.sessions.iter().flatten().any(|session| session.uncertain);
        self.groups.killed(uncertain);
        suspects.into_iter().for_each(|will| self.suspect(will));
        let before = self.event();
        self.fall_due();
        self.see_retained(&retained);
        let now = self.now;
        let open: Vec<_> = self.retained.keys().map(|topic| self.is_suspect(topic)).collect();
        for ((topic, kept), open) in self.retained.iter_mut().zip(open) {
            let found = retained(topic);
            if !open {
                // What is published once the broker is there again is certain.
                let first = kept.0.iter().position(|kept| kept.is_some_and(|kept| kept.since > before));
                first.into_iter().for_each(|first| drop(kept.0.drain(..first)));
            }
            let alive =
                |kept: &Option<Kept>| kept.filter(|kept| !kept.has_expired(now)).map(|kept| kept.number);
            let Some(kept_one) = kept.0.iter().rev().find(|kept| alive(kept) == found).copied() else {
                return Err(format!("{found:?} is retained on {topic} after the kill: {:?}", kept.0));
            };
            kept.0 = vec![kept_one];
        }
        Ok(())
    }
}
