//! A fleet on real sockets, each device with a session that outlives its connection: what it weighs, what it does to a quiet
//! pair that all connections break at once, and how long it takes until all are back at a broker that was killed.
use super::super::connecting::introduce;
use super::super::idle_memory::settled;
use super::super::quiet::Pair;
use super::growth::whole;
use super::round;
use crate::api::Api;
use crate::client::{Connected, Stream, Target};
use crate::factory::Device;
use crate::frames::Frames;
use crate::lab::Lab;
use crate::mqtt;
use crate::peers::{Jitp, Kind, Peer};
use crate::process::open_files;
use crate::report::{Case, Report, Round, progress};
use crate::statistics::percentile;
use crate::usage::Meter;
use anyhow::{Context, ensure};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

/// Connections that come and go before memory is first looked at.
const WARM_UP: usize = 128;
/// Devices that arrive at the same time, when nobody measures how fast.
const AT_A_TIME: usize = 64;
/// Files of this program that are no connections of the fleet.
const OWN_FILES: u32 = 200;
/// What the project asks of itself: messages between others take at most so many times what they take otherwise.
const TARGET: f64 = 2.0;
/// A device that was sent away tries again after so long, or up to twice that.
const PAUSE: Duration = Duration::from_millis(500);
/// Whoever is not back after this never will be.
const PATIENCE: Duration = Duration::from_secs(180);
/// Commands that a sender has under way: less than any broker's window.
const WINDOW: usize = 50;
/// A figure of jitp.
const CONNECTIONS: &str = "jitp_broker_connections";

struct Cases {
    memory: Case,
    alone: Case,
    breaking: Case,
    back: Case,
    meanwhile: Case,
}

pub async fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    let count = lab.options.sockets;
    let most = open_files().saturating_sub(OWN_FILES);
    ensure!(
        count <= most,
        "{count} connections are more than the limit of open files allows, {most}: raise it (ulimit -Hn), or ask for fewer \
         with --sockets"
    );
    let devices = lab.factory.devices("scale", usize::try_from(count)?)?;
    let fleet: Arc<Vec<Device>> = Arc::new(devices.iter().map(Device::persistent).collect());
    let devices = Arc::new(devices);
    let quiet = Arc::new(lab.factory.devices("hushed", 2)?);
    let shown = whole(count);
    let mut cases = Cases {
        memory: Case::new(
            "scale",
            format!("{shown} connections, persistent, subscribed"),
            "bytes/connection",
        ),
        alone: Case::new("scale", format!("a quiet pair beside {shown} connections"), "p99 ms"),
        breaking: Case::new("scale", "a quiet pair while all of them break", "p99 ms"),
        back: Case::new(
            "scale",
            format!("{shown} come back after a kill, to a message each"),
            "s until all are back",
        ),
        meanwhile: Case::new("scale", "a quiet pair meanwhile", "p99 ms"),
    };
    for number in 0..lab.options.rounds {
        for kind in lab.options.peers.iter().filter(|kind| **kind != Kind::Ceiling) {
            progress(&format!("scale: {count} connections on {kind}"));
            let site = Site { lab, kind: *kind, number, devices: &devices, fleet: &fleet, quiet: &quiet };
            site.measure(&mut cases).await?;
        }
    }
    let Cases { memory, alone, mut breaking, back, mut meanwhile } = cases;
    for kind in &lab.options.peers {
        let target = (*kind == Kind::Jitp).then_some(TARGET);
        breaking.compare_with_itself(*kind, &alone, target);
        meanwhile.compare_with_itself(*kind, &alone, target);
    }
    [memory, alone, breaking, back, meanwhile]
        .into_iter()
        .filter(|case| !case.rounds.is_empty())
        .try_for_each(|case| report.add(case))
}

/// One peer in one round.
struct Site<'a> {
    lab: &'a Lab,
    kind: Kind,
    number: u32,
    /// The devices with sessions that end with their connections, and the same with those that do not.
    devices: &'a Arc<Vec<Device>>,
    fleet: &'a Arc<Vec<Device>>,
    quiet: &'a Arc<Vec<Device>>,
}

impl Site<'_> {
    async fn measure(&self, cases: &mut Cases) -> anyhow::Result<()> {
        let jitp = (self.kind == Kind::Jitp).then(|| Jitp::new(self.lab)).transpose()?;
        let (peer, api) = self.start(jitp.as_ref()).await?;
        let warm_up = Arc::new(self.lab.factory.devices("early", WARM_UP)?);
        introduce(&peer, &warm_up).await?;
        let before = settled(&peer).await?;
        let held = self.arrive(&peer).await?;
        let bytes = settled(&peer).await?.saturating_sub(before) as f64 / held.len() as f64;
        cases.memory.rounds.push(round(self.kind, self.number, bytes, held.len() as u64));

        let (latency, ()) = self.beside(&peer, tokio::time::sleep(self.lab.options.window())).await?;
        cases.alone.rounds.push(latency);
        let breaking = async {
            let started = Instant::now();
            drop(held);
            if let Some(api) = &api {
                // The pair stays.
                while api.metric(CONNECTIONS).await?.is_some_and(|connected| connected > 2.0) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            let noticed = started.elapsed();
            tokio::time::sleep(self.lab.options.window().saturating_sub(noticed)).await;
            anyhow::Ok(noticed)
        };
        let (latency, noticed) = self.beside(&peer, breaking).await?;
        cases.breaking.rounds.push(latency);
        if api.is_some() {
            cases
                .breaking
                .notes
                .push(format!("jitp: the last was gone {:.2} s after the first", noticed?.as_secs_f64()));
        }
        match &jitp {
            Some(jitp) => self.come_back(jitp, peer, cases).await,
            None => Ok(()),
        }
    }

    /// Known to the fleet and to the pair, and not yet used.
    async fn start(&self, jitp: Option<&Jitp>) -> anyhow::Result<(Peer, Option<Api>)> {
        let Some(jitp) = jitp else {
            return Ok((Peer::start(self.lab, self.kind).await?, None));
        };
        let peer = jitp.start(self.lab)?;
        introduce(&peer, self.devices).await?;
        introduce(&peer, self.quiet).await?;
        peer.process.terminate()?;
        let (peer, url, _) = jitp.open(self.lab)?;
        let api = Api::new(&url, jitp.data_dir())?;
        Ok((peer, Some(api)))
    }

    /// Who sends commands.
    fn sender(&self) -> anyhow::Result<&Device> {
        self.quiet.first().context("a device")
    }

    /// All connect and subscribe, at leisure.
    async fn arrive(&self, peer: &Peer) -> anyhow::Result<Vec<Connected>> {
        let mut held = Vec::with_capacity(self.fleet.len());
        let mut under_way = JoinSet::new();
        for index in 0..self.fleet.len() {
            if under_way.len() >= AT_A_TIME {
                held.extend(under_way.join_next().await.transpose()?.transpose()?);
            }
            let (target, fleet, sender) =
                (peer.target.clone(), self.fleet.clone(), self.sender()?.name.clone());
            under_way.spawn(async move {
                let device = fleet.get(index).context("a device")?;
                let mut connected = target.connect(device, target.full(device)).await?;
                connected.subscribe(&[&topic(&sender, device)], 1).await?;
                anyhow::Ok(connected)
            });
        }
        while let Some(connected) = under_way.join_next().await {
            held.push(connected??);
        }
        Ok(held)
    }

    /// The latency of the pair while something happens.
    async fn beside<T>(&self, peer: &Peer, what: impl Future<Output = T>) -> anyhow::Result<(Round, T)> {
        let mut pair = Pair::start(self.lab, peer).await?;
        let meter = Meter::start(peer.pid())?;
        pair.begin().await?;
        let came_of_it = what.await;
        let usage = meter.stop()?;
        Ok((pair.end().await?.round(self.kind, self.number, usage), came_of_it))
    }

    /// A command for each waits, the broker is killed and starts again, and all come at once.
    async fn come_back(&self, jitp: &Jitp, peer: Peer, cases: &mut Cases) -> anyhow::Result<()> {
        let sender = self.sender()?;
        let connected = peer.target.connect(sender, peer.target.full(sender)).await?;
        command_all(connected.stream, &sender.name, self.fleet).await?;
        drop(peer);
        let (peer, _, ready) = jitp.open(self.lab)?;
        progress("scale: all come back");
        let returned = async {
            let meter = Meter::start(peer.pid())?;
            let returned = Returned::of(&peer, self.fleet).await?;
            anyhow::Ok((returned, meter.stop()?))
        };
        let (latency, returned) = self.beside(&peer, returned).await?;
        let (mut returned, usage) = returned?;
        cases.meanwhile.rounds.push(latency);
        cases.back.rounds.push(Round {
            usage: Some(usage),
            p50_micros: percentile(&mut returned.micros, 0.5),
            p99_micros: percentile(&mut returned.micros, 0.99),
            failures: (self.fleet.len() - returned.micros.len()) as u64,
            ..round(self.kind, self.number, usage.seconds, returned.micros.len() as u64)
        });
        cases.back.notes.push(format!(
            "the broker was ready {:.2} s after its start; {} were sent away before they got in",
            ready.as_secs_f64(),
            returned.sent_away
        ));
        Ok(())
    }
}

/// Who is back, and has what waited.
struct Returned {
    /// How long each took, from when all began.
    micros: Vec<u32>,
    /// Tries in vain.
    sent_away: u64,
    /// Kept until the end.
    _held: Vec<Connected>,
}

impl Returned {
    async fn of(peer: &Peer, fleet: &Arc<Vec<Device>>) -> anyhow::Result<Self> {
        let started = Instant::now();
        let mut under_way = JoinSet::new();
        for index in 0..fleet.len() {
            let (target, fleet) = (peer.target.clone(), fleet.clone());
            under_way.spawn(async move {
                let device = fleet.get(index).context("a device")?;
                tokio::time::timeout(PATIENCE, back(&target, device, index, started)).await?
            });
        }
        let (mut micros, mut sent_away, mut held) = (Vec::new(), 0, Vec::new());
        while let Some(one) = under_way.join_next().await {
            if let Ok((connected, took, tries)) = one? {
                micros.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
                sent_away += tries;
                held.push(connected);
            }
        }
        Ok(Self { micros, sent_away, _held: held })
    }
}

/// Connects, however often that takes, and waits for the command. Gives how long it took, and how often it was sent away.
async fn back(
    target: &Target,
    device: &Device,
    index: usize,
    started: Instant,
) -> anyhow::Result<(Connected, Duration, u64)> {
    let mut tries = 0;
    loop {
        if let Ok(mut connected) = target.connect(device, target.full(device)).await {
            take_command(&mut connected.stream).await?;
            return Ok((connected, started.elapsed(), tries));
        }
        tries += 1;
        // Not all of them at the same moment again.
        let share = (index % 97) as u32;
        tokio::time::sleep(PAUSE + PAUSE * share / 97).await;
    }
}

/// Reads up to a PUBLISH, and acknowledges it.
async fn take_command(stream: &mut Stream) -> anyhow::Result<()> {
    let (mut frames, mut buffer, mut acknowledgement) = (Frames::default(), [0; 512], Vec::new());
    while acknowledgement.is_empty() {
        let length = stream.read(&mut buffer).await?;
        ensure!(length > 0, "closed before the command came");
        frames.feed(buffer.get(..length).unwrap_or_default(), |packet| {
            if let (mqtt::PUBLISH, Some(id)) = (packet.kind(), packet.packet_id()) {
                mqtt::answer(&mut acknowledgement, mqtt::PUBACK, id);
            }
        })?;
    }
    stream.write_all(&acknowledgement).await?;
    Ok(stream.flush().await?)
}

/// Sends each device a message of QoS 1, and waits until all are acknowledged.
async fn command_all(mut sender: Stream, name: &str, fleet: &[Device]) -> anyhow::Result<()> {
    let (mut frames, mut buffer) = (Frames::default(), vec![0; 4096]);
    for some in fleet.chunks(WINDOW) {
        let mut batch = Vec::new();
        for (id, device) in (1..).zip(some) {
            mqtt::publish(&mut batch, &topic(name, device), b"command", Some((1, id)));
        }
        sender.write_all(&batch).await?;
        sender.flush().await?;
        let mut acknowledged = 0;
        while acknowledged < some.len() {
            let length = sender.read(&mut buffer).await?;
            ensure!(length > 0, "the sender was disconnected");
            frames.feed(buffer.get(..length).unwrap_or_default(), |packet| {
                acknowledged += usize::from(packet.kind() == mqtt::PUBACK);
            })?;
        }
    }
    Ok(())
}

/// Policies let devices publish below their own names only.
fn topic(sender: &str, device: &Device) -> String {
    format!("bench/{sender}/{}", device.name)
}
