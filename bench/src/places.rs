//! Processors of their own for servers and for the load generator, so that a server waits for nobody but itself.
//!
//! What is started runs where the one who starts it does. So this process goes to the servers' processors, starts them, and goes to
//! its own: servers know of no other processors, and have as many threads as there are.
use crate::report::Case;
use anyhow::{Context, ensure};
use std::process::{Command, Stdio};

/// Where servers run, and where this process does. While there is one, this process may be confined.
pub struct Places {
    servers: String,
    own: String,
    all: String,
    /// Why everything runs everywhere.
    shared: Option<String>,
}

impl Places {
    /// Half of the processors each, unless they are to be `shared`, or it cannot be.
    pub fn new(shared: bool) -> Self {
        let all = allowed().unwrap_or_default();
        let (servers, own) = all.split_at(all.len() / 2);
        let mut places = Self { servers: list(servers), own: list(own), all: list(&all), shared: None };
        if shared {
            places.shared = Some("as was asked for".to_owned());
        } else if servers.is_empty() {
            places.shared = Some("there is only one".to_owned());
        } else if let Err(error) = places.start_servers() {
            places.shared = Some(error.to_string());
        }
        places
    }

    /// Servers that are started from now on run at their place.
    pub fn start_servers(&self) -> anyhow::Result<()> {
        self.go(&self.servers)
    }

    /// This process runs at its own place from now on.
    pub fn begin(&self) -> anyhow::Result<()> {
        self.go(&self.own)
    }

    /// Says what the figures of a case are worth less for.
    pub fn caveat(&self, case: &mut Case) {
        if let Some(why) = &self.shared {
            case.note_once(&format!(
                "server and load generator share all processors ({why}): what the one takes from the other counts"
            ));
        }
    }

    fn go(&self, place: &str) -> anyhow::Result<()> {
        if self.shared.is_some() { Ok(()) } else { confine(place) }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        let _ = self.go(&self.all);
    }
}

/// The processors that this process may use.
fn allowed() -> anyhow::Result<Vec<usize>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    parse(line.context("no Cpus_allowed_list")?.trim())
}

/// `0-2,5`
fn parse(list: &str) -> anyhow::Result<Vec<usize>> {
    let mut all = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        all.extend(first.parse::<usize>()?..=last.parse()?);
    }
    Ok(all)
}

fn list(processors: &[usize]) -> String {
    processors.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

/// All threads of this process, and those to come.
fn confine(processors: &str) -> anyhow::Result<()> {
    let own = std::process::id().to_string();
    let output = Command::new("taskset")
        .args(["--all-tasks", "--cpu-list", "--pid", processors, &own])
        .stdin(Stdio::null())
        .output()
        .context("taskset does not start")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_read() {
        assert_eq!(parse("0-2,5").unwrap(), [0, 1, 2, 5]);
        assert_eq!(parse("3").unwrap(), [3]);
        assert!(!allowed().unwrap().is_empty());
        assert_eq!(list(&[0, 1, 5]), "0,1,5");
    }

    #[test]
    fn what_is_asked_to_be_shared_is_said_to_be() {
        let mut case = Case::new("fairness", "alone", "p99 ms");
        for _ in 0..2 {
            Places::new(true).caveat(&mut case);
        }
        assert_eq!(case.notes.len(), 1);
    }
}
