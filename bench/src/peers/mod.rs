//! Who is measured: each a child process of this run.
mod ceiling;
mod jitp;
mod mosquitto;
mod rumqttd;

pub use jitp::{Jitp, build as build_jitp};
pub use mosquitto::version as mosquitto_version;
pub use rumqttd::{VERSION as RUMQTTD_VERSION, install as install_rumqttd};

use crate::client::Target;
use crate::lab::Lab;
use crate::process::Process;
use anyhow::{Context, ensure};
use clap::ValueEnum;
use serde::Serialize;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(30);

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
    /// A broker in Rust on the same TLS library: its published crate, with mutual TLS
    Rumqttd,
    /// TLS, client verification, CONNACK, and messages passed on unread
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
            Kind::Rumqttd => rumqttd::start(lab).await,
            Kind::Ceiling => ceiling::start(lab),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Kind {
    /// In the order of tables.
    pub const ALL: [Self; 5] =
        [Self::Jitp, Self::Mosquitto, Self::MosquittoNagle, Self::Rumqttd, Self::Ceiling];

    /// A broker that jitp is compared with.
    pub fn is_other_broker(self) -> bool {
        matches!(self, Self::Mosquitto | Self::MosquittoNagle | Self::Rumqttd)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Jitp => "jitp",
            Kind::Mosquitto => "mosquitto",
            Kind::MosquittoNagle => "mosquitto, Nagle",
            Kind::Rumqttd => "rumqttd",
            Kind::Ceiling => "ceiling",
        })
    }
}

/// Starts a server that says nothing when it is ready, and waits until it listens.
async fn listening(
    name: &'static str,
    command: &mut Command,
    address: SocketAddr,
) -> anyhow::Result<Process> {
    let how = format!("install {name}, name it with --{name}, or leave it out with --peers");
    let mut process = Process::spawn(name, command).context(how)?;
    let started = Instant::now();
    while TcpStream::connect(address).await.is_err() {
        process.check_alive()?;
        ensure!(started.elapsed() < PATIENCE, "{name} does not listen on {address}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(process)
}

/// For servers that take no port 0.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
