//! A unit of work over the store: reads its own writes, remembers what it read, commits all or nothing.
use crate::arn::{Arn, ResourceKind};
use crate::audit::{AuditedCall, Entry};
use crate::change::Change;
use crate::change::logged::encode_changes;
use crate::clock::Timestamp;
use crate::error::RegistryError;
use crate::provisioner::Options;
use crate::registry::dynamic_groups::DynamicQueries;
use crate::shared_records::SharedRecords;
use crate::store::{
    Batch, Direction, Expectation, Key, KeyRange, Revision, Store, StoreError, Table, Versioned, Write,
};
use crate::stored::Stored;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

type Result<T> = std::result::Result<T, RegistryError>;

/// Most rows that a prefix may have that is read whole. A bound on work, far above every limit of the registry.
const MOST_ROWS: usize = 1_000;

/// A unit of work. Every read is remembered, and [`Tx::commit`] fails with a conflict if what was read has changed
/// since: so a rule that was checked on what was read still holds at the moment of the commit.
///
/// The registry's operations are functions over `&mut Tx`, so that several of them make one commit.
pub(crate) struct Tx {
    store: Arc<dyn Store>,
    options: Arc<Options>,
    dynamic_queries: Arc<DynamicQueries>,
    now: Timestamp,
    /// Every commit up to this one was visible to all reads.
    since: Revision,
    reads: BTreeMap<(Table, Key), Option<Versioned>>,
    /// Prefixes whose rows are all known.
    prefixes: BTreeMap<(Table, Key), Vec<(Key, Versioned)>>,
    /// Some row of a prefix, of those that are read.
    some: BTreeMap<(Table, Key), Key>,
    writes: BTreeMap<(Table, Key), Option<Vec<u8>>>,
    changes: Vec<Change>,
    /// Whose doing this is. The commit carries its record.
    call: Option<Arc<AuditedCall>>,
    /// What the record of the call says was made.
    made: Vec<(&'static str, String)>,
}

/// What a unit of work knows of the registry, as of the commit that it read or made.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    since: Revision,
    rows: BTreeMap<(Table, Key), Option<Versioned>>,
    prefixes: BTreeMap<(Table, Key), Vec<(Key, Versioned)>>,
    some: BTreeMap<(Table, Key), Key>,
}

impl Memory {
    fn write(&mut self, writes: BTreeMap<(Table, Key), Option<Vec<u8>>>, revision: Revision) {
        for ((table, key), value) in writes {
            let row = value.map(|value| Versioned { revision, value });
            let covering =
                self.prefixes.iter_mut().filter(|((t, prefix), _)| *t == table && key.starts_with(prefix));
            for (_, rows) in covering {
                rows.retain(|(known, _)| *known != key);
                if let Some(row) = &row {
                    let at = rows.partition_point(|(known, _)| *known < key);
                    rows.insert(at, (key.clone(), row.clone()));
                }
            }
            self.rows.insert((table, key), row);
        }
    }
}

impl Tx {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        options: Arc<Options>,
        dynamic_queries: Arc<DynamicQueries>,
        now: Timestamp,
    ) -> Self {
        Self {
            since: store.visible(),
            store,
            options,
            dynamic_queries,
            now,
            reads: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            some: BTreeMap::new(),
            writes: BTreeMap::new(),
            changes: Vec::new(),
            call: None,
            made: Vec::new(),
        }
    }
    /// The same as part of a call that is audited.
    pub(crate) fn on_behalf_of(self, call: Option<&Arc<AuditedCall>>) -> Self {
        Self { call: call.cloned(), ..self }
    }
    /// The time of everything that this unit of work does.
    pub(crate) const fn now(&self) -> Timestamp {
        self.now
    }
    /// The options in force.
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }
    /// The queries of dynamic groups that have been read.
    pub(crate) fn dynamic_queries(&self) -> Arc<DynamicQueries> {
        Arc::clone(&self.dynamic_queries)
    }
    /// The ARN of a resource of this registry.
    pub(crate) fn arn(&self, kind: ResourceKind, name: &str) -> Arn {
        Arn {
            region: self.options.region.clone(),
            account: self.options.account.clone(),
            kind,
            name: name.into(),
        }
    }

    /// A record, if it exists.
    pub(crate) async fn get<R: Stored>(&mut self, id: &R::Id) -> Result<Option<R>> {
        let key = R::key_of(id);
        match self.row(R::TABLE, &key).await? {
            Some(bytes) => Ok(Some(R::decode(&key, bytes)?)),
            None => Ok(None),
        }
    }
    /// A record that many read and few write, if it exists.
    pub(crate) async fn get_shared<R: Stored>(
        &mut self,
        id: &R::Id,
        shared: &SharedRecords<R>,
    ) -> Result<Option<Arc<R>>> {
        let place = (R::TABLE, R::key_of(id));
        self.load(&place).await?;
        let Some((bytes, revision)) = self.known(&place) else { return Ok(None) };
        let decoded = || Ok(Arc::new(R::decode(&place.1, bytes)?));
        match revision {
            Some(revision) => shared.get_or_decode((place.1.clone(), revision), decoded).map(Some),
            None => decoded().map(Some),
        }
    }
    /// A record that must exist.
    pub(crate) async fn require<R: Stored>(&mut self, id: &R::Id) -> Result<R> {
        self.get(id).await?.ok_or_else(|| R::not_found(id))
    }
    /// Does a record exist?
    pub(crate) async fn exists<R: Stored>(&mut self, id: &R::Id) -> Result<bool> {
        Ok(self.row(R::TABLE, &R::key_of(id)).await?.is_some())
    }
    /// A record that must exist, of which nothing else is asked.
    pub(crate) async fn require_exists<R: Stored>(&mut self, id: &R::Id) -> Result<()> {
        if self.exists::<R>(id).await? { Ok(()) } else { Err(R::not_found(id)) }
    }
    /// Writes a record.
    pub(crate) fn put<R: Stored>(&mut self, record: &R) -> Result<()> {
        let bytes = record.encode()?;
        self.put_row(R::TABLE, record.key(), bytes);
        Ok(())
    }
    /// Deletes a record.
    pub(crate) fn delete<R: Stored>(&mut self, id: &R::Id) {
        self.delete_row(R::TABLE, R::key_of(id));
    }

    /// A row, if it exists.
    pub(crate) async fn row(&mut self, table: Table, key: &[u8]) -> Result<Option<&[u8]>> {
        let place = (table, key.to_vec());
        self.load(&place).await?;
        Ok(self.known(&place).map(|(value, _)| value))
    }
    /// The same of a row that no store has without its owner, as in [`Self::rows_of`].
    pub(crate) async fn row_of<R: Stored>(
        &mut self,
        owner: &R::Id,
        table: Table,
        key: &[u8],
    ) -> Result<Option<&[u8]>> {
        if self.had_none::<R>(owner) {
            self.reads.entry((table, key.to_vec())).or_default();
        }
        self.row(table, key).await
    }
    /// Reads a row unless it is known.
    async fn load(&mut self, place: &(Table, Key)) -> Result<()> {
        if !self.writes.contains_key(place) && !self.reads.contains_key(place) {
            let read = self.store.get(place.0, &place.1).await?;
            self.reads.insert(place.clone(), read);
        }
        Ok(())
    }
    /// A row that has been loaded, and the commit that wrote it; what this unit of work has written has none yet.
    fn known(&self, place: &(Table, Key)) -> Option<(&[u8], Option<Revision>)> {
        match self.writes.get(place) {
            Some(written) => Some((written.as_deref()?, None)),
            None => self.reads.get(place)?.as_ref().map(|row| (row.value.as_slice(), Some(row.revision))),
        }
    }
    /// Writes a row.
    pub(crate) fn put_row(&mut self, table: Table, key: Key, value: Vec<u8>) {
        self.writes.insert((table, key), Some(value));
    }
    /// Deletes a row.
    pub(crate) fn delete_row(&mut self, table: Table, key: Key) {
        self.writes.insert((table, key), None);
    }
    /// Takes back a row that this unit of work has written where there was none; deletes it if it was there before.
    pub(crate) fn take_back_row(&mut self, table: Table, key: Key) {
        if !matches!(self.writes.remove(&(table, key.clone())), Some(Some(_))) {
            self.delete_row(table, key);
        }
    }
    /// All rows with this prefix, in key order. For prefixes that are short by rule: nothing may be added, written or
    /// deleted there until the commit.
    pub(crate) async fn rows(&mut self, table: Table, prefix: &[u8]) -> Result<Vec<(Key, Vec<u8>)>> {
        let (rows, complete) = self.first_rows(table, prefix, MOST_ROWS).await?;
        if complete {
            return Ok(rows);
        }
        Err(RegistryError::Internal(format!(
            "more than {MOST_ROWS} rows start with \"{}\" in the registry's table {:?}",
            prefix.escape_ascii(),
            table.name()
        )))
    }
    /// The same of rows that no store has without their owner: they are written after it, and deleted before it. So there
    /// is nothing to look for where the owner was looked for and did not exist.
    pub(crate) async fn rows_of<R: Stored>(
        &mut self,
        owner: &R::Id,
        table: Table,
        prefix: &[u8],
    ) -> Result<Vec<(Key, Vec<u8>)>> {
        self.none_without::<R>(owner, table, prefix);
        self.rows(table, prefix).await
    }
    /// [`Self::any_row`] of rows as in [`Self::rows_of`].
    pub(crate) async fn any_row_of<R: Stored>(
        &mut self,
        owner: &R::Id,
        table: Table,
        prefix: &[u8],
    ) -> Result<Option<(Key, Vec<u8>)>> {
        self.none_without::<R>(owner, table, prefix);
        self.any_row(table, prefix).await
    }
    fn none_without<R: Stored>(&mut self, owner: &R::Id, table: Table, prefix: &[u8]) {
        if self.had_none::<R>(owner) {
            self.prefixes.entry((table, prefix.to_vec())).or_default();
        }
    }
    /// It has been looked for in the store, and was not there.
    fn had_none<R: Stored>(&self, owner: &R::Id) -> bool {
        matches!(self.reads.get(&(R::TABLE, R::key_of(owner))), Some(None))
    }
    /// The first rows with this prefix, and whether these are all. If they are, nothing may be added, written or deleted
    /// there until the commit; if not, these rows must stay as they are.
    pub(crate) async fn first_rows(
        &mut self,
        table: Table,
        prefix: &[u8],
        limit: usize,
    ) -> Result<(Vec<(Key, Vec<u8>)>, bool)> {
        let place = (table, prefix.to_vec());
        if let Some(known) = self.prefixes.get(&place).filter(|known| known.len() <= limit) {
            return Ok((self.with_own_writes(table, prefix, known), true));
        }
        let range = KeyRange::prefix(prefix);
        let mut stored = self.store.scan(table, &range, limit + 1, Direction::Ascending).await?;
        let complete = stored.len() <= limit;
        if !complete {
            stored.truncate(limit);
            for (key, row) in &stored {
                self.reads.entry((table, key.clone())).or_insert_with(|| Some(row.clone()));
            }
        }
        let rows = self.with_own_writes(table, prefix, &stored);
        if complete {
            self.prefixes.insert(place, stored);
        }
        Ok((rows, complete))
    }
    /// Some row with this prefix: it stays until the commit, or, if there is none, none comes until the commit.
    pub(crate) async fn any_row(&mut self, table: Table, prefix: &[u8]) -> Result<Option<(Key, Vec<u8>)>> {
        let place = (table, prefix.to_vec());
        if let Some(known) = self.prefixes.get(&place) {
            return Ok(self.with_own_writes(table, prefix, known).into_iter().next());
        }
        if let Some(key) = self.some.get(&place)
            && let Some((value, _)) = self.known(&(table, key.clone()))
        {
            return Ok(Some((key.clone(), value.to_vec())));
        }
        let own_deletes = self.own_writes(table, prefix).filter(|(_, value)| value.is_none()).count();
        let range = KeyRange::prefix(prefix);
        let stored = self.store.scan(table, &range, own_deletes + 1, Direction::Ascending).await?;
        let first = self.with_own_writes(table, prefix, &stored).into_iter().next();
        let own_delete = |key: &Key| matches!(self.writes.get(&(table, key.clone())), Some(None));
        if let Some((key, row)) = stored.iter().find(|(key, _)| !own_delete(key)) {
            self.reads.entry((table, key.clone())).or_insert_with(|| Some(row.clone()));
            self.some.insert(place, key.clone());
        } else {
            self.prefixes.insert(place, stored);
        }
        Ok(first)
    }
    /// No row has this prefix, and none comes until the commit. For deletes that require that nothing is left below.
    pub(crate) async fn is_empty(&mut self, table: Table, prefix: &[u8]) -> Result<bool> {
        Ok(self.any_row(table, prefix).await?.is_none())
    }

    /// Reports what happened; it enters the change log with the commit.
    pub(crate) fn record(&mut self, change: Change) {
        self.changes.push(change);
    }
    /// Says what has been made under a name that the caller did not give: the call's record has it under the name of the
    /// output that tells the caller.
    pub(crate) fn made(&mut self, output: &'static str, name: impl Display) {
        if self.call.is_some() {
            self.made.push((output, name.to_string()));
        }
    }
    /// Would a commit write or report anything?
    pub(crate) fn is_idle(&self) -> bool {
        self.writes.is_empty() && self.changes.is_empty()
    }
    /// Commits; durable when it returns. `None`: there was nothing to commit.
    pub(crate) async fn commit(self) -> std::result::Result<Option<Revision>, StoreError> {
        if self.is_idle() {
            return Ok(None);
        }
        let store = Arc::clone(&self.store);
        let (batch, entry) = self.into_batch()?;
        let revision = store.commit(batch).await?;
        if let Some(entry) = entry {
            entry.committed();
        }
        Ok(Some(revision))
    }
    /// What a commit consists of, and the call's record in it.
    pub(crate) fn into_batch(mut self) -> std::result::Result<(Batch, Option<Entry>), StoreError> {
        let made = std::mem::take(&mut self.made);
        let entry = match self.call.take() {
            Some(call) => call.enter(&mut self, made)?,
            None => None,
        };
        let (expectations, changes) = (self.expectations(), encode_changes(self.now, &self.changes)?);
        let writes =
            self.writes.into_iter().map(|((table, key), value)| Write { table, key, value }).collect();
        Ok((Batch { expectations, read_since: self.since, writes, changes, ..Batch::default() }, entry))
    }
    /// Commits what no call asked for, and hands on what is known then: what was read, and what was written over it.
    pub(crate) async fn commit_and_remember(self) -> std::result::Result<(Revision, Memory), StoreError> {
        let (expectations, changes) = (self.expectations(), encode_changes(self.now, &self.changes)?);
        let writes = self.writes.iter().map(|((table, key), value)| Write {
            table: *table,
            key: key.clone(),
            value: value.clone(),
        });
        let writes = writes.collect();
        let batch = Batch { expectations, read_since: self.since, writes, changes, ..Batch::default() };
        let revision = self.store.commit(batch).await?;
        let mut memory =
            Memory { since: self.since, rows: self.reads, prefixes: self.prefixes, some: self.some };
        memory.write(self.writes, revision);
        Ok((revision, memory))
    }
    /// Hands on what was read by a unit of work that writes nothing.
    pub(crate) fn into_memory(self) -> Memory {
        Memory { since: self.since, rows: self.reads, prefixes: self.prefixes, some: self.some }
    }
    /// Takes as read what another unit of work knew.
    pub(crate) fn remember(&mut self, memory: Memory) {
        self.since = memory.since;
        self.reads = memory.rows;
        self.prefixes = memory.prefixes;
        self.some = memory.some;
    }

    fn own_writes(&self, table: Table, prefix: &[u8]) -> impl Iterator<Item = (&Key, &Option<Vec<u8>>)> {
        let start = (table, prefix.to_vec());
        let prefix = prefix.to_vec();
        self.writes
            .range(start..)
            .take_while(move |((t, key), _)| *t == table && key.starts_with(&prefix))
            .map(|((_, key), value)| (key, value))
    }
    fn with_own_writes(
        &self,
        table: Table,
        prefix: &[u8],
        stored: &[(Key, Versioned)],
    ) -> Vec<(Key, Vec<u8>)> {
        let mut rows: Vec<(Key, Vec<u8>)> =
            stored.iter().map(|(key, row)| (key.clone(), row.value.clone())).collect();
        for (key, value) in self.own_writes(table, prefix) {
            match (rows.binary_search_by(|(known, _)| known.cmp(key)), value) {
                (Ok(at), Some(value)) => {
                    if let Some((_, row)) = rows.get_mut(at) {
                        row.clone_from(value);
                    }
                }
                (Ok(at), None) => drop(rows.remove(at)),
                (Err(at), Some(value)) => rows.insert(at, (key.clone(), value.clone())),
                (Err(_), None) => {}
            }
        }
        rows
    }
    fn expectations(&self) -> Vec<Expectation> {
        let reads = self.reads.iter().map(|((table, key), row)| Expectation::Revision {
            table: *table,
            key: key.clone(),
            revision: row.as_ref().map(|row| row.revision),
        });
        let prefixes = self.prefixes.iter().map(|((table, prefix), rows)| Expectation::Prefix {
            table: *table,
            prefix: prefix.clone(),
            rows: rows.len(),
            newest: rows.iter().map(|(_, row)| row.revision).max().unwrap_or_default(),
        });
        reads.chain(prefixes).collect()
    }
}
