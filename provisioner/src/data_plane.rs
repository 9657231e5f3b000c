//! What the control plane asks of the broker in the same process, with an answer. The two know each other only from here;
//! what merely happened is told by the change feed.
use crate::clock::Timestamp;
use bytes::Bytes;
use parking_lot::RwLock;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A message for the broker to publish.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Publication {
    pub topic: String,
    pub payload: Bytes,
    /// QoS 1; otherwise 0.
    pub at_least_once: bool,
    pub retain: bool,
    /// Not delivered any more after this long.
    pub expiry: Option<Duration>,
    pub content_type: Option<String>,
    pub response_topic: Option<String>,
    pub correlation_data: Option<Bytes>,
    /// The payload is UTF-8.
    pub payload_is_utf8: bool,
    pub user_properties: Vec<(String, String)>,
}

/// Why a message was not published: nobody got it, and it was not retained.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum PublicationError {
    /// Its topic or its properties cannot be used.
    #[error("{0}")]
    Invalid(String),
    #[error("the payload has more than {most} bytes, which is the limit")]
    PayloadTooLarge { most: u32 },
    /// A certificate or its policies do not allow it, or nobody may publish there. The text is for operators.
    #[error("{0}")]
    Forbidden(String),
    /// There is no room for one more; it may succeed later.
    #[error("{0}")]
    LimitExceeded(String),
    /// The broker or the registry cannot do it now.
    #[error("{0}")]
    Unavailable(String),
}

/// The message that is retained on a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct RetainedMessage {
    pub topic: Arc<str>,
    pub payload: Bytes,
    /// Of its publisher: 0 to 2.
    pub qos: u8,
    /// When it was retained.
    pub modified: Timestamp,
    pub user_properties: Vec<(String, String)>,
}

/// Some of the retained messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetainedPage {
    /// In the order of their topics, level by level.
    pub messages: Vec<RetainedMessage>,
    /// There are more behind the last one.
    pub more: bool,
}

/// What else happens when a connection is ended for an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeleteConnection {
    /// The session goes, too: its subscriptions and what waits in it.
    pub clean_session: bool,
    /// The will is not published.
    pub prevent_will: bool,
}

/// An answer that takes its time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The broker, as the control plane sees it.
pub trait DataPlane: Send + Sync {
    /// Ends the connection of a client id. Returns whether there was one, or else a session that went.
    fn delete_connection(&self, client_id: &str, how: DeleteConnection) -> bool;
    /// Publishes as the broker itself. Answers when the message has been taken: for QoS 1 as a client's PUBACK would.
    fn publish(&self, publication: Publication) -> Answer<'_, Result<(), PublicationError>>;
    /// The message that is retained on a topic; one that has expired is none.
    fn retained(&self, topic: &str) -> Option<RetainedMessage>;
    /// The retained messages behind a topic, at most so many.
    fn list_retained(&self, after: Option<&str>, limit: usize) -> RetainedPage;
}

/// Where the broker of this process can be found while it runs. Cheap to clone; clones share.
#[derive(Clone, Default)]
pub struct DataPlaneSeat(Arc<RwLock<Option<Weak<dyn DataPlane>>>>);

impl DataPlaneSeat {
    /// The broker begins to answer; instead of another, if there is one. It does until it is dropped.
    pub fn take(&self, data_plane: &Arc<dyn DataPlane>) {
        *self.0.write() = Some(Arc::downgrade(data_plane));
    }
    /// The broker, if one runs.
    pub fn get(&self) -> Option<Arc<dyn DataPlane>> {
        self.0.read().as_ref()?.upgrade()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;
    impl DataPlane for Nobody {
        fn delete_connection(&self, _: &str, _: DeleteConnection) -> bool {
            false
        }
        fn publish(&self, _: Publication) -> Answer<'_, Result<(), PublicationError>> {
            Box::pin(async { Ok(()) })
        }
        fn retained(&self, _: &str) -> Option<RetainedMessage> {
            None
        }
        fn list_retained(&self, _: Option<&str>, _: usize) -> RetainedPage {
            RetainedPage::default()
        }
    }

    #[test]
    fn a_broker_that_is_gone_does_not_answer() {
        let seat = DataPlaneSeat::default();
        assert!(seat.get().is_none());
        let broker: Arc<dyn DataPlane> = Arc::new(Nobody);
        seat.clone().take(&broker);
        assert!(seat.get().is_some());
        drop(broker);
        assert!(seat.get().is_none());
    }
}
