//! Writes to the tables of sessions, as the redo log holds them. They are encoded once, where they are decided, and are
//! carried as they are from there on: there may be a million of them in a second.
use super::Table;
use std::ops::Range;

/// The key of a row of a queue: session, place (8 bytes each, big endian).
pub(crate) type QueueKey = [u8; 16];

/// table (1 byte), key, value: a row as it is now.
const PUT: u8 = 1;
/// table, key: a row is gone.
const DELETE: u8 = 2;
/// value, how many (4 bytes), keys (16 bytes each): rows of queues that are the same.
const QUEUE: u8 = 3;
/// session, first place (8 bytes each), how many (2 bytes): rows of a queue, one place after another, are gone.
const UNQUEUE: u8 = 4;
/// Where the last field of such a write begins, and its end.
const COUNT: Range<usize> = 17..19;

/// Writes that belong together: of two for the same row the later one counts. Lengths have 4 bytes, numbers are big endian.
#[derive(Debug, Clone, Default)]
pub struct SessionWrites {
    bytes: Vec<u8>,
    /// The last write, if it takes rows from a queue.
    run: Option<Run>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    /// Where it is.
    at: usize,
    session: u64,
    /// The place that would continue it.
    next: u64,
    count: u16,
}

/// One write, read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SessionWrite<'a> {
    Put { table: Table, key: &'a [u8], value: Range<usize> },
    Delete { table: Table, key: &'a [u8] },
    Queue { keys: &'a [QueueKey], value: Range<usize> },
    Unqueue { session: u64, first: u64, count: u16 },
}

impl SessionWrites {
    pub(crate) fn put_row(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.begin(PUT);
        self.bytes.push(number_of(table));
        self.field(key);
        self.field(value);
    }
    pub(crate) fn delete_row(&mut self, table: Table, key: &[u8]) {
        self.begin(DELETE);
        self.bytes.push(number_of(table));
        self.field(key);
    }
    /// Adds the same row to queues: (session, place).
    pub fn queue(&mut self, places: &[(u64, u64)], value: &[u8]) {
        self.begin(QUEUE);
        self.field(value);
        self.number(places.len());
        for (session, place) in places {
            self.bytes.extend_from_slice(&session.to_be_bytes());
            self.bytes.extend_from_slice(&place.to_be_bytes());
        }
    }
    /// Takes a row from a queue. Costs nearly nothing for the place behind the one before.
    pub fn unqueue(&mut self, session: u64, place: u64) {
        if let Some(run) = &mut self.run
            && (run.session, run.next) == (session, place)
            && let Some(count) = run.count.checked_add(1)
        {
            (run.next, run.count) = (place.wrapping_add(1), count);
            let field = run.at + COUNT.start..run.at + COUNT.end;
            if let Some(field) = self.bytes.get_mut(field) {
                field.copy_from_slice(&count.to_be_bytes());
            }
            return;
        }
        self.begin(UNQUEUE);
        self.run = Some(Run { at: self.bytes.len() - 1, session, next: place.wrapping_add(1), count: 1 });
        self.bytes.extend_from_slice(&session.to_be_bytes());
        self.bytes.extend_from_slice(&place.to_be_bytes());
        self.bytes.extend_from_slice(&1_u16.to_be_bytes());
    }

    /// Is nothing written?
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
    /// Bytes that they take.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }
    /// As they are stored.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
    /// Reads what was stored. `None`: that it is not.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Input { bytes, at: 0 };
        while input.at < bytes.len() {
            input.write()?;
        }
        Some(Self { bytes: bytes.to_vec(), run: None })
    }
    /// All of them, in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = SessionWrite<'_>> {
        let mut input = Input { bytes: &self.bytes, at: 0 };
        std::iter::from_fn(move || input.write())
    }
    /// The bytes of a value.
    pub(crate) fn value(&self, value: Range<usize>) -> &[u8] {
        self.bytes.get(value).unwrap_or_default()
    }

    fn begin(&mut self, kind: u8) {
        self.run = None;
        self.bytes.push(kind);
    }
    /// Far below 4 GiB, which is more than a packet holds.
    fn number(&mut self, number: usize) {
        self.bytes.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
    }
    fn field(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }
}

impl PartialEq for SessionWrites {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for SessionWrites {}

/// It is in the redo log: the place among them never changes.
fn number_of(table: Table) -> u8 {
    let place = Table::OF_SESSIONS.iter().position(|of_sessions| *of_sessions == table);
    debug_assert!(place.is_some(), "{table:?} is not of sessions");
    place.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX)
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn write(&mut self) -> Option<SessionWrite<'a>> {
        let [kind] = *self.take::<1>()?;
        Some(match kind {
            PUT => SessionWrite::Put { table: self.table()?, key: self.key()?, value: self.value()? },
            DELETE => SessionWrite::Delete { table: self.table()?, key: self.key()? },
            QUEUE => {
                let value = self.value()?;
                let length = self.number()?.checked_mul(size_of::<QueueKey>())?;
                let keys = self.bytes.get(self.at..self.at.checked_add(length)?)?;
                self.at += length;
                SessionWrite::Queue { keys: keys.as_chunks().0, value }
            }
            UNQUEUE => SessionWrite::Unqueue {
                session: u64::from_be_bytes(*self.take()?),
                first: u64::from_be_bytes(*self.take()?),
                count: u16::from_be_bytes(*self.take()?),
            },
            _ => return None,
        })
    }
    fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let taken = self.bytes.get(self.at..)?.first_chunk()?;
        self.at += N;
        Some(taken)
    }
    fn table(&mut self) -> Option<Table> {
        let [place] = *self.take::<1>()?;
        Table::OF_SESSIONS.get(usize::from(place)).copied()
    }
    fn number(&mut self) -> Option<usize> {
        usize::try_from(u32::from_be_bytes(*self.take::<4>()?)).ok()
    }
    fn value(&mut self) -> Option<Range<usize>> {
        let length = self.number()?;
        let range = self.at..self.at.checked_add(length)?;
        self.bytes.get(range.clone())?;
        self.at = range.end;
        Some(range)
    }
    fn key(&mut self) -> Option<&'a [u8]> {
        let range = self.value()?;
        self.bytes.get(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn writes_are_read_in_their_order_and_places_that_follow_each_other_are_taken_in_one() {
        let mut writes = SessionWrites::default();
        assert!(writes.is_empty());
        writes.put_row(Table::Sessions, b"key", b"value");
        writes.queue(&[(1, 2), (3, 4)], b"same");
        for (session, place) in [(1, 7), (1, 8), (1, 9), (1, 11), (2, 12)] {
            writes.unqueue(session, place);
        }
        writes.delete_row(Table::RetainedMessages, b"");
        writes.unqueue(2, 13);
        let decoded = SessionWrites::decode(writes.bytes()).unwrap();
        assert_eq!(decoded, writes);
        let key = |session: u64, place: u64| -> QueueKey {
            [session.to_be_bytes(), place.to_be_bytes()].concat().try_into().unwrap()
        };
        let read: Vec<_> = decoded.iter().collect();
        let [SessionWrite::Put { value, .. }, SessionWrite::Queue { value: same, .. }, ..] = &read[..] else {
            panic!("{read:?}")
        };
        assert_eq!(
            (decoded.value(value.clone()), decoded.value(same.clone())),
            (&b"value"[..], &b"same"[..])
        );
        let expected = [
            SessionWrite::Put { table: Table::Sessions, key: b"key", value: value.clone() },
            SessionWrite::Queue { keys: &[key(1, 2), key(3, 4)], value: same.clone() },
            SessionWrite::Unqueue { session: 1, first: 7, count: 3 },
            SessionWrite::Unqueue { session: 1, first: 11, count: 1 },
            SessionWrite::Unqueue { session: 2, first: 12, count: 1 },
            SessionWrite::Delete { table: Table::RetainedMessages, key: b"" },
            SessionWrite::Unqueue { session: 2, first: 13, count: 1 },
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn a_run_ends_where_its_number_does() {
        let mut writes = SessionWrites::default();
        (0..70_000).for_each(|place| writes.unqueue(1, place));
        let expected = [
            SessionWrite::Unqueue { session: 1, first: 0, count: u16::MAX },
            SessionWrite::Unqueue { session: 1, first: 65_535, count: 4465 },
        ];
        assert_eq!(writes.iter().collect::<Vec<_>>(), expected);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..100), kind in 1..5_u8) {
            let _ = SessionWrites::decode(&bytes);
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            let _ = SessionWrites::decode(&bytes);
        }
    }
}
