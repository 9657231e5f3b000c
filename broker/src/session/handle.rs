//! The connection's side of an open session.
use super::durable::{
    NotStored, Owed, Progress, Recording, Sequence, StoredInFlight, Ticket, encode_subscription,
};
use super::{Awaited, Held, InFlight, Kept, Lag, RetainedScan, Session, Was};
use crate::backend::{
    Along, Close, HandedOut, KeptWill, Leaving, Local, PublishError, Published, RetainHandling, SessionEnd,
    SubscribeError, SubscribeOptions, Subscribed, UnderWay, Wakers,
};
use crate::batch::{Mail, Part};
use crate::message::{Delivery, Message, QoS, SessionId, SubscriptionIdentifiers};
use crate::overload::go_last;
use crate::router::{Keyed, Subscription};
use crate::topic::Filter;
use jitp_provisioner::certs::CertificateId;
use jitp_provisioner::sessions::SessionRow;
use std::fmt;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;

/// Held by exactly one connection. Dropping it is [`SessionHandle::close`] with [`Close::ABRUPT`].
///
/// Sending, in short:
///
/// ```text
/// open → resend in_flight() in order, DUP, same packet ids
/// loop wait_for_mail → drain(max) → for each: send; if QoS > 0: sent(packet id, delivery)
///      PUBACK → acknowledged(id)    PUBREC → received(id), send PUBREL    PUBCOMP → acknowledged(id)
/// ```
pub struct SessionHandle {
    pub(crate) local: Arc<Local>,
    pub(crate) session: Arc<Session>,
    pub(crate) kept: Kept,
    pub(crate) held: HeldBy,
    /// Messages in flight towards the client that are the connection's own; the window counts them.
    pub(crate) set_aside: u16,
    /// The last batch that has something of this connection that it must wait for.
    pub(crate) recorded: Ticket,
    /// Connections that what was published is for: woken together.
    pub(crate) wakers: Wakers,
    /// What was published last, if not everybody has it yet.
    pub(crate) under_way: Option<Box<UnderWay>>,
    /// Let go of already.
    pub(crate) closed: bool,
}

/// What the session's connection brought with it.
#[derive(Debug)]
pub(crate) struct HeldBy {
    pub(crate) certificate: Option<CertificateId>,
    pub(crate) version: crate::backend::ProtocolVersion,
    pub(crate) expiry: Duration,
    pub(crate) will: Option<Box<KeptWill>>,
    /// The client may be told that it has the session. Before that its will does not count.
    pub(crate) opened: bool,
    /// Most QoS 1 and 2 messages in flight towards the client.
    pub(crate) window: u16,
}

/// Why [`SessionHandle::wait_for_mail`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// [`SessionHandle::drain`] is worth a call. It may still come back with nothing, when all had expired.
    Mail,
    /// The connection must end now: tell the client why, then close. Also stop writes that are stuck.
    Ended(SessionEnd),
}

impl SessionHandle {
    /// The session's id.
    pub fn id(&self) -> SessionId {
        self.session.id
    }

    /// Publishes a message of this client; `publisher` is filled in. Returns the number of matches. The client may be told
    /// once [`SessionHandle::unsettled`] allows.
    pub fn publish(&mut self, message: Message) -> Result<Published, PublishError> {
        let published = self.publish_unannounced(message, None, false);
        self.announce(published)
    }

    /// The same for a message that came with QoS 2 and this packet id, after [`SessionHandle::begin_exactly_once`].
    pub fn publish_exactly_once(
        &mut self,
        packet_id: u16,
        message: Message,
    ) -> Result<Published, PublishError> {
        let published = self.publish_unannounced(message, Some(packet_id), false);
        self.announce(published)
    }

    fn announce(&mut self, published: Result<Published, PublishError>) -> Result<Published, PublishError> {
        let handed_out = self.deliver_rest();
        self.wake_receivers();
        published.map(|published| published.and(handed_out))
    }

    /// One of both, without [`Self::wake_receivers`], and if it is for very many sessions only for some of them: see
    /// [`Self::deliver_in_turns`]. Before all have it the client must not be told. `packet_id`: of QoS 2. `more`: the next one has
    /// probably come already. Then nobody may have this one before [`Self::deliver_burst`].
    pub(crate) fn publish_unannounced(
        &mut self,
        mut message: Message,
        packet_id: Option<u16>,
        more: bool,
    ) -> Result<Published, PublishError> {
        self.session.sign(&mut message);
        let session = self.session.id.0.get();
        let received = packet_id.filter(|_| self.session.is_durable());
        let along = received.map(|packet_id| Along::Received(SessionRow::Received { session, packet_id }));
        if let Some(UnderWay::Burst(burst)) = self.under_way.as_deref_mut()
            && along.is_none()
        {
            match burst.take(message, &self.local) {
                Ok(()) => return Ok(Published { matched: burst.receivers(), ticket: 0, lag: None }),
                Err(other) => message = other,
            }
        }
        // Not of this message.
        let before = HandedOut { too_many: 0, ..self.deliver_rest() };
        let (published, rest) = match self.local.publish_from(message, along, &mut self.wakers, more) {
            Ok(published) => published,
            Err(error) => {
                self.under_way = before.lag.map(UnderWay::Over).map(Box::new);
                return Err(error);
            }
        };
        self.under_way = rest;
        self.recorded = self.recorded.max(published.ticket);
        Ok(published.and(before))
    }

    /// Delivers what came together and was published last, and wakes nobody. Returns whom the publisher should wait for.
    pub(crate) fn deliver_burst(&mut self) -> Option<Arc<Lag>> {
        match self.under_way.as_deref() {
            Some(UnderWay::Burst(_)) => self.deliver_rest().lag,
            _ => None,
        }
    }

    /// Delivers what was published last to some more of those that it is for, and wakes them. `Continue`: others are left; let
    /// everybody else have a turn before the next call. `Break`: all have it, or will have it with others that came with it; whom
    /// of them the publisher should wait for.
    pub(crate) fn deliver_more(&mut self) -> ControlFlow<Option<Arc<Lag>>> {
        let step = match self.under_way.as_deref_mut() {
            None | Some(UnderWay::Burst(_)) => return ControlFlow::Break(None),
            Some(under_way) => under_way.go_on(&self.local, &mut self.wakers),
        };
        self.wake_receivers();
        let ControlFlow::Break(handed_out) = step else { return ControlFlow::Continue(()) };
        self.under_way = None;
        self.recorded = self.recorded.max(handed_out.ticket);
        ControlFlow::Break(handed_out.lag)
    }

    /// All of that. Returns whom of them the publisher should wait for, and whether others have had a turn meanwhile.
    pub(crate) async fn deliver_in_turns(&mut self) -> (Option<Arc<Lag>>, bool) {
        let mut in_turns = false;
        loop {
            match self.deliver_more() {
                ControlFlow::Continue(()) => go_last().await,
                ControlFlow::Break(lag) => return (lag, in_turns),
            }
            in_turns = true;
        }
    }

    fn deliver_rest(&mut self) -> HandedOut {
        let Some(under_way) = self.under_way.take() else { return HandedOut::default() };
        let handed_out = under_way.finish(&self.local, &mut self.wakers);
        self.recorded = self.recorded.max(handed_out.ticket);
        handed_out
    }

    /// Wakes the connections that have mail since this was called last. Called before anything that takes time, so that messages
    /// that came together are taken together, in one write for each receiver.
    pub(crate) fn wake_receivers(&mut self) {
        if !self.wakers.is_empty() {
            self.local.waking.wake(&mut self.wakers);
        }
    }

    /// Do others wait for this client, as it lags behind?
    pub(crate) fn is_waited_for(&self) -> bool {
        self.session.is_waited_for()
    }

    /// Something of this connection is not durable yet: the batch that it is in. What the client must know to be safe is not
    /// said before that is durable.
    pub fn unsettled(&self) -> Option<Ticket> {
        let ticket = self.recorded;
        (ticket > 0 && !self.is_durable(ticket)).then_some(ticket)
    }

    pub(crate) fn is_durable(&self, ticket: Ticket) -> bool {
        self.local.recorder.as_ref().is_none_or(|recorder| recorder.is_durable(ticket))
    }

    /// To watch how far the store has come. `None`: nothing is stored.
    pub(crate) fn progress(&self) -> Option<watch::Receiver<Progress>> {
        Some(self.local.recorder.as_ref()?.progress())
    }

    /// Waits until what was recorded is durable.
    ///
    /// # Errors
    /// It cannot be stored now. It still may be later.
    pub async fn settled(&self) -> Result<(), NotStored> {
        match &self.local.recorder {
            Some(recorder) if self.recorded > 0 => recorder.durable(self.recorded).await,
            _ => Ok(()),
        }
    }

    /// Waits while more is to be stored than should be. For a client that sends what has to be.
    pub(crate) async fn uncrowded(&self) {
        if let Some(recorder) = &self.local.recorder {
            recorder.room().await;
        }
    }

    /// Whether more is to be stored than should be.
    pub(crate) fn is_crowded(&self) -> bool {
        self.local.recorder.as_ref().is_some_and(|recorder| recorder.is_crowded())
    }

    /// Is the session stored?
    pub fn is_durable_session(&self) -> bool {
        self.session.is_durable()
    }

    /// Records something of a durable session that the client must wait for.
    fn record_urgent(&mut self, what: impl FnOnce(&Session, &mut Recording<'_>)) {
        if !self.session.is_durable() {
            return;
        }
        let mut recording = self.local.recording();
        if let Some(recording) = recording.begin() {
            what(&self.session, recording);
        }
        self.recorded = self.recorded.max(recording.urgent());
    }

    /// Records something of a durable session that nobody waits for.
    fn record(&self, what: impl FnOnce(&Session, &mut Recording<'_>)) {
        if self.session.is_durable()
            && let Some(recording) = self.local.recording().begin()
        {
            what(&self.session, recording);
        }
    }

    /// Subscribes, or replaces the options of an existing subscription. Retained messages come with the next mail:
    /// send SUBACK before draining, and after [`SessionHandle::settled`].
    pub async fn subscribe(
        &mut self,
        filter: &Filter,
        options: SubscribeOptions,
    ) -> Result<Subscribed, SubscribeError> {
        if options.no_local && filter.is_shared() {
            return Err(SubscribeError::NoLocalOnShared { filter: filter.clone() });
        }
        let limit = self.local.options.subscriptions_per_session;
        let subscriptions = &mut self.kept.subscriptions;
        let count = subscriptions.len();
        let existing = subscriptions.iter_mut().find(|held| held.filter == *filter);
        let before = existing.as_ref().map(|held| held.options);
        let existed = before.is_some();
        match existing {
            Some(held) => held.options = options,
            None if count >= limit => return Err(SubscribeError::TooMany { limit }),
            None => subscriptions.push(Held { filter: filter.clone(), options }),
        }
        // What is there already is in force. Fleets that come back subscribe to what they have.
        let is_as_before = before == Some(options);
        if !is_as_before {
            let subscription = Subscription {
                subscriber: Arc::clone(&self.session),
                identifier: options.identifier,
                qos: options.qos,
                no_local: options.no_local,
                retain_as_published: options.retain_as_published,
            };
            self.local.router.subscribe(filter, subscription);
        }
        let send_retained = match options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => !existed,
            RetainHandling::DoNotSend => false,
        };
        let scans = send_retained && !filter.is_shared() && self.local.retained.may_match(filter.path());
        if scans {
            if self.kept.scans.len() >= limit {
                self.forget_scans(filter);
            }
            // What an earlier SUBSCRIBE is owed comes, too.
            let behind = self.session.messages();
            self.kept.scans.push_back(RetainedScan::new(filter, options, behind));
        }
        if is_as_before && !scans {
            // What is stored already says so.
            return Ok(Subscribed { granted: options.qos, existed });
        }
        let owed = self.owed(filter);
        self.record_urgent(|session, recording| {
            recording.put(subscription_row(session, filter), encode_subscription(&options, owed.as_ref()));
        });
        Ok(Subscribed { granted: options.qos, existed })
    }

    /// Unsubscribes. Returns whether there was such a subscription. Messages that are queued already still come.
    pub async fn unsubscribe(&mut self, filter: &Filter) -> bool {
        let subscriptions = &mut self.kept.subscriptions;
        let Some(position) = subscriptions.iter().position(|held| held.filter == *filter) else {
            return false;
        };
        subscriptions.swap_remove(position);
        self.forget_scans(filter);
        let removed = self.local.router.unsubscribe(filter, &self.session);
        self.record_urgent(|session, recording| recording.delete(subscription_row(session, filter)));
        removed
    }

    fn forget_scans(&mut self, filter: &Filter) {
        self.kept.scans.retain(|scan| scan.filter != *filter);
    }

    /// What the last SUBSCRIBE to a filter is owed still. That is stored: what an earlier one is owed besides is the same, and
    /// need not come twice after a restart.
    fn owed(&self, filter: &Filter) -> Option<Owed> {
        let mut scans = self.kept.scans.iter().rev();
        scans.find(|scan| scan.filter == *filter).and_then(|scan| scan.scan.owed())
    }

    /// The session's subscriptions: those of a resumed one are in force again.
    pub fn subscriptions(&self) -> impl Iterator<Item = (&Filter, SubscribeOptions)> {
        self.kept.subscriptions.iter().map(|held| (&held.filter, held.options))
    }

    /// Waits until there is something to drain that the window allows, or the connection must end. Cancel-safe; an end is
    /// reported before mail and again on every call.
    pub async fn wait_for_mail(&self) -> Wake {
        let window_open = self.room() > 0;
        loop {
            // Anew each time: of what is read, and comes first, nothing may be left.
            let scan_ready = self.kept.scans.front().is_some_and(|scan| {
                (window_open || scan.options.qos == QoS::AtMostOnce)
                    && (scan.behind == 0 || self.session.messages() == 0)
            });
            let wake = poll_fn(|context| match self.session.poll_mail(context, window_open) {
                Poll::Ready(Some(end)) => Poll::Ready(Wake::Ended(end)),
                Poll::Ready(None) => Poll::Ready(Wake::Mail),
                Poll::Pending if scan_ready => Poll::Ready(Wake::Mail),
                Poll::Pending => Poll::Pending,
            })
            .await;
            match (wake, &self.local.recorder) {
                (Wake::Mail, Some(recorder)) if !scan_ready && self.session.is_durable() => {
                    // On the heap: its state would be in every idle connection.
                    if !Box::pin(self.read_page(recorder)).await {
                        return wake;
                    }
                }
                _ => return wake,
            }
        }
    }

    /// Waits until the connection must end, whatever else comes.
    pub(crate) async fn wait_for_end(&self) -> SessionEnd {
        poll_fn(|context| self.session.poll_end(context)).await
    }

    /// Can nothing be stored now?
    pub(crate) fn is_stuck(&self) -> bool {
        self.local.is_stuck()
    }

    /// The end, if the connection must end.
    pub fn ended(&self) -> Option<SessionEnd> {
        self.session.ended()
    }

    /// Appends up to `max` deliveries to `mail`, in order, not more of QoS 1 and 2 than the window has room for:
    /// min(client's Receive Maximum, ours) less what is in flight. Everything with QoS > 0 must be sent and
    /// reported by [`SessionHandle::sent`] before the next call. Expired messages are left out.
    pub fn drain(&mut self, max: usize, mail: &mut Vec<Delivery>) {
        let mut together = Vec::new();
        self.take_mail(max, &mut together);
        mail.extend(together.into_iter().flat_map(Mail::into_deliveries));
    }

    /// The same; what came together may stay together. Returns how many messages.
    pub(crate) fn take_mail(&mut self, max: usize, mail: &mut Vec<Mail>) -> usize {
        let mut room = self.room();
        let mut taken = 0;
        if !self.kept.scans.is_empty() {
            let (first, some_left) = self.drain_what_comes_first(max, &mut room, mail);
            if some_left || first >= max {
                return first;
            }
            taken = first + self.drain_retained(max - first, &mut room, mail);
        }
        taken + self.drain_queue(max.saturating_sub(taken), &mut room, mail)
    }

    /// What was queued before the SUBSCRIBE whose retained messages are due next. Returns how much was taken, and whether some of
    /// it is left.
    fn drain_what_comes_first(
        &mut self,
        max: usize,
        room: &mut usize,
        mail: &mut Vec<Mail>,
    ) -> (usize, bool) {
        let queued = self.session.messages();
        for scan in &mut self.kept.scans {
            scan.behind = scan.behind.min(queued);
        }
        let first = self.kept.scans.front().map_or(0, |scan| scan.behind);
        let taken = self.drain_queue(first.min(max), room, mail);
        (taken, self.kept.scans.front().is_some_and(|scan| scan.behind > 0))
    }

    fn drain_queue(&mut self, max: usize, room: &mut usize, mail: &mut Vec<Mail>) -> usize {
        if max == 0 {
            return 0;
        }
        let (taken, expired) = self.session.drain(max, room, mail);
        for scan in &mut self.kept.scans {
            scan.behind = scan.behind.saturating_sub(taken + expired.len());
        }
        self.local.dropped.expired(expired.len() as u64);
        for delivery in &expired {
            self.discard(delivery);
        }
        taken
    }

    /// A delivery that was drained is not sent.
    pub fn discard(&self, delivery: &Delivery) {
        if delivery.stored.is_stored() {
            self.record(|session, recording| recording.forget(session.id, delivery));
        }
    }

    fn drain_retained(&mut self, max: usize, room: &mut usize, mail: &mut Vec<Mail>) -> usize {
        let client_id = &*self.session.client_id;
        let mut retained: Vec<Delivery> = Vec::new();
        let mut scanned: Vec<Filter> = Vec::new();
        while let Some(RetainedScan { options, scan, behind: 0, .. }) = self.kept.scans.front_mut() {
            let through = self.local.retained.scan(scan, &mut |message| {
                if options.no_local && message.retained_by.as_deref() == Some(client_id) {
                    return ControlFlow::Continue(());
                }
                let qos = message.qos.min(options.qos);
                let confirmed = qos > QoS::AtMostOnce;
                if retained.len() >= max || (confirmed && *room == 0) {
                    return ControlFlow::Break(());
                }
                *room -= usize::from(confirmed);
                retained.push(Delivery {
                    message: Arc::clone(message),
                    qos,
                    retain: true,
                    stored: Sequence::default(),
                    subscription_identifiers: options.identifier.into(),
                    shared: None,
                });
                ControlFlow::Continue(())
            });
            if !through {
                break;
            }
            scanned.extend(self.kept.scans.pop_front().map(|scan| scan.filter));
        }
        scanned.extend(self.kept.scans.front().map(|scan| scan.filter.clone()));
        for delivery in retained.iter_mut().filter(|delivery| delivery.qos > QoS::AtMostOnce) {
            delivery.stored = self.session.place_aside();
        }
        // At once: what a subscription is not owed any more is on its way, also after a crash.
        self.record(|session, recording| {
            let subscriptions = self.kept.subscriptions.iter();
            for Held { filter, options } in subscriptions.filter(|held| scanned.contains(&held.filter)) {
                let owed = self.owed(filter);
                recording.put(subscription_row(session, filter), encode_subscription(options, owed.as_ref()));
            }
            for delivery in retained.iter().filter(|delivery| delivery.stored.is_stored()) {
                recording.about(delivery);
                recording.keep(session.id, delivery.stored);
            }
        });
        let taken = retained.len();
        mail.extend(retained.into_iter().map(Mail::One));
        taken
    }

    /// How many messages of QoS 1 and 2 the client takes before it has acknowledged one. More may be in flight of a session
    /// that was resumed by a client that takes fewer than before.
    pub fn window(&self) -> usize {
        usize::from(self.held.window)
    }

    /// How many more QoS 1 and 2 messages may be in flight.
    fn room(&self) -> usize {
        usize::from(self.held.window).saturating_sub(self.kept.in_flight.len() + usize::from(self.set_aside))
    }

    /// Takes a place of the window for a QoS 1 message that is the connection's own. `false`: the window is full.
    pub(crate) fn set_aside(&mut self) -> bool {
        let has_room = self.room() > 0;
        self.set_aside += u16::from(has_room);
        has_room
    }

    /// Gives back a place that was [set aside](Self::set_aside).
    pub(crate) fn give_back(&mut self) {
        self.set_aside = self.set_aside.saturating_sub(1);
    }

    /// What the client has subscribed to that matches a topic: the highest QoS granted, and all identifiers. Shared
    /// subscriptions do not count. `None`: nothing.
    pub(crate) fn granted(&self, topic: &str) -> Option<(QoS, SubscriptionIdentifiers)> {
        let parent_matches = self.local.options.hash_matches_parent;
        let matching = self.kept.subscriptions.iter().filter(|held| {
            let of_parent = held.filter.path().strip_suffix("/#") == Some(topic);
            !held.filter.is_shared() && held.filter.matches(topic) && (parent_matches || !of_parent)
        });
        let mut granted = None;
        for Held { options, .. } in matching {
            let (qos, identifiers) = granted.get_or_insert((QoS::AtMostOnce, SubscriptionIdentifiers::None));
            *qos = options.qos.max(*qos);
            if let Some(identifier) = options.identifier {
                identifiers.add(identifier);
            }
        }
        granted
    }

    /// A QoS 1 or 2 delivery is sent with this packet id. One with QoS 2 of a durable session is not written before
    /// [`SessionHandle::unsettled`] allows: its packet id must be known after a crash.
    pub fn sent(&mut self, packet_id: u16, delivery: Delivery) {
        if delivery.qos == QoS::ExactlyOnce && delivery.stored.is_stored() {
            let in_flight = StoredInFlight { place: delivery.stored.place(), released: false };
            self.record_urgent(|session, recording| recording.in_flight(session.id, packet_id, in_flight));
        }
        self.kept.in_flight.push_back(InFlight::Publish { packet_id, delivery });
    }

    /// The same for messages that came together, with as many packet ids.
    pub(crate) fn sent_together(&mut self, packet_ids: &[u16], part: Part) {
        self.kept.in_flight.push_part(packet_ids, part.without_packets());
    }

    /// PUBREC came. Returns whether that packet id is in flight with QoS 2; then PUBREL is due, when
    /// [`SessionHandle::unsettled`] allows. A PUBREC with an error code (>= 0x80) is [`SessionHandle::acknowledged`] instead.
    pub fn received(&mut self, packet_id: u16) -> bool {
        let delivery = match self.awaited(packet_id) {
            Some(Awaited::Pubcomp) => return true,
            Some(Awaited::Pubrec) => match self.kept.in_flight.release(packet_id) {
                Some(Was::One(delivery)) => delivery,
                _ => return true,
            },
            Some(Awaited::Puback) | None => return false,
        };
        if delivery.stored.is_stored() {
            let in_flight = StoredInFlight { place: delivery.stored.place(), released: true };
            self.record_urgent(|session, recording| {
                recording.forget(session.id, &delivery);
                recording.in_flight(session.id, packet_id, in_flight);
            });
        }
        true
    }

    /// What the client has to send next for the message in flight with this packet id, if there is one. Anything else does
    /// not acknowledge it.
    pub fn awaited(&mut self, packet_id: u16) -> Option<Awaited> {
        self.kept.in_flight.awaited(packet_id)
    }

    /// PUBACK or PUBCOMP came: the message is done. Returns whether the packet id was in flight.
    pub fn acknowledged(&mut self, packet_id: u16) -> bool {
        let Some(done) = self.kept.in_flight.remove(packet_id) else { return false };
        // That it is done is lost with a crash at worst, and then it is sent again.
        let all_stored = self.kept.packet_ids_stored;
        self.record(|session, recording| {
            let exactly_once = match &done {
                Was::One(delivery) => {
                    recording.forget(session.id, delivery);
                    delivery.qos == QoS::ExactlyOnce
                }
                Was::OneOfMany => false,
                Was::Released => true,
            };
            if exactly_once || all_stored {
                recording.delete(SessionRow::InFlight { session: session.id.0.get(), packet_id });
            }
        });
        self.kept.packet_ids_stored &= !self.kept.in_flight.is_empty();
        true
    }

    /// What is in flight, in the order of sending. After opening: what to send again first.
    pub fn in_flight(&self) -> impl Iterator<Item = InFlight> {
        self.kept.in_flight.iter()
    }

    /// How many messages are in flight.
    pub(crate) fn messages_in_flight(&self) -> usize {
        self.kept.in_flight.len()
    }

    /// What is in flight with this packet id, if PUBLISH is to be sent again for it.
    pub(crate) fn delivery_in_flight(&mut self, packet_id: u16) -> Option<Delivery> {
        self.kept.in_flight.delivery(packet_id)
    }

    /// A QoS 2 PUBLISH came with this packet id. Returns whether it is new: only then publish it. Answer PUBREC always.
    pub fn begin_exactly_once(&mut self, packet_id: u16) -> bool {
        self.kept.exactly_once.insert(packet_id)
    }

    /// A QoS 2 PUBLISH was refused: it never was received.
    pub fn abandon_exactly_once(&mut self, packet_id: u16) {
        self.kept.exactly_once.remove(packet_id);
    }

    /// PUBREL came. Returns whether the packet id was known. Answer PUBCOMP (0x92 if not known) when
    /// [`SessionHandle::unsettled`] allows: the client may use the packet id again then.
    pub fn end_exactly_once(&mut self, packet_id: u16) -> bool {
        let known = self.kept.exactly_once.remove(packet_id);
        if known {
            self.record_urgent(|session, recording| {
                recording.delete(SessionRow::Received { session: session.id.0.get(), packet_id });
            });
        }
        known
    }

    /// Packet ids of QoS 2 messages that came and were not released yet.
    pub fn exactly_once(&self) -> impl ExactSizeIterator<Item = u16> {
        self.kept.exactly_once.iter()
    }

    /// Lets go of the session: it ends, or waits for the client's return until it expires.
    pub fn close(mut self, how: Close) {
        self.let_go(how);
    }

    /// Publishes the will if it is due when the session is let go of like this. If it is for very many sessions only for some of
    /// them: see [`Self::deliver_more`]. To be closed afterwards.
    pub(crate) fn publish_will(&mut self, how: Close) {
        let (publish_will, expiry) = self.what_is_left(how);
        let is_due = |kept: &mut Box<KeptWill>| publish_will && (expiry.is_zero() || kept.has_no_delay());
        let Some(kept) = self.held.will.take_if(is_due) else { return };
        self.deliver_rest();
        match self.local.try_publish_will(&self.session, &kept, &mut self.wakers) {
            Ok(rest) => self.under_way = rest,
            // It is kept until it can be.
            Err(NotStored) => self.held.will = Some(kept),
        }
    }

    /// Whether the will counts, and how long the session waits, when it is let go of.
    fn what_is_left(&self, how: Close) -> (bool, Duration) {
        let (prevent_will, discard) = match self.session.ended() {
            Some(SessionEnd::Administrative { prevent_will, clean_session }) => (prevent_will, clean_session),
            _ => (false, false),
        };
        let expiry = how.session_expiry.unwrap_or(self.held.expiry).min(self.local.options.session_expiry);
        let publish_will = how.publish_will && !prevent_will && self.held.opened;
        (publish_will, if discard { Duration::ZERO } else { expiry })
    }

    fn let_go(&mut self, how: Close) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.deliver_rest();
        self.wake_receivers();
        let (publish_will, expiry) = self.what_is_left(how);
        self.local.leave(Leaving {
            session: Arc::clone(&self.session),
            kept: std::mem::take(&mut self.kept),
            certificate: self.held.certificate,
            version: self.held.version,
            will: self.held.will.take(),
            publish_will,
            expiry,
        });
    }
}

fn subscription_row(session: &Session, filter: &Filter) -> SessionRow {
    SessionRow::Subscription { session: session.id.0.get(), filter: filter.as_str().into() }
}

impl Drop for SessionHandle {
    fn drop(&mut self) {
        self.let_go(Close::ABRUPT);
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionHandle")
            .field("client_id", &self.session.client_id)
            .field("key", &self.session.key())
            .finish_non_exhaustive()
    }
}
