//! Who is measured: each a child process of this run.
mod ceiling;
mod jitp;
mod mosquitto;

pub use jitp::{Jitp, build as build_jitp};
pub use mosquitto::version as mosquitto_version;

use crate::client::Target;
use crate::lab::Lab;
use crate::process::Process;
use clap::ValueEnum;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// Who.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// This project: provisions, authorises, routes
    Jitp,
    /// The usual small broker, with mutual TLS and without access control
    Mosquitto,
    /// The same as it is by default: small writes wait for others (Nagle's algorithm). For throughput only
    #[value(skip)]
    MosquittoNagle,
    /// TLS, client verification and CONNACK
    Ceiling,
}

/// A running server; ended when dropped.
pub struct Peer {
    pub kind: Kind,
    pub process: Process,
    pub target: Arc<Target>,
}

impl Peer {
    /// Starts one with nothing in it.
    pub async fn start(lab: &Lab, kind: Kind) -> anyhow::Result<Self> {
        match kind {
            Kind::Jitp => Jitp::new(lab)?.start(lab),
            Kind::Mosquitto => mosquitto::start(lab, kind, true).await,
            Kind::MosquittoNagle => mosquitto::start(lab, kind, false).await,
            Kind::Ceiling => ceiling::start(lab),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Jitp => "jitp",
            Kind::Mosquitto => "mosquitto",
            Kind::MosquittoNagle => "mosquitto, Nagle",
            Kind::Ceiling => "ceiling",
        })
    }
}
