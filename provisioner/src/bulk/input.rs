//! Where the input of a task is: a bucket is a directory below the configured one, a key a path below that.
use crate::clock::Timestamp;
use crate::error::RegistryError;
use rustix::fs::{Mode, OFlags, open, openat};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Bucket and key, in AWS's alphabet, none of whose parts leads upwards or nowhere.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Location {
    pub(crate) bucket: String,
    pub(crate) key: String,
}

/// What an input file was when its task was started: a task goes on only while it is still that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    pub(crate) bytes: u64,
    pub(crate) modified: Timestamp,
}

impl Location {
    /// Checks bucket (3 to 256 characters of `a-z A-Z 0-9 . _ -`) and key (1 to 1024, also `! * ' ( ) + , /`).
    pub(crate) fn new(bucket: &str, key: &str) -> Result<Self, RegistryError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !(3..=256).contains(&bucket.len()) || !bucket.chars().all(plain) || bucket.starts_with("..") {
            return Err(invalid("inputFileBucket: expected 3 to 256 characters of a-z A-Z 0-9 . _ -".into()));
        }
        let legal = |c: char| plain(c) || "!*'()+,/".contains(c);
        if !(1..=1024).contains(&key.len()) || !key.chars().all(legal) {
            return Err(invalid(
                "inputFileKey: expected 1 to 1024 characters of a-z A-Z 0-9 ! _ . * ' ( ) + , - /".into(),
            ));
        }
        if key.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(invalid(
                "inputFileKey: expected names with single slashes between them, none of them . or ..".into(),
            ));
        }
        Ok(Self { bucket: bucket.into(), key: key.into() })
    }

    /// Opens the file and says what it is. Walks down from the directory name by name and follows no symbolic link, so that
    /// nothing outside can be reached, whatever changes meanwhile. Blocks.
    pub(crate) fn open(&self, directory: &Path) -> Result<(File, Identity), RegistryError> {
        let failed = |error: std::io::Error| {
            invalid(format!(
                "inputFileKey: {} in bucket {} cannot be read: {error}; the broker reads {}, and follows no symbolic \
                 link below {}",
                self.key,
                self.bucket,
                self.path(directory).display(),
                directory.display()
            ))
        };
        let file = self.walk(directory).map_err(|error| failed(error.into()))?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(failed(std::io::Error::other("it is not a file")));
        }
        let modified = metadata.modified().map_err(failed)?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let modified = Timestamp(u64::try_from(modified.as_millis()).unwrap_or(u64::MAX));
        Ok((file, Identity { bytes: metadata.len(), modified }))
    }

    fn walk(&self, directory: &Path) -> rustix::io::Result<File> {
        let common = OFlags::RDONLY | OFlags::CLOEXEC;
        let mut at = open(directory, common | OFlags::DIRECTORY, Mode::empty())?;
        let mut names: Vec<&str> = std::iter::once(self.bucket.as_str()).chain(self.key.split('/')).collect();
        let file = names.pop().unwrap_or_default();
        for name in names {
            at = openat(&at, name, common | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        }
        // A pipe must not make the broker wait.
        let flags = common | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        openat(&at, file, flags, Mode::empty()).map(File::from)
    }

    /// Where that is, for people.
    pub(crate) fn path(&self, directory: &Path) -> PathBuf {
        directory.join(&self.bucket).join(&self.key)
    }
}

fn invalid(message: String) -> RegistryError {
    RegistryError::InvalidRequest(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    fn read(directory: &Path, bucket: &str, key: &str) -> Result<String, RegistryError> {
        let (mut file, identity) = Location::new(bucket, key)?.open(directory)?;
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(identity.bytes, text.len() as u64);
        Ok(text)
    }

    #[test]
    fn a_bucket_is_a_directory_and_a_key_a_path_below_it() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("plant-a/2026")).unwrap();
        std::fs::write(directory.path().join("plant-a/2026/day 1").with_file_name("day.json"), "{}").unwrap();
        assert_eq!(read(directory.path(), "plant-a", "2026/day.json").unwrap(), "{}");
    }

    #[test]
    fn nothing_outside_of_the_directory_can_be_read() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "secret").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let bucket = directory.path().join("bucket");
        std::fs::create_dir_all(bucket.join("real")).unwrap();
        std::fs::write(bucket.join("real/file"), "fine").unwrap();
        symlink(outside.path(), directory.path().join("linked-bucket")).unwrap();
        symlink(outside.path(), bucket.join("linked")).unwrap();
        symlink(outside.path().join("secret"), bucket.join("link")).unwrap();
        symlink("real/file", bucket.join("inside")).unwrap();
        let absolute = outside.path().join("secret").display().to_string();
        for (bucket, key) in [
            ("linked-bucket", "secret"),
            ("bucket", "linked/secret"),
            ("bucket", "link"),
            ("bucket", "inside"),
            ("bucket", "../bucket/real/file"),
            ("bucket", "real/../../secret"),
            ("bucket", "./real/file"),
            ("bucket", "real//file"),
            ("bucket", "real/file/"),
            ("bucket", "/real/file"),
            ("bucket", absolute.as_str()),
            ("bucket", "real"),
            ("bucket", "absent"),
            ("bucket", "real/file/more"),
            ("...", "secret"),
            ("..", "secret"),
            ("a/b", "secret"),
            ("bucket", "real/f\0ile"),
            ("bucket", ""),
        ] {
            let error = read(directory.path(), bucket, key).unwrap_err();
            assert!(matches!(&error, RegistryError::InvalidRequest(m) if m.contains("inputFile")), "{error}");
        }
        assert_eq!(read(directory.path(), "bucket", "real/file").unwrap(), "fine");
    }

    #[test]
    fn a_pipe_is_refused_and_does_not_make_the_broker_wait() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("bucket")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(directory.path().join("bucket/pipe")).status();
        assert!(made.unwrap().success());
        assert!(read(directory.path(), "bucket", "pipe").unwrap_err().to_string().contains("not a file"));
    }
}
