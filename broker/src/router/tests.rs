use super::*;
use crate::message::QoS;
use crate::topic::TopicLimits;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

const LIMITS: TopicLimits = TopicLimits { bytes: 256, levels: 32 };

#[derive(Clone, Copy, Debug)]
struct Client(u64, Standing);

impl Keyed for Client {
    fn key(&self) -> u64 {
        self.0
    }
}

impl Subscriber for Client {
    fn standing(&self) -> Standing {
        self.1
    }
}

fn online(id: u64) -> Client {
    Client(id, Standing::Online)
}

fn filter(text: &str) -> Filter {
    Filter::parse(text, LIMITS).unwrap()
}

fn subscription(client: Client) -> Subscription<Client> {
    Subscription {
        subscriber: client,
        identifier: None,
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
    }
}

fn matched(router: &Router<Client>, topic: &str) -> Vec<u64> {
    collected(router, topic, None).few.iter().map(Keyed::key).collect()
}

/// All of them, in one piece.
fn collected(router: &Router<Client>, topic: &str, publisher: Option<u64>) -> Matches<Client> {
    let mut matches = Matches::within(Vec::new(), publisher);
    router.collect(topic, &mut matches);
    matches.gather();
    matches
}

#[test]
fn a_filter_and_a_topic_match_in_the_router_as_they_do_alone() {
    let names = ["", "a", "b", "$a", "ä", "a b"];
    let mut texts = BTreeSet::new();
    for first in names {
        texts.insert(first.to_owned());
        for second in names {
            texts.insert(format!("{first}/{second}"));
            for third in names {
                texts.insert(format!("{first}/{second}/{third}"));
            }
        }
    }
    texts.remove("");
    for text in [
        "#", "+", "+/+", "+/#", "a/#", "a/+", "a/+/b", "a/+/#", "+/a/#", "/#", "/+", "+/", "$a/#", "$a/+/b",
        "a//#", "+/+/+", "a/b/#", "ä/+/a b", "$a/#", "+/b", "a", "/", "a/b/a",
    ] {
        let filter = filter(text);
        for hash_matches_parent in [true, false] {
            let router = Router::new(hash_matches_parent);
            router.subscribe(&filter, subscription(online(1)));
            for topic in &texts {
                let is_parent =
                    text.strip_suffix("/#").is_some_and(|parent| crate::topic::matches(parent, topic));
                let expected = filter.matches(topic) && (hash_matches_parent || !is_parent);
                assert_eq!(matched(&router, topic), vec![1; usize::from(expected)], "{text} {topic}");
            }
        }
    }
}

#[test]
fn subscribing_again_replaces_the_options() {
    let router = Router::new(true);
    assert!(!router.subscribe(&filter("a/+"), subscription(online(1))));
    let again = Subscription { qos: QoS::ExactlyOnce, ..subscription(online(1)) };
    assert!(router.subscribe(&filter("a/+"), again));
    let matches = collected(&router, "a/b", None);
    assert_eq!(matches.few.len(), 1);
    assert_eq!(matches.few[0].qos, QoS::ExactlyOnce);
    assert_eq!(router.len(), 1);
}

#[test]
fn overlapping_subscriptions_of_one_client_come_together() {
    let router = Router::new(true);
    for text in ["a/b", "a/+", "#", "$share/group/a/#", "+/b"] {
        for id in 1..=3 {
            router.subscribe(&filter(text), subscription(online(id)));
        }
    }
    assert_eq!(matched(&router, "a/b")[..12], [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
    assert_eq!(matched(&router, "a/b").len(), 13);
}

#[test]
fn no_local_leaves_the_publisher_out() {
    let router = Router::new(true);
    router.subscribe(&filter("a"), Subscription { no_local: true, ..subscription(online(1)) });
    router.subscribe(&filter("a"), Subscription { no_local: true, ..subscription(online(2)) });
    let matches = collected(&router, "a", Some(1));
    assert_eq!(matches.few.iter().map(Keyed::key).collect::<Vec<_>>(), [2]);
}

#[test]
fn each_group_gets_a_message_once_and_its_members_take_turns() {
    let router = Router::new(true);
    for id in 1..=4 {
        router.subscribe(&filter("$share/one/a/+"), subscription(online(id)));
        router.subscribe(&filter("$share/two/a/+"), subscription(online(10 + id)));
    }
    let mut counts = BTreeMap::new();
    for _ in 0..40 {
        let found = matched(&router, "a/b");
        assert_eq!(found.len(), 2);
        for id in found {
            *counts.entry(id).or_insert(0) += 1;
        }
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), vec![10; 8]);
}

#[test]
fn an_offline_member_is_chosen_only_if_none_is_online() {
    let router = Router::new(true);
    let shared = filter("$share/group/a");
    router.subscribe(&shared, subscription(Client(1, Standing::Offline)));
    router.subscribe(&shared, subscription(Client(2, Standing::Gone)));
    assert_eq!(matched(&router, "a"), [1]);
    router.subscribe(&shared, subscription(online(3)));
    for _ in 0..5 {
        assert_eq!(matched(&router, "a"), [3]);
        assert_eq!(router.choose(&shared, 3).map(|chosen| chosen.key()), Some(1));
        assert_eq!(router.choose(&shared, 1).map(|chosen| chosen.key()), Some(3));
    }
    assert!(router.choose(&filter("$share/other/a"), 1).is_none());
    router.unsubscribe(&shared, &online(1));
    router.unsubscribe(&shared, &online(3));
    assert!(matched(&router, "a").is_empty());
}

#[test]
fn a_topic_of_a_hundred_thousand_subscribers_lets_them_come_and_go() {
    let router = Router::new(true);
    let broadcast = filter("fleet/broadcast");
    for id in 0..100_000 {
        router.subscribe(&broadcast, subscription(online(id)));
    }
    assert_eq!(matched(&router, "fleet/broadcast").len(), 100_000);
    for id in 0..100_000 {
        assert!(router.unsubscribe(&broadcast, &online(id)));
    }
    assert_eq!(router.occupied(), (0, 0, 0));
}

#[test]
fn who_was_among_very_many_is_among_few_when_the_others_have_gone() {
    let router = Router::new(true);
    let broadcast = filter("fleet/broadcast");
    (0..=MANY as u64).for_each(|id| assert!(!router.subscribe(&broadcast, subscription(online(id)))));
    let are_many = || {
        let mut matches = Matches::within(Vec::new(), None);
        router.collect("fleet/broadcast", &mut matches);
        (matches.are_many(), matches.few.len())
    };
    assert_eq!(are_many(), (true, 0));
    assert!(router.unsubscribe(&broadcast, &online(7)));
    assert_eq!(are_many(), (false, MANY));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// From an id on so many, each so far apart; whether with No Local.
    #[test]
    fn very_many_are_walked_one_by_one_each_subscriber_at_once_whoever_comes_and_goes_meanwhile(
        crowds in proptest::collection::vec((0..700u64, 0..700u64, 1..4u64, any::<bool>()), 4),
        publisher in proptest::option::of(0..700u64),
        before in 0..900usize,
    ) {
        let router = Router::new(true);
        let filters = ["t", "+", "#", "t/#"].map(filter);
        let crowd = |of: &(u64, u64, u64, bool)| {
            let (first, many, apart, _) = *of;
            (0..many).map(move |number| first + number * apart)
        };
        let mut expected = Vec::new();
        for ((number, filter), of) in (1..).zip(&filters).zip(&crowds) {
            for id in crowd(of) {
                let identifier = NonZeroU32::new(number);
                router.subscribe(filter, Subscription { identifier, no_local: of.3, ..subscription(online(id)) });
                if !of.3 || publisher != Some(id) {
                    expected.push((id, identifier));
                }
            }
        }
        expected.sort_unstable();
        let mut matches = Matches::within(Vec::new(), publisher);
        router.collect("t", &mut matches);
        let most = matches.len();
        if !matches.are_many() {
            prop_assert_eq!(most, expected.len());
            return Ok(());
        }
        let mut walk = matches.take_single();
        prop_assert!(matches.few.is_empty() && walk.len() == most);
        let mut walked: Vec<Match<Client>> = walk.by_ref().take(before).collect();
        for (filter, of) in filters.iter().zip(&crowds) {
            crowd(of).for_each(|id| assert!(router.unsubscribe(filter, &online(id))));
            router.subscribe(filter, subscription(online(1_000_000)));
        }
        walked.extend(walk);
        prop_assert!(walked.is_sorted_by_key(Keyed::key));
        let mut walked: Vec<_> = walked.iter().map(|found| (found.key(), found.identifier)).collect();
        walked.sort_unstable();
        prop_assert!((expected.len()..=expected.len() + 4).contains(&most));
        prop_assert_eq!(walked, expected);
        prop_assert_eq!(collected(&router, "t", publisher).few.len(), 4);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Subscribe(u64, String),
    Unsubscribe(u64, String),
    Publish(String),
}

fn level() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b"), Just("c"), Just(""), Just("$x"), Just("é")]
}

fn topic() -> impl Strategy<Value = String> {
    proptest::collection::vec(level(), 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("a topic is not empty", |topic| !topic.is_empty())
}

fn filter_text() -> impl Strategy<Value = String> {
    let levels = proptest::collection::vec(prop_oneof![3 => level(), 2 => Just("+")], 1..5);
    (levels, any::<bool>(), 0..8u8).prop_map(|(mut levels, hash, group)| {
        if hash {
            levels.push("#");
        }
        match (levels.join("/"), group) {
            (path, _) if path.is_empty() => "#".to_owned(),
            (path, 0) => format!("$share/one/{path}"),
            (path, 1) => format!("$share/two/{path}"),
            (path, _) => path,
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..6u64, filter_text()).prop_map(|(id, text)| Step::Subscribe(id, text)),
        2 => (0..6u64, filter_text()).prop_map(|(id, text)| Step::Unsubscribe(id, text)),
        2 => topic().prop_map(Step::Publish),
    ]
}

proptest! {
    #[test]
    fn the_router_agrees_with_matching_every_filter_one_by_one(steps in proptest::collection::vec(step(), 1..120)) {
        let router = Router::new(true);
        let mut model: BTreeSet<(String, u64)> = BTreeSet::new();
        for step in steps {
            match step {
                Step::Subscribe(id, text) => {
                    let existed = router.subscribe(&filter(&text), subscription(online(id)));
                    prop_assert_eq!(existed, !model.insert((text, id)));
                }
                Step::Unsubscribe(id, text) => {
                    let existed = router.unsubscribe(&filter(&text), &online(id));
                    prop_assert_eq!(existed, model.remove(&(text, id)));
                }
                Step::Publish(topic) => {
                    let matching = model.iter().filter(|(text, _)| filter(text).matches(&topic));
                    let (shared, single): (Vec<_>, Vec<_>) = matching.partition(|(text, _)| filter(text).is_shared());
                    let mut expected: Vec<u64> = single.into_iter().map(|(_, id)| *id).collect();
                    expected.sort_unstable();
                    let groups: BTreeSet<_> = shared.iter().map(|(text, _)| text).collect();
                    let found = collected(&router, &topic, None);
                    let mut singles: Vec<u64> =
                        found.few.iter().filter(|found| found.shared.is_none()).map(Keyed::key).collect();
                    singles.sort_unstable();
                    prop_assert_eq!(singles, expected);
                    let chosen: Vec<_> = found.few.iter().filter_map(|found| {
                        Some((found.shared.as_ref()?.as_str().to_owned(), found.key()))
                    }).collect();
                    prop_assert_eq!(chosen.len(), groups.len());
                    prop_assert!(chosen.iter().all(|chosen| model.contains(chosen)));
                    prop_assert_eq!(router.has_subscriber(&topic), !found.few.is_empty());
                }
            }
            prop_assert_eq!(router.len(), model.len());
        }
        for (text, id) in &model {
            prop_assert!(router.unsubscribe(&filter(text), &online(*id)));
        }
        prop_assert_eq!(router.occupied(), (0, 0, 0));
        prop_assert!(router.wildcards.iter().all(|count| count.load(Ordering::Relaxed) == 0));
    }
}
