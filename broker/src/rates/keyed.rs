//! A rate for each of many keys: client ids, topics. Only keys that were used within the last second take memory.
use super::bucket::{Bucket, Nanos, Rate};
use hashbrown::{DefaultHashBuilder, HashMap};
use parking_lot::Mutex;
use std::hash::{BuildHasher, Hash};

const SHARDS: usize = 16;
/// Keys of a shard that are remembered at once. Whoever comes beyond them is let pass: that many different ones a second
/// are not what a rate for each is for.
const MOST: usize = 65_536;
/// A shard is not looked through for fewer keys than these.
const FEW: usize = 256;

/// Buckets by the hash of their key; the hash is seeded, so that nobody can choose keys that share one.
pub(crate) struct KeyedRates {
    rate: Rate,
    hasher: DefaultHashBuilder,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    buckets: HashMap<u64, Bucket>,
    /// With this many keys those whose bucket is full again are forgotten.
    look_through_at: usize,
}

impl KeyedRates {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, hasher: DefaultHashBuilder::default(), shards: Default::default() }
    }

    /// Takes one of a key's if it is there.
    pub(crate) fn take<K: Hash + ?Sized>(&self, key: &K, now: Nanos) -> bool {
        let hash = self.hasher.hash_one(key);
        let Some(shard) = self.shards.get(hash as usize % SHARDS) else { return true };
        let mut shard = shard.lock();
        if let Some(bucket) = shard.buckets.get_mut(&hash) {
            return bucket.take(self.rate, 1, now);
        }
        if shard.buckets.len() >= shard.look_through_at.max(FEW) {
            shard.buckets.retain(|_, bucket| !bucket.is_full(now));
            shard.look_through_at = 2 * shard.buckets.len();
            let (kept, capacity) = (shard.buckets.len(), shard.buckets.capacity());
            if kept < capacity / 4 {
                shard.buckets.shrink_to(2 * kept);
            }
        }
        if shard.buckets.len() < MOST {
            let mut bucket = Bucket::default();
            bucket.take(self.rate, 1, now);
            shard.buckets.insert(hash, bucket);
        }
        true
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().buckets.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    #[test]
    fn each_key_has_a_rate_of_its_own() {
        let rates = KeyedRates::new(Rate::new(1).unwrap());
        assert!(rates.take("a", 0) && rates.take("b", 0));
        assert!(!rates.take("a", SECOND - 1));
        assert!(rates.take("a", SECOND) && rates.take("b", SECOND));
    }

    #[test]
    fn a_key_that_is_not_used_takes_no_memory() {
        let rates = KeyedRates::new(Rate::new(1).unwrap());
        for round in 0..10 {
            for key in 0..5000u32 {
                assert!(rates.take(&(round, key), round * 2 * SECOND));
            }
        }
        assert!(rates.len() <= 15_000, "{}", rates.len());
    }

    #[test]
    fn however_many_keys_there_are_memory_is_bounded() {
        let rates = KeyedRates::new(Rate::new(1).unwrap());
        let keys = u32::try_from(MOST * SHARDS + 1000).unwrap();
        assert!((0..keys).all(|key| rates.take(&key, 0)));
        assert!(rates.len() <= MOST * SHARDS);
    }
}
