//! The disk is full while sessions wait for their clients: what would have to be stored is refused, everything else goes on, and
//! what was acknowledged is all there afterwards.
use anyhow::{Context, bail, ensure};
use jitp_certs::Issued;
use jitp_tests::{BrokerOptions, Frame, PATIENCE, Plant, SmallDisk, Wire, eventually, wire};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Instant;

/// The disk is what gets full, not the queue, and the registry's cache takes its share of a small disk.
const CONFIG: &str = "[broker]\nmax_queued_messages = 65535\nmax_queued_bytes = 4294967295\n\
                      [registry]\ncache_bytes = 8388608\n";

/// A message is its number and blanks up to this length.
const LENGTH: usize = 60 * 1024;

/// Who takes part.
struct Cast {
    plant: Plant,
    keeper: Issued,
    sender: Issued,
    clean: Issued,
    /// The number of the last message.
    sent: Cell<u16>,
    acknowledged: BTreeSet<u16>,
    refused: BTreeSet<u16>,
}

/// What became of a message at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Nothing yet: PINGRESP came first.
    None,
    Acknowledged,
    Refused(u8),
    /// DISCONNECT with this code, or without any.
    Disconnected(Option<u8>),
}

impl Cast {
    /// With a session that waits for its client, and with messages in it.
    async fn of(options: BrokerOptions) -> anyhow::Result<Self> {
        let plant = Plant::with(options)?;
        let [keeper, sender, clean] =
            ["keeper", "sender", "clean"].map(|name| plant.staff.device(name).map(|device| device.issued));
        let (keeper, sender, clean) = (keeper?, sender?, clean?);
        let (acknowledged, refused) = Default::default();
        let mut cast = Self { plant, keeper, sender, clean, sent: Cell::new(0), acknowledged, refused };
        let mut keeper = cast.keeper().await?;
        keeper.send(&wire::subscribe("kept/#", 1, 1)).await?;
        keeper.receive_kind(9).await?.context("no SUBACK")?;
        drop(keeper);
        cast.goes_on().await?;
        let mut stream = cast.stream(5).await?;
        for _ in 0..20 {
            cast.send(&mut stream, "kept/x", QOS_1).await?;
            cast.is_acknowledged(&mut stream).await?;
        }
        Ok(cast)
    }

    async fn keeper(&self) -> anyhow::Result<Wire> {
        let packet = wire::connect_persistent("keeper");
        let (wire, answer) = Wire::connect_as(&self.plant.broker, &self.keeper, &packet).await?;
        ensure!(answer.connack_code()? == 0, "{answer:?}");
        Ok(wire)
    }

    /// A new connection to send by.
    async fn stream(&self, level: u8) -> anyhow::Result<Wire> {
        let client_id = format!("sender-{}", self.sent.get());
        let packet = wire::connect(level, &client_id);
        let (wire, answer) = Wire::connect_as(&self.plant.broker, &self.sender, &packet).await?;
        ensure!(answer.connack_code()? == 0, "{answer:?}");
        Ok(wire)
    }

    /// Sends the next message, which has its number as packet id.
    async fn send(&self, stream: &mut Wire, topic: &str, flags: u8) -> anyhow::Result<u16> {
        let number = self.sent.get() + 1;
        self.sent.set(number);
        let payload = format!("{number:<LENGTH$}");
        stream.send(&publish(topic, payload.as_bytes(), flags, number)).await?;
        Ok(number)
    }

    /// The answer of the broker to what was sent last, if it has any before PINGRESP.
    async fn answer(&mut self, stream: &mut Wire) -> anyhow::Result<Answer> {
        // It may have gone already, and said why.
        let _ = stream.send(&wire::PINGREQ).await;
        let mut answer = Answer::None;
        loop {
            let Some(frame) = stream.receive().await? else { return Ok(Answer::Disconnected(None)) };
            let code = frame.body.get(2).copied().unwrap_or(0);
            match frame.kind() {
                13 => return Ok(answer),
                14 => return Ok(Answer::Disconnected(frame.body.first().copied())),
                4 | 5 if code >= 0x80 => {
                    self.refused.insert(packet_id(&frame)?);
                    answer = Answer::Refused(code);
                }
                4 => {
                    self.acknowledged.insert(packet_id(&frame)?);
                    answer = Answer::Acknowledged;
                }
                _ => bail!("{frame:?}"),
            }
        }
    }

    /// What needs no disk goes on: QoS 0 to the durable session's topic, retained or not, and QoS 1 among sessions that end with
    /// their connections.
    async fn goes_on(&self) -> anyhow::Result<()> {
        let (mut clean, answer) = Wire::connect5(&self.plant.broker, &self.clean, "clean").await?;
        ensure!(answer.connack_code()? == 0, "{answer:?}");
        clean.send(&wire::packet(0x82, &[0, 1, 0, 0, 4, b'l', b'i', b'v', b'e', 1])).await?;
        clean.receive_kind(9).await?.context("no SUBACK")?;
        clean.send(&wire::publish5("kept/x", b"of QoS 0", 0, 0)).await?;
        clean.send(&publish("live", b"retained", RETAIN, 0)).await?;
        clean.send(&wire::publish5("live", b"among us", 1, 9)).await?;
        let (mut delivered, mut acknowledged) = (0, false);
        while !(delivered == 2 && acknowledged) {
            let frame = clean.receive().await?.context("the clean session was disconnected")?;
            delivered += usize::from(frame.kind() == 3);
            if frame.kind() == 4 {
                ensure!(frame.body.get(2).copied().unwrap_or(0) == 0, "{frame:?}");
                acknowledged = true;
            }
        }
        Ok(())
    }

    /// A message that was taken over just before there was no room, and whose sender has no answer yet. `None`: the store knew
    /// before that there was none, and has refused it.
    async fn until_one_waits(&mut self) -> anyhow::Result<Option<Wire>> {
        let mut stream = self.stream(5).await?;
        loop {
            let number = self.send(&mut stream, "kept/x", QOS_1).await?;
            let answer = within("an answer, or read-only", async {
                loop {
                    match self.answer(&mut stream).await? {
                        Answer::None if self.plant.broker.is_ready().await? => {}
                        answer => return Ok(answer),
                    }
                }
            });
            match answer.await? {
                Answer::None => return Ok(Some(stream)),
                Answer::Refused(0x80) => return Ok(None),
                Answer::Acknowledged => ensure!(number < u16::MAX, "the disk never gets full"),
                other => bail!("message {number}: {other:?}"),
            }
        }
    }

    /// As soon as the store has tried, what would have to be stored is refused at once.
    async fn is_refused(&mut self) -> anyhow::Result<()> {
        let refused = within("a refusal", async {
            loop {
                let mut stream = self.stream(5).await?;
                self.send(&mut stream, "kept/x", QOS_1).await?;
                match self.answer(&mut stream).await? {
                    Answer::Refused(0x80) => return Ok(stream),
                    Answer::None => {}
                    other => bail!("{other:?}"),
                }
            }
        });
        let mut stream = refused.await?;
        for (topic, flags) in
            [("kept/x", QOS_1), ("kept/x", QOS_2), ("nobody", QOS_1 | RETAIN), ("kept/y", QOS_1)]
        {
            self.send(&mut stream, topic, flags).await?;
            let answer = self.answer(&mut stream).await?;
            ensure!(answer == Answer::Refused(0x80), "{topic} {flags:#b}: {answer:?}");
        }
        // MQTT 3.1.1 has no way to say it but to close.
        let mut old = self.stream(4).await?;
        old.send(&wire::publish("kept/x", b"65535", 1, 1)).await?;
        ensure!(self.answer(&mut old).await? == Answer::Disconnected(None), "MQTT 3.1.1");
        self.refused.insert(u16::MAX);
        for packet in [wire::connect_persistent("keeper"), wire::connect_persistent("another")] {
            let (_, answer) = Wire::connect_as(&self.plant.broker, &self.keeper, &packet).await?;
            ensure!(answer.connack_code()? == 3, "a session is opened that cannot be stored: {answer:?}");
        }
        self.goes_on().await
    }

    /// One that sends on behind what waits is not left without an answer.
    async fn is_disconnected(&mut self, stream: Option<Wire>) -> anyhow::Result<()> {
        let Some(mut stream) = stream else { return Ok(()) };
        self.send(&mut stream, "kept/x", QOS_1).await?;
        let answer = self.first_answer(&mut stream).await?;
        ensure!(answer == Answer::Disconnected(Some(0x97)), "{answer:?}");
        Ok(())
    }

    async fn is_acknowledged(&mut self, stream: &mut Wire) -> anyhow::Result<()> {
        let answer = self.first_answer(stream).await?;
        ensure!(answer == Answer::Acknowledged, "{answer:?}");
        Ok(())
    }

    async fn first_answer(&mut self, stream: &mut Wire) -> anyhow::Result<Answer> {
        within("an answer", async {
            loop {
                match self.answer(stream).await? {
                    Answer::None => {}
                    answer => return Ok(answer),
                }
            }
        })
        .await
    }

    /// Everything that waits for the keeper: all that was acknowledged, nothing that was refused, nothing twice.
    async fn all_is_kept(&self) -> anyhow::Result<()> {
        let mut keeper = self.keeper().await?;
        let (mut came, mut quiet) = (BTreeSet::new(), false);
        let deadline = Instant::now() + PATIENCE;
        // What waits for it may come after the first PINGRESP.
        while !quiet || !self.acknowledged.is_subset(&came) && Instant::now() < deadline {
            keeper.send(&wire::PINGREQ).await?;
            quiet = true;
            loop {
                let frame = keeper.receive().await?.context("the keeper was disconnected")?;
                if frame.kind() == 13 {
                    break;
                }
                quiet = false;
                // The topic has 6 characters.
                let (id, payload) =
                    frame.body.get(8..).and_then(<[u8]>::split_first_chunk).context("a short PUBLISH")?;
                let number = std::str::from_utf8(payload)?.trim_end().parse()?;
                ensure!(came.insert(number), "{number} came twice");
                keeper.send(&wire::puback(u16::from_be_bytes(*id))).await?;
            }
        }
        let lost: Vec<&u16> = self.acknowledged.difference(&came).collect();
        ensure!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let refused: Vec<&u16> = self.refused.intersection(&came).collect();
        ensure!(refused.is_empty(), "refused and delivered: {refused:?}");
        Ok(())
    }

    /// As soon as the store has tried again.
    async fn takes_messages_again(&mut self) -> anyhow::Result<()> {
        let mut stream = self.stream(5).await?;
        let taken = within("an acknowledgement", async {
            loop {
                self.send(&mut stream, "kept/x", QOS_1).await?;
                match self.first_answer(&mut stream).await? {
                    Answer::Acknowledged => return Ok(()),
                    Answer::Refused(0x80) => {}
                    other => bail!("{other:?}"),
                }
            }
        });
        taken.await?;
        self.goes_on().await
    }
}

const RETAIN: u8 = 1;
const QOS_1: u8 = 1 << 1;
const QOS_2: u8 = 2 << 1;

async fn within<T>(what: &str, happens: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let happened = tokio::time::timeout(PATIENCE, happens).await;
    happened.with_context(|| format!("not within {PATIENCE:?}: {what}"))?
}

/// PUBLISH of MQTT 5 with these flags.
fn publish(topic: &str, payload: &[u8], flags: u8, id: u16) -> Vec<u8> {
    let mut packet = wire::publish5(topic, payload, flags >> 1, id);
    if let Some(header) = packet.first_mut() {
        *header |= flags & RETAIN;
    }
    packet
}

fn packet_id(frame: &Frame) -> anyhow::Result<u16> {
    let id = frame.body.first_chunk().context("no packet id")?;
    Ok(u16::from_be_bytes(*id))
}

fn over(disk: &SmallDisk, config: &str) -> BrokerOptions {
    BrokerOptions { data_dir: Some(disk.path().join("data")), ..BrokerOptions::config(config) }
}

#[tokio::test]
async fn below_the_configured_rest_messages_for_durable_sessions_are_refused_until_there_is_room()
-> anyhow::Result<()> {
    let Some(disk) = SmallDisk::of(200)? else { return nothing_is_stored().await };
    let mut cast = Cast::of(over(&disk, CONFIG)).await?;
    disk.fill(150)?;
    let mut waits = cast.until_one_waits().await?;
    cast.is_refused().await?;
    ensure!(!cast.plant.broker.is_ready().await?);
    if let Some(waits) = &mut waits {
        ensure!(cast.answer(waits).await? == Answer::None, "nothing is said of what may still be stored");
    }
    disk.make_room()?;
    if let Some(waits) = &mut waits {
        cast.is_acknowledged(waits).await?;
    }
    eventually("ready again", || async { Ok(cast.plant.broker.is_ready().await?.then_some(())) }).await?;
    cast.takes_messages_again().await?;

    disk.fill(150)?;
    let waits = cast.until_one_waits().await?;
    cast.is_refused().await?;
    cast.is_disconnected(waits).await?;
    disk.make_room()?;
    eventually("ready again", || async { Ok(cast.plant.broker.is_ready().await?.then_some(())) }).await?;
    cast.takes_messages_again().await?;
    cast.plant.broker.kill()?;
    cast.plant = cast.plant.restart()?;
    cast.all_is_kept().await
}

#[tokio::test]
async fn of_a_disk_that_is_full_to_the_last_byte_every_acknowledged_message_comes_back() -> anyhow::Result<()>
{
    let Some(disk) = SmallDisk::of(64)? else { return Ok(()) };
    let mut cast = Cast::of(over(&disk, &format!("{CONFIG}min_free_disk_bytes = 0\n"))).await?;
    disk.fill(64)?;
    let waits = cast.until_one_waits().await?;
    cast.is_refused().await?;
    cast.is_disconnected(waits).await?;
    disk.make_room()?;
    cast.plant.broker.kill()?;
    cast.plant = cast.plant.restart()?;
    cast.all_is_kept().await?;
    cast.takes_messages_again().await
}

/// The same without a disk of its own: the configuration asks for more room than any disk has.
async fn nothing_is_stored() -> anyhow::Result<()> {
    let mut cast = Cast::of(BrokerOptions::config(CONFIG)).await?;
    cast.plant.broker.terminate()?;
    let Plant { broker, factory, staff } = cast.plant;
    let endless = BrokerOptions::config(&format!("{CONFIG}min_free_disk_bytes = {}\n", i64::MAX));
    cast.plant = Plant { broker: broker.restart_with(endless)?, factory, staff };
    ensure!(!cast.plant.broker.is_ready().await?);
    let waits = cast.until_one_waits().await?;
    cast.is_refused().await?;
    cast.is_disconnected(waits).await?;
    cast.plant.broker.kill()?;
    let Plant { broker, factory, staff } = cast.plant;
    cast.plant = Plant { broker: broker.restart_with(BrokerOptions::config(CONFIG))?, factory, staff };
    cast.all_is_kept().await?;
    cast.takes_messages_again().await
}
