//! Single flight: of all that ask for the same at the same time, one does it and the others get its result.
use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use tokio::sync::watch;

/// The flights under way, by key. A flight is a task of its own: it goes on when nobody waits for it any more.
pub(crate) struct Flights<K, T> {
    most: usize,
    under_way: Mutex<HashMap<K, watch::Receiver<Option<T>>>>,
}

/// A seat in a flight.
pub(crate) struct Flight<T> {
    /// This call started it.
    pub(crate) led: bool,
    landing: watch::Receiver<Option<T>>,
}

impl<K, T> Flights<K, T>
where
    K: Hash + Eq + Copy + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// At most `most` flights at once.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, under_way: Mutex::new(HashMap::new()) })
    }

    /// Joins the flight of the key, or starts it. `None`: too many are under way.
    pub(crate) fn board<F>(self: &Arc<Self>, key: K, fly: impl FnOnce() -> F) -> Option<Flight<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut under_way = self.under_way.lock();
        if let Some(landing) = under_way.get(&key) {
            return Some(Flight { led: false, landing: landing.clone() });
        }
        if under_way.len() >= self.most {
            return None;
        }
        let (land, landing) = watch::channel(None);
        under_way.insert(key, landing.clone());
        drop(under_way);
        // The guard takes the flight off the list also when it crashes.
        let listed = Listed { flights: Arc::clone(self), key };
        let flight = fly();
        tokio::spawn(async move {
            let result = flight.await;
            drop(listed);
            land.send_replace(Some(result));
        });
        Some(Flight { led: true, landing })
    }
}

impl<T: Clone> Flight<T> {
    /// Waits for the result. `None`: the flight crashed.
    pub(crate) async fn landed(mut self) -> Option<T> {
        self.landing.wait_for(Option::is_some).await.ok().and_then(|result| result.clone())
    }
}

struct Listed<K: Hash + Eq, T> {
    flights: Arc<Flights<K, T>>,
    key: K,
}
impl<K: Hash + Eq, T> Drop for Listed<K, T> {
    fn drop(&mut self) {
        self.flights.under_way.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Notify;

    #[tokio::test]
    async fn all_that_board_before_the_landing_share_one_flight() {
        let flights = Flights::<u32, usize>::new(10);
        let (runs, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let seats: Vec<_> = (0..1000)
            .map(|_| {
                let (runs, go) = (Arc::clone(&runs), Arc::clone(&go));
                let fly = || async move {
                    go.notified().await;
                    runs.fetch_add(1, Ordering::SeqCst) + 1
                };
                flights.board(7, fly).unwrap()
            })
            .collect();
        assert_eq!(seats.iter().filter(|seat| seat.led).count(), 1);
        go.notify_one();
        for seat in seats {
            assert_eq!(seat.landed().await, Some(1));
        }
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        assert!(flights.under_way.lock().is_empty());
    }

    #[tokio::test]
    async fn a_crashed_flight_tells_its_passengers_and_makes_room_for_the_next() {
        let flights = Flights::<u32, usize>::new(10);
        let crash = || async { if true { panic!("crash") } else { 1 } };
        assert_eq!(flights.board(7, crash).unwrap().landed().await, None);
        assert_eq!(flights.board(7, || async { 2 }).unwrap().landed().await, Some(2));
    }

    #[tokio::test]
    async fn there_are_never_more_flights_than_allowed() {
        let flights = Flights::<u32, usize>::new(1);
        let first = flights.board(1, std::future::pending).unwrap();
        assert!(first.led);
        assert!(flights.board(2, || async { 2 }).is_none());
        assert!(!flights.board(1, || async { 1 }).unwrap().led);
    }
}
