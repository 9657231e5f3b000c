//! The broker, and those who look after it while scripts are played, one after the other.
use crate::connection::{Arrived, Connection};
use crate::model::script::{Acknowledges, CLIENTS, Connect, TOPICS, speaks_5};
use anyhow::Context;
use jitp_broker::message::QoS;
use jitp_tests::{DeviceFiles, Plant, Watcher};
use std::collections::BTreeMap;

/// Where a message is retained that tells how far the broker has stored things.
pub const STORED: &str = "stored";
/// Marks are below it, one topic for each client.
pub const MARKS: &str = "mark/";

const DISCONNECTED: &str = "$aws/events/presence/disconnected/";

/// A broker that is restarted and killed, and a certificate that may do everything with any client id.
pub struct House {
    /// `None` only while it is replaced.
    plant: Option<Plant>,
    tester: DeviceFiles,
    /// Hears of every connection that ends.
    watcher: Watcher,
    keeper: Connection,
    marks: usize,
}

/// A CONNECT that the script does not have.
pub fn plain(client: usize, clean: bool) -> Connect {
    Connect {
        client,
        v5: speaks_5(client),
        clean,
        expiry: if clean { 0 } else { 1_000_000 },
        receive_maximum: u16::MAX,
        acknowledges: Acknowledges::Everything,
        will: None,
    }
}

pub fn client_id(client: usize) -> String {
    format!("c{client}")
}

impl House {
    pub async fn open() -> anyhow::Result<Self> {
        let plant = tokio::task::block_in_place(Plant::new)?;
        let tester = plant.staff.device("tester")?;
        let (watcher, keeper) = look_after(&plant, &tester).await?;
        Ok(Self { plant: Some(plant), tester, watcher, keeper, marks: 0 })
    }

    /// Nothing is left of what was before.
    pub async fn clean(&mut self) -> anyhow::Result<()> {
        for client in 0..CLIENTS {
            self.connect(&plain(client, true), None).await?.disconnect().await?;
            self.heard_of_the_end_of(client).await?;
        }
        for topic in TOPICS.iter().filter(|topic| !topic.starts_with('$')) {
            self.keeper.publish(topic, QoS::AtLeastOnce, true, String::new()).await?;
        }
        Ok(())
    }

    /// A client of the script connects. `will`: the number of its will.
    pub async fn connect(&self, connect: &Connect, will: Option<usize>) -> anyhow::Result<Connection> {
        let broker = &self.plant.as_ref().context("no broker")?.broker;
        let client_id = client_id(connect.client);
        Connection::open(broker, &self.tester, &client_id, connect, will).await
    }

    /// One more connection of a client has ended, and its will is published.
    pub async fn heard_of_the_end_of(&mut self, client: usize) -> anyhow::Result<()> {
        let topic = format!("{DISCONNECTED}{}", client_id(client));
        self.watcher.until("the end of a connection", |message| message.topic == topic).await.map(|_| ())
    }

    /// A mark that was not there yet.
    pub fn mark(&mut self) -> String {
        self.marks += 1;
        self.marks.to_string()
    }

    /// Everything that the broker has done before is stored: a retained message is acknowledged when it is, and everything
    /// is stored in order.
    pub async fn settle(&mut self) -> anyhow::Result<()> {
        let mark = self.mark();
        self.keeper.publish(STORED, QoS::AtLeastOnce, true, mark).await
    }

    /// What is retained on the topics of the scripts, as a new subscriber is sent it.
    pub async fn retained(&mut self) -> anyhow::Result<BTreeMap<String, usize>> {
        self.keeper.listen("#").await?;
        let (topic, mark) = (format!("{MARKS}keeper"), self.mark());
        self.keeper.begin_to_mark(&topic, &mark).await?;
        let came = self.keeper.until_marked(&topic, &mark).await?;
        self.keeper.unsubscribe("#").await?;
        let of_script = |message: &Arrived| message.retain && message.topic != STORED;
        came.into_iter()
            .filter(of_script)
            .map(|message| Ok((message.topic, message.payload.parse().context("no number")?)))
            .collect()
    }

    /// SIGTERM, and the broker ends.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let plant = self.plant.as_mut().context("no broker")?;
        let code = tokio::task::block_in_place(|| plant.broker.terminate())?;
        anyhow::ensure!(code == Some(0), "the broker ended with {code:?}: {}", plant.broker.log());
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.plant.as_mut().context("no broker")?.broker.kill()
    }

    /// The broker is started again.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        let plant = self.plant.take().context("no broker")?;
        let plant = tokio::task::block_in_place(|| plant.restart())?;
        (self.watcher, self.keeper) = look_after(&plant, &self.tester).await?;
        self.plant = Some(plant);
        Ok(())
    }
}

async fn look_after(plant: &Plant, tester: &DeviceFiles) -> anyhow::Result<(Watcher, Connection)> {
    let watcher = plant.watcher("watcher", &[&format!("{DISCONNECTED}#")]).await?;
    let keeper = Connection::open(&plant.broker, tester, "keeper", &plain(0, true), None).await?;
    Ok((watcher, keeper))
}
