//! A fleet without sockets in a process of its own, told what to do line by line.
use crate::seam::{Arrived, Away, LEAVE, PASS, Steps};
use anyhow::Context;
use serde::de::DeserializeOwned;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The process; killed by its id when dropped.
pub struct Fleet {
    process: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Fleet {
    /// Starts it; durable sessions are in a data directory.
    pub fn start(sessions: u32, data_dir: Option<&Path>) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("session-cost").arg("--sessions").arg(sessions.to_string());
        if let Some(data_dir) = data_dir {
            command.arg("--data-dir").arg(data_dir);
        }
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = process.stdin.take().context("no standard input")?;
        let answers = BufReader::new(process.stdout.take().context("no standard output")?).lines();
        Ok(Self { process, orders, answers })
    }

    /// Waits until all are there.
    pub fn arrived(&mut self) -> anyhow::Result<Arrived> {
        self.answer()
    }

    /// A thousand do everything once.
    pub fn pass(&mut self) -> anyhow::Result<Steps> {
        self.ordered(PASS)
    }

    /// All leave.
    pub fn leave(&mut self) -> anyhow::Result<Away> {
        self.ordered(LEAVE)
    }

    fn ordered<T: DeserializeOwned>(&mut self, order: &str) -> anyhow::Result<T> {
        writeln!(self.orders, "{order}")?;
        self.answer()
    }

    fn answer<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let line = self.answers.next().context("what sessions cost could not be measured")??;
        serde_json::from_str(&line).with_context(|| format!("not an answer: {line}"))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
