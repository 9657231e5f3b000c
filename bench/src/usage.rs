//! Who used the processors while something was measured.
use crate::process::{cpu_time, machine_time};
use serde::Serialize;
use std::time::{Duration, Instant};

/// Runs from the start to the end of a measurement.
pub struct Meter {
    server: u32,
    started: Instant,
    before: Sample,
}

/// Processor use during a measurement. Shares are in cores: 1.0 is one core all the time.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Usage {
    /// Wall time.
    pub seconds: f64,
    /// Of the server's process.
    pub server_cores: f64,
    /// Of this process.
    pub generator_cores: f64,
    /// Of everything else on this machine: what disturbs the measurement.
    pub elsewhere_cores: f64,
}

#[derive(Clone, Copy)]
struct Sample {
    server: Duration,
    generator: Duration,
    machine: Duration,
}

impl Meter {
    /// Starts the clock.
    pub fn start(server: u32) -> anyhow::Result<Self> {
        Ok(Self { server, before: Sample::take(server)?, started: Instant::now() })
    }

    /// Stops it.
    pub fn stop(self) -> anyhow::Result<Usage> {
        let seconds = self.started.elapsed().as_secs_f64();
        let after = Sample::take(self.server)?;
        let cores = |pick: fn(&Sample) -> Duration| {
            pick(&after).saturating_sub(pick(&self.before)).as_secs_f64() / seconds
        };
        let (server_cores, generator_cores) = (cores(|s| s.server), cores(|s| s.generator));
        let elsewhere_cores = (cores(|s| s.machine) - server_cores - generator_cores).max(0.0);
        Ok(Usage { seconds, server_cores, generator_cores, elsewhere_cores })
    }
}

impl Usage {
    /// Processor time of the server per operation, in microseconds.
    pub fn server_micros_per(&self, operations: u64) -> f64 {
        self.server_cores * self.seconds * 1e6 / (operations.max(1)) as f64
    }
}

impl Sample {
    fn take(server: u32) -> anyhow::Result<Self> {
        Ok(Self {
            server: cpu_time(server)?,
            generator: cpu_time(std::process::id())?,
            machine: machine_time()?,
        })
    }
}
