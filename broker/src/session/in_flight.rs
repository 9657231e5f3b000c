//! QoS 1 and 2 messages that were sent and not yet acknowledged in full.
use crate::batch::Part;
use crate::message::{Delivery, QoS};
use std::collections::VecDeque;
use std::fmt;

/// Memory that is kept when nothing is in flight, in entries.
const KEPT_CAPACITY: usize = 16;
/// Parts are kept as they were sent, if they are of small batches, until so many are: all of a batch is in memory until the last
/// message of a part is acknowledged.
const MOST_TOGETHER: u16 = 32;

/// All that is in flight, in the order of sending.
#[derive(Debug, Default)]
pub(crate) struct AllInFlight {
    entries: VecDeque<Entry>,
    /// As many as there are packet ids at most.
    messages: u16,
    /// How many entries are of messages that were sent together.
    together: u16,
    /// Where to look first: a client answers in the order in which it was sent to.
    likely: u32,
}

/// Messages that were sent one after the other. Never none.
#[derive(Debug)]
enum Entry {
    /// PUBLISH was sent.
    One { packet_id: u16, delivery: Delivery },
    /// The same, of messages that came together, with packet ids that count up.
    Together { first: u16, part: Box<Part> },
    /// PUBREC came for all of them; their packet ids count up.
    Released { first: u16, count: u16 },
}

/// What was in flight.
#[derive(Debug)]
pub(crate) enum Was {
    /// This delivery.
    One(Delivery),
    /// One of those that were sent together. Such are neither stored nor of shared subscriptions.
    OneOfMany,
    /// A message for which PUBREC came.
    Released,
}

impl AllInFlight {
    pub(crate) fn len(&self) -> usize {
        usize::from(self.messages)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    pub(crate) fn push_back(&mut self, message: InFlight) {
        self.messages = self.messages.saturating_add(1);
        match message {
            InFlight::Publish { packet_id, delivery } => {
                self.entries.push_back(Entry::One { packet_id, delivery });
            }
            InFlight::Release { packet_id } => self.released(self.entries.len(), packet_id),
        }
    }

    /// Messages that were sent together, as many as there are packet ids, in order.
    pub(crate) fn push_part(&mut self, packet_ids: &[u16], mut part: Part) {
        let may_stay = part.is_of_small_batch();
        for packet_ids in packet_ids.chunk_by(|one, next| one.checked_add(1) == Some(*next)) {
            let Some(first) = packet_ids.first() else { continue };
            let run = part.take(packet_ids.len());
            if may_stay && run.len() > 1 && self.together < MOST_TOGETHER {
                self.messages = self.messages.saturating_add(packet_ids.len() as u16);
                self.together += 1;
                self.entries.push_back(Entry::Together { first: *first, part: Box::new(run) });
            } else {
                for (packet_id, delivery) in packet_ids.iter().zip(run.deliveries()) {
                    self.push_back(InFlight::Publish { packet_id: *packet_id, delivery });
                }
            }
        }
    }

    /// Each for itself, in the order of sending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = InFlight> {
        self.entries.iter().flat_map(Entry::messages)
    }

    /// Those that were sent for themselves and wait for the first answer: all that may be stored, or of a shared subscription.
    pub(crate) fn alone(&self) -> impl Iterator<Item = (u16, &Delivery)> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::One { packet_id, delivery } => Some((*packet_id, delivery)),
            _ => None,
        })
    }

    /// What the client has to send next for what was sent with this packet id.
    pub(crate) fn awaited(&mut self, packet_id: u16) -> Option<Awaited> {
        let place = self.find(packet_id)?;
        Some(match self.entries.get(place)? {
            Entry::One { delivery, .. } => Awaited::answer_to(delivery.qos),
            Entry::Together { part, .. } => Awaited::answer_to(part.qos()),
            Entry::Released { .. } => Awaited::Pubcomp,
        })
    }

    /// What was sent with this packet id, if it waits for the first answer.
    pub(crate) fn delivery(&mut self, packet_id: u16) -> Option<Delivery> {
        let place = self.find(packet_id)?;
        match self.entries.get(place)? {
            Entry::One { delivery, .. } => Some(delivery.clone()),
            Entry::Together { first, part } => part.nth(offset(*first, packet_id)),
            Entry::Released { .. } => None,
        }
    }

    /// What was sent with this packet id is released, as PUBREC came. Returns what it was. The next PUBREC is probably about what
    /// was sent behind it.
    pub(crate) fn release(&mut self, packet_id: u16) -> Option<Was> {
        let (place, was) = self.take_out(packet_id)?;
        let entries = self.entries.len();
        self.released(place, packet_id);
        self.likely = (place + self.entries.len() - entries) as u32;
        Some(was)
    }

    /// Removes what was sent with this packet id.
    pub(crate) fn remove(&mut self, packet_id: u16) -> Option<Was> {
        let (place, was) = self.take_out(packet_id)?;
        self.likely = place as u32;
        self.messages = self.messages.saturating_sub(1);
        if self.entries.is_empty() && self.entries.capacity() > KEPT_CAPACITY {
            self.entries = VecDeque::new();
        }
        Some(was)
    }

    /// Puts in what is released, at this place or behind its predecessor.
    fn released(&mut self, place: usize, packet_id: u16) {
        let before = place.checked_sub(1).and_then(|before| self.entries.get_mut(before));
        match before {
            Some(Entry::Released { first, count }) if first.checked_add(*count) == Some(packet_id) => {
                *count += 1
            }
            _ => self.entries.insert(place, Entry::Released { first: packet_id, count: 1 }),
        }
    }

    /// Takes out what has this packet id. Returns the place where it was: what was sent behind it begins there.
    fn take_out(&mut self, packet_id: u16) -> Option<(usize, Was)> {
        let mut place = self.find(packet_id)?;
        let entry = self.entries.get_mut(place)?;
        // What was sent before it with others becomes an entry of its own. Answers in order do not come here.
        if let Some(before) = entry.take_until(packet_id) {
            self.together += u16::from(matches!(before, Entry::Together { .. }));
            self.entries.insert(place, before);
            place += 1;
        }
        let (was, is_empty) = match self.entries.get_mut(place)? {
            Entry::One { .. } => (None, true),
            Entry::Together { first, part } => {
                part.skip_one();
                *first = first.wrapping_add(1);
                (Some(Was::OneOfMany), part.is_empty())
            }
            Entry::Released { first, count } => {
                *count = count.saturating_sub(1);
                *first = first.wrapping_add(1);
                (Some(Was::Released), *count == 0)
            }
        };
        let removed = if is_empty { self.entries.remove(place) } else { None };
        let was = match (removed, was) {
            (Some(Entry::One { delivery, .. }), _) => Was::One(delivery),
            (Some(Entry::Together { .. }), _) => {
                self.together = self.together.saturating_sub(1);
                Was::OneOfMany
            }
            (_, was) => was?,
        };
        Some((place, was))
    }

    fn find(&mut self, packet_id: u16) -> Option<usize> {
        let has_it = |place: &usize| self.entries.get(*place).is_some_and(|entry| entry.has(packet_id));
        let from = (self.likely as usize).min(self.entries.len());
        let place = (from..self.entries.len()).chain(0..from).find(has_it)?;
        self.likely = place as u32;
        Some(place)
    }
}

impl Entry {
    fn has(&self, packet_id: u16) -> bool {
        match self {
            Self::One { packet_id: only, .. } => *only == packet_id,
            Self::Together { first, part } => *first <= packet_id && offset(*first, packet_id) < part.len(),
            Self::Released { first, count } => *first <= packet_id && packet_id - first < *count,
        }
    }

    /// Takes out what was sent before what has this packet id, if there is anything.
    fn take_until(&mut self, packet_id: u16) -> Option<Self> {
        match self {
            Self::Together { first, part } if *first < packet_id => {
                let part = Box::new(part.take(offset(*first, packet_id)));
                Some(Self::Together { first: std::mem::replace(first, packet_id), part })
            }
            Self::Released { first, count } if *first < packet_id => {
                let before = packet_id - *first;
                *count -= before;
                Some(Self::Released { first: std::mem::replace(first, packet_id), count: before })
            }
            _ => None,
        }
    }

    fn messages(&self) -> impl Iterator<Item = InFlight> {
        let (first, one, part, count) = match self {
            Self::One { packet_id, delivery } => (*packet_id, Some(delivery), None, 0),
            Self::Together { first, part } => (*first, None, Some(part), 0),
            Self::Released { first, count } => (*first, None, None, *count),
        };
        let deliveries = one.cloned().into_iter().chain(part.into_iter().flat_map(|part| part.deliveries()));
        let sent = (first..=u16::MAX)
            .zip(deliveries)
            .map(|(packet_id, delivery)| InFlight::Publish { packet_id, delivery });
        sent.chain(
            (first..=u16::MAX).take(usize::from(count)).map(|packet_id| InFlight::Release { packet_id }),
        )
    }
}

/// How many packet ids later.
fn offset(first: u16, packet_id: u16) -> usize {
    usize::from(packet_id.saturating_sub(first))
}

/// One message in flight towards the client.
#[derive(Debug, Clone)]
pub enum InFlight {
    /// PUBLISH was sent; neither PUBACK nor PUBREC came. On resume it is sent again with DUP.
    Publish {
        /// Its packet id, which a resend must use again.
        packet_id: u16,
        /// What was sent.
        delivery: Delivery,
    },
    /// QoS 2: PUBREC came, PUBCOMP did not. On resume PUBREL is sent again.
    Release {
        /// Its packet id.
        packet_id: u16,
    },
}

/// What the client has to send next for a message in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// PUBACK, of QoS 1.
    Puback,
    /// PUBREC, of QoS 2.
    Pubrec,
    /// PUBCOMP, after PUBREL.
    Pubcomp,
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Puback => "PUBACK",
            Self::Pubrec => "PUBREC",
            Self::Pubcomp => "PUBCOMP",
        })
    }
}

impl Awaited {
    /// The first answer to a PUBLISH with QoS 1 or 2.
    fn answer_to(qos: QoS) -> Self {
        if qos == QoS::ExactlyOnce { Self::Pubrec } else { Self::Puback }
    }
}

impl InFlight {
    /// What must come next.
    pub fn awaited(&self) -> Awaited {
        match self {
            Self::Publish { delivery, .. } => Awaited::answer_to(delivery.qos),
            Self::Release { .. } => Awaited::Pubcomp,
        }
    }

    /// Its packet id.
    pub fn packet_id(&self) -> u16 {
        match self {
            Self::Publish { packet_id, .. } | Self::Release { packet_id } => *packet_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Batch, MOST_BYTES};
    use crate::message::{Message, SubscriptionIdentifiers};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn sent(packet_id: u16, qos: QoS) -> InFlight {
        let delivery = Delivery {
            message: Arc::new(Message::new("t", "", qos)),
            qos,
            retain: false,
            stored: crate::session::durable::Sequence::default(),
            subscription_identifiers: SubscriptionIdentifiers::None,
            shared: None,
        };
        InFlight::Publish { packet_id, delivery }
    }

    #[test]
    fn each_step_of_each_qos_waits_for_its_own_answer() {
        assert_eq!(sent(1, QoS::AtLeastOnce).awaited(), Awaited::Puback);
        assert_eq!(sent(1, QoS::ExactlyOnce).awaited(), Awaited::Pubrec);
        assert_eq!(InFlight::Release { packet_id: 1 }.awaited(), Awaited::Pubcomp);
    }

    fn part(qos: QoS, payloads: std::ops::Range<u16>) -> Part {
        let messages: Vec<_> =
            payloads.map(|number| Arc::new(Message::new("t", number.to_string(), qos))).collect();
        Batch::parts(&messages, std::iter::once((qos, &SubscriptionIdentifiers::None))).next().unwrap()
    }

    fn text(delivery: &Delivery) -> String {
        String::from_utf8(delivery.message.payload.to_vec()).unwrap()
    }

    /// Packet id, what is awaited, and the payload of what waits for the first answer.
    fn state(message: &InFlight) -> (u16, Awaited, Option<String>) {
        let payload = match message {
            InFlight::Publish { delivery, .. } => Some(text(delivery)),
            InFlight::Release { .. } => None,
        };
        (message.packet_id(), message.awaited(), payload)
    }

    proptest! {
        /// Packet ids lie closely together and go round, so that those of a part have gaps. Most answers are about the first ones.
        #[test]
        fn answers_in_any_order_find_what_they_answer(
            steps in proptest::collection::vec((0..9u8, any::<bool>(), 1..9u16, 0..60usize), 0..200)
        ) {
            let (mut all, mut model) = (AllInFlight::default(), Vec::new());
            let (mut last, mut number) = (u16::MAX - 30, 0);
            for (what, twice, many, which) in steps {
                let (qos, awaited) = match twice {
                    true => (QoS::ExactlyOnce, Awaited::Pubrec),
                    false => (QoS::AtLeastOnce, Awaited::Puback),
                };
                let is_used = |model: &Vec<(u16, Awaited, Option<String>)>, id| model.iter().any(|known| known.0 == id);
                let mut next = |model: &Vec<_>| loop {
                    last = if last == u16::MAX { u16::MAX - 60 } else { last + 1 };
                    if !is_used(model, last) {
                        break last;
                    }
                };
                let place = if what % 2 == 0 { which % 3 } else { which };
                let id = model.get(place).map_or(7, |known: &(u16, _, _)| known.0);
                match what {
                    0..2 if model.len() < 50 => {
                        let ids: Vec<u16> = (0..if what == 0 { 1 } else { many }).map(|_| {
                            let id = next(&model);
                            model.push((id, awaited, Some((number + model.len() as u16).to_string())));
                            id
                        }).collect();
                        let first: u16 = model[model.len() - ids.len()].2.as_ref().unwrap().parse().unwrap();
                        let part = part(qos, first..first + ids.len() as u16);
                        match ids.as_slice() {
                            [id] => all.push_back(InFlight::Publish { packet_id: *id, delivery: part.deliveries().next().unwrap() }),
                            ids => all.push_part(ids, part),
                        }
                        number += 100;
                    }
                    0..4 => {
                        let was = model.get_mut(place).map(|known| std::mem::replace(known, (id, Awaited::Pubcomp, None)));
                        let found = all.release(id);
                        prop_assert_eq!(found.is_some(), was.is_some());
                        prop_assert_eq!(matches!(found, Some(Was::Released)), matches!(was, Some((_, _, None))));
                        if let Some(Was::One(delivery)) = found {
                            prop_assert_eq!(Some(text(&delivery)), was.unwrap().2);
                        }
                    }
                    4..7 => {
                        let was = (place < model.len()).then(|| model.remove(place));
                        let found = all.remove(id);
                        prop_assert_eq!(found.is_some(), was.is_some());
                        prop_assert_eq!(matches!(found, Some(Was::Released)), matches!(was, Some((_, _, None))));
                        if let Some(Was::One(delivery)) = found {
                            prop_assert_eq!(Some(text(&delivery)), was.unwrap().2);
                        }
                    }
                    _ => {
                        let known = model.get(place);
                        prop_assert_eq!(all.awaited(id), known.map(|known| known.1));
                        prop_assert_eq!(all.delivery(id).map(|delivery| text(&delivery)), known.and_then(|known| known.2.clone()));
                    }
                }
                prop_assert!(all.iter().map(|message| state(&message)).eq(model.iter().cloned()));
                prop_assert_eq!(all.len(), model.len());
                let together = all.entries.iter().filter(|entry| matches!(entry, Entry::Together { .. })).count();
                prop_assert_eq!(usize::from(all.together), together);
            }
        }
    }

    #[test]
    fn what_is_acknowledged_in_order_stays_one_entry_until_the_last() {
        let mut all = AllInFlight::default();
        all.push_part(&(1..101).collect::<Vec<u16>>(), part(QoS::ExactlyOnce, 0..100));
        all.push_part(&(101..201).collect::<Vec<u16>>(), part(QoS::ExactlyOnce, 0..100));
        assert_eq!((all.entries.len(), all.len()), (2, 200));
        for id in 1..=100 {
            assert!(matches!(all.release(id), Some(Was::OneOfMany)));
            assert!(all.entries.len() <= 3);
        }
        assert_eq!((all.entries.len(), all.together), (2, 1));
        for id in 1..=100 {
            assert!(matches!(all.remove(id), Some(Was::Released)));
        }
        assert_eq!((all.entries.len(), all.len()), (1, 100));
    }

    #[test]
    fn few_parts_and_no_large_ones_stay_together() {
        let mut all = AllInFlight::default();
        for number in 0..2 * MOST_TOGETHER {
            all.push_part(&[2 * number + 1, 2 * number + 2], part(QoS::AtLeastOnce, 0..2));
        }
        assert_eq!(
            (all.together, all.entries.len(), all.len()),
            (MOST_TOGETHER, 3 * usize::from(MOST_TOGETHER), 4 * usize::from(MOST_TOGETHER))
        );
        let mut all = AllInFlight::default();
        let large = Arc::new(Message::new("t", vec![0; MOST_BYTES as usize], QoS::AtLeastOnce));
        let alone = (QoS::AtLeastOnce, &SubscriptionIdentifiers::None);
        let part = Batch::parts(&[Arc::clone(&large), large], std::iter::once(alone)).next().unwrap();
        all.push_part(&[1, 2], part);
        assert_eq!((all.together, all.len()), (0, 2));
    }
}
