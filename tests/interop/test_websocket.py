"""MQTT over WebSocket with TLS client certificates: paho-mqtt, the AWS Common Runtime, mqtt.js; curl for what is refused."""

import json
import os
import pathlib
import subprocess
from concurrent.futures import Future

import paho.mqtt.client as mqtt
import pytest
from awscrt import io, mqtt5

from conftest import PATIENCE, POLICY, Broker, certificate_id, plant, wait_for
from test_paho import Device

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    running = Broker(tmp_path_factory.mktemp("broker"), "--https", "127.0.0.1:0")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def factory(tmp_path_factory, broker):
    return plant(tmp_path_factory.mktemp("factory"), broker, "WebSocket CA", POLICY)


@pytest.mark.parametrize("protocol", [mqtt.MQTTv311, mqtt.MQTTv5])
def test_paho_is_provisioned_at_its_first_connection_and_hears_itself_over_tcp(broker, factory, protocol):
    name = f"paho-ws-{protocol}"
    certificate = factory.device(name)
    device = Device(broker, certificate, name, protocol, transport="websockets").accepted()
    assert broker.iot().describe_thing(thingName=name)["version"] == 1
    attempt, = broker.attempts(certificate=certificate_id(certificate[0]))
    assert (attempt["outcome"], attempt["sourceIp"]) == ("provisioned", "127.0.0.1")
    device.subscribe(f"dev/{name}/#")
    payload = os.urandom(100_000)
    device.client.publish(f"dev/{name}/x", payload, qos=1)
    wait_for(lambda: device.messages, "the message")
    assert device.messages[0].payload == payload
    # The same client id over TCP takes over, as between two connections of one kind.
    over_tcp = Device(broker, certificate, name, protocol).accepted()
    assert device.gone.wait(PATIENCE), "the connection over WebSocket was not ended"
    device.client.loop_stop()
    over_tcp.stop()


def test_what_a_policy_refuses_is_refused_over_websocket_too(broker, factory):
    certificate = factory.device("paho-ws-refused")
    device = Device(broker, certificate, "another-name", mqtt.MQTTv5, transport="websockets")
    assert device.connected.wait(PATIENCE) and device.answer.value == 0x87, device.answer
    device.client.loop_stop()


def test_the_aws_common_runtime_connects_over_websocket_with_a_client_certificate(broker, factory):
    certificate, key, _ = factory.device("crt-ws")
    tls = io.TlsContextOptions.create_client_with_mtls_from_path(str(certificate), str(key))
    tls.override_default_trust_store_from_path(None, str(broker.ca))
    connected, message = Future(), Future()
    client = mqtt5.Client(mqtt5.ClientOptions(
        host_name="localhost",
        port=broker.https,
        tls_ctx=io.ClientTlsContext(tls),
        connect_options=mqtt5.ConnectPacket(client_id="crt-ws"),
        websocket_handshake_transform=lambda transform_args: transform_args.set_done(),
        on_lifecycle_event_connection_success_fn=connected.set_result,
        on_lifecycle_event_connection_failure_fn=lambda failure: connected.set_exception(failure.exception),
        on_publish_callback_fn=lambda received: message.set_result(received.publish_packet),
    ))
    client.start()
    connected.result(PATIENCE)
    subscription = mqtt5.Subscription(topic_filter="dev/crt-ws/#", qos=mqtt5.QoS.AT_LEAST_ONCE)
    client.subscribe(mqtt5.SubscribePacket(subscriptions=[subscription])).result(PATIENCE)
    client.publish(mqtt5.PublishPacket(topic="dev/crt-ws/x", payload=b"hi", qos=mqtt5.QoS.AT_LEAST_ONCE)).result(PATIENCE)
    assert message.result(PATIENCE).payload == b"hi"
    client.stop()
    assert broker.iot().describe_thing(thingName="crt-ws")["thingName"] == "crt-ws"


def test_mqtt_js_connects_subscribes_and_publishes(broker, factory, tmp_path):
    names = ["js-ws-4", "js-ws-5"]
    made = [factory.device(name) for name in names]
    given = tmp_path / "given.json"
    given.write_text(json.dumps({"port": broker.https, "ca": str(broker.ca), "devices": [
        {"name": name, "certificate": str(files[0]), "key": str(files[1])} for name, files in zip(names, made)]}))
    # Node looks for packages beside the script: tests/run installs them beside a copy of it.
    script = pathlib.Path(os.environ.get("JITP_INTEROP_JS", HERE / "js")) / "websocket.test.mjs"
    run = subprocess.run(["node", "--test", "--test-reporter=spec", str(script)],
                         env={**os.environ, "JITP_GIVEN": str(given)}, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr


def test_curl_is_told_what_it_should_have_asked_for(broker, factory):
    certificate, key, _ = factory.device("curl-ws")
    upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    for headers, status, said in [([], 426, "wss"), (upgrade, 400, "Sec-WebSocket-Protocol: mqtt"),
                                  ([*upgrade, "Sec-WebSocket-Protocol: chat"], 400, "Sec-WebSocket-Protocol: mqtt")]:
        run = subprocess.run(
            ["curl", "--silent", "--show-error", "--http1.1", "--cacert", broker.ca, "--cert", certificate, "--key", key,
             "--max-time", str(PATIENCE), "--write-out", "\n%{http_code}",
             *[word for header in headers for word in ("--header", header)], f"https://localhost:{broker.https}/mqtt"],
            capture_output=True, text=True, check=True)
        body, _, code = run.stdout.rpartition("\n")
        assert int(code) == status and said in json.loads(body)["message"], run.stdout
