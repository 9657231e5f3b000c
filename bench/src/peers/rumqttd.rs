//! rumqttd with mutual TLS: the program of its published crate, installed below the target directory when first needed.
use super::{Kind, Peer, free_address, listening};
use crate::client::Target;
use crate::lab::Lab;
use crate::report::progress;
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// The release that is measured.
pub const VERSION: &str = "0.20.0";
/// Without it, it asks clients for no certificate.
const FEATURES: &str = "verify-client-cert";

pub async fn start(lab: &Lab) -> anyhow::Result<Peer> {
    let address = free_address()?;
    let file = lab.fresh_path("rumqttd.toml");
    std::fs::write(&file, configuration(lab, address.port()))?;
    let mut command = Command::new(lab.rumqttd()?);
    // It logs every client that leaves as an error; nobody reads that here.
    command.arg("--quiet").arg("--config").arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
    let process = listening("rumqttd", &mut command, address).await?;
    let target = Arc::new(Target::new(address, &lab.files.server())?);
    Ok(Peer { kind: Kind::Rumqttd, process, target })
}

/// Its program: installed by cargo, unless that was done before. Not with the crate's own lock file: that names a release of
/// `metrics` that no longer compiles.
pub fn install() -> anyhow::Result<PathBuf> {
    let root = crate::lab::target_directory()?.join("peers").join(format!("rumqttd-{VERSION}"));
    let program = root.join("bin/rumqttd");
    if program.exists() {
        return Ok(program);
    }
    progress(&format!("installing rumqttd {VERSION} from its registry below {}", root.display()));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["install", "--quiet", "--features", FEATURES, "--root"])
        .arg(&root)
        .args(["--version", &format!("={VERSION}"), "rumqttd"])
        .stdin(Stdio::null())
        .status()
        .context("cargo does not start; name a rumqttd with --rumqttd, or leave it out with --peers")?;
    ensure!(
        status.success(),
        "rumqttd does not install; name one with --rumqttd, or leave it out with --peers"
    );
    Ok(program)
}

/// Its own sample of a configuration with TLS, payloads of up to 1 MiB, no wait between two connections (1 ms in the
/// sample), and segments of 4 MiB instead of 100 MiB: it keeps ten of them for every filter, read or not.
fn configuration(lab: &Lab, port: u16) -> String {
    let path = |path: PathBuf| Path::display(&path).to_string();
    format!(
        "id = 0\n\
         [router]\n\
         id = 0\n\
         max_connections = 20000\n\
         max_outgoing_packet_count = 200\n\
         max_segment_size = 4194304\n\
         max_segment_count = 10\n\
         [v4.1]\n\
         name = \"v4-1\"\n\
         listen = \"127.0.0.1:{port}\"\n\
         next_connection_delay_ms = 0\n\
         [v4.1.tls]\n\
         capath = {ca:?}\n\
         certpath = {server:?}\n\
         keypath = {key:?}\n\
         [v4.1.connections]\n\
         connection_timeout_ms = 60000\n\
         max_payload_size = 1048576\n\
         max_inflight_count = {in_flight}\n\
         dynamic_filters = true\n",
        ca = path(lab.files.ca()),
        server = path(lab.files.server()),
        key = path(lab.files.server_key()),
        in_flight = lab.options.in_flight,
    )
}
