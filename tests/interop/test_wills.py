"""Last wills over a `kill -9` of the broker, with paho."""

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from conftest import wait_for
from test_paho import Device, allow_everything

EXPIRY = 3600


def mortal(broker, files, name, delay=None):
    """A device with a session that is kept, and with a will."""
    properties = Properties(PacketTypes.WILLMESSAGE)
    properties.UserProperty = ("why", "lost")
    if delay is not None:
        properties.WillDelayInterval = delay
    will = (f"wills/{name}", name, 1, True, properties)
    return Device(broker, files, name, mqtt.MQTTv5, will=will, expiry=EXPIRY).accepted()


def test_durable_wills_are_published_once_when_they_are_due_after_a_kill(broker, factory):
    files = {name: factory.device(name) for name in ("gone", "patient", "returning", "mourner")}
    for name, device in files.items():
        allow_everything(broker, factory, device, name)
    mourner = Device(broker, files["mourner"], "mourner", mqtt.MQTTv5, expiry=EXPIRY).accepted()
    mourner.subscribe("wills/#")
    devices = [mortal(broker, files["gone"], "gone"), mortal(broker, files["patient"], "patient", 2),
               mortal(broker, files["returning"], "returning", EXPIRY)]
    broker.kill_and_restart()
    for device in (mourner, *devices):
        device.client.loop_stop()
    returning = Device(broker, files["returning"], "returning", mqtt.MQTTv5, expiry=EXPIRY).accepted()
    assert returning.flags.session_present
    mourner = Device(broker, files["mourner"], "mourner", mqtt.MQTTv5, expiry=EXPIRY).accepted()
    assert mourner.flags.session_present
    wait_for(lambda: len(mourner.messages) >= 2, "two wills")
    broker.kill_and_restart()
    mourner.client.loop_stop()
    returning.client.loop_stop()

    again = Device(broker, files["mourner"], "mourner", mqtt.MQTTv5, expiry=EXPIRY).accepted()
    again.client.publish("wills/end", "end", 1)
    wait_for(lambda: [m for m in again.messages if m.topic == "wills/end"], "the end")
    wills = [m for m in mourner.messages + again.messages if m.topic != "wills/end" and not m.dup]
    assert sorted(m.topic for m in wills) == ["wills/gone", "wills/patient"]
    assert all(m.properties.UserProperty == [("why", "lost")] for m in wills)
    again.stop()

    late = Device(broker, files["mourner"], "mourner", mqtt.MQTTv5).accepted()
    late.subscribe("wills/+")
    wait_for(lambda: len([m for m in late.messages if m.retain]) == 2, "two retained wills")
    late.stop()
