//! A trusted user asks for a claim, and a device gets its certificate with it: from the request for the claim to the answer
//! of RegisterThing.
use super::fleet::{CREATE_FROM_CSR, TEMPLATE, signing_request, with_claim};
use super::ledger::{Ledger, Promise};
use super::rest::claim_of;
use super::site::Site;
use super::{Keys, Way, devices, rounds, templates};
use crate::api::{Api, Signed};
use crate::client::Target;
use crate::factory::name;
use crate::lab::Lab;
use crate::report::Case;
use crate::scenarios::lanes::Work;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub async fn measure(lab: &Lab, way: Way) -> anyhow::Result<Case> {
    let site = Site::open(lab, &Keys::P256.config()).await?;
    site.create_template(TEMPLATE, "FLEET_PROVISIONING", &templates::fleet(), None).await?;
    rounds(lab, way, site, async |site, round| {
        let path = format!("/provisioning-templates/{TEMPLATE}/provisioning-claim");
        let csrs = lab.factory.signing_requests(&format!("user-{round}"), devices(lab)?)?;
        Ok(TrustedUser {
            api: site.api.clone(),
            target: site.peer.target.clone(),
            claim: site.api.sign("POST", &path, &Value::Null)?,
            requests: csrs.iter().map(|csr| signing_request(csr)).collect(),
            round,
            ledger: site.ledger.clone(),
        })
    })
    .await
}

struct TrustedUser {
    api: Arc<Api>,
    target: Arc<Target>,
    /// The same request for every claim.
    claim: Signed,
    requests: Vec<Vec<u8>>,
    round: u32,
    ledger: Arc<Ledger>,
}

impl TrustedUser {
    async fn provision(&self, number: usize, request: &[u8]) -> anyhow::Result<Duration> {
        let (client_id, thing) =
            (name(&format!("boot-{}", self.round), number), name(&format!("user-{}", self.round), number));
        let started = Instant::now();
        let answer = self.api.send(self.claim.clone()).await?;
        let claim = claim_of(&answer, client_id)?;
        let conversation = with_claim(&self.target, &claim, (CREATE_FROM_CSR, request), &thing).await?;
        let took = started.elapsed();
        self.ledger.enter(Promise::Thing(thing));
        conversation.end().await;
        Ok(took)
    }
}

impl Work for TrustedUser {
    async fn piece(&self, number: usize) -> Option<anyhow::Result<Duration>> {
        Some(self.provision(number, self.requests.get(number)?).await)
    }
}
