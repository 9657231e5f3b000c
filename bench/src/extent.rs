//! How much of it is measured: as much as was asked for, or hardly anything with `--quick`.
use crate::arguments::Measure;
use std::time::Duration;

impl Measure {
    /// With `--quick`: one short round of everything, small enough for a test.
    pub fn at_its_extent(self) -> Self {
        if !self.quick {
            return self;
        }
        Self {
            rounds: 1,
            connections: 100,
            sessions: 100,
            devices: vec![200],
            lines: vec![200],
            fleets: vec![50, 100],
            sockets: 50,
            retained: 200,
            ..self
        }
    }

    /// Length of a round.
    pub fn window(&self) -> Duration {
        if self.quick { Duration::from_millis(200) } else { Duration::from_secs(self.seconds) }
    }

    /// Before the clock of a round starts.
    pub fn warm_up(&self) -> Duration {
        Duration::from_millis(if self.quick { 50 } else { 500 })
    }

    /// Publishers or subscribers, where there are many.
    pub fn many(&self) -> usize {
        if self.quick { 5 } else { 50 }
    }

    /// Devices of a fleet that comes back at once.
    pub fn fleet(&self) -> usize {
        if self.quick { 200 } else { 5000 }
    }

    /// Devices that a broker knows before they come back.
    pub fn known(&self) -> usize {
        if self.quick { 256 } else { 1024 }
    }
}
