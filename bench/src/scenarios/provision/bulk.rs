//! A registration task: a file of devices, each with a signing request, a line for each. From its start to its end; and the
//! most memory that the broker has ever used, which must not depend on how long the file is.
use super::ledger::Promise;
use super::site::Site;
use super::{Way, templates};
use crate::factory::name;
use crate::lab::Lab;
use crate::peers::Kind;
use crate::process::peak_resident_bytes;
use crate::report::{Case, Round, progress};
use crate::usage::Meter;
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

const BUCKET: &str = "bench";
const FILE: &str = "devices.jsonl";
const PREFIX: &str = "bulk";
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Bytes.
const CACHE: u32 = 4 << 20;
/// Signing requests made at once: bounds the memory of this process.
const BATCH: usize = 8192;

/// A case for each length of file.
pub async fn measure(lab: &Lab) -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    for lines in &lab.options.lines {
        cases.push(one(lab, usize::try_from(*lines)?).await?);
    }
    Ok(cases)
}

async fn one(lab: &Lab, lines: usize) -> anyhow::Result<Case> {
    let input = lab.fresh_path("input");
    progress(&format!("provision: bulk, making {lines} signing requests"));
    std::fs::create_dir_all(input.join(BUCKET))?;
    write(lab, &input.join(BUCKET).join(FILE), lines)?;
    // Next to no page cache, which grows with the registry: what is left is the task's memory.
    let config = format!("[registry]\ncache_bytes = {CACHE}\n[bulk]\ndirectory = {input:?}\n");
    let site = Site::open(lab, &config).await?;
    let before = peak_resident_bytes(site.peer.pid())?;
    let meter = Meter::start(site.peer.pid())?;
    progress("provision: bulk, carrying them out");
    run(&site, lines).await?;
    let usage = meter.stop()?;
    let peak = peak_resident_bytes(site.peer.pid())?;
    let case = Way::Bulk.case();
    let mut case = Case { variant: format!("{}, {lines} lines", case.variant), ..case };
    case.rounds.push(Round {
        peer: Kind::Jitp,
        round: 0,
        value: lines as f64 / usage.seconds,
        operations: lines as u64,
        usage: Some(usage),
        p50_micros: None,
        p99_micros: None,
        p999_micros: None,
        failures: 0,
    });
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    case.notes.push(format!(
        "{:.1} s; at most {:.0} MB in memory ({:.0} MB before)",
        usage.seconds,
        megabytes(peak),
        megabytes(before)
    ));
    for number in 0..lines {
        site.ledger.enter(Promise::Thing(name(PREFIX, number)));
    }
    case.notes.push(site.verify(lab).await?);
    Ok(case)
}

fn write(lab: &Lab, file: &Path, lines: usize) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(file)?);
    let mut written = 0;
    while written < lines {
        let count = BATCH.min(lines - written);
        let csrs = lab.factory.signing_requests_from(PREFIX, written, count)?;
        for (number, csr) in (written..).zip(&csrs) {
            writeln!(file, "{}", json!({ "ThingName": name(PREFIX, number), "CSR": csr }))?;
        }
        written += count;
    }
    Ok(file.flush()?)
}

/// Starts the task and waits for its end; every line must have been provisioned.
async fn run(site: &Site, lines: usize) -> anyhow::Result<()> {
    let request = json!({
        "templateBody": templates::signed().to_string(),
        "inputFileBucket": BUCKET,
        "inputFileKey": FILE,
        "roleArn": "arn:aws:iam::000000000000:role/jitp-bench",
    });
    let started = site.api.call("POST", "/thing-registration-tasks", &request).await?;
    let id = started.get("taskId").and_then(Value::as_str).context("no task")?;
    let path = format!("/thing-registration-tasks/{id}");
    loop {
        let task = site.api.call("GET", &path, &Value::Null).await?;
        match task.get("status").and_then(Value::as_str) {
            Some("InProgress") => tokio::time::sleep(LOOK_EVERY).await,
            Some("Completed") => {
                let done = task.get("successCount").and_then(Value::as_u64);
                ensure!(done == Some(lines as u64), "not every line was provisioned: {task}");
                return Ok(());
            }
            _ => anyhow::bail!("the task has failed: {task}"),
        }
    }
}
