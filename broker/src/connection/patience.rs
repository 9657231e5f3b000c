//! A publisher that is not read for a while, because a client that it publishes to lags behind: it slows down before messages
//! have to be dropped. Not for long, see [`Lag`].
use super::established::Established;
use super::pipe::ByteStream;
use crate::session::Lag;
use std::pin::Pin;
use std::sync::Arc;
use tokio::time::Instant;

/// Until the receiver has caught up, or was waited for long enough.
pub(super) type Pause = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

impl<S: ByteStream> Established<S> {
    /// Nothing more is read until the receiver has caught up. Whoever is waited for does not wait, so that nobody waits in a
    /// circle: its acknowledgements must be read.
    pub(super) fn wait_for_receiver(&mut self, lag: Arc<Lag>) {
        if self.pause.is_none() && !self.session.is_waited_for() {
            self.shared.figures.publisher_waits.increment(1);
            self.pause = Some(Box::pin(async move { lag.wait().await }));
        }
    }

    /// The client is read again. It could not be heard meanwhile, and so its keep alive and the deadline of a packet that has
    /// begun count from now.
    pub(super) fn end_pause(&mut self) {
        let now = Instant::now();
        self.pause = None;
        self.heard = now;
        self.incomplete = self.incomplete.map(|_| now);
    }
}

/// Waits for the end of a pause. Without one there is none.
pub(super) async fn ended(pause: &mut Option<Pause>) {
    match pause {
        Some(pause) => pause.await,
        None => std::future::pending().await,
    }
}
