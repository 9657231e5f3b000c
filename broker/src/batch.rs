//! Messages that came together and go on together: their receivers share them, and the packets that they become.
use crate::backend::ProtocolVersion;
use crate::message::{Delivery, Message, QoS, SessionId, SubscriptionIdentifiers};
use crate::session::durable::Sequence;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Messages of one client to one topic in the order in which they came, shared by all who get them. None is sent as retained.
#[derive(Debug)]
pub(crate) struct Batch {
    messages: Box<[Arc<Message>]>,
    bytes: u32,
    /// One of them does.
    expires: bool,
}

/// The PUBLISH packets of a batch, one after the other, as they are if nothing of a receiver's own is in them but packet ids.
#[derive(Debug)]
pub(crate) struct Packets {
    bytes: Box<[u8]>,
    ends: Box<[usize]>,
    largest: usize,
    /// Bytes of a variable header in front of the packet id.
    before_id: usize,
}

/// Those of a part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PacketsOf<'p> {
    pub(crate) bytes: &'p [u8],
    /// Where in the bytes of all packets these begin, and each of them ends.
    begin: usize,
    ends: &'p [usize],
    before_id: usize,
}

/// Those of receivers with one QoS and each version of MQTT, once one of them was there.
#[derive(Debug, Default)]
struct AllPackets {
    of_311: OnceLock<Packets>,
    of_5: OnceLock<Packets>,
}

/// Those messages of a batch that one receiver has not taken yet.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    batch: Arc<Batch>,
    packets: Option<Arc<AllPackets>>,
    range: Range<usize>,
    qos: QoS,
    identifiers: SubscriptionIdentifiers,
}

/// What a session has for its client. As large as a delivery.
#[derive(Debug)]
pub(crate) enum Mail {
    One(Delivery),
    /// Never none.
    Many(Box<Part>),
}

/// Packets of larger batches are not shared, nor do those stay together in flight: what it saves is the same for a message of any
/// size, and it is memory that no queue counts.
pub(crate) const MOST_BYTES: u32 = 64 * 1024;

impl Batch {
    /// All of it for each receiver, of whom these are the QoS and the identifiers.
    pub(crate) fn parts<'a>(
        messages: &[Arc<Message>],
        receivers: impl Iterator<Item = (QoS, &'a SubscriptionIdentifiers)> + Clone,
    ) -> impl Iterator<Item = Part> {
        let bytes = messages.iter().map(|message| message.charge()).fold(0, u32::saturating_add);
        let expires = messages.iter().any(|message| message.expires_at.is_some());
        let batch = Arc::new(Self { messages: messages.into(), bytes, expires });
        // Of an expiry is sent what is left, which depends on when.
        let same_for_all = messages.len() > 1 && bytes <= MOST_BYTES && !expires;
        let is_plain = |identifiers: &SubscriptionIdentifiers| *identifiers == SubscriptionIdentifiers::None;
        let packets_of = |qos| {
            let mut alike = receivers.clone().filter(|of| of.0 == qos && is_plain(of.1));
            (same_for_all && alike.nth(1).is_some()).then(Arc::<AllPackets>::default)
        };
        let packets = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].map(packets_of);
        receivers.map(move |(qos, identifiers)| Part {
            batch: Arc::clone(&batch),
            packets: packets.get(qos as usize).cloned().flatten().filter(|_| is_plain(identifiers)),
            range: 0..batch.messages.len(),
            qos,
            identifiers: identifiers.clone(),
        })
    }
}

impl Part {
    /// Lets go of packets that others share: they are not counted against any bound.
    pub(crate) fn without_packets(self) -> Self {
        Self { packets: None, ..self }
    }

    /// How many messages there are.
    pub(crate) fn len(&self) -> usize {
        self.range.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// May all of the batch stay in memory as long as this, though nothing counts it?
    pub(crate) fn is_of_small_batch(&self) -> bool {
        self.batch.bytes <= MOST_BYTES
    }

    /// One of them, counted from the first.
    pub(crate) fn nth(&self, place: usize) -> Option<Delivery> {
        self.messages().get(place).map(|message| self.delivery(Arc::clone(message)))
    }

    /// How they are to be sent.
    pub(crate) fn qos(&self) -> QoS {
        self.qos
    }

    /// Does one of the batch expire?
    pub(crate) fn expires(&self) -> bool {
        self.batch.expires
    }

    /// The next one. All have the same topic.
    pub(crate) fn first(&self) -> Option<&Message> {
        self.messages().first().map(|message| &**message)
    }

    /// The session that published them.
    pub(crate) fn publisher(&self) -> Option<SessionId> {
        self.first().and_then(|message| message.publisher)
    }

    /// What they count against the bound of bytes.
    pub(crate) fn charge(&self) -> u32 {
        match self.len() == self.batch.messages.len() {
            true => self.batch.bytes,
            false => self.messages().iter().map(|message| message.charge()).fold(0, u32::saturating_add),
        }
    }

    /// Takes the first ones, so many at most.
    pub(crate) fn take(&mut self, most: usize) -> Self {
        let middle = self.range.end.min(self.range.start.saturating_add(most));
        let first = self.range.start..middle;
        self.range.start = middle;
        Self { range: first, ..self.clone() }
    }

    /// The first one is done.
    pub(crate) fn skip_one(&mut self) {
        self.range.start = self.range.end.min(self.range.start + 1);
    }

    /// Takes the first one.
    pub(crate) fn pop(&mut self) -> Option<Delivery> {
        let message = Arc::clone(self.messages().first()?);
        self.range.start += 1;
        Some(self.delivery(message))
    }

    /// Each for itself.
    pub(crate) fn deliveries(&self) -> impl ExactSizeIterator<Item = Delivery> {
        self.messages().iter().map(|message| self.delivery(Arc::clone(message)))
    }

    /// Their packets, for a receiver that takes packets of `maximum` bytes; `encode` makes those of all of the batch, if nobody has
    /// yet. `None`: each is to be encoded for itself, as they are too large, or not the same for all receivers.
    pub(crate) fn packets(
        &self,
        version: ProtocolVersion,
        maximum: usize,
        encode: impl FnOnce(&Self) -> Packets,
    ) -> Option<PacketsOf<'_>> {
        let AllPackets { of_311, of_5 } = self.packets.as_deref()?;
        let packets = match version {
            ProtocolVersion::V311 => of_311,
            ProtocolVersion::V5 => of_5,
        };
        let all = || Self { range: 0..self.batch.messages.len(), ..self.clone() };
        let packets = packets.get_or_init(|| encode(&all()));
        (packets.largest <= maximum).then(|| packets.of(&self.range)).flatten()
    }

    fn messages(&self) -> &[Arc<Message>] {
        self.batch.messages.get(self.range.clone()).unwrap_or_default()
    }

    fn delivery(&self, message: Arc<Message>) -> Delivery {
        Delivery {
            message,
            qos: self.qos,
            retain: false,
            stored: Sequence::default(),
            subscription_identifiers: self.identifiers.clone(),
            shared: None,
        }
    }
}

impl Packets {
    /// `ends`: where in `bytes` each packet ends. `before_id`: of their variable headers, so many bytes come before the packet id.
    pub(crate) fn new(bytes: Vec<u8>, ends: Vec<usize>, before_id: usize) -> Self {
        let begins = std::iter::once(&0).chain(&ends);
        let largest = begins.zip(&ends).map(|(begin, end)| end - begin).max().unwrap_or_default();
        Self { bytes: bytes.into(), ends: ends.into(), largest, before_id }
    }

    fn of(&self, messages: &Range<usize>) -> Option<PacketsOf<'_>> {
        let begin = match messages.start.checked_sub(1) {
            None => 0,
            Some(last) => *self.ends.get(last)?,
        };
        let ends = self.ends.get(messages.clone())?;
        let bytes = self.bytes.get(begin..ends.last().copied().unwrap_or(begin))?;
        Some(PacketsOf { bytes, begin, ends, before_id: self.before_id })
    }
}

impl PacketsOf<'_> {
    /// Where in the bytes each packet's id is to be.
    pub(crate) fn packet_ids(&self) -> impl Iterator<Item = usize> {
        let begins = std::iter::once(&self.begin).chain(self.ends).map(|begin| begin - self.begin);
        begins.take(self.ends.len()).map(|begin| {
            let lengths = self.bytes.iter().skip(begin + 1);
            begin + 2 + lengths.take_while(|digit| **digit >= 0x80).count() + self.before_id
        })
    }
}

impl Mail {
    /// The message, if it came alone.
    pub(crate) fn one(self) -> Option<Delivery> {
        match self {
            Self::One(delivery) => Some(delivery),
            Self::Many(_) => None,
        }
    }

    /// Each message for itself.
    pub(crate) fn into_deliveries(self) -> impl Iterator<Item = Delivery> {
        let (one, mut many) = match self {
            Self::One(delivery) => (Some(delivery), None),
            Self::Many(part) => (None, Some(part)),
        };
        one.into_iter().chain(std::iter::from_fn(move || many.as_mut()?.pop()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;
    use std::time::Duration;

    fn messages(payloads: &[&'static str]) -> Vec<Arc<Message>> {
        payloads.iter().map(|payload| Arc::new(Message::new("t", *payload, QoS::AtLeastOnce))).collect()
    }

    /// What one of so many receivers gets who are alike.
    fn of(messages: &[Arc<Message>], receivers: usize, qos: QoS, identifier: Option<NonZeroU32>) -> Part {
        let identifiers = identifier.into();
        let receivers = std::iter::repeat_n((qos, &identifiers), receivers);
        Batch::parts(messages, receivers).last().unwrap()
    }

    fn part(payloads: &[&'static str], receivers: usize) -> Part {
        of(&messages(payloads), receivers, QoS::AtMostOnce, None)
    }

    /// What stands for a packet here is the payload.
    fn encode(all: &Part) -> Packets {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for delivery in all.deliveries() {
            bytes.extend_from_slice(&delivery.message.payload);
            ends.push(bytes.len());
        }
        Packets::new(bytes, ends, 0)
    }

    fn payloads(deliveries: impl Iterator<Item = Delivery>) -> Vec<bytes::Bytes> {
        deliveries.map(|delivery| delivery.message.payload.clone()).collect()
    }

    #[test]
    fn mail_is_as_small_as_a_delivery() {
        assert_eq!(size_of::<Mail>(), size_of::<Delivery>());
    }

    #[test]
    fn what_is_taken_first_and_what_is_left_are_all() {
        let mut rest = part(&["one", "two", "three", "four"], 1);
        let (all, bytes) = (payloads(rest.deliveries()), rest.charge());
        let first = rest.take(2);
        assert_eq!((first.len(), rest.len(), first.charge() + rest.charge()), (2, 2, bytes));
        let third = rest.pop().unwrap();
        assert_eq!((third.qos, third.retain), (QoS::AtMostOnce, false));
        let one = Mail::One(third).into_deliveries();
        let parts = [first, rest].map(|part| Mail::Many(Box::new(part)).into_deliveries());
        let [first, last] = parts;
        assert_eq!(payloads(first.chain(one).chain(last)), all);
    }

    #[test]
    fn packets_are_made_once_for_each_version_and_qos_and_are_those_of_the_part() {
        fn bytes(
            part: &Part,
            version: ProtocolVersion,
            maximum: usize,
            encode: impl FnOnce(&Part) -> Packets,
        ) -> Option<&[u8]> {
            part.packets(version, maximum, encode).map(|packets| packets.bytes)
        }
        let all = messages(&["one", "two", "three"]);
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut rest = of(&all, 2, qos, None);
            let again = |_: &Part| -> Packets { panic!("made twice") };
            for version in [ProtocolVersion::V311, ProtocolVersion::V5] {
                assert_eq!(bytes(&rest, version, 5, encode), Some(&b"onetwothree"[..]));
                assert_eq!(bytes(&rest, version, 5, again), Some(&b"onetwothree"[..]));
            }
            let first = rest.take(1);
            assert_eq!(bytes(&first, ProtocolVersion::V5, 5, again), Some(&b"one"[..]));
            assert_eq!(bytes(&rest, ProtocolVersion::V5, 5, again), Some(&b"twothree"[..]));
            // Also if it is not among those: one comparison for all of them.
            assert_eq!(bytes(&first, ProtocolVersion::V5, 4, again), None);
        }
    }

    fn has_packets(part: &Part) -> bool {
        part.packets(ProtocolVersion::V5, usize::MAX, encode).is_some()
    }

    #[tokio::test]
    async fn who_gets_something_else_than_others_or_gets_it_alone_has_no_packets_in_common() {
        let two = messages(&["one", "two"]);
        assert!(has_packets(&of(&two, 2, QoS::AtMostOnce, None)));
        assert!(!has_packets(&of(&two, 2, QoS::AtMostOnce, None).without_packets()));
        assert!(!has_packets(&of(&two, 1, QoS::AtMostOnce, None)));
        assert!(!has_packets(&of(&two[..1], 2, QoS::AtMostOnce, None)));
        assert!(has_packets(&of(&two, 2, QoS::ExactlyOnce, None)));
        assert!(!has_packets(&of(&two, 2, QoS::AtMostOnce, NonZeroU32::new(7))));
        let large = Message::new("t", vec![0; MOST_BYTES as usize], QoS::AtMostOnce);
        let expires = Message::new("t", "x", QoS::AtMostOnce).expiring_after(Duration::from_secs(1));
        for other in [large, expires] {
            let with_other = [&two[..], &[Arc::new(other)]].concat();
            assert!(!has_packets(&of(&with_other, 2, QoS::AtMostOnce, None)));
        }
    }

    #[test]
    fn those_who_are_alike_share_packets_whoever_else_there_is() {
        let (none, one) = (SubscriptionIdentifiers::None, SubscriptionIdentifiers::from(NonZeroU32::new(7)));
        let [q0, q1] = [QoS::AtMostOnce, QoS::AtLeastOnce];
        let shared = |receivers: &[(QoS, &SubscriptionIdentifiers)]| {
            let messages = messages(&["one", "two"]);
            Batch::parts(&messages, receivers.iter().copied())
                .map(|part| has_packets(&part))
                .collect::<Vec<_>>()
        };
        assert_eq!(shared(&[(q0, &none), (q1, &none), (q0, &one), (q0, &none)]), [true, false, false, true]);
        assert_eq!(shared(&[(q0, &none), (q1, &none), (q0, &one)]), [false; 3]);
    }
}
