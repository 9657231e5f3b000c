//! A message for very many durable sessions: what a kill between two parts of them leaves.
use super::super::fan_out::{AT_ONCE, PASSED_AT_ONCE, UNSTORED_AT_ONCE};
use super::*;
use std::ops::ControlFlow;

const CROWD: usize = 2 * AT_ONCE + 10;

async fn crowd(backend: &Backend) -> Vec<SessionHandle> {
    let mut crowd = Vec::new();
    for number in 0..CROWD {
        crowd.push(backend.open(persistent(&format!("crowd-{number}"))).await.unwrap().session);
    }
    for session in &mut crowd {
        subscribe(session, "to/all", qos(QoS::ExactlyOnce)).await;
    }
    crowd
}

/// What each of them has got in all, when everybody is back after a start.
async fn got(plant: &Plant) -> Vec<Vec<String>> {
    let backend = plant.start().await;
    let mut got = Vec::new();
    for session in &mut crowd(&backend).await {
        got.push(texts(&take_all(session).await));
    }
    stop(backend).await;
    got
}

#[tokio::test]
async fn qos_1_is_stored_for_some_at_a_time_and_after_a_kill_in_between_comes_again_to_them_only() {
    let plant = Plant::new().await;
    let backend = plant.start().await;
    let mut handles = crowd(&backend).await;
    let mut publisher = open(&backend, persistent("publisher")).await;
    let published =
        publisher.publish_unannounced(numbered("to/all", "1", QoS::AtLeastOnce), None, false).unwrap();
    assert_eq!(published.matched, CROWD);
    assert!(publisher.deliver_more().is_continue());
    handles.push(publisher);
    kill(&backend, handles).await;
    assert_eq!(plant.rows().await[4], AT_ONCE);

    // The client was told nothing.
    let backend = plant.start().await;
    let mut publisher = open(&backend, persistent("publisher")).await;
    publisher.publish_unannounced(numbered("to/all", "1", QoS::AtLeastOnce), None, false).unwrap();
    while publisher.deliver_more().is_continue() {}
    let last = publisher.unsettled();
    publisher.settled().await.unwrap();
    assert!(last.is_some(), "the last part is waited for, too");
    kill(&backend, [publisher]).await;
    assert_eq!(plant.rows().await[4], CROWD + AT_ONCE);
    let got = got(&plant).await;
    assert_eq!(got.iter().filter(|got| **got == ["1", "1"]).count(), AT_ONCE);
    assert_eq!(got.iter().filter(|got| **got == ["1"]).count(), CROWD - AT_ONCE);
}

#[tokio::test]
async fn qos_2_of_a_durable_session_is_one_batch_and_after_a_kill_all_have_it_once() {
    let plant = Plant::new().await;
    let backend = plant.start().await;
    let mut handles = crowd(&backend).await;
    let mut publisher = open(&backend, persistent("publisher")).await;
    assert!(publisher.begin_exactly_once(7));
    let published =
        publisher.publish_unannounced(numbered("to/all", "1", QoS::ExactlyOnce), Some(7), false).unwrap();
    assert_eq!(published.matched, CROWD);
    assert!(matches!(publisher.deliver_more(), ControlFlow::Break(None)));
    handles.push(publisher);
    kill(&backend, handles).await;

    let backend = plant.start().await;
    let mut publisher = open(&backend, persistent("publisher")).await;
    assert!(!publisher.begin_exactly_once(7), "it is known");
    kill(&backend, [publisher]).await;
    assert!(got(&plant).await.iter().all(|got| *got == ["1"]));
}

#[tokio::test]
async fn a_large_message_is_stored_once_for_all_parts_beside_sessions_of_which_nothing_is_stored() {
    let plant = Plant::new().await;
    let backend = plant.start().await;
    // Those for whom it is stored are far apart.
    let mut first = open(&backend, persistent("first")).await;
    subscribe(&mut first, "to/all", qos(QoS::ExactlyOnce)).await;
    let mut clean_ones = Vec::new();
    for number in 0..PASSED_AT_ONCE + AT_ONCE {
        let mut session = open(&backend, clean(&format!("clean-{number}"))).await;
        subscribe(&mut session, "to/+", qos(QoS::AtLeastOnce)).await;
        clean_ones.push(session);
    }
    let mut handles = crowd(&backend).await;
    handles.push(first);
    let stored_for = handles.len();
    let large = "x".repeat(1000);
    let published = backend.publish(numbered("to/all", &large, QoS::AtLeastOnce)).unwrap();
    assert_eq!(published.matched, stored_for + clean_ones.len());
    backend.stored(published).await.unwrap();
    assert_eq!(recorder(&backend).counts(), (stored_for as u64, recorder(&backend).counts().1, 1));
    for session in handles.iter_mut().chain(&mut clean_ones) {
        assert_eq!(texts(&take_all(session).await), [large.as_str()]);
    }
    assert_eq!(recorder(&backend).counts(), (0, 0, 0), "it went with the last of them");
}

#[tokio::test]
async fn a_will_for_very_many_is_published_once_however_far_its_connection_comes() {
    let plant = Plant::new().await;
    for is_cut_off in [false, true] {
        let backend = plant.start().await;
        let mut clean_ones = Vec::new();
        for number in 0..CROWD {
            let mut session = open(&backend, clean(&format!("clean-{number}"))).await;
            subscribe(&mut session, "to/+", qos(QoS::AtLeastOnce)).await;
            clean_ones.push(session);
        }
        let message = numbered("to/all", "gone", QoS::AtLeastOnce);
        let will = Some(Will { message, message_expiry: None, delay: Duration::ZERO, authority: None });
        let mut publisher = open(&backend, OpenRequest { will, ..persistent("publisher") }).await;
        publisher.publish_will(Close::ABRUPT);
        assert!(publisher.deliver_more().is_continue());
        let have_it = clean_ones.iter().filter(|session| !is_waiting(session)).count();
        assert_eq!(have_it, UNSTORED_AT_ONCE);
        match is_cut_off {
            true => drop(publisher),
            false => {
                while publisher.deliver_more().is_continue() {}
                publisher.close(Close::ABRUPT);
            }
        }
        assert!(clean_ones.iter_mut().all(|session| payloads(&mail(session)) == ["gone"]));
        drop(clean_ones);
        stop(backend).await;
        assert_eq!(wills(&plant).await, 0);
    }
}
