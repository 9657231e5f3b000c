//! Reserved topics and the services behind them (`spec/fleet-provisioning.md`, `spec/events.md` section 5).
//!
//! One module per API, all of the same shape: read the request, ask the provisioner, write the answer. Authorisation has
//! happened before, as for any other PUBLISH. A request is never forwarded, and an answer goes to the connection that
//! asked and to no other: it does not pass through the router at all.
mod api;
mod create_from_csr;
mod create_keys;
mod desk;
mod encoding;
mod members;
mod no_credentials;
mod register_thing;
mod renew;
mod reply;
mod reservation;

pub(crate) use api::Api;
pub(crate) use desk::{Desk, Request};
pub(crate) use reply::Reply;
pub(crate) use reservation::Reservation;

/// What the fuzz targets call.
#[cfg(feature = "fuzzing")]
pub use members::exercise;

use crate::enforcement::Identity;
use jitp_provisioner::Provisioner;

/// Serves one request. What fails is an answer, too.
async fn serve(provisioner: &Provisioner, identity: &Identity, request: &Request) -> Reply {
    let answer = match &request.api {
        Api::CreateKeys { .. } => create_keys::serve(provisioner, identity, request).await,
        Api::CreateFromCsr { .. } => create_from_csr::serve(provisioner, identity, request).await,
        Api::RegisterThing { template, .. } => {
            register_thing::serve(provisioner, identity, request, template).await
        }
        Api::Renew { .. } => renew::serve(provisioner, identity, request).await,
    };
    match answer {
        Ok(payload) => Reply::accepted(request, payload),
        Err(refusal) => Reply::rejected(request, refusal.error, &refusal.message),
    }
}
