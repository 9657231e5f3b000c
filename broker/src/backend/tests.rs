use super::*;
use crate::message::{Delivery, PublishProperties};
use crate::overload::{PART, go_to_the_end};
use crate::session::{InFlight, Wake};
use crate::topic::TopicLimits;
use jitp_provisioner::certs::CertificateId;
use std::future::Future;
use std::task::Poll;
use tokio::time::{Instant, advance};

pub(super) const HOUR: Duration = Duration::from_secs(3600);

fn backend() -> Backend {
    Backend::start(options())
}

pub(super) fn options() -> BackendOptions {
    BackendOptions::new(&crate::Limits::default(), crate::Profile::Standard)
}

pub(super) fn clean(client_id: &str) -> OpenRequest {
    OpenRequest {
        client_id: client_id.into(),
        certificate: None,
        version: ProtocolVersion::V5,
        clean_start: true,
        session_expiry: Duration::ZERO,
        receive_maximum: 65_535,
        will: None,
    }
}

pub(super) fn persistent(client_id: &str) -> OpenRequest {
    OpenRequest { clean_start: false, session_expiry: HOUR, ..clean(client_id) }
}

pub(super) async fn open(backend: &Backend, request: OpenRequest) -> SessionHandle {
    backend.open(request).await.unwrap().session
}

pub(super) fn filter(text: &str) -> Filter {
    Filter::parse(text, TopicLimits { bytes: 1024, levels: 32 }).unwrap()
}

pub(super) fn qos(qos: QoS) -> SubscribeOptions {
    SubscribeOptions { qos, ..SubscribeOptions::default() }
}

pub(super) async fn subscribe(
    session: &mut SessionHandle,
    text: &str,
    options: SubscribeOptions,
) -> Subscribed {
    session.subscribe(&filter(text), options).await.unwrap()
}

pub(super) fn message(topic: &str, payload: &'static str, qos: QoS) -> Message {
    Message::new(topic, payload, qos)
}

pub(super) fn retained(topic: &str, payload: &'static str, qos: QoS) -> Message {
    Message { retain: true, ..message(topic, payload, qos) }
}

fn will(topic: &str, delay: Duration) -> Option<Will> {
    let message = message(topic, "will", QoS::AtLeastOnce);
    Some(Will { message, message_expiry: None, delay, authority: None })
}

pub(super) fn mail(session: &mut SessionHandle) -> Vec<Delivery> {
    let mut mail = Vec::new();
    session.drain(usize::MAX, &mut mail);
    mail
}

pub(super) fn payloads(mail: &[Delivery]) -> Vec<&str> {
    mail.iter().map(|delivery| std::str::from_utf8(&delivery.message.payload).unwrap()).collect()
}

/// Drains as a connection does, with packet ids counting up.
fn send(session: &mut SessionHandle, next_id: &mut u16) -> Vec<Delivery> {
    let mail = mail(session);
    for delivery in mail.iter().filter(|delivery| delivery.qos > QoS::AtMostOnce) {
        session.sent(*next_id, delivery.clone());
        *next_id += 1;
    }
    mail
}

pub(super) fn is_waiting(session: &SessionHandle) -> bool {
    let mut waiting = Box::pin(session.wait_for_mail());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    waiting.as_mut().poll(&mut context) == Poll::Pending
}

fn assert_nothing_is_left(backend: &Backend) {
    assert_eq!(backend.counts(), Counts { retained: backend.counts().retained, ..Counts::default() });
    assert_eq!(backend.local.router.occupied(), (0, 0, 0));
    assert_eq!(backend.local.timers.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_clean_session_ends_with_its_connection() {
    let backend = backend();
    let mut session = open(&backend, clean("a")).await;
    assert!(!subscribe(&mut session, "t/+", qos(QoS::AtLeastOnce)).await.existed);
    assert!(subscribe(&mut session, "t/+", qos(QoS::AtLeastOnce)).await.existed);
    assert_eq!(backend.publish(message("t/1", "p", QoS::AtLeastOnce)).unwrap().matched, 1);
    assert_eq!(session.wait_for_mail().await, Wake::Mail);
    assert_eq!(payloads(&mail(&mut session)), ["p"]);
    assert_eq!(backend.counts(), Counts { online: 1, subscriptions: 1, ..Counts::default() });
    session.close(Close::NORMAL);
    assert_nothing_is_left(&backend);
    assert!(!backend.open(persistent("a")).await.unwrap().session_present);
}

#[tokio::test(start_paused = true)]
async fn a_persistent_session_keeps_its_subscriptions_and_queues_qos_1_and_2() {
    let backend = backend();
    let mut session = open(&backend, persistent("a")).await;
    subscribe(&mut session, "t", qos(QoS::ExactlyOnce)).await;
    drop(session);
    assert_eq!(backend.counts(), Counts { offline: 1, subscriptions: 1, ..Counts::default() });
    for (payload, qos) in [("0", QoS::AtMostOnce), ("1", QoS::AtLeastOnce), ("2", QoS::ExactlyOnce)] {
        backend.publish(message("t", payload, qos)).unwrap();
    }
    let mut opened = backend.open(persistent("a")).await.unwrap();
    assert!(opened.session_present);
    assert_eq!(opened.session.subscriptions().count(), 1);
    assert_eq!(opened.session.wait_for_mail().await, Wake::Mail);
    assert_eq!(payloads(&mail(&mut opened.session)), ["1", "2"]);
    assert!(is_waiting(&opened.session));
}

#[tokio::test(start_paused = true)]
async fn qos_0_that_a_slow_client_did_not_take_is_forgotten_when_it_leaves() {
    let backend = backend();
    let mut session = open(&backend, persistent("a")).await;
    subscribe(&mut session, "t", qos(QoS::AtLeastOnce)).await;
    backend.publish(message("t", "0", QoS::AtMostOnce)).unwrap();
    backend.publish(message("t", "1", QoS::AtLeastOnce)).unwrap();
    drop(session);
    let mut session = open(&backend, persistent("a")).await;
    assert_eq!(payloads(&mail(&mut session)), ["1"]);
    assert_eq!(session.session.queued(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_session_expires_on_time() {
    let backend = backend();
    let request = OpenRequest { session_expiry: Duration::from_secs(10), ..persistent("a") };
    let mut session = open(&backend, request.clone()).await;
    subscribe(&mut session, "t", qos(QoS::AtLeastOnce)).await;
    drop(session);
    advance(Duration::from_millis(9_999)).await;
    let opened = backend.open(request).await.unwrap();
    assert!(opened.session_present);
    drop(opened);
    advance(Duration::from_millis(9_999)).await;
    assert_eq!(backend.counts().offline, 1);
    advance(Duration::from_millis(1)).await;
    tokio::task::yield_now().await;
    assert_nothing_is_left(&backend);
}

#[tokio::test(start_paused = true)]
async fn many_sessions_expire_each_at_its_time() {
    let backend = backend();
    for n in 1..=500 {
        let request = OpenRequest { session_expiry: Duration::from_secs(n), ..persistent(&format!("c{n}")) };
        drop(open(&backend, request).await);
    }
    for left in (0..500).rev() {
        advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
        assert_eq!(backend.counts().offline, left);
    }
    assert_nothing_is_left(&backend);
}

#[tokio::test(start_paused = true)]
async fn an_expiry_beyond_the_limit_is_cut_to_it() {
    let backend = backend();
    let forever = Duration::from_secs(u64::from(u32::MAX));
    let opened = backend.open(OpenRequest { session_expiry: forever, ..clean("a") }).await.unwrap();
    assert_eq!(opened.session_expiry, HOUR);
}

#[tokio::test(start_paused = true)]
async fn disconnect_may_change_the_expiry() {
    let backend = backend();
    let session = open(&backend, persistent("a")).await;
    session.close(Close { publish_will: false, session_expiry: Some(Duration::ZERO) });
    assert_nothing_is_left(&backend);
    let session = open(&backend, persistent("a")).await;
    session.close(Close { publish_will: false, session_expiry: Some(Duration::from_secs(1)) });
    advance(Duration::from_secs(1)).await;
    tokio::task::yield_now().await;
    assert_nothing_is_left(&backend);
}

#[tokio::test(start_paused = true)]
async fn clean_start_discards_the_old_session() {
    let backend = backend();
    let mut session = open(&backend, persistent("a")).await;
    subscribe(&mut session, "t", qos(QoS::AtLeastOnce)).await;
    drop(session);
    backend.publish(message("t", "p", QoS::AtLeastOnce)).unwrap();
    let mut opened = backend.open(clean("a")).await.unwrap();
    assert!(!opened.session_present);
    assert!(mail(&mut opened.session).is_empty());
    assert_eq!(backend.counts(), Counts { online: 1, ..Counts::default() });
    assert_eq!(backend.local.timers.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_is_carried_over_to_another_version_unless_configured_otherwise() {
    for carry in [true, false] {
        let backend = Backend::start(BackendOptions { carry_over_versions: carry, ..options() });
        drop(open(&backend, persistent("a")).await);
        let request = OpenRequest { version: ProtocolVersion::V311, ..persistent("a") };
        assert_eq!(backend.open(request).await.unwrap().session_present, carry);
    }
}

#[tokio::test(start_paused = true)]
async fn a_takeover_tells_the_old_connection_and_hands_over_what_is_in_flight() {
    let backend = backend();
    let mut watcher = open(&backend, clean("watcher")).await;
    subscribe(&mut watcher, "will", qos(QoS::AtLeastOnce)).await;
    let mut old = open(&backend, OpenRequest { will: will("will", Duration::ZERO), ..persistent("a") }).await;
    subscribe(&mut old, "t", qos(QoS::ExactlyOnce)).await;
    for (payload, qos) in [("1", QoS::AtLeastOnce), ("2", QoS::ExactlyOnce), ("3", QoS::AtLeastOnce)] {
        backend.publish(message("t", payload, qos)).unwrap();
    }
    let mut next_id = 7;
    assert_eq!(send(&mut old, &mut next_id).len(), 3);
    assert!(old.received(8));
    assert!(!old.received(7) && !old.received(99));
    assert!(old.begin_exactly_once(70));
    backend.publish(message("t", "4", QoS::AtLeastOnce)).unwrap();

    let new = tokio::spawn({
        let backend = backend.clone();
        async move { backend.open(persistent("a")).await }
    });
    assert_eq!(old.wait_for_mail().await, Wake::Mail);
    mail(&mut old).into_iter().for_each(|delivery| old.sent(10, delivery));
    assert_eq!(old.wait_for_mail().await, Wake::Ended(SessionEnd::TakenOver));
    assert_eq!(old.ended(), Some(SessionEnd::TakenOver));
    assert!(!new.is_finished());
    old.close(Close::ABRUPT);

    let opened = new.await.unwrap().unwrap();
    assert!(opened.session_present);
    let mut new = opened.session;
    assert_eq!(new.ended(), None);
    let resend: Vec<_> = new
        .in_flight()
        .map(|sent| match sent {
            InFlight::Publish { packet_id, delivery } => (packet_id, payloads(&[delivery])[0].to_owned()),
            InFlight::Release { packet_id } => (packet_id, "release".to_owned()),
        })
        .collect();
    let expected = [(7, "1"), (8, "release"), (9, "3"), (10, "4")];
    assert_eq!(resend, expected.map(|(packet_id, what)| (packet_id, what.to_owned())));
    assert!(new.acknowledged(9) && new.acknowledged(8) && !new.acknowledged(8));
    assert_eq!(new.in_flight().map(|sent| sent.packet_id()).collect::<Vec<_>>(), [7, 10]);
    assert_eq!(new.exactly_once().collect::<Vec<_>>(), [70]);
    assert!(!new.begin_exactly_once(70));
    assert!(new.end_exactly_once(70) && !new.end_exactly_once(70));
    assert_eq!(payloads(&mail(&mut watcher)), ["will"]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_does_not_let_go_is_waited_for_in_vain() {
    let backend = backend();
    let old = open(&backend, clean("a")).await;
    let before = Instant::now();
    assert_eq!(backend.open(clean("a")).await.unwrap_err(), OpenError::StillHeld);
    assert_eq!(before.elapsed(), options().takeover_patience);
    drop(old);
    open(&backend, clean("a")).await;
}

#[tokio::test(start_paused = true)]
async fn of_many_connections_that_wait_for_a_session_the_newest_gets_it() {
    let backend = backend();
    let old = open(&backend, persistent("a")).await;
    let mut waiting = Vec::new();
    for _ in 0..10 {
        let backend = backend.clone();
        waiting.push(tokio::spawn(async move {
            backend.open(persistent("a")).await.map(|opened| opened.session)
        }));
        tokio::task::yield_now().await;
    }
    drop(old);
    let newest = waiting.pop().unwrap().await.unwrap().unwrap();
    for older in waiting {
        assert_eq!(older.await.unwrap().unwrap_err(), OpenError::Superseded);
    }
    assert_eq!(newest.ended(), None);
}

#[tokio::test(start_paused = true)]
async fn the_will_is_published_at_every_end_but_a_normal_one() {
    let backend = backend();
    let mut watcher = open(&backend, clean("watcher")).await;
    subscribe(&mut watcher, "will/#", qos(QoS::AtLeastOnce)).await;
    for (topic, how, expected) in [("will/abrupt", Close::ABRUPT, 1), ("will/normal", Close::NORMAL, 0)] {
        for request in [clean("a"), persistent("a")] {
            let session = open(&backend, OpenRequest { will: will(topic, Duration::ZERO), ..request }).await;
            session.close(how);
            assert_eq!(mail(&mut watcher).len(), expected, "{topic}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_delayed_will_waits_for_its_delay_or_for_the_end_of_the_session() {
    let backend = backend();
    let mut watcher = open(&backend, clean("watcher")).await;
    subscribe(&mut watcher, "will", qos(QoS::AtLeastOnce)).await;
    let seconds = Duration::from_secs;
    let request = |delay, expiry| OpenRequest {
        will: will("will", seconds(delay)),
        session_expiry: seconds(expiry),
        ..persistent("a")
    };
    for (delay, expiry, published_after) in [(10, 100, 10), (100, 10, 10), (10, 0, 0)] {
        drop(open(&backend, request(delay, expiry)).await);
        let left = Instant::now();
        assert_eq!(watcher.wait_for_mail().await, Wake::Mail);
        assert_eq!(left.elapsed().as_secs(), published_after, "{delay} {expiry}");
        assert_eq!(mail(&mut watcher).len(), 1);
    }
    tokio::time::advance(HOUR).await;
    tokio::task::yield_now().await;
    assert_eq!(backend.local.timers.len(), 0);

    // Back in time: no will. A clean start ends the session, and so publishes it.
    drop(open(&backend, request(10, 100)).await);
    advance(seconds(9)).await;
    let session = open(&backend, persistent("a")).await;
    advance(seconds(5)).await;
    assert!(is_waiting(&watcher));
    session.close(Close { session_expiry: Some(Duration::ZERO), ..Close::NORMAL });
    drop(open(&backend, request(10, 100)).await);
    drop(open(&backend, clean("a")).await);
    assert_eq!(mail(&mut watcher).len(), 1);
}

#[derive(Debug, Default)]
struct Authority {
    refuses: std::sync::atomic::AtomicBool,
    asked: std::sync::atomic::AtomicUsize,
}

impl WillAuthority for Authority {
    fn may_publish(&self) -> std::pin::Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        self.asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let allowed = !self.refuses.load(std::sync::atomic::Ordering::SeqCst);
        Box::pin(async move {
            tokio::task::yield_now().await;
            allowed
        })
    }

    fn stored(&self) -> Vec<u8> {
        Vec::new()
    }
}

#[tokio::test(start_paused = true)]
async fn a_will_that_is_published_late_is_published_only_if_its_authority_then_agrees() {
    use std::sync::atomic::Ordering::SeqCst;
    let backend = backend();
    let mut watcher = open(&backend, clean("watcher")).await;
    subscribe(&mut watcher, "will", qos(QoS::AtLeastOnce)).await;
    let authority = Arc::new(Authority::default());
    let leave = async |client_id: &str, delay, expiry| {
        let authority: Arc<dyn WillAuthority> = authority.clone();
        let will = Will { authority: Some(authority), ..will("will", Duration::from_secs(delay)).unwrap() };
        let session_expiry = Duration::from_secs(expiry);
        drop(open(&backend, OpenRequest { will: Some(will), session_expiry, ..persistent(client_id) }).await);
    };
    // At the end of the connection the connection has decided.
    authority.refuses.store(true, SeqCst);
    for (delay, expiry) in [(0, 100), (10, 0)] {
        leave("at once", delay, expiry).await;
        assert_eq!((mail(&mut watcher).len(), authority.asked.load(SeqCst)), (1, 0), "{delay} {expiry}");
    }
    for (refuses, published) in [(true, 0), (false, 1)] {
        authority.refuses.store(refuses, SeqCst);
        for (delay, expiry) in [(10, 100), (100, 10)] {
            leave("a", delay, expiry).await;
            advance(Duration::from_secs(10)).await;
            settle().await;
            assert_eq!(mail(&mut watcher).len(), published, "{delay} {expiry}");
            open(&backend, clean("a")).await.close(Close::NORMAL);
        }
        leave("a", 10, 100).await;
        drop(open(&backend, clean("a")).await);
        settle().await;
        assert_eq!(mail(&mut watcher).len(), published, "a clean start");
        leave("a", 10, 100).await;
        backend.disconnect("a", SessionEnd::Administrative { prevent_will: false, clean_session: true });
        settle().await;
        assert_eq!(mail(&mut watcher).len(), published, "an operator");
    }
    assert_eq!(authority.asked.load(SeqCst), 8);
}

/// Lets everything that can run do so.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_expiry_of_a_will_counts_from_its_publication() {
    let backend = backend();
    let mut watcher = open(&backend, clean("watcher")).await;
    subscribe(&mut watcher, "will", qos(QoS::AtLeastOnce)).await;
    let will = Will {
        message_expiry: Some(Duration::from_secs(5)),
        ..will("will", Duration::from_secs(60)).unwrap()
    };
    drop(open(&backend, OpenRequest { will: Some(will), ..persistent("a") }).await);
    assert_eq!(watcher.wait_for_mail().await, Wake::Mail);
    let mail = mail(&mut watcher);
    assert_eq!(mail[0].message.seconds_left(Instant::now()), Some(5));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_new_messages_and_keeps_old_ones() {
    let by_count = BackendOptions { queued_messages: 3, ..options() };
    let by_bytes =
        BackendOptions { queued_bytes: 3 * message("t", "1", QoS::AtLeastOnce).queued_bytes(), ..options() };
    for options in [by_count, by_bytes] {
        let backend = Backend::start(options);
        let mut session = open(&backend, persistent("a")).await;
        subscribe(&mut session, "t", qos(QoS::AtLeastOnce)).await;
        for offline in [false, true] {
            for payload in ["1", "2", "3", "4", "5"] {
                backend.publish(message("t", payload, QoS::AtLeastOnce)).unwrap();
            }
            if offline {
                drop(session);
                session = open(&backend, persistent("a")).await;
            }
            assert_eq!(payloads(&mail(&mut session)), ["1", "2", "3"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn publishers_are_told_to_wait_for_a_client_that_lags_behind_until_it_has_caught_up() {
    let backend = Backend::start(BackendOptions { queued_messages: 8, ..options() });
    let mut session = open(&backend, clean("a")).await;
    subscribe(&mut session, "t", qos(QoS::AtLeastOnce)).await;
    let publish = |qos| backend.publish(message("t", "x", qos)).unwrap().lag;
    for _ in 0..3 {
        assert!(publish(QoS::AtLeastOnce).is_none());
    }
    // Nobody waits so that QoS 0 arrives, and nobody for itself.
    assert!(publish(QoS::AtMostOnce).is_none());
    assert!(session.publish(message("t", "own", QoS::AtLeastOnce)).unwrap().lag.is_none());
    let lag = publish(QoS::AtLeastOnce).unwrap();
    let waiting = tokio::spawn(async move { lag.wait().await });
    let mut mail = Vec::new();
    session.drain(3, &mut mail);
    let lag = publish(QoS::AtLeastOnce).expect("it has not caught up");
    session.drain(2, &mut mail);
    waiting.await.unwrap();
    lag.wait().await;
    assert!(publish(QoS::AtLeastOnce).is_none());
    assert_eq!(session.session.queued().0, 3);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_long_or_twice_for_a_client_that_does_not_catch_up_and_nobody_for_one_that_is_away() {
    let patience = Duration::from_secs(1);
    let backend =
        Backend::start(BackendOptions { queued_messages: 8, publisher_patience: patience, ..options() });
    let mut session = open(&backend, persistent("a")).await;
    subscribe(&mut session, "t", qos(QoS::AtLeastOnce)).await;
    let publish = || backend.publish(message("t", "x", QoS::AtLeastOnce)).unwrap().lag;
    let lag = (0..4).filter_map(|_| publish()).next().unwrap();
    let started = Instant::now();
    lag.wait().await;
    assert_eq!(started.elapsed(), patience);
    assert!(publish().is_none());
    mail(&mut session);
    assert!(session.in_flight().next().is_none());
    let lag = (0..4).filter_map(|_| publish()).next().unwrap();
    drop(session);
    let started = Instant::now();
    lag.wait().await;
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert!((0..4).all(|_| publish().is_none()));
}

#[tokio::test(start_paused = true)]
async fn expired_messages_make_room_and_are_not_delivered() {
    let backend = Backend::start(BackendOptions { queued_messages: 3, ..options() });
    let mut session = open(&backend, persistent("a")).await;
    subscribe(&mut session, "t", qos(QoS::AtLeastOnce)).await;
    let expiring = |payload, seconds| {
        message("t", payload, QoS::AtLeastOnce).expiring_after(Duration::from_secs(seconds))
    };
    backend.publish(expiring("1", 1)).unwrap();
    backend.publish(expiring("9", 9)).unwrap();
    backend.publish(expiring("2", 2)).unwrap();
    advance(Duration::from_secs(3)).await;
    backend.publish(message("t", "new", QoS::AtLeastOnce)).unwrap();
    assert_eq!(payloads(&mail(&mut session)), ["9", "new"]);
    assert_eq!(session.session.queued(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_window_holds_back_qos_1_until_acknowledgements_come() {
    let backend = backend();
    let mut session = open(&backend, OpenRequest { receive_maximum: 2, ..clean("a") }).await;
    subscribe(&mut session, "t", qos(QoS::AtLeastOnce)).await;
    for payload in ["1", "2", "3", "4"] {
        backend.publish(message("t", payload, QoS::AtLeastOnce)).unwrap();
    }
    let mut next_id = 1;
    assert_eq!(payloads(&send(&mut session, &mut next_id)), ["1", "2"]);
    assert!(is_waiting(&session));
    backend.publish(message("t", "5", QoS::AtLeastOnce)).unwrap();
    assert!(is_waiting(&session));
    assert!(session.acknowledged(1));
    assert_eq!(session.wait_for_mail().await, Wake::Mail);
    assert_eq!(payloads(&send(&mut session, &mut next_id)), ["3"]);
    assert!(session.acknowledged(2) && session.acknowledged(3));
    assert_eq!(payloads(&send(&mut session, &mut next_id)), ["4", "5"]);
    // With the window closed, QoS 0 that nothing is ahead of passes.
    backend.publish(message("t", "6", QoS::AtMostOnce)).unwrap();
    assert_eq!(session.wait_for_mail().await, Wake::Mail);
    assert_eq!(payloads(&send(&mut session, &mut next_id)), ["6"]);
}

#[tokio::test(start_paused = true)]
async fn draining_takes_no_more_than_asked_for() {
    let backend = backend();
    let mut session = open(&backend, clean("a")).await;
    backend.publish(retained("t/retained", "r", QoS::AtMostOnce)).unwrap();
    subscribe(&mut session, "t/#", qos(QoS::AtLeastOnce)).await;
    for payload in ["1", "2", "3"] {
        backend.publish(message("t", payload, QoS::AtMostOnce)).unwrap();
    }
    let mut mail = Vec::new();
    session.drain(2, &mut mail);
    assert_eq!(payloads(&mail), ["r", "1"]);
    session.drain(1, &mut mail);
    assert_eq!(payloads(&mail), ["r", "1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_has_the_lesser_qos_and_the_retain_flag_only_as_published() {
    let all = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    let backend = backend();
    for published in all {
        for granted in all {
            for retain_as_published in [false, true] {
                let mut session = open(&backend, clean("a")).await;
                let options = SubscribeOptions { retain_as_published, ..qos(granted) };
                assert_eq!(subscribe(&mut session, "t", options).await.granted, granted);
                backend.publish(retained("t", "", published)).unwrap();
                let mail = mail(&mut session);
                assert_eq!(mail[0].qos, published.min(granted));
                assert_eq!(mail[0].retain, retain_as_published);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn overlapping_subscriptions_are_one_delivery_at_the_highest_qos_with_all_identifiers() {
    let backend = backend();
    let mut session = open(&backend, clean("a")).await;
    let mut other = open(&backend, clean("b")).await;
    for (text, granted, identifier) in [
        ("a/b", QoS::AtMostOnce, NonZeroU32::new(1)),
        ("a/+", QoS::ExactlyOnce, NonZeroU32::new(2)),
        ("#", QoS::AtLeastOnce, None),
        ("+/b", QoS::AtLeastOnce, NonZeroU32::new(1)),
    ] {
        subscribe(&mut session, text, SubscribeOptions { identifier, ..qos(granted) }).await;
    }
    subscribe(&mut other, "a/#", qos(QoS::AtLeastOnce)).await;
    assert_eq!(backend.publish(message("a/b", "p", QoS::ExactlyOnce)).unwrap().matched, 2);
    let mail = mail(&mut session);
    assert_eq!(mail.len(), 1);
    assert_eq!(mail[0].qos, QoS::ExactlyOnce);
    let mut identifiers: Vec<_> = mail[0].subscription_identifiers.as_slice().to_vec();
    identifiers.sort();
    assert_eq!(
        identifiers,
        [1, 1, 2].map(|id| NonZeroU32::new(id).unwrap()),
        "once for each subscription that has it"
    );
}

#[tokio::test(start_paused = true)]
async fn no_local_spares_the_publisher_its_own_messages() {
    let backend = backend();
    let mut session = open(&backend, clean("a")).await;
    let options = SubscribeOptions { no_local: true, ..qos(QoS::AtLeastOnce) };
    subscribe(&mut session, "t", options).await;
    assert_eq!(session.publish(message("t", "own", QoS::AtLeastOnce)).unwrap().matched, 0);
    backend.publish(message("t", "other", QoS::AtLeastOnce)).unwrap();
    assert_eq!(payloads(&mail(&mut session)), ["other"]);
    let shared = filter("$share/g/t");
    let refused = session.subscribe(&shared, options).await;
    assert_eq!(refused, Err(SubscribeError::NoLocalOnShared { filter: shared }));
}

#[tokio::test(start_paused = true)]
async fn no_local_spares_a_client_what_it_has_retained_in_an_earlier_session() {
    let backend = backend();
    let mut session = open(&backend, clean("a")).await;
    session.publish(retained("t/1", "own", QoS::AtLeastOnce)).unwrap();
    let will =
        Will { message: retained("t/2", "own will", QoS::AtLeastOnce), ..will("", Duration::ZERO).unwrap() };
    drop(session);
    drop(open(&backend, OpenRequest { will: Some(will), ..clean("a") }).await);
    open(&backend, clean("b")).await.publish(retained("t/3", "of another", QoS::AtLeastOnce)).unwrap();
    let mut session = open(&backend, clean("a")).await;
    let options = SubscribeOptions { no_local: true, ..qos(QoS::AtLeastOnce) };
    subscribe(&mut session, "t/+", options).await;
    assert_eq!(payloads(&mail(&mut session)), ["of another"]);
    subscribe(&mut session, "#", qos(QoS::AtLeastOnce)).await;
    assert_eq!(payloads(&mail(&mut session)), ["own", "own will", "of another"]);
}

#[tokio::test(start_paused = true)]
async fn a_session_has_a_limit_of_subscriptions() {
    let backend = Backend::start(BackendOptions { subscriptions_per_session: 2, ..options() });
    let mut session = open(&backend, clean("a")).await;
    subscribe(&mut session, "a", qos(QoS::AtMostOnce)).await;
    subscribe(&mut session, "b", qos(QoS::AtMostOnce)).await;
    let refused = session.subscribe(&filter("c"), qos(QoS::AtMostOnce)).await;
    assert_eq!(refused, Err(SubscribeError::TooMany { limit: 2 }));
    subscribe(&mut session, "b", qos(QoS::AtLeastOnce)).await;
    assert!(session.unsubscribe(&filter("a")).await);
    assert!(!session.unsubscribe(&filter("a")).await);
    subscribe(&mut session, "c", qos(QoS::AtMostOnce)).await;
}

#[tokio::test(start_paused = true)]
async fn retained_messages_come_with_a_subscription_as_its_retain_handling_says() {
    let backend = backend();
    backend.publish(retained("t/1", "1", QoS::ExactlyOnce)).unwrap();
    backend.publish(retained("t/2", "2", QoS::AtMostOnce)).unwrap();
    let mut session = open(&backend, clean("a")).await;
    let with = |retain_handling| SubscribeOptions { retain_handling, ..qos(QoS::AtLeastOnce) };
    for (text, handling, expected) in [
        ("t/+", RetainHandling::Send, 2),
        ("t/+", RetainHandling::Send, 2),
        ("t/+", RetainHandling::SendIfNew, 0),
        ("t/#", RetainHandling::SendIfNew, 2),
        ("t/1", RetainHandling::DoNotSend, 0),
        ("$share/g/t/1", RetainHandling::Send, 0),
    ] {
        subscribe(&mut session, text, with(handling)).await;
        assert_eq!(is_waiting(&session), expected == 0, "{text} {handling:?}");
        let mail = mail(&mut session);
        assert_eq!(mail.len(), expected, "{text} {handling:?}");
        assert!(mail.iter().all(|delivery| delivery.retain));
        if let Some(first) = mail.first() {
            assert_eq!(first.qos, QoS::AtLeastOnce);
        }
    }
    assert_eq!(backend.counts().retained, 2);
}

#[tokio::test(start_paused = true)]
async fn a_filter_that_is_subscribed_to_twice_before_anything_is_sent_is_sent_what_is_retained_twice() {
    let backend = Backend::start(BackendOptions { subscriptions_per_session: 3, ..options() });
    backend.publish(retained("t/1", "1", QoS::ExactlyOnce)).unwrap();
    backend.publish(retained("t/2", "2", QoS::ExactlyOnce)).unwrap();
    let mut session = open(&backend, clean("a")).await;
    subscribe(&mut session, "t/+", qos(QoS::AtMostOnce)).await;
    subscribe(&mut session, "t/+", qos(QoS::AtLeastOnce)).await;
    let if_new = SubscribeOptions { retain_handling: RetainHandling::SendIfNew, ..qos(QoS::ExactlyOnce) };
    subscribe(&mut session, "t/+", if_new).await;
    let came = mail(&mut session);
    assert_eq!(payloads(&came), ["1", "2", "1", "2"]);
    let expected = [QoS::AtMostOnce, QoS::AtMostOnce, QoS::AtLeastOnce, QoS::AtLeastOnce];
    assert!(came.iter().map(|delivery| delivery.qos).eq(expected));
    backend.publish(message("t/1", "live", QoS::ExactlyOnce)).unwrap();
    assert_eq!(mail(&mut session)[0].qos, QoS::ExactlyOnce);

    // A client that takes nothing and asks again and again is not owed without a bound.
    for _ in 0..100 {
        subscribe(&mut session, "t/+", qos(QoS::AtMostOnce)).await;
    }
    assert!(mail(&mut session).len() <= 2 * 3);

    subscribe(&mut session, "t/+", qos(QoS::AtMostOnce)).await;
    subscribe(&mut session, "t/+", qos(QoS::AtMostOnce)).await;
    session.unsubscribe(&filter("t/+")).await;
    assert!(mail(&mut session).is_empty());
}

#[tokio::test(start_paused = true)]
async fn more_retained_messages_than_a_window_or_a_queue_holds_arrive_one_window_after_another() {
    let backend = Backend::start(BackendOptions { queued_messages: 5, ..options() });
    for n in 0..1000 {
        backend.publish(retained(&format!("t/{n}"), "p", QoS::AtLeastOnce)).unwrap();
    }
    let mut session = open(&backend, OpenRequest { receive_maximum: 30, ..persistent("a") }).await;
    subscribe(&mut session, "#", qos(QoS::AtLeastOnce)).await;
    let (mut count, mut next_id) = (0, 1);
    while !is_waiting(&session) {
        let sent = send(&mut session, &mut next_id).len();
        assert!(sent <= 30);
        count += sent;
        let ids: Vec<_> = session.in_flight().map(|sent| sent.packet_id()).collect();
        ids.into_iter().for_each(|id| assert!(session.acknowledged(id)));
        if count == 300 {
            drop(session);
            session = open(&backend, OpenRequest { receive_maximum: 30, ..persistent("a") }).await;
        }
    }
    assert_eq!(count, 1000);
}

#[tokio::test(start_paused = true)]
async fn what_is_retained_comes_behind_what_was_queued_before_the_subscription() {
    let backend = backend();
    let mut session = open(&backend, OpenRequest { receive_maximum: 2, ..persistent("a") }).await;
    subscribe(&mut session, "t", qos(QoS::AtLeastOnce)).await;
    for payload in ["1", "2", "3"] {
        backend.publish(message("t", payload, QoS::AtLeastOnce)).unwrap();
    }
    backend.publish(retained("t", "4", QoS::AtLeastOnce)).unwrap();
    // One that may be sent whatever is in flight, and one that may not.
    subscribe(&mut session, "+", qos(QoS::AtMostOnce)).await;
    subscribe(&mut session, "#", qos(QoS::AtLeastOnce)).await;
    backend.publish(message("t", "5", QoS::AtLeastOnce)).unwrap();
    let (mut sent, mut next_id) = (Vec::new(), 1);
    while !is_waiting(&session) {
        sent.extend(send(&mut session, &mut next_id));
        assert!(is_waiting(&session) || sent.len() > 5, "{:?}", payloads(&sent));
        let ids: Vec<_> = session.in_flight().map(|sent| sent.packet_id()).collect();
        ids.into_iter().for_each(|id| assert!(session.acknowledged(id)));
    }
    assert_eq!(payloads(&sent), ["1", "2", "3", "4", "4", "4", "5"]);
    assert_eq!(
        sent.iter().map(|delivery| delivery.retain).collect::<Vec<_>>(),
        [false, false, false, false, true, true, false]
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_retained_is_not_delivered() {
    let backend = Backend::start(BackendOptions { retained_messages: 1, ..options() });
    let mut session = open(&backend, clean("a")).await;
    subscribe(&mut session, "#", qos(QoS::AtLeastOnce)).await;
    backend.publish(retained("a", "p", QoS::AtLeastOnce)).unwrap();
    let refused = backend.publish(retained("b", "p", QoS::AtLeastOnce));
    assert_eq!(refused.unwrap_err(), PublishError::RetainedFull { limit: 1 });
    let refused = backend.publish(retained("$b", "p", QoS::AtMostOnce));
    assert_eq!(refused.unwrap_err(), PublishError::RetainedReserved);
    assert_eq!(mail(&mut session).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn unacknowledged_messages_of_a_group_go_to_another_member_when_theirs_vanishes() {
    for request in [clean("a"), persistent("a")] {
        let backend = backend();
        let mut first = open(&backend, request).await;
        subscribe(&mut first, "$share/g/t", qos(QoS::ExactlyOnce)).await;
        let payloads_sent = [("1", QoS::AtLeastOnce), ("2", QoS::ExactlyOnce), ("3", QoS::AtLeastOnce)];
        for (payload, qos) in payloads_sent {
            backend.publish(message("t", payload, qos)).unwrap();
        }
        assert_eq!(send(&mut first, &mut 1).len(), 3);
        backend.publish(message("t", "queued", QoS::AtLeastOnce)).unwrap();
        assert!(first.acknowledged(1));
        let mut second = open(&backend, clean("b")).await;
        subscribe(&mut second, "$share/g/t", qos(QoS::AtLeastOnce)).await;
        drop(first);
        // QoS 2 that was sent stays with the one who may have it already.
        assert_eq!(payloads(&mail(&mut second)), ["3", "queued"]);
        let first = backend.open(persistent("a")).await.unwrap();
        assert_eq!(first.session.in_flight().count(), usize::from(first.session_present));
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_queues_for_an_offline_member_only_if_none_is_online() {
    let backend = backend();
    let mut offline = open(&backend, persistent("a")).await;
    subscribe(&mut offline, "$share/g/t", qos(QoS::AtLeastOnce)).await;
    drop(offline);
    backend.publish(message("t", "1", QoS::AtLeastOnce)).unwrap();
    let mut online = open(&backend, clean("b")).await;
    subscribe(&mut online, "$share/g/t", qos(QoS::AtLeastOnce)).await;
    backend.publish(message("t", "2", QoS::AtLeastOnce)).unwrap();
    backend.publish(message("t", "3", QoS::AtLeastOnce)).unwrap();
    assert_eq!(payloads(&mail(&mut online)), ["2", "3"]);
    drop(online);
    backend.publish(message("t", "4", QoS::AtLeastOnce)).unwrap();
    let mut back = open(&backend, persistent("a")).await;
    assert_eq!(payloads(&mail(&mut back)), ["1", "4"]);
}

#[tokio::test(start_paused = true)]
async fn connections_are_ended_by_client_id_by_certificate_and_all_together() {
    let backend = backend();
    let (one, two) = (CertificateId::of_der(b"one"), CertificateId::of_der(b"two"));
    let with =
        |client_id: &str, certificate| OpenRequest { certificate: Some(certificate), ..clean(client_id) };
    let a = open(&backend, with("a", one)).await;
    let b = open(&backend, with("b", one)).await;
    let c = open(&backend, with("c", two)).await;
    assert_eq!(backend.disconnect_certificate(one, SessionEnd::CertificateInactive), 2);
    assert_eq!(
        (a.ended(), b.ended(), c.ended()),
        (Some(SessionEnd::CertificateInactive), Some(SessionEnd::CertificateInactive), None)
    );
    drop((a, b));
    assert_eq!(backend.disconnect_certificate(one, SessionEnd::CertificateInactive), 0);
    assert!(!backend.disconnect("a", SessionEnd::NotAuthorised));
    assert!(!backend.disconnect_client("c", one, SessionEnd::NotAuthorised));
    assert!(!backend.disconnect_client("other", two, SessionEnd::NotAuthorised));
    assert_eq!(c.ended(), None);
    assert_eq!(backend.disconnect_all(SessionEnd::ShuttingDown), 1);
    assert!(backend.disconnect("c", SessionEnd::NotAuthorised));
    assert!(backend.disconnect_client("c", two, SessionEnd::NotAuthorised));
    assert_eq!(c.wait_for_mail().await, Wake::Ended(SessionEnd::ShuttingDown));
}

#[tokio::test(start_paused = true)]
async fn an_operator_may_prevent_the_will_and_discard_the_session() {
    let backend = backend();
    let mut watcher = open(&backend, clean("watcher")).await;
    subscribe(&mut watcher, "will", qos(QoS::AtLeastOnce)).await;
    let request = OpenRequest { will: will("will", Duration::from_secs(9)), ..persistent("a") };
    for prevent_will in [true, false] {
        let end = SessionEnd::Administrative { prevent_will, clean_session: true };
        let online = open(&backend, request.clone()).await;
        assert!(backend.disconnect("a", end));
        drop(online);
        assert_eq!(mail(&mut watcher).len(), usize::from(!prevent_will));
        drop(open(&backend, request.clone()).await);
        assert!(backend.disconnect("a", end));
        assert_eq!(mail(&mut watcher).len(), usize::from(!prevent_will));
        assert_eq!(backend.counts().offline, 0);
        assert_eq!(backend.local.timers.len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_may_prevent_the_will_also_while_the_connection_is_leaving() {
    let backend = backend();
    let mut watcher = open(&backend, clean("watcher")).await;
    subscribe(&mut watcher, "will", qos(QoS::AtLeastOnce)).await;
    for prevent_will in [true, false] {
        let request = OpenRequest { will: will("will", Duration::from_secs(9)), ..persistent("a") };
        let mut handle = open(&backend, request).await;
        // What was to become of the session was decided before.
        let leaving = Leaving {
            session: Arc::clone(&handle.session),
            kept: std::mem::take(&mut handle.kept),
            certificate: None,
            version: ProtocolVersion::V5,
            will: handle.held.will.take(),
            publish_will: true,
            expiry: HOUR,
        };
        handle.closed = true;
        assert!(backend.disconnect("a", SessionEnd::Administrative { prevent_will, clean_session: true }));
        backend.local.leave(leaving);
        advance(HOUR).await;
        assert_eq!(mail(&mut watcher).len(), usize::from(!prevent_will));
        assert_eq!(backend.counts().offline, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn properties_and_payload_reach_every_subscriber_as_one_allocation() {
    let backend = backend();
    let mut a = open(&backend, clean("a")).await;
    let mut b = open(&backend, clean("b")).await;
    subscribe(&mut a, "t", qos(QoS::AtLeastOnce)).await;
    subscribe(&mut b, "+", qos(QoS::AtLeastOnce)).await;
    let properties = PublishProperties {
        content_type: Some("text/plain".into()),
        user_properties: vec![("k".into(), "v".into()), ("k".into(), "w".into())],
        ..PublishProperties::default()
    };
    let with_properties =
        Message { properties: Some(Box::new(properties.clone())), ..message("t", "p", QoS::AtLeastOnce) };
    backend.publish(with_properties).unwrap();
    let (at_a, at_b) = (mail(&mut a), mail(&mut b));
    assert!(Arc::ptr_eq(&at_a[0].message, &at_b[0].message));
    assert_eq!(at_a[0].message.properties.as_deref(), Some(&properties));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wakeup_is_lost_between_publishers_and_a_subscriber() {
    const PUBLISHERS: usize = 4;
    const MESSAGES: usize = 5000;
    let backend = Backend::start(BackendOptions { queued_messages: usize::MAX, ..options() });
    let mut session = open(&backend, clean("subscriber")).await;
    subscribe(&mut session, "t/#", qos(QoS::AtMostOnce)).await;
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|n| {
            let backend = backend.clone();
            tokio::spawn(async move {
                for _ in 0..MESSAGES {
                    backend.publish(message(&format!("t/{n}"), "p", QoS::AtMostOnce)).unwrap();
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let (mut count, mut mail) = (0, Vec::new());
    while count < PUBLISHERS * MESSAGES {
        assert_eq!(session.wait_for_mail().await, Wake::Mail);
        session.drain(7, &mut mail);
        count += mail.len();
        mail.clear();
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_connections_with_few_client_ids_leaves_nothing_behind() {
    let backend = backend();
    let mut storm = Vec::new();
    for n in 0..400_usize {
        let backend = backend.clone();
        storm.push(tokio::spawn(async move {
            let client_id = format!("c{}", n % 5);
            let request = if n % 3 == 0 { clean(&client_id) } else { persistent(&client_id) };
            let Ok(opened) = backend.open(request).await else { return };
            let mut session = opened.session;
            subscribe(&mut session, "$share/g/t", qos(QoS::AtLeastOnce)).await;
            subscribe(&mut session, "t/+", qos(QoS::AtLeastOnce)).await;
            session.publish(message("t/x", "p", QoS::AtLeastOnce)).unwrap();
            if n % 2 == 0 {
                while let Wake::Mail = session.wait_for_mail().await {
                    let mut next_id = 1;
                    send(&mut session, &mut next_id);
                    (1..next_id).for_each(|id| assert!(session.acknowledged(id)));
                }
            }
        }));
    }
    // Whoever still holds a session is told to go, until all have.
    while storm.iter().any(|connection| !connection.is_finished()) {
        backend.disconnect_all(SessionEnd::ShuttingDown);
        tokio::task::yield_now().await;
    }
    for n in 0..5 {
        let end = SessionEnd::Administrative { prevent_will: false, clean_session: true };
        backend.disconnect(&format!("c{n}"), end);
    }
    assert_nothing_is_left(&backend);
}

/// On one processor, with many that can always go on, and a task that goes round the run queue.
#[test]
fn very_many_that_expire_at_once_let_others_have_their_turn() {
    const MANY: usize = 8 * PART;
    let runtime = crate::runtime::builder().worker_threads(1).build().unwrap();
    let most = runtime.block_on(runtime.spawn(async {
        let backend = backend();
        let soon = Duration::from_nanos(1);
        let mut sessions = Vec::new();
        for number in 0..MANY {
            let request = OpenRequest { session_expiry: soon, ..persistent(&number.to_string()) };
            sessions.push(open(&backend, request).await);
        }
        for _ in 0..1000 {
            tokio::spawn(async {
                loop {
                    go_to_the_end().await;
                }
            });
        }
        drop(sessions);
        let (mut left, mut most) = (MANY, 0);
        while left > 0 {
            go_to_the_end().await;
            let now = backend.counts().offline;
            most = most.max(left - now);
            left = now;
        }
        most
    }));
    let most = most.unwrap();
    runtime.shutdown_background();
    assert!(most <= PART, "{most}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_is_small() {
    use crate::session::{Kept, Session};
    assert!(size_of::<Session>() <= 144, "{}", size_of::<Session>());
    assert!(size_of::<Kept>() <= 176, "{}", size_of::<Kept>());
    assert!(size_of::<SessionHandle>() <= 288, "{}", size_of::<SessionHandle>());
}
