//! The command line.
use crate::peers::Kind;
use crate::scenarios::Way;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Runs the same load against jitp, mosquitto, rumqttd and a bare TLS loop (the ceiling), interleaved, and compares.
#[derive(Debug, Parser)]
#[command(name = "jitp-bench", version, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub measure: Measure,
}

/// What to measure, and for how long.
#[derive(Debug, Clone, Args)]
pub struct Measure {
    /// What to measure; everything if none is named
    #[arg(value_enum, value_name = "SCENARIO")]
    pub scenarios: Vec<Scenario>,
    /// Length of one round in seconds
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// Rounds of each peer; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub rounds: u32,
    /// Whom to measure
    #[arg(long, value_enum, value_delimiter = ',', default_value = "jitp,mosquitto,rumqttd,ceiling")]
    pub peers: Vec<Kind>,
    /// The jitp binary [default: built now, with the release profile]
    #[arg(long, value_name = "PATH")]
    pub jitp: Option<PathBuf>,
    /// The mosquitto binary [default: the one in PATH or /usr/sbin]
    #[arg(long, value_name = "PATH")]
    pub mosquitto: Option<PathBuf>,
    /// The rumqttd binary [default: its crate's, installed by cargo below the target directory]
    #[arg(long, value_name = "PATH")]
    pub rumqttd: Option<PathBuf>,
    /// Messages of QoS 1 and 2 that may be unacknowledged each way: of every broker's clients, and of publishers that do not
    /// wait for each
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..))]
    pub in_flight: u16,
    /// Idle connections of `idle-memory`
    #[arg(long, default_value_t = 8000, value_parser = clap::value_parser!(u32).range(100..=9000))]
    pub connections: u32,
    /// Sessions that one message goes to in `fairness`; more than 9000 need more open files than usual (`ulimit -n`)
    #[arg(long, default_value_t = 9000, value_parser = clap::value_parser!(u32).range(10..=25_000))]
    pub sessions: u32,
    /// In `fairness` and `storm`: servers and load generator share all processors, instead of having half of them each
    #[arg(long)]
    pub shared_processors: bool,
    /// Sizes of the fleets without sockets in `scale`
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000,200000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub fleets: Vec<u32>,
    /// Connections of `scale`; how many there can be depends on the limit of open files (`ulimit -Hn`)
    #[arg(long, default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    pub sockets: u32,
    /// Retained messages over which a broker starts in `scale`
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub retained: u32,
    /// Registry sizes of `registry` and `archive`
    #[arg(long, value_delimiter = ',', default_value = "1000,200000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub devices: Vec<u32>,
    /// What `provision` measures
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Way::value_variants().to_vec(), hide_default_value = true)]
    pub ways: Vec<Way>,
    /// Lines of the files that `provision` gives to bulk provisioning
    #[arg(long, value_delimiter = ',', default_value = "10000,100000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub lines: Vec<u32>,
    /// One round of a fifth of a second with few devices: to see that everything runs, not how fast
    #[arg(long)]
    pub quick: bool,
    /// Draw no figures
    #[arg(long)]
    pub no_plots: bool,
    /// Where the results go: JSON and figures
    #[arg(long, value_name = "DIR", default_value = "bench/results")]
    pub out: PathBuf,
}

/// One file of `scenarios/` each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Devices that the broker has never seen
    FirstConnect,
    /// Devices that it knows, with full and with resumed handshakes
    WarmConnect,
    /// Every way to provision, in one table
    Provision,
    /// Messages per second, QoS 0, 1 and 2: 1 to 1, 1 to 50, 50 to 1
    Throughput,
    /// The same with payloads from 16 B to 64 kB
    Payloads,
    /// Devices that publish to and receive from a topic of their own
    OwnTopics,
    /// Subscribers whose sessions outlive their connections
    Persistent,
    /// How long messages take at half of the peak, and at less
    Latency,
    /// Memory of an idle connection
    IdleMemory,
    /// Latency of a quiet pair beside loud neighbours
    Fairness,
    /// A fleet that connects at once, and the latency of a quiet pair meanwhile
    Storm,
    /// From a thousand sessions to very many, their break and their return
    Scale,
    /// Opening a small and a large registry
    Registry,
    /// Archiving them, loading the archive, resetting to it
    Archive,
}

/// The other processes of a run, started by the run itself.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// TLS, client verification and CONNACK, nothing else
    #[command(hide = true)]
    Ceiling {
        /// Where the certificates are
        directory: PathBuf,
    },
    /// Two devices whose messages are timed
    #[command(hide = true)]
    Quiet(Quiet),
    /// Writes a registry as first connections would
    #[command(hide = true)]
    Fill(Fill),
    /// Writes a registry of things and nothing else
    #[command(hide = true)]
    Things(Things),
    /// What a session costs among others, without sockets
    #[command(hide = true)]
    SessionCost(SessionCost),
    /// Writes sessions and retained messages as a broker would
    #[command(hide = true)]
    Leave(Leave),
}

/// What `session-cost` measures.
#[derive(Debug, Args)]
pub struct SessionCost {
    /// How many sessions
    #[arg(long)]
    pub sessions: u32,
    /// They are durable, in the registry of this data directory
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
}

/// What `leave` writes, and where.
#[derive(Debug, Args)]
pub struct Leave {
    /// The data directory
    #[arg(long)]
    pub data_dir: PathBuf,
    /// How many durable sessions
    #[arg(long)]
    pub sessions: u32,
    /// How many retained messages
    #[arg(long)]
    pub retained: u32,
    /// End without closing anything
    #[arg(long)]
    pub kill: bool,
}

/// Whom the quiet pair talks to.
#[derive(Debug, Args)]
pub struct Quiet {
    /// The factory's files
    #[arg(long)]
    pub factory: PathBuf,
    /// Where the broker listens
    #[arg(long)]
    pub address: SocketAddr,
    /// The file with its certificate
    #[arg(long)]
    pub certificate: PathBuf,
}

/// What `things` writes, and where.
#[derive(Debug, Args)]
pub struct Things {
    /// The data directory
    #[arg(long)]
    pub data_dir: PathBuf,
    /// How many things: `thing-0000000` and so on, each with one attribute
    #[arg(long)]
    pub count: u32,
}

/// What `fill` writes, and where.
#[derive(Debug, Args)]
pub struct Fill {
    /// The factory's files
    #[arg(long)]
    pub factory: PathBuf,
    /// The data directory
    #[arg(long)]
    pub data_dir: PathBuf,
    /// How many devices
    #[arg(long)]
    pub devices: u32,
}
