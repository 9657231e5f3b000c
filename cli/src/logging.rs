//! Logs go to standard error: for people, or one JSON object per line.
use crate::config::{Log, LogFormat};
use crate::exit::InvalidInput;
use tracing_subscriber::EnvFilter;

/// Installs the process-wide subscriber. `JITP_LOG` wins over the configured level.
pub fn start(log: &Log) -> anyhow::Result<()> {
    let directives = std::env::var("JITP_LOG").unwrap_or_else(|_| log.level.clone());
    let filter = EnvFilter::try_new(&directives)
        .map_err(|error| InvalidInput(format!("log.level is {directives:?}: {error}")))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}
