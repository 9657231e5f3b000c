//! rumqttc, whichever version of MQTT it speaks: one thing to tell what to do, and one that tells what has happened.
use crate::model::script::{Connect, FILTERS, LastWill, Subscribe, TOPICS};
use anyhow::{Context, bail, ensure};
use jitp_broker::backend::RetainHandling;
use jitp_broker::message::QoS;
use jitp_certs::Issued;
use jitp_tests::{Broker, PATIENCE, wire};
use rumqttc::v5::mqttbytes::v5 as packets5;
use rumqttc::{TlsConfiguration, Transport, v5};
use std::collections::VecDeque;
use std::fmt::Display;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A connection of a client, from CONNACK on.
pub struct Connection {
    pub session_present: bool,
    pub will: bool,
    client: Client,
    happenings: mpsc::UnboundedReceiver<Happening>,
    task: JoinHandle<()>,
    /// Messages that came while something else was waited for.
    inbox: VecDeque<Arrived>,
    /// QoS 2 messages that came and are not released yet.
    unreleased: usize,
}

/// A message as it came.
#[derive(Debug)]
pub struct Arrived {
    pub topic: String,
    pub payload: String,
    pub qos: QoS,
    pub retain: bool,
    /// Subscription Identifiers, in order.
    pub identifiers: Vec<u32>,
}

enum Client {
    V4(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

#[derive(Debug)]
enum Happening {
    Connected {
        session_present: bool,
    },
    Message(Arrived),
    /// PUBREL.
    Released,
    /// SUBACK for one filter, if that is granted.
    Subscribed(Option<QoS>),
    Unsubscribed,
    /// PUBACK or PUBCOMP, or a PUBREC that refuses.
    Acknowledged {
        refused: bool,
    },
    Lost(#[expect(dead_code, reason = "it is read by who reads a failure")] String),
}

impl Connection {
    /// CONNECT, and CONNACK 0. `will`: its payload.
    pub async fn open(
        broker: &Broker,
        who: &Issued,
        client_id: &str,
        connect: &Connect,
        will: Option<usize>,
    ) -> anyhow::Result<Self> {
        let tls = Transport::Tls(TlsConfiguration::Rustls(wire::device_tls(broker, who)?));
        let port = broker.mqtt().port();
        let last = connect.will.as_ref().zip(will.map(|number| number.to_string()));
        let (sender, happenings) = mpsc::unbounded_channel();
        let (client, task) = if connect.v5 {
            let mut options = v5::MqttOptions::new(client_id, "localhost", port);
            options.set_transport(tls).set_clean_start(connect.clean);
            options.set_session_expiry_interval(Some(u32::try_from(connect.expiry)?));
            options.set_connection_timeout(PATIENCE.as_secs());
            let mut network = options.network_options();
            network.set_tcp_nodelay(true);
            options.set_network_options(network);
            if let Some((LastWill { topic, qos, retain, .. }, payload)) = last {
                let will = packets5::LastWill::new(TOPICS[*topic], payload, qos_5(*qos), *retain, None);
                options.set_last_will(will);
            }
            let (client, mut events) = v5::AsyncClient::new(options, 16);
            let next = async move || {
                events.poll().await.map(|event| match event {
                    v5::Event::Incoming(packet) => of_5(packet),
                    v5::Event::Outgoing(_) => None,
                })
            };
            (Client::V5(client), tokio::spawn(tell(sender, next)))
        } else {
            let mut options = rumqttc::MqttOptions::new(client_id, "localhost", port);
            options.set_transport(tls).set_clean_session(connect.clean);
            options.set_keep_alive(Duration::from_secs(60));
            if let Some((LastWill { topic, qos, retain, .. }, payload)) = last {
                options.set_last_will(rumqttc::LastWill::new(TOPICS[*topic], payload, qos_4(*qos), *retain));
            }
            let (client, mut events) = rumqttc::AsyncClient::new(options, 16);
            events.network_options.set_connection_timeout(PATIENCE.as_secs()).set_tcp_nodelay(true);
            let next = async move || {
                events.poll().await.map(|event| match event {
                    rumqttc::Event::Incoming(packet) => of_4(packet),
                    rumqttc::Event::Outgoing(_) => None,
                })
            };
            (Client::V4(client), tokio::spawn(tell(sender, next)))
        };
        let (inbox, will) = (VecDeque::new(), will.is_some());
        let mut connection =
            Self { session_present: false, will, client, happenings, task, inbox, unreleased: 0 };
        match connection.next().await? {
            Happening::Connected { session_present } => connection.session_present = session_present,
            other => bail!("{other:?} instead of CONNACK"),
        }
        Ok(connection)
    }

    /// SUBSCRIBE, and what was asked for is granted.
    pub async fn subscribe(&mut self, subscribe: &Subscribe) -> anyhow::Result<()> {
        let path = FILTERS[subscribe.filter];
        match &self.client {
            Client::V4(client) => client.subscribe(path, qos_4(subscribe.qos)).await?,
            Client::V5(client) => {
                let filter = packets5::Filter {
                    path: path.to_owned(),
                    qos: qos_5(subscribe.qos),
                    nolocal: subscribe.no_local,
                    preserve_retain: subscribe.retain_as_published,
                    retain_forward_rule: match subscribe.retain_handling {
                        RetainHandling::Send => packets5::RetainForwardRule::OnEverySubscribe,
                        RetainHandling::SendIfNew => packets5::RetainForwardRule::OnNewSubscribe,
                        RetainHandling::DoNotSend => packets5::RetainForwardRule::Never,
                    },
                };
                let id = subscribe.identifier().map(|id| id as usize);
                let properties = packets5::SubscribeProperties { id, user_properties: Vec::new() };
                client.subscribe_many_with_properties([filter], properties).await?;
            }
        }
        self.granted(path, subscribe.qos).await
    }

    /// SUBSCRIBE with QoS 1 and no options to a filter that is none of the script's.
    pub async fn listen(&mut self, filter: &str) -> anyhow::Result<()> {
        match &self.client {
            Client::V4(client) => client.subscribe(filter, rumqttc::QoS::AtLeastOnce).await?,
            Client::V5(client) => client.subscribe(filter, v5::mqttbytes::QoS::AtLeastOnce).await?,
        }
        self.granted(filter, QoS::AtLeastOnce).await
    }

    async fn granted(&mut self, filter: &str, qos: QoS) -> anyhow::Result<()> {
        match self.answer().await? {
            Happening::Subscribed(granted) if granted == Some(qos) => Ok(()),
            other => bail!("{other:?} instead of {qos:?} for {filter}"),
        }
    }

    pub async fn unsubscribe(&mut self, filter: &str) -> anyhow::Result<()> {
        self.begin_to_unsubscribe(filter).await?;
        self.answered().await
    }

    async fn begin_to_unsubscribe(&mut self, filter: &str) -> anyhow::Result<()> {
        match &self.client {
            Client::V4(client) => client.unsubscribe(filter).await?,
            Client::V5(client) => client.unsubscribe(filter).await?,
        }
        Ok(())
    }

    /// Publishes a message to its end. That one of QoS 0 has come to the broker is known only later.
    pub async fn publish(
        &mut self,
        topic: &str,
        qos: QoS,
        retain: bool,
        payload: String,
    ) -> anyhow::Result<()> {
        self.begin_to_publish(topic, qos, retain, payload).await?;
        if qos > QoS::AtMostOnce {
            self.acknowledged().await?;
        }
        Ok(())
    }

    /// Hands a message to rumqttc, no more.
    pub async fn begin_to_publish(
        &mut self,
        topic: &str,
        qos: QoS,
        retain: bool,
        payload: String,
    ) -> anyhow::Result<()> {
        match &self.client {
            Client::V4(client) => client.publish(topic, qos_4(qos), retain, payload).await?,
            Client::V5(client) => client.publish(topic, qos_5(qos), retain, payload).await?,
        }
        Ok(())
    }

    async fn acknowledged(&mut self) -> anyhow::Result<()> {
        match self.answer().await? {
            Happening::Acknowledged { refused: false } => Ok(()),
            other => bail!("{other:?} instead of an acknowledgement"),
        }
    }

    /// Asks for something that changes nothing. The answer tells that everything that was sent before has come to the broker.
    pub async fn ask(&mut self) -> anyhow::Result<()> {
        self.begin_to_unsubscribe("nothing").await
    }

    /// Waits for the answer to [`Connection::ask`].
    pub async fn answered(&mut self) -> anyhow::Result<()> {
        match self.answer().await? {
            Happening::Unsubscribed => Ok(()),
            other => bail!("{other:?} instead of UNSUBACK"),
        }
    }

    /// Publishes a mark, to a topic that the client listens to itself.
    pub async fn begin_to_mark(&mut self, topic: &str, mark: &str) -> anyhow::Result<()> {
        self.begin_to_publish(topic, QoS::AtLeastOnce, false, mark.to_owned()).await
    }

    /// Waits for a mark, its acknowledgement, and the release of all that came before it; returns that.
    pub async fn until_marked(&mut self, topic: &str, mark: &str) -> anyhow::Result<Vec<Arrived>> {
        let mut before: Vec<Arrived> = self.inbox.drain(..).collect();
        let (mut is_marked, mut is_acknowledged) = (false, false);
        while !is_marked || !is_acknowledged || self.unreleased > 0 {
            match self.next().await? {
                Happening::Message(message) if message.topic == topic && message.payload == mark => {
                    is_marked = true;
                }
                Happening::Message(message) => before.push(message),
                Happening::Acknowledged { refused: false } => is_acknowledged = true,
                Happening::Released => {}
                other => bail!("{other:?} instead of a mark"),
            }
        }
        Ok(before)
    }

    /// What came before the broker ended the connection.
    pub async fn until_lost(mut self) -> anyhow::Result<Vec<Arrived>> {
        let mut before: Vec<Arrived> = self.inbox.drain(..).collect();
        loop {
            match self.next().await? {
                Happening::Message(message) => before.push(message),
                Happening::Lost(_) => return Ok(before),
                _ => {}
            }
        }
    }

    /// DISCONNECT.
    pub async fn disconnect(mut self) -> anyhow::Result<()> {
        match &self.client {
            Client::V4(client) => client.disconnect().await?,
            Client::V5(client) => client.disconnect().await?,
        }
        let last = self.answer().await?;
        ensure!(matches!(last, Happening::Lost(_)), "{last:?} after DISCONNECT");
        Ok(())
    }

    /// The connection breaks.
    pub async fn vanish(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// The next happening but a message.
    async fn answer(&mut self) -> anyhow::Result<Happening> {
        loop {
            match self.next().await? {
                Happening::Message(message) => self.inbox.push_back(message),
                Happening::Released => {}
                other => return Ok(other),
            }
        }
    }

    async fn next(&mut self) -> anyhow::Result<Happening> {
        let next = timeout(PATIENCE, self.happenings.recv()).await.context("nothing happens")?;
        let happening = next.context("the connection is over already")?;
        match &happening {
            Happening::Message(message) if message.qos == QoS::ExactlyOnce => self.unreleased += 1,
            Happening::Released => self.unreleased = self.unreleased.saturating_sub(1),
            _ => {}
        }
        Ok(happening)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Tells what happens, up to the end of the connection.
async fn tell<E: Display>(
    to: mpsc::UnboundedSender<Happening>,
    mut next: impl AsyncFnMut() -> Result<Option<Happening>, E>,
) {
    loop {
        let (happening, is_last) = match next().await {
            Ok(happening) => (happening, false),
            Err(error) => (Some(Happening::Lost(error.to_string())), true),
        };
        let nobody_listens = happening.is_some_and(|happening| to.send(happening).is_err());
        if is_last || nobody_listens {
            return;
        }
    }
}

fn of_4(packet: rumqttc::Packet) -> Option<Happening> {
    use rumqttc::Packet;
    Some(match packet {
        Packet::ConnAck(connack) => Happening::Connected { session_present: connack.session_present },
        Packet::Publish(publish) => Happening::Message(Arrived {
            topic: publish.topic,
            payload: String::from_utf8_lossy(&publish.payload).into_owned(),
            qos: of_qos(publish.qos as u8),
            retain: publish.retain,
            identifiers: Vec::new(),
        }),
        Packet::PubRel(_) => Happening::Released,
        Packet::SubAck(suback) => Happening::Subscribed(match suback.return_codes[..] {
            [rumqttc::SubscribeReasonCode::Success(qos)] => Some(of_qos(qos as u8)),
            _ => None,
        }),
        Packet::UnsubAck(_) => Happening::Unsubscribed,
        Packet::PubAck(_) | Packet::PubComp(_) => Happening::Acknowledged { refused: false },
        _ => return None,
    })
}

fn of_5(packet: packets5::Packet) -> Option<Happening> {
    use packets5::{Packet, PubAckReason, PubRecReason};
    Some(match packet {
        Packet::ConnAck(connack) => Happening::Connected { session_present: connack.session_present },
        Packet::Publish(publish) => {
            let identifiers = publish.properties.map(|all| all.subscription_identifiers).unwrap_or_default();
            let mut identifiers: Vec<u32> = identifiers.into_iter().map(|id| id as u32).collect();
            identifiers.sort_unstable();
            Happening::Message(Arrived {
                topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                payload: String::from_utf8_lossy(&publish.payload).into_owned(),
                qos: of_qos(publish.qos as u8),
                retain: publish.retain,
                identifiers,
            })
        }
        Packet::PubRel(_) => Happening::Released,
        Packet::SubAck(suback) => Happening::Subscribed(match suback.return_codes[..] {
            [packets5::SubscribeReasonCode::Success(qos)] => Some(of_qos(qos as u8)),
            _ => None,
        }),
        Packet::UnsubAck(_) => Happening::Unsubscribed,
        Packet::PubAck(puback) => Happening::Acknowledged { refused: puback.reason != PubAckReason::Success },
        Packet::PubRec(pubrec) if pubrec.reason != PubRecReason::Success => {
            Happening::Acknowledged { refused: true }
        }
        Packet::PubComp(_) => Happening::Acknowledged { refused: false },
        _ => return None,
    })
}

fn of_qos(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

fn qos_4(qos: QoS) -> rumqttc::QoS {
    match qos {
        QoS::AtMostOnce => rumqttc::QoS::AtMostOnce,
        QoS::AtLeastOnce => rumqttc::QoS::AtLeastOnce,
        QoS::ExactlyOnce => rumqttc::QoS::ExactlyOnce,
    }
}

fn qos_5(qos: QoS) -> v5::mqttbytes::QoS {
    match qos {
        QoS::AtMostOnce => v5::mqttbytes::QoS::AtMostOnce,
        QoS::AtLeastOnce => v5::mqttbytes::QoS::AtLeastOnce,
        QoS::ExactlyOnce => v5::mqttbytes::QoS::ExactlyOnce,
    }
}
