//! Known devices renew their certificates: from TCP connect to the answer, at QoS 1.
use super::fleet::signing_request;
use super::ledger::{Ledger, Promise};
use super::site::Site;
use super::{Way, devices, rounds, templates};
use crate::client::Target;
use crate::conversation::Conversation;
use crate::factory::Device;
use crate::lab::Lab;
use crate::report::{Case, progress};
use crate::scenarios::connecting::introduce;
use crate::scenarios::lanes::Work;
use anyhow::Context;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};

const RENEW: &str = "$jitp/certificates/renew/json";
const ANSWERS: [&str; 1] = ["$jitp/certificates/renew/json/+"];

pub async fn measure(lab: &Lab, way: Way) -> anyhow::Result<Case> {
    let site = Site::open(lab, "").await?;
    let template = lab.fresh_path("template.json");
    std::fs::write(&template, templates::approved().to_string())?;
    site.register_ca(lab, &["--template-body".as_ref(), template.as_os_str()])?;
    rounds(lab, way, site, async |site, round| {
        let prefix = format!("renew-{round}");
        let count = devices(lab)?;
        let devices = Arc::new(lab.factory.devices(&prefix, count)?);
        progress("provision: introducing devices");
        introduce(&site.peer, &devices).await?;
        let csrs = lab.factory.signing_requests(&prefix, count)?;
        let requests = csrs.iter().map(|csr| signing_request(csr)).collect();
        Ok(Renewing { target: site.peer.target.clone(), devices, requests, ledger: site.ledger.clone() })
    })
    .await
}

struct Renewing {
    target: Arc<Target>,
    devices: Arc<Vec<Device>>,
    requests: Vec<Vec<u8>>,
    ledger: Arc<Ledger>,
}

impl Renewing {
    async fn renew(&self, device: &Device, request: &[u8]) -> anyhow::Result<Duration> {
        let config = self.target.full(device);
        let started = Instant::now();
        let connected = self.target.connect(device, config).await?;
        let mut conversation = Conversation::begin(connected, &ANSWERS).await?;
        let answer = conversation.ask(RENEW, request).await?;
        let took = started.elapsed();
        let id = answer.get("certificateId").and_then(Value::as_str).context("no certificate")?;
        self.ledger.enter(Promise::Certificate(id.to_owned()));
        conversation.end().await;
        Ok(took)
    }
}

impl Work for Renewing {
    async fn piece(&self, number: usize) -> Option<anyhow::Result<Duration>> {
        Some(self.renew(self.devices.get(number)?, self.requests.get(number)?).await)
    }
}
