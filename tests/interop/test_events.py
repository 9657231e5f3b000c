"""What is told on the event topics, to a client that is not ours."""

import json

import paho.mqtt.client as mqtt
import pytest

from conftest import PATIENCE, POLICY, TEMPLATE, Broker, Factory, certificate_id, plant, register, wait_for
from test_paho import Device, allow_everything

ROLE = "arn:aws:iam::000000000000:role/provisioner"


class Watcher:
    """Hears the topics of a filter, each with its payload."""

    def __init__(self, broker, factory, name, *filters, files=None):
        files = files or factory.device(name)
        allow_everything(broker, factory, files, name)
        self.device = Device(broker, files, name).accepted()
        for topic_filter in filters:
            assert [code.value for code in self.device.subscribe(topic_filter)] == [1]

    def heard(self, topic):
        """The payload of the first message on this topic."""
        found = wait_for(lambda: [m for m in self.device.messages if m.topic == topic], topic)
        return json.loads(found[0].payload)

    def topics(self):
        return [message.topic for message in self.device.messages]


def refused(broker, files, name):
    """Tries once."""
    device = Device(broker, files, name)
    assert device.gone.wait(PATIENCE)
    assert not device.connected.is_set() or device.answer.is_failure
    device.client.loop_stop()


@pytest.fixture(scope="module")
def watcher(broker, factory):
    made = Watcher(broker, factory, "all-ears", "$aws/events/#", "$jitp/events/#")
    yield made
    made.device.stop()


def test_refused_attempts_are_told_by_ca_or_as_of_an_unknown_one(broker, factory, watcher, tmp_path):
    stranger = Factory(tmp_path, "Nobody's CA").device("uninvited")
    refused(broker, stranger, "uninvited")
    attempt = watcher.heard("$jitp/events/attempts/refused/unknown")
    assert (attempt["reason"], attempt["clientId"]) == ("DEVICE_CERTIFICATE_NOT_REGISTERED", "uninvited")
    refused(broker, factory.device("misnamed", subject="/CN=mis named"), "misnamed")
    attempt = watcher.heard(f"$jitp/events/attempts/refused/{factory.id}")
    assert (attempt["reason"], attempt["failingResource"]) == ("TEMPLATE_VALUE_INVALID", "thing")
    assert attempt == wait_for(lambda: broker.attempts(client_id="misnamed"), "the attempt")[0]


def test_a_run_of_a_template_tells_what_the_calls_that_it_stands_for_would(broker, factory, watcher, tmp_path):
    iot = broker.iot()
    iot.update_event_configurations(eventConfigurations={
        kind: {"Enabled": True} for kind in ("THING", "THING_TYPE_ASSOCIATION", "THING_GROUP_MEMBERSHIP")})
    iot.create_thing_type(thingTypeName="press")
    iot.create_thing_group(thingGroupName="hall-3")
    template = json.loads(json.dumps(TEMPLATE))
    template["Resources"]["thing"]["Properties"] |= {"ThingTypeName": "press", "ThingGroups": ["hall-3"]}
    presses = Factory(tmp_path, "Press CA")
    register(broker, presses, registrationConfig={"templateBody": json.dumps(template), "roleArn": ROLE})
    files = presses.device("press-1")
    Device(broker, files, "press-1").accepted().stop()
    created = watcher.heard("$aws/events/thing/press-1/created")
    assert (created["operation"], created["versionNumber"], created["thingTypeName"]) == ("CREATED", 1, "press")
    assert created["attributes"] == {"line": "line-7"}
    added = watcher.heard("$aws/events/thingTypeAssociation/thing/press-1/thingType/press/added")
    assert (added["eventType"], "accountId" in added) == ("THING_TYPE_ASSOCIATION_EVENT", False)
    joined = watcher.heard("$aws/events/thingGroupMembership/thingGroup/hall-3/thing/press-1/added")
    assert joined["thingArn"].endswith(":thing/press-1") and joined["groupArn"].endswith(":thinggroup/hall-3")
    registered = watcher.heard(f"$aws/events/certificates/registered/{certificate_id(presses.certificate)}")
    assert registered["certificateId"] == certificate_id(files[0])
    assert isinstance(registered["timestamp"], int) and isinstance(registered["certificateRegistrationTimestamp"], str)


def test_a_connections_events_have_its_session_and_only_what_was_granted(broker, factory, watcher):
    files = factory.device("talker")
    device = Device(broker, files, "talker", mqtt.MQTTv5).accepted()
    device.client.subscribe([("dev/talker/#", 1), ("dev/another/#", 1)])
    subscribed = watcher.heard("$aws/events/subscriptions/subscribed/talker")
    assert subscribed["topics"] == ["dev/talker/#"]
    device.client.unsubscribe("dev/talker/#")
    device.stop()
    events = [watcher.heard(f"$aws/events/{what}/talker") for what in (
        "presence/connected", "subscriptions/unsubscribed", "presence/disconnected")]
    assert {event["sessionIdentifier"] for event in [subscribed, *events]} == {subscribed["sessionIdentifier"]}
    assert {event["principalIdentifier"] for event in events} == {certificate_id(files[0])}
    connected, _, disconnected = events
    assert connected["versionNumber"] == disconnected["versionNumber"] and connected["ipAddress"] == "127.0.0.1"
    assert (disconnected["clientInitiatedDisconnect"], disconnected["disconnectReason"]) == (True, "CLIENT_INITIATED_DISCONNECT")


def test_who_may_not_connect_is_told_as_such(broker, factory, watcher):
    files = factory.device("pretender")
    Device(broker, files, "pretender").accepted().stop()
    refused(broker, files, "somebody-else")
    failed = watcher.heard("$aws/events/presence/connect_failed/somebody-else")
    assert failed["connectFailureReason"] == "AUTHORIZATION_FAILED"
    assert failed["principalIdentifier"] == certificate_id(files[0])
    assert "$aws/events/presence/connected/somebody-else" not in watcher.topics()


def test_a_taken_over_client_id_ends_the_older_number_and_begins_a_higher_one(broker, factory, watcher):
    files = factory.device("coveted")
    first = Device(broker, files, "coveted", mqtt.MQTTv5).accepted()
    second = Device(broker, files, "coveted", mqtt.MQTTv5).accepted()
    assert first.gone.wait(PATIENCE)
    ended = watcher.heard("$aws/events/presence/disconnected/coveted")
    assert ended["disconnectReason"] == "DUPLICATE_CLIENTID"
    topic = "$aws/events/presence/connected/coveted"
    both = wait_for(lambda: len(found := [m for m in watcher.device.messages if m.topic == topic]) == 2 and found, "both")
    numbers = sorted(json.loads(message.payload)["versionNumber"] for message in both)
    assert numbers[0] == ended["versionNumber"] < numbers[1]
    first.stop()
    second.stop()


def test_in_profile_aws_the_connection_that_provisions_was_never_there(tmp_path_factory):
    broker = Broker(tmp_path_factory.mktemp("aws"), "--profile", "aws")
    try:
        factory = plant(tmp_path_factory.mktemp("factory"), broker, "Faithful CA", POLICY)
        files = factory.device("listener")
        refused(broker, files, "listener")
        watcher = Watcher(broker, factory, "listener", "$aws/events/#", files=files)
        device = factory.device("newcomer")
        refused(broker, device, "newcomer")
        watcher.heard(f"$aws/events/certificates/registered/{certificate_id(factory.certificate)}")
        assert "$aws/events/presence/connected/newcomer" not in watcher.topics()
        Device(broker, device, "newcomer").accepted().stop()
        watcher.heard("$aws/events/presence/disconnected/newcomer")
        assert watcher.topics().count("$aws/events/presence/connected/newcomer") == 1
        watcher.device.stop()
    finally:
        broker.stop()
