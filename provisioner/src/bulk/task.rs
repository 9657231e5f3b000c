//! The stored tasks: what was asked for, how far each is, and what became of lines that are in no report yet.
use super::input::{Identity, Location};
use super::report::{Lengths, Outcome};
use crate::access_key::Secret;
use crate::clock::Timestamp;
use crate::error::RegistryError;
use crate::store::{Key, Table};
use crate::stored::{Stored, decode, encode, stored_by_id};
use crate::tx::Tx;

type Result<T> = std::result::Result<T, RegistryError>;

/// Where a task stands (`spec/templates.md` section 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum TaskStatus {
    /// Its lines are being provisioned, or will be when the broker runs again.
    InProgress,
    /// Every line is in a report.
    Completed,
    /// It could not be carried out at all: its message says why.
    Failed,
    /// It was stopped.
    Cancelled,
    /// It is being stopped: lines under way end.
    Cancelling,
}

impl TaskStatus {
    /// Will it do more?
    pub const fn is_running(self) -> bool {
        matches!(self, Self::InProgress | Self::Cancelling)
    }
}

/// A registration task as it was asked for, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TaskRecord {
    pub(crate) id: String,
    pub(crate) template_body: String,
    pub(crate) input: Location,
    pub(crate) identity: Identity,
    pub(crate) role_arn: String,
    /// Of the ARNs in its reports.
    pub(crate) region: String,
    pub(crate) status: TaskStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) modified_at: Timestamp,
    /// Signs the links to its reports.
    pub(crate) link_secret: Secret,
}

/// How far a task is: everything before is in its reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Progress {
    /// Bytes of the input.
    pub(crate) offset: u64,
    /// Lines of the input, blank ones too.
    pub(crate) lines: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    /// Bytes of the reports.
    pub(crate) results: u64,
    pub(crate) errors: u64,
    pub(crate) at: Timestamp,
}

impl Progress {
    pub(crate) fn lengths(&self) -> Lengths {
        Lengths { results: self.results, errors: self.errors }
    }
}

stored_by_id!(TaskRecord, RegistrationTasks, "registration task", id);

/// Stores a new task, unless as many run as may.
pub(crate) async fn create(tx: &mut Tx, record: &TaskRecord) -> Result<()> {
    let most = tx.options().registration_tasks.max(1);
    let running = tx.rows(Table::RunningRegistrationTasks, b"").await?;
    if running.len() >= most {
        let ids: Vec<_> = running.iter().take(5).map(|(key, _)| String::from_utf8_lossy(key)).collect();
        return Err(RegistryError::InvalidRequest(format!(
            "{} of {most} registration tasks that may run at a time are running ({}): wait for the end of one, stop one, \
             or allow more (bulk.tasks)",
            running.len(),
            ids.join(", ")
        )));
    }
    tx.put(record)?;
    tx.made("taskId", &record.id);
    tx.put_row(Table::RunningRegistrationTasks, record.key(), Vec::new());
    put_progress(tx, &record.id, &Progress { at: tx.now(), ..Progress::default() })
}

/// Asks a running task to stop.
pub(crate) async fn cancel(tx: &mut Tx, id: &str) -> Result<()> {
    let record: TaskRecord = tx.require(id).await?;
    match record.status {
        TaskStatus::Cancelling => Ok(()),
        TaskStatus::InProgress => {
            tx.put(&TaskRecord { status: TaskStatus::Cancelling, modified_at: tx.now(), ..record })
        }
        status => Err(RegistryError::InvalidRequest(format!(
            "registration task {id} has ended ({status:?}): only a task that runs can be stopped"
        ))),
    }
}

/// Ends a task. One that is gone has ended.
pub(crate) async fn end(tx: &mut Tx, id: &str, status: TaskStatus, message: Option<&str>) -> Result<()> {
    tx.delete_row(Table::RunningRegistrationTasks, TaskRecord::key_of(id));
    let Some(record) = tx.get::<TaskRecord>(id).await? else { return Ok(()) };
    if !record.status.is_running() {
        return Ok(());
    }
    // Whoever asked it to stop while it did its last line is not told that it did all.
    let status = match (record.status, status) {
        (TaskStatus::Cancelling, TaskStatus::Completed) => TaskStatus::Cancelled,
        (_, status) => status,
    };
    let message = message.map(str::to_owned);
    tx.put(&TaskRecord { status, message, modified_at: tx.now(), ..record })
}

/// Forgets a task that has ended, with all that is kept of it.
pub(crate) async fn forget(tx: &mut Tx, id: &str) -> Result<()> {
    tx.delete::<TaskRecord>(id);
    tx.delete_row(Table::RegistrationProgress, TaskRecord::key_of(id));
    Ok(())
}

/// How far a task is.
pub(crate) async fn progress(tx: &mut Tx, id: &str) -> Result<Progress> {
    let (table, key) = (Table::RegistrationProgress, TaskRecord::key_of(id));
    match tx.row(table, &key).await? {
        Some(bytes) => Ok(decode(table, &key, bytes)?),
        None => Ok(Progress::default()),
    }
}

pub(crate) fn put_progress(tx: &mut Tx, id: &str, progress: &Progress) -> Result<()> {
    let bytes = encode(progress)?;
    tx.put_row(Table::RegistrationProgress, TaskRecord::key_of(id), bytes);
    Ok(())
}

/// What became of the line at an offset, if it is done and in no report yet.
pub(crate) async fn outcome(tx: &mut Tx, id: &str, offset: u64) -> Result<Option<Outcome>> {
    let key = line_key(id, offset);
    let Some(bytes) = tx.row(Table::RegistrationLines, &key).await? else { return Ok(None) };
    Outcome::decode(bytes).map(Some).ok_or_else(|| damaged(&key))
}

pub(crate) fn put_outcome(tx: &mut Tx, id: &str, offset: u64, outcome: &Outcome) {
    tx.put_row(Table::RegistrationLines, line_key(id, offset), outcome.encode());
}

pub(crate) fn delete_outcome(tx: &mut Tx, id: &str, offset: u64) {
    tx.delete_row(Table::RegistrationLines, line_key(id, offset));
}

/// Lines that are done and in no report yet, in the order of the input: offset and outcome.
pub(crate) async fn outcomes(tx: &mut Tx, id: &str, most: usize) -> Result<Vec<(u64, Outcome)>> {
    let prefix = line_prefix(id);
    let (rows, _) = tx.first_rows(Table::RegistrationLines, &prefix, most).await?;
    let line = |(key, value): (Key, Vec<u8>)| {
        let offset = key.strip_prefix(prefix.as_slice()).and_then(|rest| <[u8; 8]>::try_from(rest).ok());
        let outcome = Outcome::decode(&value);
        offset.map(u64::from_be_bytes).zip(outcome).ok_or_else(|| damaged(&key))
    };
    rows.into_iter().map(line).collect()
}

fn line_key(id: &str, offset: u64) -> Key {
    [line_prefix(id).as_slice(), &offset.to_be_bytes()].concat()
}

fn line_prefix(id: &str) -> Key {
    [id.as_bytes(), b"\0"].concat()
}

fn damaged(key: &[u8]) -> RegistryError {
    RegistryError::Internal(format!(
        "the row \"{}\" of the registry's table {:?} is damaged: restore a backup",
        key.escape_ascii(),
        Table::RegistrationLines.name()
    ))
}
