//! What is to be stored, gathered in memory and committed in batches.
//!
//! One lock guards the batch that is being gathered. It is taken only for what concerns a durable session or a retained
//! message, and always before the lock of a mailbox, so that the order of the rows is the order of the queue. What concerns
//! queues, nearly everything, is encoded at once and in its order; of any other row the last value counts.
use super::rows::{StoredInFlight, StoredWhere, encode_delivery};
use super::sequence::Sequence;
use super::stored_message::encode_message;
use super::wall::Wall;
use crate::message::{Delivery, Message, SessionId, Stored};
use crate::session::charge;
use hashbrown::HashMap;
use jitp_provisioner::sessions::{SessionRow, SessionStore, SessionWrites};
use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Bytes that are gathered before publishers are asked to wait.
const CROWDED: usize = 8 * 1024 * 1024;
/// What nobody waits for is committed this long after it came, or once it is this much.
const LATER: Duration = Duration::from_millis(50);
const LATER_BYTES: usize = 1024 * 1024;
/// The pause after a commit failed.
const PAUSE: Duration = Duration::from_secs(1);
/// About what a row costs beside its value.
const PER_ROW: usize = 96;
/// A message that is not larger is stored again for every session; a larger one once for all.
const SMALL: usize = 128;

/// Names a batch: what it holds is durable once that number is.
pub type Ticket = u64;

/// It cannot be stored now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be stored: the registry cannot be written; see /readyz")]
pub struct NotStored;

/// How much may be stored for all sessions together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoreBounds {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

/// Gathers and commits.
pub(crate) struct Recorder {
    store: SessionStore,
    wall: Wall,
    bounds: StoreBounds,
    gathered: Mutex<Gathered>,
    /// There is something to commit.
    work: Notify,
    progress: watch::Sender<Progress>,
    /// Copies of [`Progress`], to be read at the cost of a load.
    durable: AtomicU64,
    stuck: AtomicBool,
    figures: Figures,
}

/// How far the commits have come.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    /// Everything up to this batch is durable.
    pub(crate) durable: Ticket,
    /// The last try failed. It goes on.
    pub(crate) stuck: bool,
}

/// The batch that is being gathered, and what has to be known about all that is stored.
struct Gathered {
    ticket: Ticket,
    /// Rows of queues.
    queues: SessionWrites,
    /// Other rows, and about how many bytes they are.
    rows: HashMap<SessionRow, Option<Vec<u8>>>,
    row_bytes: usize,
    /// Somebody waits for it.
    urgent: bool,
    /// When the first row came.
    since: Option<Instant>,
    closed: bool,
    /// How many rows refer to each message that is stored once.
    references: HashMap<u64, u32>,
    /// The last number that such a message got.
    numbered: u64,
    /// Messages for all sessions, and their bytes with those of wills.
    messages: u64,
    message_bytes: u64,
    /// Session and place of each that keeps what [`Recording::kept`] is.
    places: Vec<(u64, u64)>,
}

/// When the batch is to be committed.
enum Due {
    Now(Ticket, SessionWrites, HashMap<SessionRow, Option<Vec<u8>>>),
    /// Some time after its first row came; `None`: there is none.
    Later(Option<Instant>),
    /// It is closed, and there is none.
    Never,
}

struct Figures {
    messages: Gauge,
    bytes: Gauge,
    wills_not_stored: Counter,
}

impl Recorder {
    /// For a store that nothing has been read of. Numbers that are given begin at `first`, which is above all that were
    /// ever given.
    pub(crate) fn new(store: SessionStore, wall: Wall, bounds: StoreBounds, first: u64) -> Arc<Self> {
        describe_gauge!("jitp_session_messages_stored", "Messages that are stored for durable sessions.");
        describe_gauge!(
            "jitp_session_message_bytes_stored",
            "Bytes of the messages and last wills that are stored for durable sessions."
        );
        describe_counter!(
            "jitp_wills_not_stored_total",
            "Last wills of durable sessions for which there was no room: a kill silences them."
        );
        Arc::new(Self {
            store,
            wall,
            bounds,
            gathered: Mutex::new(Gathered {
                ticket: 1,
                queues: SessionWrites::default(),
                rows: HashMap::new(),
                row_bytes: 0,
                urgent: false,
                since: None,
                closed: false,
                references: HashMap::new(),
                numbered: first,
                messages: 0,
                message_bytes: 0,
                places: Vec::new(),
            }),
            work: Notify::new(),
            progress: watch::Sender::new(Progress::default()),
            durable: AtomicU64::new(0),
            stuck: AtomicBool::new(false),
            figures: Figures {
                messages: gauge!("jitp_session_messages_stored"),
                bytes: gauge!("jitp_session_message_bytes_stored"),
                wills_not_stored: counter!("jitp_wills_not_stored_total"),
            },
        })
    }

    pub(crate) fn store(&self) -> &SessionStore {
        &self.store
    }
    pub(crate) fn wall(&self) -> &Wall {
        &self.wall
    }

    /// Begins to record. Nobody else does until the recording is dropped.
    pub(crate) fn record(&self) -> Recording<'_> {
        let gathered = self.gathered.lock();
        Recording { recorder: self, gathered, kept: None, recorded: false, for_many: false }
    }

    /// Is it durable?
    pub(crate) fn is_durable(&self, ticket: Ticket) -> bool {
        self.durable.load(Ordering::Acquire) >= ticket
    }
    /// Did the last commit fail?
    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }
    /// To watch how far the commits have come.
    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Waits until a batch is durable; not while nothing can be written.
    pub(crate) async fn durable(&self, ticket: Ticket) -> Result<(), NotStored> {
        if self.is_durable(ticket) {
            return Ok(());
        }
        let mut progress = self.progress();
        match progress.wait_for(|now| now.durable >= ticket || now.stuck).await {
            Ok(now) if now.durable >= ticket => Ok(()),
            _ => Err(NotStored),
        }
    }

    /// The batch of what was recorded last.
    pub(crate) fn last(&self) -> Ticket {
        let gathered = self.gathered.lock();
        if gathered.is_empty() { gathered.ticket.saturating_sub(1) } else { gathered.ticket }
    }

    /// Waits until everything that was recorded so far is durable, however long that takes.
    pub(crate) async fn settled(&self) {
        let ticket = self.last();
        {
            let mut gathered = self.gathered.lock();
            if gathered.ticket == ticket {
                gathered.hurry(&self.work);
            }
        }
        if !self.is_durable(ticket) {
            // An error would mean that the recorder is gone, which it is not.
            let _ = self.progress().wait_for(|now| now.durable >= ticket).await;
        }
    }

    /// Has more been gathered than should be?
    pub(crate) fn is_crowded(&self) -> bool {
        self.gathered.lock().bytes() > CROWDED
    }
    /// Waits for the end of a crowd, not while nothing can be written.
    pub(crate) async fn room(&self) {
        let mut progress = self.progress();
        while self.is_crowded() && !progress.borrow_and_update().stuck {
            if progress.changed().await.is_err() {
                return;
            }
        }
    }

    /// Commits until it is closed, and then the rest.
    pub(crate) async fn run(self: Arc<Self>) {
        while let Some((ticket, writes)) = self.next().await {
            if !writes.is_empty() && !self.commit(&writes).await {
                return;
            }
            self.durable.store(ticket, Ordering::Release);
            self.stuck.store(false, Ordering::Relaxed);
            self.progress.send_replace(Progress { durable: ticket, stuck: false });
        }
    }

    /// Tries until it succeeds; `false` when nobody wants it any more.
    async fn commit(&self, writes: &Arc<SessionWrites>) -> bool {
        while let Err(error) = self.store.commit(writes).await {
            if !self.is_stuck() {
                tracing::error!(%error, "sessions cannot be stored; what needs that is refused; trying again");
            }
            self.stuck.store(true, Ordering::Relaxed);
            self.progress.send_modify(|progress| progress.stuck = true);
            if !self.gathered.lock().goes_on_while_stuck() {
                return false;
            }
            tokio::time::sleep(PAUSE).await;
        }
        true
    }

    /// The next batch; `None`: closed, and nothing is left.
    async fn next(&self) -> Option<(Ticket, Arc<SessionWrites>)> {
        loop {
            let work = self.work.notified();
            match self.due() {
                Due::Now(ticket, mut writes, rows) => {
                    writes.extend(rows);
                    return Some((ticket, Arc::new(writes)));
                }
                Due::Never => return None,
                Due::Later(None) => work.await,
                Due::Later(Some(since)) => {
                    tokio::select! {
                        () = work => {}
                        () = tokio::time::sleep_until(since + LATER) => {}
                    }
                }
            }
        }
    }

    fn due(&self) -> Due {
        let mut gathered = self.gathered.lock();
        let late = gathered.since.is_some_and(|since| since.elapsed() >= LATER);
        if gathered.urgent
            || late
            || gathered.bytes() > LATER_BYTES
            || !gathered.is_empty() && gathered.closed
        {
            self.figures.messages.set(gathered.messages as f64);
            self.figures.bytes.set(gathered.message_bytes as f64);
            return gathered.take();
        }
        if gathered.closed { Due::Never } else { Due::Later(gathered.since) }
    }

    /// Messages that are stored for sessions, their bytes with those of wills, and how many messages are stored once for several.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn counts(&self) -> (u64, u64, usize) {
        let gathered = self.gathered.lock();
        (gathered.messages, gathered.message_bytes, gathered.references.len())
    }

    /// What is gathered is still committed, then [`Recorder::run`] ends.
    pub(crate) fn close(&self) {
        self.gathered.lock().closed = true;
        self.work.notify_one();
    }
}

impl Gathered {
    fn take(&mut self) -> Due {
        let ticket = self.ticket;
        self.ticket += 1;
        (self.row_bytes, self.urgent, self.since) = (0, false, None);
        Due::Now(ticket, std::mem::take(&mut self.queues), std::mem::take(&mut self.rows))
    }

    fn is_empty(&self) -> bool {
        self.queues.is_empty() && self.rows.is_empty()
    }
    fn bytes(&self) -> usize {
        self.queues.len() + self.row_bytes
    }
    /// Is what is gathered still wanted while nothing can be written? Then it must not grow with what comes and goes.
    fn goes_on_while_stuck(&mut self) -> bool {
        if self.queues.len() > CROWDED {
            self.queues = std::mem::take(&mut self.queues).compacted();
        }
        !self.closed
    }

    fn hurry(&mut self, work: &Notify) {
        if !std::mem::replace(&mut self.urgent, true) {
            work.notify_one();
        }
    }

    fn write(&mut self, row: SessionRow, value: Option<Vec<u8>>) {
        self.row_bytes += PER_ROW + value.as_ref().map_or(0, Vec::len);
        if let Some(Some(old)) = self.rows.insert(row, value) {
            self.row_bytes = self.row_bytes.saturating_sub(PER_ROW + old.len());
        }
    }

    /// Deletes a row that was written only once: if that is still in the batch, nothing need be written.
    fn unwrite(&mut self, row: SessionRow) {
        match self.rows.remove(&row) {
            Some(Some(value)) => self.row_bytes = self.row_bytes.saturating_sub(PER_ROW + value.len()),
            _ => self.write(row, None),
        }
    }

    fn refer_to(&mut self, number: u64, rows: usize) {
        let references = self.references.entry(number).or_default();
        *references = references.saturating_add(u32::try_from(rows).unwrap_or(u32::MAX));
    }
    /// With the last reference the message goes.
    fn let_go_of(&mut self, number: u64) {
        let Some(references) = self.references.get_mut(&number) else { return };
        *references = references.saturating_sub(1);
        if *references == 0 {
            self.references.remove(&number);
            self.unwrite(SessionRow::Message { number });
        }
    }
}

/// Something that is being recorded: all of it is in one batch. Nothing that waits may be done meanwhile.
pub(crate) struct Recording<'r> {
    recorder: &'r Recorder,
    gathered: MutexGuard<'r, Gathered>,
    /// What is being kept. It is stored when it is known how many sessions share it: then their places are in
    /// [`Gathered::places`].
    kept: Option<Delivery>,
    recorded: bool,
    /// What is being kept will be kept for others, too, in another recording.
    for_many: bool,
}

impl Recording<'_> {
    /// Is there room for another message in all?
    pub(crate) fn has_room(&self, charge: u32) -> bool {
        self.gathered.messages < self.recorder.bounds.messages && self.has_room_for_bytes(charge)
    }
    fn has_room_for_bytes(&self, charge: u32) -> bool {
        self.gathered.message_bytes.saturating_add(u64::from(charge)) <= self.recorder.bounds.bytes
    }

    /// Counts a last will that is to be stored. `false`: there is no room for it.
    pub(crate) fn admit_will(&mut self, charge: u32) -> bool {
        let has_room = self.has_room_for_bytes(charge);
        match has_room {
            true => self.count_will(charge),
            false => self.recorder.figures.wills_not_stored.increment(1),
        }
        has_room
    }
    /// Counts one that is stored.
    pub(crate) fn count_will(&mut self, charge: u32) {
        self.gathered.message_bytes += u64::from(charge);
    }
    /// One that was counted is not stored any more.
    pub(crate) fn forget_will(&mut self, row: SessionRow, charge: u32) {
        self.gathered.message_bytes = self.gathered.message_bytes.saturating_sub(u64::from(charge));
        self.delete(row);
    }

    /// A row as it is now.
    pub(crate) fn put(&mut self, row: SessionRow, value: Vec<u8>) {
        self.recorded = true;
        self.gathered.write(row, Some(value));
    }
    /// A row is gone.
    pub(crate) fn delete(&mut self, row: SessionRow) {
        self.recorded = true;
        match row {
            SessionRow::Queued { session, sequence } => self.gathered.queues.unqueue(session, sequence),
            row => self.gathered.write(row, None),
        }
    }

    /// Says what [`keep`](Self::keep) is about from here on.
    pub(crate) fn about(&mut self, delivery: &Delivery) {
        match &self.kept {
            Some(kept) if is_stored_alike(kept, delivery) => {}
            _ => {
                self.store_kept(Some(&delivery.message));
                self.kept = Some(delivery.clone());
            }
        }
    }
    /// A session has such a delivery, at this place.
    pub(crate) fn keep(&mut self, session: SessionId, stored: Sequence) {
        let Some(kept) = &self.kept else { return };
        self.recorded = true;
        self.gathered.messages += 1;
        self.gathered.message_bytes += u64::from(charge(kept));
        self.gathered.places.push((session.0.get(), stored.place()));
    }
    /// A session is through with a delivery.
    pub(crate) fn forget(&mut self, session: SessionId, delivery: &Delivery) {
        if !delivery.stored.is_stored() {
            return;
        }
        self.store_kept(None);
        let place = delivery.stored.place();
        self.forget_stored(session, place, charge(delivery), delivery.message.stored.get());
    }
    /// The same for one that was only read.
    pub(crate) fn forget_stored(&mut self, session: SessionId, sequence: u64, charge: u32, stored: Stored) {
        self.recorded = true;
        self.gathered.messages = self.gathered.messages.saturating_sub(1);
        self.gathered.message_bytes = self.gathered.message_bytes.saturating_sub(u64::from(charge));
        self.gathered.queues.unqueue(session.0.get(), sequence);
        if let Stored::Numbered(number) = stored {
            self.gathered.let_go_of(number);
        }
    }

    /// A delivery is sent, or was released, with a packet id.
    pub(crate) fn in_flight(&mut self, session: SessionId, packet_id: u16, in_flight: StoredInFlight) {
        self.put(SessionRow::InFlight { session: session.0.get(), packet_id }, in_flight.encode());
    }

    /// The retained message of a topic is this one; with an empty payload there is none.
    pub(crate) fn retain(&mut self, message: &Message) {
        let row = SessionRow::Retained { topic: Arc::clone(&message.topic) };
        match message.payload.is_empty() {
            true => self.delete(row),
            false => {
                let value = encode_message(message, self.recorder.wall());
                self.put(row, value);
            }
        }
    }

    /// A row that was read at the start: counts it.
    pub(crate) fn count(&mut self, charge: u32, message: StoredWhere<'_>) {
        self.gathered.messages += 1;
        self.gathered.message_bytes += u64::from(charge);
        if let StoredWhere::Numbered(number) = message {
            self.gathered.refer_to(number, 1);
            // The clock may have been set back.
            self.gathered.numbered = self.gathered.numbered.max(number);
        }
    }

    /// Ends the recording: somebody waits for it.
    pub(crate) fn urgent(mut self) -> Ticket {
        if !self.recorded {
            return 0;
        }
        self.gathered.hurry(&self.recorder.work);
        self.gathered.ticket
    }

    /// Stores what is kept, if it is. `next`: this message is kept next.
    fn store_kept(&mut self, next: Option<&Arc<Message>>) {
        let Some(kept) = self.kept.take() else { return };
        let mut places = std::mem::take(&mut self.gathered.places);
        if !places.is_empty() {
            let several = self.for_many
                || places.len() > 1
                || next.is_some_and(|next| Arc::ptr_eq(next, &kept.message));
            let row = match self.number(&kept.message, several) {
                Some(number) => {
                    self.gathered.refer_to(number, places.len());
                    encode_delivery(&kept, charge(&kept), StoredWhere::Numbered(number))
                }
                None => {
                    let bytes = encode_message(&kept.message, self.recorder.wall());
                    encode_delivery(&kept, charge(&kept), StoredWhere::Here(&bytes))
                }
            };
            self.gathered.queues.queue(&places, &row);
        }
        places.clear();
        self.gathered.places = places;
    }

    /// The number of a message that is stored once for all, or is to be from now on.
    fn number(&mut self, message: &Message, several: bool) -> Option<u64> {
        match message.stored.get() {
            Stored::Alone => return None,
            Stored::Numbered(number) if self.gathered.references.contains_key(&number) => {
                return Some(number);
            }
            // Not yet, or not any more.
            Stored::Nowhere | Stored::Numbered(_) => {}
        }
        if !several || message.payload.len() <= SMALL {
            message.stored.set(Stored::Alone);
            return None;
        }
        self.gathered.numbered += 1;
        let number = self.gathered.numbered;
        message.stored.set(Stored::Numbered(number));
        let value = encode_message(message, self.recorder.wall());
        self.gathered.write(SessionRow::Message { number }, Some(value));
        Some(number)
    }
}

/// A recording that begins when there is something to record: most messages concern no durable session.
pub(crate) struct LateRecording<'r> {
    recorder: Option<&'r Recorder>,
    recording: Option<Recording<'r>>,
    for_many: bool,
}

impl<'r> LateRecording<'r> {
    /// Without a recorder nothing is ever recorded.
    pub(crate) fn new(recorder: Option<&'r Recorder>) -> Self {
        Self { recorder, recording: None, for_many: false }
    }
    /// The message that is delivered next goes to others, too, later.
    pub(crate) fn one_for_many(&mut self) {
        self.for_many = true;
        if let Some(recording) = &mut self.recording {
            recording.for_many = true;
        }
    }
    /// Begins, if that has not happened. `None`: there is no recorder, and so no durable session.
    pub(crate) fn begin(&mut self) -> Option<&mut Recording<'r>> {
        if self.recording.is_none() {
            let mut recording = self.recorder?.record();
            recording.for_many = self.for_many;
            self.recording = Some(recording);
        }
        self.recording.as_mut()
    }
    /// Ends it; 0: nothing was recorded.
    pub(crate) fn urgent(self) -> Ticket {
        self.recording.map_or(0, Recording::urgent)
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        self.store_kept(None);
        if self.recorded && self.gathered.since.is_none() {
            self.gathered.since = Some(Instant::now());
            // So that it looks at the clock.
            self.recorder.work.notify_one();
        }
    }
}

/// Are their rows the same?
fn is_stored_alike(a: &Delivery, b: &Delivery) -> bool {
    let same_group = match (&a.shared, &b.shared) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    };
    Arc::ptr_eq(&a.message, &b.message)
        && (a.qos, a.retain) == (b.qos, b.retain)
        && a.subscription_identifiers == b.subscription_identifiers
        && same_group
}
