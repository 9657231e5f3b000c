//! Several clients at once, each with policies of its own, that send anything in any order: well-formed packets, damaged ones,
//! bytes. All of the broker but TCP and TLS, and time passes only when the input says so.
use super::super::{Shared, greet};
use super::observer::{Known, Observer};
use super::random::Random;
use super::registered::register;
use super::rules::Rules;
use crate::backend::{Counts, SessionEnd, count_rows};
use crate::config::{Config, Limits, Profile};
use crate::server::ServerIdentity;
use crate::tls::Peer;
use jitp_provisioner::certs::{Attribute, Authority, Certificate, KeyKind, LeafRequest, Validity};
use jitp_provisioner::sessions::SessionStore;
use jitp_provisioner::{Options, Provisioner, SystemClock};
use rustls_pki_types::CertificateDer;
use std::collections::VecDeque;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Devices, each with a policy document of its own.
const DEVICES: usize = 12;
/// Connections at the same time.
const PLACES: usize = 5;
/// How often every task has its turn before the next thing is sent.
const TURNS: usize = 12;
/// A connection that must end does so within this time, as the broker counts it.
const PROMPTLY: Duration = Duration::from_secs(15);
/// Only a broker that is stuck takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

const CLIENTS: [&str; 6] = ["c0", "c1", "c2", "", "c3", "c4"];
const TOPICS: [&str; 10] = [
    "a",
    "a/b",
    "a/b/c",
    "b",
    "own/c0",
    "/",
    "$aws/events/presence/connected/c0",
    "$aws/provisioning-templates/t/provision/json",
    "a/+",
    "much/too/long/a/topic/for/the/limits/of/this",
];
const FILTERS: [&str; 14] = [
    "#",
    "a",
    "a/#",
    "a/+",
    "+/b",
    "own/c0",
    "+",
    "$share/g/a/#",
    "$share/g/+",
    "$share/h/a",
    "$aws/events/#",
    "$aws/provisioning-templates/t/provision/json/rejected",
    "a/#/b",
    "$share/g",
];

/// A registry with devices that were given random policies.
pub struct Swarm {
    /// While it is there, time does not pass by itself. The first to go: the runtime waits for whom it blocks.
    _still: std::sync::mpsc::Sender<()>,
    runtime: Runtime,
    provisioner: Provisioner,
    identity: ServerIdentity,
    devices: Vec<(CertificateDer<'static>, Arc<Rules>)>,
}

impl Swarm {
    /// Within an empty directory. Other numbers give other policies.
    pub fn start(directory: &Path, seed: u64) -> Self {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let (still, moving) = std::sync::mpsc::channel::<()>();
        // Time that nobody moves moves by itself when all tasks wait, unless something blocks.
        runtime.spawn_blocking(move || moving.recv().is_ok());
        let validity = Validity { not_before: 0, not_after: 4_000_000_000 };
        let name = [(Attribute::CommonName, "swarm".to_owned())];
        let authority = Authority::create(&name, validity, KeyKind::EcP256).unwrap();
        let server = authority.issue_server(&["localhost".to_owned()], &[], validity).unwrap();
        let identity = ServerIdentity {
            certificate_chain: server.certificate.to_pem(),
            private_key: server.private_key.expose().to_owned(),
        };
        let (provisioner, devices) = runtime.block_on(async {
            let clock = Arc::new(SystemClock);
            let provisioner = Provisioner::open(directory, Options::default(), clock).await.unwrap();
            let mut random = Random(seed | 1);
            let mut devices = Vec::new();
            for number in 0..DEVICES {
                let request = LeafRequest { subject: name.to_vec(), validity, key: KeyKind::EcP256 };
                let device = authority.issue_device(&request).unwrap().certificate;
                let rules = Rules::random(|bound| random.below(bound));
                register(&provisioner, &device, &format!("p{number}"), &rules.document()).await;
                devices.push((CertificateDer::from(device.der().to_vec()), Arc::new(rules)));
            }
            (provisioner, devices)
        });
        Self { _still: still, runtime, provisioner, identity, devices }
    }

    /// Plays what the input says with a broker that was started for it. Returns how many messages came to somebody.
    pub fn play(&self, input: &[u8]) -> usize {
        self.runtime.block_on(async {
            let mut input = Input(input);
            let mut scene = Scene::open(self, input.byte()).await;
            while !input.0.is_empty() {
                scene.act(self, &mut input).await;
                scene.run().await;
                scene.check();
            }
            scene.close().await
        })
    }
}

/// One broker and its clients.
struct Scene {
    shared: Arc<Shared>,
    sessions: SessionStore,
    /// Never becomes true.
    _running: watch::Sender<bool>,
    places: [Option<Client>; PLACES],
    known: Known,
    /// Connections so far.
    opened: usize,
    /// The next packet is damaged: where, and how.
    damage: Option<(usize, u8)>,
}

struct Client {
    /// `None`: the client has closed it.
    stream: Option<DuplexStream>,
    broker: JoinHandle<()>,
    observer: Observer,
    v5: bool,
    /// What the broker has not taken yet.
    sending: VecDeque<u8>,
    reads: bool,
}

impl Scene {
    async fn open(swarm: &Swarm, header: u8) -> Self {
        let limits = Limits {
            packet_bytes: 600,
            payload_bytes: 200,
            property_bytes: 64,
            content_type_bytes: 16,
            topic_bytes: 24,
            topic_levels: 5,
            filters_per_subscribe: 3,
            subscriptions_per_session: 4,
            receive_maximum: 4,
            topic_aliases: 2,
            // What comes together is at most an eighth of that.
            queued_messages: 24,
            queued_bytes: 8192,
            drop_oldest: header & 1 == 1,
            stored_messages: 30,
            stored_bytes: 16 * 1024,
            session_expiry: Duration::from_secs(20),
            retained_messages: 3,
            queued_requests: 2,
            ..Limits::default()
        };
        let config = Config {
            listeners: Vec::new(),
            profile: if header & 6 == 6 { Profile::Aws } else { Profile::Standard },
            limits,
            disconnect_at_expiry: false,
            recheck_connect: false,
            http: None,
        };
        let (running, stopping) = watch::channel(false);
        let sessions = SessionStore::in_memory();
        let provisioner = swarm.provisioner.clone();
        let shared = Shared::start_over(sessions.clone(), config, &swarm.identity, provisioner, stopping);
        Self {
            shared: shared.await.unwrap(),
            sessions,
            _running: running,
            places: Default::default(),
            known: Known::default(),
            opened: 0,
            damage: None,
        }
    }

    /// Does the next thing that the input says.
    async fn act(&mut self, swarm: &Swarm, input: &mut Input<'_>) {
        let what = input.byte();
        let place = usize::from(what) % PLACES;
        match usize::from(what) / PLACES % 20 {
            0..=2 => self.connect(swarm, place, input).await,
            3 => self.damage = Some((usize::from(input.byte()), input.byte())),
            4 => {
                let length = usize::from(input.byte() % 24);
                let bytes: Vec<u8> = (0..length).map(|_| input.byte()).collect();
                self.send(place, bytes);
            }
            5 => self.hang_up(place),
            6 => self.pass(1 + u64::from(input.byte() % 12)).await,
            7 => self.intervene(input.byte()),
            8 => {
                if let Some(client) = &mut self.places[place] {
                    client.reads = !client.reads;
                    client.observer.lax = true;
                }
            }
            9..=11 => self.write(place, |v5| writer::subscribe(input, v5)),
            12 => self.write(place, |v5| writer::unsubscribe(input, v5)),
            13 | 14 => {
                let in_flight = self.places[place].iter().flat_map(|client| client.observer.in_flight());
                let in_flight: Vec<u16> = in_flight.collect();
                self.write(place, |_| writer::acknowledge(input, &in_flight));
            }
            15 => self.write(place, |v5| writer::rare(input, v5)),
            _ => self.write(place, |v5| writer::publish(input, v5)),
        }
    }

    fn write(&mut self, place: usize, packet: impl FnOnce(bool) -> Vec<u8>) {
        let Some(v5) = self.places[place].as_ref().map(|client| client.v5) else { return };
        let mut packet = packet(v5);
        if let Some((at, how)) = self.damage.take() {
            let at = at % packet.len();
            packet[at] ^= how;
        }
        self.send(place, packet);
    }

    fn send(&mut self, place: usize, bytes: Vec<u8>) {
        let Some(client) = self.places[place].as_mut().filter(|client| client.stream.is_some()) else {
            return;
        };
        client.observer.sends(&bytes, &mut self.known);
        client.sending.extend(bytes);
    }

    async fn connect(&mut self, swarm: &Swarm, place: usize, input: &mut Input<'_>) {
        self.hang_up(place);
        self.gone(place).await;
        let (certificate, rules) = &swarm.devices[usize::from(input.byte()) % DEVICES];
        let leaf = Certificate::from_der(certificate).unwrap();
        let peer = Peer { chain: vec![certificate.clone()], leaf, server_name: Some("localhost".into()) };
        let (stream, server) = tokio::io::duplex(2048);
        let shared = Arc::clone(&self.shared);
        let broker = tokio::spawn(async move {
            if let Some(established) = greet(shared, server, peer, ([127, 0, 0, 1], 1).into()).await {
                established.run().await;
            }
        });
        self.opened += 1;
        let alias = format!("assigned {}", self.opened);
        let observer = Observer::new(rules, &self.shared.limits, alias);
        let v5 = input.byte() & 1 == 1;
        let (sending, reads) = (VecDeque::new(), true);
        self.places[place] = Some(Client { stream: Some(stream), broker, observer, v5, sending, reads });
        // What other connections with its client id have asked for may be its own by now.
        for client in self.places.iter_mut().flatten() {
            client.observer.may_have_subscribed(&mut self.known);
        }
        self.write(place, |v5| writer::connect(input, v5));
        let started = Instant::now();
        let mut rounds = 0;
        while self.places[place].as_ref().is_some_and(|client| client.waits_for_connack()) {
            self.run().await;
            // For the registry, which has threads of its own.
            std::thread::yield_now();
            rounds += 1;
            if rounds % 100 == 0 {
                // A client that does not read holds up whoever takes over from it.
                tokio::time::advance(Duration::from_millis(100)).await;
            }
            assert!(started.elapsed() < PATIENCE, "neither CONNACK nor an end");
        }
    }

    fn hang_up(&mut self, place: usize) {
        if let Some(client) = &mut self.places[place] {
            client.stream = None;
        }
    }

    /// Waits until the broker has let go of a connection.
    async fn gone(&mut self, place: usize) {
        let Some(mut client) = self.places[place].take() else { return };
        client.reads = true;
        let (started, begun) = (Instant::now(), tokio::time::Instant::now());
        for round in 0.. {
            if client.broker.is_finished() {
                break;
            }
            client.exchange(&mut self.known);
            self.run().await;
            // For the registry, which has threads of its own.
            std::thread::yield_now();
            if round % 16 == 0 && begun.elapsed() < PROMPTLY {
                // A last word may take a moment.
                tokio::time::advance(Duration::from_millis(50)).await;
            }
            assert!(started.elapsed() < PATIENCE, "a connection that must end does not");
        }
        client.exchange(&mut self.known);
        client.observer.ends(&mut self.known);
        if let Err(error) = client.broker.await {
            std::panic::resume_unwind(error.into_panic());
        }
    }

    async fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            tokio::time::advance(Duration::from_secs(1)).await;
            self.run().await;
        }
    }

    /// An operator ends a connection.
    fn intervene(&mut self, how: u8) {
        let client_id = CLIENTS[usize::from(how) % CLIENTS.len()];
        let (prevent_will, clean_session) = (how & 4 != 0, how & 8 != 0);
        self.shared.backend.disconnect(client_id, SessionEnd::Administrative { prevent_will, clean_session });
    }

    /// Lets every task have its turn, and everybody read and write.
    async fn run(&mut self) {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
            for client in self.places.iter_mut().flatten() {
                client.exchange(&mut self.known);
            }
        }
        for place in 0..PLACES {
            let client = self.places[place].as_ref();
            if client.is_some_and(|client| client.broker.is_finished() || client.has_to_end()) {
                Box::pin(self.gone(place)).await;
            }
        }
    }

    /// What the broker holds is within its bounds, and nothing is retained that must not be.
    fn check(&self) {
        let limits = &self.shared.limits;
        let backend = &self.shared.backend;
        // At the bounds the oldest go a little later.
        let (more, more_bytes) = match limits.drop_oldest {
            true => (limits.queued_messages / 8 + 16, limits.queued_bytes / 8),
            false => (0, 0),
        };
        let holdings = backend.holdings();
        for holding in &holdings {
            let (messages, bytes) = holding.queued;
            assert!(messages <= limits.queued_messages + more, "{holding:?}");
            assert!(bytes <= limits.queued_bytes + more_bytes, "{holding:?}");
            let Some(kept) = &holding.kept else { continue };
            assert!(kept.subscriptions <= limits.subscriptions_per_session, "{holding:?}");
            assert!(kept.scans <= limits.subscriptions_per_session + kept.subscriptions, "{holding:?}");
            assert!(kept.in_flight <= usize::from(limits.receive_maximum), "{holding:?}");
            assert!(kept.exactly_once <= usize::from(limits.receive_maximum) + 1, "{holding:?}");
        }
        // Those in flight to a new subscriber of what is retained do not wait, and so count to no bound but the window.
        let aside = holdings.len() * usize::from(limits.receive_maximum);
        let (messages, bytes) = backend.stored_for_sessions();
        assert!(messages <= limits.stored_messages + aside as u64, "{messages} messages are stored");
        assert!(bytes <= limits.stored_bytes + 1024 * aside as u64, "{bytes} bytes are stored");
        let counts = backend.counts();
        assert!(counts.online + counts.offline <= holdings.len(), "{counts:?}");
        assert!(counts.subscriptions <= holdings.len() * limits.subscriptions_per_session, "{counts:?}");
        assert!(counts.retained <= limits.retained_messages, "{counts:?}");
        assert!(backend.timers() <= counts.offline, "{} timers", backend.timers());
        for message in backend.retained_after(None, usize::MAX) {
            let topic = &*message.topic;
            assert!(self.known.may_be_retained.contains(topic), "{topic} is retained, which nobody may");
        }
    }

    /// Everybody leaves, and nothing is left.
    async fn close(mut self) -> usize {
        for place in 0..PLACES {
            self.hang_up(place);
            self.gone(place).await;
        }
        self.check();
        let backend = &self.shared.backend;
        backend.forget_all().await;
        let started = Instant::now();
        while backend.stored_for_sessions() != (0, 0) || count_rows(&self.sessions).await.unwrap() != [0; 7] {
            backend.settled().await;
            tokio::time::advance(Duration::from_millis(100)).await;
            tokio::task::yield_now().await;
            assert!(started.elapsed() < PATIENCE, "{:?} stays", backend.stored_for_sessions());
        }
        assert_eq!(backend.counts(), Counts::default());
        assert_eq!(backend.timers(), 0);
        self.known.delivered
    }
}

impl Client {
    fn waits_for_connack(&self) -> bool {
        // A damaged CONNECT may be incomplete for ever.
        self.observer.is_greeted() && self.observer.accepted.is_none() && !self.broker.is_finished()
    }

    fn has_to_end(&self) -> bool {
        self.stream.is_none() || (self.observer.must_end() && self.sending.is_empty())
    }

    /// Writes what the broker takes, and reads what there is.
    fn exchange(&mut self, known: &mut Known) {
        let Some(stream) = &mut self.stream else { return };
        let mut context = Context::from_waker(Waker::noop());
        while !self.sending.is_empty() {
            let bytes = self.sending.make_contiguous();
            match Pin::new(&mut *stream).poll_write(&mut context, bytes) {
                Poll::Ready(Ok(written)) => drop(self.sending.drain(..written)),
                // The broker has had enough.
                Poll::Ready(Err(_)) => self.sending.clear(),
                Poll::Pending => break,
            }
        }
        while self.reads {
            let mut memory = [0; 1024];
            let mut buffer = ReadBuf::new(&mut memory);
            match Pin::new(&mut *stream).poll_read(&mut context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.observer.receives(buffer.filled(), known);
                }
                _ => return,
            }
        }
    }
}

/// What is left of the input; zeros behind its end.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Mostly one of the first half, which are good ones.
    fn one_of(&mut self, texts: &[&'static str]) -> &'static str {
        let byte = usize::from(self.byte());
        texts[byte % if byte < 32 { texts.len() } else { texts.len() / 2 }]
    }
}

/// Packets of a client.
mod writer {
    use super::{CLIENTS, FILTERS, Input, TOPICS};

    pub(super) fn connect(input: &mut Input<'_>, v5: bool) -> Vec<u8> {
        let (client_id, flags, how) = (input.one_of(&CLIENTS), input.byte(), input.byte());
        let clean = flags & 1 == 1 || (client_id.is_empty() && !v5);
        let will = flags & 2 == 2;
        let (will_qos, will_retain) = ((flags >> 2) % 3, flags >> 4 & 1);
        let will_bits = if will { 0x04 | will_qos << 3 | will_retain << 5 } else { 0 };
        let mut body = text("MQTT");
        body.extend([if v5 { 5 } else { 4 }, u8::from(clean) << 1 | will_bits, 0, 60]);
        if v5 {
            let mut properties = Vec::new();
            let expiry = [0u32, 5, 1000, u32::MAX][usize::from(how & 3)];
            properties.push(0x11);
            properties.extend(expiry.to_be_bytes());
            if how & 4 != 0 {
                properties.extend([0x21, 0, 1 + (how >> 6)]);
            }
            if how & 8 != 0 {
                properties.extend([0x27, 0, 0, 0, 160]);
            }
            if how & 0x10 != 0 {
                properties.extend([0x22, 0, 2]);
            }
            block(&mut body, &properties);
        }
        body.extend(text(client_id));
        if will {
            let (topic, delay) = (input.one_of(&TOPICS), input.byte() % 8);
            if v5 {
                block(&mut body, &[0x18, 0, 0, 0, delay]);
            }
            body.extend(text(topic));
            body.extend(text("gone"));
        }
        packet(0x10, body)
    }

    pub(super) fn publish(input: &mut Input<'_>, v5: bool) -> Vec<u8> {
        let (topic, flags, how) = (input.one_of(&TOPICS), input.byte(), input.byte());
        let (qos, retain, again) = ((flags & 3) % 3, flags >> 2 & 1, flags >> 3 & 1);
        let again = if qos == 0 { 0 } else { again };
        let alias = how & 3;
        let by_alias = v5 && how & 0x40 != 0 && alias > 0;
        let mut body = text(if by_alias { "" } else { topic });
        if qos > 0 {
            body.extend([0, 1 + (flags >> 4) % 6]);
        }
        if v5 {
            let mut properties = Vec::new();
            if alias > 0 {
                properties.extend([0x23, 0, alias]);
            }
            if how & 4 != 0 {
                properties.extend([0x02, 0, 0, 0, how >> 4]);
            }
            if how & 8 != 0 {
                properties.push(0x26);
                properties.extend([text("name"), text("value")].concat());
            }
            block(&mut body, &properties);
        }
        let length = match how >> 4 & 3 {
            0 => 0,
            1 => 190,
            2 => 150,
            _ => 3,
        };
        body.extend((0..length).map(|_| flags));
        packet(0x30 | again << 3 | qos << 1 | retain, body)
    }

    pub(super) fn subscribe(input: &mut Input<'_>, v5: bool) -> Vec<u8> {
        let flags = input.byte();
        let mut body = vec![0, 1 + flags % 4];
        if v5 {
            let identifier = [0x0b, 1 + (flags >> 4 & 7)];
            block(&mut body, if flags & 0x80 == 0 { &[] } else { &identifier });
        }
        for _ in 0..=(flags >> 2 & 3) {
            let (filter, options) = (input.one_of(&FILTERS), input.byte());
            let qos = (options & 3) % 3;
            body.extend(text(filter));
            let shared = filter.starts_with("$share");
            let of_v5 = (options & if shared { 0x08 } else { 0x0c }) | ((options >> 4) % 3) << 4;
            body.push(if v5 { qos | of_v5 } else { qos });
        }
        packet(0x82, body)
    }

    pub(super) fn unsubscribe(input: &mut Input<'_>, v5: bool) -> Vec<u8> {
        let mut body = vec![0, 1 + input.byte() % 4];
        if v5 {
            body.push(0);
        }
        body.extend(text(input.one_of(&FILTERS)));
        packet(0xa2, body)
    }

    /// An acknowledgement: mostly of something that the broker has sent.
    pub(super) fn acknowledge(input: &mut Input<'_>, in_flight: &[u16]) -> Vec<u8> {
        let (kind, which) = (input.byte(), input.byte());
        let first = [0x40, 0x50, 0x62, 0x70][usize::from(kind % 4)];
        let id = match in_flight.get(usize::from(which) % in_flight.len().max(1)) {
            Some(id) if first != 0x62 => *id,
            _ => 1 + u16::from(which % 6),
        };
        packet(first, id.to_be_bytes().to_vec())
    }

    /// PINGREQ, and what ends a connection.
    pub(super) fn rare(input: &mut Input<'_>, v5: bool) -> Vec<u8> {
        match input.byte() % 8 {
            0 if v5 => packet(0xe0, vec![4]),
            1 if v5 => packet(0xe0, vec![0, 5, 0x11, 0, 0, 0, 9]),
            0..=2 => packet(0xe0, Vec::new()),
            3 => connect(input, v5),
            _ => packet(0xc0, Vec::new()),
        }
    }

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
    }

    /// Properties with their length.
    fn block(body: &mut Vec<u8>, properties: &[u8]) {
        length(body, properties.len());
        body.extend(properties);
    }

    fn packet(first: u8, body: Vec<u8>) -> Vec<u8> {
        let mut packet = vec![first];
        length(&mut packet, body.len());
        packet.extend(body);
        packet
    }

    fn length(bytes: &mut Vec<u8>, mut length: usize) {
        while length > 0x7f {
            bytes.push(0x80 | (length & 0x7f) as u8);
            length >>= 7;
        }
        bytes.push(length as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    /// For all cases; each has other policies. One test at a time: the time is theirs alone.
    static SWARMS: LazyLock<Mutex<Vec<(Swarm, tempfile::TempDir)>>> = LazyLock::new(|| {
        let start = |seed: u64| {
            let directory = tempfile::tempdir().unwrap();
            (Swarm::start(directory.path(), seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)), directory)
        };
        Mutex::new((1..=4).map(start).collect())
    });

    fn cases() -> ProptestConfig {
        let asked = std::env::var("PROPTEST_CASES").ok().and_then(|asked| asked.parse().ok());
        ProptestConfig { cases: asked.unwrap_or(150), failure_persistence: None, ..ProptestConfig::default() }
    }

    #[test]
    fn what_is_sent_at_random_makes_sense_often_enough() {
        let mut random = Random(0x2545_F491_4F6C_DD1D);
        let input = |random: &mut Random| (0..600).map(|_| random.below(256) as u8).collect::<Vec<_>>();
        let swarms = SWARMS.lock();
        let delivered: usize = (0..24).map(|n| swarms[n % 4].0.play(&input(&mut random))).sum();
        assert!(delivered > 60, "{delivered}");
    }

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn whatever_several_clients_send_the_broker_keeps_its_bounds_and_its_policies(
            which in 0..4usize,
            input in prop::collection::vec(any::<u8>(), 0..500),
        ) {
            SWARMS.lock()[which].0.play(&input);
        }
    }
}
