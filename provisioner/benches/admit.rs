//! What a connection costs: a first one, with its run and its durable commit, and one of a known device.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark stops where it fails"
)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jitp_certs::{Attribute, Authority, KeyKind, LeafRequest, Validity};
use jitp_provisioner::records::RegistrationConfig;
use jitp_provisioner::registry::RegisterCaCertificate;
use jitp_provisioner::{
    Admission, ConnectContext, Options, Presentation, Principal, Provisioner, SystemClock, Timestamp,
};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const CONCURRENT: usize = 64;
const SOURCE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4711);

const TEMPLATE: &str = r#"{
  "Parameters": {
    "AWS::IoT::Certificate::CommonName": { "Type": "String" },
    "AWS::IoT::Certificate::Id": { "Type": "String" }
  },
  "Resources": {
    "gw": { "Type": "AWS::IoT::Thing", "Properties": {
      "ThingName": { "Ref": "AWS::IoT::Certificate::CommonName" }, "AttributePayload": { "line": "7" } } },
    "cert": { "Type": "AWS::IoT::Certificate", "Properties": {
      "CertificateId": { "Ref": "AWS::IoT::Certificate::Id" }, "Status": "ACTIVE" } },
    "pol": { "Type": "AWS::IoT::Policy", "Properties": { "PolicyDocument": {
      "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": "iot:Connect",
          "Resource": "arn:aws:iot:us-east-1:000000000000:client/${iot:Connection.Thing.ThingName}" },
        { "Effect": "Allow", "Action": ["iot:Publish", "iot:Receive"],
          "Resource": "arn:aws:iot:us-east-1:000000000000:topic/dev/${iot:Connection.Thing.ThingName}/*" },
        { "Effect": "Allow", "Action": "iot:Subscribe",
          "Resource": "arn:aws:iot:us-east-1:000000000000:topicfilter/dev/${iot:Connection.Thing.ThingName}/*" } ] } } }
  }
}"#;

struct Plant {
    _directory: tempfile::TempDir,
    provisioner: Provisioner,
    ca: Authority,
    made: u64,
}
#[derive(Clone)]
struct Device {
    name: String,
    der: Vec<u8>,
}

impl Plant {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let provisioner =
            Provisioner::open(directory.path(), Options::default(), Arc::new(SystemClock)).await.unwrap();
        let ca = Authority::create(&[(Attribute::CommonName, "Plant".into())], validity(), KeyKind::EcP256)
            .unwrap();
        let code = provisioner.registry().registration_code().await.unwrap();
        let verification = ca.issue_verification(&code, validity()).unwrap();
        let request = RegisterCaCertificate {
            ca_certificate: ca.certificate().to_pem(),
            verification_certificate: Some(verification.certificate.to_pem()),
            set_as_active: true,
            allow_auto_registration: true,
            registration_config: Some(RegistrationConfig {
                template_name: None,
                template_body: Some(TEMPLATE.into()),
                role_arn: Some("arn:aws:iam::000000000000:role/provisioner".into()),
            }),
            ..RegisterCaCertificate::default()
        };
        provisioner.registry().register_ca_certificate(request).await.unwrap();
        Self { _directory: directory, provisioner, ca, made: 0 }
    }
    fn device(&mut self) -> Device {
        self.made += 1;
        let name = format!("pump-{}", self.made);
        let subject = vec![(Attribute::CommonName, name.clone())];
        let request = LeafRequest { subject, validity: validity(), key: KeyKind::EcP256 };
        Device { name, der: self.ca.issue_device(&request).unwrap().certificate.der().to_vec() }
    }
}

async fn admit(provisioner: &Provisioner, device: &Device) -> Principal {
    let presentation = Presentation {
        chain: &[&device.der],
        leaf: None,
        client_id: &device.name,
        source: SOURCE,
        server_name: None,
        trace: "",
    };
    match provisioner.admit(&presentation).await {
        Admission::Admitted(principal) => principal,
        Admission::Refused(refusal) => panic!("{refusal:?}"),
    }
}

/// The time of so many first connections, 64 at once.
async fn first_connections(plant: &mut Plant, count: u64) -> Duration {
    let devices: VecDeque<Device> = (0..count).map(|_| plant.device()).collect();
    let waiting = Arc::new(Mutex::new(devices));
    let began = Instant::now();
    let tasks: Vec<_> = (0..CONCURRENT)
        .map(|_| {
            let (waiting, provisioner) = (Arc::clone(&waiting), plant.provisioner.clone());
            tokio::spawn(async move {
                loop {
                    let Some(device) = waiting.lock().unwrap().pop_front() else { return };
                    assert!(admit(&provisioner, &device).await.provisioned_now);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    began.elapsed()
}

fn admissions(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut plant = runtime.block_on(Plant::new());
    let mut group = criterion.benchmark_group("admit");
    group.throughput(Throughput::Elements(1));
    group.sample_size(10);
    group.bench_function("first connection, 64 at once", |bench| {
        bench.iter_custom(|count| runtime.block_on(first_connections(&mut plant, count)));
    });

    let device = plant.device();
    let provisioner = plant.provisioner.clone();
    let principal = runtime.block_on(admit(&provisioner, &device));
    group.bench_function("known device", |bench| {
        bench.iter(|| runtime.block_on(admit(&provisioner, &device)));
    });
    let connect = ConnectContext {
        client_id: device.name.as_str().into(),
        source_ip: SOURCE.ip(),
        server_name: None,
        persistent: false,
        will_topic: None,
    };
    group.bench_function("permissions of a known device", |bench| {
        bench.iter(|| runtime.block_on(provisioner.permissions(&principal, &connect)).unwrap());
    });
    group.finish();
}

fn validity() -> Validity {
    let now = Timestamp(0).unix_seconds();
    Validity { not_before: now, not_after: now + 4_000_000_000 }
}

criterion_group!(benches, admissions);
criterion_main!(benches);
