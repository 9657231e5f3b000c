//! What publishing, subscribing and disconnecting cost with few and with many devices.
//!
//! Every device has a session and a filter of its own (`fleet/<n>/commands`); one wildcard subscriber sees the whole
//! fleet (`fleet/+/state`). The same thousand devices are active in both fleets: so the figures tell what it costs that
//! there are a hundred times more others, and must differ by less than a factor of 2. "Any device" goes to all of them
//! in turn instead: that adds the cache misses of memory that was not touched for long. "One look-up" is what a single
//! such miss costs on the machine at hand, a hash table of as many devices and nothing else: no broker can do with less.
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a benchmark that cannot run should stop, and says what it measured"
)]
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hashbrown::HashMap;
use jitp_broker::backend::{Backend, BackendOptions, Close, OpenRequest, ProtocolVersion, SubscribeOptions};
use jitp_broker::message::{Message, QoS};
use jitp_broker::session::SessionHandle;
use jitp_broker::topic::{Filter, TopicLimits};
use jitp_broker::{Limits, Profile};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LIMITS: TopicLimits = TopicLimits { bytes: 256, levels: 8 };

fn main_benches(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    for devices in [1_000, 100_000] {
        let before = resident_bytes();
        let mut fleet = Fleet::connect(&runtime, devices);
        let per_device = resident_bytes().saturating_sub(before) / devices;
        eprintln!("{devices} devices: {per_device} bytes each, session, handle and filter together");
        fleet.bench(c, &runtime);
        drop(fleet);
        look_up(c, devices);
    }
    fan_out(c, &runtime);
    fan_in(c, &runtime);
}

/// Devices with a session each, and one subscriber of all.
struct Fleet {
    backend: Backend,
    /// By number; `None` only while a device is away.
    sessions: Vec<Option<SessionHandle>>,
    watcher: SessionHandle,
    turn: usize,
}

impl Fleet {
    fn connect(runtime: &Runtime, devices: usize) -> Self {
        let backend = Backend::start(BackendOptions::new(&Limits::default(), Profile::Standard));
        let mut sessions = Vec::with_capacity(devices);
        for n in 0..devices {
            sessions.push(Some(runtime.block_on(connect(&backend, n))));
        }
        let watcher = runtime.block_on(subscriber(&backend, "watcher", "fleet/+/state"));
        Self { backend, sessions, watcher, turn: 0 }
    }

    fn bench(&mut self, c: &mut Criterion, runtime: &Runtime) {
        let devices = self.sessions.len();
        let mut mail = Vec::new();
        let mut group = c.benchmark_group(format!("{devices} devices"));
        for (name, among) in [("an active device", ACTIVE), ("any device", devices)] {
            group.bench_function(format!("publish to {name}"), |b| {
                b.iter_custom(|iterations| self.publish(iterations, among));
            });
        }
        group.bench_function("publish to the wildcard subscriber, which drains", |b| {
            b.iter(|| {
                let message =
                    Message::new(format!("fleet/{}/state", self.turn(ACTIVE)), "payload", QoS::AtMostOnce);
                black_box(self.backend.publish(message)).expect("published");
                self.watcher.drain(10, &mut mail);
                assert_eq!(mail.len(), 1);
                mail.clear();
            });
        });
        group.bench_function("subscribe and unsubscribe an exact and a wildcard filter", |b| {
            b.iter(|| {
                let n = self.turn(ACTIVE);
                let filters = [filter(&format!("fleet/{n}/more")), filter(&format!("fleet/{n}/most/#"))];
                let Some(Some(session)) = self.sessions.get_mut(n) else { return };
                poll_now(async {
                    for filter in &filters {
                        session.subscribe(filter, SubscribeOptions::default()).await.expect("granted");
                    }
                    for filter in &filters {
                        assert!(session.unsubscribe(filter).await);
                    }
                });
            });
        });
        group.bench_function("disconnect, connect again and subscribe", |b| {
            b.iter(|| {
                let n = self.turn(ACTIVE);
                let Some(slot) = self.sessions.get_mut(n) else { return };
                if let Some(session) = slot.take() {
                    session.close(Close::NORMAL);
                }
                *slot = Some(runtime.block_on(connect(&self.backend, n)));
            });
        });
        group.finish();
    }

    /// Publishes to one device after another; they drain between the rounds, outside of the measured time.
    fn publish(&mut self, iterations: u64, among: usize) -> Duration {
        const ROUND: u64 = 500;
        let (mut left, mut spent, mut mail) = (iterations, Duration::ZERO, Vec::new());
        while left > 0 {
            let round = left.min(ROUND);
            left -= round;
            let turns: Vec<_> = (0..round).map(|_| self.turn(among)).collect();
            let topics: Vec<String> = turns.iter().map(|n| format!("fleet/{n}/commands")).collect();
            let started = Instant::now();
            for topic in topics {
                let published = self.backend.publish(Message::new(topic, "payload", QoS::AtMostOnce));
                assert_eq!(published.map(|published| published.matched), Ok(1));
            }
            spent += started.elapsed();
            for n in turns {
                if let Some(Some(session)) = self.sessions.get_mut(n) {
                    session.drain(10, &mut mail);
                }
            }
            mail.clear();
        }
        spent
    }

    /// Another one of the first `among` devices for every call, far from the last one.
    fn turn(&mut self, among: usize) -> usize {
        self.turn = (self.turn + 7919) % among;
        self.turn
    }
}

/// How many devices are active, whatever the size of the fleet.
const ACTIVE: usize = 1_000;

/// Finds and touches a device that was not touched for long.
fn look_up(c: &mut Criterion, devices: usize) {
    /// As much as there is of a device elsewhere, so that the memory of all is as far apart.
    type Device = [u64; 64];
    let mut table: HashMap<usize, Device> = (0..devices).map(|n| (n, [0; 64])).collect();
    let mut turn = 0;
    c.benchmark_group(format!("{devices} devices")).bench_function("one look-up of any device", |b| {
        b.iter(|| {
            turn = (turn + 7919) % devices;
            if let Some([first, ..]) = table.get_mut(black_box(&turn)) {
                *first += 1;
            }
        });
    });
}

/// One publisher, fifty subscribers of the same topic.
fn fan_out(c: &mut Criterion, runtime: &Runtime) {
    const SUBSCRIBERS: usize = 50;
    const MESSAGES: u64 = 100;
    let backend = Backend::start(BackendOptions::new(&Limits::default(), Profile::Standard));
    let mut sessions: Vec<_> = (0..SUBSCRIBERS)
        .map(|n| runtime.block_on(subscriber(&backend, &format!("s{n}"), "broadcast")))
        .collect();
    let topic: Arc<str> = "broadcast".into();
    let mut mail = Vec::new();
    let mut group = c.benchmark_group("fan");
    group.throughput(Throughput::Elements(MESSAGES * SUBSCRIBERS as u64));
    group.bench_function("out: 1 to 50, deliveries pushed and drained", |b| {
        b.iter(|| {
            for _ in 0..MESSAGES {
                let message = Message::new(Arc::clone(&topic), "payload", QoS::AtMostOnce);
                black_box(backend.publish(message)).expect("published");
            }
            for session in &mut sessions {
                session.drain(usize::MAX, &mut mail);
                mail.clear();
            }
        });
    });
    group.finish();
}

/// Fifty publishers on two threads, one subscriber that is woken and drains.
fn fan_in(c: &mut Criterion, runtime: &Runtime) {
    const PUBLISHERS: usize = 50;
    const MESSAGES: usize = 200;
    let limits = Limits { queued_messages: usize::MAX, queued_bytes: usize::MAX, ..Limits::default() };
    let backend = Backend::start(BackendOptions::new(&limits, Profile::Standard));
    let mut session = runtime.block_on(subscriber(&backend, "sink", "in/+"));
    let mut group = c.benchmark_group("fan");
    group.throughput(Throughput::Elements((PUBLISHERS * MESSAGES) as u64));
    group.bench_function("in: 50 to 1, published by tasks and drained by one", |b| {
        b.iter(|| {
            for n in 0..PUBLISHERS {
                let backend = backend.clone();
                let topic: Arc<str> = format!("in/{n}").into();
                runtime.spawn(async move {
                    for _ in 0..MESSAGES {
                        let message = Message::new(Arc::clone(&topic), "payload", QoS::AtMostOnce);
                        backend.publish(message).expect("published");
                    }
                });
            }
            runtime.block_on(async {
                let (mut count, mut mail) = (0, Vec::new());
                while count < PUBLISHERS * MESSAGES {
                    session.wait_for_mail().await;
                    session.drain(256, &mut mail);
                    count += mail.len();
                    mail.clear();
                }
            });
        });
    });
    group.finish();
}

async fn connect(backend: &Backend, n: usize) -> SessionHandle {
    subscriber(backend, &format!("device-{n}"), &format!("fleet/{n}/commands")).await
}

async fn subscriber(backend: &Backend, client_id: &str, text: &str) -> SessionHandle {
    let request = OpenRequest {
        client_id: client_id.into(),
        certificate: None,
        version: ProtocolVersion::V5,
        clean_start: true,
        session_expiry: Duration::ZERO,
        receive_maximum: 100,
        will: None,
    };
    let mut session = backend.open(request).await.expect("opened").session;
    session.subscribe(&filter(text), SubscribeOptions::default()).await.expect("granted");
    session
}

fn filter(text: &str) -> Filter {
    Filter::parse(text, LIMITS).expect("a valid filter")
}

/// Runs a future that does not wait, without a runtime in between.
fn poll_now(future: impl Future<Output = ()>) {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(std::pin::pin!(future).poll(&mut context).is_ready());
}

/// Memory of this process, as the kernel sees it; 0 where there is no `/proc`.
fn resident_bytes() -> usize {
    const PAGE: usize = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).map_or(0, |pages| pages * PAGE)
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(30);
    targets = main_benches
}
criterion_main!(benches);
