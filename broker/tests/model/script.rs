//! What clients and the broker do, one step after another, and where such scripts come from.
use super::filters::identifier;
use jitp_broker::backend::RetainHandling;
use jitp_broker::message::QoS;
use proptest::prelude::*;
use std::fmt;

/// How many clients there are: few, so that they get into each other's way.
pub const CLIENTS: usize = 4;

/// Published to.
pub const TOPICS: [&str; 8] = ["a", "a/b", "a/b/c", "b", "/a", "a/", "a//b", "$s/a"];

/// Subscribed to. The place in this list, counted from one, is the Subscription Identifier.
pub const FILTERS: [&str; 16] = [
    "#",
    "a",
    "a/b",
    "a/#",
    "a/+",
    "+/b",
    "+/+",
    "+",
    "a/+/c",
    "/+",
    "$s/#",
    "+/#",
    "$share/g/a/#",
    "$share/g/+",
    "$share/h/a/b",
    "$share/h/#",
];

/// With a Subscription Identifier over sockets. No topic matches three of them: of a message with three, rumqttc 0.25 takes the
/// last one for a part of the payload.
const IDENTIFIED: [&str; 5] = ["a", "a/b", "a/#", "a/+/c", "/+"];

/// What happens. A step that makes no sense, like a PUBLISH of a client that is away, is skipped.
#[derive(Clone, PartialEq)]
pub enum Step {
    Connect(Connect),
    Disconnect(Disconnect),
    Subscribe(Subscribe),
    Unsubscribe {
        client: usize,
        filter: usize,
    },
    Publish(Publish),
    /// Many messages in a row, by the broker itself.
    Burst {
        topic: usize,
        qos: QoS,
        count: usize,
    },
    /// Everything that a client has begun to publish is finished.
    Finish {
        client: usize,
    },
    /// A client acknowledges all that it has, and what comes later.
    Acknowledge {
        client: usize,
    },
    /// Seconds pass.
    Wait(u64),
    /// The broker is stopped in order and started again.
    Restart,
    /// The broker is killed and started again.
    Kill,
}

/// CONNECT. If the client is connected, the new connection takes over.
#[derive(Clone, Debug, PartialEq)]
pub struct Connect {
    pub client: usize,
    pub v5: bool,
    pub clean: bool,
    /// Seconds; 3.1.1: any or none.
    pub expiry: u64,
    pub receive_maximum: u16,
    pub acknowledges: Acknowledges,
    pub will: Option<LastWill>,
}

/// How a client treats what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledges {
    Everything,
    /// PUBACK and PUBREC, not PUBCOMP.
    Halfway,
    Nothing,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LastWill {
    pub topic: usize,
    pub qos: QoS,
    pub retain: bool,
    pub delay: u64,
    pub expiry: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Disconnect {
    pub client: usize,
    /// The connection breaks, or the client asks for its will.
    pub with_will: bool,
    /// Session Expiry Interval of DISCONNECT.
    pub expiry: Option<u64>,
    /// The next step follows before anything is stored.
    pub rushed: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe {
    pub client: usize,
    pub filter: usize,
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
    /// With a Subscription Identifier, which there is in MQTT 5 alone.
    pub identified: bool,
}

impl Subscribe {
    /// The Subscription Identifier.
    pub fn identifier(&self) -> Option<u32> {
        self.identified.then(|| identifier(self.filter))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    /// `None`: the broker itself.
    pub client: Option<usize>,
    pub topic: usize,
    pub qos: QoS,
    pub retain: bool,
    pub empty: bool,
    pub expiry: Option<u64>,
    pub until: Until,
    /// The next step follows before anything is stored.
    pub rushed: bool,
}

/// How far the handshake of a QoS 1 or 2 message goes before the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// PUBLISH.
    Sent,
    /// PUBREC.
    Received,
    /// PUBACK or PUBCOMP.
    Done,
}

pub fn is_shared(filter: usize) -> bool {
    FILTERS[filter].starts_with("$share/")
}

/// A script, readable.
#[derive(Clone, PartialEq)]
pub struct Script(pub Vec<Step>);

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.0.iter().enumerate() {
            write!(f, "\n{number:3}. {step:?}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(connect) => {
                let version = if connect.v5 { "5" } else { "3.1.1" };
                let clean = if connect.clean { ", clean" } else { "" };
                write!(
                    f,
                    "c{} connects: MQTT {version}{clean}, expiry {} s",
                    connect.client, connect.expiry
                )?;
                write!(f, ", window {}, acknowledges {:?}", connect.receive_maximum, connect.acknowledges)?;
                if let Some(will) = &connect.will {
                    let kept = if will.retain { ", retained" } else { "" };
                    write!(f, ", will to {} with {:?}{kept}", TOPICS[will.topic], will.qos)?;
                    write!(f, " after {} s, expiry {:?}", will.delay, will.expiry)?;
                }
                Ok(())
            }
            Self::Disconnect(gone) => {
                let how = if gone.with_will { "vanishes" } else { "disconnects" };
                write!(f, "c{} {how}, expiry {:?}{}", gone.client, gone.expiry, rushed(gone.rushed))
            }
            Self::Subscribe(subscribe) => {
                let Subscribe { client, filter, qos, no_local, retain_as_published, retain_handling, .. } =
                    subscribe;
                write!(f, "c{client} subscribes to {} with {qos:?}", FILTERS[*filter])?;
                write!(
                    f,
                    ", no local {no_local}, retain as published {retain_as_published}, {retain_handling:?}"
                )
            }
            Self::Unsubscribe { client, filter } => {
                write!(f, "c{client} unsubscribes from {}", FILTERS[*filter])
            }
            Self::Publish(publish) => {
                match publish.client {
                    Some(client) => write!(f, "c{client}")?,
                    None => write!(f, "the broker")?,
                }
                let kept = if publish.retain { ", retained" } else { "" };
                let empty = if publish.empty { ", empty" } else { "" };
                write!(f, " publishes to {} with {:?}{kept}{empty}", TOPICS[publish.topic], publish.qos)?;
                write!(
                    f,
                    ", expiry {:?}, until {:?}{}",
                    publish.expiry,
                    publish.until,
                    rushed(publish.rushed)
                )
            }
            Self::Burst { topic, qos, count } => {
                write!(f, "the broker publishes {count} messages to {} with {qos:?}", TOPICS[*topic])
            }
            Self::Finish { client } => write!(f, "c{client} finishes what it began to publish"),
            Self::Acknowledge { client } => write!(f, "c{client} acknowledges everything"),
            Self::Wait(seconds) => write!(f, "{seconds} s pass"),
            Self::Restart => write!(f, "the broker is restarted"),
            Self::Kill => write!(f, "the broker is killed and started"),
        }
    }
}

fn rushed(rushed: bool) -> &'static str {
    if rushed { ", and at once:" } else { "" }
}

/// Which steps scripts are made of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Everything but kills.
    Orderly,
    /// With kills in the middle of things.
    Crashing,
    /// What clients over sockets, each of one version of MQTT, can do without waiting for time to pass and without leaving
    /// anything unfinished, but for what is published right before a kill.
    OverSockets,
}

/// Whether a client over a socket speaks MQTT 5.
pub fn speaks_5(client: usize) -> bool {
    client < CLIENTS / 2
}

/// Scripts of up to so many steps, after those that begin with every client connected.
pub fn scripts(kind: Kind, longest: usize) -> impl Strategy<Value = Script> {
    let begin =
        |client| connect(kind).prop_map(move |connect| Step::Connect(of_client(kind, client, connect)));
    let begin: Vec<_> = match kind {
        Kind::OverSockets => (0..CLIENTS).map(begin).collect(),
        Kind::Orderly | Kind::Crashing => Vec::new(),
    };
    (begin, prop::collection::vec(step(kind), 1..longest))
        .prop_map(|(begin, then)| Script(begin.into_iter().chain(then).collect()))
}

fn step(kind: Kind) -> BoxedStrategy<Step> {
    let sockets = kind == Kind::OverSockets;
    let later = if sockets { 0 } else { 1 };
    let common = prop_oneof![
        10 => connect(kind).prop_map(Step::Connect),
        5 => disconnect(kind).prop_map(Step::Disconnect),
        10 => subscribe(kind).prop_map(Step::Subscribe),
        2 => (client(), filter(kind)).prop_map(|(client, filter)| Step::Unsubscribe { client, filter }),
        20 => publish(kind).prop_map(Step::Publish),
    ];
    let broker = match kind {
        Kind::Orderly => Just(Step::Restart).boxed(),
        Kind::Crashing => prop_oneof![1 => Just(Step::Restart), 5 => Just(Step::Kill)].boxed(),
        Kind::OverSockets => prop_oneof![Just(Step::Restart), Just(Step::Kill)].boxed(),
    };
    let count = prop_oneof![4 => 2..30usize, 1 => 120..280usize];
    let burst = (topic(kind), qos(), count).prop_map(|(topic, qos, count)| Step::Burst { topic, qos, count });
    prop_oneof![
        47 => common,
        2 => broker,
        2 * later => burst,
        3 * later => client().prop_map(|client| Step::Finish { client }),
        3 * later => client().prop_map(|client| Step::Acknowledge { client }),
        4 * later => (1..15u64).prop_map(Step::Wait),
    ]
    .boxed()
}

fn client() -> impl Strategy<Value = usize> {
    0..CLIENTS
}

fn topic(kind: Kind) -> impl Strategy<Value = usize> {
    // Clients may not publish to topics that begin with `$`, nor subscribe to them.
    let all = (0..TOPICS.len()).filter(move |topic| may_use(kind, TOPICS[*topic]));
    prop_oneof![3 => 0..3usize, 1 => prop::sample::select(all.collect::<Vec<_>>())]
}

fn filter(kind: Kind) -> impl Strategy<Value = usize> {
    let all = (0..FILTERS.len()).filter(move |filter| may_use(kind, FILTERS[*filter]));
    prop::sample::select(all.collect::<Vec<_>>())
}

/// Which member of a group gets a message cannot be told from outside without its Subscription Identifier.
fn may_use(kind: Kind, name: &str) -> bool {
    kind != Kind::OverSockets || !name.starts_with('$')
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

fn connect(kind: Kind) -> impl Strategy<Value = Connect> {
    let expiry = prop_oneof![2 => Just(0u64), 2 => 1..20u64, 4 => Just(1_000_000)];
    let receive_maximum = prop_oneof![1 => Just(1), 1 => 2..4u16, 4 => Just(u16::MAX)];
    let acknowledges = prop_oneof![
        3 => Just(Acknowledges::Everything),
        1 => Just(Acknowledges::Halfway),
        1 => Just(Acknowledges::Nothing)
    ];
    let will = prop::option::weighted(0.4, will(kind));
    (client(), any::<bool>(), prop::bool::weighted(0.3), expiry, receive_maximum, acknowledges, will)
        .prop_map(move |(client, v5, clean, expiry, receive_maximum, acknowledges, will)| {
            let connect = Connect { client, v5, clean, expiry, receive_maximum, acknowledges, will };
            of_client(kind, client, connect)
        })
}

/// What of a CONNECT this client can say.
fn of_client(kind: Kind, client: usize, connect: Connect) -> Connect {
    let connect = Connect { client, ..connect };
    let connect = if kind == Kind::OverSockets { over_a_socket(connect) } else { connect };
    if connect.v5 { connect } else { of_3_1_1(connect) }
}

fn over_a_socket(connect: Connect) -> Connect {
    Connect {
        v5: speaks_5(connect.client),
        expiry: if connect.expiry == 0 { 0 } else { 1_000_000 },
        receive_maximum: u16::MAX,
        acknowledges: Acknowledges::Everything,
        will: connect.will.map(|will| LastWill { delay: 0, expiry: None, ..will }),
        ..connect
    }
}

fn of_3_1_1(connect: Connect) -> Connect {
    Connect {
        expiry: if connect.clean { 0 } else { 1_000_000 },
        will: connect.will.map(|will| LastWill { delay: 0, expiry: None, ..will }),
        ..connect
    }
}

fn will(kind: Kind) -> impl Strategy<Value = LastWill> {
    let delay = prop_oneof![1 => Just(0u64), 1 => 1..12u64];
    (topic(kind), qos(), prop::bool::weighted(0.3), delay, prop::option::weighted(0.3, 1..8u64)).prop_map(
        |(topic, qos, retain, delay, expiry)| {
            let retain = retain && !TOPICS[topic].starts_with('$');
            LastWill { topic, qos, retain, delay, expiry }
        },
    )
}

fn disconnect(kind: Kind) -> impl Strategy<Value = Disconnect> {
    let expiry = prop::option::weighted(0.2, prop_oneof![Just(0u64), 1..20u64]);
    let rushed = prop::bool::weighted(if kind == Kind::Crashing { 0.5 } else { 0.1 });
    (client(), any::<bool>(), expiry, rushed).prop_map(move |(client, with_will, expiry, rushed)| {
        let expiry = expiry.filter(|_| kind != Kind::OverSockets);
        Disconnect { client, with_will, expiry, rushed }
    })
}

fn subscribe(kind: Kind) -> impl Strategy<Value = Subscribe> {
    let handling = prop_oneof![
        3 => Just(RetainHandling::Send),
        1 => Just(RetainHandling::SendIfNew),
        1 => Just(RetainHandling::DoNotSend)
    ];
    (client(), filter(kind), qos(), prop::bool::weighted(0.25), any::<bool>(), handling).prop_map(
        move |(client, filter, qos, no_local, retain_as_published, retain_handling)| {
            let has_options = kind != Kind::OverSockets || speaks_5(client);
            let retain_handling = if has_options { retain_handling } else { RetainHandling::Send };
            Subscribe {
                client,
                filter,
                qos,
                no_local: no_local && has_options && !is_shared(filter),
                retain_as_published: retain_as_published && has_options,
                retain_handling,
                identified: kind != Kind::OverSockets
                    || (has_options && IDENTIFIED.contains(&FILTERS[filter])),
            }
        },
    )
}

fn publish(kind: Kind) -> impl Strategy<Value = Publish> {
    let until = prop_oneof![1 => Just(Until::Sent), 1 => Just(Until::Received), 4 => Just(Until::Done)];
    let rushed = prop::bool::weighted(if kind == Kind::Crashing { 0.4 } else { 0.1 });
    (
        prop::option::weighted(0.8, client()),
        topic(kind),
        qos(),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.15),
        prop::option::weighted(0.2, 1..15u64),
        until,
        rushed,
    )
        .prop_map(move |(client, topic, qos, retain, empty, expiry, until, rushed)| {
            let sockets = kind == Kind::OverSockets;
            let client = if sockets { Some(client.unwrap_or(0)) } else { client };
            let until = if sockets { Until::Done } else { until };
            let expiry = expiry.filter(|_| !sockets);
            Publish { client, topic, qos, retain, empty: empty && retain, expiry, until, rushed }
        })
}
