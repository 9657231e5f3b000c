//! Where MQTT sessions and retained messages are kept: in the registry's store, outside of its rules, its change log and its
//! archive.
//!
//! What a row's value means is the broker's matter; how and where it is kept is not. Everything of one [`commit`] is there
//! after a crash, or nothing of it.
//!
//! [`commit`]: SessionStore::commit
mod memory;

use crate::error::RegistryError;
pub use crate::store::SessionWrites;
use crate::store::{Batch, Direction, Gate, Key, KeyRange, Store, StoreError, Table};
use memory::Memory;
use std::ops::Bound;
use std::sync::Arc;

/// Names a row. `session` is a number that no other session has or had.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionRow {
    /// A session.
    Session {
        /// Whose.
        session: u64,
    },
    /// One of its subscriptions.
    Subscription {
        /// Whose.
        session: u64,
        /// The filter as subscribed.
        filter: Arc<str>,
    },
    /// A message in flight towards the client.
    InFlight {
        /// Whose.
        session: u64,
        /// Its packet id.
        packet_id: u16,
    },
    /// A QoS 2 message from the client that was not released yet.
    Received {
        /// Whose.
        session: u64,
        /// Its packet id.
        packet_id: u16,
    },
    /// A message for a session, in the order of the sequence.
    Queued {
        /// Whose.
        session: u64,
        /// Its place.
        sequence: u64,
    },
    /// A message that several sessions refer to.
    Message {
        /// A number that no other message has or had.
        number: u64,
    },
    /// The retained message of a topic.
    Retained {
        /// The topic.
        topic: Arc<str>,
    },
    /// The last will of a connection, until it is published or withdrawn.
    Will {
        /// Whose.
        session: u64,
        /// A number that no other will of this session has or had.
        number: u64,
    },
}

/// A set of rows that can be read one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionRows {
    /// All sessions.
    Sessions,
    /// The subscriptions of all sessions, or of one.
    Subscriptions(Option<u64>),
    /// The messages in flight towards all clients, or one.
    InFlight(Option<u64>),
    /// The unreleased messages of all clients, or of one.
    Received(Option<u64>),
    /// The messages for all sessions, or for one.
    Queued(Option<u64>),
    /// All retained messages.
    Retained,
    /// The wills of all sessions.
    Wills,
}

/// The rows of sessions and retained messages. Cheap to clone. Obtained from
/// [`Provisioner::sessions`](crate::Provisioner::sessions).
#[derive(Clone)]
pub struct SessionStore(Kept);

/// Where the rows are.
#[derive(Clone)]
enum Kept {
    InRegistry(Arc<Gate>),
    InMemory(Arc<Memory>),
}

impl SessionStore {
    pub(crate) fn over(gate: &Arc<Gate>) -> Self {
        Self(Kept::InRegistry(Arc::clone(gate)))
    }

    /// A store whose rows last as long as its last clone: no disk, no other thread, so that a test that stops and starts
    /// brokers over it runs the same each time.
    pub fn in_memory() -> Self {
        Self(Kept::InMemory(Arc::default()))
    }

    /// Writes all or nothing; durable when it returns. Commits are durable in the order of these calls.
    ///
    /// # Errors
    /// `Unavailable` when the store cannot be written.
    pub async fn commit(&self, writes: &Arc<SessionWrites>) -> Result<(), RegistryError> {
        match &self.0 {
            Kept::InRegistry(gate) => {
                let batch = Batch { sessions: Some(Arc::clone(writes)), ..Batch::default() };
                gate.commit(batch).await?;
            }
            Kept::InMemory(memory) => memory.commit(writes),
        }
        Ok(())
    }

    /// One row; durable if it is there.
    ///
    /// # Errors
    /// `Unavailable` when the store cannot be read.
    pub async fn read(&self, row: &SessionRow) -> Result<Option<Vec<u8>>, RegistryError> {
        let (table, key) = row.place();
        Ok(match &self.0 {
            Kept::InRegistry(gate) => gate.get(table, &key).await?.map(|row| row.value),
            Kept::InMemory(memory) => memory.get(table, &key),
        })
    }

    /// The first rows of a set, of those behind `after` if that is given; at most `limit`. Those of one session come after
    /// another's, by their number; subscriptions in the order of their filters, messages in that of their sequence.
    ///
    /// # Errors
    /// `Unavailable` when the store cannot be read.
    pub async fn scan(
        &self,
        rows: SessionRows,
        after: Option<&SessionRow>,
        limit: usize,
    ) -> Result<Vec<(SessionRow, Vec<u8>)>, RegistryError> {
        let (table, session) = rows.table();
        let prefix = session.map_or_else(Vec::new, |session| session.to_be_bytes().to_vec());
        let mut range = KeyRange::prefix(&prefix);
        if let Some(after) = after {
            range.start = Bound::Excluded(after.place().1);
        }
        let found = match &self.0 {
            Kept::InRegistry(gate) => {
                let found = gate.scan(table, &range, limit, Direction::Ascending).await?;
                found.into_iter().map(|(key, row)| (key, row.value)).collect()
            }
            Kept::InMemory(memory) => memory.scan(table, &range, limit),
        };
        let named = found.into_iter().map(|(key, value)| match SessionRow::of(table, &key) {
            Some(name) => Ok((name, value)),
            None => Err(damaged(table, &key)),
        });
        Ok(named.collect::<Result<_, StoreError>>()?)
    }
}

impl SessionWrites {
    /// A row as it is now.
    pub fn put(&mut self, row: &SessionRow, value: &[u8]) {
        let (table, key) = row.place();
        self.put_row(table, &key, value);
    }
    /// A row is gone.
    pub fn delete(&mut self, row: &SessionRow) {
        match row {
            SessionRow::Queued { session, sequence } => self.unqueue(*session, *sequence),
            row => {
                let (table, key) = row.place();
                self.delete_row(table, &key);
            }
        }
    }
}

/// Rows, each with its new value, or `None` to delete it.
impl Extend<(SessionRow, Option<Vec<u8>>)> for SessionWrites {
    fn extend<T: IntoIterator<Item = (SessionRow, Option<Vec<u8>>)>>(&mut self, rows: T) {
        for (row, value) in rows {
            match value {
                Some(value) => self.put(&row, &value),
                None => self.delete(&row),
            }
        }
    }
}

impl FromIterator<(SessionRow, Option<Vec<u8>>)> for SessionWrites {
    fn from_iter<T: IntoIterator<Item = (SessionRow, Option<Vec<u8>>)>>(rows: T) -> Self {
        let mut writes = Self::default();
        writes.extend(rows);
        writes
    }
}

impl SessionRow {
    /// Whose it is; `None`: no session's.
    pub fn session(&self) -> Option<u64> {
        match self {
            Self::Session { session }
            | Self::Subscription { session, .. }
            | Self::InFlight { session, .. }
            | Self::Received { session, .. }
            | Self::Queued { session, .. }
            | Self::Will { session, .. } => Some(*session),
            Self::Message { .. } | Self::Retained { .. } => None,
        }
    }

    fn place(&self) -> (Table, Key) {
        match self {
            Self::Session { session } => (Table::Sessions, session.to_be_bytes().to_vec()),
            Self::Subscription { session, filter } => {
                (Table::SessionSubscriptions, [&session.to_be_bytes()[..], filter.as_bytes()].concat())
            }
            Self::InFlight { session, packet_id } => {
                (Table::SessionInFlight, [&session.to_be_bytes()[..], &packet_id.to_be_bytes()].concat())
            }
            Self::Received { session, packet_id } => {
                (Table::SessionReceived, [&session.to_be_bytes()[..], &packet_id.to_be_bytes()].concat())
            }
            Self::Queued { session, sequence } => {
                (Table::SessionQueues, [session.to_be_bytes(), sequence.to_be_bytes()].concat())
            }
            Self::Message { number } => (Table::SessionMessages, number.to_be_bytes().to_vec()),
            Self::Retained { topic } => (Table::RetainedMessages, topic.as_bytes().to_vec()),
            Self::Will { session, number } => {
                (Table::SessionWills, [session.to_be_bytes(), number.to_be_bytes()].concat())
            }
        }
    }

    fn of(table: Table, key: &[u8]) -> Option<Self> {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(Arc::<str>::from);
        if table == Table::RetainedMessages {
            return Some(Self::Retained { topic: text(key)? });
        }
        let (number, rest) = key.split_first_chunk::<8>()?;
        let session = u64::from_be_bytes(*number);
        let packet_id = || rest.try_into().ok().map(u16::from_be_bytes);
        let place = || rest.try_into().ok().map(u64::from_be_bytes);
        match table {
            Table::Sessions if rest.is_empty() => Some(Self::Session { session }),
            Table::SessionSubscriptions => Some(Self::Subscription { session, filter: text(rest)? }),
            Table::SessionInFlight => Some(Self::InFlight { session, packet_id: packet_id()? }),
            Table::SessionReceived => Some(Self::Received { session, packet_id: packet_id()? }),
            Table::SessionQueues => Some(Self::Queued { session, sequence: place()? }),
            Table::SessionWills => Some(Self::Will { session, number: place()? }),
            Table::SessionMessages if rest.is_empty() => Some(Self::Message { number: session }),
            _ => None,
        }
    }
}

impl SessionRows {
    fn table(self) -> (Table, Option<u64>) {
        match self {
            Self::Sessions => (Table::Sessions, None),
            Self::Subscriptions(session) => (Table::SessionSubscriptions, session),
            Self::InFlight(session) => (Table::SessionInFlight, session),
            Self::Received(session) => (Table::SessionReceived, session),
            Self::Queued(session) => (Table::SessionQueues, session),
            Self::Retained => (Table::RetainedMessages, None),
            Self::Wills => (Table::SessionWills, None),
        }
    }
}

fn damaged(table: Table, key: &[u8]) -> StoreError {
    StoreError::Corrupt(format!(
        "the key \"{}\" in the registry's table {:?} is damaged: restore a backup of the directory",
        key.escape_ascii(),
        table.name()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::provisioner::Options;
    use crate::registry::Registry;

    fn every_kind() -> Vec<SessionRow> {
        let session = 7;
        vec![
            SessionRow::Session { session },
            SessionRow::Subscription { session, filter: "a/+/#".into() },
            SessionRow::InFlight { session, packet_id: 65_535 },
            SessionRow::Received { session, packet_id: 1 },
            SessionRow::Queued { session, sequence: 256 },
            SessionRow::Message { number: 9 },
            SessionRow::Retained { topic: "t/é".into() },
            SessionRow::Will { session, number: 3 },
        ]
    }

    #[test]
    fn a_row_is_known_by_its_key() {
        for row in every_kind() {
            let (table, key) = row.place();
            assert_eq!(SessionRow::of(table, &key), Some(row));
        }
        assert_eq!(SessionRow::of(Table::SessionQueues, b"short"), None);
    }

    #[tokio::test]
    async fn what_was_committed_is_read_in_the_order_of_the_sequence_and_is_no_change_of_the_registry() {
        let directory = tempfile::tempdir().unwrap();
        let registry =
            Registry::open(directory.path(), Options::default(), Arc::new(SystemClock)).await.unwrap();
        let changes = registry.changes().latest();
        for store in [SessionStore::over(registry.gate()), SessionStore::in_memory()] {
            committed_rows_are_read(&store).await;
        }
        assert_eq!(registry.changes().latest(), changes);
    }

    async fn committed_rows_are_read(store: &SessionStore) {
        let queued = |session, sequence| SessionRow::Queued { session, sequence };
        let mut writes = SessionWrites::default();
        every_kind().iter().for_each(|row| writes.put(row, &[1]));
        writes.queue(&[(7, 300), (7, 2), (7, 70_000)], &[2]);
        writes.queue(&[(8, 1)], &[3]);
        store.commit(&Arc::new(writes)).await.unwrap();
        let found = async |after: Option<SessionRow>, limit| {
            let rows = store.scan(SessionRows::Queued(Some(7)), after.as_ref(), limit).await.unwrap();
            rows.into_iter().map(|(row, _)| row).collect::<Vec<_>>()
        };
        assert_eq!(found(None, 3).await, [queued(7, 2), queued(7, 256), queued(7, 300)]);
        assert_eq!(found(Some(queued(7, 256)), 9).await, [queued(7, 300), queued(7, 70_000)]);
        assert_eq!(store.scan(SessionRows::Queued(None), None, 9).await.unwrap().len(), 5);
        let mut writes = SessionWrites::default();
        writes.delete(&queued(7, 2));
        store.commit(&Arc::new(writes)).await.unwrap();
        assert_eq!(store.read(&queued(7, 2)).await.unwrap(), None);
        assert_eq!(store.read(&SessionRow::Message { number: 9 }).await.unwrap(), Some(vec![1]));
    }
}
