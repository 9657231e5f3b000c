//! Writing an archive: one moment of the registry, piece by piece.
use super::line::{FORMAT, Header, Row, Trailer};
use super::{VERSION, tables};
use crate::error::RegistryError;
use crate::registry::Registry;
use crate::store::{Key, Snapshot, Table};
use aws_lc_rs::digest::{Context, SHA256};

/// Rows read at a time.
const CHUNK: usize = 500;

/// An archive that is being written. Holds a snapshot: drop it when it is not wanted any more.
pub struct Export {
    snapshot: Snapshot,
    next: Next,
    tables: std::vec::IntoIter<Table>,
    digest: Context,
    records: u64,
}

enum Next {
    Header(Header),
    Rows(Table, Option<Key>),
    Nothing,
}

impl Export {
    pub(crate) async fn of(registry: &Registry) -> Result<Self, RegistryError> {
        let Some(snapshot) = registry.gate().snapshot(tables()).await? else {
            return Err(RegistryError::ConflictingUpdate(
                "an archive is being written already: wait for its end".into(),
            ));
        };
        let header = Header {
            format: FORMAT.into(),
            version: VERSION,
            account: registry.account().into(),
            region: registry.region().into(),
            created_at: registry.clock().now(),
            program: env!("CARGO_PKG_VERSION").into(),
        };
        Ok(Self {
            snapshot,
            next: Next::Header(header),
            tables: tables().into_iter(),
            digest: Context::new(&SHA256),
            records: 0,
        })
    }

    /// The next lines; `None`: that was all.
    ///
    /// # Errors
    /// `Unavailable` when the registry cannot be read, or too much of it changed meanwhile. What has been given until then is
    /// not an archive: it lacks its trailer.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, RegistryError> {
        loop {
            match std::mem::replace(&mut self.next, Next::Nothing) {
                Next::Nothing => return Ok(None),
                Next::Header(header) => {
                    self.next = self.next_table();
                    return self.lines(&[json(&header)?]).map(Some);
                }
                Next::Rows(table, after) => {
                    let rows = self.snapshot.rows(table, after, CHUNK).await?;
                    let Some((last, _)) = rows.last() else {
                        self.next = self.next_table();
                        if matches!(self.next, Next::Nothing) {
                            return self.trailer().map(Some);
                        }
                        continue;
                    };
                    self.next = Next::Rows(table, Some(last.clone()));
                    self.records += rows.len() as u64;
                    let lines = rows.into_iter().map(|(key, value)| Row { table, key, value }.to_line());
                    let lines: Result<Vec<_>, _> = lines.collect();
                    return self.lines(&lines.map_err(|error| not_json(&error))?).map(Some);
                }
            }
        }
    }

    fn next_table(&mut self) -> Next {
        self.tables.next().map_or(Next::Nothing, |table| Next::Rows(table, None))
    }
    fn trailer(&self) -> Result<Vec<u8>, RegistryError> {
        let sha256 = hex::encode(self.digest.clone().finish());
        let mut line = json(&Trailer { records: self.records, sha256 })?;
        line.push(b'\n');
        Ok(line)
    }
    fn lines(&mut self, lines: &[Vec<u8>]) -> Result<Vec<u8>, RegistryError> {
        let mut text = lines.join(&b'\n');
        text.push(b'\n');
        self.digest.update(&text);
        Ok(text)
    }
}

fn json(line: &impl serde::Serialize) -> Result<Vec<u8>, RegistryError> {
    serde_json::to_vec(line).map_err(|error| not_json(&error))
}
fn not_json(error: &serde_json::Error) -> RegistryError {
    RegistryError::Internal(format!("a line of the archive could not be written: {error}"))
}
