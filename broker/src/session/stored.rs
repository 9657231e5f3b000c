//! What a durable session reads back: what an earlier process knew of it, and the part of its queue that is not in memory.
use super::durable::{Recorder, Sequence, StoredDelivery, StoredInFlight, Ticket, Unreadable};
use super::{InFlight, SessionHandle, charge};
use crate::backend::{OpenError, message_of};
use crate::message::{Delivery, QoS};
use jitp_provisioner::RegistryError;
use jitp_provisioner::sessions::{SessionRow, SessionRows};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::sleep;

/// Rows read at once: a message may be large.
const PAGE: usize = 128;
/// The pause after the store could not be read.
const PAUSE: Duration = Duration::from_secs(1);

/// A delivery as it was read, or what is left of one that cannot be.
enum Read {
    Delivery(Box<Delivery>),
    Unreadable(SessionRow),
}

impl SessionHandle {
    /// Reads what an earlier process left, if that has not been done, and waits for a batch. Cancel-safe: what was not read
    /// is read the next time.
    pub(crate) async fn read_back(&mut self, ticket: Ticket) -> Result<(), OpenError> {
        let Some(recorder) = self.local.recorder.clone() else { return Ok(()) };
        if self.kept.unread {
            self.read_in_flight(&recorder)
                .await
                .map_err(|error| OpenError::NotStored(error.to_string().into()))?;
        }
        recorder.durable(ticket).await.map_err(|error| OpenError::NotStored(error.to_string().into()))
    }

    async fn read_in_flight(&mut self, recorder: &Recorder) -> Result<(), RegistryError> {
        let id = self.session.id.0.get();
        let mut received = BTreeSet::new();
        for (row, _) in all(recorder, SessionRows::Received(Some(id))).await? {
            if let SessionRow::Received { packet_id, .. } = row {
                received.insert(packet_id);
            }
        }
        let mut by_place = BTreeMap::new();
        for (row, value) in all(recorder, SessionRows::InFlight(Some(id))).await? {
            if let (SessionRow::InFlight { packet_id, .. }, Ok(known)) = (row, StoredInFlight::decode(&value))
            {
                by_place.insert(known.place, (packet_id, known.released));
            }
        }
        // What was sent before was queued before: behind the last of those in flight nothing has been sent.
        let queued = by_place.keys().copied().filter(|place| *place >= Sequence::FIRST_QUEUED);
        let from = queued.max().map_or(Sequence::FIRST_QUEUED, |last| last + 1);
        let mut messages = BTreeMap::new();
        let mut after = None;
        'pages: loop {
            let page = recorder.store().scan(SessionRows::Queued(Some(id)), after.as_ref(), PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (row, value) in page {
                let SessionRow::Queued { sequence, .. } = row else { continue };
                if sequence >= from {
                    break 'pages;
                }
                match read(recorder, sequence, row, &value).await? {
                    Read::Delivery(delivery) => drop(messages.insert(sequence, *delivery)),
                    Read::Unreadable(row) => self.drop_unreadable(recorder, row),
                }
            }
        }
        // From here on nothing waits, so that all of it is done or nothing.
        let bytes = messages.values().map(charge).fold(0, u32::saturating_add);
        let (in_flight, queued_again) = self.sent_before(recorder, by_place, messages);
        let publishes = in_flight.iter().filter(|sent| matches!(sent, InFlight::Publish { .. })).count();
        self.session.resume(from, queued_again, publishes, bytes);
        in_flight.into_iter().for_each(|sent| self.kept.in_flight.push_back(sent));
        for packet_id in received {
            self.kept.exactly_once.insert(packet_id);
        }
        self.kept.unread = false;
        Ok(())
    }

    /// What was sent before a crash, in the order of sending, given the packet ids that are known of it [MQTT-4.6.0-1]. QoS 1 leaves
    /// none: such a message gets another one. Those for which there is none left come back to be queued.
    fn sent_before(
        &mut self,
        recorder: &Recorder,
        mut known: BTreeMap<u64, (u16, bool)>,
        messages: BTreeMap<u64, Delivery>,
    ) -> (Vec<InFlight>, Vec<Delivery>) {
        let used: BTreeSet<u16> = known.values().map(|(packet_id, _)| *packet_id).collect();
        let mut free = (1..=u16::MAX).filter(|packet_id| !used.contains(packet_id));
        let (mut in_flight, mut queued_again) = (BTreeMap::new(), Vec::new());
        for (place, mut delivery) in messages {
            delivery.stored = delivery.stored.repeated();
            let packet_id = match known.remove(&place) {
                Some((packet_id, _)) => {
                    self.kept.packet_ids_stored |= delivery.qos == QoS::AtLeastOnce;
                    Some(packet_id)
                }
                None => free.next(),
            };
            match packet_id {
                Some(packet_id) => drop(in_flight.insert(place, InFlight::Publish { packet_id, delivery })),
                None => queued_again.push(delivery),
            }
        }
        for (place, (packet_id, released)) in known {
            if released {
                in_flight.insert(place, InFlight::Release { packet_id });
            } else {
                recorder
                    .record()
                    .delete(SessionRow::InFlight { session: self.session.id.0.get(), packet_id });
            }
        }
        (in_flight.into_values().collect(), queued_again)
    }

    /// Reads the next part of the queue, if nothing of it is left in memory. `false`: something is, or nothing is queued.
    pub(super) async fn read_page(&self, recorder: &Recorder) -> bool {
        let Some((from, until)) = self.session.unread() else { return false };
        match self.try_read_page(recorder, from, until).await {
            Ok(()) => {}
            Err(error) => {
                tracing::error!(%error, client_id = %self.session.client_id, "what is queued could not be read; trying again");
                sleep(PAUSE).await;
            }
        }
        true
    }

    async fn try_read_page(&self, recorder: &Recorder, from: u64, until: u64) -> Result<(), RegistryError> {
        let session = self.session.id.0.get();
        let after = SessionRow::Queued { session, sequence: from.saturating_sub(1) };
        let rows = SessionRows::Queued(Some(session));
        let last = recorder.last();
        let mut page = recorder.store().scan(rows, Some(&after), PAGE).await?;
        if page.len() < PAGE && !recorder.is_durable(last) {
            // There may be more on its way into the store.
            recorder.settled().await;
            page = recorder.store().scan(rows, Some(&after), PAGE).await?;
        }
        let behind = match page.last() {
            Some((SessionRow::Queued { sequence, .. }, _)) => sequence + 1,
            _ => from,
        };
        let next = (page.len() == PAGE).then_some(behind);
        let (mut deliveries, mut missing) = (Vec::with_capacity(page.len()), 0);
        for (row, value) in page {
            let SessionRow::Queued { sequence, .. } = row else { continue };
            match read(recorder, sequence, row, &value).await? {
                Read::Delivery(delivery) => deliveries.push(*delivery),
                Read::Unreadable(row) => {
                    missing += 1;
                    self.drop_unreadable(recorder, row);
                }
            }
        }
        self.session.read_in(from, next, until.max(behind), deliveries, missing);
        Ok(())
    }

    fn drop_unreadable(&self, recorder: &Recorder, row: SessionRow) {
        tracing::error!(client_id = %self.session.client_id, ?row, "a stored message is damaged and is dropped");
        recorder.record().delete(row);
    }
}

/// All rows of a set that is small.
async fn all(recorder: &Recorder, rows: SessionRows) -> Result<Vec<(SessionRow, Vec<u8>)>, RegistryError> {
    // A packet id has 16 bits.
    recorder.store().scan(rows, None, usize::from(u16::MAX)).await
}

async fn read(
    recorder: &Recorder,
    sequence: u64,
    row: SessionRow,
    value: &[u8],
) -> Result<Read, RegistryError> {
    let Ok(stored) = StoredDelivery::decode(value) else { return Ok(Read::Unreadable(row)) };
    let message = message_of(recorder, &stored).await?;
    Ok(match stored.into_delivery(sequence, message.as_deref(), recorder.wall()) {
        Ok(delivery) => Read::Delivery(Box::new(delivery)),
        Err(Unreadable) => Read::Unreadable(row),
    })
}
