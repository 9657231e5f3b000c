//! Devices that nobody has heard of connect: from TCP connect to CONNACK, which is all they need to do.
use super::ledger::{Ledger, Promise};
use super::site::Site;
use super::{Way, devices, rounds, templates};
use crate::client::Target;
use crate::factory::Device;
use crate::lab::Lab;
use crate::report::{Case, progress};
use crate::scenarios::lanes::{AT_A_TIME, Work};
use anyhow::Context;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

pub async fn shared_policy(lab: &Lab, way: Way) -> anyhow::Result<Case> {
    let site = Site::open(lab, "").await?;
    site.register_ca(lab, &["--template-body".as_ref(), lab.files.template().as_os_str()])?;
    rounds(lab, way, site, async |site, round| prepare(lab, site, &format!("first-{round}"))).await
}

pub async fn policy_each(lab: &Lab, way: Way) -> anyhow::Result<Case> {
    let site = Site::open(lab, "").await?;
    let template = lab.fresh_path("template.json");
    std::fs::write(&template, templates::policy_each().to_string())?;
    site.register_ca(lab, &["--template-body".as_ref(), template.as_os_str()])?;
    rounds(lab, way, site, async |site, round| {
        let work = prepare(lab, site, &format!("each-{round}"))?;
        progress("provision: creating a policy for each device");
        create_policies(site, &work.devices).await?;
        Ok(work)
    })
    .await
}

struct Connecting {
    target: Arc<Target>,
    devices: Vec<Device>,
    ledger: Arc<Ledger>,
}

fn prepare(lab: &Lab, site: &Site, prefix: &str) -> anyhow::Result<Connecting> {
    let devices = lab.factory.devices(prefix, devices(lab)?)?;
    Ok(Connecting { target: site.peer.target.clone(), devices, ledger: site.ledger.clone() })
}

impl Connecting {
    async fn connect(&self, device: &Device) -> anyhow::Result<Duration> {
        let config = self.target.full(device);
        let started = Instant::now();
        let connected = self.target.connect(device, config).await?;
        let took = started.elapsed();
        self.ledger.enter(Promise::Thing(device.name.clone()));
        connected.disconnect().await;
        Ok(took)
    }
}

impl Work for Connecting {
    async fn piece(&self, number: usize) -> Option<anyhow::Result<Duration>> {
        Some(self.connect(self.devices.get(number)?).await)
    }
}

async fn create_policies(site: &Site, devices: &[Device]) -> anyhow::Result<()> {
    let mut under_way = JoinSet::new();
    for device in devices {
        if under_way.len() >= AT_A_TIME {
            under_way.join_next().await.context("nothing is under way")???;
        }
        let statement = json!([{
            "Effect": "Allow",
            "Action": "iot:*",
            "Resource": [
                format!("arn:aws:iot:*:*:client/{}", device.name),
                format!("arn:aws:iot:*:*:topic/devices/{}/*", device.name),
            ],
        }]);
        let document = json!({ "Version": "2012-10-17", "Statement": statement }).to_string();
        let path = format!("/policies/{}", device.name);
        let request = site.api.sign("POST", &path, &json!({ "policyDocument": document }))?;
        let api = site.api.clone();
        under_way.spawn(async move { api.send(request).await });
    }
    while let Some(created) = under_way.join_next().await {
        created??;
    }
    Ok(())
}
