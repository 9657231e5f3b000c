//! What an admission hands on to the permissions of its connection.
use crate::tx::Memory;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// What was read, or written by a run, to let a connection in: it held at the principal's commit. Whoever computes the
/// permissions first takes it; who computes them again must read again.
#[derive(Clone, Default)]
pub struct Seen {
    memory: Arc<Mutex<Option<Memory>>>,
}

impl Seen {
    pub(crate) fn of(memory: Memory) -> Self {
        Self { memory: Arc::new(Mutex::new(Some(memory))) }
    }
    pub(crate) fn take(&self) -> Option<Memory> {
        self.memory.lock().take()
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seen").finish_non_exhaustive()
    }
}
