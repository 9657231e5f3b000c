//! `jitp export`: the whole registry as one file.
use super::connect;
use crate::args::{Global, Target};
use crate::exit::{Exit, InvalidInput};
use crate::http::chunk;
use crate::{output, progress};
use anyhow::Context;
use jitp_provisioner::archive::{Verified, verify};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to write it (docs/archive.md); it must not exist yet
    pub file: PathBuf,
    #[command(flatten)]
    pub target: Target,
}

pub async fn run(global: &Global, args: Args) -> anyhow::Result<Exit> {
    let file = &args.file;
    if file.exists() {
        return Err(InvalidInput(format!("{} exists already", file.display())).into());
    }
    let mut partial = file.clone().into_os_string();
    partial.push(format!(".partial-{}", std::process::id()));
    let partial = PathBuf::from(partial);
    let written = write(global, &args, &partial).await;
    if written.is_err() {
        // What is there is of no use, and the reason is in the error.
        let _ = std::fs::remove_file(&partial);
    }
    let archive = written?;
    std::fs::rename(&partial, file).with_context(|| format!("cannot write {}", file.display()))?;
    if global.json {
        return output::json(&json!({ "file": file, "records": archive.records }));
    }
    output::line(&format!("{} records are in {}", archive.records, file.display()))?;
    Ok(Exit::Success)
}

/// Writes what comes and reads it again: only a whole archive counts.
async fn write(global: &Global, args: &Args, partial: &Path) -> anyhow::Result<Verified> {
    let mut reply = connect(global, &args.target)?.stream("/jitp/v1/archive").await?;
    let context = || format!("cannot write {}", partial.display());
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(partial);
    let mut file = BufWriter::new(file.with_context(context)?);
    let bar = progress::of_unknown_length();
    while let Some(lines) = chunk(&mut reply).await.context("the archive broke off: see the broker's log")? {
        file.write_all(&lines).with_context(context)?;
        bar.inc(lines.len() as u64);
    }
    let file: File = file.into_inner().map_err(|error| error.into_error()).with_context(context)?;
    file.sync_all().with_context(context)?;
    let verified = verify(partial, &mut |_| {});
    bar.finish_and_clear();
    Ok(verified?)
}
