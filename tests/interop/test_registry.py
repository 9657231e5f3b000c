"""Everything in the registry through boto3: each reply is compared with the model (conftest.py)."""

import copy
import json

import pytest
from botocore.exceptions import ClientError

from conftest import POLICY, TEMPLATE, Broker, Factory, register

ROLE = "arn:aws:iam::000000000000:role/provisioner"
DOCUMENT = json.dumps(POLICY)
HOOK = "arn:aws:lambda:us-east-1:000000000000:function:hook"


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """One that knows a hook."""
    running = Broker(tmp_path_factory.mktemp("broker"),
                     config=f'[hooks.stock]\narn = "{HOOK}"\ncommand = ["false"]\n')
    yield running
    running.stop()


@pytest.fixture(scope="module")
def iot(broker):
    return broker.iot()


def code(call, **arguments):
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    return raised.value.response["Error"]["Code"]


def names(reply, members, name):
    return [item[name] for item in reply[members]]


def every(iot, operation, members, **arguments):
    """All items of a list, one a page."""
    paginator = iot.get_paginator(operation)
    pages = paginator.paginate(**arguments, PaginationConfig={"PageSize": 1})
    return [item for page in pages for item in page[members]]


def test_tags_of_every_kind_of_resource(broker, iot, tmp_path):
    tags = [{"Key": "plant", "Value": "a"}, {"Key": "owner", "Value": ""}]
    made = Factory(tmp_path, "Tagged CA")
    arns = {
        iot.create_policy(policyName="tagged", policyDocument=DOCUMENT, tags=tags)["policyArn"],
        iot.create_thing_type(thingTypeName="tagged", tags=tags)["thingTypeArn"],
        iot.create_thing_group(thingGroupName="tagged", tags=tags)["thingGroupArn"],
        iot.create_billing_group(billingGroupName="tagged", tags=tags)["billingGroupArn"],
        iot.create_provisioning_template(templateName="tagged", templateBody=json.dumps(TEMPLATE), type="JITP",
                                         provisioningRoleArn=ROLE, tags=tags)["templateArn"],
        "arn:aws:iot:us-east-1:000000000000:cacert/" + register(broker, made, tags=tags),
    }
    assert len(arns) == 6
    for arn in arns:
        assert iot.list_tags_for_resource(resourceArn=arn)["tags"] == sorted(tags, key=lambda tag: tag["Key"])
        iot.tag_resource(resourceArn=arn, tags=[{"Key": "plant", "Value": "b"}, {"Key": "line", "Value": "7"}])
        iot.untag_resource(resourceArn=arn, tagKeys=["owner", "absent"])
        assert iot.list_tags_for_resource(resourceArn=arn)["tags"] == [
            {"Key": "line", "Value": "7"}, {"Key": "plant", "Value": "b"}]
        many = [{"Key": f"k{number}", "Value": ""} for number in range(49)]
        assert code(iot.tag_resource, resourceArn=arn, tags=many) == "LimitExceededException"
    iot.create_thing(thingName="untaggable")
    thing = "arn:aws:iot:us-east-1:000000000000:thing/untaggable"
    assert code(iot.tag_resource, resourceArn=thing, tags=tags) == "InvalidRequestException"
    assert code(iot.list_tags_for_resource, resourceArn=thing.replace("thing/", "policy/")) \
        == "ResourceNotFoundException"
    elsewhere = "arn:aws:iot:eu-west-1:000000000000:policy/tagged"
    assert code(iot.list_tags_for_resource, resourceArn=elsewhere) == "InvalidRequestException"


def test_a_template_changes_in_every_part_but_its_bodies(iot):
    body = json.dumps(TEMPLATE)
    fleet = {"Parameters": {"SerialNumber": {"Type": "String"}}, "Resources": copy.deepcopy(TEMPLATE["Resources"])}
    del fleet["Resources"]["thing"]["Properties"]["AttributePayload"]
    fleet["Resources"]["thing"]["Properties"]["ThingName"] = {"Ref": "SerialNumber"}
    iot.create_provisioning_template(templateName="changing", templateBody=json.dumps(fleet), enabled=False,
                                     provisioningRoleArn=ROLE, description="as it was")
    hook = {"payloadVersion": "2020-04-01", "targetArn": HOOK}
    iot.update_provisioning_template(templateName="changing", description="as it is", enabled=True,
                                     provisioningRoleArn=ROLE + "-2", preProvisioningHook=hook)
    now = iot.describe_provisioning_template(templateName="changing")
    assert (now["description"], now["enabled"], now["provisioningRoleArn"], now["preProvisioningHook"]) \
        == ("as it is", True, ROLE + "-2", hook)
    iot.create_provisioning_template_version(templateName="changing", templateBody=json.dumps(fleet))
    iot.update_provisioning_template(templateName="changing", defaultVersionId=2, removePreProvisioningHook=True)
    now = iot.describe_provisioning_template(templateName="changing")
    assert (now["defaultVersionId"], now["description"], now["enabled"]) == (2, "as it is", True)
    assert "preProvisioningHook" not in now
    update = iot.update_provisioning_template
    assert code(update, templateName="changing", preProvisioningHook=hook, removePreProvisioningHook=True) \
        == "InvalidRequestException"
    nowhere = {"payloadVersion": "2020-04-01", "targetArn": HOOK + "-2"}
    assert code(update, templateName="changing", preProvisioningHook=nowhere) == "InvalidRequestException"
    assert code(update, templateName="changing", defaultVersionId=9) == "InvalidRequestException"
    assert code(update, templateName="absent", enabled=True) == "ResourceNotFoundException"
    iot.create_provisioning_template(templateName="hookless", templateBody=body, type="JITP", provisioningRoleArn=ROLE)
    assert code(update, templateName="hookless", preProvisioningHook=hook) == "InvalidRequestException"


def test_creating_a_type_or_a_group_again_as_it_is_gives_the_same_one(iot):
    for create, name, properties, description in [
        (iot.create_thing_type, "thingType", "thingTypeProperties", "thingTypeDescription"),
        (iot.create_thing_group, "thingGroup", "thingGroupProperties", "thingGroupDescription"),
    ]:
        wanted = {f"{name}Name": "again", properties: {description: "moves water"}}
        first, second = create(**wanted), create(**wanted)
        assert first[f"{name}Id"] == second[f"{name}Id"]
        assert code(create, **{**wanted, properties: {description: "another"}}) == "ResourceAlreadyExistsException"


def test_thing_types_change_and_are_listed(iot):
    properties = {
        "thingTypeDescription": "moves water", "searchableAttributes": ["serial"],
        "mqtt5Configuration": {"propagatingAttributes": [
            {"userPropertyKey": "serial", "thingAttribute": "serial"},
            {"userPropertyKey": "client", "connectionAttribute": "iot:ClientId"}]},
    }
    iot.create_thing_type(thingTypeName="pump", thingTypeProperties=properties)
    assert iot.describe_thing_type(thingTypeName="pump")["thingTypeProperties"] == properties
    iot.update_thing_type(thingTypeName="pump", thingTypeProperties={"searchableAttributes": ["line"]})
    changed = {**properties, "searchableAttributes": ["line"]}
    assert iot.describe_thing_type(thingTypeName="pump")["thingTypeProperties"] == changed
    iot.create_thing_type(thingTypeName="valve")
    listed = every(iot, "list_thing_types", "thingTypes")
    assert {"pump", "valve"} <= {item["thingTypeName"] for item in listed}
    [pump] = iot.list_thing_types(thingTypeName="pump")["thingTypes"]
    assert pump["thingTypeProperties"] == changed
    assert iot.list_thing_types(thingTypeName="absent")["thingTypes"] == []
    vague = {"mqtt5Configuration": {"propagatingAttributes": [{"userPropertyKey": "neither"}]}}
    assert code(iot.update_thing_type, thingTypeName="pump", thingTypeProperties=vague) == "InvalidRequestException"
    assert code(iot.update_thing_type, thingTypeName="absent") == "ResourceNotFoundException"


def test_thing_groups_change_and_are_listed(iot):
    for name, parent in [("site", None), ("site-a", "site"), ("site-a-1", "site-a"), ("site-b", "site"), ("yard", None)]:
        iot.create_thing_group(thingGroupName=name, **({"parentGroupName": parent} if parent else {}))
    assert iot.update_thing_group(thingGroupName="site", expectedVersion=1, thingGroupProperties={
        "thingGroupDescription": "all", "attributePayload": {"attributes": {"floor": "1"}}})["version"] == 2
    iot.update_thing_group(thingGroupName="site", thingGroupProperties={
        "attributePayload": {"attributes": {"hall": "2"}, "merge": True}})
    site = iot.describe_thing_group(thingGroupName="site")
    assert site["version"] == 3
    assert site["thingGroupProperties"] == {
        "thingGroupDescription": "all", "attributePayload": {"attributes": {"floor": "1", "hall": "2"}}}
    assert code(iot.update_thing_group, thingGroupName="site", expectedVersion=1, thingGroupProperties={}) \
        == "VersionConflictException"

    def listed(**filters):
        return [group["groupName"] for group in every(iot, "list_thing_groups", "thingGroups", **filters)]

    everything = {"site", "site-a", "site-a-1", "site-b", "yard"}
    assert everything <= set(listed())
    assert {"site", "yard"} == everything & set(listed(recursive=False))
    assert listed(parentGroup="site", recursive=False) == ["site-a", "site-b"]
    assert listed(parentGroup="site", recursive=True) == ["site-a", "site-a-1", "site-b"]
    assert listed(parentGroup="site") == ["site-a", "site-a-1", "site-b"], "all levels, as AWS lists them"
    assert listed(namePrefixFilter="site-a") == ["site-a", "site-a-1"]
    assert listed(parentGroup="site", namePrefixFilter="site-b") == ["site-b"]
    assert code(iot.list_thing_groups, parentGroup="absent") == "ResourceNotFoundException"


def test_things_of_groups_and_of_the_groups_below(iot):
    for name, parent in [("hall", None), ("hall-a", "hall"), ("hall-a-1", "hall-a"), ("hall-b", "hall")]:
        iot.create_thing_group(thingGroupName=name, **({"parentGroupName": parent} if parent else {}))
    homes = {"m-1": "hall", "m-2": "hall-a", "m-3": "hall-a", "m-4": "hall-a-1", "m-5": "hall-b"}
    for thing, group in homes.items():
        iot.create_thing(thingName=thing)
        iot.add_thing_to_thing_group(thingName=thing, thingGroupName=group, overrideDynamicGroups=False)
    things = lambda **more: every(iot, "list_things_in_thing_group", "things", thingGroupName="hall", **more)
    assert things() == ["m-1"]
    assert things(recursive=True) == ["m-1", "m-2", "m-3", "m-4", "m-5"]
    # The place in the list stays right when the group that it is in goes.
    page = iot.list_things_in_thing_group(thingGroupName="hall", recursive=True, maxResults=4)
    assert page["things"] == ["m-1", "m-2", "m-3", "m-4"]
    iot.delete_thing_group(thingGroupName="hall-a-1")
    rest = iot.list_things_in_thing_group(thingGroupName="hall", recursive=True, nextToken=page["nextToken"])
    assert rest["things"] == ["m-5"] and "nextToken" not in rest
    iot.update_thing_groups_for_thing(thingName="m-1", thingGroupsToRemove=["hall"], thingGroupsToAdd=["hall-b"])
    assert things(recursive=True) == ["m-2", "m-3", "m-1", "m-5"]
    # All or nothing: hall-a is of the same hierarchy as hall-b.
    assert code(iot.update_thing_groups_for_thing, thingName="m-5", thingGroupsToAdd=["hall-a"]) \
        == "InvalidRequestException"
    assert iot.list_thing_groups_for_thing(thingName="m-5")["thingGroups"][0]["groupName"] == "hall-b"
    assert code(iot.list_things_in_thing_group, thingGroupName="absent") == "ResourceNotFoundException"


def test_billing_groups_have_their_whole_life(iot):
    iot.create_billing_group(billingGroupName="cost-1", billingGroupProperties={"billingGroupDescription": "one"})
    iot.create_billing_group(billingGroupName="cost-2")
    assert iot.update_billing_group(billingGroupName="cost-1", expectedVersion=1, billingGroupProperties={
        "billingGroupDescription": "the first"})["version"] == 2
    group = iot.describe_billing_group(billingGroupName="cost-1")
    assert (group["version"], group["billingGroupProperties"]) == (2, {"billingGroupDescription": "the first"})
    assert code(iot.update_billing_group, billingGroupName="cost-1", expectedVersion=1, billingGroupProperties={}) \
        == "VersionConflictException"
    for number in range(3):
        iot.create_thing(thingName=f"billed-{number}", billingGroupName="cost-1")
    things = lambda name: every(iot, "list_things_in_billing_group", "things", billingGroupName=name)
    assert things("cost-1") == ["billed-0", "billed-1", "billed-2"]
    # A thing is in one at most: adding it to another moves it.
    iot.add_thing_to_billing_group(thingName="billed-1", billingGroupName="cost-2")
    assert (things("cost-1"), things("cost-2")) == (["billed-0", "billed-2"], ["billed-1"])
    assert iot.describe_thing(thingName="billed-1")["billingGroupName"] == "cost-2"
    arns = {"thingArn": "arn:aws:iot:us-east-1:000000000000:thing/billed-1",
            "billingGroupArn": "arn:aws:iot:us-east-1:000000000000:billinggroup/cost-2"}
    iot.remove_thing_from_billing_group(**arns)
    assert "billingGroupName" not in iot.describe_thing(thingName="billed-1")
    listed = every(iot, "list_billing_groups", "billingGroups", namePrefixFilter="cost-")
    assert [item["groupName"] for item in listed] == ["cost-1", "cost-2"]
    iot.delete_billing_group(billingGroupName="cost-1")
    assert "billingGroupName" not in iot.describe_thing(thingName="billed-0")
    assert code(iot.describe_billing_group, billingGroupName="cost-1") == "ResourceNotFoundException"
    iot.delete_billing_group(billingGroupName="cost-1")
    assert code(iot.add_thing_to_billing_group, thingName="billed-0", billingGroupName="absent") \
        == "ResourceNotFoundException"


@pytest.fixture(scope="module")
def certificate(iot, tmp_path_factory):
    """The ARN of a certificate that no CA stands behind."""
    made = Factory(tmp_path_factory.mktemp("self"), "Self")
    pem = made.device("principal")[0].read_text()
    return iot.register_certificate_without_ca(certificatePem=pem, status="INACTIVE")["certificateArn"]


def test_principals_and_their_kinds(iot, certificate, tmp_path):
    for name in ("one", "two"):
        iot.create_thing(thingName=f"kind-{name}")
        iot.attach_thing_principal(thingName=f"kind-{name}", principal=certificate)
    [principal] = iot.list_thing_principals_v2(thingName="kind-one")["thingPrincipalObjects"]
    assert principal == {"principal": certificate, "thingPrincipalType": "NON_EXCLUSIVE_THING"}
    assert iot.list_thing_principals_v2(thingName="kind-one", thingPrincipalType="EXCLUSIVE_THING")[
        "thingPrincipalObjects"] == []
    things = every(iot, "list_principal_things_v2", "principalThingObjects", principal=certificate)
    assert [thing["thingName"] for thing in things] == ["kind-one", "kind-two"]


def test_attachments_as_old_sdks_make_them(iot, certificate):
    iot.create_policy(policyName="old-style", policyDocument=DOCUMENT)
    iot.attach_principal_policy(policyName="old-style", principal=certificate)
    assert names(iot.list_principal_policies(principal=certificate), "policies", "policyName") == ["old-style"]
    assert iot.list_policy_principals(policyName="old-style")["principals"] == [certificate]
    assert iot.list_targets_for_policy(policyName="old-style")["targets"] == [certificate]
    iot.detach_principal_policy(policyName="old-style", principal=certificate)
    assert iot.list_principal_policies(principal=certificate)["policies"] == []


def test_transfers_are_refused_with_what_is_in_the_way(iot, certificate):
    certificate_id = certificate.split("/")[1]
    transfer = {"certificateId": certificate_id, "targetAwsAccount": "111111111111"}
    assert code(iot.transfer_certificate, **transfer) == "InvalidRequestException"
    for end in (iot.accept_certificate_transfer, iot.reject_certificate_transfer, iot.cancel_certificate_transfer):
        assert code(end, certificateId=certificate_id) == "InvalidRequestException"
        assert code(end, certificateId="0" * 64) == "ResourceNotFoundException"
    iot.update_certificate(certificateId=certificate_id, newStatus="ACTIVE")
    assert code(iot.transfer_certificate, **transfer) == "CertificateStateException"
    assert iot.list_outgoing_certificates()["outgoingCertificates"] == []


def test_logging_options_are_kept(iot):
    assert code(iot.get_v2_logging_options) == "NotConfiguredException"
    iot.set_v2_logging_options(roleArn=ROLE, defaultLogLevel="WARN")
    iot.set_v2_logging_options(disableAllLogs=True)
    options = iot.get_v2_logging_options()
    assert (options["roleArn"], options["defaultLogLevel"], options["disableAllLogs"]) == (ROLE, "WARN", True)


def rest_template(**certificate):
    """A thing with a serial number, a policy, and a certificate that has these properties."""
    return json.dumps({
        "Parameters": {"SerialNumber": {"Type": "String"}, "Line": {"Type": "String", "Default": "none"},
                       "Pem": {"Type": "String", "Default": ""}},
        "Resources": {
            "thing": {"Type": "AWS::IoT::Thing", "Properties": {
                "ThingName": {"Fn::Join": ["-", ["rest", {"Ref": "SerialNumber"}]]},
                "AttributePayload": {"line": {"Ref": "Line"}}}},
            "certificate": {"Type": "AWS::IoT::Certificate", "Properties": certificate},
            "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "of-rest"}},
        },
    })


def test_a_thing_is_registered_by_a_template_all_or_nothing(broker, iot, tmp_path):
    made = Factory(tmp_path, "Rest CA")
    register(broker, made)
    pem = made.device("rest")[0].read_text()
    template = rest_template(CertificatePem={"Ref": "Pem"})
    parameters = {"SerialNumber": "1", "Pem": pem}
    with pytest.raises(iot.exceptions.ResourceRegistrationFailureException) as raised:
        iot.register_thing(templateBody=template, parameters=parameters)
    assert "of-rest" in str(raised.value)
    assert code(iot.describe_thing, thingName="rest-1") == "ResourceNotFoundException"
    iot.create_policy(policyName="of-rest", policyDocument=DOCUMENT)
    registered = iot.register_thing(templateBody=template, parameters=parameters)
    certificate = registered["resourceArns"]["certificate"]
    assert registered["certificatePem"].strip() == pem.strip()
    assert registered["resourceArns"] == {
        "thing": "arn:aws:iot:us-east-1:000000000000:thing/rest-1", "certificate": certificate,
        "policy": "arn:aws:iot:us-east-1:000000000000:policy/of-rest"}
    assert iot.list_thing_principals(thingName="rest-1")["principals"] == [certificate]
    assert names(iot.list_attached_policies(target=certificate), "policies", "policyName") == ["of-rest"]
    described = iot.describe_certificate(certificateId=certificate.split("/")[1])["certificateDescription"]
    assert described["status"] == "ACTIVE"
    # Again is no change; and by the id of a certificate that is known.
    assert iot.register_thing(templateBody=template, parameters=parameters)["resourceArns"] == registered["resourceArns"]
    by_id = rest_template(CertificateId=certificate.split("/")[1])
    iot.register_thing(templateBody=by_id, parameters={"SerialNumber": "2", "Line": "7"})
    assert iot.describe_thing(thingName="rest-2")["attributes"] == {"line": "7"}


def test_a_registration_that_cannot_be_carried_out_says_which_resource_failed(iot):
    failure = iot.exceptions.ResourceRegistrationFailureException
    for template, parameters, part in [
        (rest_template(CertificateId="0" * 64), {"SerialNumber": "3"}, "does not exist"),
        (rest_template(CertificatePem={"Ref": "Pem"}), {"SerialNumber": "3", "Pem": "no PEM"}, "certificate"),
        (rest_template(CertificateSigningRequest="-"), {"SerialNumber": "3"}, "CertificateSigningRequest"),
        (rest_template(CertificateId="0" * 64), {"SerialNumber": "not a name"}, "ThingName"),
        (rest_template(CertificateId="0" * 64), {}, "SerialNumber"),
    ]:
        with pytest.raises(failure) as raised:
            iot.register_thing(templateBody=template, parameters=parameters)
        assert part in str(raised.value), raised.value
    assert code(iot.register_thing, templateBody="{}") == "InvalidRequestException"
    assert code(iot.describe_thing, thingName="rest-3") == "ResourceNotFoundException"
