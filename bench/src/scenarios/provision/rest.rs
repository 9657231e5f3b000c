//! The REST API: one signed request for each device, from sending it to having read the answer.
use super::ledger::{Ledger, Promise};
use super::site::Site;
use super::{Keys, Way, devices, rounds, templates};
use crate::api::{Api, Signed};
use crate::factory::{Device, name};
use crate::lab::Lab;
use crate::report::Case;
use crate::scenarios::lanes::Work;
use anyhow::Context;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The template that claims are for.
const TEMPLATE: &str = "claimed";

pub async fn register_thing(lab: &Lab, way: Way) -> anyhow::Result<Case> {
    let template = templates::signed().to_string();
    rounds(lab, way, Site::open(lab, "").await?, async |site, round| {
        let prefix = format!("rest-{round}");
        let csrs = lab.factory.signing_requests(&prefix, devices(lab)?)?;
        let sign = |(number, csr): (usize, &String)| {
            let parameters = json!({ "ThingName": name(&prefix, number), "CSR": csr });
            site.api.sign("POST", "/things", &json!({ "templateBody": template, "parameters": parameters }))
        };
        let requests = csrs.iter().enumerate().map(sign).collect::<anyhow::Result<_>>()?;
        Ok(Calls::new(site, Requests::Each(requests), Promised::Thing))
    })
    .await
}

pub async fn create_from_csr(lab: &Lab, way: Way) -> anyhow::Result<Case> {
    rounds(lab, way, Site::open(lab, "").await?, async |site, round| {
        let csrs = lab.factory.signing_requests(&format!("rest-{round}"), devices(lab)?)?;
        let sign = |csr| {
            let body = json!({ "certificateSigningRequest": csr });
            site.api.sign("POST", "/certificates?setAsActive=true", &body)
        };
        let requests = csrs.iter().map(sign).collect::<anyhow::Result<_>>()?;
        Ok(Calls::new(site, Requests::Each(requests), Promised::Certificate))
    })
    .await
}

pub async fn create_keys(lab: &Lab, way: Way, keys: Keys) -> anyhow::Result<Case> {
    let site = Site::open(lab, &keys.config()).await?;
    let path = "/keys-and-certificate?setAsActive=true";
    // From the first one on, keys are made ahead.
    site.api.call("POST", path, &Value::Null).await?;
    rounds(lab, way, site, async |site, _| {
        keys.ready(site).await?;
        let request = site.api.sign("POST", path, &Value::Null)?;
        Ok(Calls::new(site, Requests::Same(Box::new(request), keys.most()), Promised::Certificate))
    })
    .await
}

pub async fn claims(lab: &Lab, way: Way, keys: Keys) -> anyhow::Result<Case> {
    let site = Site::open(lab, &keys.config()).await?;
    site.create_template(TEMPLATE, "FLEET_PROVISIONING", &templates::fleet(), None).await?;
    let path = format!("/provisioning-templates/{TEMPLATE}/provisioning-claim");
    site.api.call("POST", &path, &Value::Null).await?;
    rounds(lab, way, site, async |site, _| {
        keys.ready(site).await?;
        let request = site.api.sign("POST", &path, &Value::Null)?;
        Ok(Calls::new(site, Requests::Same(Box::new(request), keys.most()), Promised::Claim))
    })
    .await
}

/// A claim as CreateProvisioningClaim answers.
pub fn claim_of(answer: &Value, client_id: String) -> anyhow::Result<Device> {
    let text = |at: &str| answer.pointer(at).and_then(Value::as_str).with_context(|| format!("no {at}"));
    Device::from_pem(client_id, text("/certificatePem")?, text("/keyPair/PrivateKey")?)
}

struct Calls {
    api: Arc<Api>,
    requests: Requests,
    promised: Promised,
    ledger: Arc<Ledger>,
}

enum Requests {
    Each(Vec<Signed>),
    /// The same, so many times.
    Same(Box<Signed>, usize),
}

/// What an answer says that there is.
#[derive(Clone, Copy)]
enum Promised {
    Thing,
    Certificate,
    Claim,
}

impl Calls {
    fn new(site: &Site, requests: Requests, promised: Promised) -> Self {
        Self { api: site.api.clone(), requests, promised, ledger: site.ledger.clone() }
    }

    async fn call(&self, request: Signed, number: usize) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let answer = self.api.send(request).await?;
        let took = started.elapsed();
        let text = |at: &str| {
            let text = answer.pointer(at).and_then(Value::as_str).map(str::to_owned);
            text.with_context(|| format!("no {at}: {answer}"))
        };
        self.ledger.enter(match self.promised {
            Promised::Thing => {
                let arn = text("/resourceArns/thing")?;
                Promise::Thing(arn.rsplit('/').next().unwrap_or_default().to_owned())
            }
            Promised::Certificate => Promise::Certificate(text("/certificateId")?),
            Promised::Claim => Promise::Claim(Box::new(claim_of(&answer, name("claim", number))?)),
        });
        Ok(took)
    }
}

impl Work for Calls {
    async fn piece(&self, number: usize) -> Option<anyhow::Result<Duration>> {
        let request = match &self.requests {
            Requests::Each(requests) => requests.get(number)?.clone(),
            Requests::Same(request, most) => (number < *most).then(|| Signed::clone(request))?,
        };
        Some(self.call(request, number).await)
    }
}
