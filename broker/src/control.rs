//! What the control plane of this process asks of the broker: [`DataPlane`].
use crate::backend::SessionEnd;
use crate::connection::Shared;
use crate::publication;
use jitp_provisioner::{Answer, DataPlane, DeleteConnection, Publication, PublicationError};
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
}
