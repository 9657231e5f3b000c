//! rumqttc, a client that knows nothing of this broker.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, TlsConfiguration, Transport};
use support::*;
use tokio::time::timeout;

fn client(world: &World, device: &Device) -> (AsyncClient, EventLoop) {
    let address = world.broker.local_address();
    let mut options = MqttOptions::new("pump", "localhost", address.port());
    options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(device.tls.clone())));
    let (client, mut events) = AsyncClient::new(options, 10);
    events.network_options.set_connection_timeout(PATIENCE.as_secs());
    (client, events)
}

async fn next(events: &mut EventLoop, wanted: impl Fn(&Packet) -> bool) -> Packet {
    let found = async {
        loop {
            if let Event::Incoming(packet) = events.poll().await.unwrap()
                && wanted(&packet)
            {
                return packet;
            }
        }
    };
    timeout(PATIENCE, found).await.unwrap()
}

#[tokio::test]
async fn a_stock_client_connects_the_first_time_and_hears_itself() {
    let world = World::new().await;
    let device = world.device("pump");
    let (client, mut events) = client(&world, &device);
    next(&mut events, |packet| matches!(packet, Packet::ConnAck(_))).await;
    client.subscribe("dev/pump/#", QoS::AtLeastOnce).await.unwrap();
    next(&mut events, |packet| matches!(packet, Packet::SubAck(_))).await;
    for (sent, delivered) in [
        (QoS::AtMostOnce, QoS::AtMostOnce),
        (QoS::AtLeastOnce, QoS::AtLeastOnce),
        (QoS::ExactlyOnce, QoS::AtLeastOnce),
    ] {
        client.publish("dev/pump/hello", sent, false, "hello").await.unwrap();
        let Packet::Publish(publish) = next(&mut events, |packet| matches!(packet, Packet::Publish(_))).await
        else {
            unreachable!()
        };
        assert_eq!(&publish.payload[..], b"hello");
        assert_eq!(publish.qos, delivered);
    }
}
