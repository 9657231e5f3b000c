//! The backend within this process: from a published message to the mailboxes of its receivers.
use super::burst::Burst;
use super::chores::{self, Chore, Chores};
use super::directory::Directory;
use super::dropped::Dropped;
use super::fan_out::{FanOut, UNDER_WAY, one_delivery};
use super::late_wills::{self, DueWills, LateWills};
use super::timers::Timers;
use super::under_way::UnderWay;
use super::waking::{Wakers, Waking};
use super::{BackendOptions, Counts, PublishError, Published};
use crate::batch::Part;
use crate::message::{Delivery, Message, QoS};
use crate::overload::Turns;
use crate::rates::{Action, KeyedRates, Limit, Nanos, Rate};
use crate::retained::Retained;
use crate::router::{Keyed, Match, Matches, Router, Standing, Subscriber};
use crate::session::durable::{LateRecording, NotStored, Recorder, Sequence, Ticket};
use crate::session::{Bounds, Evicted, Lag, Pushed, Session, charge};
use jitp_provisioner::sessions::SessionRow;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

/// What is recorded in the batch of a message.
#[derive(Debug)]
pub(crate) enum Along {
    /// It came with QoS 2: its packet id is known as long as the message is.
    Received(SessionRow),
    /// It is a last will, which waits no longer: where it was, and what it counted.
    Will { row: SessionRow, charge: u32 },
}

/// Work beside what connections do: it begins once all is there that it concerns.
pub(super) struct Duties {
    chores: UnboundedReceiver<Chore>,
    due_wills: DueWills,
}

/// All state. Handles and the clones of [`super::Backend`] share it.
pub(crate) struct Local {
    pub(crate) options: BackendOptions,
    pub(crate) router: Router<Arc<Session>>,
    pub(crate) retained: Retained,
    /// How often messages are retained on one topic; `None`: as often as they come.
    retained_of_topic: Option<RetainedRate>,
    pub(crate) dropped: Dropped,
    pub(super) directory: Directory,
    pub(super) timers: Arc<Timers>,
    pub(super) late_wills: LateWills,
    pub(super) sessions_made: AtomicU64,
    pub(super) wills_made: AtomicU64,
    pub(super) tickets: AtomicU64,
    pub(super) online: AtomicUsize,
    pub(super) offline: AtomicUsize,
    pub(super) chores: Chores,
    pub(super) bounds: Bounds,
    pub(crate) waking: Arc<Waking>,
    /// Room for messages that are under way to very many.
    pub(super) under_way: Arc<Semaphore>,
    /// `None`: nothing survives this process.
    pub(crate) recorder: Option<Arc<Recorder>>,
}

impl Local {
    /// With nothing in it, and nothing is stored.
    pub(super) fn start(options: BackendOptions) -> Arc<Self> {
        let (local, duties) = Self::begin(options, None, 0);
        local.take_up(duties);
        local
    }

    /// With nothing in it. `recorder`: what there will be of durable sessions and retained messages is stored. Numbers of
    /// sessions and wills begin behind `first`.
    pub(super) fn begin(
        options: BackendOptions,
        recorder: Option<Arc<Recorder>>,
        first: u64,
    ) -> (Arc<Self>, Duties) {
        let (late_wills, due_wills) = LateWills::new();
        let (chores, to_do) = Chores::new();
        let duties = Duties { chores: to_do, due_wills };
        let local = Arc::new(Self {
            router: Router::new(options.hash_matches_parent),
            retained: Retained::new(options.retained_messages),
            retained_of_topic: RetainedRate::new(options.retained_of_topic),
            dropped: Dropped::new(),
            directory: Directory::new(),
            timers: Arc::default(),
            late_wills,
            chores,
            sessions_made: AtomicU64::new(first),
            wills_made: AtomicU64::new(first),
            tickets: AtomicU64::new(0),
            online: AtomicUsize::new(0),
            offline: AtomicUsize::new(0),
            bounds: Bounds {
                messages: options.queued_messages,
                bytes: u32::try_from(options.queued_bytes).unwrap_or(u32::MAX),
                drop_oldest: options.drop_oldest,
                patience: options.publisher_patience,
            },
            waking: Arc::default(),
            under_way: Arc::new(Semaphore::new(UNDER_WAY)),
            recorder,
            options,
        });
        tokio::spawn(Arc::clone(&local.waking).run());
        if let Some(recorder) = &local.recorder {
            tokio::spawn(Arc::clone(recorder).run());
        }
        (local, duties)
    }

    /// Sees to what is due from now on, until the last who knows of it is gone.
    pub(super) fn take_up(self: &Arc<Self>, Duties { chores, due_wills }: Duties) {
        if let Some(recorder) = &self.recorder {
            tokio::spawn(chores::run(Arc::downgrade(self), Arc::clone(recorder), chores));
        }
        tokio::spawn(late_wills::ask_and_publish(Arc::downgrade(self), due_wills));
        let (timers, weak) = (Arc::clone(&self.timers), Arc::downgrade(self));
        tokio::spawn(async move {
            // Many may be due at once.
            let mut turns = Turns::default();
            while let Some((timer, session)) = timers.next().await {
                match weak.upgrade() {
                    Some(local) => local.attend(timer, &session),
                    None => return,
                }
                turns.one_done().await;
            }
        });
    }

    /// Retains and delivers a message, and wakes who gets it.
    pub(crate) fn publish(&self, message: Message, along: Option<Along>) -> Result<Published, PublishError> {
        let mut wakers = Wakers::default();
        let published =
            self.publish_from(message, along, &mut wakers, false).map(|(published, rest)| match rest {
                Some(rest) => published.and(rest.finish(self, &mut wakers)),
                None => published,
            });
        self.waking.wake(&mut wakers);
        published
    }

    /// Retains and delivers a message; adds who is to be woken. If it is for very many, the caller delivers it to the rest of
    /// them before it publishes anything else. `more`: others of the same client will probably follow at once. This one may then
    /// wait for them.
    pub(crate) fn publish_from(
        &self,
        mut message: Message,
        along: Option<Along>,
        wakers: &mut Wakers,
        more: bool,
    ) -> Result<(Published, Option<Box<UnderWay>>), PublishError> {
        let more = more && !message.retain && along.is_none();
        if message.retain {
            message.retained_at = self.recorder.as_ref().map_or(0, |recorder| recorder.wall().now());
        }
        // Looked at once, so that a message is refused as a whole.
        let cannot_be_stored = message.qos > QoS::AtMostOnce && self.is_stuck();
        if cannot_be_stored && (message.retain || matches!(along, Some(Along::Received(_)))) {
            return Err(PublishError::NotStored);
        }
        let message = Arc::new(message);
        let mut recording = self.recording();
        if message.retain {
            self.retain(&message, &mut recording)?;
        }
        let whole = along.is_some();
        let (published, rest) =
            self.deliver(&message, cannot_be_stored, whole, &mut recording, wakers, more)?;
        let is_urgent = message.qos > QoS::AtMostOnce || along.is_some();
        if let Some(along) = along
            && let Some(recording) = recording.begin()
        {
            match along {
                Along::Received(row) => recording.put(row, vec![1]),
                Along::Will { row, charge } => recording.forget_will(row, charge),
            }
        }
        let ticket = if is_urgent { recording.urgent() } else { 0 };
        Ok((Published { ticket, ..published }, rest))
    }

    fn retain(&self, message: &Arc<Message>, recording: &mut LateRecording<'_>) -> Result<(), PublishError> {
        if self.retained_of_topic.as_ref().is_some_and(|rate| !rate.take(&message.topic)) {
            return Err(PublishError::RetainedTooOften);
        }
        // Recording before the change, so that what is stored last is what is kept last.
        let recording = recording.begin();
        let expired = self.retained.set(message)?;
        if let Some(recording) = recording {
            for topic in expired {
                recording.delete(SessionRow::Retained { topic });
            }
            recording.retain(message);
        }
        Ok(())
    }

    /// What is recorded next.
    pub(crate) fn recording(&self) -> LateRecording<'_> {
        LateRecording::new(self.recorder.as_deref())
    }

    /// Can nothing be stored now?
    pub(crate) fn is_stuck(&self) -> bool {
        self.recorder.as_ref().is_some_and(|recorder| recorder.is_stuck())
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            online: self.online.load(Ordering::Relaxed),
            offline: self.offline.load(Ordering::Relaxed),
            subscriptions: self.router.len(),
            retained: self.retained.len(),
        }
    }

    /// Puts a message into the mailboxes of those it matches: all of them, or, if they are very many, some of them, and returns the
    /// rest. `whole`: where it has to be stored it is now. If it cannot be stored, it may have to be for none.
    fn deliver(
        &self,
        message: &Arc<Message>,
        cannot_be_stored: bool,
        whole: bool,
        recording: &mut LateRecording<'_>,
        wakers: &mut Wakers,
        more: bool,
    ) -> Result<(Published, Option<Box<UnderWay>>), PublishError> {
        let changes = self.router.changes();
        let mut matches = Matches::within(MEMORY.take(), message.publisher.map(|id| id.0.get()));
        self.router.collect(&message.topic, &mut matches);
        if cannot_be_stored {
            matches.gather();
            if matches.few.iter().any(|found| found.subscriber.is_durable()) {
                return Err(PublishError::NotStored);
            }
        }
        if more && let Some(burst) = Burst::begin(message, &mut matches, changes) {
            MEMORY.set(matches.few);
            let published = Published { matched: burst.receivers(), ticket: 0, lag: None };
            return Ok((published, Some(Box::new(UnderWay::Burst(burst)))));
        }
        let rest = FanOut::of_many(message, &mut matches, whole, self.recorder.is_some(), &self.under_way);
        let (mut matched, mut lag) = (rest.as_ref().map_or(0, FanOut::matched), None);
        if rest.is_some() {
            recording.one_for_many();
        }
        let mut found = matches.few.drain(..).peekable();
        while let Some(first) = found.next() {
            matched += 1;
            if first.shared.is_some() {
                lag = self.deliver_shared(first, message, recording, wakers).or(lag);
                continue;
            }
            let (session, delivery) = one_delivery(first, &mut found, message);
            // A session that has ended since gets nothing.
            lag = self.push(&session, delivery, recording, wakers).unwrap_or_default().or(lag);
        }
        drop(found);
        if matches.few.capacity() <= KEPT_CAPACITY {
            MEMORY.set(matches.few);
        }
        let rest = rest.map(UnderWay::FanOut).map(Box::new);
        Ok((Published { matched, ticket: 0, lag }, rest))
    }

    /// Puts a delivery into a mailbox, and stores it if the session is durable; adds who is to be woken. Returns whom
    /// its publisher should wait for. `Err`: the session has ended.
    pub(super) fn push(
        &self,
        session: &Arc<Session>,
        delivery: Delivery,
        recording: &mut LateRecording<'_>,
        wakers: &mut Wakers,
    ) -> Result<Option<Arc<Lag>>, Delivery> {
        let mut evicted = Evicted::default();
        let pushed = if session.is_durable() && delivery.qos > QoS::AtMostOnce {
            self.push_and_store(session, delivery, recording, &mut evicted, wakers)
        } else {
            session.push(delivery, self.bounds, &mut evicted, wakers)
        };
        if !evicted.is_empty() {
            self.evicted(session, &evicted, recording);
        }
        match pushed {
            Pushed::Queued { lag, .. } => Ok(lag),
            Pushed::Missed => Ok(None),
            Pushed::Full(lag) => {
                self.dropped.full(1);
                Ok(lag)
            }
            Pushed::Gone(delivery) => Err(delivery),
        }
    }

    /// Puts messages that came together into the mailbox of a session that is not durable; adds its connection if it is to be
    /// woken. Returns whether their publisher should wait for it.
    pub(super) fn push_part(
        &self,
        session: &Arc<Session>,
        part: Part,
        wakers: &mut Wakers,
    ) -> Option<Arc<Lag>> {
        let mut evicted = Evicted::default();
        let (full, lag) = session.push_part(part, self.bounds, &mut evicted, wakers);
        if !evicted.is_empty() {
            self.evicted(session, &evicted, &mut self.recording());
        }
        self.dropped.full(full);
        lag
    }

    fn push_and_store(
        &self,
        session: &Session,
        delivery: Delivery,
        recording: &mut LateRecording<'_>,
        evicted: &mut Evicted,
        wakers: &mut Wakers,
    ) -> Pushed {
        // Before the mailbox is touched: the order of the rows is that of the queue.
        let Some(recording) = recording.begin() else { return Pushed::Full(None) };
        if !recording.has_room(charge(&delivery)) {
            return Pushed::Full(None);
        }
        recording.about(&delivery);
        let pushed = session.push(delivery, self.bounds, evicted, wakers);
        if let Pushed::Queued { stored, .. } = &pushed {
            recording.keep(session.id, *stored);
        }
        pushed
    }

    fn evicted(&self, session: &Arc<Session>, evicted: &Evicted, recording: &mut LateRecording<'_>) {
        self.dropped.expired(evicted.expired.len() as u64);
        self.dropped.full(evicted.oldest.len() as u64);
        for delivery in evicted.expired.iter().chain(&evicted.oldest) {
            if let Some(recording) = recording.begin() {
                recording.forget(session.id, delivery);
            }
        }
        if evicted.overfull {
            self.chores.trim(session);
        }
    }

    /// The chosen member may have ended since: then another one gets it.
    fn deliver_shared(
        &self,
        chosen: Match<Arc<Session>>,
        message: &Arc<Message>,
        recording: &mut LateRecording<'_>,
        wakers: &mut Wakers,
    ) -> Option<Arc<Lag>> {
        match self.push(&chosen.subscriber, chosen.delivery(message), recording, wakers) {
            Ok(lag) => lag,
            Err(delivery) => {
                if !self.pass_on(&delivery, &chosen.subscriber, false, recording) {
                    self.dropped.no_member();
                }
                None
            }
        }
    }

    /// Gives a delivery of a shared subscription to another member of the group, one that is online if `online_only`.
    /// `false`: there is none.
    pub(super) fn pass_on(
        &self,
        delivery: &Delivery,
        from: &Arc<Session>,
        online_only: bool,
        recording: &mut LateRecording<'_>,
    ) -> bool {
        // A member may end just after it was chosen, but not many in a row.
        const ATTEMPTS: usize = 4;
        for _ in 0..ATTEMPTS {
            let chosen = delivery.shared.as_ref().and_then(|group| self.router.choose(group, from.key()));
            let Some(chosen) = chosen else { return false };
            if online_only && chosen.subscriber.standing() != Standing::Online {
                return false;
            }
            let mut wakers = Wakers::default();
            let delivery = chosen.delivery(&delivery.message);
            if self.push(&chosen.subscriber, delivery, recording, &mut wakers).is_ok() {
                self.waking.wake(&mut wakers);
                return true;
            }
        }
        false
    }

    /// Queues a delivery again that the session had already.
    pub(super) fn put_back(
        &self,
        session: &Arc<Session>,
        delivery: Delivery,
        recording: &mut LateRecording<'_>,
    ) {
        if delivery.stored.is_stored()
            && let Some(recording) = recording.begin()
        {
            recording.forget(session.id, &delivery);
        }
        // It was there when its connection ended, and it cannot have ended since.
        let mut wakers = Wakers::default();
        let again = Delivery { stored: Sequence::default(), ..delivery };
        let _ = self.push(session, again, recording, &mut wakers);
        self.waking.wake(&mut wakers);
    }

    /// Waits until a batch is durable, not while nothing can be written.
    pub(super) async fn stored(&self, ticket: Ticket) -> Result<(), NotStored> {
        match &self.recorder {
            Some(recorder) if ticket > 0 => recorder.durable(ticket).await,
            _ => Ok(()),
        }
    }

    /// Waits until what was published so far is stored where it has to be.
    pub(super) async fn settled(&self) {
        if let Some(recorder) = &self.recorder {
            recorder.settled().await;
        }
    }
}

/// How often messages are retained on each topic.
struct RetainedRate {
    topics: KeyedRates,
    since: Instant,
}

impl RetainedRate {
    fn new(per_second: u32) -> Option<Self> {
        let topics = KeyedRates::new(Rate::new(per_second)?);
        Some(Self { topics, since: Instant::now() })
    }

    fn take(&self, topic: &str) -> bool {
        let now = Nanos::try_from(self.since.elapsed().as_nanos()).unwrap_or(Nanos::MAX);
        let taken = self.topics.take(topic, now);
        if !taken {
            Limit::RetainedOfTopic.count(Action::Refused, 1);
        }
        taken
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.timers.close();
        self.waking.close();
        if let Some(recorder) = &self.recorder {
            recorder.close();
        }
    }
}

impl Match<Arc<Session>> {
    pub(super) fn delivery(&self, message: &Arc<Message>) -> Delivery {
        Delivery {
            message: Arc::clone(message),
            qos: self.qos.min(message.qos),
            retain: self.retain_as_published && message.retain,
            stored: Sequence::default(),
            subscription_identifiers: self.identifier.into(),
            shared: self.shared.clone(),
        }
    }
}

thread_local! {
    /// Where matches are collected: used again for the next message of this thread.
    static MEMORY: Cell<Vec<Match<Arc<Session>>>> = const { Cell::new(Vec::new()) };
}

/// Matches that memory is kept for; more are rare enough to be allocated each time.
const KEPT_CAPACITY: usize = 4096;
