"""AWS's data plane: boto3's iot-data and the AWS CLI as operators, curl as a device that publishes over HTTPS."""

import base64
import json
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.parse
from concurrent.futures import Future

import botocore.exceptions
import paho.mqtt.client as mqtt
import pytest
from awscrt import mqtt5
from awsiot import mqtt5_client_builder
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpsession import URLLib3Session

from conftest import PATIENCE, Broker, certificate_id, plant, wait_for
from test_paho import Device

EVERYTHING = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["iot:Connect", "iot:Subscribe", "iot:Receive"], "Resource": "*"},
    {"Effect": "Allow", "Action": ["iot:Publish", "iot:RetainPublish"],
     "Resource": ["arn:aws:iot:us-east-1:000000000000:topic/open/*",
                  "arn:aws:iot:us-east-1:000000000000:topic/by/${iot:Certificate.Subject.CommonName}",
                  "arn:aws:iot:us-east-1:000000000000:topic/client/${iot:ClientId}"]},
    {"Effect": "Deny", "Action": "iot:RetainPublish",
     "Resource": "arn:aws:iot:us-east-1:000000000000:topic/open/live/*"},
]}


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    running = Broker(tmp_path_factory.mktemp("broker"), "--https", "127.0.0.1:0")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def factory(tmp_path_factory, broker):
    return plant(tmp_path_factory.mktemp("factory"), broker, "Data Plane CA", EVERYTHING)


@pytest.fixture(scope="module")
def watcher(broker, factory):
    device = Device(broker, factory.device("watcher"), "watcher", mqtt.MQTTv5).accepted()
    for filter_ in ("open/#", "by/#", "client/#"):
        device.subscribe(filter_)
    yield device
    device.stop()


def heard(watcher, topic):
    """The next message on a topic of its own."""
    return wait_for(lambda: next((m for m in watcher.messages if m.topic == topic), None), f"a message on {topic}")


def curl(broker, device, path, *arguments):
    """Status and body of a POST with the device's certificate."""
    certificate, key, _ = device
    run = subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", str(PATIENCE), "--cacert", broker.ca, "--cert", certificate,
         "--key", key, "--write-out", "\n%{http_code}", "--request", "POST", *arguments,
         f"https://localhost:{broker.https}{path}"],
        capture_output=True, text=True, timeout=2 * PATIENCE)
    assert run.returncode == 0, run.stderr
    body, status = run.stdout.rsplit("\n", 1)
    return int(status), json.loads(body)


def signed(broker, method, path, service, query=None, body=b""):
    request = AWSRequest(method, broker.api + path, params=query or {}, data=body)
    SigV4Auth(Credentials(broker.key_id, broker.secret), service, "us-east-1").add_auth(request)
    return URLLib3Session().send(request.prepare())


# Operators -------------------------------------------------------------------------------------------------------------

def test_boto3_publishes_with_everything_that_mqtt_5_carries(broker, watcher):
    reply = broker.iot_data().publish(
        topic="open/boto3/ä", qos=1, payload=b"\x00\xff", contentType="application/x", responseTopic="open/answer",
        correlationData=base64.b64encode(b"42").decode(), messageExpiry=600,
        userProperties=json.dumps([{"line": "7"}, {"line": "8"}]))
    assert reply["ResponseMetadata"]["HTTPStatusCode"] == 200
    message = heard(watcher, "open/boto3/ä")
    assert (message.payload, message.qos, message.retain) == (b"\x00\xff", 1, False)
    properties = message.properties
    assert (properties.ContentType, properties.ResponseTopic, properties.CorrelationData) == (
        "application/x", "open/answer", b"42")
    assert properties.UserProperty == [("line", "7"), ("line", "8")]
    assert 500 <= properties.MessageExpiryInterval <= 600


def test_the_aws_cli_publishes(broker, watcher):
    aws = os.path.join(os.path.dirname(sys.executable), "aws")
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": broker.key_id, "AWS_SECRET_ACCESS_KEY": broker.secret,
                   "AWS_DEFAULT_REGION": "us-east-1", "AWS_PAGER": ""}
    run = subprocess.run(
        [aws, "--endpoint-url", broker.api, "iot-data", "publish", "--topic", "open/cli", "--qos", "1",
         "--payload", "hello"],
        env=environment, capture_output=True, text=True, timeout=2 * PATIENCE)
    assert run.returncode == 0, run.stderr
    assert heard(watcher, "open/cli").payload == b"hello"


def test_what_must_not_be_published_is_refused_with_the_models_exceptions(broker):
    data = broker.iot_data()
    for topic, error in (("$aws/events/thing/x/created", "UnauthorizedException"), ("a/+", "InvalidRequestException"),
                         ("a/" * 40, "InvalidRequestException")):
        with pytest.raises(botocore.exceptions.ClientError) as refused:
            data.publish(topic=topic, payload=b"x")
        assert refused.value.response["Error"]["Code"] == error, topic
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        data.publish(topic="open/large", payload=b"x" * 131_073)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413


def test_messages_need_the_right_to_operate_and_are_not_audited(broker, watcher):
    viewer = broker.jitp("key", "create", "--role", "viewer", "--description", "looks only")
    data = broker.iot_data(key_id=viewer["accessKeyId"], secret=viewer["secretAccessKey"])
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        data.publish(topic="open/viewer", payload=b"x")
    assert refused.value.response["Error"]["Code"] == "UnauthorizedException"
    broker.iot_data().publish(topic="open/unaudited", payload=b"x")
    heard(watcher, "open/unaudited")
    assert "Publish" not in {record["operation"] for record in broker.jitp("audit")}


def test_a_connection_is_deleted_with_or_without_its_session_and_its_will(broker, factory, watcher):
    device = factory.device("deleted")
    data = broker.iot_data()
    for number, (protocol, clean_session, prevent_will) in enumerate(
            [(mqtt.MQTTv311, False, False), (mqtt.MQTTv311, False, True), (mqtt.MQTTv311, True, True)]):
        will = f"open/will/{number}"
        client = Device(broker, device, "deleted", protocol, clean=False, will=(will, b"gone", 1)).accepted()
        client.subscribe("open/kept")
        data.delete_connection(clientId="deleted", cleanSession=clean_session, preventWillMessage=prevent_will)
        assert client.gone.wait(PATIENCE), "the connection stays"
        client.client.loop_stop()
        if not prevent_will:
            heard(watcher, will)
        again = Device(broker, device, "deleted", protocol, clean=False).accepted()
        assert again.flags.session_present is not clean_session
        again.stop()
    assert not [m for m in watcher.messages if m.topic in ("open/will/1", "open/will/2")]
    # What waits without a connection can be cleaned as well, once.
    data.delete_connection(clientId="deleted", cleanSession=True)
    with pytest.raises(data.exceptions.ResourceNotFoundException):
        data.delete_connection(clientId="deleted", cleanSession=True)
    audited = [record for record in broker.jitp("audit", "--operation", "DeleteConnection")]
    assert audited[0]["resources"]["clientId"] == "deleted"


def test_an_mqtt_5_client_is_told_that_an_operator_ended_its_connection(broker, factory):
    certificate, key, _ = factory.device("told")
    connected, told, stopped = Future(), Future(), Future()
    client = mqtt5_client_builder.mtls_from_path(
        endpoint="localhost", port=broker.port, cert_filepath=str(certificate), pri_key_filepath=str(key),
        ca_filepath=str(broker.ca), client_id="told",
        on_lifecycle_connection_success=lambda data: connected.done() or connected.set_result(data),
        on_lifecycle_disconnection=lambda data: told.done() or told.set_result(data.disconnect_packet),
        on_lifecycle_stopped=lambda data: stopped.set_result(data))
    client.start()
    connected.result(PATIENCE)
    reply = signed(broker, "DELETE", "/connections/told", "iotdevicegateway",
                   {"cleanSession": "TRUE", "preventWillMessage": "False"})
    assert (reply.status_code, reply.content) == (200, b"")
    assert told.result(PATIENCE).reason_code == mqtt5.DisconnectReasonCode.ADMINISTRATIVE_ACTION
    client.stop()
    stopped.result(PATIENCE)


def test_a_connection_that_is_not_there_and_flags_that_are_none_have_their_errors(broker):
    assert signed(broker, "DELETE", "/connections/absent", "iotdata").status_code == 404
    assert signed(broker, "DELETE", "/connections/absent", "iotdevicegateway", {"cleanSession": "1"}).status_code == 400


def test_boto3_reads_what_is_retained_page_by_page(broker, factory):
    data = broker.iot_data()
    for number in range(5):
        data.publish(topic=f"kept/{number}", qos=1, retain=True, payload=f"p{number}".encode(),
                     userProperties=[{"line": "7"}])
    found = data.get_retained_message(topic="kept/3")
    assert (found["topic"], found["payload"], found["qos"]) == ("kept/3", b"p3", 1)
    assert json.loads(found["userProperties"]) == [{"line": "7"}]
    assert abs(found["lastModifiedTime"] / 1000 - time.time()) < 600
    topics = [message for page in data.get_paginator("list_retained_messages").paginate(PaginationConfig={"PageSize": 2})
              for message in page["retainedTopics"]]
    kept = [message["topic"] for message in topics if message["topic"].startswith("kept/")]
    assert kept == [f"kept/{number}" for number in range(5)]
    assert {message["payloadSize"] for message in topics if message["topic"] in kept} == {2}
    for topic in kept:
        data.publish(topic=topic, retain=True, qos=1, payload=b"")
    with pytest.raises(data.exceptions.ResourceNotFoundException):
        data.get_retained_message(topic="kept/3")


# Devices ---------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def device(broker, factory):
    """Provisioned over MQTT."""
    made = factory.device("http")
    Device(broker, made, "http").accepted().stop()
    return made


def test_a_device_publishes_with_curl_whether_or_not_slashes_are_encoded(broker, device, watcher):
    for topic, path in (("open/a b/1", "/topics/open%2Fa%20b%2F1?qos=1"), ("open/plain", "/topics/open/plain")):
        status, body = curl(broker, device, path, "--data-binary", "hello")
        assert (status, body["message"]) == (200, "OK") and body["traceId"]
        message = heard(watcher, topic)
        assert (message.payload, message.qos) == (b"hello", 1 if "qos" in path else 0)


def test_policies_are_asked_and_the_variables_of_the_certificate_resolve(broker, device, watcher):
    assert curl(broker, device, "/topics/by/http?qos=1", "--data", "x")[0] == 200
    heard(watcher, "by/http")
    # There is no client id over HTTP.
    for topic in ("by/other", "elsewhere", "client/http", "client/", "$aws/events/x"):
        status, body = curl(broker, device, "/topics/" + urllib.parse.quote(topic, safe=""), "--data", "x")
        assert (status, body["message"]) == (403, "Forbidden") and body["traceId"]
        wait_for(lambda: body["traceId"] in broker.logged(), "the record of the refusal")


def test_retaining_needs_its_own_permission(broker, factory, device):
    assert curl(broker, device, "/topics/open/kept?retain=true&qos=1", "--data", "kept")[0] == 200
    assert curl(broker, device, "/topics/open/live/x?retain=true", "--data", "kept")[0] == 403
    assert curl(broker, device, "/topics/open/live/x", "--data", "not kept")[0] == 200
    late = Device(broker, factory.device("late"), "late").accepted()
    late.subscribe("open/+")
    late.subscribe("open/live/+")
    message = heard(late, "open/kept")
    assert (message.payload, message.retain) == (b"kept", True)
    late.stop()


def test_bounds_and_mistakes_have_their_status(broker, device, tmp_path):
    large = tmp_path / "large"
    large.write_bytes(b"x" * 131_073)
    assert curl(broker, device, "/topics/open/large", "--data-binary", f"@{large}")[0] == 413
    large.write_bytes(b"x" * 131_072)
    assert curl(broker, device, "/topics/open/large", "--data-binary", f"@{large}")[0] == 200
    assert curl(broker, device, "/topics/open/x?qos=2", "--data", "x")[0] == 400
    assert curl(broker, device, "/topics/open/%2B", "--data", "x")[0] == 400
    assert curl(broker, device, "/things", "--data", "x")[0] == 404
    assert curl(broker, device, "/topics/open/x", "--request", "PUT", "--data", "x")[0] == 405


def test_a_certificate_that_is_unknown_or_inactive_publishes_nothing_and_is_not_provisioned(broker, factory, device):
    stranger = factory.device("stranger")
    assert curl(broker, stranger, "/topics/open/x", "--data", "x")[0] == 403
    iot = broker.iot()
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_thing(thingName="stranger")
    attempt = wait_for(lambda: broker.attempts(certificate=certificate_id(stranger[0])), "an attempt")[0]
    assert attempt["reason"] == "DEVICE_CERTIFICATE_NOT_REGISTERED"
    revoked = factory.device("revoked")
    Device(broker, revoked, "revoked").accepted().stop()
    assert curl(broker, revoked, "/topics/open/x", "--data", "x")[0] == 200
    iot.update_certificate(certificateId=certificate_id(revoked[0]), newStatus="REVOKED")
    assert curl(broker, revoked, "/topics/open/x", "--data", "x")[0] == 403


def test_the_mqtt_port_speaks_http_with_those_who_name_it(broker, device, watcher):
    certificate, key, _ = device
    request = (b"POST /topics/open/alpn?qos=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
               b"Connection: close\r\n\r\nx")
    context = ssl.create_default_context(cafile=broker.ca)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["x-amzn-http-ca"])
    answer = b""
    with (socket.create_connection(("127.0.0.1", broker.port), timeout=PATIENCE) as plain,
          context.wrap_socket(plain, server_hostname="localhost") as stream):
        assert stream.selected_alpn_protocol() == "x-amzn-http-ca"
        stream.sendall(request)
        while chunk := stream.recv(4096):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer
    assert heard(watcher, "open/alpn").payload == b"x"

