"""Certificates that the broker issues, through boto3, OpenSSL and paho."""

import json
import os
import subprocess
import sys
import time

import pytest
from botocore.exceptions import ClientError

from conftest import PATIENCE, Broker, certificate_id, openssl, wait_for
from test_paho import Device

ROLE = "arn:aws:iam::000000000000:role/provisioner"
ALLOW = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]})
FLEET = json.dumps({
    "Parameters": {"AWS::IoT::Certificate::Id": {"Type": "String"}},
    "Resources": {"certificate": {"Type": "AWS::IoT::Certificate", "Properties": {
        "CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "ACTIVE"}}},
})


@pytest.fixture(scope="module")
def iot(broker):
    client = broker.iot()
    client.create_policy(policyName="everything", policyDocument=ALLOW)
    client.create_provisioning_template(
        templateName="pumps", type="FLEET_PROVISIONING", templateBody=FLEET, provisioningRoleArn=ROLE, enabled=True)
    return client


def saved(directory, name, issued, key=None):
    """(certificate, key, chain) as paho takes them."""
    certificate, key_file = directory / f"{name}.pem", directory / f"{name}.key"
    certificate.write_text(issued["certificatePem"])
    key_file.write_text(key or issued["keyPair"]["PrivateKey"])
    return certificate, key_file, certificate


def asn1(path):
    return subprocess.run(["openssl", "x509", "-in", path, "-noout", "-text", "-nameopt", "RFC2253"],
                          check=True, capture_output=True, text=True).stdout


def code(call, **arguments):
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    return raised.value.response["Error"]["Code"]


def test_a_pair_connects_once_it_is_active_and_openssl_verifies_it(broker, iot, tmp_path):
    issued = iot.create_keys_and_certificate(setAsActive=True)
    device = saved(tmp_path, "pair", issued)
    assert certificate_id(device[0]) == issued["certificateId"]
    assert issued["certificateArn"].endswith(f":cert/{issued['certificateId']}")
    assert issued["keyPair"]["PrivateKey"].startswith("-----BEGIN RSA PRIVATE KEY-----\n")
    assert len(issued["certificatePem"]) < 2000
    text = asn1(device[0])
    for part in ("Subject: CN=AWS IoT Certificate", "Not After : Dec 31 23:59:59 2049 GMT", "Digital Signature",
                 "CA:FALSE", "Public-Key: (2048 bit)", "ecdsa-with-SHA256"):
        assert part in text, text
    openssl("verify", "-x509_strict", "-CAfile", broker.data / "issuing-ca.pem", device[0])
    openssl("rsa", "-in", device[1], "-check", "-noout")
    (tmp_path / "public").write_text(issued["keyPair"]["PublicKey"])
    derived = subprocess.run(["openssl", "rsa", "-in", device[1], "-pubout"], check=True, capture_output=True, text=True)
    assert derived.stdout == issued["keyPair"]["PublicKey"]

    described = iot.describe_certificate(certificateId=issued["certificateId"])["certificateDescription"]
    assert described["status"] == "ACTIVE" and described["certificateMode"] == "DEFAULT"
    assert "caCertificateId" not in described
    iot.attach_policy(policyName="everything", target=issued["certificateArn"])
    Device(broker, device, "pair-1").accepted().stop()

    inactive = iot.create_keys_and_certificate()
    described = iot.describe_certificate(certificateId=inactive["certificateId"])["certificateDescription"]
    assert described["status"] == "INACTIVE"


@pytest.mark.parametrize("arguments", [
    ("-newkey", "rsa:2048"), ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
    ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"), ("-newkey", "rsa:4096"),
])
def test_a_request_by_openssl_keeps_its_key_and_subject(broker, iot, tmp_path, arguments):
    key, csr = tmp_path / "device.key", tmp_path / "device.csr"
    openssl("req", "-new", "-nodes", *arguments, "-keyout", key, "-subj", "/O=Works/CN=pump-9", "-out", csr)
    issued = [iot.create_certificate_from_csr(certificateSigningRequest=csr.read_text(), setAsActive=True)
              for _ in range(2)]
    assert issued[0]["certificateId"] != issued[1]["certificateId"]
    device = saved(tmp_path, "csr", issued[0], key.read_text())
    assert "Subject: CN=pump-9,O=Works" in asn1(device[0])
    iot.attach_policy(policyName="everything", target=issued[0]["certificateArn"])
    Device(broker, device, "pump-9").accepted().stop()


def test_requests_that_are_not_acceptable_are_refused(iot, tmp_path):
    key, csr = tmp_path / "weak.key", tmp_path / "weak.csr"
    openssl("req", "-new", "-nodes", "-newkey", "rsa:1024", "-keyout", key, "-subj", "/CN=x", "-out", csr)
    good, weak = tmp_path / "good.csr", csr.read_text()
    openssl("req", "-new", "-nodes", "-newkey", "rsa:2048", "-keyout", key, "-subj", "/CN=x", "-out", good)
    lines = good.read_text().splitlines()
    lines[3] = lines[3][::-1]
    openssl("req", "-new", "-nodes", "-newkey", "ed25519", "-keyout", key, "-subj", "/CN=x", "-out", csr)
    for text in (weak, "\n".join(lines), csr.read_text(), "nothing", good.read_text() * 5):
        try:
            iot.create_certificate_from_csr(certificateSigningRequest=text)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "InvalidRequestException", error
            assert "certificateSigningRequest" in error.response["Error"]["Message"], error
        else:
            raise AssertionError(f"taken: {text}")


def test_a_claim_connects_sees_only_its_topics_and_is_cut_off(tmp_path):
    config = tmp_path / "site.toml"
    config.write_text('[issuing]\nclaim_lifetime_seconds = 20\nclaim_grace_seconds = 0\nkey_algorithm = "p256"\n')
    broker = Broker(tmp_path, "--config", config)
    try:
        iot = broker.iot()
        iot.create_provisioning_template(templateName="pumps", templateBody=FLEET, provisioningRoleArn=ROLE)
        before = time.time()
        issued = iot.create_provisioning_claim(templateName="pumps")
        assert before + 19 < issued["expiration"].timestamp() < time.time() + 21
        assert code(iot.describe_certificate, certificateId=issued["certificateId"]) == "ResourceNotFoundException"
        assert iot.list_certificates()["certificates"] == []

        claim = saved(tmp_path, "claim", issued)
        device = Device(broker, claim, "any-name").accepted()
        granted = device.subscribe("$aws/provisioning-templates/pumps/provision/json/+")
        assert not granted[0].is_failure
        assert device.subscribe("$aws/provisioning-templates/valves/provision/json/+")[0].is_failure
        assert device.subscribe("telemetry")[0].is_failure
        assert device.gone.wait(PATIENCE), "the connection outlived its claim"
        device.stop()
        late = Device(broker, claim, "any-name")
        refused = wait_for(lambda: broker.attempts(reason="DEVICE_CERTIFICATE_NOT_REGISTERED"), "the refusal")
        assert refused[0]["certificateId"] == issued["certificateId"]
        late.stop()
    finally:
        broker.stop()


def test_a_claim_needs_a_template_of_type_fleet_provisioning(iot):
    iot.create_provisioning_template(
        templateName="plant-b", type="JITP", templateBody=FLEET, provisioningRoleArn=ROLE, enabled=True)
    assert code(iot.create_provisioning_claim, templateName="plant-b") == "InvalidRequestException"
    assert code(iot.create_provisioning_claim, templateName="absent") == "ResourceNotFoundException"


def test_the_commands_write_files_for_their_owner_only(broker, iot, tmp_path):
    made = broker.jitp("cert", "create", "--active", "--out", tmp_path / "pair")
    iot.attach_policy(policyName="everything",
                      target=f"arn:aws:iot:us-east-1:000000000000:cert/{made['certificateId']}")
    for path in (made["certificate"], made["privateKey"]):
        assert os.stat(path).st_mode & 0o777 == 0o600
    Device(broker, (made["certificate"], made["privateKey"], made["certificate"]), "cli-1").accepted().stop()

    key, csr = tmp_path / "own.key", tmp_path / "own.csr"
    openssl("req", "-new", "-nodes", "-newkey", "rsa:2048", "-keyout", key, "-subj", "/CN=own", "-out", csr)
    made = broker.jitp("cert", "create", "--csr", csr, "--out", tmp_path, "--name", "own-certificate")
    assert made["privateKey"] is None and "Subject: CN=own" in asn1(tmp_path / "own-certificate.pem")

    claim = broker.jitp("template", "claim", "pumps", "--out", tmp_path, "--name", "claim")
    assert claim["expiration"] > time.time()
    device = (tmp_path / "claim.pem", tmp_path / "claim.key", tmp_path / "claim.pem")
    Device(broker, device, "bootstrap").accepted().stop()


def test_a_ca_of_the_operators_issues(tmp_path):
    key, certificate = tmp_path / "works.key", tmp_path / "works.pem"
    openssl("req", "-x509", "-nodes", "-newkey", "rsa:2048", "-keyout", key, "-subj", "/CN=Works", "-days", "30",
            "-addext", "keyUsage=critical,keyCertSign", "-out", certificate)
    config = tmp_path / "site.toml"
    config.write_text(f'[issuing]\ncertificate = "{certificate}"\nkey = "{key}"\nvalidity_days = 10\n'
                      'subject = ["O=Works", "CN=Pump"]\nkey_algorithm = "p256"\n')
    broker = Broker(tmp_path, "--config", config)
    try:
        issued = broker.iot().create_keys_and_certificate()
        device = saved(tmp_path, "pump", issued)
        openssl("verify", "-x509_strict", "-CAfile", certificate, device[0])
        assert "Subject: CN=Pump,O=Works" in asn1(device[0])
        openssl("ec", "-in", device[1], "-noout", "-check")
    finally:
        broker.stop()
    # Another key than the certificate's.
    openssl("genrsa", "-out", key, "2048")
    run = subprocess.run([os.environ["JITP"], "serve", "--mqtt", "127.0.0.1:0", "--api", "127.0.0.1:0", "--data-dir",
                          tmp_path / "data", "--config", config], capture_output=True, text=True, timeout=PATIENCE)
    assert run.returncode != 0 and "not the one of the CA certificate" in run.stderr, run.stderr


SIGNER = """
import json, pathlib, subprocess, sys
question = json.load(sys.stdin)
assert len(question["principalId"]) == 64 and question["clientId"] == "bootstrap", question
here = pathlib.Path(sys.argv[1])
(here / "asked.csr").write_text(question["certificateSigningRequest"])
subprocess.run(["openssl", "x509", "-req", "-in", here / "asked.csr", "-CA", here / "works.pem", "-CAkey", here / "works.key",
                "-CAcreateserial", "-days", "9", "-sha256", "-out", here / "signed.pem"], check=True, capture_output=True)
json.dump({"certificatePem": (here / "signed.pem").read_text()}, sys.stdout)
"""
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:sign"


@pytest.fixture
def works(tmp_path):
    """A broker with a program that signs."""
    openssl("req", "-x509", "-nodes", "-newkey", "rsa:2048", "-keyout", tmp_path / "works.key", "-subj", "/CN=Works",
            "-days", "30", "-out", tmp_path / "works.pem")
    (tmp_path / "sign.py").write_text(SIGNER)
    command = json.dumps([sys.executable, str(tmp_path / "sign.py"), str(tmp_path)])
    config = tmp_path / "site.toml"
    config.write_text(f'[hooks.sign]\narn = "{FUNCTION}"\ncommand = {command}\n')
    broker = Broker(tmp_path, "--config", config)
    yield broker
    broker.stop()


def test_a_certificate_provider_signs_what_devices_ask_for(works, tmp_path):
    iot, default = works.iot(), ["CreateCertificateFromCsr"]
    iot.create_provisioning_template(
        templateName="pumps", templateBody=FLEET, provisioningRoleArn=ROLE, enabled=True)
    given = {"lambdaFunctionArn": FUNCTION, "accountDefaultForOperations": default}
    assert code(iot.create_certificate_provider, certificateProviderName="works",
                **{**given, "lambdaFunctionArn": FUNCTION + "2"}) == "InvalidRequestException"
    made = iot.create_certificate_provider(
        certificateProviderName="works", tags=[{"Key": "plant", "Value": "a"}], **given)
    arn = "arn:aws:iot:us-east-1:000000000000:certificateprovider:works"
    assert made["certificateProviderArn"] == arn
    assert iot.list_tags_for_resource(resourceArn=arn)["tags"] == [{"Key": "plant", "Value": "a"}]
    assert code(iot.create_certificate_provider, certificateProviderName="works", **given) == \
        "ResourceAlreadyExistsException"
    assert code(iot.create_certificate_provider, certificateProviderName="other", **given) == "LimitExceededException"
    described = iot.describe_certificate_provider(certificateProviderName="works")
    assert described["lambdaFunctionArn"] == FUNCTION and described["accountDefaultForOperations"] == default
    assert [p["certificateProviderName"] for p in iot.list_certificate_providers()["certificateProviders"]] == ["works"]
    iot.update_certificate_provider(certificateProviderName="works", accountDefaultForOperations=default)

    openssl("req", "-new", "-nodes", "-newkey", "rsa:2048", "-keyout", tmp_path / "pump.key", "-subj", "/CN=pump-1",
            "-out", tmp_path / "pump.csr")
    claim = saved(tmp_path, "claim", iot.create_provisioning_claim(templateName="pumps"))
    device = Device(works, claim, "bootstrap").accepted()
    device.subscribe("$aws/certificates/create-from-csr/json/+")
    csr = (tmp_path / "pump.csr").read_text()
    device.client.publish("$aws/certificates/create-from-csr/json", json.dumps({"certificateSigningRequest": csr}), 1)
    answer = wait_for(lambda: device.messages, "an answer")[0]
    assert answer.topic.endswith("/accepted"), answer.payload
    (tmp_path / "pump.pem").write_text(json.loads(answer.payload)["certificatePem"])
    openssl("verify", "-CAfile", tmp_path / "works.pem", tmp_path / "pump.pem")
    device.stop()

    iot.delete_certificate_provider(certificateProviderName="works")
    assert iot.list_certificate_providers()["certificateProviders"] == []
    for call in (iot.describe_certificate_provider, iot.delete_certificate_provider, iot.update_certificate_provider):
        assert code(call, certificateProviderName="works") == "ResourceNotFoundException"
