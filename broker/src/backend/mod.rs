//! The seam below a connection: sessions and routing.
//!
//! A connection opens a session, publishes and subscribes through its [`SessionHandle`], waits for mail and drains it,
//! and closes. Identity, permissions, reserved topics and events are above the seam. What is here is local; a relay to
//! a broker that the user already runs would offer the same surface. Opening, subscribing and unsubscribing are `async`
//! because a durable session's are on disk when they are done.
mod burst;
mod chores;
mod directory;
mod dropped;
mod end_all;
mod fan_out;
#[cfg(any(test, feature = "fuzzing"))]
mod inspect;
mod kept_will;
mod late_wills;
mod lifecycle;
mod local;
mod reset;
mod restore;
mod timers;
mod under_way;
mod waking;

pub(crate) use burst::LARGEST_BURST;
pub(crate) use chores::message_of;
pub(crate) use directory::ClientHash;
pub(crate) use fan_out::HandedOut;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use inspect::count_rows;
pub(crate) use kept_will::KeptWill;
pub use late_wills::{ReviveAuthority, WillAuthority};
pub(crate) use lifecycle::Leaving;
pub(crate) use local::{Along, Local};
pub use restore::RestoreError;
pub(crate) use timers::after;
pub(crate) use under_way::UnderWay;
pub(crate) use waking::Wakers;

use crate::message::{Message, QoS};
use crate::session::Lag;
use crate::session::SessionHandle;
use crate::session::durable::{NotStored, Ticket};
use crate::topic::Filter;
use jitp_provisioner::Clock;
use jitp_provisioner::certs::CertificateId;
use jitp_provisioner::sessions::SessionStore;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// How sessions and routing behave.
#[derive(Debug, Clone)]
pub struct BackendOptions {
    /// Messages queued for one session; further ones are dropped and counted.
    pub queued_messages: usize,
    /// Bytes queued for one session.
    pub queued_bytes: usize,
    /// At a session's bounds the oldest messages are dropped, not the new one.
    pub drop_oldest: bool,
    /// Messages stored for all durable sessions; further ones are dropped and counted.
    pub stored_messages: u64,
    /// Bytes stored for all durable sessions.
    pub stored_bytes: u64,
    /// Subscriptions of one session.
    pub subscriptions_per_session: usize,
    /// Longest session expiry; a longer one is cut.
    pub session_expiry: Duration,
    /// Retained messages in all.
    pub retained_messages: usize,
    /// Retained messages a second on one topic; 0: no limit.
    pub retained_of_topic: u32,
    /// Most unacknowledged messages towards one client, whatever more it allows.
    pub receive_maximum: u16,
    /// Whether `a/#` matches `a` (OASIS: yes, AWS: no).
    pub hash_matches_parent: bool,
    /// Whether a session is carried over from MQTT 3.1.1 to 5 and back (AWS: no).
    pub carry_over_versions: bool,
    /// How long publishers wait for a client that lags behind; zero: not at all.
    pub publisher_patience: Duration,
    /// How long a new connection waits for the old one to let go of the session.
    pub takeover_patience: Duration,
}

impl BackendOptions {
    /// What a configuration asks for.
    pub fn new(limits: &crate::Limits, profile: crate::Profile) -> Self {
        let aws = profile == crate::Profile::Aws;
        Self {
            queued_messages: limits.queued_messages,
            queued_bytes: limits.queued_bytes,
            drop_oldest: limits.drop_oldest,
            stored_messages: limits.stored_messages,
            stored_bytes: limits.stored_bytes,
            subscriptions_per_session: limits.subscriptions_per_session,
            session_expiry: limits.session_expiry,
            retained_messages: limits.retained_messages,
            retained_of_topic: limits.rates.retained_of_topic,
            receive_maximum: limits.receive_maximum,
            hash_matches_parent: !aws,
            carry_over_versions: !aws,
            publisher_patience: limits.publisher_patience,
            takeover_patience: Duration::from_secs(5),
        }
    }
}

/// Sessions, routing and retained messages of this process. Cheap to clone; all clones are the same backend.
#[derive(Clone)]
pub struct Backend {
    local: Arc<Local>,
}

impl Backend {
    /// An empty backend that stores nothing. Call within a tokio runtime: one task there minds all expiries, until the last
    /// clone and the last handle are gone.
    pub fn start(options: BackendOptions) -> Self {
        Self { local: Local::start(options) }
    }

    /// A backend whose durable sessions and retained messages are kept in a store: with those that are there. A session is
    /// durable if it outlives its connection. Takes time with what is stored, and memory with retained messages, sessions and
    /// their subscriptions, not with what is queued for them. `clock` says when they expire. `revive` makes who is asked for the
    /// wills that are there.
    pub async fn restore(
        options: BackendOptions,
        store: SessionStore,
        clock: Arc<dyn Clock>,
        revive: ReviveAuthority<'_>,
    ) -> Result<Self, RestoreError> {
        Ok(Self { local: Local::restore(options, store, clock, revive).await? })
    }

    /// Opens the session of a client id for a connection that is authorised already.
    ///
    /// If another connection holds it, that one is told ([`SessionEnd::TakenOver`]) and this call waits until it let go,
    /// so that what is in flight is handed over. Cancel-safe.
    pub async fn open(&self, request: OpenRequest) -> Result<Opened, OpenError> {
        self.local.open(request).await
    }

    /// Publishes a message of the broker itself (events, services, HTTP). Permissions are the caller's matter.
    pub fn publish(&self, message: Message) -> Result<Published, PublishError> {
        self.local.publish(message, None)
    }

    /// The same, to a part of very many at a time: everybody else has a turn in between. All get it even if nobody waits for this any
    /// more.
    pub async fn publish_in_turns(&self, message: Message) -> Result<Published, PublishError> {
        let mut wakers = Wakers::default();
        let (published, rest) = self.local.publish_from(message, None, &mut wakers, false)?;
        self.local.waking.wake(&mut wakers);
        let Some(rest) = rest else { return Ok(published) };
        let handing_out = tokio::spawn(rest.finish_in_turns(Arc::clone(&self.local)));
        // An error: the runtime ends, and with it the process.
        let handed_out = handing_out.await.map_err(|_| PublishError::NotStored)?;
        Ok(published.and(handed_out))
    }

    /// Waits until a message of QoS 1 or 2 is stored for those whose sessions are durable, and as a retained one.
    ///
    /// # Errors
    /// It cannot be stored now. It still may be later.
    pub async fn stored(&self, published: Published) -> Result<(), NotStored> {
        self.local.stored(published.ticket).await
    }

    /// Waits until everything that was published, subscribed and acknowledged so far is stored for those whose sessions are
    /// durable, however long that takes. Costs nothing if nothing is to be stored.
    pub async fn settled(&self) {
        self.local.settled().await;
    }

    /// Would anybody get a message on this topic: online, or with a session that waits for its client? Cheaper than making
    /// a message that nobody gets.
    pub fn has_subscriber(&self, topic: &str) -> bool {
        self.local.router.has_subscriber(topic)
    }

    /// Ends the connection of a client id. With [`SessionEnd::Administrative`] and `clean_session` the session goes too,
    /// also if it was offline. Returns whether there was such a connection or session.
    pub fn disconnect(&self, client_id: &str, end: SessionEnd) -> bool {
        self.local.disconnect(client_id, end)
    }

    /// Ends all connections of a certificate. Returns how many. A connection that is being opened meanwhile may be missed:
    /// whoever opens looks at the certificate's status once more afterwards.
    pub fn disconnect_certificate(&self, certificate: CertificateId, end: SessionEnd) -> usize {
        self.local.disconnect_certificate(certificate, end)
    }

    /// Ends the connection of a client id if it is one of this certificate. Returns whether there was one. As above, one
    /// that is being opened meanwhile may be missed.
    pub fn disconnect_client(&self, client_id: &str, certificate: CertificateId, end: SessionEnd) -> bool {
        self.local.disconnect_client(client_id, certificate, end)
    }

    /// Ends all connections. Returns how many.
    pub fn disconnect_all(&self, end: SessionEnd) -> usize {
        self.local.disconnect_all(end)
    }

    /// The same, a part of them at a time: everybody else has a turn in between.
    pub async fn disconnect_all_in_turns(&self, end: SessionEnd) {
        self.local.disconnect_all_in_turns(end).await;
    }

    /// Ends all connections without their wills, and forgets all sessions and all retained messages that there are now; a part of them
    /// at a time.
    pub async fn forget_all(&self) {
        self.local.forget_all().await;
    }

    /// The message that is retained on a topic.
    pub fn retained(&self, topic: &str) -> Option<Arc<Message>> {
        self.local.retained.get(topic)
    }

    /// The messages that are retained behind a topic, in the order of their topics, at most so many. Cheap for few: who
    /// wants all asks again behind the last.
    pub fn retained_after(&self, after: Option<&str>, limit: usize) -> Vec<Arc<Message>> {
        self.local.retained.after(after, limit)
    }

    /// What there is now.
    pub fn counts(&self) -> Counts {
        self.local.counts()
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

/// The CONNECT of an authorised client, as far as sessions care.
#[derive(Debug, Clone)]
pub struct OpenRequest {
    /// Valid and not empty; an assigned one if the client left it empty.
    pub client_id: Arc<str>,
    /// For [`Backend::disconnect_certificate`].
    pub certificate: Option<CertificateId>,
    /// MQTT version.
    pub version: ProtocolVersion,
    /// Clean Start, or Clean Session of 3.1.1.
    pub clean_start: bool,
    /// How long the session outlives its connection; zero: not at all. For 3.1.1: zero with Clean Session, otherwise the
    /// configured expiry. `u32::MAX` seconds means as long as possible.
    pub session_expiry: Duration,
    /// The client's Receive Maximum, 65,535 if it gave none.
    pub receive_maximum: u16,
    /// The last will.
    pub will: Option<Will>,
}

/// MQTT version of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolVersion {
    /// 3.1.1
    V311,
    /// 5.0
    V5,
}

/// A last will (OASIS MQTT 5.0 section 3.1.2.5).
#[derive(Debug, Clone)]
pub struct Will {
    /// What to publish. `publisher` and `expires_at` are filled in when that happens.
    pub message: Message,
    /// Message Expiry Interval; the clock starts when the will is published.
    pub message_expiry: Option<Duration>,
    /// Will Delay Interval.
    pub delay: Duration,
    /// Who is asked if it is published later than at the end of its connection: then, when its session ends, or after a kill.
    /// At the end of the connection, [`Close::publish_will`] says.
    pub authority: Option<Arc<dyn WillAuthority>>,
}

/// An open session.
#[derive(Debug)]
pub struct Opened {
    /// The connection's side of it.
    pub session: SessionHandle,
    /// Session Present of CONNACK.
    pub session_present: bool,
    /// The expiry in force: the requested one, cut to the limit.
    pub session_expiry: Duration,
}

/// Why a session could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// A yet newer connection with the same client id came while this one waited: give way (0x8E).
    #[error("a newer connection with the same client id took over while this one waited for the session")]
    Superseded,
    /// The old connection did not let go in time: the client should try again (0x88).
    #[error("the previous connection with this client id has not let go of the session in time; try again")]
    StillHeld,
    /// The session is durable, and the store cannot be read or written: the client should try again (0x88).
    #[error("the session cannot be stored: {0}")]
    NotStored(Arc<str>),
}

/// Why a session's connection must end. The connection tells its client and closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// A new connection with the same client id (0x8E).
    TakenOver,
    /// An operator's DeleteConnection (0x98).
    Administrative {
        /// Do not publish the will.
        prevent_will: bool,
        /// Discard the session.
        clean_session: bool,
    },
    /// The certificate is no longer active (0x87).
    CertificateInactive,
    /// The certificate expired (0x87).
    CertificateExpired,
    /// The policies no longer allow the connection (0x87).
    NotAuthorised,
    /// The broker stops (0x8B).
    ShuttingDown,
}

/// How a connection leaves its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close {
    /// Publish the will: every end but a DISCONNECT of the client without 0x04.
    pub publish_will: bool,
    /// A new Session Expiry Interval from DISCONNECT; cut to the limit.
    pub session_expiry: Option<Duration>,
}

impl Close {
    /// The connection broke, or the broker ends it: the will is published, the expiry stays.
    pub const ABRUPT: Self = Self { publish_will: true, session_expiry: None };
    /// The client said goodbye: no will, the expiry stays.
    pub const NORMAL: Self = Self { publish_will: false, session_expiry: None };
}

/// A subscription's options (OASIS MQTT 5.0 section 3.8.3.1); 3.1.1 has only the QoS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubscribeOptions {
    /// The most that is delivered, and what is granted.
    pub qos: QoS,
    /// Do not deliver what this client published itself.
    pub no_local: bool,
    /// Deliver with the publisher's RETAIN flag instead of 0.
    pub retain_as_published: bool,
    /// Whether retained messages are sent now.
    pub retain_handling: RetainHandling,
    /// Subscription Identifier.
    pub identifier: Option<NonZeroU32>,
}

/// Whether SUBSCRIBE sends retained messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetainHandling {
    /// 0: always (and 3.1.1).
    #[default]
    Send,
    /// 1: if the subscription is new.
    SendIfNew,
    /// 2: never.
    DoNotSend,
}

/// A granted subscription. Retained messages, if due, come with the next mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribed {
    /// Granted QoS.
    pub granted: QoS,
    /// It replaced the options of an existing one.
    pub existed: bool,
}

/// Why a subscription is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// 0x97, 3.1.1: 0x80.
    #[error("the session has {limit} subscriptions already, which is the limit; unsubscribe from some")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// A protocol error (0x82).
    #[error("No Local is not allowed on the shared subscription '{filter}'")]
    NoLocalOnShared {
        /// The filter.
        filter: Filter,
    },
}

/// A published message.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Published {
    /// Sessions that it matched, each group of a shared subscription counted as one; some may have dropped it at their
    /// bounds. Until all of very many have it: subscriptions, as those of one session are found on the way.
    pub matched: usize,
    /// The batch that it is stored in; 0: it need not be.
    pub(crate) ticket: Ticket,
    /// Of one of those sessions, whose client lags behind: to be waited for before more is published.
    pub(crate) lag: Option<Arc<Lag>>,
}

impl Published {
    /// All of them have it.
    pub(crate) fn and(self, handed_out: HandedOut) -> Self {
        let HandedOut { ticket, lag, too_many } = handed_out;
        let matched = self.matched.saturating_sub(too_many);
        Self { matched, ticket: ticket.max(self.ticket), lag: lag.or(self.lag) }
    }
}

/// Why a message was not published. Nothing was delivered or retained.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// 0x97.
    #[error(
        "{limit} messages are retained already, which is the limit; delete some by retaining an empty payload"
    )]
    RetainedFull {
        /// The limit.
        limit: usize,
    },
    /// 0x97.
    #[error("messages are retained on this topic more often than max_retained_per_second_of_topic allows")]
    RetainedTooOften,
    /// 0x87 or 0x90.
    #[error("messages are not retained on topics that start with '$'")]
    RetainedReserved,
    /// 0x80.
    #[error("the message is for a durable session, or to be retained, and cannot be stored now; see /readyz")]
    NotStored,
}

/// How much there is of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Sessions with a connection.
    pub online: usize,
    /// Sessions without one that have not expired.
    pub offline: usize,
    /// Subscriptions of all sessions.
    pub subscriptions: usize,
    /// Retained messages.
    pub retained: usize,
}

#[cfg(test)]
mod durable_tests;
#[cfg(test)]
mod tests;
