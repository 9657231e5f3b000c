//! A set of very many that is walked while it changes.
use super::dense_set::Keyed;
use std::collections::VecDeque;
use std::sync::Arc;

/// Items in the order of their keys, in chunks. A [`Snapshot`] shares the chunks; while it does, the first change of each makes a
/// copy of it. So it costs a reference for each chunk, and whoever walks it needs no lock.
pub(super) struct SnapshotSet<T> {
    /// None is empty.
    chunks: Vec<Chunk<T>>,
    len: usize,
}

struct Chunk<T> {
    /// The key of the first item, to be searched without a look at the items.
    first: u64,
    items: Arc<Vec<T>>,
}

/// The items that were in a set, in the order of their keys.
#[derive(Clone)]
pub(crate) struct Snapshot<T> {
    /// Let go of one after the other. What only the snapshot still has of the set is freed a chunk at a time.
    chunks: VecDeque<Arc<Vec<T>>>,
    /// In the first chunk.
    position: usize,
    left: usize,
}

/// A fuller chunk becomes two.
const LARGEST: usize = 256;
/// An emptier one joins another, if both together leave room for more.
const SMALLEST: usize = LARGEST / 4;

impl<T: Keyed + Clone> SnapshotSet<T> {
    /// With items that have different keys.
    pub(super) fn of(mut items: Vec<T>) -> Self {
        items.sort_unstable_by_key(Keyed::key);
        let len = items.len();
        let chunks = items.chunks(LARGEST).filter_map(|chunk| Chunk::of(chunk.to_vec())).collect();
        Self { chunks, len }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds an item. Returns whether it replaced one with the same key.
    pub(super) fn insert(&mut self, item: T) -> bool {
        let key = item.key();
        let at = self.chunk_of(key);
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.extend(Chunk::of(vec![item]));
            self.len += 1;
            return false;
        };
        let upper = match chunk.items.binary_search_by_key(&key, Keyed::key) {
            Ok(position) => {
                if let Some(present) = Arc::make_mut(&mut chunk.items).get_mut(position) {
                    *present = item;
                }
                return true;
            }
            // Keys count up: mostly it is the last one of all, and full chunks stay full.
            Err(LARGEST) => match self.chunks.get_mut(at + 1).filter(|next| next.items.len() < LARGEST) {
                None => vec![item],
                Some(next) => {
                    Arc::make_mut(&mut next.items).insert(0, item);
                    next.first = key;
                    Vec::new()
                }
            },
            Err(position) => {
                let items = Arc::make_mut(&mut chunk.items);
                items.insert(position, item);
                chunk.first = chunk.first.min(key);
                let upper = if items.len() > LARGEST { items.split_off(LARGEST / 2) } else { Vec::new() };
                items.shrink_to(LARGEST);
                upper
            }
        };
        if let Some(upper) = Chunk::of(upper) {
            self.chunks.insert(at + 1, upper);
        }
        self.len += 1;
        false
    }

    /// Removes the item with this key. Returns whether there was one.
    pub(super) fn remove(&mut self, key: u64) -> bool {
        let at = self.chunk_of(key);
        let Some(chunk) = self.chunks.get_mut(at) else { return false };
        let Ok(position) = chunk.items.binary_search_by_key(&key, Keyed::key) else { return false };
        let items = Arc::make_mut(&mut chunk.items);
        items.remove(position);
        self.len -= 1;
        match items.first() {
            None => drop(self.chunks.remove(at)),
            Some(first) => {
                chunk.first = first.key();
                if items.len() < SMALLEST {
                    self.join(at.saturating_sub(1));
                    self.join(at);
                }
            }
        }
        true
    }

    /// What is in the set now, whatever becomes of it.
    pub(super) fn snapshot(&self) -> Snapshot<T> {
        let chunks = self.chunks.iter().map(|chunk| Arc::clone(&chunk.items)).collect();
        Snapshot { chunks, position: 0, left: self.len }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.items.iter())
    }

    /// Where an item with this key is, or would be.
    fn chunk_of(&self, key: u64) -> usize {
        self.chunks.partition_point(|chunk| chunk.first <= key).saturating_sub(1)
    }

    /// Makes one chunk of this one and the next, if there is one and both are small.
    fn join(&mut self, at: usize) {
        let Some([one, next]) = self.chunks.get_mut(at..).and_then(<[_]>::first_chunk_mut) else { return };
        if one.items.len() + next.items.len() <= LARGEST / 2 {
            Arc::make_mut(&mut one.items).extend_from_slice(&next.items);
            self.chunks.remove(at + 1);
        }
    }
}

impl<T: Keyed> Chunk<T> {
    /// `None` of nothing. In order.
    fn of(items: Vec<T>) -> Option<Self> {
        Some(Self { first: items.first()?.key(), items: Arc::new(items) })
    }
}

impl<T: Clone> Iterator for Snapshot<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let chunk = self.chunks.front()?;
        let item = chunk.get(self.position)?.clone();
        self.position += 1;
        self.left = self.left.saturating_sub(1);
        if self.position == chunk.len() {
            self.position = 0;
            self.chunks.pop_front();
        }
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T: Clone> ExactSizeIterator for Snapshot<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// One that is counted.
    #[derive(Clone)]
    struct Item(u64, #[expect(dead_code, reason = "held to be counted")] Arc<()>);

    impl Keyed for Item {
        fn key(&self) -> u64 {
            self.0
        }
    }

    type Pair = (u64, u8);

    fn keys(items: impl Iterator<Item = Pair>) -> Vec<u64> {
        items.map(|item| item.0).collect()
    }

    proptest! {
        /// Of keys that lie together or apart, from any of them on, upwards or downwards.
        #[test]
        fn it_behaves_like_a_map_and_a_snapshot_as_if_nothing_changed_any_more(
            first in 0..600u64,
            steps in proptest::collection::vec((0..3000u64, 1..400u64, 1..5u64, any::<bool>(), 0..5u8), 0..30)
        ) {
            let mut set = SnapshotSet::of((0..first).rev().map(|key| (key, 0)).collect());
            let mut model: BTreeMap<u64, u8> = (0..first).map(|key| (key, 0)).collect();
            let mut before: Vec<(Snapshot<Pair>, Vec<Pair>)> = Vec::new();
            for (value, (from, many, apart, upwards, what)) in (1..).zip(steps) {
                for number in 0..many {
                    let key = from + apart * if upwards { number } else { many - 1 - number };
                    match what {
                        0..3 => prop_assert_eq!(set.insert((key, value)), model.insert(key, value).is_some()),
                        _ => prop_assert_eq!(set.remove(key), model.remove(&key).is_some()),
                    }
                }
                prop_assert_eq!(set.len(), model.len());
                let now: Vec<Pair> = model.iter().map(|(key, value)| (*key, *value)).collect();
                prop_assert_eq!(set.iter().copied().collect::<Vec<_>>(), now.clone());
                let is_well = |chunk: &Chunk<Pair>| {
                    (1..=LARGEST).contains(&chunk.items.len()) && chunk.items[0].0 == chunk.first
                };
                prop_assert!(set.chunks.iter().all(is_well));
                // Some are walked in part before the next change.
                let mut snapshot = set.snapshot();
                prop_assert_eq!(snapshot.len(), now.len());
                let seen: Vec<Pair> = snapshot.by_ref().take(usize::from(value) * 20).collect();
                prop_assert_eq!(&now[..seen.len()], &seen);
                before.push((snapshot, now[seen.len()..].to_vec()));
            }
            for (snapshot, expected) in before {
                prop_assert_eq!(snapshot.len(), expected.len());
                prop_assert_eq!(snapshot.collect::<Vec<_>>(), expected);
            }
            for key in model.keys() {
                prop_assert!(set.remove(*key));
            }
            prop_assert!(set.chunks.is_empty());
        }
    }

    #[test]
    fn chunks_are_full_where_keys_count_up_and_few_where_most_have_gone() {
        let mut set = SnapshotSet::of(Vec::new());
        for key in 0..10 * LARGEST as u64 {
            set.insert((key, 0));
        }
        assert_eq!(set.chunks.len(), 10);
        for key in (0..10 * LARGEST as u64).filter(|key| key % 16 > 0) {
            set.remove(key);
        }
        assert!(set.chunks.len() <= 4, "{}", set.chunks.len());
        assert_eq!(keys(set.iter().copied()), (0..160).map(|n| n * 16).collect::<Vec<u64>>());
    }

    #[test]
    fn chunks_are_few_where_keys_count_down_behind_a_full_one() {
        let mut set = SnapshotSet::of((0..LARGEST as u64).map(|key| (key, 0)).collect());
        for key in (1000..1000 + 20 * LARGEST as u64).rev() {
            set.insert((key, 0));
        }
        assert_eq!(set.len(), 21 * LARGEST);
        assert!(set.chunks.len() <= 42, "{}", set.chunks.len());
    }

    #[test]
    fn a_change_copies_one_chunk_and_what_is_gone_is_freed_on_the_way() {
        let counted = Arc::new(());
        let all = 4 * LARGEST;
        let mut set = SnapshotSet::of((0..all as u64).map(|key| Item(key, Arc::clone(&counted))).collect());
        let mut snapshot = set.snapshot();
        assert_eq!(Arc::strong_count(&counted), 1 + all);
        set.remove(0);
        assert_eq!(Arc::strong_count(&counted), 1 + all + LARGEST - 1);
        drop(set);
        assert_eq!(Arc::strong_count(&counted), 1 + all);
        snapshot.by_ref().take(LARGEST).for_each(drop);
        assert_eq!(Arc::strong_count(&counted), 1 + all - LARGEST);
    }
}
