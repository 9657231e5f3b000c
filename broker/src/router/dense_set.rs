//! A set that is dense in memory and finds by key.
use hashbrown::HashTable;
use smallvec::SmallVec;

/// Something with a key that is unique within its set. Keys are numbers that this process gave out, never a client's.
pub(crate) trait Keyed {
    fn key(&self) -> u64;
}

/// One item needs no allocation; few are searched one by one; many have an index. Iterating is walking an array.
pub(crate) struct DenseSet<T> {
    items: SmallVec<[T; 1]>,
    /// Positions in `items`, by key, once there are many.
    index: Option<Box<HashTable<u32>>>,
}

/// From here on there is an index; it goes when a quarter of this is left.
const MANY: usize = 32;

impl<T> Default for DenseSet<T> {
    fn default() -> Self {
        Self { items: SmallVec::new(), index: None }
    }
}

impl<T: Keyed> DenseSet<T> {
    /// Adds an item; returns the one with the same key that it replaced.
    pub(crate) fn insert(&mut self, item: T) -> Option<T> {
        let key = item.key();
        if let Some(present) = self.position(key).and_then(|position| self.items.get_mut(position)) {
            return Some(std::mem::replace(present, item));
        }
        let position = self.items.len() as u32;
        self.items.push(item);
        let items = &self.items;
        match &mut self.index {
            Some(index) => {
                index.insert_unique(hash(key), position, |position| hash_at(items, *position));
            }
            None if items.len() >= MANY => {
                let mut index = HashTable::with_capacity(items.len() * 2);
                for (position, item) in (0..).zip(items) {
                    index.insert_unique(hash(item.key()), position, |position| hash_at(items, *position));
                }
                self.index = Some(Box::new(index));
            }
            None => {}
        }
        None
    }

    /// Removes the item with this key.
    pub(crate) fn remove(&mut self, key: u64) -> Option<T> {
        let position = self.position(key)?;
        if let Some(index) = &mut self.index {
            let last = self.items.len() as u32 - 1;
            if let Ok(entry) = index.find_entry(hash(key), |at| *at as usize == position) {
                entry.remove();
            }
            // The last item moves into the gap.
            if let Some(moved) = self.items.last().map(Keyed::key)
                && let Some(at) = index.find_mut(hash(moved), |at| *at == last)
            {
                *at = position as u32;
            }
        }
        let removed = self.items.swap_remove(position);
        if self.items.is_empty() || self.items.len() < self.items.capacity() / 4 {
            self.items.shrink_to_fit();
            let items = &self.items;
            if items.len() <= MANY / 4 {
                self.index = None;
            } else if let Some(index) = &mut self.index {
                index.shrink_to_fit(|position| hash_at(items, *position));
            }
        }
        Some(removed)
    }

    /// The items in no particular order.
    pub(crate) fn as_slice(&self) -> &[T] {
        &self.items
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn position(&self, key: u64) -> Option<usize> {
        let Some(index) = &self.index else { return self.items.iter().position(|item| item.key() == key) };
        let has_key = |at: &u32| self.items.get(*at as usize).is_some_and(|item| item.key() == key);
        index.find(hash(key), has_key).map(|position| *position as usize)
    }
}

fn hash_at<T: Keyed>(items: &[T], position: u32) -> u64 {
    items.get(position as usize).map_or(0, |item| hash(item.key()))
}

/// Keys count up: an odd factor spreads them, and folding makes the low bits depend on all.
fn hash(key: u64) -> u64 {
    let spread = key.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    spread ^ (spread >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    impl Keyed for (u64, u8) {
        fn key(&self) -> u64 {
            self.0
        }
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_map(steps in proptest::collection::vec((0..120u64, any::<u8>(), 0..3u8), 0..600)) {
            let mut set = DenseSet::default();
            let mut model = BTreeMap::new();
            for (key, value, what) in steps {
                if what > 0 {
                    prop_assert_eq!(set.insert((key, value)).map(|item| item.1), model.insert(key, value));
                } else {
                    prop_assert_eq!(set.remove(key).map(|item| item.1), model.remove(&key));
                }
                prop_assert_eq!(set.as_slice().len(), model.len());
            }
            let items: BTreeMap<u64, u8> = set.as_slice().iter().copied().collect();
            prop_assert_eq!(&items, &model);
            for key in model.keys() {
                prop_assert!(set.remove(*key).is_some());
            }
            prop_assert!(set.is_empty() && set.index.is_none() && !set.items.spilled());
        }
    }
}
