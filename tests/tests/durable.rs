//! Sessions and retained messages when the broker goes away: what was acknowledged is delivered, QoS 2 once.
use anyhow::{Context, ensure};
use jitp_certs::Issued;
use jitp_tests::mqtt::{self, Connect, Property};
use jitp_tests::{Broker, BrokerOptions, Frame, Plant, Wire, eventually, wire};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// An MQTT 3.1.1 client that keeps its session, packet by packet.
struct Client {
    wire: Wire,
    session_present: bool,
}

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Publish {
    topic: String,
    payload: String,
    qos: u8,
    again: bool,
    retained: bool,
    packet_id: u16,
}

impl Client {
    async fn connect(broker: &Broker, who: &Issued, client_id: &str) -> anyhow::Result<Self> {
        let (wire, answer) = Wire::connect_as(broker, who, &wire::connect_persistent(client_id)).await?;
        ensure!(answer.connack_code()? == 0, "{answer:?}");
        Ok(Self { wire, session_present: answer.body.first() == Some(&1) })
    }

    async fn subscribe(&mut self, filter: &str, qos: u8) -> anyhow::Result<()> {
        self.wire.send(&wire::subscribe(filter, qos, 1)).await?;
        let answer = self.wire.receive_kind(9).await?.context("closed without SUBACK")?;
        ensure!(answer.body.get(2) == Some(&qos), "{answer:?}");
        Ok(())
    }

    /// No message has come.
    async fn nothing(&mut self) -> anyhow::Result<()> {
        let heard = self.wire.heard().await?;
        ensure!(heard.iter().all(|frame| frame.kind() != 3), "{heard:?}");
        Ok(())
    }

    /// So many messages, without an acknowledgement of any.
    async fn next(&mut self, count: usize) -> anyhow::Result<Vec<Publish>> {
        let mut all = Vec::new();
        while all.len() < count {
            let frame = self.wire.receive().await?.context("closed")?;
            if frame.kind() == 3 {
                all.push(parse(&frame)?);
            }
        }
        Ok(all)
    }

    /// The next message, acknowledged in full.
    async fn take(&mut self) -> anyhow::Result<Option<Publish>> {
        loop {
            let Some(frame) = self.wire.receive().await? else { return Ok(None) };
            match frame.kind() {
                3 => {
                    let publish = parse(&frame)?;
                    match publish.qos {
                        0 => return Ok(Some(publish)),
                        1 => {
                            self.wire.send(&wire::puback(publish.packet_id)).await?;
                            return Ok(Some(publish));
                        }
                        _ => {
                            self.wire.send(&id_packet(0x50, publish.packet_id)).await?;
                            return Ok(Some(publish));
                        }
                    }
                }
                6 => self.wire.send(&packet_like(0x70, &frame)).await?,
                _ => {}
            }
        }
    }
}

fn id_packet(header: u8, packet_id: u16) -> Vec<u8> {
    wire::packet(header, &packet_id.to_be_bytes())
}

fn packet_like(header: u8, frame: &Frame) -> Vec<u8> {
    wire::packet(header, frame.body.get(..2).unwrap_or_default())
}

fn packet_id(frame: &Frame) -> Option<u16> {
    frame.body.first_chunk::<2>().map(|id| u16::from_be_bytes(*id))
}

fn parse(frame: &Frame) -> anyhow::Result<Publish> {
    let short = "a PUBLISH that is too short";
    let (length, rest) = frame.body.split_first_chunk::<2>().context(short)?;
    let (topic, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).context(short)?;
    let qos = frame.header >> 1 & 3;
    let (packet_id, payload) = match qos {
        0 => (0, rest),
        _ => {
            let (id, rest) = rest.split_first_chunk::<2>().context(short)?;
            (u16::from_be_bytes(*id), rest)
        }
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Publish {
        topic: text(topic),
        payload: text(payload),
        qos,
        again: frame.header & 8 != 0,
        retained: frame.header & 1 != 0,
        packet_id,
    })
}

#[tokio::test]
async fn everything_of_a_session_is_there_after_a_kill() -> anyhow::Result<()> {
    let mut plant = Plant::new()?;
    let (who, other) = (plant.staff.device("keeper")?, plant.staff.device("sender")?);
    let mut keeper = Client::connect(&plant.broker, &who, "keeper").await?;
    ensure!(!keeper.session_present);
    keeper.subscribe("plant/+/state", 2).await?;
    let mut sender = Client::connect(&plant.broker, &other, "sender").await?;
    for (id, payload) in [(1, "first"), (2, "second")] {
        sender.wire.send(&wire::publish("plant/1/state", payload.as_bytes(), 1, id)).await?;
        sender.wire.receive_kind(4).await?.context("no PUBACK")?;
    }
    let came = keeper.next(2).await?;
    assert_eq!(
        came.iter().map(|p| (p.payload.as_str(), p.again)).collect::<Vec<_>>(),
        [("first", false), ("second", false)]
    );
    plant.broker.kill()?;
    let mut plant = plant.restart()?;

    let mut sender = Client::connect(&plant.broker, &other, "sender").await?;
    ensure!(sender.session_present);
    sender.wire.send(&wire::publish("plant/2/state", b"third", 1, 3)).await?;
    sender.wire.receive_kind(4).await?.context("no PUBACK")?;
    plant.broker.kill()?;
    let plant = plant.restart()?;

    let mut keeper = Client::connect(&plant.broker, &who, "keeper").await?;
    ensure!(keeper.session_present);
    for (payload, topic) in
        [("first", "plant/1/state"), ("second", "plant/1/state"), ("third", "plant/2/state")]
    {
        let message = keeper.take().await?.context("closed")?;
        assert_eq!((message.payload.as_str(), message.topic.as_str()), (payload, topic));
        assert!(payload == "third" || message.again, "it was sent before: {message:?}");
    }
    keeper.nothing().await
}

#[tokio::test]
async fn unacknowledged_messages_of_either_qos_come_again_in_their_order_after_a_kill() -> anyhow::Result<()>
{
    const MESSAGES: usize = 40;
    let mut plant = Plant::new()?;
    let (who, other) = (plant.staff.device("keeper")?, plant.staff.device("sender")?);
    let mut keeper = Client::connect(&plant.broker, &who, "keeper").await?;
    keeper.subscribe("ordered", 2).await?;
    let mut sender = Client::connect(&plant.broker, &other, "sender").await?;
    for number in 0..MESSAGES {
        // Runs of different length of one QoS after the other.
        let (qos, id) = (if number % 7 < 3 { 2 } else { 1 }, u16::try_from(number)? + 1);
        sender.wire.send(&wire::publish("ordered", number.to_string().as_bytes(), qos, id)).await?;
        sender.wire.receive_kind(if qos == 2 { 5 } else { 4 }).await?.context("not acknowledged")?;
    }
    let first = keeper.next(MESSAGES).await?;
    plant.broker.kill()?;
    let mut plant = plant.restart()?;
    for _ in 0..2 {
        let mut keeper = Client::connect(&plant.broker, &who, "keeper").await?;
        ensure!(keeper.session_present);
        let again = keeper.next(MESSAGES).await?;
        for (first, again) in first.iter().zip(&again) {
            assert_eq!((&again.payload, again.qos), (&first.payload, first.qos));
            assert!(again.again && (again.qos == 1 || again.packet_id == first.packet_id), "{again:?}");
        }
        plant.broker.kill()?;
        plant = plant.restart()?;
    }
    Ok(())
}

#[tokio::test]
async fn retained_messages_are_there_after_a_kill() -> anyhow::Result<()> {
    let mut plant = Plant::new()?;
    let who = plant.staff.device("state")?;
    let (mut wire, _) = Wire::connect(&plant.broker, &who, "state").await?;
    for (id, topic, payload) in
        [(1, "state/a", "old"), (2, "state/b", "gone"), (3, "state/a", "new"), (4, "state/b", "")]
    {
        let mut packet = wire::publish(topic, payload.as_bytes(), 1, id);
        if let Some(header) = packet.first_mut() {
            *header |= 1;
        }
        wire.send(&packet).await?;
        wire.receive_kind(4).await?.context("no PUBACK")?;
    }
    plant.broker.kill()?;
    let plant = plant.restart()?;
    let (wire, _) = Wire::connect(&plant.broker, &who, "state").await?;
    let mut client = Client { wire, session_present: false };
    client.subscribe("state/#", 1).await?;
    let message = client.take().await?.context("closed")?;
    assert_eq!(
        (message.topic.as_str(), message.payload.as_str(), message.retained),
        ("state/a", "new", true)
    );
    client.nothing().await
}

/// Publishes numbers with a QoS, resending what was not acknowledged, over as many brokers as it takes.
struct Stream {
    qos: u8,
    next: u32,
    /// Packet id → number: PUBLISH is not acknowledged.
    unacknowledged: BTreeMap<u16, u32>,
    /// Packet ids whose PUBREL is not answered.
    unreleased: Vec<u16>,
    acknowledged: Vec<u32>,
}

impl Stream {
    fn new(qos: u8) -> Self {
        Self {
            qos,
            next: 0,
            unacknowledged: BTreeMap::new(),
            unreleased: Vec::new(),
            acknowledged: Vec::new(),
        }
    }

    /// Sends until so many more were acknowledged, or the broker is gone. What is in flight is sent again first.
    async fn run(&mut self, client: &mut Client, more: usize, in_flight: usize) -> anyhow::Result<()> {
        let wanted = self.acknowledged.len() + more;
        // In the order in which they were sent first [MQTT-4.6.0-1]; packet ids tell nothing of it.
        let again: BTreeMap<u32, u16> =
            self.unacknowledged.iter().map(|(id, number)| (*number, *id)).collect();
        for (number, id) in &again {
            let mut packet = wire::publish("stream", number.to_string().as_bytes(), self.qos, *id);
            if let Some(header) = packet.first_mut() {
                *header |= 8;
            }
            client.wire.send(&packet).await?;
        }
        for id in &self.unreleased {
            client.wire.send(&id_packet(0x62, *id)).await?;
        }
        while self.acknowledged.len() < wanted {
            while self.unacknowledged.len() + self.unreleased.len() < in_flight {
                let id = (1..=u16::MAX)
                    .find(|id| !self.unacknowledged.contains_key(id) && !self.unreleased.contains(id))
                    .context("no packet id")?;
                let packet = wire::publish("stream", self.next.to_string().as_bytes(), self.qos, id);
                self.unacknowledged.insert(id, self.next);
                self.next += 1;
                if client.wire.send(&packet).await.is_err() {
                    return Ok(());
                }
            }
            let Some(frame) = client.wire.receive().await? else { return Ok(()) };
            let Some(id) = packet_id(&frame) else { continue };
            match frame.kind() {
                4 => self.acknowledged.extend(self.unacknowledged.remove(&id)),
                5 => {
                    self.acknowledged.extend(self.unacknowledged.remove(&id));
                    if !self.unreleased.contains(&id) {
                        self.unreleased.push(id);
                    }
                    if client.wire.send(&id_packet(0x62, id)).await.is_err() {
                        return Ok(());
                    }
                }
                7 => self.unreleased.retain(|other| *other != id),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The kind of packet that answers a ping.
const PINGRESP: u8 = 13;

/// A subscriber that was there at the beginning and comes back, and one that only comes at the end, through three kills in
/// the middle of a stream.
async fn stream_through_kills(qos: u8) -> anyhow::Result<(Stream, [Vec<u32>; 2])> {
    let mut plant = Plant::new()?;
    let names = ["always", "later"];
    let devices = [plant.staff.device("always")?, plant.staff.device("later")?];
    let sending = plant.staff.device("stream")?;
    for (device, name) in devices.iter().zip(names) {
        Client::connect(&plant.broker, device, name).await?.subscribe("stream", qos).await?;
    }
    let mut stream = Stream::new(qos);
    let mut got = [Vec::new(), Vec::new()];
    // Packet ids that the first subscriber has received with QoS 2 and are not released: it must not take them twice.
    let mut received: BTreeMap<u16, ()> = BTreeMap::new();
    for _ in 0..3 {
        let mut sender = Client::connect(&plant.broker, &sending, "stream").await?;
        let mut always = Client::connect(&plant.broker, &devices[0], names[0]).await?;
        let listening = listen(&mut always, &mut got[0], &mut received);
        let killed = async {
            stream.run(&mut sender, 150, 20).await?;
            // Something is in flight in each direction.
            plant.broker.kill()
        };
        let (listened, killed) = tokio::join!(listening, killed);
        killed?;
        listened?;
        plant = plant.restart()?;
    }
    let mut sender = Client::connect(&plant.broker, &sending, "stream").await?;
    let rest = stream.unacknowledged.len();
    stream.run(&mut sender, rest, 0).await?;
    let last = stream.next - 1;
    for (number, ((device, name), list)) in devices.iter().zip(names).zip(&mut got).enumerate() {
        let mut client = Client::connect(&plant.broker, device, name).await?;
        ensure!(client.session_present, "{name}");
        let mut nothing = BTreeMap::new();
        let received = if number == 0 { &mut received } else { &mut nothing };
        // Everything has come when a ping is answered and nothing came before the answer.
        let mut quiet = false;
        while !(quiet && list.contains(&last)) {
            client.wire.send(&wire::PINGREQ).await?;
            quiet = true;
            while step(&mut client, list, received).await?.context("closed")? != PINGRESP {
                quiet = false;
            }
        }
    }
    Ok((stream, got))
}

/// Takes messages until the broker is gone.
async fn listen(
    client: &mut Client,
    got: &mut Vec<u32>,
    received: &mut BTreeMap<u16, ()>,
) -> anyhow::Result<()> {
    while step(client, got, received).await?.is_some() {}
    Ok(())
}

/// Takes one packet, as a client does that keeps its own state: a QoS 2 message counts once for its packet id. Says of which
/// kind it was; `None`: the broker is gone.
async fn step(
    client: &mut Client,
    got: &mut Vec<u32>,
    received: &mut BTreeMap<u16, ()>,
) -> anyhow::Result<Option<u8>> {
    let Some(frame) = client.wire.receive().await? else { return Ok(None) };
    let kind = frame.kind();
    let answer = match kind {
        3 => {
            let publish = parse(&frame)?;
            let number = publish.payload.parse()?;
            if publish.qos == 1 {
                got.push(number);
                wire::puback(publish.packet_id)
            } else {
                if received.insert(publish.packet_id, ()).is_none() {
                    got.push(number);
                }
                id_packet(0x50, publish.packet_id)
            }
        }
        6 => {
            received.remove(&packet_id(&frame).context("PUBREL without a packet id")?);
            packet_like(0x70, &frame)
        }
        _ => return Ok(Some(kind)),
    };
    Ok(client.wire.send(&answer).await.is_ok().then_some(kind))
}

#[tokio::test]
async fn nothing_that_was_acknowledged_is_lost_when_the_broker_is_killed_in_a_stream_of_qos_1()
-> anyhow::Result<()> {
    let (stream, got) = stream_through_kills(1).await?;
    for got in got {
        let lost: Vec<&u32> = stream.acknowledged.iter().filter(|number| !got.contains(number)).collect();
        ensure!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    }
    Ok(())
}

#[tokio::test]
async fn every_message_of_qos_2_arrives_once_though_the_broker_is_killed_in_the_stream() -> anyhow::Result<()>
{
    let (stream, got) = stream_through_kills(2).await?;
    for mut got in got {
        got.sort_unstable();
        assert_eq!(got, (0..stream.next).collect::<Vec<_>>());
    }
    Ok(())
}

#[tokio::test]
async fn a_session_that_expires_while_the_broker_is_away_is_gone() -> anyhow::Result<()> {
    let config = "[broker]\nsession_expiry_seconds = 1\n";
    let mut plant = Plant::with(BrokerOptions::config(config))?;
    let who = plant.staff.device("short")?;
    let mut client = Client::connect(&plant.broker, &who, "short").await?;
    client.subscribe("x", 1).await?;
    drop(client);
    // It ends with the broker at the latest.
    ensure!(plant.broker.terminate()? == Some(0));
    // Time has to pass for it to expire; more makes no difference.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let plant = plant.restart()?;
    let client = Client::connect(&plant.broker, &who, "short").await?;
    ensure!(!client.session_present);
    Ok(())
}

#[tokio::test]
async fn an_event_of_the_registry_reaches_a_watcher_that_was_away_when_the_broker_was_killed()
-> anyhow::Result<()> {
    let mut plant = Plant::new()?;
    plant.announce_things().await?;
    let who = plant.staff.device("watcher")?;
    let mut watcher = Client::connect(&plant.broker, &who, "watcher").await?;
    watcher.subscribe("$aws/events/thing/#", 1).await?;
    drop(watcher);
    plant.broker.api()?.post("/things/new-thing", &serde_json::json!({})).await?;
    plant.broker.kill()?;
    let plant = plant.restart()?;
    let mut watcher = Client::connect(&plant.broker, &who, "watcher").await?;
    loop {
        let message = watcher.take().await?.context("closed")?;
        if message.topic == "$aws/events/thing/new-thing/created" {
            return Ok(());
        }
    }
}

#[tokio::test]
async fn a_request_waits_over_restarts_and_kills_with_what_it_carries_and_goes_on_expiring()
-> anyhow::Result<()> {
    const LIFETIME: u32 = 600;
    let mut plant = Plant::new()?;
    let who = plant.staff.device("responder")?;
    let responder = Connect::v5("responder").persistent();
    let (mut client, _) = mqtt::Client::try_connect(&plant.broker, &who, &responder).await?;
    client.subscribe("requests", 2).await?;
    client.disconnect().await?;
    let carried = [
        Property::ResponseTopic("answers".to_owned()),
        Property::CorrelationData((0..=255).collect()),
        Property::user("größe", ""),
    ];
    let (mut requester, _) =
        mqtt::Client::try_connect(&plant.broker, &who, &Connect::v5("requester")).await?;
    for qos in [1, 2] {
        let expiry = [Property::MessageExpiry(LIFETIME)];
        let properties = [&carried[..], &expiry[..]].concat();
        requester.publish(mqtt::Publish { properties, ..mqtt::Publish::new("requests", "", qos) }).await?;
    }
    let published = Instant::now();
    plant.broker.terminate()?;
    let mut plant = plant.restart()?;
    plant.broker.kill()?;
    let plant = plant.restart()?;
    // A second is over at least, on the wall's clock as on this one.
    eventually("a second", async || Ok((published.elapsed() >= Duration::from_secs(1)).then_some(())))
        .await?;
    let (mut client, connack) = mqtt::Client::try_connect(&plant.broker, &who, &responder).await?;
    ensure!(connack.session_present(), "{connack:?}");
    let (mut requester, _) =
        mqtt::Client::try_connect(&plant.broker, &who, &Connect::v5("requester")).await?;
    requester.subscribe("answers", 1).await?;
    for qos in [1, 2] {
        let came = client.message().await?;
        ensure!(came.qos == qos && carried.iter().all(|one| came.properties.contains(one)), "{came:?}");
        let left = came.properties.iter().find_map(|property| match property {
            Property::MessageExpiry(left) => Some(*left),
            _ => None,
        });
        ensure!(left.is_some_and(|left| (1..LIFETIME).contains(&left)), "{came:?}");
        let properties = carried[1..2].to_vec();
        client.publish(mqtt::Publish { properties, ..mqtt::Publish::new("answers", "", 1) }).await?;
        ensure!(requester.message().await?.properties == carried[1..2], "the answer to {came:?}");
    }
    client.nothing().await
}
