//! Opening a registry: from the start of the process to the ready line, with the files in the page cache.
use crate::lab::Lab;
use crate::peers::{Jitp, Kind};
use crate::process::resident_bytes;
use crate::report::{Case, Report, Round, progress};
use anyhow::{Context, ensure};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

pub fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    if !lab.options.peers.contains(&Kind::Jitp) {
        return Ok(());
    }
    for devices in &lab.options.devices {
        let jitp = Jitp::new(lab)?;
        progress(&format!("registry: writing {devices} devices"));
        let started = Instant::now();
        fill(lab, jitp.data_dir(), *devices)?;
        let filled = started.elapsed().as_secs_f64();
        let on_disk = size_on_disk(jitp.data_dir())?;
        let mut case = Case::new("registry", format!("{devices} devices"), "ms to open");
        let mut resident = 0;
        for round in 0..lab.options.rounds {
            let (peer, api, took) = jitp.open(lab)?;
            resident = resident_bytes(peer.pid())?;
            let last = format!("fill-{:07}", devices - 1);
            ensure!(jitp.knows(&api, &last)?, "{last} is not in the registry");
            peer.process.terminate()?;
            case.rounds.push(Round {
                peer: Kind::Jitp,
                round,
                value: took.as_secs_f64() * 1000.0,
                operations: u64::from(*devices),
                usage: None,
                p50_micros: None,
                p99_micros: None,
                p999_micros: None,
                failures: 0,
            });
        }
        let each = on_disk / u64::from(*devices);
        case.notes.push(format!(
            "written in {filled:.1} s, certificates included, by the path of a first connection"
        ));
        case.notes.push(format!("{:.1} MB on disk, {each} bytes per device", on_disk as f64 / 1e6));
        case.notes.push(format!("{:.1} MB resident after opening", resident as f64 / 1e6));
        report.add(case)?;
    }
    Ok(())
}

/// In a process of its own, because a registry has one owner.
pub(super) fn fill(lab: &Lab, data_dir: &Path, devices: u32) -> anyhow::Result<()> {
    let status = Command::new(std::env::current_exe()?)
        .arg("fill")
        .arg("--factory")
        .arg(&lab.files.directory)
        .arg("--data-dir")
        .arg(data_dir)
        .arg("--devices")
        .arg(devices.to_string())
        .stdin(Stdio::null())
        .status()?;
    ensure!(status.success(), "the registry could not be written");
    Ok(())
}

/// Bytes of all files below a directory, as `du` counts: what they occupy.
fn size_on_disk(directory: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut sum = 0;
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                left.push(entry.path());
            } else {
                sum += metadata.blocks() * 512;
            }
        }
    }
    Ok(sum)
}
