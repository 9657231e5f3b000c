//! How many calls each access key has under way.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts the calls under way of each key, up to a bound. Holds an entry per key that has some, so its size is bounded by
/// the number of connections.
pub(crate) struct InFlight {
    most: usize,
    calls: Arc<Mutex<HashMap<String, usize>>>,
}

/// A call's place; given back when dropped.
pub(crate) struct Place {
    key: String,
    calls: Arc<Mutex<HashMap<String, usize>>>,
}

impl InFlight {
    /// At most so many calls of one key at a time.
    pub fn new(most: usize) -> Self {
        Self { most, calls: Arc::default() }
    }
    /// A place for one more call of a key. `None`: it has as many as it may.
    pub fn enter(&self, key: &str) -> Option<Place> {
        // What a panic elsewhere could leave behind is still a count.
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let count = calls.entry(key.to_string()).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place { key: key.to_string(), calls: Arc::clone(&self.calls) })
    }
    /// The bound.
    pub fn most(&self) -> usize {
        self.most
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = calls.get_mut(&self.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                calls.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_places_and_gets_them_back() {
        let in_flight = InFlight::new(2);
        let first = in_flight.enter("A");
        let _second = in_flight.enter("A");
        assert!(in_flight.enter("A").is_none());
        assert!(in_flight.enter("B").is_some());
        drop(first);
        assert!(in_flight.enter("A").is_some());
        assert_eq!(in_flight.calls.lock().unwrap().len(), 1);
    }
}
