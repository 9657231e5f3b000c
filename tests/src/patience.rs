//! How long a test waits for what must come.
use anyhow::bail;
use std::time::{Duration, Instant};

/// Far beyond what anything takes; only a test that fails waits this long.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The same for what is a lot of work on a busy machine, or is held up on purpose: a command, a handshake among a thousand.
pub const LONG_PATIENCE: Duration = Duration::from_secs(300);

/// Asks again until there is an answer, at most for [`PATIENCE`].
pub async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if started.elapsed() > PATIENCE {
            bail!("not within {PATIENCE:?}: {what}");
        }
        tokio::task::yield_now().await;
    }
}
