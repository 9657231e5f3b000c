//! Plays scripts.
use crate::connection::{Arrived, Connection};
use crate::house::{House, MARKS, STORED, client_id, plain};
use crate::model::script::{CLIENTS, Connect, Disconnect, FILTERS, Publish, Script, Step, Subscribe, TOPICS};
use crate::model::semantics::{Message, Model, Presence, Received};
use anyhow::{Context, anyhow, bail, ensure};
use jitp_broker::message::QoS;
use std::collections::BTreeMap;

/// What the broker's default is, in seconds: longer than a test.
const LONGEST_EXPIRY: u64 = 3600;

pub struct Stage<'a> {
    house: &'a mut House,
    model: Model,
    clients: [Option<Connection>; CLIENTS],
}

impl<'a> Stage<'a> {
    /// An error says at which step the broker did what the model does not.
    pub async fn play(house: &'a mut House, script: &Script) -> anyhow::Result<()> {
        house.clean().await.context("before the first step")?;
        let mut stage = Self { house, model: Model::new(LONGEST_EXPIRY), clients: Default::default() };
        for (number, step) in script.0.iter().enumerate() {
            let next = script.0.get(number + 1);
            stage.step(step, next).await.with_context(|| format!("step {number}, {step:?}"))?;
        }
        stage.finale().await.context("at the end")
    }

    async fn step(&mut self, step: &Step, next: Option<&Step>) -> anyhow::Result<()> {
        match step {
            Step::Connect(connect) => self.connect(connect).await?,
            Step::Disconnect(gone) => self.disconnect(gone).await?,
            Step::Subscribe(subscribe) => self.subscribe(subscribe).await?,
            Step::Unsubscribe { client, filter } => {
                let Some(connection) = &mut self.clients[*client] else { return Ok(()) };
                connection.unsubscribe(FILTERS[*filter]).await?;
                self.model.unsubscribe(*client, *filter);
            }
            Step::Publish(publish) => {
                // What is under way with QoS 2 is more than rumqttc keeps over connections.
                if publish.rushed && publish.qos < QoS::ExactlyOnce && next == Some(&Step::Kill) {
                    self.spare_wills().await?;
                    return self.publish(publish, true).await;
                }
                self.publish(publish, false).await?;
            }
            Step::Restart => self.restart().await?,
            Step::Kill => self.kill().await?,
            Step::Burst { .. } | Step::Finish { .. } | Step::Acknowledge { .. } | Step::Wait(_) => {
                bail!("that is not for clients over sockets")
            }
        }
        self.take_all().await
    }

    async fn connect(&mut self, connect: &Connect) -> anyhow::Result<()> {
        let client = connect.client;
        let will = self.model.announce_will(connect);
        let old = self.clients[client].take();
        let mut connection = self.house.connect(connect, will).await?;
        if let Some(old) = old {
            let late = old.until_lost().await?;
            ensure!(late.iter().all(|message| self.is_ours(message)), "{late:?} for the old connection");
            self.house.heard_of_the_end_of(client).await?;
            self.model.leave(client, true, None);
        }
        let presence = self.model.connect(connect, will);
        match (presence, connection.session_present) {
            (Presence::Yes, false) | (Presence::No, true) => {
                bail!("Session Present is {}, and not {presence:?}", connection.session_present)
            }
            (Presence::Either, present) => self.model.was_present(client, present),
            _ => {}
        }
        connection.listen(&marks_of(client)).await?;
        self.clients[client] = Some(connection);
        Ok(())
    }

    async fn disconnect(&mut self, gone: &Disconnect) -> anyhow::Result<()> {
        let Some(connection) = self.clients[gone.client].take() else { return Ok(()) };
        match gone.with_will {
            true => connection.vanish().await,
            false => connection.disconnect().await?,
        }
        self.house.heard_of_the_end_of(gone.client).await?;
        self.model.leave(gone.client, gone.with_will, None);
        Ok(())
    }

    async fn subscribe(&mut self, subscribe: &Subscribe) -> anyhow::Result<()> {
        let Some(connection) = &mut self.clients[subscribe.client] else { return Ok(()) };
        connection.subscribe(subscribe).await?;
        self.model.subscribe(subscribe);
        Ok(())
    }

    /// `rushed`: nothing is waited for.
    async fn publish(&mut self, publish: &Publish, rushed: bool) -> anyhow::Result<()> {
        let Some(client) = publish.client else { return Ok(()) };
        let Some(connection) = &mut self.clients[client] else { return Ok(()) };
        let number = self.model.announce(Message {
            publisher: Some(client),
            topic: publish.topic,
            qos: publish.qos,
            retain: publish.retain,
            empty: publish.empty,
            expiry: None,
        });
        let payload = if publish.empty { String::new() } else { number.to_string() };
        let topic = TOPICS[publish.topic];
        match rushed {
            true => connection.begin_to_publish(topic, publish.qos, publish.retain, payload).await?,
            false => connection.publish(topic, publish.qos, publish.retain, payload).await?,
        }
        self.model.publish(number);
        Ok(())
    }

    /// The broker is stopped in order and started again.
    async fn restart(&mut self) -> anyhow::Result<()> {
        self.spare_wills().await?;
        self.house.stop()?;
        for client in 0..CLIENTS {
            if self.lose(client).await? {
                self.model.leave(client, true, None);
            }
        }
        self.model.settled();
        self.model.restarted();
        self.house.start().await?;
        self.compare_retained().await
    }

    async fn kill(&mut self) -> anyhow::Result<()> {
        self.spare_wills().await?;
        self.house.kill()?;
        for client in 0..CLIENTS {
            self.lose(client).await?;
        }
        self.house.start().await?;
        let retained = self.house.retained().await?;
        self.model.killed(|topic| retained.get(topic).copied()).map_err(|wrong| anyhow!(wrong))
    }

    /// Whose will would be published when the broker ends says DISCONNECT before: of several such wills nobody knows the order.
    async fn spare_wills(&mut self) -> anyhow::Result<()> {
        for client in 0..CLIENTS {
            if self.clients[client].as_ref().is_some_and(|connection| connection.will) {
                self.disconnect(&Disconnect { client, with_will: false, expiry: None, rushed: false })
                    .await?;
                self.take_all().await?;
            }
        }
        Ok(())
    }

    /// The broker has ended a client's connection. Returns whether it had one.
    async fn lose(&mut self, client: usize) -> anyhow::Result<bool> {
        let Some(connection) = self.clients[client].take() else { return Ok(false) };
        for message in connection.until_lost().await? {
            self.came(client, message)?;
        }
        Ok(true)
    }

    /// Everybody comes back and takes what is left, and then nothing is left.
    async fn finale(&mut self) -> anyhow::Result<()> {
        self.take_all().await?;
        for client in 0..CLIENTS {
            if self.model.has_session(client) {
                self.connect(&plain(client, false)).await?;
                self.take_all().await?;
            }
        }
        self.compare_retained().await?;
        for client in 0..CLIENTS {
            let (with_will, expiry, rushed) = (false, None, false);
            self.disconnect(&Disconnect { client, with_will, expiry, rushed }).await?;
        }
        Ok(())
    }

    /// Everybody has got what there is for them, and everything is stored.
    async fn take_all(&mut self) -> anyhow::Result<()> {
        // What was published is the broker's; with its mark everybody has it; and then the broker knows that they have it.
        self.ask_all().await?;
        let mark = self.house.mark();
        for (client, connection) in online(&mut self.clients) {
            connection.begin_to_mark(&marks_of(client), &mark).await?;
        }
        let mut came = Vec::new();
        for (client, connection) in online(&mut self.clients) {
            let before = connection.until_marked(&marks_of(client), &mark).await?;
            came.extend(before.into_iter().map(|message| (client, message)));
        }
        came.into_iter().try_for_each(|(client, message)| self.came(client, message))?;
        self.ask_all().await?;
        self.house.settle().await?;
        for client in 0..CLIENTS {
            if self.clients[client].is_some() {
                self.model.nothing_more(client).map_err(|wrong| anyhow!(wrong))?;
            }
        }
        self.model.settled();
        Ok(())
    }

    /// Everything that anybody has sent has come to the broker.
    async fn ask_all(&mut self) -> anyhow::Result<()> {
        for (_, connection) in online(&mut self.clients) {
            connection.ask().await?;
        }
        for (_, connection) in online(&mut self.clients) {
            connection.answered().await?;
        }
        Ok(())
    }

    fn came(&mut self, client: usize, message: Arrived) -> anyhow::Result<()> {
        if self.is_ours(&message) {
            return Ok(());
        }
        let Arrived { topic, payload, qos, retain, identifiers } = message;
        let number = match payload.is_empty() {
            true => self.empty_message_due(client, &topic)?,
            false => payload.parse().with_context(|| format!("nobody published {payload:?}"))?,
        };
        let received = Received { number, topic, qos, retain, identifiers };
        self.model.came(client, &received).map_err(|wrong| anyhow!(wrong))
    }

    /// The number of the first message without a payload that is due to a client on a topic: it cannot tell it itself.
    fn empty_message_due(&self, client: usize, topic: &str) -> anyhow::Result<usize> {
        let pending = self.model.sessions[client].iter().flat_map(|session| &session.pending);
        let mut numbers = pending.filter(|due| due.received.topic == topic).map(|due| due.received.number);
        let found = numbers.find(|number| self.model.message(*number).empty);
        found.with_context(|| format!("c{client} got an empty message on {topic}, and none is due"))
    }

    /// Is it a message of the test's own?
    fn is_ours(&self, message: &Arrived) -> bool {
        message.topic == STORED || message.topic.starts_with(MARKS)
    }

    async fn compare_retained(&mut self) -> anyhow::Result<()> {
        let found = self.house.retained().await?;
        let expected: BTreeMap<String, usize> =
            self.model.retained().into_iter().map(|(topic, number)| (topic.to_owned(), number)).collect();
        ensure!(found == expected, "{found:?} is retained, and not {expected:?}");
        Ok(())
    }
}

fn online(clients: &mut [Option<Connection>]) -> impl Iterator<Item = (usize, &mut Connection)> {
    clients.iter_mut().enumerate().filter_map(|(client, connection)| Some((client, connection.as_mut()?)))
}

fn marks_of(client: usize) -> String {
    format!("{MARKS}{}", client_id(client))
}
