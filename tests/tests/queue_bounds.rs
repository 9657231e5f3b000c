//! What waits for a session is bounded, by the session and in all, and what does not fit is counted.
use anyhow::{Context, ensure};
use jitp_certs::Issued;
use jitp_tests::mqtt::{Client, Connect, Property, Will};
use jitp_tests::{BrokerOptions, Plant, Wire, eventually, wire};

/// A keeper that is away, and a sender.
struct Post {
    plant: Plant,
    keeper: Issued,
    sender: Wire,
}

impl Post {
    async fn with(keys: &str) -> anyhow::Result<Self> {
        let plant = Plant::with(BrokerOptions::config(&format!("[broker]\n{keys}\n")))?;
        let keeper = plant.staff.device("keeper")?.issued;
        let mut wire = connect(&plant, &keeper).await?;
        wire.send(&wire::subscribe("kept", 1, 1)).await?;
        wire.receive_kind(9).await?.context("no SUBACK")?;
        wire.send(&wire::DISCONNECT).await?;
        // The connection has ended when the broker closes it.
        while wire.receive().await?.is_some() {}
        let (sender, _) = Wire::connect(&plant.broker, &*plant.staff.device("sender")?, "sender").await?;
        Ok(Self { plant, keeper, sender })
    }

    /// Messages 1 to `count`, each acknowledged; a payload is its number and then blanks up to `length`.
    async fn send(&mut self, count: u16, length: usize) -> anyhow::Result<()> {
        for number in 1..=count {
            let payload = format!("{number:<length$}");
            ensure!(self.sender.publishes("kept", payload.as_bytes()).await?, "no PUBACK");
        }
        Ok(())
    }

    /// Everything that waits for the keeper.
    async fn fetch(&self) -> anyhow::Result<Vec<u16>> {
        let mut keeper = connect(&self.plant, &self.keeper).await?;
        let (mut came, mut quiet) = (Vec::new(), 0);
        // What was in its queue when the first PINGREQ was read comes before the second PINGRESP.
        while quiet < 2 {
            keeper.send(&wire::PINGREQ).await?;
            let before = came.len();
            loop {
                let frame = keeper.receive().await?.context("the keeper was disconnected")?;
                if frame.kind() == 13 {
                    break;
                }
                let (id, payload) =
                    frame.body.get(6..).and_then(<[u8]>::split_first_chunk).context("a short PUBLISH")?;
                came.push(std::str::from_utf8(payload)?.trim_end().parse()?);
                keeper.send(&wire::puback(u16::from_be_bytes(*id))).await?;
            }
            quiet = if came.len() == before { quiet + 1 } else { 0 };
        }
        Ok(came)
    }

    async fn dropped(&self) -> anyhow::Result<f64> {
        self.plant.broker.api()?.metric("jitp_messages_dropped_total", &["reason=\"queue_full\""]).await
    }

    async fn has_stored(&self, name: &str, is_expected: impl Fn(f64) -> bool) -> anyhow::Result<()> {
        eventually(name, || async {
            Ok(is_expected(self.plant.broker.api()?.metric(name, &[]).await?).then_some(()))
        })
        .await
    }
}

async fn connect(plant: &Plant, who: &Issued) -> anyhow::Result<Wire> {
    let packet = wire::connect_persistent("keeper");
    let (wire, answer) = Wire::connect_as(&plant.broker, who, &packet).await?;
    ensure!(answer.connack_code()? == 0, "{answer:?}");
    Ok(wire)
}

#[tokio::test]
async fn at_the_bound_of_its_messages_a_session_keeps_the_oldest_by_default() -> anyhow::Result<()> {
    let mut post = Post::with("max_queued_messages = 5").await?;
    post.send(10, 1).await?;
    assert_eq!(post.dropped().await?, 5.0);
    assert_eq!(post.fetch().await?, [1, 2, 3, 4, 5]);
    Ok(())
}

#[tokio::test]
async fn at_the_bound_of_its_messages_a_session_keeps_the_newest_if_told_so() -> anyhow::Result<()> {
    let mut post = Post::with("max_queued_messages = 5\nqueue_full_drops = \"oldest\"").await?;
    post.send(10, 1).await?;
    assert_eq!(post.dropped().await?, 5.0);
    assert_eq!(post.fetch().await?, [6, 7, 8, 9, 10]);
    Ok(())
}

#[tokio::test]
async fn the_bytes_that_wait_for_a_session_are_bounded() -> anyhow::Result<()> {
    let mut post = Post::with("max_queued_bytes = 10000").await?;
    post.send(20, 1000).await?;
    let came = post.fetch().await?;
    // Each counts with its topic and what a queue needs itself.
    ensure!((7..10).contains(&came.len()), "{came:?}");
    assert_eq!(came, (1..=u16::try_from(came.len())?).collect::<Vec<_>>());
    assert_eq!(post.dropped().await?, 20.0 - came.len() as f64);
    Ok(())
}

#[tokio::test]
async fn what_is_stored_for_all_sessions_together_is_bounded_and_shown() -> anyhow::Result<()> {
    let mut post = Post::with("max_stored_messages = 5").await?;
    post.send(10, 1).await?;
    assert_eq!(post.dropped().await?, 5.0);
    post.has_stored("jitp_session_messages_stored", |messages| messages == 5.0).await?;
    assert_eq!(post.fetch().await?, [1, 2, 3, 4, 5]);
    post.has_stored("jitp_session_messages_stored", |messages| messages == 0.0).await?;
    post.send(1, 1).await?;
    assert_eq!(post.fetch().await?, [1]);

    let mut post = Post::with("max_stored_bytes = 10000").await?;
    post.send(20, 1000).await?;
    post.has_stored("jitp_session_message_bytes_stored", |bytes| (7000.0..=10_000.0).contains(&bytes))
        .await?;
    let came = post.fetch().await?;
    ensure!((7..10).contains(&came.len()), "{came:?}");
    assert_eq!(post.dropped().await?, 20.0 - came.len() as f64);
    post.has_stored("jitp_session_message_bytes_stored", |bytes| bytes == 0.0).await
}

#[tokio::test]
async fn last_wills_of_durable_sessions_count_and_without_room_are_published_but_not_stored()
-> anyhow::Result<()> {
    let post = Post::with("max_stored_bytes = 3000").await?;
    let watching = post.plant.staff.device("watcher")?;
    let (mut watcher, _) =
        Client::try_connect(&post.plant.broker, &watching, &Connect::v5("watcher")).await?;
    watcher.subscribe("wills/#", 1).await?;
    let (mut mortals, text) = (Vec::new(), "gone".repeat(500));
    for name in ["stored", "not-stored"] {
        let who = post.plant.staff.device(name)?;
        let connect = Connect { clean: false, ..Connect::v5(name).with(Property::SessionExpiry(3600)) };
        let connect = connect.will(Will::new(&format!("wills/{name}"), &text));
        let (client, connack) = Client::try_connect(&post.plant.broker, &who, &connect).await?;
        ensure!(connack.connack_code()? == 0, "{connack:?}");
        mortals.push(client);
    }
    post.has_stored("jitp_session_message_bytes_stored", |bytes| (2000.0..=3000.0).contains(&bytes)).await?;
    post.has_stored("jitp_wills_not_stored_total", |wills| wills == 1.0).await?;
    for mortal in mortals {
        drop(mortal);
        assert_eq!(watcher.message().await?.text(), text);
    }
    post.has_stored("jitp_session_message_bytes_stored", |bytes| bytes == 0.0).await
}
