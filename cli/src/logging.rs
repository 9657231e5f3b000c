//! Logs go to standard error: for people, or one JSON object per line.
use crate::config::{Log, LogFormat};
use crate::exit::InvalidInput;
use crate::log_record::LogRecords;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::JsonFields;

/// Installs the process-wide subscriber. `JITP_LOG` wins over the configured level.
pub fn start(log: &Log, account: &str) -> anyhow::Result<()> {
    let directives = std::env::var("JITP_LOG").unwrap_or_else(|_| log.level.clone());
    let filter = EnvFilter::try_new(&directives)
        .map_err(|error| InvalidInput(format!("log.level is {directives:?}: {error}")))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        // Colours are for terminals, not for files and journals.
        LogFormat::Text => builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => {
            let records = LogRecords { account: account.to_owned() };
            builder.fmt_fields(JsonFields::new()).event_format(records).init();
        }
    }
    Ok(())
}
