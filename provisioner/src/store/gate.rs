//! What concerns the whole store at once, over an engine that has no snapshots of its own.
use super::{
    Batch, Direction, Key, KeyRange, LoggedChanges, Revision, Store, StoreError, Table, Touched, Versioned,
    Write,
};
use crate::provisioner::Health;
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Bound;
use std::sync::Arc;
use tokio::sync::{RwLock, watch};

/// Most bytes of rows kept for a snapshot because they were overwritten while it was read.
const MOST_KEPT: usize = 64 * 1024 * 1024;

/// Every commit goes through here, so that all of them can be held back for a moment, and so that a snapshot can keep what
/// they overwrite.
pub(crate) struct Gate {
    engine: Arc<dyn Store>,
    /// Commits hold it for reading; who must be alone holds it for writing.
    turnstile: RwLock<()>,
    snapshot: Arc<Mutex<Option<Arc<Kept>>>>,
    /// Is told of every write.
    follower: ArcSwapOption<Touched>,
}

/// The rows of some tables as they were at one moment, read while commits go on. What is overwritten before it was read is
/// kept in memory, up to 64 MiB; new rows cost nothing. One at a time.
pub(crate) struct Snapshot {
    engine: Arc<dyn Store>,
    kept: Arc<Kept>,
    slot: Arc<Mutex<Option<Arc<Kept>>>>,
}

/// What a snapshot must not lose.
struct Kept {
    /// The last commit that the snapshot sees.
    at: Revision,
    tables: Vec<Table>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Rows that were overwritten or deleted and have not been read yet.
    rows: BTreeMap<(Table, Key), Vec<u8>>,
    bytes: usize,
    /// Everything up to here has been read.
    reached: Option<(Table, Key)>,
    overflown: bool,
}

impl Gate {
    pub(crate) fn new(engine: Arc<dyn Store>) -> Self {
        Self {
            engine,
            turnstile: RwLock::default(),
            snapshot: Arc::default(),
            follower: ArcSwapOption::empty(),
        }
    }

    /// Opens a snapshot of these tables, given in their order. `None`: there is one already.
    pub(crate) async fn snapshot(&self, tables: Vec<Table>) -> Result<Option<Snapshot>, StoreError> {
        let _alone = self.turnstile.write().await;
        if self.snapshot.lock().is_some() {
            return Ok(None);
        }
        let at = self.settle().await?;
        let kept = Arc::new(Kept { at, tables, inner: Mutex::default() });
        *self.snapshot.lock() = Some(Arc::clone(&kept));
        Ok(Some(Snapshot { engine: Arc::clone(&self.engine), kept, slot: Arc::clone(&self.snapshot) }))
    }

    /// Notes in this one, and in no other, what is written from now on.
    pub(crate) async fn follow(&self, touched: Arc<Touched>) -> Result<(), StoreError> {
        let _alone = self.turnstile.write().await;
        self.settle().await?;
        self.follower.store(Some(touched));
        Ok(())
    }
    /// Has everything been noted in this one that was written since it was begun to follow?
    pub(crate) fn is_followed_by(&self, touched: &Arc<Touched>) -> bool {
        self.follower.load().as_ref().is_some_and(|follower| Arc::ptr_eq(follower, touched))
    }

    /// Replaces what the store holds: `decide` reads the engine while no commit is under way, and what it gives is committed
    /// before any other. A snapshot that is open breaks off. What others write from then on is noted in `follower`.
    pub(crate) async fn replace<F>(
        &self,
        follower: Arc<Touched>,
        decide: impl FnOnce(Arc<dyn Store>) -> F + Send,
    ) -> Result<Revision, StoreError>
    where
        F: Future<Output = Result<Batch, StoreError>> + Send,
    {
        let _alone = self.turnstile.write().await;
        self.settle().await?;
        if let Some(kept) = self.snapshot.lock().as_ref() {
            kept.inner.lock().overflown = true;
        }
        let batch = decide(Arc::clone(&self.engine)).await?;
        self.follower.store(Some(follower));
        self.engine.commit(batch).await
    }

    /// Waits for commits that nobody waits for any more: cancelling does not undo them, and they are written in the order of
    /// their arrival. While nothing can be written, nothing is under way.
    async fn settle(&self) -> Result<Revision, StoreError> {
        match self.engine.commit(Batch::default()).await {
            Err(StoreError::Unavailable(_)) => Ok(Revision(u64::MAX)),
            settled => settled,
        }
    }
}

#[async_trait::async_trait]
impl Store for Gate {
    async fn get(&self, table: Table, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        self.engine.get(table, key).await
    }
    async fn scan(
        &self,
        table: Table,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<(Key, Versioned)>, StoreError> {
        self.engine.scan(table, range, limit, direction).await
    }
    async fn commit(&self, batch: Batch) -> Result<Revision, StoreError> {
        let _passing = self.turnstile.read().await;
        let kept = self.snapshot.lock().clone();
        if let Some(kept) = kept {
            kept.keep(self.engine.as_ref(), &batch.writes).await?;
        }
        if let Some(touched) = self.follower.load().as_ref() {
            touched.note(&batch.writes);
        }
        self.engine.commit(batch).await
    }
    fn commit_later(&self, batch: Batch) -> Result<(), StoreError> {
        // Only cursors are written so, and they are in no snapshot.
        self.engine.commit_later(batch)
    }
    async fn changes_since(&self, after: Revision, limit: usize) -> Result<Vec<LoggedChanges>, StoreError> {
        self.engine.changes_since(after, limit).await
    }
    fn visible(&self) -> Revision {
        self.engine.visible()
    }
    fn trimmed(&self) -> Revision {
        self.engine.trimmed()
    }
    fn latest(&self) -> watch::Receiver<Revision> {
        self.engine.latest()
    }
    fn health(&self) -> Health {
        self.engine.health()
    }
    async fn close(&self) -> Result<(), StoreError> {
        self.engine.close().await
    }
}

impl Kept {
    /// Keeps the rows that these writes will overwrite, as far as the snapshot has not read them yet.
    async fn keep(&self, engine: &dyn Store, writes: &[Write]) -> Result<(), StoreError> {
        for write in writes.iter().filter(|write| self.tables.contains(&write.table)) {
            let place = (write.table, write.key.clone());
            if !self.inner.lock().wants(&place) {
                continue;
            }
            let Some(row) = engine.get(write.table, &write.key).await? else { continue };
            let mut inner = self.inner.lock();
            if row.revision <= self.at && inner.wants(&place) {
                inner.bytes += place.1.len() + row.value.len();
                inner.rows.insert(place, row.value);
                if inner.bytes > MOST_KEPT {
                    inner.overflown = true;
                    inner.rows.clear();
                }
            }
        }
        Ok(())
    }
}

impl Inner {
    fn wants(&self, place: &(Table, Key)) -> bool {
        !self.overflown
            && self.reached.as_ref().is_none_or(|reached| place > reached)
            && !self.rows.contains_key(place)
    }
}

impl Snapshot {
    /// The next rows of a table after a key, in key order; none: the table has been read. Tables are read in their order,
    /// each to its end.
    pub(crate) async fn rows(
        &self,
        table: Table,
        mut after: Option<Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Vec<u8>)>, StoreError> {
        loop {
            let mut range = KeyRange::prefix(&[]);
            if let Some(after) = &after {
                range.start = Bound::Excluded(after.clone());
            }
            let live = self.engine.scan(table, &range, limit, Direction::Ascending).await?;
            // Beyond the last of them there may be more.
            let last = if live.len() < limit { None } else { live.last().map(|(key, _)| key.clone()) };
            let rows = self.as_it_was(table, after.as_ref(), last.as_ref(), live)?;
            match last {
                Some(last) if rows.is_empty() => after = Some(last),
                _ => return Ok(rows),
            }
        }
    }

    /// Rows of a stretch of a table, from those that are there now and those that are kept.
    fn as_it_was(
        &self,
        table: Table,
        after: Option<&Key>,
        last: Option<&Key>,
        live: Vec<(Key, Versioned)>,
    ) -> Result<Vec<(Key, Vec<u8>)>, StoreError> {
        let mut rows: BTreeMap<Key, Vec<u8>> = live
            .into_iter()
            .filter(|(_, row)| row.revision <= self.kept.at)
            .map(|(key, row)| (key, row.value))
            .collect();
        let mut inner = self.kept.inner.lock();
        if inner.overflown {
            return Err(StoreError::Unavailable(
                "too much was changed, or all of it replaced, while it was read: try again when less is going on".into(),
            ));
        }
        let start = match after {
            Some(after) => Bound::Excluded((table, after.clone())),
            None => Bound::Included((table, Key::new())),
        };
        let stretch: Vec<(Table, Key)> = inner
            .rows
            .range((start, Bound::Unbounded))
            .map(|(place, _)| place)
            .take_while(|(t, key)| *t == table && last.is_none_or(|last| key <= last))
            .cloned()
            .collect();
        for place in stretch {
            if let Some(value) = inner.rows.remove(&place) {
                inner.bytes = inner.bytes.saturating_sub(place.1.len() + value.len());
                rows.insert(place.1, value);
            }
        }
        let reached = last.or_else(|| rows.last_key_value().map(|(key, _)| key));
        if let Some(reached) = reached {
            inner.reached = Some((table, reached.clone()));
        }
        Ok(rows.into_iter().collect())
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        *self.slot.lock() = None;
    }
}

/// A batch that writes rows whatever is there.
pub(crate) fn unconditional(writes: Vec<Write>, changes: Option<Vec<u8>>) -> Batch {
    Batch { writes, changes, ..Batch::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::provisioner::Options;
    use crate::registry::Registry;
    use std::path::Path;

    async fn gate(directory: &Path) -> Arc<Gate> {
        let registry = Registry::open(directory, Options::default(), Arc::new(SystemClock)).await.unwrap();
        Arc::clone(registry.gate())
    }

    async fn put(gate: &Gate, table: Table, rows: &[(&str, Option<&str>)]) {
        let write = |(key, value): &(&str, Option<&str>)| Write {
            table,
            key: key.as_bytes().to_vec(),
            value: value.map(|value| value.as_bytes().to_vec()),
        };
        gate.commit(unconditional(rows.iter().map(write).collect(), None)).await.unwrap();
    }

    async fn all(snapshot: &Snapshot, table: Table, limit: usize) -> Vec<String> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let rows = snapshot.rows(table, after, limit).await.unwrap();
            let Some((last, _)) = rows.last() else { return found };
            after = Some(last.clone());
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            found.extend(rows.iter().map(|(key, value)| format!("{}={}", text(key), text(value))));
        }
    }

    #[tokio::test]
    async fn a_snapshot_shows_one_moment_however_much_is_written_meanwhile() {
        let directory = tempfile::tempdir().unwrap();
        let gate = gate(directory.path()).await;
        let before: Vec<(String, String)> =
            (0..20).map(|n| (format!("k{n:02}"), format!("old{n}"))).collect();
        let rows: Vec<(&str, Option<&str>)> =
            before.iter().map(|(key, value)| (key.as_str(), Some(value.as_str()))).collect();
        put(&gate, Table::Things, &rows).await;
        put(&gate, Table::Policies, &[("p", Some("old"))]).await;
        let expected: Vec<String> = before.iter().map(|(key, value)| format!("{key}={value}")).collect();
        for limit in [1, 3, 20, 100] {
            let snapshot = gate.snapshot(vec![Table::Things, Table::Policies]).await.unwrap().unwrap();
            put(&gate, Table::Things, &[("k00", None), ("k03", Some("new")), ("k04", None), ("k19", None)])
                .await;
            put(&gate, Table::Things, &[("k03", None), ("k04", Some("again")), ("k025", Some("inserted"))])
                .await;
            put(&gate, Table::Things, &[("a", Some("first")), ("z", Some("last"))]).await;
            let first = snapshot.rows(Table::Things, None, limit).await.unwrap();
            // Behind what was read and before it.
            put(&gate, Table::Things, &[("k00", Some("back")), ("k18", None), ("k17", Some("new"))]).await;
            put(&gate, Table::Policies, &[("p", None)]).await;
            let after = first.last().map(|(key, _)| key.clone());
            let mut found: Vec<String> = first
                .iter()
                .map(|(k, v)| format!("{}={}", String::from_utf8_lossy(k), String::from_utf8_lossy(v)))
                .collect();
            let mut cursor = after;
            loop {
                let rows = snapshot.rows(Table::Things, cursor, limit).await.unwrap();
                let Some((last, _)) = rows.last() else { break };
                cursor = Some(last.clone());
                found.extend(
                    rows.iter().map(|(k, v)| {
                        format!("{}={}", String::from_utf8_lossy(k), String::from_utf8_lossy(v))
                    }),
                );
            }
            assert_eq!(found, expected, "limit {limit}");
            assert_eq!(all(&snapshot, Table::Policies, limit).await, ["p=old"]);
            assert!(gate.snapshot(vec![Table::Things]).await.unwrap().is_none(), "one at a time");
            drop(snapshot);
            let mut back = rows.clone();
            back.extend([("k025", None), ("a", None), ("z", None)]);
            put(&gate, Table::Things, &back).await;
            put(&gate, Table::Policies, &[("p", Some("old"))]).await;
        }
    }

    #[tokio::test]
    async fn a_commit_that_nobody_waits_for_any_more_is_before_the_snapshot_or_kept_out_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let gate = gate(directory.path()).await;
        put(&gate, Table::Things, &[("a", Some("old"))]).await;
        for n in 0..50 {
            let value = format!("new{n}");
            let write =
                Write { table: Table::Things, key: b"a".to_vec(), value: Some(value.clone().into_bytes()) };
            let cancelled = tokio::time::timeout(
                std::time::Duration::from_micros(n * 20),
                gate.commit(unconditional(vec![write], None)),
            );
            let _ = cancelled.await;
            let snapshot = gate.snapshot(vec![Table::Things]).await.unwrap().unwrap();
            let now = gate.get(Table::Things, b"a").await.unwrap().unwrap();
            assert!(now.revision <= snapshot.kept.at, "it came after the snapshot without its knowledge");
            assert_eq!(all(&snapshot, Table::Things, 10).await.len(), 1);
        }
    }

    #[tokio::test]
    async fn replacing_breaks_off_a_snapshot_and_is_one_commit() {
        let directory = tempfile::tempdir().unwrap();
        let gate = gate(directory.path()).await;
        put(&gate, Table::Things, &[("a", Some("old"))]).await;
        let snapshot = gate.snapshot(vec![Table::Things]).await.unwrap().unwrap();
        let follower = Arc::new(Touched::of(vec![Table::Things]));
        gate.replace(Arc::clone(&follower), |engine| async move {
            assert!(engine.get(Table::Things, b"a").await?.is_some());
            let write = Write { table: Table::Things, key: b"a".to_vec(), value: None };
            Ok(unconditional(vec![write], None))
        })
        .await
        .unwrap();
        assert!(gate.get(Table::Things, b"a").await.unwrap().is_none());
        assert!(snapshot.rows(Table::Things, None, 10).await.is_err());
        assert_eq!(follower.places(), Some(Vec::new()), "what others write is noted");
        put(&gate, Table::Things, &[("b", Some("new"))]).await;
        assert_eq!(follower.places(), Some(vec![(Table::Things, b"b".to_vec())]));
    }
}
