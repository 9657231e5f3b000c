//! `versionNumber` of presence events: per client id, rising, forgotten an hour after the client left
//! (`spec/events.md` section 4).
use hashbrown::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A client that was offline for this long starts again at 0.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);
/// Offline clients remembered at most; at the bound the one that left first is forgotten early.
const REMEMBERED: usize = 200_000;

/// The numbers of all clients that are connected or were within the last hour.
#[derive(Debug, Default)]
pub(super) struct VersionNumbers {
    clients: HashMap<Arc<str>, Client>,
    /// Who left, in that order. An entry is stale when the client has come back since.
    left: std::collections::VecDeque<(Instant, Arc<str>, u64)>,
}

#[derive(Debug)]
struct Client {
    newest: u64,
    connections: u32,
}

impl VersionNumbers {
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
                self.clients.insert(Arc::clone(client_id), Client { newest: 0, connections: 1 });
                0
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
            let due =
                now.saturating_duration_since(*since) >= FORGOTTEN_AFTER || self.left.len() > REMEMBERED;
            if !due {
                return;
            }
            let still_gone =
                self.clients.get(client_id).is_some_and(|c| c.connections == 0 && c.newest == *newest);
            if still_gone {
                self.clients.remove(client_id);
            }
            self.left.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn numbers_rise_with_each_connection_of_a_client() {
        let mut numbers = VersionNumbers::default();
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
        let mut numbers = VersionNumbers::default();
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
    async fn memory_is_bounded_by_forgetting_who_left_first() {
        let mut numbers = VersionNumbers::default();
        for n in 0..=REMEMBERED {
            let id: Arc<str> = n.to_string().into();
            numbers.connect(&id, Instant::now());
            numbers.disconnect(&id, Instant::now());
        }
        assert_eq!(numbers.clients.len(), REMEMBERED);
        assert_eq!(numbers.left.len(), REMEMBERED);
    }
}
