"""The log as a machine reads it: one JSON object per line (`spec/events.md` section 6), one record for each thing that happened."""

import json
import re
import socket
import ssl

import paho.mqtt.client as mqtt
import pytest

from conftest import PATIENCE, POLICY, Broker, Factory, certificate_id, plant, wait_for
from test_paho import Device


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    running = Broker(tmp_path_factory.mktemp("logged"), config='[log]\nlevel = "debug"\nformat = "json"\n')
    yield running
    running.stop()


@pytest.fixture(scope="module")
def factory(tmp_path_factory, broker):
    return plant(tmp_path_factory.mktemp("factory"), broker, "Logged CA", POLICY)


def records(broker, **members):
    """The records that have these members."""
    lines = broker.logged().splitlines(keepends=True)
    parsed = [json.loads(line) for line in lines if line.endswith("\n")]
    return [record for record in parsed if members.items() <= record.items()]


def the_record(broker, **members):
    found = wait_for(lambda: records(broker, **members), f"a record with {members}")
    assert len(found) == 1, found
    return found[0]


def ended(broker, name):
    """The record of the end of this client's only connection: what was logged of it is complete."""
    return the_record(broker, eventType="Disconnect", clientId=name)


def test_every_line_has_the_common_members(broker, factory):
    Device(broker, factory.device("common"), "common").accepted().stop()
    ended(broker, "common")
    for record in records(broker):
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", record["timestamp"]), record
        assert record["logLevel"] in ("DEBUG", "INFO", "WARN", "ERROR"), record
        assert record["accountId"] == "000000000000", record


def test_the_records_of_a_first_connection_are_found_by_one_trace(broker, factory):
    device = factory.device("traced")
    Device(broker, device, "traced").accepted().stop()
    end = ended(broker, "traced")
    assert (end["logLevel"], end["status"], end["disconnectReason"]) == ("INFO", "Success", "CLIENT_INITIATED_DISCONNECT")
    run, connect = (the_record(broker, eventType=event, clientId="traced") for event in ("ProvisionDevice", "Connect"))
    assert run["traceId"] == connect["traceId"] == end["traceId"]
    assert (run["logLevel"], run["status"], run["reason"]) == ("INFO", "Success", "PROVISIONED")
    assert run["deviceCertificateId"] == connect["principalId"] == certificate_id(device[0])
    assert "errorCode" not in run
    assert (connect["protocol"], connect["sourceIp"]) == ("MQTT", "127.0.0.1")


def test_a_refused_stranger_is_one_record(broker, tmp_path):
    stranger = Factory(tmp_path, "Nobody's CA").device("stranger")
    refused = Device(broker, stranger, "stranger", mqtt.MQTTv5)
    assert refused.gone.wait(PATIENCE)
    refused.stop()
    wait_for(lambda: broker.attempts(client_id="stranger"), "the attempt")
    wait_for(lambda: records(broker, clientId="stranger"), "the record")
    [record] = records(broker, clientId="stranger")
    assert record["eventType"] == "Connection.AuthNError"
    assert (record["logLevel"], record["status"]) == ("ERROR", "Failure")
    assert record["reason"] == "DEVICE_CERTIFICATE_NOT_REGISTERED"
    assert record["principalId"] == certificate_id(stranger[0])
    assert record["authenticationType"] == "AWS_X509" and record["traceId"] and record["details"]


def test_a_run_that_fails_says_why_once_and_the_refusal_has_the_same_trace(broker, factory):
    device = factory.device("illegal", subject="/CN=not a name")
    refused = Device(broker, device, "illegal", mqtt.MQTTv5)
    assert refused.gone.wait(PATIENCE)
    refused.stop()
    refusal = the_record(broker, eventType="Connection.AuthNError", clientId="illegal")
    run = the_record(broker, eventType="ProvisionDevice", clientId="illegal")
    assert run["traceId"] == refusal["traceId"]
    assert (run["logLevel"], run["status"]) == ("ERROR", "Failure")
    assert run["errorCode"] == run["reason"] == refusal["reason"] == "TEMPLATE_VALUE_INVALID"
    assert (run["resource"], run["caCertificateId"]) == ("thing", certificate_id(factory.certificate))
    assert "ThingName" in run["jsonPath"] and "not a name" in run["details"]


def test_a_refused_publish_is_logged_with_what_was_missing(broker, factory):
    device = Device(broker, factory.device("curious"), "curious", mqtt.MQTTv5).accepted()
    device.client.publish("dev/another/x", "x", 1)
    record = the_record(broker, eventType="Publish-In", clientId="curious", status="Failure")
    assert (record["reason"], record["action"], record["topicName"]) == ("AUTHORIZATION_FAILURE", "iot:Publish", "dev/another/x")
    assert record["resource"].endswith(":topic/dev/another/x") and "policy device" in record["details"]
    device.stop()


def test_a_client_that_only_goes_away_is_no_error(broker, factory):
    files = factory.device("leaver")
    Device(broker, files, "leaver").accepted().stop()
    ended(broker, "leaver")
    identity = certificate_id(files[0])
    context = ssl.create_default_context(cafile=str(broker.ca))
    context.load_cert_chain(files[0], files[1])
    connect = b"\x10\x12\x00\x04MQTT\x04\x02\x00\x3c\x00\x06leaver"
    before = len(records(broker, eventType="Disconnect", principalId=identity))
    # Before CONNECT, in the middle of it, and after CONNACK.
    for said in (b"", connect[:9]):
        with socket.create_connection(("127.0.0.1", broker.port)) as tcp, \
                context.wrap_socket(tcp, server_hostname="localhost") as tls:
            tls.sendall(said)
    last = Device(broker, files, "leaver").accepted()
    last.client.socket().close()
    gone = wait_for(lambda: (ends := records(broker, eventType="Disconnect", principalId=identity)[before:])
                    and len(ends) == 3 and ends, "three ends")
    last.client.loop_stop()
    for record in gone:
        assert (record["logLevel"], record["disconnectReason"]) == ("INFO", "CONNECTION_LOST"), record
        assert "https://" not in record["details"], record
    assert not records(broker, logLevel="ERROR", principalId=identity)
