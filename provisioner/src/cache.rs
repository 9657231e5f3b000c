//! Something computed once per key and kept, never more of them than a bound.
use hashbrown::{Equivalent, HashMap};
use parking_lot::RwLock;
use std::collections::VecDeque;
use std::hash::Hash;

/// Keys must name their value for ever (a hash of the content, a version that is never reused), so that nothing here
/// can be stale. Over the bound the one computed longest ago goes.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    most: usize,
    kept: RwLock<Kept<K, V>>,
}
#[derive(Debug)]
struct Kept<K, V> {
    values: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K: Hash + Eq + Clone, V: Clone> Cache<K, V> {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, kept: RwLock::new(Kept { values: HashMap::new(), order: VecDeque::new() }) }
    }
    pub(crate) fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<V> {
        self.kept.read().values.get(key).cloned()
    }
    pub(crate) fn put(&self, key: K, value: V) {
        let mut kept = self.kept.write();
        if kept.values.insert(key.clone(), value).is_none() {
            kept.order.push_back(key);
        }
        while kept.order.len() > self.most {
            if let Some(oldest) = kept.order.pop_front() {
                kept.values.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cache;

    #[test]
    fn the_oldest_goes_when_the_bound_is_reached() {
        let cache = Cache::new(2);
        for key in [1, 2, 2, 3] {
            cache.put(key, key * 10);
        }
        assert_eq!((cache.get(&1), cache.get(&2), cache.get(&3)), (None, Some(20), Some(30)));
    }
}
