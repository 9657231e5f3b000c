//! `jitp import`: an archive becomes the registry of a data directory that has none yet.
use crate::args::Global;
use crate::exit::{Exit, InvalidInput};
use crate::{output, progress};
use jitp_provisioner::archive::{ImportError, Imported, import};
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The archive that `jitp export` wrote (docs/archive.md)
    pub file: PathBuf,
}

pub async fn run(global: &Global, args: Args) -> anyhow::Result<Exit> {
    let size = std::fs::metadata(&args.file).map_or(0, |metadata| metadata.len());
    let bar = progress::of_bytes(2 * size);
    let imported = import(&global.data_dir, &args.file, None, &mut |bytes| bar.set_position(bytes)).await;
    bar.finish_and_clear();
    let loaded = match imported {
        Ok(Imported::Loaded(loaded)) => loaded,
        Ok(Imported::NotEmpty) => {
            let message = format!(
                "{} has a registry with content already: import into another directory (--data-dir)",
                global.data_dir.display()
            );
            return Err(InvalidInput(message).into());
        }
        Err(ImportError::Archive(error)) => return Err(InvalidInput(error.to_string()).into()),
        Err(error) => return Err(error.into()),
    };
    if global.json {
        return output::json(&json!({
            "records": loaded.records,
            "account": loaded.account,
            "region": loaded.region,
        }));
    }
    output::line(&format!(
        "{} records are in {}: serve it with --account {} --region {}",
        loaded.records,
        global.data_dir.display(),
        loaded.account,
        loaded.region
    ))?;
    Ok(Exit::Success)
}
