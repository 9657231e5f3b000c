//! Fleet provisioning: a device connects with the claim that all share, subscribes, gets a certificate, has its template
//! run, and leaves: from TCP connect to the answer of RegisterThing, at QoS 1.
use super::hook::Hook;
use super::ledger::{Ledger, Promise};
use super::site::Site;
use super::{Keys, Way, devices, rounds, templates};
use crate::client::Target;
use crate::conversation::Conversation;
use crate::factory::{Device, name};
use crate::lab::Lab;
use crate::report::Case;
use crate::scenarios::lanes::Work;
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The template that devices ask for.
pub const TEMPLATE: &str = "fleet";
const CREATE: &str = "$aws/certificates/create/json";
/// For certificates by signing requests.
pub const CREATE_FROM_CSR: &str = "$aws/certificates/create-from-csr/json";
const REGISTER: &str = "$aws/provisioning-templates/fleet/provision/json";
const ANSWERS: [&str; 3] = [
    "$aws/certificates/create/json/+",
    "$aws/certificates/create-from-csr/json/+",
    "$aws/provisioning-templates/fleet/provision/json/+",
];
const CLAIM_POLICY: &str = "claim";

pub async fn keys(lab: &Lab, way: Way, keys: Keys) -> anyhow::Result<Case> {
    let (site, claim) = set_up(lab, &keys.config(), None).await?;
    rounds(lab, way, site, async |site, round| {
        keys.ready(site).await?;
        Ok(Fleet::new(site, &claim, round, Requests::Keys(keys.most())))
    })
    .await
}

pub async fn signing_requests(lab: &Lab, way: Way) -> anyhow::Result<Case> {
    let (site, claim) = set_up(lab, "", None).await?;
    rounds(lab, way, site, async |site, round| {
        Ok(Fleet::new(site, &claim, round, Requests::signing(lab, round)?))
    })
    .await
}

pub async fn with_hook(lab: &Lab, way: Way) -> anyhow::Result<Case> {
    let hook = Hook::start().await?;
    let (site, claim) = set_up(lab, &hook.config(), Some(Hook::ARN)).await?;
    let mut case = rounds(lab, way, site, async |site, round| {
        Ok(Fleet::new(site, &claim, round, Requests::signing(lab, round)?))
    })
    .await?;
    let done: u64 = case.rounds.iter().map(|round| round.operations).sum();
    let asked = hook.asked();
    ensure!(asked >= done, "the hook was asked {asked} times for {done} devices");
    case.notes.push(format!("the hook, in the generator, was asked {asked} times and answered at once"));
    Ok(case)
}

/// A broker with the template and the claim.
async fn set_up(lab: &Lab, config: &str, hook: Option<&str>) -> anyhow::Result<(Site, Device)> {
    let site = Site::open(lab, config).await?;
    site.create_template(TEMPLATE, "FLEET_PROVISIONING", &templates::fleet(), hook).await?;
    let topics = ["certificates/create*", "provisioning-templates/fleet/provision/*"];
    let resources = |kind: &str| topics.map(|topic| format!("arn:aws:iot:*:*:{kind}/$aws/{topic}"));
    let statements = json!([
        { "Effect": "Allow", "Action": "iot:Connect", "Resource": "arn:aws:iot:*:*:client/boot-*" },
        { "Effect": "Allow", "Action": ["iot:Publish", "iot:Receive"], "Resource": resources("topic") },
        { "Effect": "Allow", "Action": "iot:Subscribe", "Resource": resources("topicfilter") },
    ]);
    site.create_policy(CLAIM_POLICY, &statements).await?;
    let claim = lab.factory.devices("claim", 1)?.pop().context("no claim")?;
    site.register(&claim, CLAIM_POLICY).await?;
    Ok((site, claim))
}

/// Devices with one claim.
struct Fleet {
    target: Arc<Target>,
    claim: Device,
    round: u32,
    requests: Requests,
    ledger: Arc<Ledger>,
}

/// How they get their certificates.
enum Requests {
    /// The broker makes keys, for so many devices.
    Keys(usize),
    /// Payloads with signing requests.
    Signing(Vec<Vec<u8>>),
}

impl Requests {
    fn signing(lab: &Lab, round: u32) -> anyhow::Result<Self> {
        let csrs = lab.factory.signing_requests(&format!("fleet-{round}"), devices(lab)?)?;
        Ok(Self::Signing(csrs.iter().map(|csr| signing_request(csr)).collect()))
    }

    /// Topic and payload of a device's first request.
    fn of(&self, number: usize) -> Option<(&'static str, &[u8])> {
        match self {
            Self::Keys(most) => (number < *most).then_some((CREATE, &[])),
            Self::Signing(payloads) => {
                payloads.get(number).map(|payload| (CREATE_FROM_CSR, payload.as_slice()))
            }
        }
    }
}

/// The payload of CreateCertificateFromCsr.
pub fn signing_request(csr: &str) -> Vec<u8> {
    json!({ "certificateSigningRequest": csr }).to_string().into_bytes()
}

impl Fleet {
    fn new(site: &Site, claim: &Device, round: u32, requests: Requests) -> Self {
        let claim = claim.shared_with(claim.name.clone());
        let (target, ledger) = (site.peer.target.clone(), site.ledger.clone());
        Self { target, claim, round, requests, ledger }
    }

    async fn provision(&self, number: usize, request: (&str, &[u8])) -> anyhow::Result<Duration> {
        let device = self.claim.shared_with(name(&format!("boot-{}", self.round), number));
        let thing = name(&format!("fleet-{}", self.round), number);
        let started = Instant::now();
        let conversation = with_claim(&self.target, &device, request, &thing).await?;
        let took = started.elapsed();
        self.ledger.enter(Promise::Thing(thing));
        conversation.end().await;
        Ok(took)
    }
}

/// All that a device does with a claim: `request` is its first, for a certificate.
pub async fn with_claim(
    target: &Target,
    claim: &Device,
    (topic, payload): (&str, &[u8]),
    thing: &str,
) -> anyhow::Result<Conversation> {
    let connected = target.connect(claim, target.full(claim)).await?;
    let mut conversation = Conversation::begin(connected, &ANSWERS).await?;
    let made = conversation.ask(topic, payload).await?;
    let token = made.get("certificateOwnershipToken").context("no token")?;
    let register = json!({ "certificateOwnershipToken": token, "parameters": { "Serial": thing } });
    let answer = conversation.ask(REGISTER, register.to_string().as_bytes()).await?;
    ensure!(answer.get("thingName").and_then(Value::as_str) == Some(thing), "not {thing}: {answer}");
    Ok(conversation)
}

impl Work for Fleet {
    async fn piece(&self, number: usize) -> Option<anyhow::Result<Duration>> {
        Some(self.provision(number, self.requests.of(number)?).await)
    }
}
