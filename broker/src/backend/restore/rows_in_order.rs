//! Reading a set of rows from its beginning to its end, a page at a time, in the order of the sessions that they belong to.
use jitp_provisioner::RegistryError;
use jitp_provisioner::sessions::{SessionRow, SessionRows, SessionStore};
use std::iter::Peekable;
use std::vec;

/// Where a set of rows has been read to.
pub(super) struct RowsInOrder<'s> {
    store: &'s SessionStore,
    rows: SessionRows,
    /// Rows read at once.
    at_once: usize,
    page: Peekable<vec::IntoIter<(SessionRow, Vec<u8>)>>,
    /// The last one that was read.
    after: Option<SessionRow>,
    through: bool,
}

impl<'s> RowsInOrder<'s> {
    pub(super) fn new(store: &'s SessionStore, rows: SessionRows, at_once: usize) -> Self {
        Self { store, rows, at_once, page: Vec::new().into_iter().peekable(), after: None, through: false }
    }

    /// The next row; `None`: there is none.
    pub(super) async fn next(&mut self) -> Result<Option<(SessionRow, Vec<u8>)>, RegistryError> {
        self.next_up_to(u64::MAX).await
    }

    /// The next row that is of this session or of one before it; `None`: there is none.
    pub(super) async fn next_up_to(
        &mut self,
        session: u64,
    ) -> Result<Option<(SessionRow, Vec<u8>)>, RegistryError> {
        if self.page.peek().is_none() && !self.through {
            let page = self.store.scan(self.rows, self.after.as_ref(), self.at_once).await?;
            self.through = page.len() < self.at_once;
            self.after = page.last().map(|(row, _)| row.clone());
            self.page = page.into_iter().peekable();
            // A page of rows takes a while.
            tokio::task::consume_budget().await;
        }
        Ok(self.page.next_if(|(row, _)| row.session().is_none_or(|of| of <= session)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn rows_come_page_by_page_and_no_further_than_the_session_that_is_asked_for() {
        let store = SessionStore::in_memory();
        let row = |session, packet_id| SessionRow::InFlight { session, packet_id };
        let all = [row(1, 1), row(1, 2), row(1, 3), row(4, 1), row(9, 7)];
        for at_once in 1..=6 {
            let writes = all.iter().map(|row| (row.clone(), Some(vec![1])));
            store.commit(&Arc::new(writes.collect())).await.unwrap();
            let mut rows = RowsInOrder::new(&store, SessionRows::InFlight(None), at_once);
            let mut seen = Vec::new();
            for session in [0, 1, 2, 5, 8, u64::MAX] {
                while let Some((row, _)) = rows.next_up_to(session).await.unwrap() {
                    seen.push((session, row));
                }
            }
            let expected = [1, 1, 1, 5, u64::MAX].into_iter().zip(all.clone());
            assert_eq!(seen, expected.collect::<Vec<_>>(), "{at_once} at once");
            assert_eq!(rows.next().await.unwrap(), None);
        }
    }
}
