//! One file per subcommand.
pub mod attempts;
pub mod audit;
pub mod authorize;
pub mod billing_group;
pub mod bulk;
pub mod ca;
pub mod cert;
pub mod connection;
pub mod demo;
pub mod device;
pub mod endpoint;
pub mod events;
pub mod export;
pub mod generate;
pub mod group;
pub mod import;
pub mod indexing;
mod issue;
pub mod key;
pub mod pending;
pub mod policy;
mod provision;
pub mod publish;
pub mod replay;
pub mod reset;
pub mod retained;
pub mod search;
pub mod serve;
pub mod simulate;
mod status;
pub mod tag;
pub mod template;
pub mod thing;
pub mod thing_type;
mod versions;

use crate::args::{Global, Target};
use crate::client::Client;
use crate::credentials;
use crate::exit::InvalidInput;
use anyhow::Context;
use std::path::Path;

/// A client with the key that this operator has.
fn connect(global: &Global, target: &Target) -> anyhow::Result<Client> {
    connect_to(&global.data_dir, target)
}

/// The same, of a data directory.
pub fn connect_to(data_dir: &Path, target: &Target) -> anyhow::Result<Client> {
    let client = Client::new(&target.url, &target.region, credentials::find(data_dir)?)?;
    if !client.is_encrypted() {
        return Ok(client);
    }
    let ca = target.api_ca.clone().unwrap_or_else(|| data_dir.join("server-ca.pem"));
    client.trusting(&read(&ca)?).with_context(|| format!("{} is not a CA certificate", ca.display()))
}

/// A file that the operator named.
fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| InvalidInput(format!("cannot read {}: {error}", path.display())).into())
}
