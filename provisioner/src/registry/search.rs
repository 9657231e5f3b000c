//! SearchIndex: the things that match a query, in pages (`spec/control-plane.md` section 9). Each thing is looked at as it
//! is in the registry at that moment: there is no index that could lag behind.
use super::page::{Page, PageRequest, read_cursor};
use super::{Registry, Result, dynamic_groups, indexing, thing_groups};
use crate::connectivity::ConnectionState;
use crate::names::ThingGroupName;
use crate::records::{IndexingConfiguration, ThingRecord};
use crate::search::{Candidate, Query};
use crate::store::{Direction, Key, KeyRange, Table};
use crate::stored::decode;

/// Things that one page looks at. A page that finds less than was asked for has a cursor if there are more.
const MOST_LOOKED_AT: usize = 100_000;
/// Things read at a time.
const CHUNK: usize = 256;

/// A thing that was found.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct FoundThing {
    pub thing: ThingRecord,
    pub groups: Vec<ThingGroupName>,
    /// `None` where connectivity is not indexed.
    pub connection: Option<ConnectionState>,
}

impl Registry {
    /// SearchIndex over `AWS_Things`, by name.
    ///
    /// # Errors
    /// `NotFound` while things are not indexed.
    pub async fn search_things(&self, query: &Query, request: &PageRequest) -> Result<Page<FoundThing>> {
        let configuration = indexing::require_things(&mut self.begin()).await?;
        self.matching(query, &configuration, request).await
    }

    /// The things that match a query.
    pub(super) async fn matching(
        &self,
        query: &Query,
        configuration: &IndexingConfiguration,
        request: &PageRequest,
    ) -> Result<Page<FoundThing>> {
        let mut range = KeyRange::prefix(b"");
        if let Some(cursor) = &request.after {
            range = range.beyond(read_cursor(cursor)?, Direction::Ascending);
        }
        let (mut items, mut looked_at, mut last) = (Vec::new(), 0, None);
        loop {
            let rows = self.store().scan(Table::Things, &range, CHUNK, Direction::Ascending).await?;
            let ends = rows.len() < CHUNK;
            for (key, row) in rows {
                if items.len() == request.limit || looked_at == MOST_LOOKED_AT {
                    return Ok(Page { items, next: last.map(hex::encode::<Key>) });
                }
                let thing: ThingRecord = decode(Table::Things, &key, &row.value)?;
                items.extend(self.candidate(query, configuration, thing).await?);
                looked_at += 1;
                last = Some(key);
            }
            match &last {
                Some(last) if !ends => range = range.beyond(last.clone(), Direction::Ascending),
                _ => return Ok(Page { items, next: None }),
            }
            tokio::task::yield_now().await;
        }
    }

    /// The thing, if it matches.
    async fn candidate(
        &self,
        query: &Query,
        configuration: &IndexingConfiguration,
        thing: ThingRecord,
    ) -> Result<Option<FoundThing>> {
        let connection = configuration.connectivity.then(|| self.connectivity().of(&thing.name));
        let mut tx = self.begin();
        let mut groups = Vec::new();
        if query.needs_groups() {
            groups = thing_groups::groups_of(&mut tx, &thing.name).await?;
        }
        if !query.matches(&Candidate { thing: &thing, groups: &groups, connection }) {
            return Ok(None);
        }
        let groups = dynamic_groups::all_groups_of(&mut tx, &thing).await?;
        Ok(Some(FoundThing { thing, groups, connection }))
    }
}
