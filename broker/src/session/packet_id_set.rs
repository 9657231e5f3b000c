//! A set of packet ids: two bytes each, and cheap for those that come and go nearly in ascending order, as they do.
use std::collections::VecDeque;

/// Memory of an empty set that is kept for the next ids, in ids.
const KEPT_CAPACITY: usize = 64;

/// Packet ids, each once.
#[derive(Debug, Default)]
pub(crate) struct PacketIdSet {
    ascending: VecDeque<u16>,
}

impl PacketIdSet {
    /// Adds one. Returns whether it was not there.
    pub(crate) fn insert(&mut self, packet_id: u16) -> bool {
        let Err(place) = self.place(packet_id) else { return false };
        self.ascending.insert(place, packet_id);
        true
    }

    /// Removes one. Returns whether it was there.
    pub(crate) fn remove(&mut self, packet_id: u16) -> bool {
        let Ok(place) = self.place(packet_id) else { return false };
        self.ascending.remove(place);
        if self.ascending.is_empty() && self.ascending.capacity() > KEPT_CAPACITY {
            self.ascending = VecDeque::new();
        }
        true
    }

    pub(crate) fn contains(&self, packet_id: u16) -> bool {
        self.place(packet_id).is_ok()
    }

    pub(crate) fn len(&self) -> usize {
        self.ascending.len()
    }

    /// All of them, in ascending order.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = u16> {
        self.ascending.iter().copied()
    }

    /// Where it is, or where it would be.
    fn place(&self, packet_id: u16) -> Result<usize, usize> {
        match (self.ascending.front(), self.ascending.back()) {
            (_, Some(last)) if *last < packet_id => Err(self.ascending.len()),
            (Some(first), _) if *first == packet_id => Ok(0),
            _ => self.ascending.binary_search(&packet_id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set(steps in proptest::collection::vec((any::<bool>(), 0..40u16), 0..300)) {
            let (mut set, mut model) = (PacketIdSet::default(), BTreeSet::new());
            for (insert, id) in steps {
                match insert {
                    true => prop_assert_eq!(set.insert(id), model.insert(id)),
                    false => prop_assert_eq!(set.remove(id), model.remove(&id)),
                }
                prop_assert_eq!(set.contains(id), model.contains(&id));
                prop_assert_eq!(set.len(), model.len());
                prop_assert!(set.iter().eq(model.iter().copied()));
            }
        }
    }
}
