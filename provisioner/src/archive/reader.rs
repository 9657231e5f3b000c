//! Reading an archive: line by line, each checked, the whole verified by its trailer.
use super::check::check;
use super::line::{FORMAT, Header, Row, Trailer};
use super::{LEFT_OUT, VERSION};
use crate::clock::Timestamp;
use crate::store::{Key, Table};
use aws_lc_rs::digest::{Context, SHA256};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// The longest line that is read, in bytes: far above the largest record.
const LONGEST_LINE: u64 = 4 * 1024 * 1024;

/// Why an archive is not taken. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("the archive {} {why}", path.display())]
pub struct ArchiveError {
    path: PathBuf,
    why: String,
}

impl ArchiveError {
    pub(super) fn new(path: &Path, why: impl Into<String>) -> Self {
        Self { path: path.to_path_buf(), why: why.into() }
    }
}

/// A whole archive that this program can read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Verified {
    pub account: String,
    pub region: String,
    pub created_at: Timestamp,
    pub records: u64,
}

/// Reads an archive from its first line to its last and changes nothing: its format, every record, their number and the
/// SHA-256. `progress` is told how many bytes have been read.
pub fn verify(path: &Path, progress: &mut (dyn FnMut(u64) + Send)) -> Result<Verified, ArchiveError> {
    let mut reader = Reader::open(path)?;
    while reader.next()?.is_some() {
        progress(reader.bytes);
    }
    Ok(reader.verified())
}

/// The rows of an archive, in order. After the last one the trailer has been compared.
pub(super) struct Reader {
    path: PathBuf,
    lines: BufReader<File>,
    header: Header,
    digest: Option<Context>,
    records: u64,
    /// Bytes read so far.
    pub(super) bytes: u64,
    number: u64,
    last: Option<(Table, Key)>,
    done: Vec<Table>,
    line: Vec<u8>,
}

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self, ArchiveError> {
        let file = File::open(path)
            .map_err(|error| ArchiveError::new(path, format!("cannot be opened: {error}")))?;
        let mut reader = Self {
            path: path.to_path_buf(),
            lines: BufReader::with_capacity(256 * 1024, file),
            header: Header {
                format: String::new(),
                version: 0,
                account: String::new(),
                region: String::new(),
                created_at: Timestamp(0),
                program: String::new(),
            },
            digest: Some(Context::new(&SHA256)),
            records: 0,
            bytes: 0,
            number: 0,
            last: None,
            done: Vec::new(),
            line: Vec::new(),
        };
        reader.read_line()?;
        reader.header = reader.read_header()?;
        Ok(reader)
    }

    /// Is it of this account and region?
    pub(super) fn check_owner(&self, account: &str, region: &str) -> Result<(), ArchiveError> {
        let Header { account: own, region: home, .. } = &self.header;
        if own == account && home == region {
            return Ok(());
        }
        Err(self.error(format!(
            "is of account {own} in region {home}, not of account {account} in region {region}: configure the same values"
        )))
    }
    pub(super) fn verified(&self) -> Verified {
        Verified {
            account: self.header.account.clone(),
            region: self.header.region.clone(),
            created_at: self.header.created_at,
            records: self.records,
        }
    }

    /// The next row; `None`: the archive has ended and is whole.
    pub(super) fn next(&mut self) -> Result<Option<Row>, ArchiveError> {
        if self.digest.is_none() {
            return Ok(None);
        }
        self.read_line()?;
        if let Ok(trailer) = serde_json::from_slice::<Trailer>(&self.line) {
            self.end(&trailer)?;
            return Ok(None);
        }
        let row = Row::from_line(&self.line).map_err(|why| self.damaged(&why))?;
        check(&row).map_err(|error| self.damaged(&error.to_string()))?;
        self.check_place(&row)?;
        self.records += 1;
        Ok(Some(row))
    }

    fn end(&mut self, trailer: &Trailer) -> Result<(), ArchiveError> {
        let found = self.digest.take().map(|digest| hex::encode(digest.finish())).unwrap_or_default();
        if trailer.records != self.records {
            let why = format!("has {} records, its last line counts {}", self.records, trailer.records);
            return Err(self.error(why + ": it is damaged; make another"));
        }
        if trailer.sha256 != found {
            let why = "does not have the SHA-256 that its last line names: it is damaged; make another";
            return Err(self.error(why));
        }
        let mut rest = [0];
        match self.lines.read(&mut rest) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.error("goes on after its last line: it is damaged; make another")),
            Err(error) => Err(self.error(format!("cannot be read: {error}"))),
        }
    }

    fn read_header(&self) -> Result<Header, ArchiveError> {
        #[derive(serde::Deserialize)]
        struct Kind {
            format: String,
            version: u32,
        }
        let kind: Option<Kind> = serde_json::from_slice(&self.line).ok();
        let kind = kind.filter(|kind| kind.format == FORMAT);
        let Some(kind) = kind else {
            return Err(self.error(format!("is not one: its first line does not say {FORMAT:?}")));
        };
        if kind.version > VERSION {
            return Err(self.error(format!(
                "has format version {}, this program reads up to {VERSION}: it was written by a newer jitp; use that one",
                kind.version
            )));
        }
        serde_json::from_slice(&self.line).map_err(|error| self.damaged(&error.to_string()))
    }

    /// Rows of a table stand together and in the order of their keys, so that none can be there twice.
    fn check_place(&mut self, row: &Row) -> Result<(), ArchiveError> {
        if LEFT_OUT.contains(&row.table) {
            return Err(self.damaged(&format!("the table {:?} is not part of an archive", row.table.name())));
        }
        match &self.last {
            Some((table, key)) if *table == row.table => {
                if row.key <= *key {
                    return Err(self.damaged("the record is not after the one before it"));
                }
            }
            last => {
                self.done.extend(last.as_ref().map(|(table, _)| *table));
                if self.done.contains(&row.table) {
                    return Err(self.damaged("the records of its table do not stand together"));
                }
            }
        }
        self.last = Some((row.table, row.key.clone()));
        Ok(())
    }

    /// Reads one line into `line`, without its end.
    fn read_line(&mut self) -> Result<(), ArchiveError> {
        self.number += 1;
        // The trailer is not part of what it tells the digest of.
        if let (Some(digest), false) = (&mut self.digest, self.line.is_empty()) {
            digest.update(&self.line);
            digest.update(b"\n");
        }
        self.line.clear();
        let read = (&mut self.lines).take(LONGEST_LINE).read_until(b'\n', &mut self.line);
        let read = read.map_err(|error| self.error(format!("cannot be read: {error}")))?;
        self.bytes += read as u64;
        if self.line.pop() != Some(b'\n') {
            let why = match read as u64 {
                LONGEST_LINE => format!("line {} is longer than {LONGEST_LINE} bytes", self.number),
                _ => format!("ends within line {}, without its last line: it is incomplete", self.number),
            };
            return Err(self.error(why + "; make another"));
        }
        Ok(())
    }

    fn damaged(&self, why: &str) -> ArchiveError {
        self.error(format!("is damaged in line {}: {why}", self.number))
    }
    fn error(&self, why: impl Into<String>) -> ArchiveError {
        ArchiveError::new(&self.path, why)
    }
}
