//! How a session begins, changes hands, waits and ends.
use super::directory::{ClientHash, Parked, Slot};
use super::timers::{Timer, after};
use super::{Close, KeptWill, Local, OpenError, OpenRequest, Opened, ProtocolVersion, SessionEnd, Wakers};
use crate::message::{Delivery, QoS, SessionId};
use crate::session::durable::{LateRecording, NotStored, StoredInFlight, StoredSession, Ticket};
use crate::session::{HeldBy, InFlight, Kept, Session, SessionHandle};
use hashbrown::hash_table::Entry;
use jitp_provisioner::certs::CertificateId;
use jitp_provisioner::sessions::SessionRow;
use std::num::NonZeroU64;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// What a connection leaves behind.
pub(crate) struct Leaving {
    pub(crate) session: Arc<Session>,
    pub(crate) kept: Kept,
    pub(crate) certificate: Option<CertificateId>,
    pub(crate) version: ProtocolVersion,
    pub(crate) will: Option<Box<KeptWill>>,
    pub(crate) publish_will: bool,
    /// Zero: the session ends now.
    pub(crate) expiry: Duration,
}

/// What asking for a session led to.
enum Asked {
    Granted(Grant),
    /// Its holder was told to let go.
    Wait,
    Refused(OpenError),
}

/// A session for the caller.
struct Grant {
    session: Arc<Session>,
    /// What its last holder left, if it is resumed.
    resumed: Option<Box<Parked>>,
    /// Its predecessor, which this ends.
    ended: Option<(Arc<Session>, Box<Parked>)>,
}

impl Local {
    pub(super) async fn open(self: &Arc<Self>, request: OpenRequest) -> Result<Opened, OpenError> {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed) + 1;
        let patience = after(self.options.takeover_patience);
        let client = self.directory.hash(&request.client_id);
        let shard = self.directory.shard(client);
        loop {
            // Enabled before looking, so that a release in between is not missed.
            let mut released = pin!(shard.released.notified());
            released.as_mut().enable();
            match self.ask(&request, client, ticket) {
                Asked::Granted(grant) => return self.granted(request, grant).await,
                Asked::Refused(error) => return Err(error),
                Asked::Wait => {}
            }
            if timeout_at(patience, released).await.is_err() {
                return Err(OpenError::StillHeld);
            }
        }
    }

    fn ask(&self, request: &OpenRequest, client: ClientHash, ticket: u64) -> Asked {
        self.directory.with_entry(client, &request.client_id, |entry| {
            // Before anything has changed: neither a new session nor the end of an old one could be stored.
            if self.is_stuck() && (self.is_durable(request) || holds_durable(&entry)) {
                return Asked::Refused(OpenError::NotStored(NotStored.to_string().into()));
            }
            let mut slot = match entry {
                Entry::Vacant(vacancy) => {
                    let session = self.new_session(request, client);
                    vacancy.insert(Slot::held(Arc::clone(&session), ticket));
                    return Asked::Granted(Grant { session, resumed: None, ended: None });
                }
                Entry::Occupied(slot) => slot,
            };
            let slot = slot.get_mut();
            if slot.contender > ticket {
                return Asked::Refused(OpenError::Superseded);
            }
            slot.contender = ticket;
            let Some(parked) = slot.parked.take() else {
                slot.session.end(SessionEnd::TakenOver);
                return Asked::Wait;
            };
            self.timers.cancel(parked.timer);
            self.offline.fetch_sub(1, Ordering::Relaxed);
            let carried = self.options.carry_over_versions || parked.version == request.version;
            if request.clean_start || !carried || parked.expires_at <= Instant::now() {
                let session = self.new_session(request, client);
                let old = std::mem::replace(&mut slot.session, Arc::clone(&session));
                return Asked::Granted(Grant { session, resumed: None, ended: Some((old, parked)) });
            }
            slot.session.go_online();
            Asked::Granted(Grant { session: Arc::clone(&slot.session), resumed: Some(parked), ended: None })
        })
    }

    async fn granted(self: &Arc<Self>, request: OpenRequest, grant: Grant) -> Result<Opened, OpenError> {
        let Grant { session, resumed, ended } = grant;
        self.online.fetch_add(1, Ordering::Relaxed);
        if let Some(certificate) = request.certificate {
            self.directory.add_to_certificate(certificate, &session);
        }
        let ended = ended.map_or(0, |(old, parked)| self.finish_parked(&old, *parked, true));
        let session_expiry = request.session_expiry.min(self.options.session_expiry);
        let session_present = resumed.is_some();
        let will = request.will.map(|will| self.keep_will(&session, will));
        let (kept, old_will) = match resumed {
            // If it still waits for its delay it is not sent: the client is back in time.
            Some(parked) => (parked.kept, parked.will.map(|(_, will)| will)),
            None => (Kept::default(), None),
        };
        let mut handle = SessionHandle {
            local: Arc::clone(self),
            wakers: Wakers::of_others_than(session.id),
            session,
            kept,
            held: HeldBy {
                certificate: request.certificate,
                version: request.version,
                expiry: session_expiry,
                will,
                opened: false,
                window: request.receive_maximum.min(self.options.receive_maximum).max(1),
            },
            set_aside: 0,
            recorded: 0,
            under_way: None,
            closed: false,
        };
        let ticket = self.record_opened(&mut handle, old_will.as_deref()).max(ended);
        if ticket > 0 {
            // Whatever the client is told from here on would be true after a crash, too.
            if let Err(error) = handle.read_back(ticket).await {
                if !session_present {
                    // The client never knew of it.
                    handle.close(Close { session_expiry: Some(Duration::ZERO), ..Close::NORMAL });
                }
                return Err(error);
            }
        }
        handle.held.opened = true;
        Ok(Opened { session: handle, session_present, session_expiry })
    }

    fn record_opened(&self, handle: &mut SessionHandle, old_will: Option<&KeptWill>) -> Ticket {
        let SessionHandle { session, held, .. } = handle;
        let mut recording = self.recording();
        self.record_session(session, held.version, held.expiry, None, &mut recording);
        // First, as it makes room.
        if let Some(will) = old_will {
            self.withdraw(session, will, &mut recording);
        }
        if let Some(will) = &mut held.will {
            self.record_new_will(session, will, &mut recording);
        }
        recording.urgent()
    }

    /// Records until when a durable session waits; `None`: it has a connection.
    fn record_session(
        &self,
        session: &Session,
        version: ProtocolVersion,
        expiry: Duration,
        waits_until: Option<u64>,
        recording: &mut LateRecording<'_>,
    ) {
        if session.is_durable()
            && let Some(recording) = recording.begin()
        {
            let client_id = Arc::clone(&session.client_id);
            let row = StoredSession { client_id, version, expiry, waits_until, uncertain: false };
            recording.put(SessionRow::Session { session: session.id.0.get() }, row.encode());
        }
    }

    fn new_session(&self, request: &OpenRequest, client: ClientHash) -> Arc<Session> {
        let made = self.sessions_made.fetch_add(1, Ordering::Relaxed);
        let id = SessionId(NonZeroU64::MIN.saturating_add(made));
        Session::new(id, Arc::clone(&request.client_id), client, self.is_durable(request))
    }

    /// Is the session stored that a client asks for?
    fn is_durable(&self, request: &OpenRequest) -> bool {
        self.recorder.is_some() && !request.session_expiry.is_zero()
    }

    /// A connection lets go of its session.
    pub(crate) fn leave(&self, leaving: Leaving) {
        let Leaving { session, kept, certificate, version, will, publish_will, expiry } = leaving;
        if let Some(certificate) = certificate {
            self.directory.remove_from_certificate(certificate, &session);
        }
        self.online.fetch_sub(1, Ordering::Relaxed);
        let will = will.filter(|will| {
            if !publish_will {
                self.withdraw(&session, will, &mut self.recording());
            }
            publish_will
        });
        if expiry.is_zero() {
            let mut recording = self.recording();
            self.finish(&session, kept, &mut recording);
            recording.urgent();
            if let Some(will) = will {
                self.publish_will(&session, will);
            }
            self.directory.with_session(&session, |slot| drop(slot.remove()));
        } else {
            self.park(&session, kept, version, will, expiry);
        }
        self.directory.shard(session.client).released.notify_waiters();
    }

    fn park(
        &self,
        session: &Arc<Session>,
        mut kept: Kept,
        version: ProtocolVersion,
        will: Option<Box<KeptWill>>,
        expiry: Duration,
    ) {
        let queued = session.go_offline();
        self.share_out(session, &mut kept, queued);
        let expires_at = after(expiry);
        let delayed = match will {
            Some(kept) if kept.will.delay.is_zero() => {
                self.publish_will(session, kept);
                None
            }
            Some(kept) => Some((after(kept.will.delay).min(expires_at), kept)),
            None => None,
        };
        let discarded = self.directory.with_session(session, |mut slot| {
            if let Some(SessionEnd::Administrative { prevent_will, clean_session: true }) = session.ended() {
                // An operator asked for it while the connection was leaving.
                slot.remove();
                return Some((kept, delayed, prevent_will));
            }
            // Here, where nobody can take the session over yet and record that it has a connection again.
            self.record_parked(session, &mut kept, version, expiry, expires_at, delayed.as_ref());
            let at = delayed.as_ref().map_or(expires_at, |(at, _)| *at);
            let timer = self.timers.set(at, Arc::clone(session));
            self.offline.fetch_add(1, Ordering::Relaxed);
            slot.get_mut().parked =
                Some(Box::new(Parked { kept, version, expires_at, will: delayed, timer }));
            None
        });
        if let Some((kept, delayed, prevent_will)) = discarded.flatten() {
            let mut recording = self.recording();
            self.finish(session, kept, &mut recording);
            let will = delayed.map(|(_, will)| will);
            if let Some(will) = will.as_ref().filter(|_| prevent_will) {
                self.withdraw(session, will, &mut recording);
            }
            recording.urgent();
            if let Some(will) = will.filter(|_| !prevent_will) {
                self.publish_will(session, will);
            }
        }
    }

    /// Until when a durable session waits, and its will, and the packet ids that the client knows messages by.
    fn record_parked(
        &self,
        session: &Arc<Session>,
        kept: &mut Kept,
        version: ProtocolVersion,
        expiry: Duration,
        expires_at: Instant,
        delayed: Option<&(Instant, Box<KeptWill>)>,
    ) {
        let Some(recorder) = self.recorder.as_ref().filter(|_| session.is_durable()) else { return };
        let mut recording = self.recording();
        let waits_until = Some(recorder.wall().at(expires_at));
        self.record_session(session, version, expiry, waits_until, &mut recording);
        if let Some((due, will)) = delayed {
            self.record_will(session, will, Some(*due), &mut recording);
        }
        let Some(recording) = recording.begin() else { return };
        for (packet_id, delivery) in kept.in_flight.alone() {
            if delivery.qos == QoS::AtLeastOnce && delivery.stored.is_stored() {
                let in_flight = StoredInFlight { place: delivery.stored.place(), released: false };
                recording.in_flight(session.id, packet_id, in_flight);
                kept.packet_ids_stored = true;
            }
        }
    }

    /// What came by shared subscriptions goes to other members that are online, except QoS 2 that was sent already. The rest
    /// waits for this one's return.
    fn share_out(&self, session: &Arc<Session>, kept: &mut Kept, queued: Vec<Delivery>) {
        let mut recording = self.recording();
        for sent in std::mem::take(&mut kept.in_flight).iter() {
            match sent {
                InFlight::Publish { packet_id, delivery }
                    if delivery.shared.is_some()
                        && delivery.qos == QoS::AtLeastOnce
                        && self.pass_on(&delivery, session, true, &mut recording) =>
                {
                    self.forget(session, &delivery, Some(packet_id), kept.packet_ids_stored, &mut recording);
                }
                sent => kept.in_flight.push_back(sent),
            }
        }
        for delivery in queued {
            if self.pass_on(&delivery, session, true, &mut recording) {
                self.forget(session, &delivery, None, false, &mut recording);
            } else {
                self.put_back(session, delivery, &mut recording);
            }
        }
    }

    /// A session is through with a delivery, which may be stored.
    pub(crate) fn forget(
        &self,
        session: &Session,
        delivery: &Delivery,
        packet_id: Option<u16>,
        packet_id_stored: bool,
        recording: &mut LateRecording<'_>,
    ) {
        if delivery.stored.is_stored()
            && let Some(recording) = recording.begin()
        {
            recording.forget(session.id, delivery);
            if let Some(packet_id) = packet_id.filter(|_| packet_id_stored) {
                recording.delete(SessionRow::InFlight { session: session.id.0.get(), packet_id });
            }
        }
    }

    /// A session without a connection is over: its will, if it is wanted, is published whatever its delay.
    pub(super) fn finish_parked(&self, session: &Arc<Session>, parked: Parked, with_will: bool) -> Ticket {
        let mut recording = self.recording();
        self.finish(session, parked.kept, &mut recording);
        if let Some((_, will)) = parked.will.as_ref().filter(|_| !with_will) {
            self.withdraw(session, will, &mut recording);
        }
        let ticket = recording.urgent();
        if let Some((_, will)) = parked.will.filter(|_| with_will) {
            self.publish_late(session, will);
        }
        ticket
    }

    /// A session is over: its subscriptions go.
    fn finish(&self, session: &Arc<Session>, kept: Kept, recording: &mut LateRecording<'_>) {
        let (queued, unread_from) = session.finish();
        for held in &kept.subscriptions {
            self.router.unsubscribe(&held.filter, session);
        }
        let sent = kept.in_flight.alone().map(|(_, delivery)| delivery);
        let sent = sent.filter(|delivery| delivery.qos == QoS::AtLeastOnce);
        for delivery in sent.chain(&queued).filter(|delivery| delivery.shared.is_some()) {
            if !self.pass_on(delivery, session, false, recording) {
                self.dropped.no_member();
            }
        }
        if session.is_durable()
            && let Some(recording) = recording.begin()
        {
            recording.delete(SessionRow::Session { session: session.id.0.get() });
            self.chores.reap(session.id, unread_from.map(|from| (Arc::clone(session), from)));
        }
    }

    /// A timer fired: a will is due, or the session has expired, or neither any more.
    pub(super) fn attend(&self, timer: Timer, session: &Arc<Session>) {
        let now = Instant::now();
        let due = self.directory.with_session(session, |mut slot| {
            let parked = slot.get_mut().parked.as_mut().filter(|parked| parked.timer == timer)?;
            if parked.expires_at <= now {
                self.offline.fetch_sub(1, Ordering::Relaxed);
                return Some((slot.remove().0.parked, None));
            }
            parked.timer = self.timers.set(parked.expires_at, Arc::clone(session));
            Some((None, parked.will.take().map(|(_, will)| will)))
        });
        match due.flatten() {
            Some((Some(expired), _)) => {
                self.finish_parked(session, *expired, true);
            }
            Some((None, Some(will))) => self.publish_late(session, will),
            Some((None, None)) | None => {}
        }
    }

    pub(super) fn disconnect(&self, client_id: &str, end: SessionEnd) -> bool {
        let discard = matches!(end, SessionEnd::Administrative { clean_session: true, .. });
        let prevent_will = matches!(end, SessionEnd::Administrative { prevent_will: true, .. });
        let (connected, ended) =
            self.directory.with_entry(self.directory.hash(client_id), client_id, |entry| {
                let Entry::Occupied(slot) = entry else { return (false, None) };
                if slot.get().parked.is_none() {
                    slot.get().session.end(end);
                    return (true, None);
                }
                (false, discard.then(|| slot.remove().0))
            });
        ended.is_some_and(|slot| self.discard(slot, !prevent_will)) || connected
    }

    /// A slot is gone, with the session that waited in it. `false`: none did.
    pub(super) fn discard(&self, slot: Slot, with_will: bool) -> bool {
        let Slot { session, parked: Some(parked), .. } = slot else { return false };
        self.timers.cancel(parked.timer);
        self.offline.fetch_sub(1, Ordering::Relaxed);
        self.finish_parked(&session, *parked, with_will);
        true
    }

    pub(super) fn disconnect_certificate(&self, certificate: CertificateId, end: SessionEnd) -> usize {
        self.directory.end_certificate(certificate, |_| true, end)
    }

    pub(super) fn disconnect_client(
        &self,
        client_id: &str,
        certificate: CertificateId,
        end: SessionEnd,
    ) -> bool {
        self.directory.end_certificate(certificate, |session| *session.client_id == *client_id, end) > 0
    }
}

fn holds_durable(entry: &Entry<'_, Slot>) -> bool {
    matches!(entry, Entry::Occupied(slot) if slot.get().session.is_durable())
}
