//! Where the broker keeps sessions while a script is played.
use jitp_provisioner::sessions::SessionStore;
use jitp_provisioner::{Options, Provisioner, SystemClock};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A store that outlives brokers.
pub trait Storage {
    /// For a broker that starts.
    fn sessions(&self) -> Pin<Box<dyn Future<Output = SessionStore> + '_>>;
    /// The broker is gone.
    fn reopen(&mut self);
    /// How long it may take until something is stored.
    fn patience(&self) -> Duration;
}

/// Nothing takes any time, and every run is the same.
pub struct InMemory(SessionStore);

impl InMemory {
    pub fn new() -> Self {
        Self(SessionStore::in_memory())
    }
}

impl Storage for InMemory {
    fn sessions(&self) -> Pin<Box<dyn Future<Output = SessionStore> + '_>> {
        Box::pin(std::future::ready(self.0.clone()))
    }
    fn reopen(&mut self) {}
    fn patience(&self) -> Duration {
        Duration::ZERO
    }
}

/// The registry's own store, on disk. It is opened anew for every broker, without having been closed.
pub struct OnDisk {
    directory: tempfile::TempDir,
    open: Mutex<Option<Provisioner>>,
}

impl OnDisk {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), open: Mutex::default() }
    }
}

impl Storage for OnDisk {
    fn sessions(&self) -> Pin<Box<dyn Future<Output = SessionStore> + '_>> {
        Box::pin(async {
            let clock = Arc::new(SystemClock);
            let provisioner =
                Provisioner::open(self.directory.path(), Options::default(), clock).await.unwrap();
            let sessions = provisioner.sessions();
            *self.open.lock().unwrap() = Some(provisioner);
            sessions
        })
    }
    fn reopen(&mut self) {
        *self.open.lock().unwrap() = None;
    }
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }
}
