//! What a session costs among so many others: everything that happens to it, a thousand times, in processor time. In a process of
//! its own, that does so whenever it is told to: so fleets of several sizes can be measured in turns.
use super::fleet::{Fleet, on_lanes, subscribe, topic};
use crate::arguments::SessionCost;
use crate::orders::orders;
use crate::process::resident_bytes;
use anyhow::{Context, bail, ensure};
use jitp_broker::message::{Delivery, Message, QoS};
use jitp_broker::session::SessionHandle;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::time::{Duration, Instant};

/// So many of the sessions, evenly among all, do what is measured. The same number in every fleet, so that what differs is what
/// the others cost, and not how much memory is touched.
const ACTIVE: u32 = 1000;
/// Every device reports here, and one subscriber reads it all.
const FLEET_WIDE: &str = "fleet/+/status";
/// What arriving leaves to be done takes some seconds for very many.
const PATIENCE: Duration = Duration::from_secs(120);
/// An order: everything once.
pub const PASS: &str = "pass";
/// An order, the last one: all leave.
pub const LEAVE: &str = "leave";

/// What is said before the first order: what it took until all were there.
#[derive(Debug, Serialize, Deserialize)]
pub struct Arrived {
    /// Processor time of one of them, in microseconds, with what it left to be done.
    pub micros: f64,
    /// Memory of a session with one subscription.
    pub bytes: f64,
}

/// The answer to [`PASS`]: the steps and their processor time, in microseconds.
pub type Steps = Vec<(String, f64)>;

/// The answer to [`LEAVE`]: memory of a session while its device is away; durable ones only.
pub type Away = Option<f64>;

/// Lets a fleet arrive, and obeys the orders in its input until that ends.
///
/// On one thread: how often several wait for each other depends on what else the machine does, and not on the fleet.
pub async fn run(asked: SessionCost) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(obey(asked))
    })
    .await?
}

async fn obey(asked: SessionCost) -> anyhow::Result<()> {
    let (fleet, provisioner) = match &asked.data_dir {
        Some(data_dir) => {
            let (fleet, provisioner) = Fleet::durable(data_dir).await?;
            (fleet, Some(provisioner))
        }
        None => (Fleet::clean(), None),
    };
    let (mut site, arrived) = Site::settle(fleet, asked.sessions).await?;
    let mut orders = orders();
    answer(&arrived)?;
    while let Some(order) = orders.recv().await {
        match order.as_str() {
            PASS => answer(&site.pass().await?)?,
            LEAVE => answer(&site.leave().await?)?,
            other => bail!("{other:?} is no order"),
        }
    }
    drop(site);
    match provisioner {
        Some(provisioner) => Ok(provisioner.close().await?),
        None => Ok(()),
    }
}

fn answer(what: &impl Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(what)?)?;
    Ok(out.flush()?)
}

/// A fleet that is there.
struct Site {
    fleet: Fleet,
    sessions: u32,
    /// Memory of this process before they came.
    before: f64,
    /// Of the fleet-wide subscription.
    reader: SessionHandle,
    /// Whoever sends commands to devices.
    commander: SessionHandle,
    active: Vec<(u32, SessionHandle)>,
    others: Vec<(u32, SessionHandle)>,
}

impl Site {
    /// All come.
    async fn settle(fleet: Fleet, sessions: u32) -> anyhow::Result<(Self, Arrived)> {
        let mut reader = fleet.open_clean("reader").await?;
        subscribe(&mut reader, FLEET_WIDE, QoS::AtMostOnce).await?;
        let commander = fleet.open_clean("commander").await?;
        let step = (sessions / ACTIVE).max(1);
        let (active, others): (Vec<u32>, Vec<u32>) =
            (0..sessions).partition(|device| device % step == 0 && device / step < ACTIVE);
        let (before, begun) = (resident()?, processor_time());
        let others = fleet.arrive(others).await?;
        let active = fleet.arrive(active).await?;
        come_to_rest(&fleet).await?;
        let micros = per(processor_time() - begun, sessions as usize);
        let bytes = (settled(&fleet).await? - before) / f64::from(sessions);
        let site = Self { fleet, sessions, before, reader, commander, active, others };
        Ok((site, Arrived { micros, bytes }))
    }

    /// Everything twice: the first time brings back into the caches what other fleets, and what was done before, have driven out of
    /// them meanwhile.
    async fn pass(&mut self) -> anyhow::Result<Steps> {
        let mut steps = Steps::new();
        self.newcomers(&mut Steps::new()).await?;
        self.newcomers(&mut steps).await?;
        self.messages(&mut Steps::new()).await?;
        self.messages(&mut steps).await?;
        self.reconnection(&mut Steps::new()).await?;
        self.reconnection(&mut steps).await?;
        Ok(steps)
    }

    /// As many as are active, whom nobody knows, connect. Then they are forgotten again. They are the same each time, as the active
    /// ones are: where they have their places in the tables is in the caches, or it is not, in every fleet.
    async fn newcomers(&self, steps: &mut Steps) -> anyhow::Result<()> {
        let nobody_knows = (self.sessions..).take(self.active.len()).collect();
        let step = Step::begin("connect for the first time, subscribe");
        let newcomers = self.fleet.arrive(nobody_knows).await?;
        step.end(newcomers.len(), steps);
        self.fleet.forget(newcomers).await;
        Ok(())
    }

    /// To the devices, and from them.
    async fn messages(&mut self, steps: &mut Steps) -> anyhow::Result<()> {
        let count = self.active.len();
        let topics: Vec<String> = self.active.iter().map(|(device, _)| topic(*device)).collect();
        let step = Step::begin("publish to a device, which acknowledges");
        for ((_, session), topic) in self.active.iter_mut().zip(&topics) {
            self.commander.publish(Message::new(topic.as_str(), "command", self.fleet.qos()))?;
            ensure!(take_all(session) == 1, "the command did not come");
        }
        self.commander.settled().await?;
        step.end(count, steps);

        let topics: Vec<String> = topics.iter().map(|topic| topic.replace("commands", "status")).collect();
        let step = Step::begin("a device publishes to the fleet-wide subscriber");
        for ((_, session), topic) in self.active.iter_mut().zip(&topics) {
            session.publish(Message::new(topic.as_str(), "status", QoS::AtMostOnce))?;
        }
        let mut came = 0;
        while came < count {
            let taken = take_all(&mut self.reader);
            ensure!(taken > 0, "only {came} of {count} messages came");
            came += taken;
        }
        step.end(count, steps);
        Ok(())
    }

    /// Connections break, and the devices come again.
    async fn reconnection(&mut self, steps: &mut Steps) -> anyhow::Result<()> {
        let count = self.active.len();
        let devices: Vec<u32> = self.active.iter().map(|(device, _)| *device).collect();
        let step = Step::begin("the connection breaks");
        drop(std::mem::take(&mut self.active));
        self.fleet.backend.settled().await;
        step.end(count, steps);

        let step = Step::begin("connect again");
        let opening = self.fleet.clone();
        let open = move |device| {
            let fleet = opening.clone();
            async move { Ok((device, fleet.open(device).await?)) }
        };
        let opened = on_lanes(devices, open).await?;
        step.end(count, steps);

        let step = Step::begin("subscribe");
        let subscribing = self.fleet.clone();
        let subscribe = move |(device, mut session): (u32, SessionHandle)| {
            let fleet = subscribing.clone();
            async move {
                fleet.subscribe(device, &mut session).await?;
                Ok((device, session))
            }
        };
        self.active = on_lanes(opened, subscribe).await?;
        step.end(count, steps);
        Ok(())
    }

    /// All connections break.
    async fn leave(&mut self) -> anyhow::Result<Away> {
        self.others.clear();
        self.active.clear();
        let after = settled(&self.fleet).await?;
        let durable = self.fleet.qos() > QoS::AtMostOnce;
        Ok(durable.then(|| (after - self.before) / f64::from(self.sessions)))
    }
}

/// Waits until nothing is left to do. What arriving leaves for later, as to bring what the redo log holds into the trees, is a cost of
/// arriving, and none of what comes next.
async fn come_to_rest(fleet: &Fleet) -> anyhow::Result<()> {
    const LOOK: Duration = Duration::from_millis(300);
    let begun = Instant::now();
    fleet.backend.settled().await;
    loop {
        let before = processor_time();
        tokio::time::sleep(LOOK).await;
        let used = processor_time() - before;
        if used < LOOK / 100 {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < PATIENCE,
            "{:?} after the last device has come there is still something done that keeps {:.2} processors busy: what a session \
             costs cannot be told apart from it",
            begun.elapsed(),
            used.as_secs_f64() / LOOK.as_secs_f64()
        );
    }
}

/// Takes what is in the mailbox, and acknowledges it.
fn take_all(session: &mut SessionHandle) -> usize {
    let mut mail: Vec<Delivery> = Vec::new();
    session.drain(usize::MAX, &mut mail);
    let count = mail.len();
    for (packet_id, delivery) in (1..).zip(mail) {
        if delivery.qos > QoS::AtMostOnce {
            session.sent(packet_id, delivery);
            session.acknowledged(packet_id);
        }
    }
    count
}

/// A step that is under way.
struct Step {
    name: &'static str,
    begun: Duration,
}

impl Step {
    fn begin(name: &'static str) -> Self {
        Self { name, begun: processor_time() }
    }

    fn end(self, count: usize, steps: &mut Steps) {
        steps.push((self.name.to_owned(), per(processor_time() - self.begun, count)));
    }
}

fn per(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count.max(1) as f64
}

/// Of this process, all threads together.
fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

fn resident() -> anyhow::Result<f64> {
    Ok(resident_bytes(std::process::id())? as f64)
}

/// Memory when everything is stored that has to be.
async fn settled(fleet: &Fleet) -> anyhow::Result<f64> {
    fleet.backend.settled().await;
    resident().context("the memory of this process")
}
