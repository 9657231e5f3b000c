//! Archiving a registry, loading the archive, and returning a registry to it: in this process, without HTTP.
use super::registry::fill;
use crate::lab::Lab;
use crate::peers::Kind;
use crate::report::{Case, Report, Round, progress};
use anyhow::{Context, ensure};
use jitp_provisioner::archive::{Imported, Seed, import};
use jitp_provisioner::registry::CreateThing;
use jitp_provisioner::{Options, Provisioner, SystemClock};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Things that a test has made before it resets.
const MADE: u32 = 100;

pub async fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    for devices in &lab.options.devices {
        let data = lab.fresh_path("data");
        progress(&format!("archive: writing {devices} devices"));
        fill(lab, &data, *devices)?;
        let archive = lab.fresh_path("archive.jsonl");
        let provisioner = open(&data).await?;
        let of = |variant: &str| Case::new("archive", format!("{devices} devices, {variant}"), "ms");
        let (mut exporting, mut importing, mut resetting) = (of("export"), of("import"), of("reset"));
        for round in 0..lab.options.rounds {
            let took = timed(export(&provisioner, &archive)).await?;
            exporting.rounds.push(one(round, took, *devices));
            let fresh = lab.fresh_path("imported");
            let took = timed(load(&fresh, &archive)).await?;
            importing.rounds.push(one(round, took, *devices));
            std::fs::remove_dir_all(&fresh)?;
        }
        let options = Options::default();
        let seed = Seed::read(&archive, &options.account, &options.region)?;
        let mut preparing = of("prepare reset");
        for round in 0..lab.options.rounds {
            let took = timed(async { Ok(provisioner.registry().prepare_reset(&seed).await?) }).await?;
            preparing.rounds.push(one(round, took, *devices));
        }
        for round in 0..lab.options.rounds {
            make(&provisioner, round).await?;
            let took = timed(async { Ok(provisioner.reset(&seed).await?) }).await?;
            resetting.rounds.push(one(round, took, MADE));
        }
        provisioner.close().await?;
        let bytes = std::fs::metadata(&archive)?.len();
        exporting.notes.push(format!("{:.1} MB", bytes as f64 / 1e6));
        importing.notes.push("verified first, durable when it ends".into());
        resetting.notes.push(format!("after {MADE} things have been created; the seed is held in memory"));
        preparing.notes.push("once after a start with --allow-reset, in the background".into());
        for case in [exporting, importing, preparing, resetting] {
            report.add(case)?;
        }
    }
    Ok(())
}

async fn timed(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<Duration> {
    let started = Instant::now();
    work.await?;
    Ok(started.elapsed())
}

fn one(round: u32, took: Duration, operations: u32) -> Round {
    Round {
        peer: Kind::Jitp,
        round,
        value: took.as_secs_f64() * 1000.0,
        operations: u64::from(operations),
        usage: None,
        p50_micros: None,
        p99_micros: None,
        p999_micros: None,
        failures: 0,
    }
}

async fn open(data: &Path) -> anyhow::Result<Provisioner> {
    let opened = Provisioner::open(data, Options::default(), Arc::new(SystemClock)).await;
    opened.with_context(|| format!("cannot open the registry in {}", data.display()))
}

async fn export(provisioner: &Provisioner, archive: &Path) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(archive)?);
    let mut export = provisioner.export().await?;
    while let Some(lines) = export.next().await? {
        file.write_all(&lines)?;
    }
    Ok(file.into_inner().map_err(|error| error.into_error())?.sync_all()?)
}

async fn load(directory: &Path, archive: &Path) -> anyhow::Result<()> {
    let imported = import(directory, archive, None, &mut |_| {}).await?;
    ensure!(matches!(imported, Imported::Loaded(_)), "there is a registry already");
    Ok(())
}

async fn make(provisioner: &Provisioner, round: u32) -> anyhow::Result<()> {
    for number in 0..MADE {
        let name = format!("made-{round}-{number}").parse()?;
        provisioner.registry().create_thing(name, CreateThing::default()).await?;
    }
    Ok(())
}
