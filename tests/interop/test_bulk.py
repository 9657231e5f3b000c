"""Registration tasks as boto3 starts them, and their reports as anybody fetches them."""

import json
import urllib.error
import urllib.request

import pytest

from conftest import POLICY, Factory, certificate_id, register, wait_for
from test_paho import Device

ROLE = "arn:aws:iam::000000000000:role/bulk"
TEMPLATE = json.dumps({
    "Parameters": {"ThingName": {"Type": "String"}, "Serial": {"Type": "String", "Default": "none"},
                   "Pem": {"Type": "String"}},
    "Resources": {
        "thing": {"Type": "AWS::IoT::Thing", "Properties": {
            "ThingName": {"Ref": "ThingName"}, "AttributePayload": {"serial": {"Ref": "Serial"}}}},
        "certificate": {"Type": "AWS::IoT::Certificate", "Properties": {
            "CertificatePem": {"Ref": "Pem"}, "Status": "ACTIVE"}},
    },
})


@pytest.fixture(scope="module")
def iot(broker):
    return broker.iot()


def put(broker, key, lines):
    path = broker.data / "bulk" / "input" / "plant-a" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))


def start(iot, key, template=TEMPLATE):
    return iot.start_thing_registration_task(
        templateBody=template, inputFileBucket="plant-a", inputFileKey=key, roleArn=ROLE)["taskId"]


def ended(iot, task):
    def look():
        seen = iot.describe_thing_registration_task(taskId=task)
        return seen if seen["status"] not in ("InProgress", "Cancelling") else None
    return wait_for(look, "the end of the task")


def report(iot, task, kind):
    listed = iot.list_thing_registration_task_reports(taskId=task, reportType=kind)
    assert listed["reportType"] == kind
    [link] = listed["resourceLinks"]
    with urllib.request.urlopen(link) as reply:
        return [json.loads(line) for line in reply.read().decode().splitlines()]


def test_a_task_from_its_start_to_both_reports(broker, iot, tmp_path):
    factory = Factory(tmp_path, "Bulk CA")
    register(broker, factory)
    leaf = factory.device("bulk-1")[0]
    put(broker, "2026/devices.json", [
        {"ThingName": "bulk-1", "Serial": "K-1", "Pem": leaf.read_text()},
        "",
        {"ThingName": "bulk-2", "Pem": "no certificate"},
        "{\"ThingName\": 3}",
    ])
    task = start(iot, "2026/devices.json")
    done = ended(iot, task)
    assert (done["status"], done["successCount"], done["failureCount"], done["percentageProgress"]) \
        == ("Completed", 1, 2, 100)
    assert (done["templateBody"], done["inputFileBucket"], done["inputFileKey"], done["roleArn"]) \
        == (TEMPLATE, "plant-a", "2026/devices.json", ROLE)
    [result] = report(iot, task, "RESULTS")
    assert (result["lineId"], result["offset"]) == (1, 0)
    assert result["response"]["resourceArns"] == {
        "thing": "arn:aws:iot:us-east-1:000000000000:thing/bulk-1",
        "certificate": f"arn:aws:iot:us-east-1:000000000000:cert/{certificate_id(leaf)}",
    }
    assert result["response"]["certificatePem"].strip() in leaf.read_text()
    errors = report(iot, task, "ERRORS")
    assert [error["lineId"] for error in errors] == [3, 4]
    assert all(error["errorMessage"] for error in errors)
    assert iot.describe_thing(thingName="bulk-1")["attributes"] == {"serial": "K-1"}
    assert iot.list_thing_principals(thingName="bulk-1")["principals"] \
        == [result["response"]["resourceArns"]["certificate"]]
    assert task in iot.list_thing_registration_tasks(status="Completed")["taskIds"]
    with pytest.raises(iot.exceptions.InvalidRequestException):
        iot.stop_thing_registration_task(taskId=task)


def test_a_link_is_worth_nothing_when_it_is_changed(broker, iot):
    put(broker, "one.json", [{"ThingName": "link-1", "Pem": "none"}])
    task = start(iot, "one.json")
    assert ended(iot, task)["failureCount"] == 1
    assert iot.list_thing_registration_task_reports(taskId=task, reportType="RESULTS")["resourceLinks"] == []
    [link] = iot.list_thing_registration_task_reports(taskId=task, reportType="ERRORS")["resourceLinks"]
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(link.replace("ERRORS", "RESULTS"))
    assert refused.value.code == 403


def test_what_cannot_be_started_is_refused_with_the_reason(iot, broker):
    put(broker, "some.json", ["{}"])
    for key, template, part in [("absent.json", TEMPLATE, "absent.json"), ("some.json", "{}", "templateBody"),
                                ("a/../../secret", TEMPLATE, "inputFileKey")]:
        with pytest.raises(iot.exceptions.InvalidRequestException) as refused:
            start(iot, key, template)
        assert part in str(refused.value)
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_thing_registration_task(taskId="absent")


def test_signing_requests_are_signed_and_their_devices_get_in(broker, iot, tmp_path):
    factory = Factory(tmp_path, "Requests")
    iot.create_policy(policyName="csr-device", policyDocument=json.dumps(POLICY))
    template = json.dumps({
        "Parameters": {"ThingName": {"Type": "String"}, "CSR": {"Type": "String"}},
        "Resources": {
            "thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Ref": "ThingName"}}},
            "certificate": {"Type": "AWS::IoT::Certificate", "Properties": {
                "CertificateSigningRequest": {"Ref": "CSR"}, "Status": "ACTIVE"}},
            "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "csr-device"}}}})
    keys, requests = {}, {}
    for name in ("csr-1", "csr-2", "csr-rest"):
        _, keys[name], _ = factory.device(name)
        requests[name] = keys[name].with_suffix(".csr").read_text()
    put(broker, "csr.json", [{"ThingName": name, "CSR": requests[name]} for name in ("csr-1", "csr-2")]
        + [{"ThingName": "csr-3", "CSR": "none"}])
    task = start(iot, "csr.json", template)
    done = ended(iot, task)
    assert (done["successCount"], done["failureCount"]) == (2, 1)
    pems = [line["response"]["certificatePem"] for line in report(iot, task, "RESULTS")]
    assert "CertificateSigningRequest" in report(iot, task, "ERRORS")[0]["errorMessage"]
    registered = iot.register_thing(templateBody=template, parameters={
        "ThingName": "csr-rest", "CSR": requests["csr-rest"]})
    for name, pem in zip(keys, [*pems, registered["certificatePem"]]):
        certificate = tmp_path / f"{name}.issued.pem"
        certificate.write_text(pem)
        Device(broker, (certificate, keys[name], certificate), name).accepted().stop()
