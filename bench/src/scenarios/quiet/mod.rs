//! Two devices that nobody is to disturb: one sends the other a small message now and then, and how long each takes is what
//! a loud neighbour is measured by.
//!
//! They are a process of their own that goes before all others where it may, so that they wait for the server and not for the
//! rest of the load generator.
mod talking;

pub use talking::talk;

use crate::lab::Lab;
use crate::peers::{Kind, Peer};
use crate::report::{Case, Round};
use crate::usage::Usage;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Two devices that are connected to a broker, in a process that ends with this.
pub struct Pair {
    /// They go before other processes. Otherwise their own wait for a processor is in the figures.
    first: bool,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

/// How long messages took from write to read.
#[derive(Debug, Serialize, Deserialize)]
pub struct Latencies {
    pub messages: u64,
    pub lost: u64,
    pub p50_micros: u32,
    pub p99_micros: u32,
}

/// What their process says when both are connected and it goes before others …
const BEFORE_OTHERS: &str = "ready, before others";
/// … and if it could not be made to.
const AMONG_OTHERS: &str = "ready, among others";

impl Pair {
    /// Connects both.
    pub async fn start(lab: &Lab, peer: &Peer) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("quiet")
            .arg("--factory")
            .arg(&lab.files.directory)
            .arg("--address")
            .arg(peer.target.address.to_string())
            .arg("--certificate")
            .arg(&peer.target.certificate)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let orders = process.stdin.take().context("no standard input")?;
        let answers = process.stdout.take().context("no standard output")?;
        let mut pair =
            Self { first: false, orders, answers: BufReader::new(answers).lines(), _process: process };
        let ready = pair.answer().await?;
        pair.first = ready == BEFORE_OTHERS;
        Ok(pair)
    }

    /// From now on their messages count.
    pub async fn begin(&mut self) -> anyhow::Result<()> {
        self.order().await
    }

    /// How long those since [`Self::begin`] took; waits for what is on its way.
    pub async fn end(&mut self) -> anyhow::Result<Latencies> {
        self.order().await?;
        Ok(serde_json::from_str(&self.answer().await?)?)
    }

    /// Says what the figures of a case are worth less for.
    pub fn caveat(&self, case: &mut Case) {
        if !self.first {
            case.note_once(
                "the pair could not be put before others (that takes root and chrt): its own wait for a processor counts",
            );
        }
    }

    async fn order(&mut self) -> anyhow::Result<()> {
        Ok(self.orders.write_all(b"\n").await?)
    }

    async fn answer(&mut self) -> anyhow::Result<String> {
        self.answers.next_line().await?.context("the quiet pair has ended")
    }
}

impl Latencies {
    /// The round that they are the result of.
    pub fn round(&self, peer: Kind, round: u32, usage: Usage) -> Round {
        Round {
            peer,
            round,
            value: f64::from(self.p99_micros) / 1000.0,
            operations: self.messages,
            usage: Some(usage),
            p50_micros: Some(self.p50_micros),
            p99_micros: Some(self.p99_micros),
            p999_micros: None,
            failures: self.lost,
        }
    }
}
