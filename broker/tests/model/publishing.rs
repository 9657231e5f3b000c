//! What clients publish, from PUBLISH to its last acknowledgement.
use super::client::Outgoing;
use super::script::{Publish, TOPICS, Until};
use super::seam::Stage;
use super::semantics;
use super::translation::{message, same};
use jitp_broker::message::QoS;

impl Stage {
    pub fn publish(&mut self, publish: &Publish) -> Result<(), String> {
        if publish.client.is_some_and(|client| self.clients[client].connection.is_none()) {
            return Ok(());
        }
        let reserved = publish.retain && TOPICS[publish.topic].starts_with('$');
        let number = self.model.announce(semantics::Message {
            publisher: publish.client,
            topic: publish.topic,
            qos: publish.qos,
            retain: publish.retain,
            empty: publish.empty,
            expiry: publish.expiry,
        });
        let Some(client) = publish.client else {
            return self.send(None, number, 0, reserved).map(drop);
        };
        let free = |id: &u16| self.clients[client].outgoing.iter().all(|outgoing| outgoing.packet_id != *id);
        let packet_id = (1..).find(free).unwrap_or_default();
        let refused = self.send(Some(client), number, packet_id, reserved)?;
        if publish.qos > QoS::AtMostOnce && !refused {
            self.clients[client].outgoing.push(Outgoing { packet_id, number, received: false });
            match publish.until {
                Until::Sent => {}
                Until::Received if publish.qos == QoS::AtLeastOnce => {}
                Until::Received => {
                    self.settle();
                    self.receive(client, packet_id);
                }
                Until::Done => {
                    self.settle();
                    self.finish(client, false)?;
                }
            }
        }
        Ok(())
    }

    /// Hands a message to the broker. Returns whether it was refused, as it must be if `reserved`.
    pub fn send(
        &mut self,
        client: Option<usize>,
        number: usize,
        packet_id: u16,
        reserved: bool,
    ) -> Result<bool, String> {
        let _inside = self.process.as_ref().unwrap().runtime.enter();
        let message = message(number, self.model.message(number));
        let published = match client {
            None => self.backend().publish(message),
            Some(client) => {
                let connection = self.clients[client].connection.as_mut().ok_or("no connection")?;
                let session = &mut connection.session;
                match message.qos {
                    QoS::ExactlyOnce => {
                        let new = session.begin_exactly_once(packet_id);
                        same("a new QoS 2 message", new, true)?;
                        let published = session.publish_exactly_once(packet_id, message);
                        if published.is_err() {
                            session.abandon_exactly_once(packet_id);
                        }
                        published
                    }
                    QoS::AtMostOnce | QoS::AtLeastOnce => session.publish(message),
                }
            }
        };
        match published {
            Err(_) if reserved => Ok(true),
            Err(error) => Err(error.to_string()),
            Ok(_) if reserved => Err("it was retained on a topic that starts with $".to_owned()),
            Ok(published) => match self.model.publish(number) {
                Some(expected) => same("matches", published.matched, expected).map(|()| false),
                None => Ok(false),
            },
        }
    }

    /// PUBREC comes, if it is due.
    pub fn receive(&mut self, client: usize, packet_id: u16) {
        let state = &mut self.clients[client];
        let settled = state.connection.as_ref().is_some_and(|it| it.session.unsettled().is_none());
        for outgoing in state.outgoing.iter_mut().filter(|outgoing| outgoing.packet_id == packet_id) {
            outgoing.received |= settled;
        }
    }

    /// Everything that a client has published is acknowledged in full. `again`: it comes by a new connection, so that the client
    /// sends again what it has not heard of.
    pub fn finish(&mut self, client: usize, again: bool) -> Result<(), String> {
        if self.clients[client].connection.is_none() {
            return Ok(());
        }
        for outgoing in std::mem::take(&mut self.clients[client].outgoing) {
            let Outgoing { packet_id, number, received } = outgoing;
            let exactly_once = self.model.message(number).qos == QoS::ExactlyOnce;
            if again && !received {
                self.send_again(client, number, packet_id)?;
            }
            self.settle();
            if exactly_once {
                let connection = self.clients[client].connection.as_mut().ok_or("no connection")?;
                let known = connection.session.end_exactly_once(packet_id);
                self.settle();
                // After a kill that it was released may be known already.
                same("a QoS 2 message to release", known || (again && received), true)?;
            }
        }
        Ok(())
    }

    pub fn send_again(&mut self, client: usize, number: usize, packet_id: u16) -> Result<(), String> {
        if self.model.message(number).qos == QoS::ExactlyOnce {
            let connection = self.clients[client].connection.as_mut().ok_or("no connection")?;
            if connection.session.exactly_once().any(|known| known == packet_id) {
                self.model.is_known(number);
                return Ok(());
            }
            self.model.is_unknown(number);
        }
        self.send(Some(client), number, packet_id, false).map(drop)
    }
}
