//! Writes a registry through the provisioner's own admission, so that its records are those of first connections.
use crate::arguments::{Fill, Things};
use crate::factory::{Device, Factory, Files, TEMPLATE};
use anyhow::bail;
use jitp_provisioner::registry::{CreateThing, RegisterCaCertificate};
use jitp_provisioner::{Admission, Options, Presentation, Provisioner, SystemClock};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Certificates made at once: bounds the memory of this process.
const BATCH: usize = 8192;
const AT_A_TIME: usize = 256;

/// Opens the registry, registers the factory's CA, and admits the devices.
pub async fn run(fill: Fill) -> anyhow::Result<()> {
    let factory = Factory::load(&Files { directory: fill.factory })?;
    std::fs::create_dir_all(&fill.data_dir)?;
    let provisioner = Provisioner::open(&fill.data_dir, Options::default(), Arc::new(SystemClock)).await?;
    register(&provisioner, &factory).await?;
    let mut left = usize::try_from(fill.devices)?;
    let mut made = 0;
    while left > 0 {
        let count = left.min(BATCH);
        let devices = factory.devices_from("fill", made, count)?;
        made += count;
        left -= count;
        admit_all(&provisioner, devices).await?;
    }
    provisioner.close().await?;
    Ok(())
}

/// Opens the registry and creates the things.
pub async fn things(things: Things) -> anyhow::Result<()> {
    std::fs::create_dir_all(&things.data_dir)?;
    let provisioner = Provisioner::open(&things.data_dir, Options::default(), Arc::new(SystemClock)).await?;
    let mut under_way = JoinSet::new();
    for number in 0..things.count {
        if under_way.len() >= AT_A_TIME {
            under_way.join_next().await.transpose()?.transpose()?;
        }
        let provisioner = provisioner.clone();
        under_way.spawn(async move { create(&provisioner, number).await });
    }
    while let Some(created) = under_way.join_next().await {
        created??;
    }
    provisioner.close().await?;
    Ok(())
}

async fn create(provisioner: &Provisioner, number: u32) -> anyhow::Result<()> {
    let thing = CreateThing {
        attributes: [("line".parse()?, (number % 10).to_string().parse()?)].into(),
        ..CreateThing::default()
    };
    provisioner.registry().create_thing(format!("thing-{number:07}").parse()?, thing).await?;
    Ok(())
}

async fn register(provisioner: &Provisioner, factory: &Factory) -> anyhow::Result<()> {
    let registry = provisioner.registry();
    let code = registry.registration_code().await?;
    let verification = factory.authority().issue_verification(&code, factory.validity())?;
    let config = serde_json::from_value(serde_json::json!({
        "templateBody": TEMPLATE,
        "roleArn": "arn:aws:iam::000000000000:role/jitp",
    }))?;
    registry
        .register_ca_certificate(RegisterCaCertificate {
            ca_certificate: factory.authority().certificate().to_pem(),
            verification_certificate: Some(verification.certificate.to_pem()),
            set_as_active: true,
            allow_auto_registration: true,
            registration_config: Some(config),
            ..RegisterCaCertificate::default()
        })
        .await?;
    Ok(())
}

async fn admit_all(provisioner: &Provisioner, devices: Vec<Device>) -> anyhow::Result<()> {
    let mut under_way = JoinSet::new();
    for device in devices {
        if under_way.len() >= AT_A_TIME {
            under_way.join_next().await.transpose()?.transpose()?;
        }
        let provisioner = provisioner.clone();
        under_way.spawn(async move { admit(&provisioner, &device).await });
    }
    while let Some(admitted) = under_way.join_next().await {
        admitted??;
    }
    Ok(())
}

async fn admit(provisioner: &Provisioner, device: &Device) -> anyhow::Result<()> {
    let presentation = Presentation {
        chain: &[&device.certificate],
        leaf: None,
        client_id: &device.name,
        source: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
        server_name: Some("localhost"),
        trace: "",
    };
    match provisioner.admit(&presentation).await {
        Admission::Admitted(_) => Ok(()),
        Admission::Refused(refusal) => bail!("{} is refused: {}", device.name, refusal.message),
    }
}
