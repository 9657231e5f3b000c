//! Ranges of keys.
use super::Key;
use std::ops::Bound;

/// Keys from a start to an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyRange {
    pub start: Bound<Key>,
    pub end: Bound<Key>,
}

/// The order of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Ascending,
    Descending,
}

impl Direction {
    /// Rows in this order, given in that of their keys.
    pub(crate) fn of<'a, T>(
        self,
        rows: impl DoubleEndedIterator<Item = T> + 'a,
    ) -> Box<dyn Iterator<Item = T> + 'a> {
        match self {
            Self::Ascending => Box::new(rows),
            Self::Descending => Box::new(rows.rev()),
        }
    }
}

impl KeyRange {
    /// All keys that start with `prefix`; all keys if it is empty.
    pub(crate) fn prefix(prefix: &[u8]) -> Self {
        Self { start: Bound::Included(prefix.to_vec()), end: end_of_prefix(prefix) }
    }
    /// What comes after `key` in this direction.
    pub(crate) fn beyond(mut self, key: Key, direction: Direction) -> Self {
        match direction {
            Direction::Ascending => self.start = Bound::Excluded(key),
            Direction::Descending => self.end = Bound::Excluded(key),
        }
        self
    }
    /// No key can be in it. (`BTreeMap::range` panics on such ranges.)
    pub(crate) fn is_empty(&self) -> bool {
        use Bound::{Excluded, Included, Unbounded};
        match (&self.start, &self.end) {
            (Unbounded, _) | (_, Unbounded) => false,
            (Included(start), Included(end)) => start > end,
            (Included(start) | Excluded(start), Included(end) | Excluded(end)) => start >= end,
        }
    }
}

/// The first key after all keys with this prefix.
fn end_of_prefix(prefix: &[u8]) -> Bound<Key> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(range: &KeyRange, key: &[u8]) -> bool {
        std::ops::RangeBounds::contains(&(range.start.clone(), range.end.clone()), &key.to_vec())
    }

    #[test]
    fn a_prefix_range_holds_exactly_the_keys_with_the_prefix() {
        let range = KeyRange::prefix(b"a\xff");
        for (key, inside) in [
            (&b"a"[..], false),
            (b"a\xfe\xff", false),
            (b"a\xff", true),
            (b"a\xff\xff\xff", true),
            (b"b", false),
        ] {
            assert_eq!(contains(&range, key), inside, "{key:?}");
        }
        assert!(contains(&KeyRange::prefix(b"\xff\xff"), b"\xff\xff\xff"));
        assert!(contains(&KeyRange::prefix(b""), b"anything"));
    }

    #[test]
    fn a_cursor_at_the_end_leaves_an_empty_range() {
        let past = KeyRange::prefix(b"a").beyond(b"b".to_vec(), Direction::Ascending);
        assert!(past.is_empty());
        let before = KeyRange::prefix(b"a").beyond(b"a".to_vec(), Direction::Descending);
        assert!(before.is_empty());
        assert!(!KeyRange::prefix(b"a").is_empty());
    }
}
