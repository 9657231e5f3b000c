"""paho-mqtt: sends no SNI when told so, and both protocol versions."""

import ssl
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from conftest import PATIENCE, certificate_id, wait_for


class Device:
    def __init__(self, broker, device, client_id, protocol=mqtt.MQTTv311, chain=False, clean=True, will=None,
                 username=None, host="127.0.0.1", port=None, keepalive=60, transport="tcp", source="", expiry=None):
        certificate, key, with_ca = device
        options = {} if protocol == mqtt.MQTTv5 else {"clean_session": clean}
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=protocol,
                                  transport=transport, **options)
        self.client.tls_set(ca_certs=str(broker.ca), certfile=str(with_ca if chain else certificate),
                            keyfile=str(key), tls_version=ssl.PROTOCOL_TLS_CLIENT)
        if will:
            self.client.will_set(*will)
        if username:
            self.client.username_pw_set(username)
        self.connected, self.gone, self.messages = threading.Event(), threading.Event(), []
        self.answer = None
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = lambda *_: self.gone.set()
        self.client.on_message = lambda _c, _u, message: self.messages.append(message)
        self.acknowledged = {}
        self.client.on_subscribe = lambda _c, _u, mid, codes, _p: self.acknowledged.update({mid: codes})
        self.client.on_publish = lambda _c, _u, mid, code, _p: self.acknowledged.update({mid: code})
        self.client.reconnect_delay_set(60, 60)
        port = port or (broker.port if transport == "tcp" else broker.https)
        kept = {}
        if expiry:
            kept = {"clean_start": False, "properties": Properties(PacketTypes.CONNECT)}
            kept["properties"].SessionExpiryInterval = expiry
        self.client.connect(host, port, keepalive=keepalive, bind_address=source, **kept)
        self.client.loop_start()

    def _on_connect(self, _client, _userdata, flags, code, _properties):
        self.answer, self.flags = code, flags
        self.connected.set()

    def accepted(self):
        assert self.connected.wait(PATIENCE), "no CONNACK"
        assert not self.answer.is_failure, self.answer
        return self

    def subscribe(self, topic, qos=1):
        _, mid = self.client.subscribe(topic, qos)
        return wait_for(lambda: self.acknowledged.get(mid), f"SUBACK for {topic}")

    def stop(self):
        self.client.disconnect()
        self.client.loop_stop()


def test_the_first_connection_just_works_with_both_versions_with_and_without_the_ca_in_the_chain(broker, factory):
    for protocol in (mqtt.MQTTv311, mqtt.MQTTv5):
        for chain in (False, True):
            name = f"paho-{protocol}-{chain}"
            Device(broker, factory.device(name), name, protocol, chain).accepted().stop()
            assert broker.iot().describe_thing(thingName=name)["version"] == 1


def test_a_user_name_without_a_password_is_ignored(broker, factory):
    for protocol in (mqtt.MQTTv311, mqtt.MQTTv5):
        name = f"named-{protocol}"
        Device(broker, factory.device(name), name, protocol, username="?SDK=Python&Version=1").accepted().stop()


def test_an_rsa_device_connects(broker, factory):
    Device(broker, factory.device("rsa", rsa=True), "rsa").accepted().stop()


def test_a_device_hears_itself_at_the_qos_it_asked_for(broker, factory):
    device = Device(broker, factory.device("echo"), "echo").accepted()
    codes = device.subscribe("dev/echo/#", 2)
    assert [code.value for code in codes] == [2]
    for qos in (0, 1, 2):
        device.client.publish("dev/echo/x", f"at {qos}", qos).wait_for_publish(PATIENCE)
    wait_for(lambda: len(device.messages) == 3, "three messages")
    assert sorted((m.qos, m.payload) for m in device.messages) == [(0, b"at 0"), (1, b"at 1"), (2, b"at 2")]
    device.stop()


def test_a_refused_filter_is_0x80_and_the_connection_stays(broker, factory):
    device = Device(broker, factory.device("curious"), "curious").accepted()
    assert [code.value for code in device.subscribe("dev/other/#")] == [0x80]
    assert [code.value for code in device.subscribe("dev/curious/#")] == [1]
    device.stop()


def test_a_persistent_session_gets_what_it_missed(broker, factory):
    files, peer_files = factory.device("sleeper"), factory.device("waker")
    allow_everything(broker, factory, peer_files, "waker")
    sleeper = Device(broker, files, "sleeper", clean=False).accepted()
    sleeper.subscribe("dev/sleeper/#")
    sleeper.stop()
    waker = Device(broker, peer_files, "waker").accepted()
    for number in range(10):
        waker.client.publish("dev/sleeper/x", str(number), 1).wait_for_publish(PATIENCE)
    waker.stop()
    sleeper = Device(broker, files, "sleeper", clean=False).accepted()
    assert sleeper.flags.session_present
    wait_for(lambda: len(sleeper.messages) == 10, "ten queued messages")
    assert [m.payload for m in sleeper.messages] == [str(n).encode() for n in range(10)]
    sleeper.stop()


def test_retained_messages_and_wills_arrive(broker, factory):
    files, watcher_files = factory.device("mortal"), factory.device("coroner")
    allow_everything(broker, factory, watcher_files, "coroner")
    mortal = Device(broker, files, "mortal", will=("dev/mortal/will", "farewell", 1, False)).accepted()
    mortal.client.publish("dev/mortal/state", "alive", 1, retain=True).wait_for_publish(PATIENCE)
    watcher = Device(broker, watcher_files, "coroner").accepted()
    watcher.subscribe("dev/mortal/#")
    wait_for(lambda: [m for m in watcher.messages if m.retain and m.payload == b"alive"], "the retained message")
    mortal.client.socket().close()
    wait_for(lambda: [m for m in watcher.messages if m.payload == b"farewell"], "the will")
    mortal.client.loop_stop()
    watcher.stop()


def test_a_deactivated_certificate_ends_its_session_at_once_and_stays_out(broker, factory):
    files = factory.device("banned")
    device = Device(broker, files, "banned", mqtt.MQTTv5).accepted()
    broker.iot().update_certificate(certificateId=certificate_id(files[0]), newStatus="INACTIVE")
    assert device.gone.wait(10), "still connected"
    device.stop()
    again = Device(broker, files, "banned", mqtt.MQTTv5)
    assert again.connected.wait(PATIENCE)
    assert again.answer.value == 0x87
    again.stop()
    reasons = wait_for(lambda: broker.attempts(client_id="banned", outcome="refused"), "the attempt")
    assert reasons[-1]["reason"] == "DEVICE_CERTIFICATE_INACTIVE"


def test_a_policy_change_reaches_a_live_session(broker, factory):
    files = factory.device("shifting")
    device = Device(broker, files, "shifting").accepted()
    assert [code.value for code in device.subscribe("elsewhere/#")] == [0x80]
    iot = broker.iot()
    iot.create_policy(policyName="more", policyDocument="""{"Version": "2012-10-17", "Statement":
        {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": "*"}}""")
    iot.attach_policy(policyName="more", target=f"arn:aws:iot:us-east-1:000000000000:cert/{certificate_id(files[0])}")
    wait_for(lambda: [code.value for code in device.subscribe("elsewhere/#")] == [1], "the wider policy")
    device.stop()


def allow_everything(broker, factory, files, name):
    """Provisions the device and gives it a policy without bounds."""
    Device(broker, files, name).accepted().stop()
    iot = broker.iot()
    policy = f"all-{name}"
    iot.create_policy(policyName=policy, policyDocument="""{"Version": "2012-10-17", "Statement":
        {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}}""")
    iot.attach_policy(policyName=policy, target=f"arn:aws:iot:us-east-1:000000000000:cert/{certificate_id(files[0])}")
