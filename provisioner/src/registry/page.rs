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
