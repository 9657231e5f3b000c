//! An established connection: packets in, messages out, until it ends.
use super::Shared;
use super::codec::{Inbound, Outbound, Violation, next_frame};
use super::ending::Ending;
use super::held::{Held, Packet};
use super::opening::Prepared;
use super::pace::Pace;
use super::packet_ids::PacketIds;
use super::patience::{self, Pause};
use super::pipe::{ByteStream, Pipe};
use crate::backend::{LARGEST_BURST, ProtocolVersion, SessionEnd};
use crate::batch::Mail;
use crate::connection::codec::Aliases;
use crate::enforcement::{Enforcement, Identity};
use crate::events::Presence;
use crate::live::Registration;
use crate::overload::go_last;
use crate::record::{self, Details};
use crate::services::Desk;
use crate::session::{SessionHandle, Wake};
use crate::websocket;
use jitp_provisioner::Timestamp;
use jitp_provisioner::certs::Certificate;
use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// Once this much is to be written it is written before anything else is done.
pub(super) const WRITE_AT: usize = 64 * 1024;

/// What a connection does before others get their turn: so many deliveries, or packets, each as much as some of those.
const TURN: usize = 4096;
const PACKET: usize = TURN / LARGEST_BURST;
/// An acknowledgement is far less work than a message.
const ACKNOWLEDGEMENT: usize = PACKET / 4;
/// How long nobody is told what was done while there is more to do at once.
const MOMENT: Duration = Duration::from_millis(2);
/// At most this part of a queue is filled meanwhile, by each client.
const PART_OF_QUEUE: u64 = 4;

/// A connection past CONNACK.
pub(super) struct Established<S> {
    pub(super) shared: Arc<Shared>,
    pub(super) version: ProtocolVersion,
    pub(super) session: SessionHandle,
    pub(super) enforcement: Enforcement,
    pub(super) presence: Presence,
    pub(super) out: Outbound,
    pub(super) packet_ids: PacketIds,
    pub(super) persistent: bool,
    pub(super) last_topic: Arc<str>,
    /// Where requests of fleet provisioning are served, if there have been any.
    pub(super) desk: Option<Box<Desk>>,
    /// How fast the client may be, if that is limited.
    pub(super) pace: Option<Box<Pace>>,
    pipe: Pipe<S>,
    /// What is not said yet, if there is anything.
    pub(super) held: Option<Box<Held>>,
    aliases: Aliases,
    /// Packet ids of what was in flight when the client left and was not sent again yet, in order.
    pub(super) unsent: VecDeque<u16>,
    pub(super) mail: Vec<Mail>,
    registration: Registration,
    will: Option<(Arc<str>, bool)>,
    keep_alive: Duration,
    expiry: Option<Expiry>,
    /// Fires not later than [`Established::due`]. Mostly that moves on before it fires, and then it is not
    /// touched.
    timer: Pin<Box<Sleep>>,
    /// When the last whole packet came.
    pub(super) heard: Instant,
    /// Since when a packet is incomplete.
    pub(super) incomplete: Option<Instant>,
    /// Since when somebody is to be told what was done.
    untold_since: Option<Instant>,
    /// What is left of its turn.
    pub(super) turn: usize,
    /// Messages that came and are not counted yet: all connections share the counter.
    pub(super) arrived: u64,
    /// Until when nothing is read, for the sake of a receiver.
    pub(super) pause: Option<Pause>,
}

/// When a connection ends because its certificate, or its claim, expires.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expiry(Instant);

impl Expiry {
    pub(super) fn of(certificate: &Certificate, now: Timestamp) -> Self {
        Self::after(certificate.validity().not_after, now)
    }
    /// After a second, counted since the Unix epoch.
    pub(super) fn after(last: i64, now: Timestamp) -> Self {
        /// Timers end somewhere; a connection of ten years is looked at again then.
        const FAR: u64 = 10 * 365 * 24 * 3600;
        let left = last.saturating_sub(now.unix_seconds());
        let seconds = u64::try_from(left).unwrap_or(0).saturating_add(1).min(FAR);
        Self(Instant::now() + Duration::from_secs(seconds))
    }
}

/// What woke the connection.
enum Event {
    Read(std::io::Result<usize>),
    Mail(Wake),
    Answer,
    /// What is held may be said.
    Durable,
    /// A receiver was waited for.
    Patience,
    Time,
}

impl<S: ByteStream> Established<S> {
    pub(super) fn new(shared: Arc<Shared>, pipe: Pipe<S>, out: Outbound, prepared: Prepared) -> Self {
        shared.figures.connects_accepted.increment(1);
        shared.figures.connected.increment(1.0);
        Self {
            shared,
            version: prepared.version,
            session: prepared.session,
            enforcement: prepared.enforcement,
            presence: prepared.presence,
            out,
            packet_ids: PacketIds::default(),
            persistent: prepared.persistent,
            last_topic: "".into(),
            desk: None,
            pace: prepared.rates.map(Pace::new),
            pipe,
            held: None,
            aliases: prepared.aliases,
            unsent: VecDeque::new(),
            mail: Vec::new(),
            registration: prepared.registration,
            will: prepared.will,
            keep_alive: prepared.keep_alive,
            expiry: prepared.expiry,
            timer: Box::pin(sleep(Duration::ZERO)),
            heard: Instant::now(),
            incomplete: None,
            untold_since: None,
            turn: TURN,
            arrived: 0,
            pause: None,
        }
    }

    /// Serves the client, then ends the connection.
    pub(super) async fn run(mut self: Box<Self>) {
        let ending = match self.serve().await {
            Ok(never) => match never {},
            Err(ending) => ending,
        };
        let shared = Arc::clone(&self.shared);
        // On the heap, so that a connection that lasts does not pay for it.
        Box::pin(async move { shared.ends.pass(self.end(ending)).await }).await;
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, Ending> {
        self.resend();
        loop {
            let mut more_packets = self.take_packets().await;
            self.deliver_burst();
            if matches!(more_packets, Ok(true)) && self.goes_on() {
                more_packets = self.give_turn().await.map(|()| true);
                if more_packets.is_ok() {
                    continue;
                }
                // It has to end. Receivers hear of what was done before, and nothing more is sent to this client.
            }
            self.announce();
            self.shared.figures.messages_received.increment(std::mem::take(&mut self.arrived));
            let more_packets = more_packets?;
            self.answer();
            self.release();
            self.check_refusals()?;
            let more_mail = self.resend_unsent() || self.take_mail();
            self.write().await?;
            if more_packets || more_mail {
                self.give_turn().await?;
                continue;
            }
            match self.wait().await {
                Event::Read(Ok(0)) => return Err(lost(&ErrorKind::UnexpectedEof.into())),
                Event::Read(Ok(read)) => {
                    self.shared.figures.bytes_received.increment(read as u64);
                    self.moved(read);
                }
                Event::Read(Err(error)) => return Err(lost(&error)),
                Event::Mail(Wake::Mail) | Event::Answer => {}
                Event::Mail(Wake::Ended(end)) => return Err(Ending::Session(end)),
                Event::Durable => {}
                Event::Patience => self.end_pause(),
                Event::Time => self.check_time()?,
            }
        }
    }

    async fn wait(&mut self) -> Event {
        let due = self.due();
        if due < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(due);
        }
        let held = &mut self.held;
        let durable = async {
            match held {
                Some(held) => held.changed().await,
                None => std::future::pending().await,
            }
        };
        let (reads, sends) = match &self.pace {
            Some(pace) => (pace.read_from().is_none(), pace.send_from().is_none()),
            None => (true, true),
        };
        let reads = reads && self.pause.is_none();
        tokio::select! {
            () = durable => Event::Durable,
            wake = self.session.wait_for_mail(), if sends => Event::Mail(wake),
            end = self.session.wait_for_end(), if !sends => Event::Mail(Wake::Ended(end)),
            read = self.pipe.receive(), if reads => Event::Read(read),
            () = answered(&mut self.desk) => Event::Answer,
            () = patience::ended(&mut self.pause) => Event::Patience,
            () = self.timer.as_mut() => Event::Time,
        }
    }

    /// Handles whole packets. Returns whether it is others' turn, or much is to be written already.
    async fn take_packets(&mut self) -> Result<bool, Ending> {
        let mut now = Instant::now();
        loop {
            if self.out.len() >= WRITE_AT || self.turn == 0 {
                return Ok(true);
            }
            if self.pause.is_some() || !self.may_read() {
                return Ok(false);
            }
            let frame = next_frame(self.pipe.received(), self.shared.limits.packet_bytes)
                .map_err(Ending::Violation)?;
            let Some((frame, length)) = frame else { break };
            let packet =
                Inbound::parse(&frame, self.version, &mut self.aliases).map_err(Ending::Violation)?;
            // A PUBLISH, which is nearly every packet, is handled where it lies. The rest needs what it is
            // read from out of the way. What waits is on the heap: its state would be in every idle connection.
            self.heard = now;
            self.incomplete = None;
            self.turn = self.turn.saturating_sub(match packet {
                Inbound::Puback { .. }
                | Inbound::Pubrec { .. }
                | Inbound::Pubrel { .. }
                | Inbound::Pubcomp { .. } => ACKNOWLEDGEMENT,
                _ => PACKET,
            });
            match packet {
                Inbound::Publish(publish) => {
                    let topic = publish.topic.as_str();
                    let topic =
                        if *self.last_topic == *topic { Arc::clone(&self.last_topic) } else { topic.into() };
                    let retain = publish.retain;
                    let publish = super::incoming::Publish::new(publish, topic);
                    self.pipe.consume(length);
                    let due = self.publish(publish)?;
                    let (lag, in_turns) = self.session.deliver_in_turns().await;
                    if let Some(lag) = lag {
                        self.wait_for_receiver(lag);
                    }
                    if in_turns {
                        // Nothing was read meanwhile: the client was not silent.
                        now = Instant::now();
                        self.heard = now;
                    }
                    self.answer_publish(due);
                    if self.is_ahead() || (retain && self.session.is_crowded()) {
                        Box::pin(self.catch_up()).await?;
                    }
                }
                Inbound::Subscribe { packet_id, subscriptions } => {
                    let subscriptions =
                        subscriptions.iter().map(|s| (s.filter.to_owned(), s.options)).collect::<Vec<_>>();
                    self.pipe.consume(length);
                    self.announce();
                    Box::pin(self.subscribe(packet_id, &subscriptions)).await?;
                }
                Inbound::Unsubscribe { packet_id, filters } => {
                    let filters: Vec<String> = filters.into_iter().map(str::to_owned).collect();
                    self.pipe.consume(length);
                    self.announce();
                    Box::pin(self.unsubscribe(packet_id, &filters)).await?;
                }
                Inbound::Disconnect { with_will, session_expiry } => {
                    return Err(self.goodbye(with_will, session_expiry));
                }
                Inbound::Pingreq => {
                    self.pipe.consume(length);
                    self.out.pingresp();
                }
                Inbound::Puback { packet_id } => {
                    self.pipe.consume(length);
                    self.acknowledged(packet_id)?;
                }
                Inbound::Pubcomp { packet_id } => {
                    self.pipe.consume(length);
                    self.completed(packet_id)?;
                }
                Inbound::Pubrec { packet_id, refused } => {
                    self.pipe.consume(length);
                    self.received(packet_id, refused)?;
                }
                Inbound::Pubrel { packet_id } => {
                    self.pipe.consume(length);
                    self.released(packet_id);
                    if self.is_ahead() {
                        Box::pin(self.catch_up()).await?;
                    }
                }
            }
        }
        self.incomplete = match self.pipe.received().is_empty() {
            true => None,
            false => self.incomplete.or(Some(now)),
        };
        Ok(false)
    }

    /// Delivers what was published, and wakes its receivers.
    fn announce(&mut self) {
        self.deliver_burst();
        self.session.wake_receivers();
        self.untold_since = None;
    }

    fn deliver_burst(&mut self) {
        if let Some(lag) = self.session.deliver_burst() {
            self.wait_for_receiver(lag);
        }
    }

    /// It is others' turn. Are packets left that are to be handled before anybody is told of the others, the client or
    /// receivers? The more there is to say, the more is said with one write. Only for a moment, and only while receivers
    /// that are not woken have room.
    fn goes_on(&mut self) -> bool {
        let has_room = self.out.len() < WRITE_AT
            && self.arrived < self.shared.limits.queued_messages as u64 / PART_OF_QUEUE;
        if !has_room || self.pause.is_some() || !self.has_packet() {
            return false;
        }
        let now = Instant::now();
        now - *self.untold_since.get_or_insert(now) < MOMENT
    }

    /// Has a whole packet come that was not handled?
    fn has_packet(&self) -> bool {
        matches!(next_frame(self.pipe.received(), self.shared.limits.packet_bytes), Ok(Some(_)))
    }

    /// Lets others have their turn: other connections, and other threads. The system lets a thread go on for milliseconds that
    /// always has something to do, and one that wakes for a message of somebody else waits behind it.
    async fn give_turn(&mut self) -> Result<(), Ending> {
        if let Some(end) = self.session.ended() {
            return Err(Ending::Session(end));
        }
        self.turn = TURN;
        std::thread::yield_now();
        go_last().await;
        Ok(())
    }

    /// Has more come than what was handled?
    pub(super) fn has_more(&self) -> bool {
        !self.pipe.received().is_empty()
    }

    /// Says PUBCOMP once all that was recorded before is durable; now, if nothing is to be waited for. In order.
    pub(super) fn complete(&mut self, packet_id: u16, code: u8) {
        self.say_when_durable(Packet::Other, |out| out.pubcomp(packet_id, code));
    }

    /// Says PUBREL in the same way. One that waits still is the answer to whatever asks for it again.
    pub(super) fn release_message(&mut self, packet_id: u16) {
        if !self.is_unsent(packet_id) {
            self.say_when_durable(Packet::Awaiting(packet_id), |out| out.pubrel(packet_id, 0));
        }
    }

    /// Is PUBLISH or PUBREL with this packet id not sent yet, as it waits for the store?
    pub(super) fn is_unsent(&self, packet_id: u16) -> bool {
        self.held.as_ref().is_some_and(|held| held.is_unsent(packet_id))
    }

    /// Says PUBACK or PUBREC with this reason code. One that refuses promises nothing: it only comes behind those of earlier
    /// messages.
    pub(super) fn acknowledge(&mut self, code: u8, say: impl FnOnce(&mut Outbound)) {
        if code < 0x80 {
            return self.say_when_durable(Packet::Acknowledgement, say);
        }
        self.release();
        match &mut self.held {
            Some(held) if held.has_answers() => held.say(None, Packet::Refusal, say),
            _ => say(&mut self.out),
        }
    }

    pub(super) fn say_when_durable<R>(&mut self, packet: Packet, say: impl FnOnce(&mut Outbound) -> R) -> R {
        self.release();
        let ticket = self.session.unsettled();
        match (&mut self.held, ticket) {
            (None, None) => say(&mut self.out),
            (Some(held), ticket) => held.say(ticket, packet, say),
            (None, Some(ticket)) => match self.session.progress() {
                None => say(&mut self.out),
                Some(progress) => {
                    let held = self.held.insert(Box::new(Held::new(self.out.like(), progress)));
                    held.say(Some(ticket), packet, say)
                }
            },
        }
    }

    /// A refusal does not wait until there is room on the disk. If it would have to, behind the acknowledgement of what was
    /// taken over just before, all that is left to say it is DISCONNECT.
    fn check_refusals(&self) -> Result<(), Ending> {
        match &self.held {
            Some(held) if held.has_refusals() && self.session.is_stuck() => {
                Err(Ending::Throttled("the client sent what cannot be stored now; see /readyz".into()))
            }
            _ => Ok(()),
        }
    }

    /// Says what had to wait and need not any more.
    fn release(&mut self) {
        if let Some(held) = &mut self.held {
            let session = &self.session;
            if held.release(&mut self.out, |ticket| session.is_durable(ticket)) {
                self.held = None;
            }
        }
    }

    /// Is more held than should be?
    fn is_ahead(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.is_long())
    }

    /// The client is ahead of the store: what it has sent is stored before more is read from it.
    async fn catch_up(&mut self) -> Result<(), Ending> {
        self.announce();
        while self.session.is_crowded() || self.is_ahead() {
            self.release();
            self.write().await?;
            let held = &mut self.held;
            let caught_up = async {
                match held {
                    Some(held) => held.changed().await,
                    None => self.session.uncrowded().await,
                }
            };
            tokio::select! {
                () = caught_up => {}
                end = self.session.wait_for_end() => return Err(Ending::Session(end)),
            }
            if self.session.is_stuck() {
                return match self.held.as_ref().is_some_and(|held| held.is_too_long()) {
                    true => Err(Ending::Throttled("what the client sent cannot be stored now".into())),
                    false => Ok(()),
                };
            }
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<(), Ending> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.shared.figures.bytes_sent.increment(self.out.len() as u64);
        self.moved(self.out.len());
        let session = &self.session;
        self.pipe.send(&mut self.out, || session.ended().is_some()).await.map_err(|error| {
            match session.ended() {
                Some(end) => Ending::Session(end),
                None => lost(&error),
            }
        })
    }

    /// When to look at the clock next.
    fn due(&self) -> Instant {
        let paused = self.pace.as_ref().map(|pace| (pace.read_from(), pace.send_from()));
        let (read_from, send_from) = paused.unwrap_or_default();
        let heard = read_from.unwrap_or_else(|| {
            if self.pause.is_some() {
                return Instant::now() + self.patience();
            }
            let silent = self.heard + self.patience();
            let trickling =
                self.incomplete.map_or(silent, |since| since + self.shared.limits.packet_deadline);
            silent.min(trickling)
        });
        let expired = self.expiry.map_or(heard, |expiry| expiry.0);
        heard.min(expired).min(send_from.unwrap_or(heard))
    }

    fn check_time(&self) -> Result<(), Ending> {
        let now = Instant::now();
        if self.expiry.is_some_and(|expiry| expiry.0 <= now) {
            return Err(Ending::Session(SessionEnd::CertificateExpired));
        }
        if self.pause.is_some() || self.pace.as_ref().is_some_and(|pace| pace.read_from().is_some()) {
            return Ok(());
        }
        if self.heard + self.patience() <= now {
            return Err(Ending::Silent { seconds: self.patience().as_secs() });
        }
        let deadline = self.shared.limits.packet_deadline;
        if self.incomplete.is_some_and(|since| since + deadline <= now) {
            let message = format!("one packet for more than {deadline:?}");
            return Err(Ending::Violation(Violation::new(DisconnectReasonCode::UnspecifiedError, message)));
        }
        Ok(())
    }

    fn patience(&self) -> Duration {
        self.keep_alive * 3 / 2
    }

    async fn end(mut self: Box<Self>, ending: Ending) {
        let (will, enforcement) = (self.will.take(), &mut self.enforcement);
        let allowed = || will.is_none_or(|(topic, retain)| enforcement.may_publish(&topic, retain));
        let how = ending.close(allowed);
        self.session.publish_will(how);
        self.session.deliver_in_turns().await;
        self.session.close(how);
        self.shared.lifecycle.disconnected(&self.presence, ending.presence());
        self.shared.figures.connected.decrement(1.0);
        if matches!(ending, Ending::Violation(_)) {
            self.shared.figures.protocol_violations.increment(1);
        }
        log_disconnect(self.enforcement.identity(), &ending);
        drop(self.registration);
        if let Some(code) = ending.code() {
            let reason = matches!(ending, Ending::Violation(_) | Ending::Throttled(_) | Ending::TooFast(_));
            let reason = reason.then(|| ending.details());
            self.out.disconnect(code, reason.as_deref());
            self.pipe.send_last(&mut self.out).await;
        }
        self.pipe.close().await;
    }
}

/// Waits for an answer to a request. Without requests there is none.
async fn answered(desk: &mut Option<Box<Desk>>) {
    match desk {
        Some(desk) => desk.wait().await,
        None => std::future::pending().await,
    }
}

fn lost(error: &std::io::Error) -> Ending {
    if let Some(violation) = error.get_ref().and_then(|error| error.downcast_ref::<websocket::Violation>()) {
        return Ending::Violation(Violation::new(DisconnectReasonCode::ProtocolError, violation.message));
    }
    Ending::Lost(match error.kind() {
        ErrorKind::UnexpectedEof => "the client closed the connection without DISCONNECT".into(),
        _ => format!("the connection broke: {error}").into(),
    })
}

fn log_disconnect(identity: &Identity, ending: &Ending) {
    let details = ending.details();
    let details = Details::of_end(ending.presence(), &details);
    if ending.is_a_failure() {
        identity.failed(record::Event::Disconnect, details);
    } else {
        identity.succeeded(record::Event::Disconnect, details);
    }
}
