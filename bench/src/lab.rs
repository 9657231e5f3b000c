//! What all scenarios of a run share: options, certificates, a directory, and the binaries.
use crate::arguments::Measure;
use crate::factory::{Factory, Files};
use crate::peers;
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// A run.
pub struct Lab {
    pub options: Measure,
    pub factory: Arc<Factory>,
    pub files: Files,
    jitp: OnceLock<PathBuf>,
    rumqttd: OnceLock<PathBuf>,
    named: AtomicUsize,
    directory: tempfile::TempDir,
}

impl Lab {
    /// Makes the directory and the certificates that servers need. The directory goes with the lab.
    pub fn new(options: Measure) -> anyhow::Result<Self> {
        let options = options.at_its_extent();
        let directory = tempfile::Builder::new().prefix("jitp-bench-").tempdir()?;
        let factory = Factory::new()?;
        let files = factory.write(directory.path())?;
        let jitp = options.jitp.clone().map(OnceLock::from).unwrap_or_default();
        let rumqttd = options.rumqttd.clone().map(OnceLock::from).unwrap_or_default();
        let (factory, named) = (Arc::new(factory), AtomicUsize::new(0));
        Ok(Self { options, factory, files, jitp, rumqttd, named, directory })
    }

    /// The jitp binary; built if none was named.
    pub fn jitp(&self) -> anyhow::Result<&Path> {
        if self.jitp.get().is_none() {
            let _ = self.jitp.set(peers::build_jitp()?);
        }
        self.jitp.get().map(PathBuf::as_path).ok_or_else(|| anyhow::anyhow!("no jitp"))
    }

    /// The rumqttd binary; installed if none was named and none is there.
    pub fn rumqttd(&self) -> anyhow::Result<&Path> {
        if self.rumqttd.get().is_none() {
            let _ = self.rumqttd.set(peers::install_rumqttd()?);
        }
        self.rumqttd.get().map(PathBuf::as_path).ok_or_else(|| anyhow::anyhow!("no rumqttd"))
    }

    /// A path in the lab's directory that is used only once.
    pub fn fresh_path(&self, name: &str) -> PathBuf {
        let number = self.named.fetch_add(1, Ordering::Relaxed);
        self.directory.path().join(format!("{number}-{name}"))
    }
}

/// Where cargo builds: what this program installs for itself is kept there, too.
pub fn target_directory() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    // <target>/<profile>/jitp-bench
    let target = own.parent().and_then(Path::parent).context("a program in no directory")?;
    Ok(target.to_owned())
}
