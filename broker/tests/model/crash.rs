//! What a restart and a kill of the broker leave. What a crash may take, and only that, is not expected but allowed: see
//! [`Certainty`](super::session::Certainty).
use super::retained::Kept;
use super::script::CLIENTS;
use super::semantics::Model;
use super::session::Away;

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
        }
        for retained in self.retained.values_mut() {
            let last = retained.0.pop().flatten();
            retained.0 = vec![last];
        }
        self.groups.settled();
    }

    /// The broker was stopped in order, after every connection was ended, and is started again. Delayed wills are not kept
    /// over that.
    pub fn restarted(&mut self) {
        for session in self.sessions.iter_mut().flatten() {
            session.away.iter_mut().for_each(|away| away.delayed = None);
            session.merge_scans();
        }
        self.groups.restarted();
    }

    /// The broker is killed and started again. `retained`: what is retained then.
    pub fn killed(&mut self, retained: impl Fn(&str) -> Option<usize>) -> Result<(), String> {
        for client in 0..CLIENTS {
            if let Some(mut ghost) = self.ghosts[client].take() {
                ghost.uncertain = true;
                self.sessions[client] = Some(ghost);
            }
            let Some(session) = &mut self.sessions[client] else { continue };
            if !session.durable || (session.away.is_none() && session.expiry == 0) {
                self.sessions[client] = None;
                self.groups.left(client);
                self.member_is_gone(client);
                continue;
            }
            session.crash();
            session.uncertain |= session.away.as_ref().is_some_and(|away| away.fresh);
            let timer_set = self.events;
            let expires_at = match &session.away {
                Some(away) => away.expires_at,
                None => self.now + session.expiry,
            };
            session.away = Some(Away { expires_at, delayed: None, timer_set, fresh: false });
            session.will = None;
        }
        let uncertain = self.sessions.iter().flatten().any(|session| session.uncertain);
        self.groups.killed(uncertain);
        let now = self.now;
        for (topic, kept) in &mut self.retained {
            let found = retained(topic);
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
