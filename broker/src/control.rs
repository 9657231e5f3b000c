//! What the control plane of this process asks of the broker: [`DataPlane`].
use crate::backend::SessionEnd;
use crate::connection::Shared;
use crate::message::Message;
use crate::publication;
use jitp_provisioner::{
    Answer, DataPlane, DeleteConnection, Publication, PublicationError, RetainedMessage, RetainedPage,
    Timestamp,
};
use std::sync::Arc;

/// Answers for a running broker.
pub(crate) struct Control(pub Arc<Shared>);

impl DataPlane for Control {
    fn delete_connection(&self, client_id: &str, how: DeleteConnection) -> bool {
        let DeleteConnection { clean_session, prevent_will } = how;
        let end = SessionEnd::Administrative { prevent_will, clean_session };
        let found = self.0.backend.disconnect(client_id, end);
        // As in `spec/events.md` section 6.
        match found {
            true => tracing::info!(eventType = "DeleteConnection", status = "Success", clientId = client_id),
            false => tracing::error!(
                eventType = "DeleteConnection",
                status = "Failure",
                clientId = client_id,
                reason = "NOT_FOUND"
            ),
        }
        found
    }

    fn publish(&self, publication: Publication) -> Answer<'_, Result<(), PublicationError>> {
        Box::pin(async move {
            let message = publication::message(&self.0, publication)?;
            publication::publish(&self.0, message).await
        })
    }

    fn retained(&self, topic: &str) -> Option<RetainedMessage> {
        self.0.backend.retained(topic).as_deref().map(retained)
    }

    fn list_retained(&self, after: Option<&str>, limit: usize) -> RetainedPage {
        let found = self.0.backend.retained_after(after, limit.saturating_add(1));
        let messages = found.iter().take(limit).map(|message| retained(message)).collect();
        RetainedPage { messages, more: found.len() > limit }
    }
}

fn retained(message: &Message) -> RetainedMessage {
    let user = message.properties.iter().flat_map(|properties| &properties.user_properties);
    RetainedMessage {
        topic: Arc::clone(&message.topic),
        payload: message.payload.clone(),
        qos: message.qos as u8,
        modified: Timestamp(message.retained_at),
        user_properties: user.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
    }
}
