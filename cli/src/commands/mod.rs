//! One file per subcommand.
pub mod attempts;
pub mod ca;
pub mod cert;
pub mod demo;
pub mod device;
pub mod generate;
pub mod policy;
pub mod serve;
pub mod simulate;
mod status;
pub mod template;
pub mod thing;

use crate::args::{Global, Target};
use crate::client::Client;
use crate::credentials;
use crate::exit::InvalidInput;
use std::path::Path;

/// A client with the key that this operator has.
fn connect(global: &Global, target: &Target) -> anyhow::Result<Client> {
    Client::new(&target.url, &target.region, credentials::find(&global.data_dir)?)
}

/// A file that the operator named.
fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| InvalidInput(format!("cannot read {}: {error}", path.display())).into())
}
