//! Many devices connecting, some at a time: from TCP connect to CONNACK, then DISCONNECT.
use super::lanes::{self, Work};
use crate::client::{Connected, Target};
use crate::factory::Device;
use crate::peers::Peer;
use crate::report::Round;
use rustls::ClientConfig;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How many connect at the same time where the connections are kept.
const KEPT_AT_A_TIME: usize = 32;

/// Who connects, in which order, with which settings.
pub trait Visitors: Send + Sync + 'static {
    /// The visitor of this number; `None`: there are no more.
    fn visitor(&self, number: usize, target: &Target) -> Option<(&Device, Arc<ClientConfig>)>;
}

/// Each device once, with full handshakes.
pub struct Once(pub Arc<Vec<Device>>);

/// What came of it.
pub struct Connections {
    pub round: Round,
    /// How many handshakes were abbreviated.
    pub resumed: u64,
}

impl Visitors for Once {
    fn visitor(&self, number: usize, target: &Target) -> Option<(&Device, Arc<ClientConfig>)> {
        self.0.get(number).map(|device| (device, target.full(device)))
    }
}

/// Lets visitors connect until there are no more or the time is over.
pub async fn measure<V: Visitors>(
    peer: &Peer,
    round: u32,
    visitors: Arc<V>,
    time: Duration,
) -> anyhow::Result<Connections> {
    let target = peer.target.clone();
    let connecting = Arc::new(Connecting { target, visitors, resumed: AtomicU64::new(0) });
    let round = lanes::measure(peer, round, connecting.clone(), time).await?;
    Ok(Connections { round, resumed: connecting.resumed.load(Ordering::Relaxed) })
}

/// Connects every device once and says goodbye: for a server to know them.
pub async fn introduce(peer: &Peer, devices: &Arc<Vec<Device>>) -> anyhow::Result<()> {
    let ample = Duration::from_secs(600);
    measure(peer, 0, Arc::new(Once(devices.clone())), ample).await.map(|_| ())
}

/// Connects every device once and keeps the connections.
pub async fn connect_all(peer: &Peer, devices: &Arc<Vec<Device>>) -> anyhow::Result<Vec<Connected>> {
    let mut held = Vec::new();
    let mut under_way = JoinSet::new();
    for index in 0..devices.len() {
        if under_way.len() >= KEPT_AT_A_TIME {
            held.extend(under_way.join_next().await.transpose()?.transpose()?.flatten());
        }
        let (target, devices) = (peer.target.clone(), devices.clone());
        under_way.spawn(async move {
            let Some(device) = devices.get(index) else { return Ok(None) };
            target.connect(device, target.full(device)).await.map(Some)
        });
    }
    while let Some(connected) = under_way.join_next().await {
        held.extend(connected??);
    }
    Ok(held)
}

struct Connecting<V> {
    target: Arc<Target>,
    visitors: Arc<V>,
    resumed: AtomicU64,
}

impl<V: Visitors> Work for Connecting<V> {
    async fn piece(&self, number: usize) -> Option<anyhow::Result<Duration>> {
        let (device, config) = self.visitors.visitor(number, &self.target)?;
        let started = Instant::now();
        let connected = match self.target.connect(device, config).await {
            Ok(connected) => connected,
            Err(error) => return Some(Err(error)),
        };
        let took = started.elapsed();
        if connected.resumed {
            self.resumed.fetch_add(1, Ordering::Relaxed);
        }
        connected.disconnect().await;
        Some(Ok(took))
    }
}
