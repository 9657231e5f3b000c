"""Behind HAProxy, with the configuration of docs/listeners.md: TLS goes through, and devices' addresses are told."""

import json
import pathlib
import re
import socket
import subprocess
import urllib.request

import paho.mqtt.client as mqtt
import pytest

from conftest import PATIENCE, Broker, certificate_id, plant, wait_for
from test_paho import Device

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "listeners.md").read_text()
HERE, ELSEWHERE = "127.0.0.2", "127.0.0.3"
FROM_HERE = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": "iot:*", "Resource": "*", "Condition": {"IpAddress": {"aws:SourceIp": HERE}}}]}


def block(language: str, beginning: str = "") -> str:
    """The block of the page in this language that begins so."""
    return next(text for text in re.findall(f"```{language}\n(.*?)```", PAGE, re.DOTALL) if text.startswith(beginning))


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    config = re.sub(r'address = "10\.0\.0\.11:\d+"', 'address = "127.0.0.1:0"', block("toml", "[broker]"))
    config = config.replace("10.0.0.2", "127.0.0.1")
    running = Broker(tmp_path_factory.mktemp("broker"), config=config)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def haproxy(broker, tmp_path_factory):
    """The ports of its frontends: MQTT, HTTPS."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    config = block("haproxy")
    ports = {":8883": sockets[0], ":443": sockets[1], "10.0.0.11:8884": broker.further[0], "10.0.0.11:8444": broker.https}
    for written, there in ports.items():
        assert config.count(f" {written}") == 1, written
        there = f"127.0.0.1:{there}" if isinstance(there, int) else f"fd@{there.fileno()}"
        config = config.replace(f" {written}", f" {there}")
    file = tmp_path_factory.mktemp("haproxy") / "haproxy.cfg"
    file.write_text(config)
    with open(file.with_suffix(".log"), "w") as log:
        running = subprocess.Popen(["haproxy", "-db", "-f", file], stdout=log, stderr=log,
                                   pass_fds=[listening.fileno() for listening in sockets])
        yield [listening.getsockname()[1] for listening in sockets]
        assert running.poll() is None, file.with_suffix(".log").read_text()
        running.kill()
        running.wait()
    for listening in sockets:
        listening.close()


@pytest.fixture(scope="module")
def factory(tmp_path_factory, broker):
    return plant(tmp_path_factory.mktemp("factory"), broker, "HAProxy CA", FROM_HERE)


def accepted(broker) -> int:
    with urllib.request.urlopen(f"{broker.api}/metrics", timeout=PATIENCE) as answer:
        found = re.search(r"^jitp_broker_accepted_total (\d+)", answer.read().decode(), re.MULTILINE)
    return int(found[1]) if found else 0


def test_health_checks_are_not_on_record(broker, haproxy):
    # Both backends more than once.
    wait_for(lambda: accepted(broker) >= 6, "health checks")
    assert broker.attempts() == []


def test_a_device_is_known_by_its_own_address_with_mutual_tls_end_to_end(broker, haproxy, factory):
    certificate = factory.device("behind-haproxy")
    device = Device(broker, certificate, "behind-haproxy", mqtt.MQTTv5, port=haproxy[0], source=HERE).accepted()
    attempt, = broker.attempts(certificate=certificate_id(certificate[0]))
    assert (attempt["outcome"], attempt["sourceIp"]) == ("provisioned", HERE)
    device.subscribe("dev/behind-haproxy/#")
    device.client.publish("dev/behind-haproxy/x", b"through", qos=1)
    wait_for(lambda: device.messages, "the message")
    device.stop()


def test_a_policy_asks_for_the_address_of_the_device_and_not_of_the_load_balancer(broker, haproxy, factory):
    certificate = factory.device("haproxy-policy")
    for source, refused in [(HERE, False), (ELSEWHERE, True)]:
        device = Device(broker, certificate, "haproxy-policy", mqtt.MQTTv5, port=haproxy[0], source=source)
        assert device.connected.wait(PATIENCE), "no CONNACK"
        assert device.answer.is_failure == refused, device.answer
        device.stop()
    # A refusal is recorded beside the connection, not before its answer.
    attempt, = wait_for(
        lambda: broker.attempts(certificate=certificate_id(certificate[0]), reason="AUTHORIZATION_FAILURE"), "the attempt")
    assert attempt["sourceIp"] == ELSEWHERE
    # Directly, the load balancer's own address is the device's.
    device = Device(broker, certificate, "haproxy-policy", mqtt.MQTTv5)
    assert device.connected.wait(PATIENCE) and device.answer.is_failure
    device.client.loop_stop()


def test_websocket_and_https_come_through_as_well(broker, haproxy, factory):
    certificate = factory.device("haproxy-ws")
    device = Device(broker, certificate, "haproxy-ws", mqtt.MQTTv5, port=haproxy[1], source=HERE,
                    transport="websockets").accepted()
    device.subscribe("dev/haproxy-ws/#")
    run = subprocess.run(
        ["curl", "--silent", "--show-error", "--interface", HERE, "--cacert", broker.ca, "--cert", certificate[0],
         "--key", certificate[1], "--max-time", str(PATIENCE), "--data", "by-post",
         f"https://localhost:{haproxy[1]}/topics/dev/haproxy-ws/x?qos=1"], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout)["message"] == "OK", run.stdout
    wait_for(lambda: device.messages, "the message")
    assert device.messages[0].payload == b"by-post"
    device.stop()
