//! The command line.
use crate::commands::{
    attempts, audit, authorize, billing_group, bulk, ca, cert, connection, demo, device, endpoint, events,
    export, group, import, indexing, key, pending, policy, publish, replay, reset, retained, search,
    simulate, tag, template, thing, thing_type,
};
use crate::config::Profile;
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// An MQTT broker that provisions a device the first time it connects.
///
/// Exit codes: 0 done or allowed, 2 the answer is no (denied, refused, would fail), 3 the input is invalid, 1 broken.
#[derive(Debug, Parser)]
#[command(name = "jitp", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command understands.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Print JSON instead of text for people
    #[arg(long, global = true)]
    pub json: bool,
    /// The broker's data directory: the registry of `serve`; where the other commands find the access key
    #[arg(long, global = true, value_name = "DIR", env = "JITP_DATA_DIR", default_value = "./jitp-data")]
    pub data_dir: PathBuf,
}

/// Where the operator's commands find the broker.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// The broker's API
    #[arg(long = "api", value_name = "URL", env = "JITP_API", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// The region to sign for: that of the broker
    #[arg(long, env = "JITP_REGION", default_value = "us-east-1")]
    pub region: String,
    /// With https: the CA of the API's certificate (PEM) [default: server-ca.pem in the data directory]
    #[arg(long, value_name = "FILE", env = "JITP_API_CA")]
    pub api_ca: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the broker
    Serve(Serve),
    /// See the whole story in one command: a broker, a CA, a device that nobody knows
    Demo(demo::Args),
    /// CA certificates: create, register, show, switch
    #[command(subcommand)]
    Ca(ca::Command),
    /// Provisioning templates: check, create, show, claim
    #[command(subcommand)]
    Template(template::Command),
    /// Things: create, list, show, update, delete, attach, detach
    #[command(subcommand)]
    Thing(thing::Command),
    /// Thing groups: create, list, show, update, delete, add, remove
    #[command(subcommand)]
    Group(group::Command),
    /// Thing types: create, list, show, deprecate, delete
    #[command(subcommand)]
    Type(thing_type::Command),
    /// Billing groups: create, list, show, update, delete, add, remove
    #[command(subcommand)]
    BillingGroup(billing_group::Command),
    /// Find things by a query
    Search(search::Args),
    /// Tags of resources: list, set, remove
    #[command(subcommand)]
    Tag(tag::Command),
    /// Device certificates: create, list, show, activate, deactivate, revoke
    #[command(subcommand)]
    Cert(cert::Command),
    /// Policies: create, list, show, attach, detach, effective
    #[command(subcommand)]
    Policy(policy::Command),
    /// Registration tasks: provision a file of devices, a line for each
    #[command(subcommand)]
    Bulk(bulk::Command),
    /// Let certificates in that registered themselves and wait (JITR)
    Approve(pending::Approve),
    /// Keep certificates out that registered themselves and wait (JITR)
    Reject(pending::Reject),
    /// May a device do this, and by which policy?
    Authorize(authorize::Args),
    /// Connections: delete
    #[command(subcommand)]
    Connection(connection::Command),
    /// Send a message to devices
    Publish(publish::Args),
    /// Messages that are kept for later subscribers: list, show, delete
    #[command(subcommand)]
    Retained(retained::Command),
    /// Show where devices connect
    Endpoint(endpoint::Args),
    /// Events of the registry: show, enable, disable
    #[command(subcommand)]
    Events(events::Command),
    /// What can be searched: show, enable, disable
    #[command(subcommand)]
    Indexing(indexing::Command),
    /// Who tried to connect, and why they were let in or not
    Attempts(attempts::Args),
    /// Access keys: create, list, activate, deactivate, delete
    #[command(subcommand)]
    Key(key::Command),
    /// Which calls of the API changed something, or tried to
    Audit(audit::Args),
    /// Write the whole registry into a file, while the broker runs
    Export(export::Args),
    /// Load such a file into a data directory that has no registry yet, while no broker runs there
    Import(import::Args),
    /// Return the registry to its seed, or to empty: of a broker for tests (`jitp serve --allow-reset`)
    Reset(reset::Args),
    /// Make a device's key and certificate, or connect as a device
    #[command(subcommand)]
    Device(device::Command),
    /// What would another version of a template have decided for the attempts of late? Nothing is written
    Replay(replay::Args),
    /// What would a template make of a certificate? Nothing is written
    Simulate(simulate::Args),
    /// Print the default configuration: every key, commented
    Config,
    /// Print the completion script of a shell; it asks the broker for names (JITP_API, JITP_DATA_DIR)
    Completions { shell: clap_complete::Shell },
    /// Print the manual page (roff)
    Man,
}

/// Run the broker.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// A configuration file (TOML): only what differs from `jitp config`
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where devices connect; may be repeated [default: 127.0.0.1:8883]
    #[arg(long, value_name = "ADDR")]
    pub mqtt: Vec<SocketAddr>,
    /// Where devices connect over WebSocket (wss, /mqtt) or publish over HTTPS; may be repeated [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    pub https: Vec<SocketAddr>,
    /// Where operators and AWS tools connect [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub api: Option<SocketAddr>,
    /// Serve the API over HTTPS with the server's own certificate
    #[arg(long)]
    pub api_tls: bool,
    /// Let the API listen on another address than loopback without TLS
    #[arg(long)]
    pub insecure_api: bool,
    /// Load this archive first if the data directory has no registry yet (see `jitp export`)
    #[arg(long, value_name = "FILE")]
    pub seed: Option<PathBuf>,
    /// Let an admin return the registry to its seed, or to empty, over the API: for tests only
    #[arg(long)]
    pub allow_reset: bool,
    /// What a device meets: a first connection that just works, or AWS's behaviour
    #[arg(long, value_enum)]
    pub profile: Option<Profile>,
    /// 12 digits that name every ARN; fixed at first start [default: 000000000000]
    #[arg(long)]
    pub account: Option<String>,
    /// The region that names every ARN, or any; fixed at first start [default: us-east-1]
    #[arg(long)]
    pub region: Option<String>,
    /// A further host name or address for the server's certificate; may be repeated
    #[arg(long = "host", value_name = "HOST")]
    pub hosts: Vec<String>,
}
