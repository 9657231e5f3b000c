"""The AWS CLI and boto3 against the API."""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError

from conftest import PATIENCE, POLICY, TEMPLATE, Broker, Factory, register


def aws(broker, *arguments):
    run = subprocess.run(
        [pathlib.Path(sys.executable).with_name("aws"), "iot", *arguments, "--endpoint-url", broker.api, "--region",
         "us-east-1", "--output", "json"],
        env={**os.environ, "AWS_SHARED_CREDENTIALS_FILE": str(broker.data / "credentials"),
             "AWS_CONFIG_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true"},
        capture_output=True, text=True, timeout=PATIENCE)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout) if run.stdout.strip() else {}


def test_the_aws_cli_reads_what_a_first_connection_wrote(broker, factory):
    from test_paho import Device

    Device(broker, factory.device("cli:device"), "cli:device").accepted().stop()
    things = aws(broker, "list-things")["things"]
    assert "cli:device" in [thing["thingName"] for thing in things]
    thing = aws(broker, "describe-thing", "--thing-name", "cli:device")
    assert thing["thingArn"] == "arn:aws:iot:us-east-1:000000000000:thing/cli:device"
    [principal] = aws(broker, "list-thing-principals", "--thing-name", "cli:device")["principals"]
    certificate = aws(broker, "describe-certificate", "--certificate-id", principal.split("/")[1])
    assert certificate["certificateDescription"]["status"] == "ACTIVE"
    assert certificate["certificateDescription"]["caCertificateId"] == factory.id
    attached = aws(broker, "list-attached-policies", "--target", principal)["policies"]
    assert [policy["policyName"] for policy in attached] == ["device"]


def test_ca_certificates_have_their_whole_life(broker, tmp_path):
    iot, made = broker.iot(), Factory(tmp_path, "Whole Life CA")
    certificate_id = register(broker, made)
    with pytest.raises(iot.exceptions.ResourceAlreadyExistsException) as raised:
        register(broker, made)
    assert raised.value.response["resourceId"] == certificate_id
    described = iot.describe_ca_certificate(certificateId=certificate_id)["certificateDescription"]
    assert (described["status"], described["autoRegistrationStatus"]) == ("ACTIVE", "ENABLE")
    body = {"templateBody": json.dumps(TEMPLATE), "roleArn": "arn:aws:iam::000000000000:role/provisioner"}
    iot.update_ca_certificate(certificateId=certificate_id, newStatus="INACTIVE", registrationConfig=body)
    described = iot.describe_ca_certificate(certificateId=certificate_id)
    assert described["registrationConfig"] == body
    assert described["certificateDescription"]["status"] == "INACTIVE"
    iot.update_ca_certificate(certificateId=certificate_id, removeAutoRegistration=True)
    described = iot.describe_ca_certificate(certificateId=certificate_id)
    assert "registrationConfig" not in described or not described["registrationConfig"]
    assert described["certificateDescription"]["autoRegistrationStatus"] == "DISABLE"


def test_a_verification_certificate_with_another_code_is_refused(broker, tmp_path):
    iot, made = broker.iot(), Factory(tmp_path, "Wrong Code CA")
    with pytest.raises(iot.exceptions.RegistrationCodeValidationException):
        iot.register_ca_certificate(caCertificate=made.certificate.read_text(),
                                    verificationCertificate=made.verification("0" * 64))


def test_policies_and_templates_are_validated(broker, factory):
    iot = broker.iot()
    with pytest.raises(iot.exceptions.MalformedPolicyException):
        iot.create_policy(policyName="broken", policyDocument='{"Version": "2012-10-17"}')
    with pytest.raises(iot.exceptions.InvalidRequestException) as raised:
        iot.create_provisioning_template(templateName="broken", templateBody='{"Resource": {}}', type="JITP",
                                         provisioningRoleArn="arn:aws:iam::000000000000:role/provisioner")
    assert "Resources" in str(raised.value)
    with pytest.raises(iot.exceptions.ResourceAlreadyExistsException):
        iot.create_policy(policyName="device", policyDocument=json.dumps(POLICY))


def test_wrong_signatures_unknown_keys_and_other_regions_are_403(broker):
    for client in (broker.iot(secret="0" * 40), broker.iot(region="eu-west-1")):
        with pytest.raises(ClientError) as raised:
            client.list_things()
        assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_things_are_listed_page_by_page(broker):
    iot = broker.iot()
    names = [f"paged-{number:03}" for number in range(30)]
    for name in names:
        iot.create_thing(thingName=name, attributePayload={"attributes": {"batch": "paged"}})
    pages = iot.get_paginator("list_things").paginate(attributeName="batch", attributeValue="paged",
                                                      PaginationConfig={"PageSize": 7})
    assert [thing["thingName"] for page in pages for thing in page["things"]] == names


def test_a_presigned_url_is_served_until_it_expires_and_only_as_it_was_signed(broker):
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    def fetch(url: str):
        try:
            with urllib.request.urlopen(url) as reply:
                return reply.status
        except urllib.error.HTTPError as error:
            return error.code

    credentials = Credentials(broker.key_id, broker.secret)
    request = AWSRequest("GET", f"{broker.api}/things?maxResults=5")
    SigV4QueryAuth(credentials, "iot", "us-east-1", expires=60).add_auth(request)
    assert "X-Amz-Signature=" in request.url
    assert fetch(request.url) == 200
    assert fetch(request.url.replace("maxResults=5", "maxResults=6")) == 403
    assert fetch(request.url.replace("X-Amz-Expires=60", "X-Amz-Expires=600")) == 403


def test_boto3_with_a_viewers_key_reads_and_is_told_which_right_it_lacks(broker):
    key = broker.jitp("key", "create", "--role", "viewer")
    viewer = broker.iot(secret=key["secretAccessKey"], key_id=key["accessKeyId"])
    viewer.list_things()
    with pytest.raises(ClientError) as raised:
        viewer.create_thing(thingName="not-allowed")
    assert raised.value.response["Error"]["Code"] == "UnauthorizedException"
    assert "operate" in raised.value.response["Error"]["Message"]
    [record] = broker.jitp("audit", "--key", key["accessKeyId"])
    assert (record["operation"], record["error"]) == ("CreateThing", "UnauthorizedException")


def test_a_broker_of_any_region_serves_each_caller_in_its_own(tmp_path):
    running = Broker(tmp_path, "--region", "any", "--api-tls")
    try:
        os.environ["AWS_CA_BUNDLE"] = str(running.ca)
        for region in ["eu-central-1", "us-east-1"]:
            iot = running.iot(region=region)
            made = iot.create_thing(thingName=f"in-{region}")
            assert made["thingArn"] == f"arn:aws:iot:{region}:000000000000:thing/in-{region}"
            assert len({thing["thingArn"].split(":")[3] for thing in iot.list_things()["things"]}) == 1
    finally:
        del os.environ["AWS_CA_BUNDLE"]
        running.stop()


def test_boto3_repeats_a_call_that_was_throttled(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text("[api]\nmax_in_flight_per_key = 1\n")
    running = Broker(tmp_path, "--config", str(config))
    try:
        iot = running.iot(retries=8)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda n: iot.create_thing(thingName=f"t{n}"), range(24)))
        assert len({thing["thingId"] for thing in done}) == 24
    finally:
        running.stop()


def test_boto3_meets_the_rate_of_an_operation_and_backs_off(tmp_path):
    running = Broker(tmp_path, config='[api]\nquotas = "aws"\n[api.rates]\nCreateThing = 1\n')
    try:
        hasty, patient = running.iot(retries=0), running.iot(retries=10)

        def create(number):
            try:
                hasty.create_thing(thingName=f"hasty-{number}")
            except ClientError as error:
                return error.response

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            refused = [answer for answer in pool.map(create, range(100)) if answer]
        assert refused, "all of them got through"
        for answer in refused:
            assert answer["Error"]["Code"] == "ThrottlingException"
            assert "CreateThing" in answer["Error"]["Message"]
            assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
        for number in range(4):
            patient.create_thing(thingName=f"patient-{number}")
        # Other operations have their own, AWS's.
        for number in range(4):
            hasty.describe_thing(thingName=f"patient-{number}")
        names = [thing["thingName"] for thing in hasty.list_things(maxResults=250)["things"]]
        assert len([name for name in names if name.startswith("hasty")]) == 100 - len(refused)
    finally:
        running.stop()
