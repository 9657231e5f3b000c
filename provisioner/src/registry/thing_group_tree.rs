//! The things of a group and of all groups below it, in pages.
use super::Result;
use super::page::{Page, PageRequest, name_in_key, page};
use crate::error::RegistryError;
use crate::names::{ThingGroupName, ThingName};
use crate::store::{Direction, KeyRange, Store, Table};
use crate::stored::{composed_key, key_prefix};

/// Groups that one page looks into: a tree may have many without things. The page is then shorter, and has a cursor.
const MOST_GROUPS: usize = 200;

/// Where a list in a tree stands: groups from below the top down to the one it is in, and the last thing seen there. It
/// stays right when any of them goes.
#[derive(Debug, Clone, PartialEq, Default)]
struct Place {
    path: Vec<ThingGroupName>,
    /// A page's cursor in the last group of the path; `None`: at its start.
    after: Option<String>,
}

/// The things of a group and of the groups below, group by group from the top; a thing is in one group of a tree at most.
pub(super) async fn list_things(
    store: &dyn Store,
    top: &ThingGroupName,
    request: &PageRequest,
) -> Result<Page<ThingName>> {
    let mut place = request.after.as_deref().map(Place::read).transpose()?.unwrap_or_default();
    let mut items = Vec::new();
    let table = Table::ThingsOfGroup;
    for _ in 0..MOST_GROUPS {
        let group = place.path.last().unwrap_or(top);
        let left = PageRequest {
            after: place.after.take(),
            limit: request.limit.saturating_sub(items.len()),
            ascending: true,
        };
        let found = page(store, table, &key_prefix(group.as_str()), &left, |key, _| {
            name_in_key(table, key).map(Some)
        })
        .await?;
        items.extend(found.items);
        if found.next.is_some() {
            place.after = found.next;
            return Ok(Page { items, next: Some(place.write()) });
        }
        let Some(next) = following(store, top, place.path).await? else {
            return Ok(Page { items, next: None });
        };
        place.path = next;
        if items.len() >= request.limit {
            break;
        }
    }
    Ok(Page { items, next: Some(place.write()) })
}

/// The group after one: its first child, or the next beside it or beside one above it.
async fn following(
    store: &dyn Store,
    top: &ThingGroupName,
    mut path: Vec<ThingGroupName>,
) -> Result<Option<Vec<ThingGroupName>>> {
    if let Some(child) = child_after(store, path.last().unwrap_or(top), None).await? {
        path.push(child);
        return Ok(Some(path));
    }
    while let Some(done) = path.pop() {
        if let Some(next) = child_after(store, path.last().unwrap_or(top), Some(&done)).await? {
            path.push(next);
            return Ok(Some(path));
        }
    }
    Ok(None)
}

async fn child_after(
    store: &dyn Store,
    parent: &ThingGroupName,
    after: Option<&ThingGroupName>,
) -> Result<Option<ThingGroupName>> {
    let prefix = key_prefix(parent.as_str());
    let mut range = KeyRange::prefix(&prefix);
    if let Some(after) = after {
        range = range.beyond(composed_key([parent.as_str(), after.as_str()]), Direction::Ascending);
    }
    let rows = store.scan(Table::ChildGroups, &range, 1, Direction::Ascending).await?;
    let name =
        |key: &[u8]| name_in_key(Table::ChildGroups, key.strip_prefix(prefix.as_slice()).unwrap_or(key));
    rows.first().map(|(key, _)| name(key)).transpose()
}

impl Place {
    /// As a cursor: names and the inner cursor, which have no `/` in them.
    fn write(&self) -> String {
        let mut text: Vec<&str> = self.path.iter().map(ThingGroupName::as_str).collect();
        text.push(self.after.as_deref().unwrap_or_default());
        text.join("/")
    }
    fn read(text: &str) -> Result<Self> {
        let mut parts: Vec<&str> = text.split('/').collect();
        let after = parts.pop().filter(|after| !after.is_empty()).map(str::to_owned);
        let path = parts.into_iter().map(str::parse).collect::<std::result::Result<_, _>>().map_err(|_| {
            RegistryError::InvalidRequest(
                "the token is not one that this service has given: take it from the page before, unchanged".into(),
            )
        })?;
        Ok(Self { path, after })
    }
}
