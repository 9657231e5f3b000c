//! A jitp with nothing in it, set up for one way to provision, and looked at again after it was killed.
use super::ledger::{Ledger, Promise};
use crate::api::Api;
use crate::factory::Device;
use crate::lab::Lab;
use crate::peers::{Jitp, Peer};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::sync::Arc;

/// Promises looked up after the broker was killed.
const SAMPLES: usize = 20;
/// What every device may do that has no policy of its own.
pub const POLICY: &str = "device";

/// The broker, its API, and what it has promised so far.
pub struct Site {
    jitp: Jitp,
    url: String,
    pub peer: Peer,
    pub api: Arc<Api>,
    pub ledger: Arc<Ledger>,
}

impl Site {
    /// Starts one with further sections of the configuration, and a policy [`POLICY`].
    pub async fn open(lab: &Lab, config: &str) -> anyhow::Result<Self> {
        // Certificates that wait are errors to the log.
        let jitp = Jitp::configured(lab, &format!("[log]\nlevel = \"off\"\n{config}"))?;
        let (peer, url, _) = jitp.open(lab)?;
        let api = Arc::new(Api::new(&url, jitp.data_dir())?);
        let site = Self { jitp, url, peer, api, ledger: Arc::default() };
        site.create_policy(POLICY, &json!([{ "Effect": "Allow", "Action": "iot:*", "Resource": "*" }]))
            .await?;
        Ok(site)
    }

    /// Registers the factory's CA; `how` are further arguments of `jitp ca register`.
    pub fn register_ca(&self, lab: &Lab, how: &[&OsStr]) -> anyhow::Result<()> {
        self.jitp.register_ca(lab, &self.url, how)
    }

    pub async fn create_policy(&self, name: &str, statements: &Value) -> anyhow::Result<()> {
        let document = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
        let body = json!({ "policyDocument": document });
        self.api.call("POST", &format!("/policies/{name}"), &body).await.map(|_| ())
    }

    /// An enabled template of this type (`JITP`, `FLEET_PROVISIONING`); `hook` is an ARN.
    pub async fn create_template(
        &self,
        name: &str,
        kind: &str,
        body: &Value,
        hook: Option<&str>,
    ) -> anyhow::Result<()> {
        let body = json!({
            "templateName": name,
            "type": kind,
            "templateBody": body.to_string(),
            "enabled": true,
            "provisioningRoleArn": "arn:aws:iam::000000000000:role/jitp-bench",
            "preProvisioningHook": hook.map(|arn| json!({ "targetArn": arn })),
        });
        self.api.call("POST", "/provisioning-templates", &body).await.map(|_| ())
    }

    /// Registers a certificate that no registered CA has issued, ACTIVE, under a policy.
    pub async fn register(&self, device: &Device, policy: &str) -> anyhow::Result<()> {
        let pem = jitp_certs::Certificate::from_der(&device.certificate)?.to_pem();
        let body = json!({ "certificatePem": pem, "status": "ACTIVE" });
        let registered = self.api.call("POST", "/certificate/register-no-ca", &body).await?;
        let target = registered.get("certificateArn").context("no ARN")?;
        let path = format!("/target-policies/{policy}");
        self.api.call("PUT", &path, &json!({ "target": target })).await.map(|_| ())
    }

    /// Kills the broker, starts it again, and looks for what it had promised; says how much there was.
    pub async fn verify(self, lab: &Lab) -> anyhow::Result<String> {
        let promises = self.ledger.close();
        drop(self.peer);
        let (peer, url, _) = self.jitp.open(lab)?;
        let api = Api::new(&url, self.jitp.data_dir())?;
        let step = (promises.len() / SAMPLES).max(1);
        let mut kept = 0;
        for promise in promises.iter().step_by(step).chain(promises.last()) {
            match promise {
                Promise::Thing(name) => has_certificate(&api, name).await,
                Promise::Certificate(id) => is_active(&api, id).await,
                Promise::Claim(device) => {
                    let connected = peer.target.connect(device, peer.target.full(device)).await;
                    connected.map(|_| ())
                }
            }
            .context("what jitp had promised is gone after kill -9")?;
            kept += 1;
        }
        peer.process.terminate()?;
        let all = promises.len();
        Ok(format!("{all} done; after kill -9, {kept} of {kept} looked for were in the registry"))
    }
}

async fn has_certificate(api: &Api, thing: &str) -> anyhow::Result<()> {
    let attached = api.call("GET", &format!("/things/{thing}/principals"), &Value::Null).await?;
    let arn = attached.pointer("/principals/0").and_then(Value::as_str);
    let id = arn.and_then(|arn| arn.rsplit('/').next());
    is_active(api, id.with_context(|| format!("{thing} has no certificate"))?).await
}

async fn is_active(api: &Api, id: &str) -> anyhow::Result<()> {
    let described = api.call("GET", &format!("/certificates/{id}"), &Value::Null).await?;
    let status = described.pointer("/certificateDescription/status");
    ensure!(status == Some(&json!("ACTIVE")), "certificate {id} is {status:?}");
    Ok(())
}
