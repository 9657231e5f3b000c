//! Where the keys come from that jitp makes.
use super::site::Site;
use anyhow::ensure;
use std::time::{Duration, Instant};

/// RSA keys made ahead of a round: a crowd larger than what is under way at a time.
const STOCK: usize = 256;
const PATIENCE: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How jitp makes keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// RSA-2048, made ahead.
    InStock,
    /// RSA-2048, each made when it is asked for.
    Made,
    /// P-256, which takes no time.
    P256,
}

impl Keys {
    /// The section of the configuration.
    pub fn config(self) -> String {
        match self {
            Self::InStock => format!("[issuing]\nrsa_key_pool = {STOCK}\n"),
            Self::Made => "[issuing]\nrsa_key_pool = 0\n".to_owned(),
            Self::P256 => "[issuing]\nkey_algorithm = \"p256\"\n".to_owned(),
        }
    }

    /// How many are used in a round.
    pub fn most(self) -> usize {
        if self == Self::InStock { STOCK } else { usize::MAX }
    }

    /// Waits until the stock is full, if there is one.
    pub async fn ready(self, site: &Site) -> anyhow::Result<()> {
        let started = Instant::now();
        while self == Self::InStock && site.api.metric("IssuingKeys_Ready").await? != Some(STOCK as f64) {
            ensure!(started.elapsed() < PATIENCE, "the stock of keys does not fill");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}
