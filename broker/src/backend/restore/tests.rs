//! Many sessions at once: each gets what is its own.
use super::*;
use crate::backend::tests::{clean, message, open, options, payloads, persistent, qos, subscribe};
use crate::backend::{Backend, Close, count_rows};
use crate::message::{Delivery, Message, QoS};
use crate::session::SessionHandle;
use jitp_provisioner::{ManualClock, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

const STARTED: u64 = 1_767_225_600_000;
/// More than some pages of each kind of rows.
const MANY: usize = 3 * PAGE + 7;
/// Longer than what is stored with each session.
const LARGE: usize = 1000;

async fn start(store: &SessionStore, at: u64) -> Backend {
    let clock = Arc::new(ManualClock::new(Timestamp(at)));
    Backend::restore(options(), store.clone(), clock, &|_, _, _| None).await.unwrap()
}

/// The process is killed: its connections leave nothing but what is stored by now.
async fn kill(backend: Backend, connected: Vec<SessionHandle>) {
    backend.settled().await;
    connected.into_iter().for_each(std::mem::forget);
    std::mem::forget(backend);
}

fn name(number: usize) -> String {
    format!("device-{number}")
}

/// Takes and acknowledges what is queued, of which there is so much.
async fn take(session: &mut SessionHandle, count: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    while all.len() < count {
        session.wait_for_mail().await;
        let mut mail = Vec::new();
        session.drain(usize::MAX, &mut mail);
        for (packet_id, delivery) in (1..).zip(&mail) {
            session.sent(packet_id, delivery.clone());
            session.acknowledged(packet_id);
        }
        all.extend(mail);
    }
    all
}

async fn until_nothing_is_left(backend: &Backend, store: &SessionStore) {
    let started = std::time::Instant::now();
    loop {
        let rows = count_rows(store).await.unwrap();
        if rows == [0; 7] {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{rows:?}");
        backend.settled().await;
        tokio::task::yield_now().await;
    }
    assert_eq!(backend.stored_for_sessions(), (0, 0));
}

#[tokio::test]
async fn of_many_sessions_each_gets_what_is_its_own_after_a_kill() {
    let store = SessionStore::in_memory();
    let backend = start(&store, STARTED).await;
    let mut connected = Vec::new();
    for number in 0..MANY {
        let mut session = open(&backend, persistent(&name(number))).await;
        subscribe(&mut session, &format!("to/{number}"), qos(QoS::ExactlyOnce)).await;
        if number % 3 == 0 {
            subscribe(&mut session, "to/all", qos(QoS::AtLeastOnce)).await;
        }
        connected.push(session);
    }
    backend.publish(Message::new("to/all", vec![b'x'; LARGE], QoS::AtLeastOnce)).unwrap();
    for number in (0..MANY).step_by(5) {
        backend.publish(message(&format!("to/{number}"), "own", QoS::ExactlyOnce)).unwrap();
    }
    for number in (0..MANY).step_by(7) {
        connected[number].begin_exactly_once(9);
        connected[number].publish_exactly_once(9, message("nowhere", "p", QoS::ExactlyOnce)).unwrap();
    }
    kill(backend, connected).await;

    for round in 0..2 {
        let backend = start(&store, STARTED + 1000).await;
        assert_eq!(backend.counts().offline, MANY);
        if round == 0 {
            assert_eq!(backend.counts().subscriptions, MANY + MANY.div_ceil(3));
        }
        for number in (0..MANY).skip(round).step_by(2) {
            let opened = backend.open(persistent(&name(number))).await.unwrap();
            assert!(opened.session_present, "{number}");
            let mut session = opened.session;
            let received: Vec<u16> = session.exactly_once().collect();
            assert_eq!(received, if number % 7 == 0 { vec![9] } else { vec![] }, "{number}");
            let expected = usize::from(number % 3 == 0) + usize::from(number % 5 == 0);
            let mail = take(&mut session, expected).await;
            assert_eq!(mail.len(), expected, "{number}");
            let own = number % 5 == 0;
            assert_eq!(mail.iter().any(|delivery| delivery.message.payload == "own"), own, "{number}");
            session.close(Close { session_expiry: Some(Duration::ZERO), ..Close::NORMAL });
            open(&backend, persistent(&name(number))).await;
        }
        kill(backend, Vec::new()).await;
    }
    let backend = start(&store, STARTED + 2000).await;
    for number in 0..MANY {
        open(&backend, clean(&name(number))).await.close(Close::NORMAL);
    }
    until_nothing_is_left(&backend, &store).await;
}

#[tokio::test]
async fn what_belongs_to_no_session_goes_wherever_it_lies() {
    let store = SessionStore::in_memory();
    let backend = start(&store, STARTED).await;
    for number in 0..3 {
        let mut session = open(&backend, persistent(&name(number))).await;
        subscribe(&mut session, "t", qos(QoS::AtLeastOnce)).await;
    }
    backend.publish(Message::new("t", vec![b'x'; LARGE], QoS::AtLeastOnce)).unwrap();
    kill(backend, Vec::new()).await;
    // A crash between the end of sessions and the end of what they had.
    let sessions = store.scan(SessionRows::Sessions, None, 3).await.unwrap();
    let ended = [&sessions[0].0, &sessions[2].0].map(|row| (row.clone(), None));
    store.commit(&Arc::new(ended.into_iter().collect())).await.unwrap();
    let numbers: Vec<u64> = sessions.iter().filter_map(|(row, _)| row.session()).collect();
    for session in [numbers[0], numbers[2]] {
        let rows =
            [SessionRow::InFlight { session, packet_id: 1 }, SessionRow::Received { session, packet_id: 1 }];
        let in_flight = StoredInFlight { place: 1, released: true }.encode();
        let rows = rows.into_iter().map(|row| (row, Some(in_flight.clone())));
        store.commit(&Arc::new(rows.collect())).await.unwrap();
    }
    let backend = start(&store, STARTED).await;
    assert_eq!(backend.counts().offline, 1);
    let mut session = open(&backend, persistent(&name(1))).await;
    assert_eq!(take(&mut session, 1).await[0].message.payload.len(), LARGE);
    session.close(Close { session_expiry: Some(Duration::ZERO), ..Close::NORMAL });
    until_nothing_is_left(&backend, &store).await;
}

#[tokio::test]
async fn a_message_stays_for_others_when_the_first_that_had_it_has_expired() {
    let store = SessionStore::in_memory();
    let backend = start(&store, STARTED).await;
    for number in 0..MANY {
        let mut request = persistent(&name(number));
        if number % 2 == 0 {
            request.session_expiry = Duration::from_secs(10);
        }
        let mut session = open(&backend, request).await;
        subscribe(&mut session, "t", qos(QoS::AtLeastOnce)).await;
    }
    backend.publish(Message::new("t", vec![b'x'; LARGE], QoS::AtLeastOnce)).unwrap();
    kill(backend, Vec::new()).await;
    let backend = start(&store, STARTED + 60_000).await;
    for number in (1..MANY).step_by(2) {
        let mut session = open(&backend, persistent(&name(number))).await;
        assert_eq!(take(&mut session, 1).await[0].message.payload.len(), LARGE, "{number}");
        session.close(Close { session_expiry: Some(Duration::ZERO), ..Close::NORMAL });
    }
    until_nothing_is_left(&backend, &store).await;
    assert_eq!(backend.counts().offline, 0);
}

#[tokio::test]
async fn no_number_is_given_twice_though_the_clock_is_set_back() {
    let store = SessionStore::in_memory();
    let mut seen = BTreeMap::new();
    for (round, at) in [STARTED, STARTED - 1_000_000, STARTED - 2_000_000].into_iter().enumerate() {
        let backend = start(&store, at).await;
        for number in 0..2 {
            let mut session = open(&backend, persistent(&name(10 * round + number))).await;
            subscribe(&mut session, &format!("to/{round}"), qos(QoS::AtLeastOnce)).await;
            assert_eq!(seen.insert(session.id(), round), None, "{:?}", session.id());
        }
        let payload = vec![b'0' + u8::try_from(round).unwrap(); LARGE];
        backend.publish(Message::new(format!("to/{round}"), payload, QoS::AtLeastOnce)).unwrap();
        kill(backend, Vec::new()).await;
    }
    let backend = start(&store, STARTED).await;
    for round in 0..3 {
        for number in 0..2 {
            let mut session = open(&backend, persistent(&name(10 * round + number))).await;
            let mail = take(&mut session, 1).await;
            assert!(payloads(&mail)[0].starts_with(&round.to_string()), "of another round: {round}");
        }
    }
}
