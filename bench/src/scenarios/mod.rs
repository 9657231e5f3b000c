//! What is measured: one file each.
mod archive;
mod connecting;
mod fairness;
mod first_connect;
mod idle_memory;
mod lanes;
mod latency;
mod own_topics;
mod payloads;
mod persistent;
mod provision;
mod quiet;
mod registry;
mod scale;
mod storm;
mod throughput;
mod traffic;
mod warm_connect;

pub use provision::Way;
pub use quiet::talk as be_quiet;

use crate::arguments::{Measure, Scenario};
use crate::lab::Lab;
use crate::peers::{self, Kind};
use crate::plots;
use crate::report::{self, Report};
use clap::ValueEnum;

/// Runs the scenarios that were asked for, one after the other, and writes the results.
pub async fn run(options: Measure) -> anyhow::Result<()> {
    let lab = Lab::new(options)?;
    if lab.options.peers.contains(&Kind::Jitp) {
        report::progress("building jitp, or taking the one named");
        lab.jitp()?;
    }
    let mut report = Report::begin(machine(&lab));
    let all = Scenario::value_variants();
    let wanted = if lab.options.scenarios.is_empty() { all } else { &lab.options.scenarios };
    for scenario in wanted {
        match scenario {
            Scenario::FirstConnect => first_connect::run(&lab, &mut report).await?,
            Scenario::WarmConnect => warm_connect::run(&lab, &mut report).await?,
            Scenario::Provision => provision::run(&lab, &mut report).await?,
            Scenario::Throughput => throughput::run(&lab, &mut report).await?,
            Scenario::Payloads => payloads::run(&lab, &mut report).await?,
            Scenario::OwnTopics => own_topics::run(&lab, &mut report).await?,
            Scenario::Persistent => persistent::run(&lab, &mut report).await?,
            Scenario::Latency => latency::run(&lab, &mut report).await?,
            Scenario::IdleMemory => idle_memory::run(&lab, &mut report).await?,
            Scenario::Fairness => fairness::run(&lab, &mut report).await?,
            Scenario::Storm => storm::run(&lab, &mut report).await?,
            Scenario::Scale => scale::run(&lab, &mut report).await?,
            Scenario::Registry => registry::run(&lab, &mut report)?,
            Scenario::Archive => archive::run(&lab, &mut report).await?,
        }
    }
    let path = report.write(&lab.options.out)?;
    report.summarise()?;
    report::progress(&format!("\nevery round: {}", path.display()));
    if lab.options.no_plots { Ok(()) } else { plots::draw(&path) }
}

/// What the figures depend on.
fn machine(lab: &Lab) -> Vec<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let line = |text: &str, prefix: &str| {
        let found = text.lines().find(|line| line.starts_with(prefix)).unwrap_or_default();
        found.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    vec![
        format!(
            "{cores} cores shared by server and generator; {}",
            line(&read("/proc/cpuinfo"), "model name")
        ),
        line(&read("/proc/meminfo"), "MemTotal"),
        format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
        peers::mosquitto_version(lab.options.mosquitto.as_deref()).unwrap_or_default(),
        format!("rumqttd {}", peers::RUMQTTD_VERSION),
    ]
}
