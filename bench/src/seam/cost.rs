//! What a session costs among so many others: everything that happens to it, a thousand times, in processor time.
use super::fleet::{Fleet, on_lanes, subscribe, topic};
use crate::arguments::SessionCost;
use crate::process::resident_bytes;
use crate::statistics::median;
use anyhow::{Context, ensure};
use jitp_broker::message::{Delivery, Message, QoS};
use jitp_broker::session::SessionHandle;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::time::Duration;

/// So many of the sessions, evenly among all, do what is measured. The same number in every fleet, so that what differs is what
/// the others cost, and not how much memory is touched.
const ACTIVE: u32 = 1000;
/// How often; the median counts.
const PASSES: usize = 15;
/// Every device reports here, and one subscriber reads it all.
const FLEET_WIDE: &str = "fleet/+/status";

/// What was found out.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Costs {
    /// Memory of a session with one subscription.
    pub bytes_connected: f64,
    /// The same while its device is away; durable ones only.
    pub bytes_away: Option<f64>,
    /// Steps and their processor time, in microseconds.
    pub micros: Vec<(String, f64)>,
}

/// Measures, and writes [`Costs`] as JSON.
pub async fn run(asked: SessionCost) -> anyhow::Result<()> {
    let (fleet, provisioner) = match &asked.data_dir {
        Some(data_dir) => {
            let (fleet, provisioner) = Fleet::durable(data_dir).await?;
            (fleet, Some(provisioner))
        }
        None => (Fleet::clean(), None),
    };
    let costs = measure(&fleet, asked.sessions).await?;
    drop(fleet);
    if let Some(provisioner) = provisioner {
        provisioner.close().await?;
    }
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(&costs)?)?)
}

async fn measure(fleet: &Fleet, sessions: u32) -> anyhow::Result<Costs> {
    let mut costs = Costs::default();
    let mut reader = fleet.open_clean("reader").await?;
    subscribe(&mut reader, FLEET_WIDE, QoS::AtMostOnce).await?;
    let mut commander = fleet.open_clean("commander").await?;
    let step = (sessions / ACTIVE).max(1);
    let (active, others): (Vec<u32>, Vec<u32>) =
        (0..sessions).partition(|device| device % step == 0 && device / step < ACTIVE);

    let (before, begun) = (resident()?, processor_time());
    let others = fleet.arrive(others).await?;
    let mut active = fleet.arrive(active).await?;
    come_to_rest(fleet).await;
    let first = per(processor_time() - begun, sessions as usize);
    costs.bytes_connected = (settled(fleet).await? - before) / f64::from(sessions);
    costs.micros.push(("connect for the first time, subscribe".to_owned(), first));

    let mut passes = Passes::default();
    for _ in 0..PASSES {
        active = pass(fleet, active, &mut commander, &mut reader, &mut passes).await?;
    }
    costs.micros.extend(passes.medians());
    if fleet.qos() > QoS::AtMostOnce {
        drop((others, active));
        costs.bytes_away = Some((settled(fleet).await? - before) / f64::from(sessions));
    }
    Ok(costs)
}

/// Waits until nothing is left to do. What arriving leaves for later, as to bring what the redo log holds into the trees, is a cost of
/// arriving, and none of what comes next.
async fn come_to_rest(fleet: &Fleet) {
    const LOOK: Duration = Duration::from_millis(300);
    fleet.backend.settled().await;
    loop {
        let before = processor_time();
        tokio::time::sleep(LOOK).await;
        if processor_time() - before < LOOK / 100 {
            return;
        }
    }
}

/// Everything once.
async fn pass(
    fleet: &Fleet,
    mut active: Vec<(u32, SessionHandle)>,
    commander: &mut SessionHandle,
    reader: &mut SessionHandle,
    passes: &mut Passes,
) -> anyhow::Result<Vec<(u32, SessionHandle)>> {
    let count = active.len();
    let topics: Vec<String> = active.iter().map(|(device, _)| topic(*device)).collect();
    let step = Step::begin("publish to a device, which acknowledges");
    for ((_, session), topic) in active.iter_mut().zip(&topics) {
        commander.publish(Message::new(topic.as_str(), "command", fleet.qos()))?;
        ensure!(take_all(session) == 1, "the command did not come");
    }
    commander.settled().await?;
    step.end(count, passes);

    let topics: Vec<String> = topics.iter().map(|topic| topic.replace("commands", "status")).collect();
    let step = Step::begin("a device publishes to the fleet-wide subscriber");
    for ((_, session), topic) in active.iter_mut().zip(&topics) {
        session.publish(Message::new(topic.as_str(), "status", QoS::AtMostOnce))?;
    }
    let mut came = 0;
    while came < count {
        let taken = take_all(reader);
        ensure!(taken > 0, "only {came} of {count} messages came");
        came += taken;
    }
    step.end(count, passes);

    let devices: Vec<u32> = active.iter().map(|(device, _)| *device).collect();
    let step = Step::begin("the connection breaks");
    drop(active);
    fleet.backend.settled().await;
    step.end(count, passes);

    let step = Step::begin("connect again");
    let opening = fleet.clone();
    let open = move |device| {
        let fleet = opening.clone();
        async move { Ok((device, fleet.open(device).await?)) }
    };
    let opened = on_lanes(devices, open).await?;
    step.end(count, passes);

    let step = Step::begin("subscribe");
    let subscribing = fleet.clone();
    let subscribe = move |(device, mut session): (u32, SessionHandle)| {
        let fleet = subscribing.clone();
        async move {
            fleet.subscribe(device, &mut session).await?;
            Ok((device, session))
        }
    };
    let active = on_lanes(opened, subscribe).await?;
    step.end(count, passes);
    Ok(active)
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

    fn end(self, count: usize, passes: &mut Passes) {
        passes.add(self.name, per(processor_time() - self.begun, count));
    }
}

/// What the steps cost in each pass, in the order of the steps.
#[derive(Default)]
struct Passes(Vec<(&'static str, Vec<f64>)>);

impl Passes {
    fn add(&mut self, name: &'static str, micros: f64) {
        match self.0.iter_mut().find(|(step, _)| *step == name) {
            Some((_, all)) => all.push(micros),
            None => self.0.push((name, vec![micros])),
        }
    }

    fn medians(&self) -> impl Iterator<Item = (String, f64)> {
        self.0.iter().filter_map(|(name, all)| Some(((*name).to_owned(), median(all)?)))
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
