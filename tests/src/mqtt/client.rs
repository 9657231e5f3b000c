//! A client that does what a test says and nothing else.
use super::fields::text;
use super::property::block;
use super::{Connect, Packet, Property, Publish, V5};
use crate::wire::{self, PINGREQ, Wire};
use crate::{Broker, Frame};
use anyhow::{Context, bail, ensure};
use jitp_certs::Issued;
use std::collections::VecDeque;

/// A connection whose packets are all sent and read by the test.
pub struct Client {
    wire: Wire,
    level: u8,
    last_id: u16,
    /// What CONNACK said.
    connack: Option<u8>,
    /// Messages that came while something else was waited for.
    inbox: VecDeque<Publish>,
}

/// How a broker ended a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// DISCONNECT's reason code, or that of a CONNACK; `None`: without a word.
    pub code: Option<u8>,
    /// Its properties.
    pub properties: Vec<Property>,
}

impl Client {
    /// TLS, and no CONNECT yet.
    pub async fn open(broker: &Broker, who: &Issued, level: u8) -> anyhow::Result<Self> {
        let wire = Wire::open(broker, who).await?;
        Ok(Self { wire, level, last_id: 0, connack: None, inbox: VecDeque::new() })
    }

    /// Sends CONNECT and reads CONNACK, whatever it says.
    pub async fn try_connect(
        broker: &Broker,
        who: &Issued,
        connect: &Connect,
    ) -> anyhow::Result<(Self, Packet)> {
        let mut client = Self::open(broker, who, connect.level).await?;
        client.send(&connect.encode()).await?;
        let connack = client.next().await?;
        Ok((client, connack))
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.wire.send(bytes).await
    }

    /// The next packet, whatever it is; fails when the broker closes.
    pub async fn next(&mut self) -> anyhow::Result<Packet> {
        let frame = self.wire.receive().await?.context("the broker closed the connection")?;
        self.decode(&frame)
    }

    /// Only CONNACK 0 is followed by anything, and only once there is one.
    fn decode(&mut self, frame: &Frame) -> anyhow::Result<Packet> {
        let packet = Packet::decode(frame, self.level).with_context(|| format!("{frame:x?}"))?;
        match &packet {
            Packet::Connack { code, .. } => {
                ensure!(self.connack.is_none(), "another CONNACK: {packet:?}");
                self.connack = Some(*code);
            }
            _ => ensure!(self.connack == Some(0), "{packet:?} after CONNACK {:?}", self.connack),
        }
        Ok(packet)
    }

    /// The next packet that is no message; messages are kept for [`Client::take`].
    async fn answer(&mut self) -> anyhow::Result<Packet> {
        loop {
            match self.next().await? {
                Packet::Publish(publish) => self.inbox.push_back(publish),
                other => return Ok(other),
            }
        }
    }

    /// Waits until the broker closes; everything but CONNACK and DISCONNECT is passed over.
    pub async fn closed(&mut self) -> anyhow::Result<Closed> {
        let mut closed = Closed { code: None, properties: Vec::new() };
        while let Some(frame) = self.wire.receive().await? {
            ensure!(closed.code.is_none(), "{frame:?} after {closed:?}");
            match self.decode(&frame)? {
                Packet::Connack { code, properties, .. } | Packet::Disconnect { code, properties } => {
                    closed = Closed { code: Some(code), properties };
                }
                _ => {}
            }
        }
        Ok(closed)
    }

    /// Sends something that ends the connection.
    pub async fn ends_by(&mut self, bytes: &[u8]) -> anyhow::Result<Option<u8>> {
        self.send(bytes).await?;
        Ok(self.closed().await?.code)
    }

    /// A packet id that was not used yet.
    pub fn packet_id(&mut self) -> u16 {
        self.last_id += 1;
        self.last_id
    }

    /// SUBSCRIBE with these filters and options; returns SUBACK's codes.
    pub async fn subscribe_with(
        &mut self,
        properties: &[Property],
        filters: &[(&str, u8)],
    ) -> anyhow::Result<Vec<u8>> {
        let id = self.packet_id();
        let filters = filters.iter().flat_map(|(filter, options)| [text(filter), vec![*options]].concat());
        let body = [id.to_be_bytes().to_vec(), self.block(properties), filters.collect()].concat();
        self.send(&wire::packet(0x82, &body)).await?;
        self.codes(9, id).await
    }

    /// SUBSCRIBE with one filter; returns its code.
    pub async fn try_subscribe(&mut self, filter: &str, options: u8) -> anyhow::Result<u8> {
        let codes = self.subscribe_with(&[], &[(filter, options)]).await?;
        codes.first().copied().context("a SUBACK without codes")
    }

    /// SUBSCRIBE with one filter, which is granted as asked for.
    pub async fn subscribe(&mut self, filter: &str, options: u8) -> anyhow::Result<()> {
        let code = self.try_subscribe(filter, options).await?;
        ensure!(code == options & 3, "{filter} is answered {code:#x}");
        Ok(())
    }

    /// UNSUBSCRIBE; returns UNSUBACK's codes, in MQTT 3.1.1 none.
    pub async fn unsubscribe(&mut self, filters: &[&str]) -> anyhow::Result<Vec<u8>> {
        let id = self.packet_id();
        let filters = filters.iter().flat_map(|filter| text(filter));
        let body = [id.to_be_bytes().to_vec(), self.block(&[]), filters.collect()].concat();
        self.send(&wire::packet(0xa2, &body)).await?;
        self.codes(11, id).await
    }

    fn block(&self, properties: &[Property]) -> Vec<u8> {
        if self.level == V5 { block(properties) } else { Vec::new() }
    }

    async fn codes(&mut self, expected: u8, id: u16) -> anyhow::Result<Vec<u8>> {
        match self.answer().await? {
            Packet::Codes { kind, packet_id, codes, .. } if kind == expected && packet_id == id => Ok(codes),
            other => bail!("{other:?} instead of {expected} for {id}"),
        }
    }

    /// Publishes a message to the end, with a packet id of its own unless it has one; returns the first answer's code.
    pub async fn publish(&mut self, mut publish: Publish) -> anyhow::Result<u8> {
        if publish.qos > 0 && publish.packet_id == 0 {
            publish.packet_id = self.packet_id();
        }
        let id = publish.packet_id;
        self.send(&publish.encode(self.level)).await?;
        match publish.qos {
            0 => Ok(0),
            1 => self.acknowledged(4, id).await,
            _ => {
                let code = self.acknowledged(5, id).await?;
                if code < 0x80 {
                    self.acknowledge(6, id).await?;
                    let completed = self.acknowledged(7, id).await?;
                    ensure!(completed == 0, "PUBCOMP {completed:#x}");
                }
                Ok(code)
            }
        }
    }

    /// Waits for PUBACK 4, PUBREC 5, PUBREL 6 or PUBCOMP 7; returns its code.
    pub async fn acknowledged(&mut self, expected: u8, id: u16) -> anyhow::Result<u8> {
        match self.answer().await? {
            Packet::Answer { kind, packet_id, code, .. } if kind == expected && packet_id == id => Ok(code),
            other => bail!("{other:?} instead of {expected} for {id}"),
        }
    }

    /// Sends PUBACK 4, PUBREC 5, PUBREL 6 or PUBCOMP 7.
    pub async fn acknowledge(&mut self, kind: u8, id: u16) -> anyhow::Result<()> {
        let flags = if kind == 6 { 2 } else { 0 };
        self.send(&wire::packet(kind << 4 | flags, &id.to_be_bytes())).await
    }

    /// The next message, not acknowledged.
    pub async fn take(&mut self) -> anyhow::Result<Publish> {
        if let Some(publish) = self.inbox.pop_front() {
            return Ok(publish);
        }
        match self.next().await? {
            Packet::Publish(publish) => Ok(publish),
            other => bail!("{other:?} instead of a message"),
        }
    }

    /// The next message, acknowledged to the end.
    pub async fn message(&mut self) -> anyhow::Result<Publish> {
        let publish = self.take().await?;
        match publish.qos {
            0 => {}
            1 => self.acknowledge(4, publish.packet_id).await?,
            _ => {
                self.acknowledge(5, publish.packet_id).await?;
                self.acknowledged(6, publish.packet_id).await?;
                self.acknowledge(7, publish.packet_id).await?;
            }
        }
        Ok(publish)
    }

    /// The payloads of the next messages, acknowledged to the end.
    pub async fn texts(&mut self, count: usize) -> anyhow::Result<Vec<String>> {
        let mut texts = Vec::new();
        for _ in 0..count {
            texts.push(self.message().await?.text());
        }
        Ok(texts)
    }

    /// Nothing has come: what was in the session's queue when the first PINGREQ was read comes before the second PINGRESP.
    pub async fn nothing(&mut self) -> anyhow::Result<()> {
        for _ in 0..2 {
            self.send(&PINGREQ).await?;
            let answer = self.answer().await?;
            ensure!(answer == Packet::Pingresp, "{answer:?}");
        }
        ensure!(self.inbox.is_empty(), "there is {:?}", self.inbox);
        Ok(())
    }

    /// DISCONNECT, and the broker closes.
    pub async fn disconnect(mut self) -> anyhow::Result<()> {
        let code = self.ends_by(&wire::DISCONNECT).await?;
        ensure!(code.is_none(), "answered {code:x?}");
        Ok(())
    }
}
