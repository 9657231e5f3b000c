//! jitp as a user runs it: `jitp serve` with a data directory on disk.
use super::{Kind, Peer};
use crate::client::Target;
use crate::lab::Lab;
use crate::process::Process;
use anyhow::{Context, ensure};
use serde_json::Value;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// A data directory, with or without a broker on it.
pub struct Jitp {
    binary: PathBuf,
    data_dir: PathBuf,
    config: String,
}

impl Jitp {
    /// A data directory that does not exist yet.
    pub fn new(lab: &Lab) -> anyhow::Result<Self> {
        let in_flight = lab.options.in_flight;
        Self::configured(lab, &format!("[log]\nlevel = \"error\"\n[broker]\nreceive_maximum = {in_flight}\n"))
    }

    /// The same with a configuration of its own (TOML).
    pub fn configured(lab: &Lab, config: &str) -> anyhow::Result<Self> {
        let (binary, data_dir) = (lab.jitp()?.to_owned(), lab.fresh_path("data"));
        Ok(Self { binary, data_dir, config: config.to_owned() })
    }

    /// Where it is.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Starts it and registers the factory's CA with the template: from here on, devices just connect.
    pub fn start(&self, lab: &Lab) -> anyhow::Result<Peer> {
        let (peer, api, _) = self.open(lab)?;
        self.register_ca(lab, &api, &["--template-body".as_ref(), lab.files.template().as_os_str()])?;
        Ok(peer)
    }

    /// Registers the factory's CA; `how` are further arguments of `jitp ca register`.
    pub fn register_ca(&self, lab: &Lab, api: &str, how: &[&OsStr]) -> anyhow::Result<()> {
        let output = Command::new(&self.binary)
            .args(["ca", "register", "--api", api, "--cert"])
            .arg(lab.files.ca())
            .arg("--key")
            .arg(lab.files.ca_key())
            .args(how)
            .arg("--data-dir")
            .arg(&self.data_dir)
            .stdin(Stdio::null())
            .output()?;
        ensure!(output.status.success(), "jitp ca register: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Starts it over what the directory holds. Gives the API's address and how long it took to be ready.
    pub fn open(&self, lab: &Lab) -> anyhow::Result<(Peer, String, Duration)> {
        let config = lab.fresh_path("jitp.toml");
        std::fs::write(&config, &self.config)?;
        let mut command = Command::new(&self.binary);
        command.args(["serve", "--mqtt", "127.0.0.1:0", "--api", "127.0.0.1:0", "--config"]).arg(config);
        command.arg("--data-dir").arg(&self.data_dir);
        let (process, line, took) = Process::spawn_until_ready("jitp", &mut command)?;
        let (address, api) = parse_ready(&line).with_context(|| format!("not a ready line: {line:?}"))?;
        let target = Arc::new(Target::new(address, &self.data_dir.join("server.pem"))?);
        Ok((Peer { kind: Kind::Jitp, process, target }, api, took))
    }

    /// Has the registry this thing, with a certificate attached?
    pub fn knows(&self, api: &str, thing: &str) -> anyhow::Result<bool> {
        let output = Command::new(&self.binary)
            .args(["--json", "thing", "show", thing, "--api", api, "--data-dir"])
            .arg(&self.data_dir)
            .stdin(Stdio::null())
            .output()?;
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Ok(answer.get("principals").and_then(Value::as_array).is_some_and(|list| !list.is_empty()))
    }
}

/// Builds the binary with the release profile; gives its path.
pub fn build() -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "build",
            "--release",
            "--quiet",
            "--package",
            "jitp",
            "--bin",
            "jitp",
            "--message-format",
            "json",
        ])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stderr(Stdio::inherit())
        .output()
        .context("cargo does not start; name a jitp binary with --jitp")?;
    ensure!(output.status.success(), "jitp does not build; name a jitp binary with --jitp");
    String::from_utf8(output.stdout)?
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message.pointer("/target/name").and_then(Value::as_str) == Some("jitp"))
        .find_map(|message| message.get("executable").and_then(Value::as_str).map(PathBuf::from))
        .context("cargo names no executable")
}

/// `ready mqtts=HOST:PORT api=http://HOST:PORT`
fn parse_ready(line: &str) -> Option<(SocketAddr, String)> {
    let (mqtts, api) = line.strip_prefix("ready mqtts=")?.split_once(" api=")?;
    Some((mqtts.parse().ok()?, api.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_names_both_addresses() {
        let (mqtts, api) = parse_ready("ready mqtts=127.0.0.1:4711 api=http://127.0.0.1:8080").unwrap();
        assert_eq!(mqtts.port(), 4711);
        assert_eq!(api, "http://127.0.0.1:8080");
        assert_eq!(parse_ready("listening"), None);
    }
}
