//! Points in time that mean the same to the next process.
use jitp_provisioner::Clock;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Translates between the time that this process counts and the time on the wall.
#[derive(Clone)]
pub(crate) struct Wall {
    clock: Arc<dyn Clock>,
}

impl Wall {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
    /// Milliseconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        self.clock.now().millis()
    }
    /// What the clock on the wall will show then.
    pub(crate) fn at(&self, then: Instant) -> u64 {
        let left = then.saturating_duration_since(Instant::now());
        self.now().saturating_add(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
    }
    /// When the clock on the wall shows this; now if that is past.
    pub(crate) fn instant(&self, milliseconds: u64) -> Instant {
        let left = milliseconds.saturating_sub(self.now());
        crate::backend::after(Duration::from_millis(left))
    }
}
