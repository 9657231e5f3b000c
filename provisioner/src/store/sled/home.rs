//! The registry's directory: who may open it, and what format it has.
use crate::store::StoreError;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// First line of the file `FORMAT`.
const MAGIC: &str = "jitp registry";
/// The format that this program writes, and the newest that it reads.
///
/// 3 has the file of known keys, which a program that reads 2 would not keep up to date. 4 has the last wills of sessions, which a
/// program that reads 3 does not find in the redo log. Otherwise they are the same.
const FORMAT: u32 = 4;
/// The oldest that can be opened.
const OLDEST: u32 = 2;
/// A process that ends, or a store that was just dropped, may still hold the lock for a moment.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// `<dir>/registry`, locked for this process.
pub(super) struct Home {
    root: PathBuf,
    _lock: File,
}

impl Home {
    /// Creates what is missing (directories 0700, files 0600), locks, and checks the format.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let root = dir.join("registry");
        create(&root)?;
        let lock = lock(&root)?;
        let home = Self { root, _lock: lock };
        match home.read_format()? {
            Some(text) => match check_format(&home.root, &text)? {
                Format::Current => {}
                Format::Older => {
                    home.write_format().map_err(|e| at(&home.root.join("FORMAT"), "written", &e))?
                }
            },
            None if home.engine().exists() => return Err(unknown(&home.root, "it has no file FORMAT")),
            None => home.write_format().map_err(|e| at(&home.root.join("FORMAT"), "written", &e))?,
        }
        Ok(home)
    }
    /// `<dir>/registry`.
    pub(super) fn path(&self) -> &Path {
        &self.root
    }
    /// Where sled keeps its files.
    pub(super) fn engine(&self) -> PathBuf {
        self.root.join("sled")
    }
    /// Where the redo log is. Created if missing.
    pub(super) fn journal(&self) -> Result<PathBuf, StoreError> {
        self.directory("journal")
    }
    /// Where the change log is. Created if missing.
    pub(super) fn changes(&self) -> Result<PathBuf, StoreError> {
        self.directory("changes")
    }

    /// The file of known keys.
    pub(super) fn known_keys(&self) -> PathBuf {
        self.root.join("known-keys")
    }

    fn directory(&self, name: &str) -> Result<PathBuf, StoreError> {
        let path = self.root.join(name);
        create(&path)?;
        File::open(&self.root).and_then(|root| root.sync_all()).map_err(|e| at(&self.root, "written", &e))?;
        Ok(path)
    }

    fn read_format(&self) -> Result<Option<String>, StoreError> {
        let path = self.root.join("FORMAT");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(at(&path, "opened", &e)),
        };
        let mut bytes = Vec::new();
        file.take(1024).read_to_end(&mut bytes).map_err(|e| at(&path, "read", &e))?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
    /// In one step: a crash leaves either no file or a whole one.
    fn write_format(&self) -> io::Result<()> {
        let unfinished = self.root.join("FORMAT.new");
        let mut file = private().truncate(true).open(&unfinished)?;
        file.write_all(format!("{MAGIC}\nformat {FORMAT}\n").as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&unfinished, self.root.join("FORMAT"))?;
        File::open(&self.root)?.sync_all()
    }
}

/// Opens a file for reading and writing; one that does not exist is created for the owner only.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}

fn create(directory: &Path) -> Result<(), StoreError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|e| at(directory, "created", &e))
}

fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join("LOCK");
    let file = private().open(&path).map_err(|e| at(&path, "opened", &e))?;
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Unavailable(format!(
                    "another process has this data directory open: {}. Stop it, or use another directory",
                    root.display()
                )));
            }
            Err(TryLockError::Error(e)) => return Err(at(&path, "locked", &e)),
        }
    }
}

/// Formats that can be opened.
enum Format {
    Current,
    /// An older one, which becomes the current one by being called so.
    Older,
}

fn check_format(root: &Path, text: &str) -> Result<Format, StoreError> {
    let mut lines = text.lines();
    if lines.next() != Some(MAGIC) {
        return Err(unknown(root, "its file FORMAT is not one of a registry"));
    }
    let version = lines.next().and_then(|l| l.strip_prefix("format ")).and_then(|v| v.parse::<u32>().ok());
    match version {
        Some(FORMAT) => Ok(Format::Current),
        Some(older) if (OLDEST..FORMAT).contains(&older) => Ok(Format::Older),
        Some(older) if (1..OLDEST).contains(&older) => Err(StoreError::Corrupt(format!(
            "the registry in {} has format {older}, that of a jitp before its first release, which this program does \
             not read: use another directory",
            root.display()
        ))),
        Some(newer) if newer > FORMAT => Err(StoreError::Corrupt(format!(
            "the registry in {} has format {newer}, this program reads format {FORMAT}: it was written by a \
             newer jitp; use that one, or another directory",
            root.display()
        ))),
        _ => Err(unknown(root, "its file FORMAT is damaged")),
    }
}

fn unknown(root: &Path, why: &str) -> StoreError {
    StoreError::Corrupt(format!(
        "{} is not a registry that jitp can open: {why}. Restore a backup of the directory, or use another one",
        root.display()
    ))
}

fn at(path: &Path, done: &str, error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("{} could not be {done}: {error}", path.display()))
}
