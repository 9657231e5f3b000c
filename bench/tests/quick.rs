//! The benchmark itself works: everything runs, briefly, beside the ceiling, and the results can be read.
use anyhow::{Context, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

const SCENARIOS: [&str; 13] = [
    "first-connect",
    "warm-connect",
    "throughput",
    "payloads",
    "own-topics",
    "persistent",
    "latency",
    "idle-memory",
    "fairness",
    "storm",
    "scale",
    "registry",
    "archive",
];

#[test]
fn a_quick_run_measures_jitp_in_every_scenario_and_writes_what_it_found() -> anyhow::Result<()> {
    let out = tempfile::tempdir()?;
    let output = Command::new(env!("CARGO_BIN_EXE_jitp-bench"))
        .args(SCENARIOS)
        .args(["--quick", "--no-plots", "--peers", "jitp,ceiling", "--jitp"])
        .arg(jitp_tests::jitp())
        .arg("--out")
        .arg(out.path())
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let run = std::fs::read_dir(out.path())?.next().context("no results")??;
    let report: Value = serde_json::from_slice(&std::fs::read(run.path().join("results.json"))?)?;
    let mut measured: BTreeMap<&str, usize> = BTreeMap::new();
    for case in report["cases"].as_array().context("no cases")? {
        let rounds = case["rounds"].as_array().context("no rounds")?;
        let own = rounds.iter().filter(|round| round["peer"] == "jitp" && round["value"].is_number()).count();
        // A machine may be too busy for devices to come back in their order.
        let absent = case["variant"].as_str().is_some_and(|name| name.starts_with("resumed"))
            && case["absences"].is_array();
        ensure!(own == 1 || absent, "{own} rounds of jitp in {case}");
        *measured.entry(case["scenario"].as_str().context("no scenario")?).or_default() += 1;
    }
    ensure!(SCENARIOS.iter().all(|name| measured.contains_key(name)), "measured: {measured:?}");
    let latency = report["cases"].as_array().into_iter().flatten().find(|case| case["unit"] == "p99 ms");
    let round = &latency.context("no latency")?["rounds"][0];
    let percentiles = ["p50_micros", "p99_micros", "p999_micros"].map(|name| round[name].as_u64());
    ensure!(percentiles.iter().all(Option::is_some) && percentiles.is_sorted(), "{round}");
    Ok(())
}
