"""What a device may do, as AWS's operations answer it."""

import json

import pytest
from botocore.exceptions import ClientError

from conftest import Factory

PREFIX = "arn:aws:iot:us-east-1:000000000000:"


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": effect, "Action": action, "Resource": PREFIX + resource} for effect, action, resource in statements]})


@pytest.fixture(scope="module")
def iot(broker):
    return broker.iot()


@pytest.fixture(scope="module")
def device(iot, tmp_path_factory):
    """A certificate with a policy, a thing, and a group of the thing with another policy. The certificate's ARN."""
    pem = Factory(tmp_path_factory.mktemp("self"), "Self").device("pump")[0].read_text()
    arn = iot.register_certificate_without_ca(certificatePem=pem, status="ACTIVE")["certificateArn"]
    iot.create_thing(thingName="pump")
    iot.attach_thing_principal(thingName="pump", principal=arn)
    iot.create_policy(policyName="own", policyDocument=document(
        ("Allow", "iot:Connect", "client/${iot:Connection.Thing.ThingName}"),
        ("Allow", ["iot:Publish", "iot:Receive"], "topic/plant/*"),
        ("Deny", "iot:Publish", "topic/plant/secret")))
    iot.attach_policy(policyName="own", target=arn)
    iot.create_policy(policyName="of-group", policyDocument=document(("Allow", "iot:Subscribe", "topicfilter/plant/#")))
    iot.create_policy(policyName="of-site", policyDocument=document(("Allow", "iot:Publish", "topic/site")))
    site = iot.create_thing_group(thingGroupName="site")["thingGroupArn"]
    hall = iot.create_thing_group(thingGroupName="hall", parentGroupName="site")["thingGroupArn"]
    iot.attach_policy(policyName="of-site", target=site)
    iot.attach_policy(policyName="of-group", target=hall)
    iot.add_thing_to_thing_group(thingName="pump", thingGroupName="hall")
    return arn


def effective(iot, **of):
    return [policy["policyName"] for policy in iot.get_effective_policies(**of)["effectivePolicies"]]


def test_effective_policies_are_those_of_the_certificate_and_of_its_things_groups(iot, device):
    assert effective(iot, principal=device) == ["own"]
    assert effective(iot, principal=device, thingName="pump") == ["of-group", "of-site", "own"]
    assert effective(iot, thingName="pump") == ["of-group", "of-site"]
    iot.create_thing(thingName="unattached")
    iot.add_thing_to_thing_group(thingName="unattached", thingGroupName="hall")
    assert effective(iot, principal=device, thingName="unattached") == ["own"]
    [policy] = [p for p in iot.get_effective_policies(principal=device)["effectivePolicies"]]
    assert json.loads(policy["policyDocument"])["Version"] == "2012-10-17"
    for wrong in ({}, {"principal": device, "cognitoIdentityPoolId": "us-east-1:pool"}):
        with pytest.raises(iot.exceptions.InvalidRequestException):
            iot.get_effective_policies(**wrong)
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.get_effective_policies(thingName="absent")


def test(iot, action, *resources, **more):
    """The one answer to one question."""
    info = {"actionType": action, "resources": [PREFIX + resource for resource in resources]}
    [result] = iot.test_authorization(authInfos=[info], **more)["authResults"]
    assert result["authInfo"] == info
    return result


test.__test__ = False


def named(part):
    return [policy["policyName"] for policy in part["policies"]]


def test_what_is_allowed_names_the_policies_that_allow_it(iot, device):
    result = test(iot, "PUBLISH", "topic/plant/a", "topic/plant/b", principal=device)
    assert (result["authDecision"], named(result["allowed"])) == ("ALLOWED", ["own"])
    assert named(result["denied"]["explicitDeny"]) == []


def test_an_explicit_deny_wins_and_is_named(iot, device):
    result = test(iot, "PUBLISH", "topic/plant/secret", principal=device)
    assert (result["authDecision"], named(result["denied"]["explicitDeny"])) == ("EXPLICIT_DENY", ["own"])
    # One resource of several is enough.
    assert test(iot, "PUBLISH", "topic/plant/a", "topic/plant/secret", principal=device)["authDecision"] \
        == "EXPLICIT_DENY"


def test_what_no_policy_speaks_of_is_denied_implicitly(iot, device):
    result = test(iot, "SUBSCRIBE", "topicfilter/other/#", principal=device)
    assert (result["authDecision"], named(result["denied"]["implicitDeny"])) == ("IMPLICIT_DENY", ["own"])
    assert named(result["allowed"]) == []


def test_values_that_are_missing_to_decide_are_named(iot, device):
    result = test(iot, "CONNECT", "client/pump", principal=device)
    assert (result["authDecision"], result["missingContextValues"]) \
        == ("IMPLICIT_DENY", ["iot:Connection.Thing.ThingName"])
    result = test(iot, "CONNECT", "client/pump", principal=device, clientId="pump")
    assert (result["authDecision"], result["missingContextValues"]) == ("ALLOWED", [])


def test_the_client_id_brings_in_the_thing_and_its_groups(iot, device):
    assert test(iot, "SUBSCRIBE", "topicfilter/plant/#", principal=device)["authDecision"] == "IMPLICIT_DENY"
    result = test(iot, "SUBSCRIBE", "topicfilter/plant/#", principal=device, clientId="pump")
    assert (result["authDecision"], named(result["allowed"])) == ("ALLOWED", ["of-group"])
    assert test(iot, "PUBLISH", "topic/site", principal=device, clientId="pump")["authDecision"] == "ALLOWED"


def test_policies_can_be_tried_on_and_left_off(iot, device):
    extra = document(("Allow", "iot:Publish", "topic/extra"))
    iot.create_policy(policyName="tried-on", policyDocument=extra)
    assert test(iot, "PUBLISH", "topic/extra", principal=device)["authDecision"] == "IMPLICIT_DENY"
    result = test(iot, "PUBLISH", "topic/extra", principal=device, policyNamesToAdd=["tried-on"])
    assert (result["authDecision"], named(result["allowed"])) == ("ALLOWED", ["tried-on"])
    assert test(iot, "PUBLISH", "topic/plant/a", principal=device, policyNamesToSkip=["own"])["authDecision"] \
        == "IMPLICIT_DENY"
    # Without any principal: only what is tried on.
    assert test(iot, "PUBLISH", "topic/extra", policyNamesToAdd=["tried-on"])["authDecision"] == "ALLOWED"
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        test(iot, "PUBLISH", "topic/extra", principal=device, policyNamesToAdd=["absent"])


def test_a_resource_that_the_action_cannot_have_is_refused_with_what_it_starts_with(iot, device):
    for action, resource in [("PUBLISH", "topicfilter/a"), ("SUBSCRIBE", "topic/a"), ("CONNECT", "topic/a")]:
        with pytest.raises(ClientError) as raised:
            test(iot, action, resource, principal=device)
        assert raised.value.response["Error"]["Code"] == "InvalidRequestException"
        assert "starts with arn:aws:iot:us-east-1:000000000000:" in str(raised.value)


def test_what_is_tested_is_what_happens(broker, iot, tmp_path):
    """The answer to CONNECT is the one that a device gets."""
    from conftest import register
    from test_paho import Device

    made = Factory(tmp_path, "Tested CA")
    register(broker, made)
    files = made.device("tested")
    Device(broker, files, "tested")
    attempts = lambda: broker.attempts(client_id="tested")
    from conftest import wait_for
    certificate = wait_for(attempts, "an attempt")[0]["certificateId"]
    arn = f"{PREFIX}cert/{certificate}"
    iot.update_certificate(certificateId=certificate, newStatus="ACTIVE")
    iot.create_policy(policyName="tested", policyDocument=document(("Allow", "iot:Connect", "client/${iot:ClientId}")))
    iot.attach_policy(policyName="tested", target=arn)
    assert test(iot, "CONNECT", "client/tested", principal=arn, clientId="tested")["authDecision"] == "ALLOWED"
    Device(broker, files, "tested").accepted().stop()
