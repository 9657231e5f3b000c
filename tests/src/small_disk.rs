//! A disk that is quickly full.
use anyhow::ensure;
use std::io::Write;
use std::path::Path;
use std::process::Command;

const MEGABYTE: usize = 1 << 20;

/// A file system of its own, in memory; unmounted when dropped.
pub struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` where this process may not mount.
    pub fn of(megabytes: usize) -> anyhow::Result<Option<Self>> {
        let directory = tempfile::tempdir()?;
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(directory.path())
            .output()
            .is_ok_and(|output| output.status.success());
        Ok(mounted.then_some(Self { directory }))
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file of so many megabytes, or until the disk is full.
    pub fn fill(&self, megabytes: usize) -> anyhow::Result<()> {
        let mut file = std::fs::File::create(self.path().join("ballast"))?;
        let chunk = vec![0x5a; MEGABYTE];
        for _ in 0..megabytes {
            if let Err(error) = file.write_all(&chunk) {
                ensure!(error.kind() == std::io::ErrorKind::StorageFull, error);
                break;
            }
        }
        Ok(())
    }

    /// Removes what [`SmallDisk::fill`] has written.
    pub fn make_room(&self) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.path().join("ballast"))?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}
