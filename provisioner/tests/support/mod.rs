//! A registry in a temporary directory, CAs with real keys, and devices that knock.
#![allow(dead_code, reason = "each test file uses a part of it")]

use jitp_certs::{Attribute, Authority, KeyKind, LeafRequest, Validity};
use jitp_provisioner::names::{CertificateId, PolicyName, ThingGroupName, ThingName};
use jitp_provisioner::records::{
    CaStatus, CertificateRecord, CertificateStatus, PolicyTarget, RegistrationConfig, ThingRecord,
};
use jitp_provisioner::registry::{PageRequest, RegisterCaCertificate, UpdateCaCertificate};
use jitp_provisioner::{
    Admission, Attempt, AttemptFilter, Change, ChangeEntry, ManualClock, Options, Presentation, Principal,
    Provisioner, ReasonCode, Refusal, Registry, RegistryError, Timestamp,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// 2026-01-01T00:00:00Z.
pub const NOW: u64 = 1_767_225_600_000;
const YEAR: i64 = 365 * 24 * 3600;
pub const SOURCE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 2, 3)), 4711);

pub fn validity() -> Validity {
    let now = Timestamp(NOW).unix_seconds();
    Validity { not_before: now - YEAR, not_after: now + 10 * YEAR }
}
pub fn authority(name: &str) -> Authority {
    Authority::create(&[(Attribute::CommonName, name.into())], validity(), KeyKind::EcP256).unwrap()
}

/// One registry.
pub struct Site {
    pub directory: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    pub provisioner: Provisioner,
}

impl Site {
    pub async fn new() -> Self {
        Self::with(Options::default()).await
    }
    pub async fn with(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(NOW)));
        let provisioner = Provisioner::open(directory.path(), options, clock.clone()).await.unwrap();
        Self { directory, clock, provisioner }
    }
    /// The same registry, closed and opened again.
    pub async fn reopened(self, options: Options) -> Self {
        let Self { directory, clock, provisioner } = self;
        provisioner.close().await.unwrap();
        drop(provisioner);
        let provisioner = Provisioner::open(directory.path(), options, clock.clone()).await.unwrap();
        Self { directory, clock, provisioner }
    }
    pub fn registry(&self) -> &Registry {
        self.provisioner.registry()
    }
    pub fn pass(&self, millis: u64) {
        use jitp_provisioner::Clock;
        self.clock.set(Timestamp(self.clock.now().0 + millis));
    }

    /// Registers an active CA with auto-registration and this template body, or none (JITR).
    pub async fn register(&self, ca: &Authority, template: Option<&str>) -> CertificateId {
        let config = template.map(|body| RegistrationConfig {
            template_name: None,
            template_body: Some(body.into()),
            role_arn: Some("arn:aws:iam::000000000000:role/provisioner".into()),
        });
        self.register_with(ca, config).await
    }
    pub async fn register_with(&self, ca: &Authority, config: Option<RegistrationConfig>) -> CertificateId {
        let code = self.registry().registration_code().await.unwrap();
        let verification = ca.issue_verification(&code, validity()).unwrap();
        let request = RegisterCaCertificate {
            ca_certificate: ca.certificate().to_pem(),
            verification_certificate: Some(verification.certificate.to_pem()),
            set_as_active: true,
            allow_auto_registration: true,
            registration_config: config,
            ..RegisterCaCertificate::default()
        };
        self.registry().register_ca_certificate(request).await.unwrap().certificate_id
    }
    pub async fn update_ca(&self, id: CertificateId, update: UpdateCaCertificate) {
        self.registry().update_ca_certificate(id, update).await.unwrap();
    }
    pub async fn deactivate(&self, id: CertificateId) {
        let update = UpdateCaCertificate { new_status: Some(CaStatus::Inactive), ..Default::default() };
        self.update_ca(id, update).await;
    }

    pub async fn knock(&self, device: &Device) -> Admission {
        self.knock_as(device, &device.name).await
    }
    pub async fn knock_as(&self, device: &Device, client_id: &str) -> Admission {
        self.present(&[&device.der], client_id, Some("broker.example")).await
    }
    pub async fn present(&self, chain: &[&[u8]], client_id: &str, server_name: Option<&str>) -> Admission {
        self.provisioner
            .admit(&Presentation { chain, leaf: None, client_id, source: SOURCE, server_name, trace: "" })
            .await
    }
    /// Knocks and is let in.
    pub async fn admitted(&self, device: &Device) -> Principal {
        admitted(self.knock(device).await)
    }
    /// Knocks and is refused.
    pub async fn refused(&self, device: &Device) -> Refusal {
        refused(self.knock(device).await)
    }

    pub async fn certificate(&self, device: &Device) -> Option<CertificateRecord> {
        match self.registry().certificate(device.id).await {
            Ok(record) => Some(record),
            Err(RegistryError::NotFound { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }
    pub async fn status(&self, device: &Device) -> Option<CertificateStatus> {
        Some(self.certificate(device).await?.status)
    }
    pub async fn thing(&self, name: &str) -> Option<ThingRecord> {
        match self.registry().thing(&thing(name)).await {
            Ok(record) => Some(record),
            Err(RegistryError::NotFound { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }
    pub async fn things_of(&self, device: &Device) -> Vec<String> {
        let page = self.registry().list_principal_things(device.id, None, &all()).await.unwrap();
        page.items.into_iter().map(|(thing, _)| thing.to_string()).collect()
    }
    pub async fn policies_of(&self, device: &Device) -> Vec<String> {
        let target = PolicyTarget::Certificate(device.id);
        let page = self.registry().list_attached_policies(&target, &all()).await.unwrap();
        page.items.into_iter().map(|policy| policy.to_string()).collect()
    }
    pub async fn groups_of(&self, name: &str) -> Vec<String> {
        let page = self.registry().list_groups_of_thing(&thing(name), &all()).await.unwrap();
        page.items.into_iter().map(|group| group.to_string()).collect()
    }
    pub async fn create_group(&self, name: &str, parent: Option<&str>) {
        let parent = parent.map(group);
        self.registry().create_thing_group(group(name), parent, None, BTreeMap::new()).await.unwrap();
    }
    pub async fn create_policy(&self, name: &str, document: &str) {
        self.registry().create_policy(policy(name), document).await.unwrap();
    }

    /// Every change so far, in order.
    pub async fn changes(&self) -> Vec<Change> {
        let (feed, mut after, mut all) = (self.provisioner.changes(), Default::default(), Vec::new());
        loop {
            let entries: Vec<Arc<ChangeEntry>> = feed.since(after, 1000).await.unwrap();
            let Some(last) = entries.last() else { return all };
            after = last.revision;
            all.extend(entries.iter().map(|entry| entry.change.clone()));
        }
    }
    /// The newest attempt of a device with this reason, once it is listed.
    pub async fn attempt_of(&self, device: &Device, reason: ReasonCode) -> Attempt {
        let filter = AttemptFilter {
            certificate_id: Some(device.id),
            reason: Some(reason),
            ..AttemptFilter::default()
        };
        loop {
            let latest = self.provisioner.changes().latest();
            if let Some(attempt) = self.provisioner.attempts(&filter, None, 1).await.unwrap().pop() {
                return attempt;
            }
            self.provisioner.changes().beyond(latest).await;
        }
    }
    /// Waits until so many attempts are listed, then returns them, newest first.
    pub async fn attempts(&self, count: usize) -> Vec<Attempt> {
        loop {
            let latest = self.provisioner.changes().latest();
            let attempts = self.provisioner.attempts(&AttemptFilter::default(), None, 100_000).await.unwrap();
            if attempts.len() >= count {
                return attempts;
            }
            self.provisioner.changes().beyond(latest).await;
        }
    }
}

pub fn admitted(admission: Admission) -> Principal {
    match admission {
        Admission::Admitted(principal) => principal,
        Admission::Refused(refusal) => panic!("refused: {refusal:?}"),
    }
}
pub fn refused(admission: Admission) -> Refusal {
    match admission {
        Admission::Refused(refusal) => refusal,
        Admission::Admitted(principal) => panic!("admitted: {principal:?}"),
    }
}
pub fn reason(admission: Admission) -> ReasonCode {
    refused(admission).reason
}

/// A device with its certificate.
#[derive(Clone)]
pub struct Device {
    pub name: String,
    pub der: Vec<u8>,
    pub pem: String,
    pub id: CertificateId,
}
impl Device {
    pub fn new(ca: &Authority, name: &str) -> Self {
        Self::with(ca, &[(Attribute::CommonName, name)], validity())
    }
    pub fn with(ca: &Authority, subject: &[(Attribute, &str)], validity: Validity) -> Self {
        let subject: Vec<_> = subject.iter().map(|(a, v)| (*a, (*v).to_owned())).collect();
        let name = subject.first().map(|(_, v)| v.clone()).unwrap_or_default();
        let request = LeafRequest { subject, validity, key: KeyKind::EcP256 };
        let certificate = ca.issue_device(&request).unwrap().certificate;
        Self { name, der: certificate.der().to_vec(), pem: certificate.to_pem(), id: certificate.id() }
    }
}

pub fn all() -> PageRequest {
    PageRequest { after: None, limit: 250, ascending: true }
}
pub fn thing(name: &str) -> ThingName {
    ThingName::new(name).unwrap()
}
pub fn group(name: &str) -> ThingGroupName {
    ThingGroupName::new(name).unwrap()
}
pub fn policy(name: &str) -> PolicyName {
    PolicyName::new(name).unwrap()
}

pub const ALLOW_ALL: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}"#;

/// A template: the thing named after the common name, one inline policy, and what the test adds.
pub fn template(thing_members: &str, overrides: &str) -> String {
    let document = serde_json::to_string(ALLOW_ALL).unwrap();
    format!(
        r#"{{"Parameters":{{"AWS::IoT::Certificate::CommonName":{{"Type":"String"}},"AWS::IoT::Certificate::Id":{{"Type":"String"}}}},
        "Resources":{{
          "gw":{{"Type":"AWS::IoT::Thing","Properties":{{"ThingName":{{"Ref":"AWS::IoT::Certificate::CommonName"}}{thing_members}}}{overrides}}},
          "cert":{{"Type":"AWS::IoT::Certificate","Properties":{{"CertificateId":{{"Ref":"AWS::IoT::Certificate::Id"}},"Status":"ACTIVE"}}}},
          "pol":{{"Type":"AWS::IoT::Policy","Properties":{{"PolicyDocument":{document}}}}}}}}}"#
    )
}
pub fn plain() -> String {
    template("", "")
}
