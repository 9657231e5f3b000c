"""What MQTT 5 promises, as paho-mqtt sees it (docs/conformance.md has every statement and its test)."""

import queue
import ssl

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from conftest import PATIENCE


class Client:
    """An MQTT 5 client of a device; what happens to it comes in `events`."""

    def __init__(self, broker, files, client_id, clean=True, **properties):
        certificate, key, _ = files
        self.events = queue.Queue()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
        self.client.tls_set(ca_certs=str(broker.ca), certfile=str(certificate), keyfile=str(key),
                            tls_version=ssl.PROTOCOL_TLS_CLIENT)
        self.client.on_connect = lambda _c, _u, flags, code, props: self.events.put(("connected", code, flags, props))
        self.client.on_disconnect = lambda _c, _u, _f, code, props: self.events.put(("disconnected", code, props))
        self.client.on_message = lambda _c, _u, message: self.events.put(("message", message))
        self.client.on_subscribe = lambda *_: self.events.put(("subscribed",))
        self.client.reconnect_delay_set(60, 60)
        self.client.connect("127.0.0.1", broker.port, clean_start=clean, properties=block(PacketTypes.CONNECT, properties))
        self.client.loop_start()
        self.code, self.flags, self.properties = self.next("connected")
        assert not self.code.is_failure, self.code

    def next(self, kind):
        event = self.events.get(timeout=PATIENCE)
        assert event[0] == kind, event
        return event[1:]

    def subscribe(self, topic, qos=2):
        self.client.subscribe(topic, qos)
        self.next("subscribed")

    def publish(self, topic, payload, qos=1, retain=False, **properties):
        sent = self.client.publish(topic, payload, qos, retain, properties=block(PacketTypes.PUBLISH, properties))
        sent.wait_for_publish(PATIENCE)

    def message(self):
        return self.next("message")[0]

    def leave(self, **properties):
        self.client.disconnect(properties=block(PacketTypes.DISCONNECT, properties))
        self.next("disconnected")
        self.client.loop_stop()


def block(packet, values):
    properties = Properties(packet)
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


@pytest.fixture(scope="module")
def files(factory):
    return factory.device("conformer")


def test_properties_come_as_they_were_sent(broker, files):
    client = Client(broker, files, "conformer")
    client.subscribe("dev/conformer/#")
    users = [("b", "1"), ("a", "2"), ("b", "1")]
    for qos in (0, 1, 2):
        client.publish("dev/conformer/x", "text", qos, PayloadFormatIndicator=1, ContentType="text/plain",
                       ResponseTopic="dev/conformer/answers", CorrelationData=b"\0\1\xff", UserProperty=users,
                       MessageExpiryInterval=600)
        came = client.message()
        assert (came.qos, came.payload) == (qos, b"text")
        assert came.properties.PayloadFormatIndicator == 1
        assert came.properties.ContentType == "text/plain"
        assert came.properties.ResponseTopic == "dev/conformer/answers"
        assert came.properties.CorrelationData == b"\0\1\xff"
        assert came.properties.UserProperty == users
        assert 0 < came.properties.MessageExpiryInterval <= 600
    client.leave()


def test_a_session_lasts_as_long_as_was_said_last(broker, files):
    Client(broker, files, "conformer", SessionExpiryInterval=600).leave()
    client = Client(broker, files, "conformer", clean=False, SessionExpiryInterval=600)
    assert client.flags.session_present
    client.leave(SessionExpiryInterval=0)
    client = Client(broker, files, "conformer", clean=False)
    assert not client.flags.session_present
    client.leave()


def test_a_client_that_takes_small_packets_gets_those_and_nothing_else(broker, files):
    client = Client(broker, files, "conformer", MaximumPacketSize=64)
    client.subscribe("dev/conformer/s")
    for qos in (0, 1, 2):
        client.publish("dev/conformer/s", "x" * 64, qos)
        client.publish("dev/conformer/s", "small", qos)
        assert client.message().payload == b"small"
    client.leave()


def test_a_filter_that_is_in_one_subscribe_twice_is_sent_what_is_retained_twice(broker, files):
    client = Client(broker, files, "conformer")
    client.publish("dev/conformer/twice", "kept", qos=2, retain=True)
    client.client.subscribe([("dev/conformer/twice", 0), ("dev/conformer/twice", 1)])
    client.next("subscribed")
    assert [(came.qos, came.retain) for came in (client.message(), client.message())] == [(0, True), (1, True)]
    client.publish("dev/conformer/twice", "", retain=True)
    last = client.message()
    assert (last.qos, last.payload) == (1, b"")
    client.leave()
