"""Searching for things, and groups whose things are found by a query."""


import pytest
from botocore.exceptions import ClientError

from conftest import wait_for
from test_authorization import document

ON = {"thingIndexingMode": "REGISTRY", "thingConnectivityIndexingMode": "STATUS"}


@pytest.fixture(scope="module")
def iot(broker):
    return broker.iot()


@pytest.fixture(scope="module")
def fleet(iot):
    """Things to search for, after indexing was switched on."""
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.search_index(queryString="*")
    assert iot.get_indexing_configuration()["thingIndexingConfiguration"]["thingIndexingMode"] == "OFF"
    assert iot.list_indices()["indexNames"] == []
    iot.update_indexing_configuration(thingIndexingConfiguration=ON)
    iot.create_thing_type(thingTypeName="found")
    iot.create_thing_group(thingGroupName="found-hall")
    for number in range(12):
        name = f"found-{number:02}"
        iot.create_thing(thingName=name, thingTypeName="found", attributePayload={
            "attributes": {"floor": str(number), "line": "A" if number % 2 else "B"}})
        if number < 3:
            iot.add_thing_to_thing_group(thingName=name, thingGroupName="found-hall")


def found(iot, query, **more):
    things, token = [], {}
    while True:
        page = iot.search_index(queryString=query, **token, **more)
        things += [thing["thingName"] for thing in page["things"]]
        if "nextToken" not in page:
            return things
        token = {"nextToken": page["nextToken"]}


def test_the_index_describes_itself(iot, fleet):
    things = iot.get_indexing_configuration()["thingIndexingConfiguration"]
    assert {key: things[key] for key in ON} == ON
    assert {"name": "connectivity.connected", "type": "Boolean"} in things["managedFields"]
    assert iot.list_indices()["indexNames"] == ["AWS_Things"]
    assert iot.describe_index(indexName="AWS_Things") | {"ResponseMetadata": 0} == {
        "indexName": "AWS_Things", "indexStatus": "ACTIVE", "schema": "REGISTRY_AND_CONNECTIVITY_STATUS",
        "ResponseMetadata": 0}
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_index(indexName="AWS_ThingGroups")
    for off in ({"thingIndexingMode": "REGISTRY_AND_SHADOW"}, {**ON, "deviceDefenderIndexingMode": "VIOLATIONS"},
                {"thingIndexingMode": "OFF", "thingConnectivityIndexingMode": "STATUS"}):
        with pytest.raises(iot.exceptions.InvalidRequestException):
            iot.update_indexing_configuration(thingIndexingConfiguration=off)


def test_things_are_found_in_pages_by_what_they_are(iot, fleet):
    everything = [f"found-{number:02}" for number in range(12)]
    assert found(iot, "thingName:found-*", maxResults=5) == everything
    assert found(iot, "thingTypeName:found") == everything
    assert found(iot, "thingTypeName:found AND attributes.line:a") == everything[1::2]
    assert found(iot, "thingName:found-* attributes.floor>=10") == everything[10:]
    assert found(iot, "thingGroupNames:found-hall") == everything[:3]
    assert found(iot, "thingName:found-* AND NOT thingGroupNames:*", maxResults=2) == everything[3:]
    [first] = iot.search_index(queryString="thingName:FOUND-00")["things"]
    assert (first["thingTypeName"], first["thingGroupNames"], first["attributes"]) \
        == ("found", ["found-hall"], {"floor": "0", "line": "B"})
    assert first["connectivity"]["connected"] is False


def test_a_query_that_cannot_be_read_is_refused_with_what_is_wrong(iot, fleet):
    for query, part in [("thingName:", "no value"), ("shadow.reported.x:1", "no field"), ("(a", "no )")]:
        with pytest.raises(iot.exceptions.InvalidQueryException) as raised:
            iot.search_index(queryString=query)
        assert part in str(raised.value)


def test_who_is_connected_is_found(broker, iot, fleet, factory):
    from test_paho import Device

    device = Device(broker, factory.device("present"), "present").accepted()
    wait_for(lambda: found(iot, "connectivity.connected:true") == ["present"], "the connection")
    device.stop()
    wait_for(lambda: found(iot, "connectivity.connected:true") == [], "the end of the connection")
    [thing] = iot.search_index(queryString="connectivity.disconnectReason:CLIENT_INITIATED_DISCONNECT")["things"]
    assert (thing["thingName"], thing["connectivity"]["connected"]) == ("present", False)
    assert thing["connectivity"]["timestamp"] > 1_700_000_000_000


def test_a_dynamic_group_has_the_things_that_its_query_finds(iot, fleet):
    made = iot.create_dynamic_thing_group(thingGroupName="upstairs", queryString="thingName:found-* attributes.floor>8",
                                          tags=[{"Key": "a", "Value": "b"}])
    assert (made["indexName"], made["queryVersion"]) == ("AWS_Things", "2017-09-30")
    things = lambda: iot.list_things_in_thing_group(thingGroupName="upstairs")["things"]
    assert things() == ["found-09", "found-10", "found-11"]
    group = iot.describe_thing_group(thingGroupName="upstairs")
    assert (group["status"], group["queryString"]) == ("ACTIVE", "thingName:found-* attributes.floor>8")
    # A thing that comes to match is in the group at once, and one that does not any more is not.
    iot.update_thing(thingName="found-01", attributePayload={"attributes": {"floor": "99"}, "merge": True})
    assert things() == ["found-01", "found-09", "found-10", "found-11"]
    assert [g["groupName"] for g in iot.list_thing_groups_for_thing(thingName="found-01")["thingGroups"]] \
        == ["found-hall", "upstairs"]
    assert iot.update_dynamic_thing_group(thingGroupName="upstairs", thingGroupProperties={}, expectedVersion=1,
                                          queryString="attributes.floor:99")["version"] == 2
    assert things() == ["found-01"]

    def refused(call, **arguments):
        with pytest.raises(ClientError) as raised:
            call(**arguments)
        return raised.value.response["Error"]["Code"]

    invalid = "InvalidRequestException"
    assert refused(iot.add_thing_to_thing_group, thingName="found-02", thingGroupName="upstairs") == invalid
    assert refused(iot.create_thing_group, thingGroupName="below", parentGroupName="upstairs") == invalid
    assert refused(iot.delete_thing_group, thingGroupName="upstairs") == invalid
    assert refused(iot.update_thing_group, thingGroupName="upstairs", thingGroupProperties={}) == invalid
    assert refused(iot.delete_dynamic_thing_group, thingGroupName="found-hall") == invalid
    assert refused(iot.update_indexing_configuration, thingIndexingConfiguration={"thingIndexingMode": "OFF"}) == invalid
    create = iot.create_dynamic_thing_group
    assert refused(create, thingGroupName="upstairs", queryString="*") == "ResourceAlreadyExistsException"
    assert refused(create, thingGroupName="x", queryString="(") == "InvalidQueryException"
    assert refused(create, thingGroupName="x", queryString="connectivity.connected:true") == "InvalidQueryException"
    iot.delete_dynamic_thing_group(thingGroupName="upstairs")
    assert [g["groupName"] for g in iot.list_thing_groups_for_thing(thingName="found-01")["thingGroups"]] \
        == ["found-hall"]


def test_a_thing_that_is_in_ten_groups_leaves_a_dynamic_one_only_when_told_to(iot, fleet):
    iot.create_thing(thingName="popular", attributePayload={"attributes": {"popular": "yes"}})
    iot.create_dynamic_thing_group(thingGroupName="popular", queryString="attributes.popular:yes")
    for number in range(10):
        iot.create_thing_group(thingGroupName=f"crowd-{number}")
    for number in range(9):
        iot.add_thing_to_thing_group(thingName="popular", thingGroupName=f"crowd-{number}")
    groups = lambda: [g["groupName"] for g in iot.list_thing_groups_for_thing(thingName="popular")["thingGroups"]]
    assert len(groups()) == 10 and "popular" in groups()
    last = {"thingName": "popular", "thingGroupName": "crowd-9"}
    with pytest.raises(iot.exceptions.InvalidRequestException) as raised:
        iot.add_thing_to_thing_group(**last)
    assert "overrideDynamicGroups" in str(raised.value)
    iot.add_thing_to_thing_group(**last, overrideDynamicGroups=True)
    assert len(groups()) == 10 and "popular" not in groups()
    assert iot.list_things_in_thing_group(thingGroupName="popular")["things"] == []
    iot.delete_dynamic_thing_group(thingGroupName="popular")


def test_the_policies_of_a_dynamic_group_reach_a_device_while_it_is_connected(broker, iot, fleet, factory):
    from test_paho import Device

    device = Device(broker, factory.device("dynamic"), "dynamic").accepted()
    iot.create_policy(policyName="of-dynamic", policyDocument=document(
        ("Allow", "iot:Subscribe", "topicfilter/extra"), ("Allow", "iot:Receive", "topic/extra")))
    allowed = lambda: not device.subscribe("extra")[0].is_failure
    assert not allowed()
    made = iot.create_dynamic_thing_group(thingGroupName="chosen", queryString="attributes.chosen:yes")
    iot.attach_policy(policyName="of-dynamic", target=made["thingGroupArn"])
    assert not allowed()
    iot.update_thing(thingName="dynamic", attributePayload={"attributes": {"chosen": "yes"}, "merge": True})
    wait_for(allowed, "the policy of the dynamic group")
    iot.delete_dynamic_thing_group(thingGroupName="chosen")
    wait_for(lambda: not allowed(), "the policy to go with the group")
    device.stop()
