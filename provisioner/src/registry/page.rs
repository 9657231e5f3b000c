//! Lists in pages.
use super::Result;
use crate::error::RegistryError;
use crate::store::{Direction, Key, KeyRange, Store, Table};
use crate::stored::Stored;

/// Rows that a page may look at when a filter leaves most of them out. The page is then shorter, and has a cursor.
const MOST_LOOKED_AT: usize = 2_000;

/// A page of a list, and the cursor of the next one (`None`: this was the last). A cursor is a key, so it stays right
/// while things come and go. A page may hold less than asked for, or nothing, and still have a next one.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Lower-case hexadecimal digits.
    pub next: Option<String>,
}
/// Where a list starts and how it runs.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct PageRequest {
    /// The `next` of the page before.
    pub after: Option<String>,
    /// 1 to 250.
    pub limit: usize,
    pub ascending: bool,
}

/// A page of the rows with a prefix. `item` sees the key after the prefix and the value, and may leave the row out.
pub(super) async fn page<T>(
    store: &dyn Store,
    table: Table,
    prefix: &[u8],
    request: &PageRequest,
    mut item: impl FnMut(&[u8], &[u8]) -> Result<Option<T>>,
) -> Result<Page<T>> {
    if !(1..=250).contains(&request.limit) {
        return Err(RegistryError::InvalidRequest(format!(
            "a page of {} items was asked for: ask for 1 to 250",
            request.limit
        )));
    }
    let direction = if request.ascending { Direction::Ascending } else { Direction::Descending };
    let mut range = KeyRange::prefix(prefix);
    if let Some(cursor) = &request.after {
        range = range.beyond([prefix, &read_cursor(cursor)?].concat(), direction);
    }
    let mut items = Vec::new();
    let mut last: Option<Key> = None;
    let mut looked_at = 0;
    loop {
        // One more than fits tells whether there is a next page.
        let chunk = request.limit + 1;
        let rows = store.scan(table, &range, chunk, direction).await?;
        let ends = rows.len() < chunk;
        for (key, row) in rows {
            if items.len() == request.limit || looked_at == MOST_LOOKED_AT {
                let next = last.as_deref().and_then(|k| k.strip_prefix(prefix)).map(hex::encode);
                return Ok(Page { items, next });
            }
            items.extend(item(key.strip_prefix(prefix).unwrap_or_default(), &row.value)?);
            looked_at += 1;
            last = Some(key);
        }
        match &last {
            Some(last) if !ends => range = range.beyond(last.clone(), direction),
            _ => return Ok(Page { items, next: None }),
        }
    }
}

/// A page of a table of records.
pub(super) async fn record_page<R: Stored>(store: &dyn Store, request: &PageRequest) -> Result<Page<R>> {
    page(store, R::TABLE, b"", request, |key, value| Ok(Some(R::decode(key, value)?))).await
}

/// A page of those records of a table that a filter lets through.
pub(crate) async fn filtered_page<R: Stored>(
    store: &dyn Store,
    request: &PageRequest,
    filter: impl Fn(&R) -> bool,
) -> Result<Page<R>> {
    page(store, R::TABLE, b"", request, |key, value| Ok(Some(R::decode(key, value)?).filter(&filter))).await
}

/// Reads a name out of a key.
pub(super) fn name_in_key<N: std::str::FromStr>(table: Table, key: &[u8]) -> Result<N> {
    let name = std::str::from_utf8(key).ok().and_then(|text| text.parse().ok());
    name.ok_or_else(|| strange_key(table, key))
}

/// The error for a key that this program would not have written.
pub(super) fn strange_key(table: Table, key: &[u8]) -> RegistryError {
    RegistryError::Internal(format!(
        "the key \"{}\" in the registry's table {:?} is damaged: restore a backup",
        key.escape_ascii(),
        table.name()
    ))
}

pub(super) fn read_cursor(cursor: &str) -> Result<Key> {
    hex::decode(cursor).map_err(|_| {
        RegistryError::InvalidRequest(
            "the marker is not one that this service has given: take it from the page before, unchanged"
                .into(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provisioner::Health;
    use crate::store::{Batch, LoggedChanges, Revision, StoreError, Versioned};
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::watch;

    /// Rows in memory that can be scanned, and how many have been.
    struct Rows {
        rows: Mutex<BTreeMap<Key, Vec<u8>>>,
        read: AtomicUsize,
    }

    impl Rows {
        fn new(keys: impl Iterator<Item = String>) -> Self {
            let rows = Mutex::new(keys.map(|key| (key.into_bytes(), Vec::new())).collect());
            Self { rows, read: AtomicUsize::new(0) }
        }
        async fn page(&self, prefix: &str, request: &PageRequest) -> Page<String> {
            let item = |key: &[u8], _: &[u8]| Ok(Some(String::from_utf8_lossy(key).into_owned()));
            page(self, Table::Things, prefix.as_bytes(), request, item).await.unwrap()
        }
    }

    fn elsewhere<T>() -> std::result::Result<T, StoreError> {
        Err(StoreError::Unavailable("these rows can only be scanned".into()))
    }

    #[async_trait::async_trait]
    impl Store for Rows {
        async fn scan(
            &self,
            _: Table,
            range: &KeyRange,
            limit: usize,
            direction: Direction,
        ) -> std::result::Result<Vec<(Key, Versioned)>, StoreError> {
            let all = self.rows.lock().unwrap();
            let row = |(key, value): (&Key, &Vec<u8>)| {
                (key.clone(), Versioned { revision: Revision(1), value: value.clone() })
            };
            let bounds = (range.start.clone(), range.end.clone());
            let rows: Vec<_> = match (range.is_empty(), direction) {
                (true, _) => Vec::new(),
                (false, Direction::Ascending) => all.range(bounds).take(limit).map(row).collect(),
                (false, Direction::Descending) => all.range(bounds).rev().take(limit).map(row).collect(),
            };
            self.read.fetch_add(rows.len(), Ordering::SeqCst);
            Ok(rows)
        }
        async fn get(&self, _: Table, _: &[u8]) -> std::result::Result<Option<Versioned>, StoreError> {
            elsewhere()
        }
        async fn commit(&self, _: Batch) -> std::result::Result<Revision, StoreError> {
            elsewhere()
        }
        fn commit_later(&self, _: Batch) -> std::result::Result<(), StoreError> {
            elsewhere()
        }
        async fn changes_since(
            &self,
            _: Revision,
            _: usize,
        ) -> std::result::Result<Vec<LoggedChanges>, StoreError> {
            elsewhere()
        }
        fn visible(&self) -> Revision {
            Revision(0)
        }
        fn trimmed(&self) -> Revision {
            Revision(0)
        }
        fn latest(&self) -> watch::Receiver<Revision> {
            watch::channel(Revision(0)).1
        }
        fn health(&self) -> Health {
            Health::Ready
        }
        async fn close(&self) -> std::result::Result<(), StoreError> {
            elsewhere()
        }
    }

    fn ask(after: Option<String>, limit: usize, ascending: bool) -> PageRequest {
        PageRequest { after, limit, ascending }
    }

    #[tokio::test]
    async fn a_page_at_the_end_of_200_000_rows_reads_no_more_than_the_first() {
        let rows = Rows::new((0..200_000).map(|number| format!("thing-{number:06}")));
        for ascending in [true, false] {
            let (mut after, mut costs, mut seen) = (None, Vec::new(), 0);
            loop {
                let page = rows.page("", &ask(after, 250, ascending)).await;
                costs.push(rows.read.swap(0, Ordering::SeqCst));
                seen += page.items.len();
                match page.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
            assert_eq!((seen, costs.len()), (200_000, 800));
            assert!(costs.iter().all(|cost| *cost <= 251), "{:?}", costs.iter().max());
        }
    }

    #[tokio::test]
    async fn what_stays_is_listed_once_while_rows_come_and_go_around_the_cursor() {
        for ascending in [true, false] {
            let rows = Rows::new((0..100).map(|number| format!("p{number:02}")));
            let (mut after, mut listed) = (None, Vec::new());
            for round in 0.. {
                let page = rows.page("p", &ask(after, 7, ascending)).await;
                listed.extend(page.items);
                let Some(next) = page.next else { break };
                // The row of the cursor goes, and one comes on either side of it.
                let last = listed.last().unwrap().clone();
                let mut all = rows.rows.lock().unwrap();
                all.remove(format!("p{last}").as_bytes());
                for new in [format!("p{last}-{round}"), format!("p/{round}"), format!("q{round}")] {
                    all.insert(new.into_bytes(), Vec::new());
                }
                after = Some(next);
            }
            let mut original: Vec<_> =
                listed.iter().filter(|key| key.len() == 2 && !key.starts_with('/')).cloned().collect();
            if !ascending {
                original.reverse();
            }
            let expected: Vec<_> = (0..100).map(|number| format!("{number:02}")).collect();
            assert_eq!(original, expected);
        }
    }
}
