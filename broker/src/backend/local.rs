//! The backend within this process: from a published message to the mailboxes of its receivers.
use super::directory::Directory;
use super::dropped::Dropped;
use super::late_wills::{self, LateWills};
use super::timers::Timers;
use super::{BackendOptions, Counts, PublishError, Published};
use crate::message::{Delivery, Message, SubscriptionIdentifiers};
use crate::retained::Retained;
use crate::router::{Keyed, Match, Matches, Router, Standing, Subscriber};
use crate::session::{Bounds, Pushed, Session};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// All state. Handles and the clones of [`super::Backend`] share it.
pub(crate) struct Local {
    pub(crate) options: BackendOptions,
    pub(crate) router: Router<Arc<Session>>,
    pub(crate) retained: Retained,
    pub(crate) dropped: Dropped,
    pub(super) directory: Directory,
    pub(super) timers: Arc<Timers>,
    pub(super) late_wills: LateWills,
    pub(super) sessions_made: AtomicU64,
    pub(super) tickets: AtomicU64,
    pub(super) online: AtomicUsize,
    pub(super) offline: AtomicUsize,
    bounds: Bounds,
}

impl Local {
    pub(super) fn start(options: BackendOptions) -> Arc<Self> {
        let (late_wills, due_wills) = LateWills::new();
        let local = Arc::new(Self {
            router: Router::new(options.hash_matches_parent),
            retained: Retained::new(options.retained_messages),
            dropped: Dropped::new(),
            directory: Directory::new(),
            timers: Arc::default(),
            late_wills,
            sessions_made: AtomicU64::new(0),
            tickets: AtomicU64::new(0),
            online: AtomicUsize::new(0),
            offline: AtomicUsize::new(0),
            bounds: Bounds {
                messages: options.queued_messages,
                bytes: u32::try_from(options.queued_bytes).unwrap_or(u32::MAX),
            },
            options,
        });
        tokio::spawn(late_wills::ask_and_publish(Arc::downgrade(&local), due_wills));
        let (timers, weak) = (Arc::clone(&local.timers), Arc::downgrade(&local));
        tokio::spawn(async move {
            while let Some((timer, session)) = timers.next().await {
                let Some(local) = weak.upgrade() else { return };
                local.attend(timer, &session);
                // Many may be due at once: let others run in between.
                tokio::task::consume_budget().await;
            }
        });
        local
    }

    /// Retains and delivers a message.
    pub(crate) fn publish(&self, message: Message) -> Result<Published, PublishError> {
        let message = Arc::new(message);
        if message.retain {
            self.retained.set(&message)?;
        }
        Ok(Published { matched: self.deliver(&message) })
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            online: self.online.load(Ordering::Relaxed),
            offline: self.offline.load(Ordering::Relaxed),
            subscriptions: self.router.len(),
            retained: self.retained.len(),
        }
    }

    /// Puts a message into the mailboxes of all it matches; returns how many.
    fn deliver(&self, message: &Arc<Message>) -> usize {
        let mut matches = Matches::within(MEMORY.take());
        self.router.collect(&message.topic, message.publisher.map(|id| id.0.get()), &mut matches);
        let mut count = 0;
        let mut found = matches.all.drain(..).peekable();
        while let Some(mut first) = found.next() {
            count += 1;
            if first.shared.is_some() {
                self.deliver_shared(first, message);
                continue;
            }
            let mut identifiers = SubscriptionIdentifiers::from(first.identifier);
            let key = first.subscriber.key();
            // Subscriptions that overlap are one delivery.
            while let Some(same) = found.next_if(|next| next.subscriber.key() == key && next.shared.is_none())
            {
                first.qos = first.qos.max(same.qos);
                first.retain_as_published |= same.retain_as_published;
                if let Some(identifier) = same.identifier {
                    identifiers.add(identifier);
                }
            }
            let delivery = Delivery { subscription_identifiers: identifiers, ..first.delivery(message) };
            self.push(&first.subscriber, delivery);
        }
        drop(found);
        if matches.all.capacity() <= KEPT_CAPACITY {
            MEMORY.set(matches.all);
        }
        count
    }

    fn push(&self, session: &Session, delivery: Delivery) {
        if let Pushed::Full = session.push(delivery, self.bounds) {
            self.dropped.full();
        }
    }

    /// The chosen member may have ended since: then another one gets it.
    fn deliver_shared(&self, chosen: Match<Arc<Session>>, message: &Arc<Message>) {
        match chosen.subscriber.push(chosen.delivery(message), self.bounds) {
            Pushed::Queued | Pushed::Missed => {}
            Pushed::Full => self.dropped.full(),
            Pushed::Gone(delivery) => {
                if self.pass_on(delivery, &chosen.subscriber, false).is_err() {
                    self.dropped.no_member();
                }
            }
        }
    }

    /// Gives a delivery of a shared subscription to another member of the group, one that is online if `online_only`. It comes
    /// back if there is none.
    pub(super) fn pass_on(
        &self,
        mut delivery: Delivery,
        from: &Arc<Session>,
        online_only: bool,
    ) -> Result<(), Delivery> {
        // A member may end just after it was chosen, but not many in a row.
        const ATTEMPTS: usize = 4;
        for _ in 0..ATTEMPTS {
            let chosen = delivery.shared.as_ref().and_then(|group| self.router.choose(group, from.key()));
            let Some(chosen) = chosen else { return Err(delivery) };
            if online_only && chosen.subscriber.standing() != Standing::Online {
                return Err(delivery);
            }
            match chosen.subscriber.push(chosen.delivery(&delivery.message), self.bounds) {
                Pushed::Queued | Pushed::Missed => return Ok(()),
                Pushed::Full => {
                    self.dropped.full();
                    return Ok(());
                }
                Pushed::Gone(returned) => delivery = returned,
            }
        }
        Err(delivery)
    }

    /// Queues a delivery that the session had already.
    pub(super) fn put_back(&self, session: &Session, delivery: Delivery) {
        self.push(session, delivery);
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.timers.close();
    }
}

impl Match<Arc<Session>> {
    fn delivery(&self, message: &Arc<Message>) -> Delivery {
        Delivery {
            message: Arc::clone(message),
            qos: self.qos.min(message.qos),
            retain: self.retain_as_published && message.retain,
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
