//! A client that behaves well: what it knows, and what it does with what comes.
use super::script::{Acknowledges, CLIENTS, Connect, Disconnect, Subscribe};
use super::seam::Stage;
use super::semantics::{Model, Presence};
use super::translation::{filter, once, received, request, same};
use jitp_broker::backend::{BackendOptions, Close, Opened, SessionEnd, SubscribeOptions};
use jitp_broker::message::{Delivery, QoS};
use jitp_broker::session::{InFlight, SessionHandle, Wake};
use jitp_broker::{Limits, Profile};
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// What a client knows, over connections and restarts of the broker.
#[derive(Default)]
pub struct Client {
    pub connection: Option<Connection>,
    /// QoS 2 messages that came and were not released.
    pub received: BTreeSet<u16>,
    /// What it has published and nobody has acknowledged in full.
    pub outgoing: Vec<Outgoing>,
}

pub struct Outgoing {
    pub packet_id: u16,
    pub number: usize,
    /// PUBREC came.
    pub received: bool,
}

pub struct Connection {
    pub session: SessionHandle,
    pub acknowledges: Acknowledges,
    pub window: usize,
    /// The client may ask for another expiry when it leaves.
    pub persistent: bool,
    /// QoS 2 messages that are not on the wire before their packet ids are stored.
    pub held: Vec<(u16, Delivery)>,
    /// PUBRELs that are not on the wire before PUBREC is stored.
    pub releases: Vec<u16>,
}

impl Stage {
    pub fn connect(&mut self, connect: &Connect) -> Result<(), String> {
        let client = connect.client;
        let will = self.model.announce_will(connect);
        let request = request(connect, will);
        let backend = self.backend();
        let opened = {
            let old = self.clients[client].connection.take();
            let model = &mut self.model;
            self.process.as_ref().unwrap().runtime.block_on(async {
                let mut opening = pin!(backend.open(request));
                if let Some(old) = old {
                    if once(opening.as_mut()).is_ready() {
                        return Err("it did not wait for the connection that has the session".to_owned());
                    }
                    if old.session.ended() != Some(SessionEnd::TakenOver) {
                        return Err("the old connection was not told".to_owned());
                    }
                    old.session.close(Close::ABRUPT);
                    model.leave(client, true, None);
                }
                opening.await.map_err(|error| error.to_string())
            })?
        };
        let presence = self.model.connect(connect, will);
        self.see_retained();
        let Opened { session, session_present, .. } = opened;
        match (presence, session_present) {
            (Presence::Yes, false) | (Presence::No, true) => {
                return Err(format!("Session Present is {session_present}, and not {presence:?}"));
            }
            (Presence::Either, _) => self.model.was_present(client, session_present),
            _ => {}
        }
        let state = &mut self.clients[client];
        if !session_present {
            state.received.clear();
            state.outgoing.clear();
        }
        let window = BackendOptions::new(&Limits::default(), Profile::Standard).receive_maximum;
        state.connection = Some(Connection {
            session,
            acknowledges: connect.acknowledges,
            window: usize::from(connect.receive_maximum.min(window)),
            persistent: connect.expiry > 0 && connect.v5,
            held: Vec::new(),
            releases: Vec::new(),
        });
        self.resend(client)?;
        self.finish(client, true)
    }

    /// What was in flight towards the client comes again first.
    pub fn resend(&mut self, client: usize) -> Result<(), String> {
        let state = &mut self.clients[client];
        let Some(connection) = &mut state.connection else { return Ok(()) };
        let in_flight: Vec<InFlight> = connection.session.in_flight().collect();
        for sent in in_flight {
            match sent {
                InFlight::Release { packet_id } => {
                    state.received.remove(&packet_id);
                    if connection.acknowledges == Acknowledges::Everything {
                        connection.session.acknowledged(packet_id);
                    }
                }
                InFlight::Publish { packet_id, delivery } if delivery.qos == QoS::ExactlyOnce => {
                    connection.held.push((packet_id, delivery));
                }
                InFlight::Publish { packet_id, delivery } => {
                    self.model.came(client, &received(&delivery)?)?;
                    if connection.acknowledges != Acknowledges::Nothing {
                        connection.session.acknowledged(packet_id);
                    }
                }
            }
        }
        Ok(())
    }

    pub fn disconnect(&mut self, gone: &Disconnect) {
        let Some(connection) = self.clients[gone.client].connection.take() else { return };
        let _inside = self.process().runtime.enter();
        let expiry = gone.expiry.filter(|_| connection.persistent);
        connection
            .session
            .close(Close { publish_will: gone.with_will, session_expiry: expiry.map(Duration::from_secs) });
        drop(_inside);
        self.model.leave(gone.client, gone.with_will, expiry);
    }

    pub fn subscribe(&mut self, subscribe: &Subscribe) -> Result<(), String> {
        let Some(connection) = &mut self.clients[subscribe.client].connection else { return Ok(()) };
        let options = SubscribeOptions {
            qos: subscribe.qos,
            no_local: subscribe.no_local,
            retain_as_published: subscribe.retain_as_published,
            retain_handling: subscribe.retain_handling,
            identifier: subscribe.identifier().and_then(NonZeroU32::new),
        };
        let subscribed = self.process.as_ref().unwrap().runtime.block_on(async {
            let subscribed = connection.session.subscribe(&filter(subscribe.filter), options).await;
            connection.session.settled().await.map_err(|error| error.to_string())?;
            subscribed.map_err(|error| error.to_string())
        })?;
        let existed = self.model.subscribe(subscribe);
        same("an existing subscription", subscribed.existed, existed)
    }

    pub fn unsubscribe(&mut self, client: usize, number: usize) -> Result<(), String> {
        let Some(connection) = &mut self.clients[client].connection else { return Ok(()) };
        let removed = self.process.as_ref().unwrap().runtime.block_on(async {
            let removed = connection.session.unsubscribe(&filter(number)).await;
            connection.session.settled().await.map(|()| removed).map_err(|error| error.to_string())
        })?;
        let existed = self.model.unsubscribe(client, number);
        same("an existing subscription", removed, existed)
    }

    pub fn acknowledge(&mut self, client: usize) {
        self.settle();
        let state = &mut self.clients[client];
        let Some(connection) = &mut state.connection else { return };
        connection.acknowledges = Acknowledges::Everything;
        let in_flight: Vec<InFlight> = connection.session.in_flight().collect();
        for sent in in_flight {
            let packet_id = sent.packet_id();
            match sent {
                InFlight::Publish { delivery, .. } if delivery.qos == QoS::ExactlyOnce => {
                    if state.received.contains(&packet_id) {
                        connection.session.received(packet_id);
                        connection.releases.push(packet_id);
                    }
                }
                _ => drop(connection.session.acknowledged(packet_id)),
            }
        }
        self.model.acknowledge(client);
    }

    /// A client takes what there is for it now. Returns how many messages were on their way.
    pub fn take(&mut self, client: usize) -> Result<usize, String> {
        let Some(connection) = &mut self.clients[client].connection else { return Ok(0) };
        let _inside = self.process.as_ref().unwrap().runtime.enter();
        let mut count = 0;
        loop {
            match once(pin!(connection.session.wait_for_mail())) {
                Poll::Ready(Wake::Mail) => {}
                Poll::Ready(Wake::Ended(end)) => return Err(format!("c{client} was ended: {end:?}")),
                Poll::Pending => return Ok(count),
            }
            let mut mail = Vec::new();
            connection.session.drain(100, &mut mail);
            if mail.is_empty() {
                return Ok(count);
            }
            count += mail.len();
            for delivery in mail {
                connection.send(client, delivery, &mut self.model)?;
            }
        }
    }

    /// What was held until it is stored is on the wire, if it is stored. Returns how much that was.
    pub fn release(&mut self) -> Result<usize, String> {
        let mut count = 0;
        for client in 0..CLIENTS {
            let state = &mut self.clients[client];
            let Some(connection) = &mut state.connection else { continue };
            if connection.session.unsettled().is_some() {
                continue;
            }
            for packet_id in std::mem::take(&mut connection.releases) {
                count += 1;
                state.received.remove(&packet_id);
                if connection.acknowledges == Acknowledges::Everything {
                    connection.session.acknowledged(packet_id);
                }
            }
            for (packet_id, delivery) in std::mem::take(&mut connection.held) {
                count += 1;
                if state.received.insert(packet_id) {
                    self.model.came(client, &received(&delivery)?)?;
                }
                if connection.acknowledges != Acknowledges::Nothing {
                    same("a message to receive", connection.session.received(packet_id), true)?;
                    connection.releases.push(packet_id);
                }
            }
        }
        Ok(count)
    }
}

impl Connection {
    /// The broker sends a message.
    pub fn send(&mut self, client: usize, delivery: Delivery, model: &mut Model) -> Result<(), String> {
        if delivery.qos == QoS::AtMostOnce {
            return model.came(client, &received(&delivery)?);
        }
        let used: BTreeSet<u16> = self.session.in_flight().map(|sent| sent.packet_id()).collect();
        if used.len() >= self.window {
            return Err(format!("c{client} has {} messages in flight already", used.len()));
        }
        let packet_id = (1..).find(|id| !used.contains(id)).unwrap_or_default();
        self.session.sent(packet_id, delivery.clone());
        let came = received(&delivery)?;
        if delivery.qos == QoS::ExactlyOnce {
            model.sent(client, &came);
            self.held.push((packet_id, delivery));
            return Ok(());
        }
        model.came(client, &came)?;
        if self.acknowledges != Acknowledges::Nothing {
            self.session.acknowledged(packet_id);
        }
        Ok(())
    }
}
