//! A broker without sockets, threads and a clock of its own: it is stopped and killed as a process is.
use super::storage::Storage;
use jitp_broker::backend::{Backend, BackendOptions};
use jitp_broker::{Limits, Profile};
use jitp_provisioner::{Clock, ManualClock};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Sessions wait no longer for their clients, in seconds.
pub const LONGEST_EXPIRY: u64 = 40;
/// How often every task has its turn before nothing more is expected of any.
const TURNS: usize = 24;

/// A broker from its start to its stop or kill.
pub struct Process {
    /// While it is there, time does not pass by itself. The first to go: the runtime waits for whom it blocks.
    _still: std::sync::mpsc::Sender<()>,
    pub runtime: Runtime,
    pub backend: Backend,
}

impl Process {
    pub fn start(storage: &dyn Storage, clock: &Arc<ManualClock>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let (still, moving) = std::sync::mpsc::channel::<()>();
        // Time that nobody moves moves by itself when all tasks wait, unless something blocks.
        runtime.spawn_blocking(move || moving.recv().is_ok());
        let options = BackendOptions {
            session_expiry: Duration::from_secs(LONGEST_EXPIRY),
            ..BackendOptions::new(&Limits::default(), Profile::Standard)
        };
        let clock = Arc::clone(clock) as Arc<dyn Clock>;
        let backend = runtime.block_on(async {
            let backend =
                Backend::restore(options, storage.sessions().await, clock, &|_, _, _| None).await.unwrap();
            turns().await;
            backend
        });
        Self { _still: still, runtime, backend }
    }
}

/// Lets every task have its turn, many times.
pub async fn turns() {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
}
