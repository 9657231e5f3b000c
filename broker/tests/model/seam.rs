//! Plays scripts at the backend's seam: no socket, no thread, and a clock that only the script moves.
//!
//! What a connection of the broker does between the wire and the seam is done here by hand, one thing after another, and so is
//! what a well-behaved client does on the other side of the wire.
use super::script::{
    Acknowledges, CLIENTS, Connect, Disconnect, FILTERS, Publish, Script, Step, Subscribe, TOPICS, Until,
};
use super::semantics::{self, Model, Presence, Received};
use super::storage::Storage;
use jitp_broker::backend::{
    Backend, BackendOptions, Close, OpenRequest, Opened, ProtocolVersion, SessionEnd, SubscribeOptions, Will,
};
use jitp_broker::message::{Delivery, Message, PublishProperties, QoS};
use jitp_broker::session::{InFlight, SessionHandle, Wake};
use jitp_broker::topic::{Filter, TopicLimits};
use jitp_broker::{Limits, Profile};
use jitp_provisioner::{Clock, ManualClock, Timestamp};
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// When scripts begin, in milliseconds since 1970.
const BEGINNING: u64 = 1_767_225_600_000;
/// Sessions wait no longer for their clients, in seconds.
const LONGEST_EXPIRY: u64 = 40;
/// How often every task has its turn before nothing more is expected of any.
const TURNS: usize = 24;
/// How often in a row nothing comes before nothing more is expected.
const QUIET: usize = 3;

/// Plays a script; an error says at which step the broker did what the model does not.
pub fn play(script: &Script, storage: Box<dyn Storage>) -> Result<(), String> {
    let mut stage = Stage::open(storage);
    for (number, step) in script.0.iter().enumerate() {
        stage
            .step(step)
            .map_err(|wrong| format!("step {number}, {step:?}: {wrong}\nof this script:{script:?}"))?;
    }
    stage.finale().map_err(|wrong| format!("at the end: {wrong}\nof this script:{script:?}"))
}

struct Stage {
    storage: Box<dyn Storage>,
    clock: Arc<ManualClock>,
    seconds: u64,
    /// `None` only while it is replaced.
    process: Option<Process>,
    model: Model,
    clients: [Client; CLIENTS],
}

/// A broker from its start to its stop or kill.
struct Process {
    /// While it is there, time does not pass by itself. The first to go: the runtime waits for whom it blocks.
    _still: std::sync::mpsc::Sender<()>,
    runtime: Runtime,
    backend: Backend,
}

/// What a client knows, over connections and restarts of the broker.
#[derive(Default)]
struct Client {
    connection: Option<Connection>,
    /// QoS 2 messages that came and were not released.
    received: BTreeSet<u16>,
    /// What it has published and nobody has acknowledged in full.
    outgoing: Vec<Outgoing>,
}

struct Outgoing {
    packet_id: u16,
    number: usize,
    /// PUBREC came.
    received: bool,
}

struct Connection {
    session: SessionHandle,
    acknowledges: Acknowledges,
    window: usize,
    /// The client may ask for another expiry when it leaves.
    persistent: bool,
    /// QoS 2 messages that are not on the wire before their packet ids are stored.
    held: Vec<(u16, Delivery)>,
    /// PUBRELs that are not on the wire before PUBREC is stored.
    releases: Vec<u16>,
}

impl Stage {
    fn open(storage: Box<dyn Storage>) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp(BEGINNING)));
        let process = Some(Process::start(&*storage, &clock));
        Self {
            storage,
            clock,
            seconds: 0,
            process,
            model: Model::new(LONGEST_EXPIRY),
            clients: Default::default(),
        }
    }

    fn process(&self) -> &Process {
        self.process.as_ref().unwrap()
    }

    fn backend(&self) -> Backend {
        self.process().backend.clone()
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        let rushed = match step {
            Step::Connect(connect) => {
                self.connect(connect)?;
                false
            }
            Step::Disconnect(gone) => {
                self.disconnect(gone);
                gone.rushed
            }
            Step::Subscribe(subscribe) => {
                self.subscribe(subscribe)?;
                false
            }
            Step::Unsubscribe { client, filter } => {
                self.unsubscribe(*client, *filter)?;
                false
            }
            Step::Publish(publish) => {
                self.publish(publish)?;
                publish.rushed
            }
            Step::Burst { topic, qos, count } => {
                for _ in 0..*count {
                    let (topic, qos) = (*topic, *qos);
                    let until = Until::Sent;
                    let (client, retain, empty, expiry) = (None, false, false, None);
                    self.publish(&Publish {
                        client,
                        topic,
                        qos,
                        retain,
                        empty,
                        expiry,
                        until,
                        rushed: true,
                    })?;
                }
                false
            }
            Step::Finish { client } => {
                self.settle();
                self.finish(*client, false)?;
                false
            }
            Step::Acknowledge { client } => {
                self.acknowledge(*client);
                false
            }
            Step::Wait(seconds) => {
                for _ in 0..*seconds {
                    self.second()?;
                }
                false
            }
            Step::Restart => {
                self.restart()?;
                false
            }
            Step::Kill => {
                self.kill()?;
                false
            }
        };
        match rushed {
            true => (0..CLIENTS).try_for_each(|client| self.take(client).map(drop)),
            false => self.take_all(),
        }
    }

    /// Everybody comes back and takes what is left, and then nothing is left.
    fn finale(&mut self) -> Result<(), String> {
        self.take_all()?;
        for client in 0..CLIENTS {
            if self.model.has_session(client) {
                self.connect(&Connect {
                    client,
                    v5: true,
                    clean: false,
                    expiry: LONGEST_EXPIRY,
                    receive_maximum: u16::MAX,
                    acknowledges: Acknowledges::Everything,
                    will: None,
                })?;
            }
            self.take_all()?;
        }
        let patience = self.patience();
        while let Err(lost) = self.model.check_groups() {
            // It may have to be found in what an ended session has left.
            self.take_all()?;
            if patience() {
                return Err(lost);
            }
        }
        for client in 0..CLIENTS {
            self.disconnect(&Disconnect { client, with_will: false, expiry: Some(0), rushed: false });
            self.take_all()?;
        }
        Ok(())
    }

    /// Everybody takes what there is for them, until nothing more comes and everything is stored.
    fn take_all(&mut self) -> Result<(), String> {
        let patience = self.patience();
        let mut quiet = 0;
        while quiet < QUIET {
            let mut came = 0;
            for client in 0..CLIENTS {
                came += self.take(client)?;
            }
            self.settle();
            came += self.release()?;
            let owed =
                (0..CLIENTS).any(|client| self.has_room(client) && self.model.missing(client).is_some());
            quiet = if came > 0 || (owed && !patience()) { 0 } else { quiet + 1 };
        }
        for client in 0..CLIENTS {
            if self.has_room(client) {
                self.model.nothing_more(client)?;
            }
        }
        self.model.settled();
        self.compare()
    }

    /// Says when enough was waited for the store.
    fn patience(&self) -> impl Fn() -> bool + use<> {
        let (started, patience) = (Instant::now(), self.storage.patience());
        move || started.elapsed() >= patience
    }

    fn has_room(&self, client: usize) -> bool {
        let connection = self.clients[client].connection.as_ref();
        connection.is_some_and(|connection| connection.session.in_flight().count() < connection.window)
    }

    /// What can be seen of the broker is what the model says.
    fn compare(&self) -> Result<(), String> {
        let backend = self.backend();
        let _inside = self.process().runtime.enter();
        let retained = backend.retained_after(None, usize::MAX);
        let retained: BTreeSet<_> =
            retained.iter().map(|message| (&*message.topic, number_of(message))).collect();
        let expected: BTreeSet<_> =
            self.model.retained().into_iter().map(|(topic, number)| (topic, Some(number))).collect();
        if retained != expected {
            return Err(format!("{retained:?} is retained, and not {expected:?}"));
        }
        let counts = backend.counts();
        let counts = (counts.online, counts.offline, counts.subscriptions);
        match self.model.counts() {
            Some(expected) if expected != counts => {
                Err(format!("(online, offline, subscriptions) are {counts:?}, and not {expected:?}"))
            }
            _ => Ok(()),
        }
    }

    /// Lets every task run, and waits until what was recorded is stored.
    fn settle(&self) {
        let process = self.process();
        process.runtime.block_on(async {
            turns().await;
            process.backend.settled().await;
            turns().await;
        });
    }

    fn second(&mut self) -> Result<(), String> {
        self.take_all()?;
        self.seconds += 1;
        self.clock.set(Timestamp(BEGINNING + 1000 * self.seconds));
        self.process().runtime.block_on(async {
            tokio::time::advance(Duration::from_secs(1)).await;
            turns().await;
        });
        self.model.tick();
        self.take_all()
    }

    fn connect(&mut self, connect: &Connect) -> Result<(), String> {
        let client = connect.client;
        let will = self.model.announce_will(connect);
        let request = request(connect, will);
        let backend = self.backend();
        let opened = {
            let old = self.clients[client].connection.take();
            let model = &mut self.model;
            self.process.as_ref().unwrap().runtime.block_on(async {
                let mut opening = pin!(backend.open(request));
                if let Some(old) = old {
                    if once(opening.as_mut()).is_ready() {
                        return Err("it did not wait for the connection that has the session".to_owned());
                    }
                    if old.session.ended() != Some(SessionEnd::TakenOver) {
                        return Err("the old connection was not told".to_owned());
                    }
                    old.session.close(Close::ABRUPT);
                    model.leave(client, true, None);
                }
                opening.await.map_err(|error| error.to_string())
            })?
        };
        let presence = self.model.connect(connect, will);
        let Opened { session, session_present, .. } = opened;
        match (presence, session_present) {
            (Presence::Yes, false) | (Presence::No, true) => {
                return Err(format!("Session Present is {session_present}, and not {presence:?}"));
            }
            (Presence::Either, _) => self.model.was_present(client, session_present),
            _ => {}
        }
        let state = &mut self.clients[client];
        if !session_present {
            state.received.clear();
            state.outgoing.clear();
        }
        let window = BackendOptions::new(&Limits::default(), Profile::Standard).receive_maximum;
        state.connection = Some(Connection {
            session,
            acknowledges: connect.acknowledges,
            window: usize::from(connect.receive_maximum.min(window)),
            persistent: connect.expiry > 0 && connect.v5,
            held: Vec::new(),
            releases: Vec::new(),
        });
        self.resend(client)?;
        self.finish(client, true)
    }

    /// What was in flight towards the client comes again first.
    fn resend(&mut self, client: usize) -> Result<(), String> {
        let state = &mut self.clients[client];
        let Some(connection) = &mut state.connection else { return Ok(()) };
        let in_flight: Vec<InFlight> = connection.session.in_flight().cloned().collect();
        for sent in in_flight {
            match sent {
                InFlight::Release { packet_id } => {
                    state.received.remove(&packet_id);
                    if connection.acknowledges == Acknowledges::Everything {
                        connection.session.acknowledged(packet_id);
                    }
                }
                InFlight::Publish { packet_id, delivery } if delivery.qos == QoS::ExactlyOnce => {
                    connection.held.push((packet_id, delivery));
                }
                InFlight::Publish { packet_id, delivery } => {
                    self.model.came(client, &received(&delivery)?)?;
                    if connection.acknowledges != Acknowledges::Nothing {
                        connection.session.acknowledged(packet_id);
                    }
                }
            }
        }
        Ok(())
    }

    fn disconnect(&mut self, gone: &Disconnect) {
        let Some(connection) = self.clients[gone.client].connection.take() else { return };
        let _inside = self.process().runtime.enter();
        let expiry = gone.expiry.filter(|_| connection.persistent);
        connection
            .session
            .close(Close { publish_will: gone.with_will, session_expiry: expiry.map(Duration::from_secs) });
        drop(_inside);
        self.model.leave(gone.client, gone.with_will, expiry);
    }

    fn subscribe(&mut self, subscribe: &Subscribe) -> Result<(), String> {
        let Some(connection) = &mut self.clients[subscribe.client].connection else { return Ok(()) };
        let options = SubscribeOptions {
            qos: subscribe.qos,
            no_local: subscribe.no_local,
            retain_as_published: subscribe.retain_as_published,
            retain_handling: subscribe.retain_handling,
            identifier: NonZeroU32::new(semantics::identifier(subscribe.filter)),
        };
        let subscribed = self.process.as_ref().unwrap().runtime.block_on(async {
            let subscribed = connection.session.subscribe(&filter(subscribe.filter), options).await;
            connection.session.settled().await.map_err(|error| error.to_string())?;
            subscribed.map_err(|error| error.to_string())
        })?;
        let existed = self.model.subscribe(subscribe);
        same("an existing subscription", subscribed.existed, existed)
    }

    fn unsubscribe(&mut self, client: usize, number: usize) -> Result<(), String> {
        let Some(connection) = &mut self.clients[client].connection else { return Ok(()) };
        let removed = self.process.as_ref().unwrap().runtime.block_on(async {
            let removed = connection.session.unsubscribe(&filter(number)).await;
            connection.session.settled().await.map(|()| removed).map_err(|error| error.to_string())
        })?;
        let existed = self.model.unsubscribe(client, number);
        same("an existing subscription", removed, existed)
    }

    fn publish(&mut self, publish: &Publish) -> Result<(), String> {
        if publish.client.is_some_and(|client| self.clients[client].connection.is_none()) {
            return Ok(());
        }
        let reserved = publish.retain && TOPICS[publish.topic].starts_with('$');
        let number = self.model.announce(semantics::Message {
            publisher: publish.client,
            topic: publish.topic,
            qos: publish.qos,
            retain: publish.retain,
            empty: publish.empty,
            expiry: publish.expiry,
        });
        let Some(client) = publish.client else {
            return self.send(None, number, 0, reserved).map(drop);
        };
        let free = |id: &u16| self.clients[client].outgoing.iter().all(|outgoing| outgoing.packet_id != *id);
        let packet_id = (1..).find(free).unwrap_or_default();
        let refused = self.send(Some(client), number, packet_id, reserved)?;
        if publish.qos > QoS::AtMostOnce && !refused {
            self.clients[client].outgoing.push(Outgoing { packet_id, number, received: false });
            match publish.until {
                Until::Sent => {}
                Until::Received if publish.qos == QoS::AtLeastOnce => {}
                Until::Received => {
                    self.settle();
                    self.receive(client, packet_id);
                }
                Until::Done => {
                    self.settle();
                    self.finish(client, false)?;
                }
            }
        }
        Ok(())
    }

    /// Hands a message to the broker. Returns whether it was refused, as it must be if `reserved`.
    fn send(
        &mut self,
        client: Option<usize>,
        number: usize,
        packet_id: u16,
        reserved: bool,
    ) -> Result<bool, String> {
        let _inside = self.process.as_ref().unwrap().runtime.enter();
        let message = message(number, self.model.message(number));
        let published = match client {
            None => self.backend().publish(message),
            Some(client) => {
                let connection = self.clients[client].connection.as_mut().ok_or("no connection")?;
                let session = &mut connection.session;
                match message.qos {
                    QoS::ExactlyOnce => {
                        let new = session.begin_exactly_once(packet_id);
                        same("a new QoS 2 message", new, true)?;
                        let published = session.publish_exactly_once(packet_id, message);
                        if published.is_err() {
                            session.abandon_exactly_once(packet_id);
                        }
                        published
                    }
                    QoS::AtMostOnce | QoS::AtLeastOnce => session.publish(message),
                }
            }
        };
        match published {
            Err(_) if reserved => Ok(true),
            Err(error) => Err(error.to_string()),
            Ok(_) if reserved => Err("it was retained on a topic that starts with $".to_owned()),
            Ok(published) => match self.model.publish(number) {
                Some(expected) => same("matches", published.matched, expected).map(|()| false),
                None => Ok(false),
            },
        }
    }

    /// PUBREC comes, if it is due.
    fn receive(&mut self, client: usize, packet_id: u16) {
        let state = &mut self.clients[client];
        let settled = state.connection.as_ref().is_some_and(|it| it.session.unsettled().is_none());
        for outgoing in state.outgoing.iter_mut().filter(|outgoing| outgoing.packet_id == packet_id) {
            outgoing.received |= settled;
        }
    }

    /// Everything that a client has published is acknowledged in full. `again`: it comes by a new connection, so that the client
    /// sends again what it has not heard of.
    fn finish(&mut self, client: usize, again: bool) -> Result<(), String> {
        if self.clients[client].connection.is_none() {
            return Ok(());
        }
        for outgoing in std::mem::take(&mut self.clients[client].outgoing) {
            let Outgoing { packet_id, number, received } = outgoing;
            let exactly_once = self.model.message(number).qos == QoS::ExactlyOnce;
            if again && !received {
                self.send_again(client, number, packet_id)?;
            }
            self.settle();
            if exactly_once {
                let connection = self.clients[client].connection.as_mut().ok_or("no connection")?;
                let known = connection.session.end_exactly_once(packet_id);
                self.settle();
                // After a kill that it was released may be known already.
                same("a QoS 2 message to release", known || (again && received), true)?;
            }
        }
        Ok(())
    }

    fn send_again(&mut self, client: usize, number: usize, packet_id: u16) -> Result<(), String> {
        if self.model.message(number).qos == QoS::ExactlyOnce {
            let connection = self.clients[client].connection.as_mut().ok_or("no connection")?;
            if connection.session.exactly_once().any(|known| known == packet_id) {
                self.model.is_known(number);
                return Ok(());
            }
            self.model.is_unknown(number);
        }
        self.send(Some(client), number, packet_id, false).map(drop)
    }

    fn acknowledge(&mut self, client: usize) {
        self.settle();
        let state = &mut self.clients[client];
        let Some(connection) = &mut state.connection else { return };
        connection.acknowledges = Acknowledges::Everything;
        let in_flight: Vec<InFlight> = connection.session.in_flight().cloned().collect();
        for sent in in_flight {
            let packet_id = sent.packet_id();
            match sent {
                InFlight::Publish { delivery, .. } if delivery.qos == QoS::ExactlyOnce => {
                    if state.received.contains(&packet_id) {
                        connection.session.received(packet_id);
                        connection.releases.push(packet_id);
                    }
                }
                _ => drop(connection.session.acknowledged(packet_id)),
            }
        }
        self.model.acknowledge(client);
    }

    /// A client takes what there is for it now. Returns how many messages were on their way.
    fn take(&mut self, client: usize) -> Result<usize, String> {
        let Some(connection) = &mut self.clients[client].connection else { return Ok(0) };
        let _inside = self.process.as_ref().unwrap().runtime.enter();
        let mut count = 0;
        loop {
            match once(pin!(connection.session.wait_for_mail())) {
                Poll::Ready(Wake::Mail) => {}
                Poll::Ready(Wake::Ended(end)) => return Err(format!("c{client} was ended: {end:?}")),
                Poll::Pending => return Ok(count),
            }
            let mut mail = Vec::new();
            connection.session.drain(100, &mut mail);
            if mail.is_empty() {
                return Ok(count);
            }
            count += mail.len();
            for delivery in mail {
                connection.send(client, delivery, &mut self.model)?;
            }
        }
    }

    /// What was held until it is stored is on the wire, if it is stored. Returns how much that was.
    fn release(&mut self) -> Result<usize, String> {
        let mut count = 0;
        for client in 0..CLIENTS {
            let state = &mut self.clients[client];
            let Some(connection) = &mut state.connection else { continue };
            if connection.session.unsettled().is_some() {
                continue;
            }
            for packet_id in std::mem::take(&mut connection.releases) {
                count += 1;
                state.received.remove(&packet_id);
                if connection.acknowledges == Acknowledges::Everything {
                    connection.session.acknowledged(packet_id);
                }
            }
            for (packet_id, delivery) in std::mem::take(&mut connection.held) {
                count += 1;
                if state.received.insert(packet_id) {
                    self.model.came(client, &received(&delivery)?)?;
                }
                if connection.acknowledges != Acknowledges::Nothing {
                    same("a message to receive", connection.session.received(packet_id), true)?;
                    connection.releases.push(packet_id);
                }
            }
        }
        Ok(count)
    }

    fn restart(&mut self) -> Result<(), String> {
        self.take_all()?;
        self.backend().disconnect_all(SessionEnd::ShuttingDown);
        for client in 0..CLIENTS {
            self.disconnect(&Disconnect { client, with_will: true, expiry: None, rushed: false });
        }
        self.settle();
        self.model.settled();
        self.model.restarted();
        self.replace_process();
        Ok(())
    }

    fn kill(&mut self) -> Result<(), String> {
        // The runtime first: nothing that is recorded from here on is stored.
        let Some(Process { runtime, backend, .. }) = self.process.take() else { return Ok(()) };
        runtime.shutdown_background();
        for client in &mut self.clients {
            client.connection = None;
        }
        drop(backend);
        self.replace_process();
        let backend = self.backend();
        let runtime = &self.process().runtime;
        let _inside = runtime.enter();
        let retained = |topic: &str| backend.retained(topic).and_then(|message| number_of(&message));
        self.model.killed(retained)
    }

    fn replace_process(&mut self) {
        self.process = None;
        self.storage.reopen();
        self.process = Some(Process::start(&*self.storage, &self.clock));
    }
}

impl Process {
    fn start(storage: &dyn Storage, clock: &Arc<ManualClock>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let (still, moving) = std::sync::mpsc::channel::<()>();
        // Time that nobody moves moves by itself when all tasks wait, unless something blocks.
        runtime.spawn_blocking(move || moving.recv().is_ok());
        let options = BackendOptions {
            session_expiry: Duration::from_secs(LONGEST_EXPIRY),
            ..BackendOptions::new(&Limits::default(), Profile::Standard)
        };
        let clock = Arc::clone(clock) as Arc<dyn Clock>;
        let backend = runtime.block_on(async {
            let backend = Backend::restore(options, storage.sessions().await, clock).await.unwrap();
            turns().await;
            backend
        });
        Self { _still: still, runtime, backend }
    }
}

impl Connection {
    /// The broker sends a message.
    fn send(&mut self, client: usize, delivery: Delivery, model: &mut Model) -> Result<(), String> {
        if delivery.qos == QoS::AtMostOnce {
            return model.came(client, &received(&delivery)?);
        }
        let used: BTreeSet<u16> = self.session.in_flight().map(InFlight::packet_id).collect();
        if used.len() >= self.window {
            return Err(format!("c{client} has {} messages in flight already", used.len()));
        }
        let packet_id = (1..).find(|id| !used.contains(id)).unwrap_or_default();
        self.session.sent(packet_id, delivery.clone());
        let came = received(&delivery)?;
        if delivery.qos == QoS::ExactlyOnce {
            model.sent(client, &came);
            self.held.push((packet_id, delivery));
            return Ok(());
        }
        model.came(client, &came)?;
        if self.acknowledges != Acknowledges::Nothing {
            self.session.acknowledged(packet_id);
        }
        Ok(())
    }
}

/// Lets every task have its turn, many times.
async fn turns() {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
}

/// Asks a future once.
fn once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: T, expected: T) -> Result<(), String> {
    if is == expected { Ok(()) } else { Err(format!("{what}: {is:?}, and not {expected:?}")) }
}

fn filter(number: usize) -> Filter {
    Filter::parse(FILTERS[number], TopicLimits { bytes: 64, levels: 8 }).unwrap()
}

fn request(connect: &Connect, will: Option<usize>) -> OpenRequest {
    let last = connect.will.as_ref().zip(will).map(|(will, number)| Will {
        message: message(
            number,
            &semantics::Message {
                publisher: Some(connect.client),
                topic: will.topic,
                qos: will.qos,
                retain: will.retain,
                empty: false,
                expiry: None,
            },
        ),
        message_expiry: will.expiry.map(Duration::from_secs),
        delay: Duration::from_secs(will.delay),
        authority: None,
    });
    OpenRequest {
        client_id: format!("c{}", connect.client).into(),
        certificate: None,
        version: if connect.v5 { ProtocolVersion::V5 } else { ProtocolVersion::V311 },
        clean_start: connect.clean,
        session_expiry: Duration::from_secs(connect.expiry),
        receive_maximum: connect.receive_maximum,
        will: last,
    }
}

/// The number of a message is in its Correlation Data. Every third message is too large to be stored with each session.
fn message(number: usize, of: &semantics::Message) -> Message {
    let payload =
        if of.empty { Vec::new() } else { vec![b'p'; if number.is_multiple_of(3) { 200 } else { 1 }] };
    let mut message = Message::new(TOPICS[of.topic], payload, of.qos);
    message.retain = of.retain;
    message.properties = Some(Box::new(PublishProperties {
        correlation_data: Some(number.to_string().into_bytes().into()),
        ..PublishProperties::default()
    }));
    match of.expiry {
        Some(expiry) => message.expiring_after(Duration::from_secs(expiry)),
        None => message,
    }
}

fn number_of(message: &Message) -> Option<usize> {
    let data = message.properties.as_ref()?.correlation_data.as_ref()?;
    std::str::from_utf8(data).ok()?.parse().ok()
}

fn received(delivery: &Delivery) -> Result<Received, String> {
    let message = &delivery.message;
    let mut identifiers: Vec<u32> =
        delivery.subscription_identifiers.as_slice().iter().map(|identifier| identifier.get()).collect();
    identifiers.sort_unstable();
    Ok(Received {
        number: number_of(message).ok_or_else(|| format!("a message that nobody published: {message:?}"))?,
        topic: message.topic.to_string(),
        qos: delivery.qos,
        retain: delivery.retain,
        identifiers,
    })
}
