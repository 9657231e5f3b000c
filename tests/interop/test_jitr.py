"""Just-in-time registration: the sample consumer of the documentation, and the operator's commands."""

import json
import os
import pathlib
import queue
import subprocess
import sys
import threading

import pytest

from conftest import JITP, PATIENCE, POLICY, Broker, Factory, certificate_id, register, wait_for
from test_paho import Device

SAMPLE = pathlib.Path(__file__).parents[2] / "docs" / "samples" / "jitr_consumer.py"
OPERATOR = pathlib.Path(__file__).parents[2] / "cli" / "demo" / "operator-template.json"


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    """A broker with a CA without a template, and one whose devices may do everything."""
    broker = Broker(tmp_path_factory.mktemp("jitr-broker"))
    broker.iot().create_policy(policyName="device", policyDocument=json.dumps(POLICY))
    factory = Factory(tmp_path_factory.mktemp("jitr-factory"), "JITR CA")
    factory.id = register(broker, factory)
    staff = Factory(tmp_path_factory.mktemp("jitr-staff"), "Staff CA")
    register(broker, staff, registrationConfig={
        "templateBody": OPERATOR.read_text(), "roleArn": "arn:aws:iam::000000000000:role/provisioner"})
    yield broker, factory, staff
    broker.stop()


def knock(broker, device, name):
    """A connection that is refused because the certificate waits."""
    client = Device(broker, device, name)
    assert client.connected.wait(PATIENCE)
    assert client.answer.is_failure
    client.stop()


def status(broker, device):
    certificate = broker.iot().describe_certificate(certificateId=certificate_id(device[0]))
    return certificate["certificateDescription"]["status"]


def test_the_sample_consumer_lets_in_who_matches_and_nobody_else(plant):
    broker, factory, staff = plant
    certificate, key, _ = staff.device("consumer")
    consumer = subprocess.Popen(
        [sys.executable, SAMPLE, "--api", broker.api, "--host", "127.0.0.1", "--port", str(broker.port),
         "--ca", broker.ca, "--cert", certificate, "--key", key, "--policy", "device", "--allow", "plant-a-*"],
        env={**os.environ, "AWS_ACCESS_KEY_ID": broker.key_id, "AWS_SECRET_ACCESS_KEY": broker.secret,
             "AWS_DEFAULT_REGION": "us-east-1"},
        stdout=subprocess.PIPE, text=True)
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: [lines.put(line) for line in consumer.stdout], daemon=True).start()
    try:
        assert lines.get(timeout=PATIENCE) == "listening\n"
        pump, stranger = factory.device("plant-a-1"), factory.device("plant-b-1")
        knock(broker, stranger, "plant-b-1")
        knock(broker, pump, "plant-a-1")
        said = [lines.get(timeout=PATIENCE), lines.get(timeout=PATIENCE)]
        assert said == [f"{certificate_id(stranger[0])} left alone: 'plant-b-1' does not match\n",
                        f"{certificate_id(pump[0])} activated as plant-a-1\n"]
        Device(broker, pump, "plant-a-1").accepted().stop()
        assert status(broker, stranger) == "PENDING_ACTIVATION"
    finally:
        consumer.kill()
        consumer.wait()


def test_operators_approve_by_rule_with_policies_or_a_template_and_reject(plant, tmp_path):
    broker, factory, _ = plant
    names = ["hall-1-a", "hall-1-b", "hall-2-a", "hall-3-a", "hall-4-a", "hall-5-a", "hall-5-b"]
    devices = {name: factory.device(name) for name in names}
    for name, device in devices.items():
        knock(broker, device, name)
    meant = broker.jitp("approve", "--ca", factory.id, "--subject", "CN=hall-1-*", "--dry-run")
    assert {one["certificateId"] for one in meant} \
        == {certificate_id(devices[name][0]) for name in ("hall-1-a", "hall-1-b")}
    unasked = subprocess.run([JITP, "approve", "--subject", "CN=hall-1-*", "--data-dir", broker.data],
                             env={**os.environ, "JITP_API": broker.api}, stdin=subprocess.DEVNULL,
                             capture_output=True, text=True)
    assert unasked.returncode == 3 and "--yes" in unasked.stderr

    approved = broker.jitp("approve", "--subject", "CN=hall-1-*", "--policy", "device", "--yes")
    assert [one["status"] for one in approved] == ["ACTIVE", "ACTIVE"]
    assert status(broker, devices["hall-2-a"]) == "PENDING_ACTIVATION"

    serial = subprocess.run(["openssl", "x509", "-in", devices["hall-2-a"][0], "-noout", "-serial"],
                            check=True, capture_output=True, text=True).stdout.strip().split("=")[1]
    serials = tmp_path / "serials.csv"
    serials.write_text(f"serial,where\n{serial},hall 2\n")
    broker.iot().create_provisioning_template(
        templateName="hall", type="JITP", enabled=True, provisioningRoleArn="arn:aws:iam::000000000000:role/p",
        templateBody=json.dumps({
            "Parameters": {"AWS::IoT::Certificate::CommonName": {"Type": "String"},
                           "AWS::IoT::Certificate::Id": {"Type": "String"}},
            "Resources": {
                "thing": {"Type": "AWS::IoT::Thing", "Properties": {
                    "ThingName": {"Ref": "AWS::IoT::Certificate::CommonName"}}},
                "certificate": {"Type": "AWS::IoT::Certificate", "Properties": {
                    "CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}}},
                "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "device"}}}}))
    [one] = broker.jitp("approve", "--serials", str(serials), "--template", "hall", "--yes")
    assert (one["status"], one["thingName"]) == ("ACTIVE", "hall-2-a")
    Device(broker, devices["hall-2-a"], "hall-2-a").accepted().stop()

    [rejected] = broker.jitp("reject", certificate_id(devices["hall-3-a"][0]), "--revoke", "--yes")
    assert rejected["status"] == "REVOKED"
    by_subject = broker.jitp("reject", "--subject", "CN=hall-5-?", "--yes")
    assert [one["status"] for one in by_subject] == ["INACTIVE", "INACTIVE"]
    [by_hand] = broker.jitp("approve", certificate_id(devices["hall-4-a"][0]), "--policy", "device", "--yes")
    assert by_hand["status"] == "ACTIVE"
    left = {one["certificateId"] for one in broker.jitp("approve", "--all", "--dry-run")}
    assert not left & {certificate_id(device[0]) for device in devices.values()}


def test_a_standing_rule_approves_whoever_comes(plant):
    broker, factory, _ = plant
    early, late = factory.device("gate-early"), factory.device("gate-late")
    knock(broker, early, "gate-early")
    standing = subprocess.Popen(
        [JITP, "--json", "approve", "--ca", factory.id, "--subject", "CN=gate-*", "--yes", "--follow",
         "--data-dir", broker.data],
        env={**os.environ, "JITP_API": broker.api}, stdout=subprocess.PIPE, text=True)
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: [lines.put(line) for line in standing.stdout], daemon=True).start()
    try:
        assert json.loads(lines.get(timeout=PATIENCE))["certificateId"] == certificate_id(early[0])
        knock(broker, late, "gate-late")
        assert json.loads(lines.get(timeout=PATIENCE))["certificateId"] == certificate_id(late[0])
        wait_for(lambda: status(broker, late) == "ACTIVE", "the approval")
    finally:
        standing.kill()
        standing.wait()
