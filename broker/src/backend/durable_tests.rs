//! Sessions and retained messages over a store: what one backend leaves, another one takes over.
mod fan_out;

use super::tests::*;
use super::*;
use crate::message::Delivery;
use crate::session::durable::Recorder;
use crate::session::{InFlight, SessionHandle, Wake};
use jitp_provisioner::sessions::{SessionRow, SessionRows, SessionWrites};
use jitp_provisioner::{ManualClock, Options, Provisioner, SystemClock, Timestamp};

const STARTED: u64 = 1_767_225_600_000;

/// A store, and a clock that only tests move.
struct Plant {
    provisioner: Provisioner,
    clock: Arc<ManualClock>,
    _directory: tempfile::TempDir,
}

impl Plant {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let provisioner =
            Provisioner::open(directory.path(), Options::default(), Arc::new(SystemClock)).await.unwrap();
        Self { provisioner, clock: Arc::new(ManualClock::new(Timestamp(STARTED))), _directory: directory }
    }

    /// A process starts, this long after the first.
    async fn start_after(&self, seconds: u64, options: BackendOptions) -> Backend {
        self.clock.set(Timestamp(STARTED + 1000 * seconds));
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Backend::restore(options, self.provisioner.sessions(), clock, &revive).await.unwrap()
    }
    async fn start(&self) -> Backend {
        self.start_after(0, options()).await
    }

    /// How many rows there are of each kind.
    async fn rows(&self) -> [usize; 7] {
        count_rows(&self.provisioner.sessions()).await.unwrap()
    }

    /// Waits until chores have left so many rows.
    async fn until_rows(&self, backend: &Backend, rows: [usize; 7]) {
        let started = std::time::Instant::now();
        while self.rows().await != rows {
            assert!(started.elapsed() < Duration::from_secs(60), "{:?}", self.rows().await);
            backend.settled().await;
            tokio::task::yield_now().await;
        }
    }
}

/// The process is killed: what is stored by now is all that is left of its connections.
async fn kill(backend: &Backend, sessions: impl IntoIterator<Item = SessionHandle>) {
    backend.settled().await;
    sessions.into_iter().for_each(std::mem::forget);
}

/// The process ends in order.
async fn stop(backend: Backend) {
    backend.settled().await;
    let recorder = Arc::downgrade(backend.local.recorder.as_ref().unwrap());
    drop(backend);
    while recorder.strong_count() > 0 {
        tokio::task::yield_now().await;
    }
}

fn recorder(backend: &Backend) -> &Recorder {
    backend.local.recorder.as_ref().unwrap()
}

/// Takes and acknowledges all that there is, a window at a time.
async fn take_all(session: &mut SessionHandle) -> Vec<Delivery> {
    let mut all = Vec::new();
    loop {
        if is_waiting(session) {
            // The end of the queue may be on its way into the store.
            session.local.settled().await;
            if is_waiting(session) {
                return all;
            }
        }
        let mail = mail(session);
        for (packet_id, delivery) in (1..).zip(&mail) {
            session.sent(packet_id, delivery.clone());
        }
        for (packet_id, _) in (1..).zip(&mail) {
            session.acknowledged(packet_id);
        }
        all.extend(mail);
    }
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

fn numbered(topic: &str, number: &str, qos: QoS) -> Message {
    Message::new(topic, number.to_owned(), qos)
}

fn texts(mail: &[Delivery]) -> Vec<String> {
    payloads(mail).into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn retained_messages_are_there_after_a_kill_until_they_expire() {
    let plant = Plant::new().await;
    let backend = plant.start().await;
    for (topic, payload) in [("a", "old"), ("a", "new"), ("b", "deleted"), ("c/d", "stays"), ("b", "")] {
        backend.publish(retained(topic, payload, QoS::AtLeastOnce)).unwrap();
    }
    let expiring = retained("e", "an hour", QoS::AtMostOnce).expiring_after(HOUR);
    backend.publish(Message { retain: true, ..expiring }).unwrap();
    kill(&backend, []).await;
    for (seconds, expected) in [(3599, vec!["new", "stays", "an hour"]), (3600, vec!["new", "stays"])] {
        let backend = plant.start_after(seconds, options()).await;
        assert_eq!(backend.counts().retained, expected.len());
        let mut session = open(&backend, clean("a")).await;
        subscribe(&mut session, "#", qos(QoS::AtLeastOnce)).await;
        let mail = mail(&mut session);
        assert_eq!(payloads(&mail), expected);
        assert!(mail.iter().all(|delivery| delivery.retain));
    }
}

#[tokio::test]
async fn a_session_and_its_queue_are_there_after_a_restart_however_long_it_is() {
    const MESSAGES: usize = 700;
    let plant = Plant::new().await;
    let backend = plant.start().await;
    let mut session = open(&backend, persistent("a")).await;
    let options = SubscribeOptions { identifier: NonZeroU32::new(7), ..qos(QoS::ExactlyOnce) };
    subscribe(&mut session, "t/+", options).await;
    drop(session);
    let numbers = numbers(MESSAGES);
    for (number, text) in numbers.iter().enumerate() {
        let qos = if number % 3 == 0 { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
        backend.publish(numbered("t/1", text, qos)).unwrap();
        backend.publish(numbered("t/1", "lost", QoS::AtMostOnce)).unwrap();
    }
    backend.settled().await;
    let in_memory =
        backend.local.directory.with_entry(backend.local.directory.hash("a"), "a", |entry| match entry {
            hashbrown::hash_table::Entry::Occupied(slot) => slot.get().session.in_memory(),
            hashbrown::hash_table::Entry::Vacant(_) => panic!("no session"),
        });
    assert!(in_memory <= 16, "{in_memory}");
    stop(backend).await;

    let backend = plant.start().await;
    assert_eq!(backend.counts(), Counts { offline: 1, subscriptions: 1, ..Counts::default() });
    backend.publish(numbered("t/2", "while away", QoS::AtLeastOnce)).unwrap();
    backend.settled().await;
    let opened = backend.open(persistent("a")).await.unwrap();
    assert!(opened.session_present);
    let mut session = opened.session;
    assert_eq!(session.subscriptions().map(|(_, options)| options).collect::<Vec<_>>(), [options]);
    backend.publish(numbered("t/2", "while here", QoS::AtLeastOnce)).unwrap();
    backend.settled().await;
    let mail = take_all(&mut session).await;
    let expected: Vec<&str> =
        numbers.iter().map(String::as_str).chain(["while away", "while here"]).collect();
    assert!(payloads(&mail) == expected, "{} came", mail.len());
    assert!(mail.iter().all(|delivery| !delivery.stored.is_repeated()), "none was sent before");
    assert_eq!(mail[3].qos, QoS::ExactlyOnce);
    assert_eq!(mail[4].subscription_identifiers.as_slice(), [NonZeroU32::new(7).unwrap()]);
    plant.until_rows(&backend, [1, 1, 0, 0, 0, 0, 0]).await;
    assert_eq!(recorder(&backend).counts(), (0, 0, 0));
}

#[tokio::test]
async fn what_a_client_has_not_acknowledged_comes_again_after_a_kill_and_nothing_else() {
    let plant = Plant::new().await;
    let backend = plant.start().await;
    let mut session = open(&backend, persistent("a")).await;
    subscribe(&mut session, "t", qos(QoS::AtLeastOnce)).await;
    for text in ["1", "2", "3"] {
        backend.publish(numbered("t", text, QoS::AtLeastOnce)).unwrap();
    }
    let sent = mail(&mut session);
    for (packet_id, delivery) in (1..).zip(sent) {
        session.sent(packet_id, delivery);
    }
    session.acknowledged(2);
    kill(&backend, [session]).await;

    let backend = plant.start().await;
    let mut session = open(&backend, persistent("a")).await;
    let again = take_all(&mut session).await;
    assert_eq!(payloads(&again), ["1", "3"]);
    assert!(again.iter().all(|delivery| delivery.stored.is_repeated()));
    kill(&backend, [session]).await;
    let backend = plant.start().await;
    let mut session = open(&backend, persistent("a")).await;
    assert!(take_all(&mut session).await.is_empty());
}

#[tokio::test]
async fn packet_ids_are_kept_over_a_restart_in_order() {
    let plant = Plant::new().await;
    let backend = plant.start().await;
    let mut session = open(&backend, persistent("a")).await;
    subscribe(&mut session, "t", qos(QoS::AtLeastOnce)).await;
    for text in ["1", "2", "3", "4"] {
        backend.publish(numbered("t", text, QoS::AtLeastOnce)).unwrap();
    }
    let mut sent = mail(&mut session);
    sent.truncate(3);
    for (packet_id, delivery) in [9, 5, 7].into_iter().zip(sent) {
        session.sent(packet_id, delivery);
    }
    drop(session);
    stop(backend).await;
    let backend = plant.start().await;
    let mut session = open(&backend, persistent("a")).await;
    let ids: Vec<u16> = session.in_flight().map(|sent| sent.packet_id()).collect();
    assert_eq!(ids, [9, 5, 7]);
    for id in ids {
        assert!(session.acknowledged(id));
    }
    plant.until_rows(&backend, [1, 1, 0, 0, 1, 0, 0]).await;
}

#[tokio::test]
async fn a_message_of_qos_2_goes_on_after_a_kill_where_it_was() {
    let plant = Plant::new().await;
    let backend = plant.start().await;
    let mut session = open(&backend, persistent("a")).await;
    subscribe(&mut session, "t", qos(QoS::ExactlyOnce)).await;
    for text in ["sent", "received", "done", "waiting"] {
        backend.publish(numbered("t", text, QoS::ExactlyOnce)).unwrap();
    }
    let mut sent = mail(&mut session);
    sent.truncate(3);
    for (packet_id, delivery) in [11, 12, 13].into_iter().zip(sent) {
        session.sent(packet_id, delivery);
        assert!(session.unsettled().is_some(), "its packet id must be durable before it is written");
    }
    assert!(session.received(12) && session.received(13) && session.acknowledged(13));
    session.settled().await.unwrap();
    assert_eq!(session.unsettled(), None);
    kill(&backend, [session]).await;

    for _ in 0..2 {
        let backend = plant.start().await;
        let mut session = open(&backend, persistent("a")).await;
        let in_flight: Vec<String> = session
            .in_flight()
            .map(|sent| match sent {
                InFlight::Publish { packet_id, delivery } => {
                    format!("{packet_id}:{}", payloads(&[delivery])[0])
                }
                InFlight::Release { packet_id } => format!("{packet_id}:release"),
            })
            .collect();
        assert_eq!(in_flight, ["11:sent", "12:release"]);
        assert!(!is_waiting(&session));
        assert_eq!(payloads(&mail(&mut session)), ["waiting"]);
        kill(&backend, [session]).await;
    }
}

#[tokio::test]
async fn what_was_sent_with_either_qos_is_in_flight_in_the_order_of_sending_after_a_kill() {
    let plant = Plant::new().await;
    let backend = plant.start().await;
    let mut session = open(&backend, persistent("a")).await;
    subscribe(&mut session, "t", qos(QoS::ExactlyOnce)).await;
    let (once, least) = (QoS::ExactlyOnce, QoS::AtLeastOnce);
    for (text, qos) in
        [("1", least), ("2", once), ("3", least), ("4", least), ("5", once), ("6", least), ("not sent", once)]
    {
        backend.publish(numbered("t", text, qos)).unwrap();
    }
    let mut sent = mail(&mut session);
    sent.truncate(6);
    for (packet_id, delivery) in (1..).zip(sent) {
        session.sent(packet_id, delivery);
    }
    session.acknowledged(3);
    kill(&backend, [session]).await;

    for _ in 0..2 {
        let backend = plant.start().await;
        let mut session = open(&backend, persistent("a")).await;
        let mut ids = Vec::new();
        let mut texts = Vec::new();
        for sent in session.in_flight() {
            let InFlight::Publish { packet_id, delivery } = sent else { panic!("{sent:?}") };
            assert!(delivery.stored.is_repeated());
            ids.push(packet_id);
            texts.push(payloads(&[delivery])[0].to_owned());
        }
        assert_eq!(texts, ["1", "2", "4", "5"], "up to the last that is known to have been sent");
        assert_eq!((ids[1], ids[3]), (2, 5));
        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 4, "{ids:?}");
        session.wait_for_mail().await;
        let rest = mail(&mut session);
        assert_eq!(payloads(&rest), ["6", "not sent"]);
        assert!(rest[0].stored.is_repeated());
        kill(&backend, [session]).await;
    }
    let backend = plant.start().await;
    let mut session = open(&backend, persistent("a")).await;
    let ids: Vec<u16> = session.in_flight().map(|sent| sent.packet_id()).collect();
    for id in ids {
        session.received(id);
        assert!(session.acknowledged(id));
    }
    assert_eq!(take_all(&mut session).await.len(), 2);
    plant.until_rows(&backend, [1, 1, 0, 0, 0, 0, 0]).await;
    assert_eq!(recorder(&backend).counts(), (0, 0, 0));
    assert_eq!(session.session.queued(), (0, 0));
}

#[tokio::test]
async fn a_message_of_qos_2_from_a_client_is_known_after_a_kill_until_it_is_released() {
    let plant = Plant::new().await;
    let backend = plant.start().await;
    let mut receiver = open(&backend, persistent("receiver")).await;
    subscribe(&mut receiver, "t", qos(QoS::ExactlyOnce)).await;
    let mut sender = open(&backend, persistent("sender")).await;
    for packet_id in [3, 4] {
        assert!(sender.begin_exactly_once(packet_id));
        sender.publish_exactly_once(packet_id, message("t", "once", QoS::ExactlyOnce)).unwrap();
        assert!(sender.unsettled().is_some(), "PUBREC must wait");
    }
    assert!(sender.end_exactly_once(4));
    kill(&backend, [receiver, sender]).await;
    let backend = plant.start().await;
    let mut sender = open(&backend, persistent("sender")).await;
    assert!(!sender.begin_exactly_once(3), "it was published");
    assert!(sender.begin_exactly_once(4), "it was released: this is another one");
    let mut receiver = open(&backend, persistent("receiver")).await;
    assert_eq!(take_all(&mut receiver).await.len(), 2);
}

#[tokio::test]
async fn a_message_for_many_sessions_is_stored_once_and_goes_with_the_last_of_them() {
    const SESSIONS: usize = 50;
    let plant = Plant::new().await;
    let backend = plant.start().await;
    for number in 0..SESSIONS {
        let mut session = open(&backend, persistent(&number.to_string())).await;
        subscribe(&mut session, "t", qos(QoS::AtLeastOnce)).await;
    }
    backend.publish(Message::new("t", vec![b'x'; 10_000], QoS::AtLeastOnce)).unwrap();
    backend.settled().await;
    assert_eq!(recorder(&backend).counts().2, 1);
    let store = plant.provisioner.sessions();
    let rows = store.scan(SessionRows::Queued(None), None, 100).await.unwrap();
    assert_eq!(rows.len(), SESSIONS);
    assert!(rows.iter().all(|(_, value)| value.len() < 64));
    stop(backend).await;
    let backend = plant.start().await;
    for number in 0..SESSIONS {
        assert_eq!(recorder(&backend).counts().2, 1);
        let mut session = open(&backend, persistent(&number.to_string())).await;
        let mail = take_all(&mut session).await;
        assert_eq!((mail.len(), mail[0].message.payload.len()), (1, 10_000));
    }
    assert_eq!(recorder(&backend).counts(), (0, 0, 0));
}

#[tokio::test]
async fn a_session_that_ends_leaves_nothing_behind() {
    let plant = Plant::new().await;
    let backend = plant.start().await;
    for round in ["clean start", "expiry 0", "operator", "restart"] {
        let mut session = open(&backend, persistent("a")).await;
        subscribe(&mut session, "t", qos(QoS::ExactlyOnce)).await;
        for text in numbers(40) {
            backend.publish(numbered("t", &text, QoS::ExactlyOnce)).unwrap();
        }
        let first = mail(&mut session).remove(0);
        session.sent(1, first);
        session.begin_exactly_once(1);
        session.publish_exactly_once(1, message("nowhere", "x", QoS::ExactlyOnce)).unwrap();
        let zero = Close { session_expiry: Some(Duration::ZERO), ..Close::NORMAL };
        match round {
            "clean start" => {
                drop(session);
                open(&backend, clean("a")).await.close(Close::NORMAL);
            }
            "expiry 0" => session.close(zero),
            "operator" => {
                drop(session);
                let end = SessionEnd::Administrative { prevent_will: true, clean_session: true };
                backend.disconnect("a", end);
            }
            _ => {
                drop(session);
                backend.settled().await;
                let backend = plant.start().await;
                open(&backend, clean("a")).await.close(Close::NORMAL);
                plant.until_rows(&backend, [0; 7]).await;
                return;
            }
        }
        plant.until_rows(&backend, [0; 7]).await;
        assert_eq!(recorder(&backend).counts(), (0, 0, 0), "{round}");
    }
}

#[tokio::test]
async fn a_session_expires_to_the_second_whether_or_not_there_was_a_process() {
    let plant = Plant::new().await;
    let backend = plant.start().await;
    let mut session = open(&backend, persistent("a")).await;
    subscribe(&mut session, "t", qos(QoS::AtLeastOnce)).await;
    drop(session);
    stop(backend).await;
    let backend = plant.start_after(3599, options()).await;
    assert!(backend.open(persistent("a")).await.unwrap().session_present);
    stop(backend).await;
    // It was there at 3599, so it waits for another hour.
    let backend = plant.start_after(3599 + 3600, options()).await;
    plant.until_rows(&backend, [0; 7]).await;
    assert_eq!(backend.counts(), Counts::default());
    assert!(!backend.open(persistent("a")).await.unwrap().session_present);
}

#[tokio::test]
async fn a_client_that_is_slow_gets_all_in_order_though_memory_is_bounded() {
    const MESSAGES: usize = 3000;
    let plant = Plant::new().await;
    let backend = plant.start().await;
    let mut session = open(&backend, persistent("a")).await;
    subscribe(&mut session, "t", qos(QoS::AtLeastOnce)).await;
    let numbers = numbers(MESSAGES);
    let mut all = Vec::new();
    for (number, text) in numbers.iter().enumerate() {
        backend.publish(numbered("t", text, QoS::AtLeastOnce)).unwrap();
        assert!(session.session.in_memory() <= 1024);
        if number == MESSAGES / 2 {
            backend.settled().await;
            all.extend(take_all(&mut session).await);
        }
    }
    backend.settled().await;
    all.extend(take_all(&mut session).await);
    assert!(texts(&all) == numbers, "{} came", all.len());
    assert_eq!(session.session.queued(), (0, 0));
}

#[tokio::test]
async fn the_oldest_make_room_where_that_is_wanted_also_those_that_are_only_stored() {
    let plant = Plant::new().await;
    let options = BackendOptions { queued_messages: 100, drop_oldest: true, ..options() };
    let backend = plant.start_after(0, options.clone()).await;
    let mut session = open(&backend, persistent("a")).await;
    subscribe(&mut session, "t", qos(QoS::AtLeastOnce)).await;
    drop(session);
    let numbers = numbers(300);
    for text in numbers.iter().take(250) {
        backend.publish(numbered("t", text, QoS::AtLeastOnce)).unwrap();
        backend.settled().await;
    }
    stop(backend).await;
    let backend = plant.start_after(0, options).await;
    for text in numbers.iter().skip(250) {
        backend.publish(numbered("t", text, QoS::AtLeastOnce)).unwrap();
        backend.settled().await;
    }
    let mut session = open(&backend, persistent("a")).await;
    let kept = texts(&take_all(&mut session).await);
    assert!(kept.len() >= 80 && kept.len() <= 128, "{}", kept.len());
    assert_eq!(kept, numbers[300 - kept.len()..], "the newest, and all of them");
    assert_eq!(recorder(&backend).counts(), (0, 0, 0));
}

#[tokio::test]
async fn what_all_sessions_have_stored_is_bounded_together() {
    let plant = Plant::new().await;
    let backend = plant.start_after(0, BackendOptions { stored_messages: 30, ..options() }).await;
    for name in ["a", "b"] {
        let mut session = open(&backend, persistent(name)).await;
        subscribe(&mut session, "t", qos(QoS::AtLeastOnce)).await;
    }
    for text in numbers(40) {
        backend.publish(numbered("t", &text, QoS::AtLeastOnce)).unwrap();
    }
    backend.settled().await;
    assert_eq!(recorder(&backend).counts().0, 30);
    let mut session = open(&backend, persistent("a")).await;
    assert_eq!(texts(&take_all(&mut session).await), numbers(15));
    backend.publish(numbered("t", "again", QoS::AtLeastOnce)).unwrap();
    assert_eq!(texts(&take_all(&mut session).await), ["again"]);
}

#[tokio::test]
async fn sessions_that_end_with_their_connection_store_nothing() {
    let plant = Plant::new().await;
    let backend = plant.start().await;
    let mut session = open(&backend, clean("a")).await;
    subscribe(&mut session, "t", qos(QoS::ExactlyOnce)).await;
    let mut persistent = open(&backend, persistent("b")).await;
    subscribe(&mut persistent, "t", qos(QoS::AtMostOnce)).await;
    backend.settled().await;
    let before = recorder(&backend).last();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        assert_eq!(session.publish(message("t", "p", qos)).unwrap().ticket, 0);
    }
    assert_eq!((take_all(&mut session).await.len(), mail(&mut persistent).len()), (3, 3));
    assert_eq!(recorder(&backend).last(), before);
    assert_eq!(session.unsettled(), None);
}

#[tokio::test]
async fn what_cannot_be_stored_is_refused_and_the_rest_goes_on() {
    let plant = Plant::new().await;
    let backend = plant.start().await;
    let mut session = open(&backend, persistent("a")).await;
    subscribe(&mut session, "durable", qos(QoS::AtLeastOnce)).await;
    let mut other = open(&backend, clean("b")).await;
    subscribe(&mut other, "other", qos(QoS::AtLeastOnce)).await;
    backend.settled().await;
    plant.provisioner.close().await.unwrap();
    // The first one finds out.
    other.publish(message("durable", "1", QoS::AtLeastOnce)).unwrap();
    assert!(other.settled().await.is_err());
    let refused = other.publish(message("durable", "2", QoS::AtLeastOnce));
    assert_eq!(refused.unwrap_err(), PublishError::NotStored);
    let refused = backend.publish(retained("r", "x", QoS::AtLeastOnce));
    assert_eq!(refused.unwrap_err(), PublishError::NotStored);
    assert!(matches!(backend.open(persistent("c")).await, Err(OpenError::NotStored(_))));
    assert!(session.begin_exactly_once(1));
    let refused = session.publish_exactly_once(1, message("durable", "2", QoS::ExactlyOnce));
    assert_eq!(refused.unwrap_err(), PublishError::NotStored);
    session.abandon_exactly_once(1);
    assert_eq!(session.unsettled(), None, "the refusal can be said");
    assert!(session.begin_exactly_once(2));
    let refused = session.publish_exactly_once(2, message("other", "2", QoS::ExactlyOnce));
    assert_eq!(refused.err(), Some(PublishError::NotStored), "its packet id cannot be stored");
    other.publish(message("other", "3", QoS::AtLeastOnce)).unwrap();
    assert_eq!(payloads(&mail(&mut other)), ["3"]);
    backend.publish(retained("other", "4", QoS::AtMostOnce)).unwrap();
    assert_eq!(payloads(&mail(&mut other)), ["4"]);
    assert!(backend.retained("other").is_some());
    open(&backend, clean("d")).await.close(Close::NORMAL);
}

#[tokio::test]
async fn a_session_that_cannot_be_stored_is_not_opened_and_ends_none() {
    let plant = Plant::new().await;
    let backend = plant.start().await;
    let session = open(&backend, persistent("a")).await;
    backend.settled().await;
    plant.provisioner.close().await.unwrap();
    // The first one finds out.
    assert!(matches!(backend.open(persistent("b")).await, Err(OpenError::NotStored(_))));
    for request in [persistent("a"), clean("a"), persistent("b")] {
        assert!(matches!(backend.open(request).await, Err(OpenError::NotStored(_))));
    }
    assert_eq!(session.ended(), None, "it is not taken over by what is refused");
    assert_eq!(backend.counts().offline, 0, "what the client never knew of is not there");
    open(&backend, clean("b")).await.close(Close::NORMAL);
}

#[tokio::test]
async fn retained_messages_that_a_subscription_is_owed_come_after_a_kill_each_once() {
    let plant = Plant::new().await;
    let backend = plant.start().await;
    let numbers: Vec<String> = (0..300).map(|number| format!("{number:03}")).collect();
    for text in &numbers {
        let message = numbered(&format!("r/{text}"), text, QoS::ExactlyOnce);
        backend.publish(Message { retain: true, ..message }).unwrap();
    }
    let mut session = open(&backend, persistent("a")).await;
    subscribe(&mut session, "r/+", qos(QoS::ExactlyOnce)).await;
    let mut got = texts(&take_some(&mut session, 120));
    kill(&backend, [session]).await;
    let backend = plant.start().await;
    let mut session = open(&backend, persistent("a")).await;
    got.extend(texts(&take_all(&mut session).await));
    assert_eq!(got, numbers);
    plant.until_rows(&backend, [1, 1, 0, 0, 0, 0, 300]).await;
}

#[tokio::test]
async fn what_is_retained_comes_though_nothing_can_be_read_of_what_was_queued_before() {
    let plant = Plant::new().await;
    let backend = plant.start().await;
    let mut session = open(&backend, persistent("a")).await;
    subscribe(&mut session, "t", qos(QoS::AtLeastOnce)).await;
    drop(session);
    backend.publish(message("t", "queued", QoS::AtLeastOnce)).unwrap();
    backend.publish(retained("r", "retained", QoS::AtLeastOnce)).unwrap();
    stop(backend).await;

    let backend = plant.start().await;
    let store = plant.provisioner.sessions();
    let queued = store.scan(SessionRows::Queued(None), None, 10).await.unwrap();
    let mut damage = SessionWrites::default();
    queued.iter().for_each(|(row, _)| damage.put(row, b"damaged"));
    store.commit(&Arc::new(damage)).await.unwrap();
    let mut session = open(&backend, persistent("a")).await;
    subscribe(&mut session, "r", qos(QoS::AtLeastOnce)).await;
    let wake = tokio::time::timeout(Duration::from_secs(60), session.wait_for_mail()).await;
    assert_eq!(wake.unwrap(), Wake::Mail);
    assert_eq!(payloads(&mail(&mut session)), ["retained"]);
}

#[tokio::test]
async fn a_subscription_that_changes_while_it_is_sent_what_is_retained_is_stored_as_it_is_now() {
    let plant = Plant::new().await;
    let backend = plant.start().await;
    for topic in ["r/1", "r/2", "r/3"] {
        backend.publish(retained(topic, "kept", QoS::ExactlyOnce)).unwrap();
    }
    let mut session = open(&backend, OpenRequest { receive_maximum: 1, ..persistent("a") }).await;
    subscribe(&mut session, "r/+", qos(QoS::AtLeastOnce)).await;
    let if_new = SubscribeOptions { retain_handling: RetainHandling::SendIfNew, ..qos(QoS::ExactlyOnce) };
    subscribe(&mut session, "r/+", if_new).await;
    assert_eq!(take_some(&mut session, 1)[0].qos, QoS::AtLeastOnce, "as it was subscribed to then");
    backend.settled().await;
    kill(&backend, [session]).await;
    let backend = plant.start().await;
    let mut session = open(&backend, persistent("a")).await;
    assert_eq!(session.subscriptions().next().unwrap().1.qos, QoS::ExactlyOnce);
    assert_eq!(take_all(&mut session).await.len(), 2, "what it was owed still");
    drop(session);
    stop(backend).await;
}

fn take_some(session: &mut SessionHandle, least: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    while all.len() < least {
        let mail = mail(session);
        for (packet_id, delivery) in (1..).zip(&mail) {
            session.sent(packet_id, delivery.clone());
            session.received(packet_id);
            session.acknowledged(packet_id);
        }
        all.extend(mail);
    }
    all
}

#[tokio::test]
async fn what_waits_for_a_shared_subscription_goes_to_another_member_when_a_session_ends() {
    let plant = Plant::new().await;
    let backend = plant.start().await;
    let mut session = open(&backend, persistent("a")).await;
    subscribe(&mut session, "$share/g/t", qos(QoS::AtLeastOnce)).await;
    drop(session);
    let numbers = numbers(60);
    for text in &numbers {
        backend.publish(numbered("t", text, QoS::AtLeastOnce)).unwrap();
    }
    stop(backend).await;
    let backend = plant.start().await;
    let mut other = open(&backend, clean("b")).await;
    subscribe(&mut other, "$share/g/t", qos(QoS::AtLeastOnce)).await;
    open(&backend, clean("a")).await.close(Close::NORMAL);
    plant.until_rows(&backend, [0; 7]).await;
    assert_eq!(texts(&take_all(&mut other).await), numbers);
}

#[tokio::test]
async fn what_came_after_a_restart_and_is_in_memory_is_not_read_again() {
    const MESSAGES: usize = 128;
    let plant = Plant::new().await;
    let backend = plant.start().await;
    let mut session = open(&backend, persistent("a")).await;
    subscribe(&mut session, "t", qos(QoS::ExactlyOnce)).await;
    drop(session);
    stop(backend).await;

    let backend = plant.start().await;
    let numbers = numbers(MESSAGES);
    for text in &numbers {
        backend.publish(numbered("t", text, QoS::ExactlyOnce)).unwrap();
    }
    backend.settled().await;
    let mut session = open(&backend, persistent("a")).await;
    assert_eq!(texts(&take_all(&mut session).await), numbers);
}

#[tokio::test]
async fn a_subscription_that_is_there_already_is_not_stored_again() {
    let plant = Plant::new().await;
    let backend = plant.start().await;
    let mut session = open(&backend, persistent("a")).await;
    subscribe(&mut session, "t", qos(QoS::AtLeastOnce)).await;
    backend.publish(retained("other", "p", QoS::AtLeastOnce)).unwrap();
    drop(session);
    stop(backend).await;

    let backend = plant.start().await;
    let mut session = open(&backend, persistent("a")).await;
    let before = recorder(&backend).last();
    assert!(subscribe(&mut session, "t", qos(QoS::AtLeastOnce)).await.existed);
    assert_eq!((recorder(&backend).last(), session.unsettled()), (before, None));
    subscribe(&mut session, "t", qos(QoS::ExactlyOnce)).await;
    assert!(recorder(&backend).last() > before && session.unsettled().is_some());
    backend.publish(retained("t", "owed", QoS::ExactlyOnce)).unwrap();
    assert_eq!(payloads(&take_all(&mut session).await), ["owed"]);
    // Once more the same, but now there is something to be sent.
    subscribe(&mut session, "t", qos(QoS::ExactlyOnce)).await;
    kill(&backend, [session]).await;
    let backend = plant.start().await;
    let mut session = open(&backend, persistent("a")).await;
    assert_eq!(session.subscriptions().next().unwrap().1.qos, QoS::ExactlyOnce);
    let mail = take_all(&mut session).await;
    assert_eq!((payloads(&mail), mail[0].retain), (vec!["owed"], true));
}

/// For a will of an earlier process.
fn revive(_: &Arc<str>, _: &Message, stored: &[u8]) -> Option<Arc<dyn WillAuthority>> {
    let allows = match stored {
        b"allows" => true,
        b"refuses" => false,
        _ => return None,
    };
    Some(Arc::new(Stored { allows }))
}

#[derive(Debug)]
struct Stored {
    allows: bool,
}

impl WillAuthority for Stored {
    fn may_publish(&self) -> std::pin::Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(std::future::ready(self.allows))
    }

    fn stored(&self) -> Vec<u8> {
        if self.allows { b"allows".to_vec() } else { b"refuses".to_vec() }
    }
}

fn with_will(client_id: &str, delay: u64, allows: bool) -> OpenRequest {
    let message = retained("will", "gone", QoS::AtLeastOnce);
    let delay = Duration::from_secs(delay);
    let will = Will { message, message_expiry: None, delay, authority: Some(Arc::new(Stored { allows })) };
    OpenRequest { will: Some(will), ..persistent(client_id) }
}

/// How many wills are stored.
async fn wills(plant: &Plant) -> usize {
    plant.rows().await[5]
}

async fn until_wills(plant: &Plant, backend: &Backend, left: usize) {
    let started = std::time::Instant::now();
    while wills(plant).await != left {
        assert!(started.elapsed() < Duration::from_secs(60), "{}", wills(plant).await);
        backend.settled().await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_delayed_will_is_published_once_when_it_is_due_over_restarts_and_kills() {
    for killed in [false, true] {
        let plant = Plant::new().await;
        let backend = plant.start().await;
        let mut watcher = open(&backend, persistent("watcher")).await;
        subscribe(&mut watcher, "will", qos(QoS::AtLeastOnce)).await;
        drop(open(&backend, with_will("a", 60, true)).await);
        backend.settled().await;
        assert_eq!(wills(&plant).await, 1);
        match killed {
            true => kill(&backend, [watcher]).await,
            false => {
                drop(watcher);
                stop(backend).await;
            }
        }
        let backend = plant.start_after(59, options()).await;
        let mut watcher = open(&backend, persistent("watcher")).await;
        assert!(take_all(&mut watcher).await.is_empty(), "not before it is due");
        kill(&backend, [watcher]).await;
        let backend = plant.start_after(60, options()).await;
        until_wills(&plant, &backend, 0).await;
        let mut watcher = open(&backend, persistent("watcher")).await;
        assert_eq!(payloads(&take_all(&mut watcher).await), ["gone"]);
        kill(&backend, [watcher]).await;
        let backend = plant.start_after(61, options()).await;
        let mut watcher = open(&backend, persistent("watcher")).await;
        assert!(take_all(&mut watcher).await.is_empty(), "once");
        assert!(backend.retained("will").is_some());
    }
}

#[tokio::test]
async fn the_will_of_a_client_that_was_connected_is_published_after_a_kill_if_its_authority_agrees() {
    let plant = Plant::new().await;
    let backend = plant.start().await;
    let mut watcher = open(&backend, persistent("watcher")).await;
    subscribe(&mut watcher, "will", qos(QoS::AtLeastOnce)).await;
    let mut connected = vec![watcher];
    for (client_id, delay, allows) in [("a", 0, true), ("b", 0, false), ("c", 60, true)] {
        connected.push(open(&backend, with_will(client_id, delay, allows)).await);
    }
    kill(&backend, connected).await;
    let backend = plant.start_after(1000, options()).await;
    until_wills(&plant, &backend, 1).await;
    let mut watcher = open(&backend, persistent("watcher")).await;
    assert_eq!(take_all(&mut watcher).await.len(), 1, "that of a");
    // In time.
    drop(open(&backend, persistent("c")).await);
    until_wills(&plant, &backend, 0).await;
    kill(&backend, [watcher]).await;
    let backend = plant.start_after(2000, options()).await;
    let mut watcher = open(&backend, persistent("watcher")).await;
    assert!(take_all(&mut watcher).await.is_empty());
}

#[tokio::test]
async fn a_will_that_is_withdrawn_leaves_nothing() {
    let plant = Plant::new().await;
    let backend = plant.start().await;
    open(&backend, with_will("a", 60, true)).await.close(Close::NORMAL);
    drop(open(&backend, with_will("b", 60, true)).await);
    backend.settled().await;
    assert_eq!(wills(&plant).await, 1);
    let prevented = SessionEnd::Administrative { prevent_will: true, clean_session: true };
    assert!(backend.disconnect("b", prevented));
    until_wills(&plant, &backend, 0).await;
    drop(open(&backend, with_will("c", 0, true)).await);
    until_wills(&plant, &backend, 0).await;
    assert!(backend.retained("will").is_some(), "it was published");
}

#[tokio::test]
async fn a_will_whose_session_is_gone_and_one_that_was_due_before_another_are_published_after_a_kill() {
    let plant = Plant::new().await;
    let store = plant.provisioner.sessions();
    let backend = plant.start().await;
    let mut watcher = open(&backend, persistent("watcher")).await;
    subscribe(&mut watcher, "will", qos(QoS::AtLeastOnce)).await;
    let (gone, again) = (
        open(&backend, with_will("gone", 60, true)).await,
        open(&backend, with_will("again", 60, true)).await,
    );
    let session = |handle: &SessionHandle| handle.id().0.get();
    let (gone_id, again_id) = (session(&gone), session(&again));
    kill(&backend, [watcher, gone, again]).await;
    // As if the process had been killed while a will was being asked for.
    let rows = store.scan(SessionRows::Wills, None, 10).await.unwrap();
    let (row, will) = rows.iter().find(|(row, _)| row.session() == Some(again_id)).unwrap();
    let SessionRow::Will { number, .. } = row else { panic!("{row:?}") };
    let earlier = SessionRow::Will { session: again_id, number: number - 1 };
    let writes =
        [(SessionRow::Session { session: gone_id }, None), (earlier, Some(will.clone()))].into_iter();
    store.commit(&Arc::new(writes.collect())).await.unwrap();

    let backend = plant.start_after(10, options()).await;
    until_wills(&plant, &backend, 1).await;
    let mut watcher = open(&backend, persistent("watcher")).await;
    assert_eq!(payloads(&take_all(&mut watcher).await), ["gone", "gone"]);
    // The other one waits on, also when the process is killed again.
    kill(&backend, [watcher]).await;
    let backend = plant.start_after(69, options()).await;
    let mut watcher = open(&backend, persistent("watcher")).await;
    assert!(take_all(&mut watcher).await.is_empty());
    kill(&backend, [watcher]).await;
    let backend = plant.start_after(70, options()).await;
    until_wills(&plant, &backend, 0).await;
    let mut watcher = open(&backend, persistent("watcher")).await;
    assert_eq!(take_all(&mut watcher).await.len(), 1);
}

#[tokio::test]
async fn wills_count_towards_the_bytes_in_all_and_without_room_are_published_but_not_stored() {
    let plant = Plant::new().await;
    let of_one = u64::from(charge_of_will());
    let bounded = BackendOptions { stored_bytes: 2 * of_one + of_one / 2, ..options() };
    let backend = plant.start_after(0, bounded.clone()).await;
    let bytes = |backend: &Backend| recorder(backend).counts().1;
    let mut watcher = open(&backend, clean("watcher")).await;
    subscribe(&mut watcher, "will", qos(QoS::AtLeastOnce)).await;
    mail(&mut watcher);
    let one = open(&backend, with_will("one", 0, true)).await;
    let two = open(&backend, with_will("two", 3600, true)).await;
    let three = open(&backend, with_will("three", 0, true)).await;
    assert_eq!((wills(&plant).await, bytes(&backend)), (2, 2 * of_one));
    // Its own old one makes room for its new one.
    drop(two);
    let two = open(&backend, with_will("two", 3600, true)).await;
    assert_eq!((wills(&plant).await, bytes(&backend)), (2, 2 * of_one));
    drop(three);
    assert_eq!(payloads(&mail(&mut watcher)), ["gone"]);
    one.close(Close::NORMAL);
    assert_eq!(bytes(&backend), of_one);
    let three = open(&backend, with_will("three", 0, true)).await;
    assert_eq!((wills(&plant).await, bytes(&backend)), (2, 2 * of_one));
    kill(&backend, [two, three, watcher]).await;

    let backend = plant.start_after(1, bounded).await;
    until_wills(&plant, &backend, 1).await;
    assert_eq!(bytes(&backend), of_one, "one waits for its delay");
    let _two = open(&backend, persistent("two")).await;
    assert_eq!((wills(&plant).await, bytes(&backend)), (0, 0));
}

fn charge_of_will() -> u32 {
    let message = with_will("", 0, true).will.unwrap().message;
    u32::try_from(message.queued_bytes()).unwrap()
}

#[tokio::test]
async fn a_will_that_nobody_answers_for_any_more_is_given_up() {
    let plant = Plant::new().await;
    let backend = plant.start().await;
    let session = open(&backend, with_will("a", 0, true)).await;
    kill(&backend, [session]).await;
    let clock = Arc::clone(&plant.clock) as Arc<dyn Clock>;
    let backend =
        Backend::restore(options(), plant.provisioner.sessions(), clock, &|_, _, _| None).await.unwrap();
    until_wills(&plant, &backend, 0).await;
    assert!(backend.retained("will").is_none());
    assert_eq!(backend.counts().offline, 1);
}
