"""Renewal over MQTT: paho as a device that asks for its next certificate and goes on with it, in JSON and in CBOR."""

import json
import subprocess

import cbor2
import paho.mqtt.client as mqtt
import pytest

from conftest import PATIENCE, Broker, certificate_id, plant, wait_for
from test_paho import Device

TOPIC = "$jitp/certificates/renew"
POLICY = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"},
    {"Effect": "Allow", "Action": ["iot:Publish", "iot:Receive"],
     "Resource": f"arn:aws:iot:us-east-1:000000000000:topic/{TOPIC}/*"},
    {"Effect": "Allow", "Action": "iot:Subscribe",
     "Resource": f"arn:aws:iot:us-east-1:000000000000:topicfilter/{TOPIC}/*"},
]}


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    running = Broker(tmp_path_factory.mktemp("broker"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def factory(tmp_path_factory, broker):
    return plant(tmp_path_factory.mktemp("factory"), broker, "Renewal CA", POLICY)


def request(directory, name):
    """A new key and a signing request in PEM."""
    key = directory / f"{name}.key"
    run = subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                          "-keyout", key, "-subj", f"/CN={name}"], check=True, capture_output=True, timeout=PATIENCE)
    return key, run.stdout.decode()


@pytest.mark.parametrize("version", [mqtt.MQTTv311, mqtt.MQTTv5])
@pytest.mark.parametrize("form, write, read", [("json", json.dumps, json.loads), ("cbor", cbor2.dumps, cbor2.loads)])
def test_a_device_goes_on_with_its_new_certificate(broker, factory, tmp_path, form, write, read, version):
    name = f"renew-{form}-{version}"
    old = factory.device(name, f"/CN={name}")
    device = Device(broker, old, name, version).accepted()
    device.subscribe(f"{TOPIC}/#")

    def answer(payload, end):
        before = len(device.messages)
        device.client.publish(f"{TOPIC}/{form}", payload, qos=1)
        message = wait_for(lambda: device.messages[before] if len(device.messages) > before else None, "an answer")
        assert message.topic == f"{TOPIC}/{form}/{end}", message.payload
        return read(message.payload)

    _, other = request(tmp_path, "somebody-else")
    refused = answer(write({"certificateSigningRequest": other}), "rejected")
    assert (refused["statusCode"], refused["errorCode"]) == (400, "InvalidCsr")
    assert f"CN={name}" in refused["errorMessage"]
    assert answer(b"nonsense", "rejected")["errorCode"] == "InvalidPayload"

    key, csr = request(tmp_path, name)
    accepted = answer(write({"certificateSigningRequest": csr}), "accepted")
    assert accepted.keys() == {"certificateId", "certificatePem", "retiresAt"}
    pem = tmp_path / "new.pem"
    pem.write_text(accepted["certificatePem"])
    assert certificate_id(pem) == accepted["certificateId"]

    iot = broker.iot()
    status = lambda id_: iot.describe_certificate(certificateId=id_)["certificateDescription"]["status"]
    assert status(certificate_id(old[0])) == "ACTIVE"
    Device(broker, (pem, key, old[2]), name, version).accepted().stop()
    assert status(certificate_id(old[0])) == "INACTIVE"
    device.stop()
