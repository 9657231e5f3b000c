"""Rates and overload as paho-mqtt meets them."""

import threading

import paho.mqtt.client as mqtt
import pytest

from conftest import PATIENCE, Broker, plant, wait_for
from test_paho import Device

EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}
MESSAGES = 60


def started(directory, keys):
    running = Broker(directory, config=f"[broker]\n{keys}\n")
    return running, plant(directory, running, "Limits", EVERYTHING)


@pytest.fixture
def start(tmp_path):
    brokers = []

    def of(keys):
        running, factory = started(tmp_path, keys)
        brokers.append(running)
        return running, factory

    yield of
    for running in brokers:
        running.stop()


def test_limits_delay_what_asks_for_an_acknowledgement_and_lose_none_of_it(start):
    broker, factory = start("max_publishes_per_second = 20\nmax_deliveries_per_second = 20")
    for protocol in (mqtt.MQTTv311, mqtt.MQTTv5):
        name = f"patient-{protocol}"
        device = Device(broker, factory.device(name), name, protocol).accepted()
        device.subscribe(f"dev/{name}/x")
        sent = [device.client.publish(f"dev/{name}/x", str(number), qos=1) for number in range(MESSAGES)]
        for message in sent:
            message.wait_for_publish(PATIENCE)
            assert message.is_published()
        wait_for(lambda: len(device.messages) == MESSAGES, "all messages")
        assert [int(message.payload) for message in device.messages] == list(range(MESSAGES))
        assert not device.gone.is_set()
        device.stop()


def test_limits_end_a_connection_that_publishes_too_fast_if_told_so(start):
    # paho forgets why it was disconnected if it notices while it writes. What its own thread publishes it writes at once, before
    # it reads the answer.
    broker, factory = start('max_publishes_per_second = 20\npublish_excess = "disconnect"')
    device = Device(broker, factory.device("hasty"), "hasty", mqtt.MQTTv5).accepted()
    reason, known = [], threading.Event()

    def gone(_client, _userdata, _flags, code, _properties):
        reason.append(code)
        known.set()

    def publish(client, *_):
        for _ in range(4 * MESSAGES):
            client.publish("dev/hasty/x", "y")

    device.client.on_disconnect = gone
    device.client.on_subscribe = publish
    device.client.subscribe("dev/hasty/y")
    assert known.wait(PATIENCE)
    assert reason[0].value == 0x96, reason
    device.stop()


def test_limits_tell_a_client_that_comes_too_often_to_come_again(start):
    broker, factory = start("max_connects_per_second = 1\nconnect_deadline_seconds = 60")
    answers = []
    for protocol, refused in ((mqtt.MQTTv5, 0x97), (mqtt.MQTTv311, 0x88)):
        files = factory.device(f"many-{protocol}")
        # paho names return code 3 of MQTT 3.1.1 by the reason code of MQTT 5 that means the same.
        for number in range(200):
            device = Device(broker, files, f"many-{protocol}-{number}", protocol)
            assert device.connected.wait(PATIENCE), "no CONNACK"
            answers.append(device.answer.value)
            device.stop()
            if answers[-1] == refused:
                break
        assert answers[-1] == refused, answers
