//! Devices whose connections are this process: each with a session and a subscription of its own.
use anyhow::Context;
use jitp_broker::backend::{
    Backend, BackendOptions, OpenRequest, ProtocolVersion, SessionEnd, SubscribeOptions,
};
use jitp_broker::message::QoS;
use jitp_broker::session::SessionHandle;
use jitp_broker::topic::{Filter, TopicLimits};
use jitp_broker::{Limits, Profile};
use jitp_provisioner::{Options, Provisioner, SystemClock};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How many devices do something at the same time, at least and at most: those of durable sessions wait for the disk together,
/// and where there are very many, more of them do.
const LANES: (usize, usize) = (256, 4096);
/// So many of them in each lane, within these bounds.
const EACH: usize = 64;
/// A session waits so long for its device.
const EXPIRY: Duration = Duration::from_secs(3600);

/// A backend, and what its devices have in common.
#[derive(Clone)]
pub struct Fleet {
    pub backend: Backend,
    durable: bool,
}

impl Fleet {
    /// Sessions that end with their connections.
    pub fn clean() -> Self {
        Self { backend: Backend::start(options()), durable: false }
    }

    /// Sessions that outlive their connections and this process, over the registry of a data directory, which must be closed at
    /// the end.
    pub async fn durable(data_dir: &Path) -> anyhow::Result<(Self, Provisioner)> {
        std::fs::create_dir_all(data_dir)?;
        let clock = Arc::new(SystemClock);
        let provisioner = Provisioner::open(data_dir, Options::default(), clock.clone()).await?;
        let backend = Backend::restore(options(), provisioner.sessions(), clock, &|_, _, _| None).await?;
        Ok((Self { backend, durable: true }, provisioner))
    }

    /// The QoS of the devices' messages: what is worth keeping for durable sessions.
    pub fn qos(&self) -> QoS {
        if self.durable { QoS::AtLeastOnce } else { QoS::AtMostOnce }
    }

    /// Opens the session of a device, or resumes it.
    pub async fn open(&self, device: u32) -> anyhow::Result<SessionHandle> {
        self.open_as(&client_id(device), self.durable).await
    }

    /// Opens a session that nothing is stored of.
    pub async fn open_clean(&self, client_id: &str) -> anyhow::Result<SessionHandle> {
        self.open_as(client_id, false).await
    }

    async fn open_as(&self, client_id: &str, durable: bool) -> anyhow::Result<SessionHandle> {
        let request = OpenRequest {
            client_id: client_id.into(),
            certificate: None,
            version: ProtocolVersion::V5,
            clean_start: !durable,
            session_expiry: if durable { EXPIRY } else { Duration::ZERO },
            receive_maximum: u16::MAX,
            will: None,
        };
        Ok(self.backend.open(request).await?.session)
    }

    /// Subscribes a device to its own topic; stored if the session is.
    pub async fn subscribe(&self, device: u32, session: &mut SessionHandle) -> anyhow::Result<()> {
        subscribe(session, &topic(device), self.qos()).await
    }

    /// Breaks connections, and forgets the sessions.
    pub async fn forget(&self, devices: Vec<(u32, SessionHandle)>) {
        let names: Vec<String> = devices.iter().map(|(device, _)| client_id(*device)).collect();
        drop(devices);
        self.backend.settled().await;
        let end = SessionEnd::Administrative { prevent_will: true, clean_session: true };
        for name in names {
            self.backend.disconnect(&name, end);
        }
        self.backend.settled().await;
    }

    /// Opens and subscribes many devices.
    pub async fn arrive(&self, devices: Vec<u32>) -> anyhow::Result<Vec<(u32, SessionHandle)>> {
        let fleet = self.clone();
        on_lanes(devices, move |device| {
            let fleet = fleet.clone();
            async move {
                let mut session = fleet.open(device).await?;
                fleet.subscribe(device, &mut session).await?;
                Ok((device, session))
            }
        })
        .await
    }
}

/// Of a device.
fn client_id(device: u32) -> String {
    format!("device-{device:07}")
}

/// Subscribes, and waits until that is stored.
pub async fn subscribe(session: &mut SessionHandle, filter: &str, qos: QoS) -> anyhow::Result<()> {
    let filter = Filter::parse(filter, TopicLimits { bytes: 1024, levels: 32 })?;
    session.subscribe(&filter, SubscribeOptions { qos, ..SubscribeOptions::default() }).await?;
    Ok(session.settled().await?)
}

/// Where a device gets its commands.
pub fn topic(device: u32) -> String {
    format!("fleet/{device:07}/commands")
}

/// Does something with each, some at the same time. The results are in no particular order.
pub async fn on_lanes<T, U, W>(
    items: Vec<T>,
    work: impl Fn(T) -> W + Clone + Send + 'static,
) -> anyhow::Result<Vec<U>>
where
    T: Send + 'static,
    U: Send + 'static,
    W: Future<Output = anyhow::Result<U>> + Send,
{
    let mut items = items.into_iter();
    let lanes = (items.len() / EACH).clamp(LANES.0, LANES.1);
    let each = items.len().div_ceil(lanes).max(1);
    let (mut lanes, mut done) = (JoinSet::new(), Vec::with_capacity(items.len()));
    while items.len() > 0 {
        let (lane, work) = (items.by_ref().take(each).collect::<Vec<_>>(), work.clone());
        lanes.spawn(async move {
            let mut done = Vec::with_capacity(lane.len());
            for item in lane {
                done.push(work(item).await?);
            }
            anyhow::Ok(done)
        });
    }
    while let Some(lane) = lanes.join_next().await {
        done.extend(lane.context("a lane has ended")??);
    }
    Ok(done)
}

fn options() -> BackendOptions {
    // As many messages as are wanted: bounds are not what is measured.
    let limits = Limits { retained_messages: usize::MAX, ..Limits::default() };
    BackendOptions { stored_messages: u64::MAX, ..BackendOptions::new(&limits, Profile::Standard) }
}
