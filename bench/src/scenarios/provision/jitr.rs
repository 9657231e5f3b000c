//! A certificate registers itself, an operator approves it over the API with a template, and its device connects: from TCP
//! connect to the second CONNACK, the approval in between, nobody waiting.
use super::ledger::{Ledger, Promise};
use super::site::Site;
use super::{Way, devices, rounds, templates};
use crate::api::{Api, Signed};
use crate::client::Target;
use crate::factory::Device;
use crate::lab::Lab;
use crate::mqtt;
use crate::report::Case;
use crate::scenarios::lanes::Work;
use anyhow::ensure;
use jitp_certs::CertificateId;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TEMPLATE: &str = "approved";

pub async fn measure(lab: &Lab, way: Way) -> anyhow::Result<Case> {
    let site = Site::open(lab, "").await?;
    site.register_ca(lab, &["--jitr".as_ref()])?;
    site.create_template(TEMPLATE, "JITP", &templates::approved(), None).await?;
    rounds(lab, way, site, async |site, round| {
        let devices = lab.factory.devices(&format!("jitr-{round}"), devices(lab)?)?;
        let approvals = devices.iter().map(|device| approval(&site.api, device)).collect::<Result<_, _>>()?;
        let (target, api, ledger) = (site.peer.target.clone(), site.api.clone(), site.ledger.clone());
        Ok(Registering { target, api, devices, approvals, ledger })
    })
    .await
}

struct Registering {
    target: Arc<Target>,
    api: Arc<Api>,
    devices: Vec<Device>,
    approvals: Vec<Signed>,
    ledger: Arc<Ledger>,
}

fn approval(api: &Api, device: &Device) -> anyhow::Result<Signed> {
    let id = CertificateId::of_der(&device.certificate);
    let path = format!("/jitp/v1/pending-certificates/{id}/approve");
    api.sign("POST", &path, &json!({ "templateName": TEMPLATE }))
}

impl Registering {
    async fn register(&self, device: &Device, approval: &Signed) -> anyhow::Result<Duration> {
        let (config, approval) = (self.target.full(device), approval.clone());
        let started = Instant::now();
        let (_, code) = self.target.knock(device, config.clone()).await?;
        ensure!(code == mqtt::NOT_AUTHORIZED, "{}: CONNACK says {code} before the approval", device.name);
        self.api.send(approval).await?;
        let connected = self.target.connect(device, config).await?;
        let took = started.elapsed();
        self.ledger.enter(Promise::Thing(device.name.clone()));
        connected.disconnect().await;
        Ok(took)
    }
}

impl Work for Registering {
    async fn piece(&self, number: usize) -> Option<anyhow::Result<Duration>> {
        Some(self.register(self.devices.get(number)?, self.approvals.get(number)?).await)
    }
}
