//! mosquitto with mutual TLS, and without what would cost it: no access control, no persistence, no log.
use super::{Kind, Peer, free_address, listening};
use crate::client::Target;
use crate::lab::Lab;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Where distributions put it.
const USUAL_PLACES: [&str; 3] =
    ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/opt/homebrew/sbin/mosquitto"];

/// Starts it, and says whether it sends small packets at once (`set_tcp_nodelay`).
pub async fn start(lab: &Lab, kind: Kind, no_delay: bool) -> anyhow::Result<Peer> {
    let address = free_address()?;
    let file = lab.fresh_path("mosquitto.conf");
    std::fs::write(&file, configuration(lab, address.port(), no_delay))?;
    let mut command = Command::new(binary(lab.options.mosquitto.as_deref()));
    command.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
    let process = listening("mosquitto", &mut command, address).await?;
    let target = Arc::new(Target::new(address, &lab.files.server())?);
    Ok(Peer { kind, process, target })
}

/// Its version, as it says itself.
pub fn version(given: Option<&Path>) -> Option<String> {
    let output = Command::new(binary(given)).arg("-h").output().ok()?;
    String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
}

/// The same in-flight window as everybody's; no bound on queues, because the generator bounds what is outstanding.
fn configuration(lab: &Lab, port: u16, no_delay: bool) -> String {
    format!(
        "user root\n\
         allow_anonymous true\n\
         persistence false\n\
         log_dest none\n\
         log_type none\n\
         connection_messages false\n\
         sys_interval 0\n\
         set_tcp_nodelay {no_delay}\n\
         max_inflight_messages {in_flight}\n\
         max_queued_messages 0\n\
         listener {port} 127.0.0.1\n\
         cafile {}\n\
         certfile {}\n\
         keyfile {}\n\
         require_certificate true\n\
         tls_version tlsv1.3\n",
        lab.files.ca().display(),
        lab.files.server().display(),
        lab.files.server_key().display(),
        in_flight = lab.options.in_flight,
    )
}

fn binary(given: Option<&Path>) -> &Path {
    let usual = || USUAL_PLACES.iter().map(Path::new).find(|path| path.exists());
    given.or_else(usual).unwrap_or(Path::new("mosquitto"))
}
