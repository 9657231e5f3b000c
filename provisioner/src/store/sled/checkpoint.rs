//! Brings what the redo log holds to safety in the trees and the change log, beside the committer's work.
use super::change_log::ChangeLog;
use super::rows::VisibleRows;
use super::status::Status;
use crate::store::StoreError;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// Makes everything so far durable outside of the redo log, except what of sessions is not sealed.
pub(super) fn checkpoint(rows: &VisibleRows, changes: &ChangeLog) -> Result<(), StoreError> {
    rows.sessions().write(rows.trees())?;
    rows.trees().flush()?;
    changes.sync()
}

/// The thread that does it, one at a time.
pub(super) struct Checkpointer {
    /// `None`: told to end.
    orders: Option<Sender<()>>,
    done: Receiver<Result<(), StoreError>>,
    under_way: bool,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    pub(super) fn new(
        rows: Arc<VisibleRows>,
        changes: Arc<ChangeLog>,
        status: Arc<Status>,
    ) -> Result<Self, StoreError> {
        let (orders, received) = channel::<()>();
        let (report, done) = channel();
        let thread = std::thread::Builder::new()
            .name("registry-checkpoint".into())
            .spawn(move || {
                while received.recv().is_ok() {
                    let result = checkpoint(&rows, &changes).map_err(|e| status.fail(unsafe_writes(&e)));
                    if report.send(result).is_err() {
                        break;
                    }
                }
            })
            .map_err(|e| {
                StoreError::Unavailable(format!("the thread for checkpoints could not be started: {e}"))
            })?;
        Ok(Self { orders: Some(orders), done, under_way: false, thread: Some(thread) })
    }
    /// Begins one. The one before must have been waited for.
    pub(super) fn begin(&mut self) {
        self.under_way = self.orders.as_ref().is_some_and(|orders| orders.send(()).is_ok());
    }
    /// Waits until none is under way. An error: that one failed.
    pub(super) fn wait(&mut self) -> Result<(), StoreError> {
        if !std::mem::take(&mut self.under_way) {
            return Ok(());
        }
        self.done.recv().unwrap_or_else(|_| {
            Err(StoreError::Unavailable("the thread for checkpoints has died; see the log".into()))
        })
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // If it has died, whoever waited for it has said so.
            let _ = thread.join();
        }
    }
}

fn unsafe_writes(error: &StoreError) -> String {
    format!(
        "what was written could not be brought to the disk ({error}). Nothing more is written; nothing is lost, it is \
         done again at the next start: check the disk, then restart jitp"
    )
}
