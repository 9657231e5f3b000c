//! The directories of registration tasks: where inputs are, and where reports go.
use super::input::Location;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Inputs in this bucket are removed when their task has ended.
pub(crate) const ONCE: &str = "once";

/// Where things are. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    input: Arc<Path>,
    reports: Arc<Path>,
}

impl Home {
    /// Reports go below the data directory; so do inputs, unless another directory is configured.
    pub(crate) fn new(data: &Path, input: Option<&Path>) -> Self {
        let own = data.join("bulk/input");
        if input.is_none()
            && let Err(error) = create(&own)
        {
            tracing::warn!(%error, directory = %own.display(), "the directory of bulk inputs cannot be made");
        }
        Self { input: input.unwrap_or(&own).into(), reports: data.join("bulk/reports").into() }
    }
    /// The directory of buckets.
    pub(crate) fn input(&self) -> &Path {
        &self.input
    }
    /// The directory of a task's reports.
    pub(crate) fn reports(&self, task: &str) -> PathBuf {
        self.reports.join(task)
    }

    /// Removes an input that was put there for one task alone.
    pub(crate) fn remove_once_only(&self, input: &Location) {
        if input.bucket != ONCE || input.key.contains('/') {
            return;
        }
        if let Err(error) = std::fs::remove_file(input.path(&self.input))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, key = input.key, "an input of the bucket {ONCE} could not be removed");
        }
    }

    /// Removes the reports of a task.
    pub(crate) fn remove_reports(&self, task: &str) -> io::Result<()> {
        match std::fs::remove_dir_all(self.reports(task)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The tasks that there are reports of, in no order.
    pub(crate) fn reported(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&*self.reports) else { return Vec::new() };
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }
}

fn create(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}
