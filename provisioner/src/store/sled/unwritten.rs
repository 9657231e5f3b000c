//! What is durable of sessions in the redo log, and not yet in the trees: nobody but sessions' own readers looks at it, most of
//! it is gone before a checkpoint wants it in the trees, and then it never gets there.
use super::rows::over;
use super::trees::Trees;
use crate::store::{
    Direction, Key, KeyRange, LayerRow, SessionCommit, SessionLayer, StoreError, Table, Versioned,
};
use parking_lot::RwLock;
use std::sync::Arc;

/// Rows over those of the trees, in layers. Bounded by what the redo log holds.
#[derive(Default)]
pub(super) struct UnwrittenRows(RwLock<Layers>);

#[derive(Default)]
struct Layers {
    /// Of the file of the redo log that is written.
    newer: SessionLayer,
    /// Of the other one.
    older: SessionLayer,
    /// Those that are being written into the trees, older ones first.
    sealed: Vec<Arc<SessionLayer>>,
}

impl UnwrittenRows {
    /// Calls `first`, and adds what commits have written before anybody reads: those who wait for the commits need not wait for
    /// that.
    pub(super) fn add(&self, commits: &[Arc<SessionCommit>], first: impl FnOnce()) {
        let mut layers = self.0.write();
        let Layers { newer, older, .. } = &mut *layers;
        first();
        for commit in commits {
            newer.apply(older, commit);
        }
    }
    /// The other file of the redo log is written from now on. What was there must have been [sealed](Self::seal).
    pub(super) fn age(&self) {
        let mut layers = self.0.write();
        layers.older = std::mem::take(&mut layers.newer);
    }
    /// What is there of the older file is to be written into the trees.
    pub(super) fn seal(&self) {
        let mut layers = self.0.write();
        let older = std::mem::take(&mut layers.older);
        layers.sealed.push(Arc::new(older));
    }
    /// Everything is.
    pub(super) fn seal_all(&self) {
        self.seal();
        self.age();
        self.seal();
    }
    /// Writes what is sealed into the trees. Not durable before a flush. After an error it is still seen.
    pub(super) fn write(&self, trees: &Trees) -> Result<(), StoreError> {
        let sealed = self.0.read().sealed.clone();
        for layer in &sealed {
            trees.write(layer)?;
        }
        self.0.write().sealed.drain(..sealed.len());
        Ok(())
    }

    pub(super) fn get(
        &self,
        table: Table,
        key: &[u8],
        trees: &Trees,
    ) -> Result<Option<Versioned>, StoreError> {
        let layers = self.0.read();
        match layers.newest_first().find_map(|layer| layer.get(table, key)) {
            Some(row) => Ok(row.value().map(|value| value.versioned())),
            None => trees.get(table, key),
        }
    }

    pub(super) fn scan(
        &self,
        table: Table,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
        trees: &Trees,
    ) -> Result<Vec<(Key, Versioned)>, StoreError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let versioned = |_: &[u8], row: &LayerRow| Ok(row.value().map(|value| value.versioned()));
        let layers = self.0.read();
        let mut rows: Box<dyn Iterator<Item = _>> = Box::new(trees.scan(table, range, direction));
        for layer in layers.newest_first().collect::<Vec<_>>().into_iter().rev() {
            rows = Box::new(over(layer.range(table, range, direction), versioned, direction, rows));
        }
        rows.take(limit).collect()
    }
}

impl Layers {
    fn newest_first(&self) -> impl Iterator<Item = &SessionLayer> {
        [&self.newer, &self.older].into_iter().chain(self.sealed.iter().rev().map(|layer| &**layer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sled::home::Home;
    use crate::store::{Revision, SessionWrites};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use tempfile::TempDir;

    /// What happens to one session. Rows of its queue are put once; its packet ids come again and again.
    #[derive(Debug, Clone)]
    enum Step {
        Queue(u8, usize),
        /// Which of those that are queued, and how many behind it.
        Unqueue(prop::sample::Index, usize),
        PutInFlight(u8, u8),
        DeleteInFlight(u8),
        Compact,
        Commit,
        SwitchFiles,
        BeginCheckpoint,
        Checkpoint,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (any::<u8>(), 1..5_usize).prop_map(|(value, count)| Step::Queue(value, count)),
            3 => (any::<prop::sample::Index>(), 1..5_usize).prop_map(|(which, count)| Step::Unqueue(which, count)),
            2 => (0..4_u8, any::<u8>()).prop_map(|(id, value)| Step::PutInFlight(id, value)),
            2 => (0..4_u8).prop_map(Step::DeleteInFlight),
            1 => Just(Step::Compact),
            3 => Just(Step::Commit),
            1 => Just(Step::SwitchFiles),
            1 => Just(Step::BeginCheckpoint),
            1 => Just(Step::Checkpoint),
        ]
    }

    fn queue_key(session: u64, place: u64) -> Key {
        [session.to_be_bytes(), place.to_be_bytes()].concat()
    }

    #[test]
    fn rows_are_seen_over_the_trees_as_they_will_be_in_them_and_what_is_deleted_soon_never_is() {
        const TABLES: [Table; 2] = [Table::SessionQueues, Table::SessionInFlight];
        let dir = TempDir::new().unwrap();
        let trees = Trees::open(Home::open(dir.path()).unwrap(), 1 << 20).unwrap();
        let session_of_case = std::cell::Cell::new(0);
        proptest!(|(steps in prop::collection::vec(step(), 0..60), limit in 1..6_usize, descending in any::<bool>())| {
            let session = session_of_case.get() + 1;
            session_of_case.set(session);
            let direction = if descending { Direction::Descending } else { Direction::Ascending };
            let prefix = KeyRange::prefix(&u64::to_be_bytes(session));
            let rows = UnwrittenRows::default();
            let mut model = BTreeMap::new();
            let mut writes = SessionWrites::default();
            let (mut next, mut expected) = (0, model.clone());
            let commit = |writes: &mut SessionWrites| {
                let writes = Arc::new(std::mem::take(writes));
                rows.add(&[Arc::new(SessionCommit { revision: Revision(9), writes })], || {});
            };
            for step in steps {
                match step {
                    Step::Queue(value, count) => {
                        let places: Vec<_> = (0..count as u64).map(|number| (session, next + number)).collect();
                        next += count as u64;
                        writes.queue(&places, &[value]);
                        for (session, place) in places {
                            model.insert((Table::SessionQueues, queue_key(session, place)), vec![value]);
                        }
                    }
                    Step::Unqueue(which, count) if next > 0 => {
                        for place in (which.index(next as usize) as u64..next).take(count) {
                            if model.remove(&(Table::SessionQueues, queue_key(session, place))).is_some() {
                                writes.unqueue(session, place);
                            }
                        }
                    }
                    Step::Unqueue(..) => {}
                    Step::PutInFlight(id, value) => {
                        let key = [&session.to_be_bytes()[..], &[0, id]].concat();
                        writes.put_row(Table::SessionInFlight, &key, &[value]);
                        model.insert((Table::SessionInFlight, key), vec![value]);
                    }
                    Step::DeleteInFlight(id) => {
                        let key = [&session.to_be_bytes()[..], &[0, id]].concat();
                        writes.delete_row(Table::SessionInFlight, &key);
                        model.remove(&(Table::SessionInFlight, key));
                    }
                    Step::Compact => writes = std::mem::take(&mut writes).compacted(),
                    Step::Commit => {
                        commit(&mut writes);
                        expected = model.clone();
                    }
                    Step::SwitchFiles => {
                        rows.seal();
                        rows.write(&trees).unwrap();
                        rows.age();
                    }
                    Step::BeginCheckpoint => rows.seal(),
                    Step::Checkpoint => rows.write(&trees).unwrap(),
                }
                for table in TABLES {
                    let found = rows.scan(table, &prefix, limit, direction, &trees).unwrap();
                    let found: Vec<_> = found.into_iter().map(|(key, row)| (key, row.value)).collect();
                    let of_table = expected.iter().filter(|((of, _), _)| *of == table);
                    let mut wanted: Vec<_> =
                        of_table.map(|((_, key), value)| (key.clone(), value.clone())).collect();
                    if descending {
                        wanted.reverse();
                    }
                    wanted.truncate(limit);
                    prop_assert_eq!(&found, &wanted);
                    for (key, value) in wanted {
                        prop_assert_eq!(rows.get(table, &key, &trees).unwrap().map(|row| row.value), Some(value));
                    }
                }
            }
            rows.seal_all();
            rows.write(&trees).unwrap();
            for table in TABLES {
                let of_table = expected.iter().filter(|((of, _), _)| *of == table);
                let wanted: Vec<_> = of_table.map(|((_, key), value)| (key.clone(), value.clone())).collect();
                let written: Vec<_> = trees.scan(table, &prefix, Direction::Ascending).map(|row| {
                    let (key, row) = row.unwrap();
                    (key, row.value)
                }).collect();
                prop_assert_eq!(written, wanted);
            }
        });

        let rows = UnwrittenRows::default();
        let mut writes = SessionWrites::default();
        writes.queue(&[(9, 1), (9, 2), (9, 3)], b"message");
        let commit = |writes| [Arc::new(SessionCommit { revision: Revision(1), writes: Arc::new(writes) })];
        rows.add(&commit(writes), || {});
        rows.seal();
        rows.age();
        let mut writes = SessionWrites::default();
        (1..=2).for_each(|place| writes.unqueue(9, place));
        rows.add(&commit(writes), || {});
        let layers = rows.0.read();
        let left = layers.newest_first().map(|layer| layer.iter().count()).collect::<Vec<_>>();
        assert_eq!(left, [0, 1, 0], "neither the rows nor that they are gone");
    }
}
