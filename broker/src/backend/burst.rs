//! Messages of one client to one topic that came together: who gets them is looked up once, and the mailbox of each receiver
//! is locked once for all of them.
use super::fan_out::one_delivery;
use super::local::Local;
use super::waking::Wakers;
use crate::batch::Batch;
use crate::message::{Delivery, Message, QoS, SubscriptionIdentifiers};
use crate::router::{Match, Matches};
use crate::session::{Bounds, Lag, Session};
use std::sync::Arc;

/// Messages in one burst at most: as many as its client sends in one turn.
pub(crate) const LARGEST_BURST: usize = 128;
/// A burst takes at most this part of a queue: while it grows, nobody is told to wait for a receiver.
const PART_OF_QUEUE: usize = 8;

/// Messages in the order in which they came, which nobody has yet, and who gets all of them.
pub(crate) struct Burst {
    topic: Arc<str>,
    qos: QoS,
    /// Of the router, from before the receivers were collected.
    changes: u64,
    receivers: Vec<Receiver>,
    messages: Vec<Arc<Message>>,
    bytes: usize,
}

struct Receiver {
    session: Arc<Session>,
    qos: QoS,
    identifiers: SubscriptionIdentifiers,
}

impl Burst {
    /// Begins with a message that is not retained, and takes its matches. `None`, and they are left, if those are very many,
    /// need something stored, or are chosen anew for every message.
    pub(super) fn begin(
        message: &Arc<Message>,
        matches: &mut Matches<Arc<Session>>,
        changes: u64,
    ) -> Option<Self> {
        let is_plain = |found: &Match<Arc<Session>>| found.shared.is_none() && !found.subscriber.is_durable();
        if matches.are_many() || matches.few.is_empty() || !matches.few.iter().all(is_plain) {
            return None;
        }
        let mut receivers = Vec::with_capacity(matches.few.len());
        let mut found = matches.few.drain(..).peekable();
        while let Some(first) = found.next() {
            let (session, delivery) = one_delivery(first, &mut found, message);
            let Delivery { qos, subscription_identifiers: identifiers, .. } = delivery;
            receivers.push(Receiver { session, qos, identifiers });
        }
        Some(Self {
            topic: Arc::clone(&message.topic),
            qos: message.qos,
            changes,
            receivers,
            messages: vec![Arc::clone(message)],
            bytes: message.queued_bytes(),
        })
    }

    /// How many sessions get it.
    pub(crate) fn receivers(&self) -> usize {
        self.receivers.len()
    }

    /// Takes another message of the same client. `Err`: it does not belong here, or there is no room.
    pub(crate) fn take(&mut self, message: Message, local: &Local) -> Result<(), Message> {
        let bytes = self.bytes + message.queued_bytes();
        let belongs = !message.retain
            && message.qos == self.qos
            && (Arc::ptr_eq(&message.topic, &self.topic) || message.topic == self.topic)
            && local.router.changes() == self.changes;
        if !belongs || !has_room(self.messages.len() + 1, bytes, local.bounds) {
            return Err(message);
        }
        self.bytes = bytes;
        self.messages.push(Arc::new(message));
        Ok(())
    }

    /// Delivers all of it; adds who is to be woken. Returns whom the publisher should wait for.
    pub(crate) fn deliver(&self, local: &Local, wakers: &mut Wakers) -> Option<Arc<Lag>> {
        let receivers = self.receivers.iter().map(|receiver| (receiver.qos, &receiver.identifiers));
        let mut lag = None;
        for (part, receiver) in Batch::parts(&self.messages, receivers).zip(&self.receivers) {
            lag = local.push_part(&receiver.session, part, wakers).or(lag);
        }
        lag
    }
}

fn has_room(messages: usize, bytes: usize, bounds: Bounds) -> bool {
    let most_bytes = usize::try_from(bounds.bytes).unwrap_or(usize::MAX) / PART_OF_QUEUE;
    messages <= LARGEST_BURST.min(bounds.messages / PART_OF_QUEUE) && bytes <= most_bytes
}

#[cfg(test)]
mod tests {
    use super::super::tests::{
        clean, filter, is_waiting, mail, open, options, payloads, persistent, qos, subscribe,
    };
    use super::super::{
        Backend, BackendOptions, Close, OpenRequest, ProtocolVersion, PublishError, SubscribeOptions,
    };
    use super::LARGEST_BURST;
    use crate::batch::{Mail, Packets, Part};
    use crate::message::{Message, QoS};
    use crate::session::SessionHandle;
    use proptest::prelude::*;
    use std::num::NonZeroU32;
    use std::ops::ControlFlow;
    use std::task::{Context, Waker};
    use std::time::Duration;

    fn numbered(topic: &str, number: usize) -> Message {
        Message::new(topic, number.to_string(), QoS::AtLeastOnce)
    }

    fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|number| number.to_string()).collect()
    }

    fn publish(publisher: &mut SessionHandle, message: Message) {
        publisher.publish_unannounced(message, None, true).unwrap();
    }

    #[tokio::test]
    async fn all_that_came_together_comes_at_once_when_it_is_delivered() {
        let backend = Backend::start(options());
        let mut both = open(&backend, clean("both")).await;
        for (id, text) in [(1, "to/+"), (2, "to/all")] {
            let options = SubscribeOptions { identifier: NonZeroU32::new(id), ..qos(QoS::AtMostOnce) };
            subscribe(&mut both, text, options).await;
        }
        let mut publisher = open(&backend, clean("publisher")).await;
        for number in 0..3 {
            let published = publisher.publish_unannounced(numbered("to/all", number), None, true).unwrap();
            assert_eq!((published.matched, mail(&mut both).len()), (1, 0));
        }
        assert!(publisher.deliver_burst().is_none());
        let got = mail(&mut both);
        assert_eq!(payloads(&got), numbers(0..3));
        for delivery in got {
            let mut identifiers: Vec<u32> =
                delivery.subscription_identifiers.as_slice().iter().map(|id| id.get()).collect();
            identifiers.sort_unstable();
            assert_eq!((delivery.qos, identifiers), (QoS::AtMostOnce, vec![1, 2]));
        }
    }

    #[tokio::test]
    async fn receivers_hear_of_it_when_they_are_woken_and_not_before() {
        let backend = Backend::start(options());
        let mut receiver = open(&backend, clean("receiver")).await;
        subscribe(&mut receiver, "t", qos(QoS::AtMostOnce)).await;
        let mut publisher = open(&backend, clean("publisher")).await;
        let mut waiting = Box::pin(receiver.wait_for_mail());
        let woken = std::sync::Arc::new(Woken::default());
        let waker = Waker::from(std::sync::Arc::clone(&woken));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        publish(&mut publisher, numbered("t", 0));
        publish(&mut publisher, numbered("t", 1));
        publisher.deliver_burst();
        assert!(!woken.0.load(std::sync::atomic::Ordering::SeqCst));
        publisher.wake_receivers();
        assert!(woken.0.load(std::sync::atomic::Ordering::SeqCst));
        drop(waiting);
        assert_eq!(payloads(&mail(&mut receiver)), ["0", "1"]);
        assert!(is_waiting(&receiver));
    }

    #[derive(Default)]
    struct Woken(std::sync::atomic::AtomicBool);

    impl std::task::Wake for Woken {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn who_comes_in_between_gets_the_rest_and_who_goes_what_came_before() {
        let backend = Backend::start(options());
        let (mut early, mut late) =
            (open(&backend, clean("early")).await, open(&backend, clean("late")).await);
        subscribe(&mut early, "t", qos(QoS::AtMostOnce)).await;
        let mut publisher = open(&backend, clean("publisher")).await;
        publish(&mut publisher, numbered("t", 0));
        publish(&mut publisher, numbered("t", 1));
        subscribe(&mut late, "+", qos(QoS::AtMostOnce)).await;
        publish(&mut publisher, numbered("t", 2));
        assert!(early.unsubscribe(&filter("t")).await);
        publish(&mut publisher, numbered("t", 3));
        publisher.deliver_burst();
        assert_eq!(payloads(&mail(&mut early)), numbers(0..3));
        assert_eq!(payloads(&mail(&mut late)), numbers(2..4));
    }

    #[tokio::test]
    async fn a_publisher_that_vanishes_has_published_what_came() {
        let backend = Backend::start(options());
        let mut receiver = open(&backend, clean("receiver")).await;
        subscribe(&mut receiver, "t", qos(QoS::AtMostOnce)).await;
        let mut publisher = open(&backend, clean("publisher")).await;
        publish(&mut publisher, numbered("t", 0));
        publish(&mut publisher, numbered("t", 1));
        drop(publisher);
        assert_eq!(payloads(&mail(&mut receiver)), ["0", "1"]);
    }

    #[tokio::test]
    async fn a_burst_is_bounded_and_small_where_queues_are() {
        let backend = Backend::start(options());
        let mut receiver = open(&backend, clean("receiver")).await;
        subscribe(&mut receiver, "t", qos(QoS::AtMostOnce)).await;
        let mut publisher = open(&backend, clean("publisher")).await;
        (0..=LARGEST_BURST).for_each(|number| publish(&mut publisher, numbered("t", number)));
        assert_eq!(mail(&mut receiver).len(), LARGEST_BURST);

        // The publisher is told to wait before anything has to be dropped.
        let backend = Backend::start(BackendOptions { queued_messages: 32, ..options() });
        let mut receiver = open(&backend, clean("receiver")).await;
        subscribe(&mut receiver, "t", qos(QoS::AtLeastOnce)).await;
        let mut publisher = open(&backend, clean("publisher")).await;
        let told = (0..32).position(|number| {
            publisher.publish_unannounced(numbered("t", number), None, true).unwrap().lag.is_some()
        });
        let told = told.unwrap();
        assert!((16..24).contains(&told), "{told}");
        publisher.deliver_burst();
        assert_eq!(payloads(&mail(&mut receiver)), numbers(0..told + 1));
    }

    /// What two receivers get with QoS 0 is shared by both.
    async fn what_is_left(drop_oldest: bool, bytes: usize) -> Vec<String> {
        let bounds = BackendOptions { queued_messages: 32, queued_bytes: bytes, drop_oldest, ..options() };
        let backend = Backend::start(bounds);
        let (mut one, mut other) = (open(&backend, clean("1")).await, open(&backend, clean("2")).await);
        for session in [&mut one, &mut other] {
            subscribe(session, "t", qos(QoS::AtMostOnce)).await;
        }
        let mut publisher = open(&backend, clean("publisher")).await;
        for number in 10..60 {
            publish(&mut publisher, numbered("t", number));
            if number % 3 == 0 {
                publisher.deliver_burst();
            }
        }
        publisher.deliver_burst();
        let left = [&mut one, &mut other].map(|session| {
            // Not as they came together.
            let mut mail = Vec::new();
            while !is_waiting(session) {
                session.drain(2, &mut mail);
            }
            payloads(&mail).into_iter().map(str::to_owned).collect::<Vec<_>>()
        });
        assert_eq!(left[0], left[1]);
        left[0].clone()
    }

    #[tokio::test]
    async fn what_is_shared_counts_message_by_message_against_the_bounds() {
        assert_eq!(what_is_left(false, usize::MAX).await, numbers(10..42));
        assert_eq!(what_is_left(true, usize::MAX).await, numbers(28..60));
        let each = numbered("t", 10).queued_bytes();
        assert_eq!(what_is_left(false, 20 * each).await, numbers(10..30));
        assert_eq!(what_is_left(true, 20 * each).await, numbers(40..60));
    }

    #[tokio::test]
    async fn who_has_left_misses_what_is_shared() {
        let backend = Backend::start(options());
        let (mut here, mut gone) = (open(&backend, clean("here")).await, open(&backend, clean("gone")).await);
        for session in [&mut here, &mut gone] {
            subscribe(session, "t", qos(QoS::AtMostOnce)).await;
        }
        let mut publisher = open(&backend, clean("publisher")).await;
        (0..3).for_each(|number| publish(&mut publisher, numbered("t", number)));
        let session = std::sync::Arc::clone(&gone.session);
        gone.close(Close::NORMAL);
        publisher.deliver_burst();
        assert_eq!(payloads(&mail(&mut here)), numbers(0..3));
        assert_eq!(session.queued(), (0, 0));
    }

    #[tokio::test]
    async fn what_is_shared_stays_together_and_who_lags_behind_lets_go_of_packets() {
        let backend = Backend::start(BackendOptions { queued_messages: 32, ..options() });
        let (mut one, mut other) = (open(&backend, clean("1")).await, open(&backend, clean("2")).await);
        for session in [&mut one, &mut other] {
            subscribe(session, "t", qos(QoS::AtMostOnce)).await;
        }
        let mut publisher = open(&backend, clean("publisher")).await;
        (0..12).for_each(|number| publish(&mut publisher, numbered("t", number)));
        publisher.deliver_burst();
        let mut mail = Vec::new();
        assert_eq!(one.take_mail(usize::MAX, &mut mail), 12);
        let parts = mail.iter().map(|mail| match mail {
            Mail::One(_) => None,
            Mail::Many(part) => {
                let encode = |_: &Part| Packets::new(Vec::new(), vec![0; 4], 0);
                Some((part.len(), part.packets(ProtocolVersion::V5, 0, encode).is_some()))
            }
        });
        // With two of them a quarter of the queue is full.
        assert_eq!(parts.collect::<Vec<_>>(), [(4, true), (4, true), (4, false)].map(Some));
    }

    #[tokio::test]
    async fn of_what_came_together_is_taken_what_the_window_allows() {
        let backend = Backend::start(options());
        for granted in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let request = OpenRequest { receive_maximum: 3, ..clean("receiver") };
            let mut receiver = open(&backend, request).await;
            subscribe(&mut receiver, "t", qos(granted)).await;
            let mut publisher = open(&backend, clean("publisher")).await;
            for number in 0..8 {
                publish(&mut publisher, Message { qos: granted, ..numbered("t", number) });
            }
            publisher.deliver_burst();
            let mut got = Vec::new();
            let mut take = |receiver: &mut SessionHandle, expected: usize, left: usize| {
                let mail = mail(receiver);
                assert_eq!((mail.len(), receiver.session.queued().0), (expected, left));
                for delivery in mail {
                    got.push(std::str::from_utf8(&delivery.message.payload).unwrap().to_owned());
                    receiver.sent(u16::try_from(got.len()).unwrap(), delivery);
                }
            };
            take(&mut receiver, 3, 5);
            take(&mut receiver, 0, 5);
            assert!(is_waiting(&receiver));
            assert!(receiver.acknowledged(2));
            take(&mut receiver, 1, 4);
            for packet_id in [1, 3, 4] {
                assert!(receiver.acknowledged(packet_id));
            }
            take(&mut receiver, 3, 1);
            assert!(receiver.acknowledged(7));
            take(&mut receiver, 1, 0);
            assert_eq!(got, numbers(0..8));
            assert_eq!(receiver.session.queued(), (0, 0));
        }
    }

    #[tokio::test]
    async fn what_was_sent_together_is_in_flight_when_its_client_is_back() {
        let backend = Backend::start(options());
        for qos_of_all in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut receiver = open(&backend, persistent("receiver")).await;
            subscribe(&mut receiver, "t", qos(qos_of_all)).await;
            let mut publisher = open(&backend, clean("publisher")).await;
            (0..8).for_each(|number| {
                publish(&mut publisher, Message { qos: qos_of_all, ..numbered("t", number) });
            });
            publisher.deliver_burst();
            let mut mail = Vec::new();
            assert_eq!(receiver.take_mail(usize::MAX, &mut mail), 8);
            let Some(Mail::Many(part)) = mail.pop() else { panic!("not together") };
            // They go round.
            let ids = [65_533, 65_534, 65_535, 1, 2, 3, 4, 5];
            receiver.sent_together(&ids, *part);
            assert!(receiver.acknowledged(2));
            if qos_of_all == QoS::ExactlyOnce {
                assert!(receiver.received(65_534) && receiver.received(65_533));
            }
            drop(receiver);

            let mut receiver = open(&backend, persistent("receiver")).await;
            let left: Vec<u16> = receiver.in_flight().map(|sent| sent.packet_id()).collect();
            assert_eq!(left, [65_533, 65_534, 65_535, 1, 3, 4, 5]);
            assert_eq!(receiver.messages_in_flight(), 7);
            for (place, id) in ids.into_iter().enumerate() {
                let again = receiver.delivery_in_flight(id).map(|delivery| delivery.message.payload.to_vec());
                let is_done = id == 2 || (qos_of_all == QoS::ExactlyOnce && id > 65_000 && id < 65_535);
                assert_eq!(again, (!is_done).then(|| place.to_string().into_bytes()));
            }
            assert!(
                left.iter().rev().all(|id| receiver.acknowledged(*id)) && receiver.messages_in_flight() == 0
            );
            receiver.close(Close { session_expiry: Some(Duration::ZERO), ..Close::NORMAL });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_together_expires_message_by_message() {
        let expiring = |number: usize| match [1, 1, 0, 60][number % 4] {
            0 => numbered("t", number),
            seconds => numbered("t", number).expiring_after(Duration::from_secs(seconds)),
        };
        // The queue takes 32: what comes then makes room by what has expired in front, which are two.
        for more in [0, 2] {
            let backend = Backend::start(BackendOptions { queued_messages: 32, ..options() });
            let mut receiver = open(&backend, clean("receiver")).await;
            subscribe(&mut receiver, "t", qos(QoS::AtMostOnce)).await;
            let mut publisher = open(&backend, clean("publisher")).await;
            (0..32).for_each(|number| publish(&mut publisher, expiring(number)));
            publisher.deliver_burst();
            tokio::time::advance(Duration::from_secs(2)).await;
            (32..32 + more).for_each(|number| publish(&mut publisher, numbered("t", number)));
            publisher.deliver_burst();
            assert_eq!(receiver.session.queued().0, 32);
            let is_left = |number: &usize| *number >= 32 || number % 4 > 1;
            let left: Vec<String> = (0..32 + more).filter(is_left).map(|number| number.to_string()).collect();
            assert_eq!(payloads(&mail(&mut receiver)), left);
            assert_eq!(receiver.session.queued(), (0, 0));
        }
    }

    #[tokio::test]
    async fn a_receiver_that_lags_behind_is_waited_for_though_what_comes_next_is_refused() {
        let limits = BackendOptions { queued_messages: 32, retained_messages: 0, ..options() };
        let backend = Backend::start(limits);
        let mut receiver = open(&backend, clean("receiver")).await;
        subscribe(&mut receiver, "t", qos(QoS::AtLeastOnce)).await;
        let mut publisher = open(&backend, clean("publisher")).await;
        let refused = Message { retain: true, ..Message::new("full", "x", QoS::AtMostOnce) };
        let told = (0..32).position(|number| {
            publish(&mut publisher, numbered("t", number));
            let published = publisher.publish_unannounced(refused.clone(), None, true);
            assert_eq!(published.unwrap_err(), PublishError::RetainedFull { limit: 0 });
            matches!(publisher.deliver_more(), ControlFlow::Break(Some(_)))
        });
        let told = told.unwrap();
        assert!((15..24).contains(&told), "{told}");
        assert!(matches!(publisher.deliver_more(), ControlFlow::Break(None)));
        assert_eq!(payloads(&mail(&mut receiver)), numbers(0..told + 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Topic, QoS, RETAIN, whether more is there already, and whether what came is delivered now.
        #[test]
        fn everybody_gets_everything_in_order_whatever_comes_together(
            steps in proptest::collection::vec((0..3usize, 0..3usize, 0..8u8, any::<bool>(), 0..6u8), 1..120)
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let backend = Backend::start(options());
                let mut publisher = open(&backend, clean("publisher")).await;
                let mut receivers = Vec::new();
                for (name, filters) in [("one", &["a"][..]), ("all", &["+", "b"]), ("group", &["$share/g/a"])] {
                    let mut session = open(&backend, clean(name)).await;
                    for text in filters {
                        subscribe(&mut session, text, qos(QoS::AtMostOnce)).await;
                    }
                    receivers.push(session);
                }
                let mut durable = open(&backend, persistent("durable")).await;
                subscribe(&mut durable, "c", qos(QoS::AtMostOnce)).await;
                receivers.push(durable);
                let mut sent: Vec<(usize, String)> = Vec::new();
                for (number, (topic, qos, retain, more, deliver)) in steps.into_iter().enumerate() {
                    let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][qos];
                    let mut message = Message::new(["a", "b", "c"][topic], number.to_string(), qos);
                    message.retain = retain == 0;
                    publisher.publish_unannounced(message, None, more).unwrap();
                    sent.push((topic, number.to_string()));
                    if deliver == 0 {
                        publisher.deliver_burst();
                    }
                }
                publisher.close(Close::NORMAL);
                for (session, topics) in receivers.iter_mut().zip([&[0][..], &[0, 1, 2], &[0], &[2]]) {
                    let expected: Vec<&str> = sent
                        .iter()
                        .filter(|(topic, _)| topics.contains(topic))
                        .map(|(_, number)| number.as_str())
                        .collect();
                    assert_eq!(payloads(&mail(session)), expected);
                }
            });
        }
    }
}
