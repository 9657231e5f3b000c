//! What a task says of each line: in the results, or in the errors. Whole lines only, in the order of the input.
use crate::error::RegistryError;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Which of a task's two reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ReportType {
    /// A line for each that was provisioned.
    Results,
    /// A line for each that was not.
    Errors,
}

impl ReportType {
    /// As in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Results => "RESULTS",
            Self::Errors => "ERRORS",
        }
    }
    const fn file_name(self) -> &'static str {
        match self {
            Self::Results => "results.jsonl",
            Self::Errors => "errors.jsonl",
        }
    }
}

impl std::str::FromStr for ReportType {
    type Err = RegistryError;
    fn from_str(text: &str) -> Result<Self, RegistryError> {
        [Self::Results, Self::Errors]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| RegistryError::InvalidRequest("reportType: expected ERRORS or RESULTS".into()))
    }
}

/// What became of a line, as its report has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) report: ReportType,
    /// JSON, with the end of the line.
    pub(crate) line: Vec<u8>,
}

impl Outcome {
    /// As it is kept until it is in its report.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.line.len() + 1);
        bytes.push(if self.report == ReportType::Results { b'R' } else { b'E' });
        bytes.extend_from_slice(&self.line);
        bytes
    }
    /// Reads that back.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (mark, line) = bytes.split_first()?;
        let report = match mark {
            b'R' => ReportType::Results,
            b'E' => ReportType::Errors,
            _ => return None,
        };
        Some(Self { report, line: line.to_vec() })
    }
}

/// How long the reports are: what is beyond does not count yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lengths {
    pub(crate) results: u64,
    pub(crate) errors: u64,
}

/// The reports of a task, open for writing. Every method blocks.
pub(crate) struct Reports {
    results: File,
    errors: File,
}

impl Reports {
    /// Opens, or creates, the reports and cuts off what was written but never counted.
    pub(crate) fn open(directory: &Path, lengths: Lengths) -> io::Result<Self> {
        if !directory.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            for ancestor in directory.ancestors().skip(1).take(2) {
                File::open(ancestor)?.sync_all()?;
            }
        }
        let open = |kind, length| open_at(&path(directory, kind), length);
        let reports = Self {
            results: open(ReportType::Results, lengths.results)?,
            errors: open(ReportType::Errors, lengths.errors)?,
        };
        File::open(directory)?.sync_all()?;
        Ok(reports)
    }

    /// Adds lines; they are on the disk when it returns. After an error, open them again.
    pub(crate) fn append(&mut self, outcomes: &[Outcome]) -> io::Result<Lengths> {
        let mut added = Lengths::default();
        for (file, report, length) in [
            (&mut self.results, ReportType::Results, &mut added.results),
            (&mut self.errors, ReportType::Errors, &mut added.errors),
        ] {
            let lines: Vec<u8> =
                outcomes.iter().filter(|o| o.report == report).flat_map(|o| o.line.iter().copied()).collect();
            if !lines.is_empty() {
                file.write_all(&lines)?;
                file.sync_data()?;
                *length = lines.len() as u64;
            }
        }
        Ok(added)
    }
}

/// Where a report is.
pub(crate) fn path(directory: &Path, kind: ReportType) -> PathBuf {
    directory.join(kind.file_name())
}

fn open_at(path: &Path, length: u64) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let present = file.metadata()?.len();
    if present < length {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} has {present} bytes and had {length}: somebody has shortened it", path.display()),
        ));
    }
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(report: ReportType, line: &str) -> Outcome {
        Outcome { report, line: format!("{line}\n").into_bytes() }
    }

    #[test]
    fn lines_go_to_their_report_and_what_was_never_counted_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("reports/task");
        let mut reports = Reports::open(&directory, Lengths::default()).unwrap();
        let (good, bad) = (outcome(ReportType::Results, "good"), outcome(ReportType::Errors, "bad"));
        let counted = reports.append(&[good.clone(), bad.clone(), good.clone()]).unwrap();
        assert_eq!(counted, Lengths { results: 10, errors: 4 });
        reports.append(&[good.clone(), bad]).unwrap();
        let mut reports = Reports::open(&directory, counted).unwrap();
        reports.append(&[good]).unwrap();
        let read = |kind| std::fs::read_to_string(path(&directory, kind)).unwrap();
        assert_eq!(read(ReportType::Results), "good\ngood\ngood\n");
        assert_eq!(read(ReportType::Errors), "bad\n");
        let shortened = Reports::open(&directory, Lengths { results: 99, errors: 0 }).err().unwrap();
        assert!(shortened.to_string().contains("shortened"), "{shortened}");
    }

    #[test]
    fn an_outcome_reads_back() {
        for outcome in [outcome(ReportType::Results, "{}"), outcome(ReportType::Errors, "")] {
            assert_eq!(Outcome::decode(&outcome.encode()), Some(outcome));
        }
        assert_eq!(Outcome::decode(b"X{}"), None);
        assert_eq!(Outcome::decode(b""), None);
    }
}
