//! MQTT 3.1.1 and 5.0, statement by statement: `docs/conformance.md` says which test covers which. A comment above a test
//! names the statements that it covers, by version and without their `MQTT-`; the tests of [`page`] compare both.
#![allow(clippy::indexing_slicing, reason = "what a client was not sent is a failed test")]

mod connect;
mod encoding;
mod ending;
mod flow;
mod identity;
mod page;
mod properties;
mod publish;
mod resume;
mod retained;
mod session;
mod shared;
mod subscribe;
mod topics;
mod unsubscribe;
mod will;

use anyhow::ensure;
use jitp_tests::mqtt::{Client, Connect, Packet, Property, Publish, V3, V5, Will};
use jitp_tests::{DeviceFiles, Plant, Shared};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const VERSIONS: [u8; 2] = [V3, V5];

/// A broker of profile `standard`, and a certificate that may do everything with any client id.
struct House {
    plant: Plant,
    tester: DeviceFiles,
    clocks: AtomicU32,
}

static HOUSE: Shared<House> = Shared::new();

fn house() -> anyhow::Result<Arc<House>> {
    HOUSE.get(|| {
        let plant = Plant::new()?;
        let tester = plant.staff.device("tester")?;
        Ok(House { plant, tester, clocks: AtomicU32::new(0) })
    })
}

impl House {
    /// TLS, and no CONNECT yet.
    async fn open(&self, level: u8) -> anyhow::Result<Client> {
        Client::open(&self.plant.broker, &self.tester, level).await
    }

    /// CONNECT and the answer to it.
    async fn try_connect(&self, connect: &Connect) -> anyhow::Result<(Client, Packet)> {
        Client::try_connect(&self.plant.broker, &self.tester, connect).await
    }

    /// A client that is let in.
    async fn connect(&self, connect: &Connect) -> anyhow::Result<Client> {
        let (client, connack) = self.try_connect(connect).await?;
        ensure!(connack.connack_code()? == 0, "{connack:?}");
        Ok(client)
    }

    /// A client that is let in, with nothing but its client id.
    async fn client(&self, level: u8, client_id: &str) -> anyhow::Result<Client> {
        self.connect(&Connect::new(level, client_id)).await
    }

    /// One that has subscribed with QoS 2.
    async fn listener(&self, level: u8, client_id: &str, filter: &str) -> anyhow::Result<Client> {
        let mut client = self.client(level, client_id).await?;
        client.subscribe(filter, 2).await?;
        Ok(client)
    }

    /// What a new client is sent when it subscribes.
    async fn retained(&self, client_id: &str, filter: &str) -> anyhow::Result<Vec<Publish>> {
        let mut client = self.listener(V5, client_id, filter).await?;
        let end = format!("end-of/{client_id}");
        client.subscribe(&end, 0).await?;
        client.publish(Publish::new(&end, "", 0)).await?;
        let mut found = Vec::new();
        loop {
            let message = client.message().await?;
            if message.topic == end {
                return Ok(found);
            }
            found.push(message);
        }
    }

    /// Lets whole seconds pass, on the broker's own clock: a will comes after its delay.
    async fn pass(&self, seconds: u32) -> anyhow::Result<()> {
        let name = format!("clock-{}", self.clocks.fetch_add(1, Ordering::Relaxed));
        let mut listener = self.listener(V5, &format!("{name}-listener"), &name).await?;
        let will = Will::new(&name, "now").with(Property::WillDelay(seconds));
        drop(self.connect(&Connect::v5(&name).persistent().will(will)).await?);
        listener.message().await.map(|_| ())
    }
}

/// What an MQTT 5 client is told; one of 3.1.1 is told nothing.
fn told(level: u8, code: u8) -> Option<u8> {
    (level == V5).then_some(code)
}
