//! `versionNumber` of presence events: per client id, rising, forgotten an hour after the client left
//! (`spec/events.md` section 4).
//!
//! A client that was offline for an hour starts again at 0. One that is not known here although it may have been
//! connected less than an hour ago, because the broker has started since or because memory is bounded, starts at a
//! *floor* that is above every number it can have had. After a start that is the time in milliseconds: numbers rise by
//! one with each connection of a client, so an earlier run cannot have come as far, unless the clock was set back or the
//! client connected a thousand times a second.
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A client that was offline for this long starts again at 0.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);
/// Offline clients remembered at most; at the bound the one that left first is forgotten early.
const REMEMBERED: usize = 200_000;

/// The numbers of all clients that are connected or were within the last hour.
#[derive(Debug)]
pub(super) struct VersionNumbers {
    clients: HashMap<Arc<str>, Client>,
    /// Who left, in that order. An entry is stale when the client has come back since.
    left: VecDeque<(Instant, Arc<str>, u64)>,
    /// Above the numbers of all clients that were forgotten before their hour was over.
    floor: u64,
    /// When that hour is over for the last of them.
    floor_until: Instant,
}

#[derive(Debug)]
struct Client {
    newest: u64,
    connections: u32,
}

impl VersionNumbers {
    /// For a broker that starts now. `milliseconds`: since 1970, by the clock that earlier runs had.
    pub(super) fn starting_at(milliseconds: u64, now: Instant) -> Self {
        Self {
            clients: HashMap::new(),
            left: VecDeque::new(),
            floor: milliseconds,
            floor_until: now + FORGOTTEN_AFTER,
        }
    }

    /// A connection starts. Its `connected` and `disconnected` carry the number returned.
    pub(super) fn connect(&mut self, client_id: &Arc<str>, now: Instant) -> u64 {
        self.forget(now);
        match self.clients.get_mut(client_id) {
            Some(client) => {
                client.newest += 1;
                client.connections += 1;
                client.newest
            }
            None => {
                let newest = if now < self.floor_until { self.floor } else { 0 };
                self.clients.insert(Arc::clone(client_id), Client { newest, connections: 1 });
                newest
            }
        }
    }

    /// A connection ended.
    pub(super) fn disconnect(&mut self, client_id: &Arc<str>, now: Instant) {
        if let Some(client) = self.clients.get_mut(client_id) {
            client.connections = client.connections.saturating_sub(1);
            if client.connections == 0 {
                self.left.push_back((now, Arc::clone(client_id), client.newest));
            }
        }
        self.forget(now);
    }

    fn forget(&mut self, now: Instant) {
        while let Some((since, client_id, newest)) = self.left.front() {
            let due = now.saturating_duration_since(*since) >= FORGOTTEN_AFTER;
            if !due && self.left.len() <= REMEMBERED {
                return;
            }
            let still_gone =
                self.clients.get(client_id).is_some_and(|c| c.connections == 0 && c.newest == *newest);
            if still_gone {
                self.clients.remove(client_id);
                if !due {
                    let before = if now < self.floor_until { self.floor } else { 0 };
                    self.floor = before.max(newest + 1);
                    self.floor_until = self.floor_until.max(*since + FORGOTTEN_AFTER);
                }
            }
            self.left.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: u64 = 1_767_225_661_002;

    fn just_started() -> VersionNumbers {
        VersionNumbers::starting_at(STARTED, Instant::now())
    }

    /// A broker that has run for an hour, so that it knows everyone who counts.
    async fn settled() -> VersionNumbers {
        let numbers = just_started();
        tokio::time::advance(FORGOTTEN_AFTER).await;
        numbers
    }

    #[tokio::test(start_paused = true)]
    async fn numbers_rise_with_each_connection_of_a_client() {
        let mut numbers = settled().await;
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        assert_eq!(numbers.connect(&a, Instant::now()), 0);
        assert_eq!(numbers.connect(&a, Instant::now()), 1, "a takeover");
        assert_eq!(numbers.connect(&b, Instant::now()), 0);
        numbers.disconnect(&a, Instant::now());
        numbers.disconnect(&a, Instant::now());
        tokio::time::advance(FORGOTTEN_AFTER - Duration::from_secs(1)).await;
        assert_eq!(numbers.connect(&a, Instant::now()), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_starts_again_after_an_hour_offline() {
        let mut numbers = settled().await;
        let a: Arc<str> = "a".into();
        numbers.connect(&a, Instant::now());
        numbers.connect(&a, Instant::now());
        numbers.disconnect(&a, Instant::now());
        tokio::time::advance(FORGOTTEN_AFTER).await;
        assert_eq!(numbers.connect(&a, Instant::now()), 2, "still connected once");
        numbers.disconnect(&a, Instant::now());
        numbers.disconnect(&a, Instant::now());
        tokio::time::advance(FORGOTTEN_AFTER).await;
        assert_eq!(numbers.connect(&a, Instant::now()), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn numbers_rise_across_a_restart() {
        let a: Arc<str> = "a".into();
        let mut before = just_started();
        let last = (0..500).map(|_| before.connect(&a, Instant::now())).last().unwrap();
        // The restart takes a second; nothing of the first run is left.
        let mut after = VersionNumbers::starting_at(STARTED + 1000, Instant::now());
        assert!(after.connect(&a, Instant::now()) > last);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_by_forgetting_who_left_first_whose_numbers_rise_all_the_same() {
        let mut numbers = settled().await;
        let first: Arc<str> = "first".into();
        numbers.connect(&first, Instant::now());
        numbers.connect(&first, Instant::now());
        numbers.disconnect(&first, Instant::now());
        numbers.disconnect(&first, Instant::now());
        for n in 0..REMEMBERED {
            let id: Arc<str> = n.to_string().into();
            numbers.connect(&id, Instant::now());
            numbers.disconnect(&id, Instant::now());
        }
        assert_eq!(numbers.clients.len(), REMEMBERED);
        assert_eq!(numbers.left.len(), REMEMBERED);
        assert_eq!(numbers.connect(&first, Instant::now()), 2);
        tokio::time::advance(FORGOTTEN_AFTER).await;
        assert_eq!(numbers.connect(&"new".into(), Instant::now()), 0);
    }
}
