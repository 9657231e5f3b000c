"""Enrolment over Secure Transport (RFC 7030): curl and openssl as a device that renews its certificate."""

import base64
import json
import subprocess

import paho.mqtt.client as mqtt
import pytest

from conftest import PATIENCE, Broker, certificate_id, plant, wait_for
from test_paho import Device

MAY_RENEW = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"},
    {"Effect": "Allow", "Action": "iot:Publish",
     "Resource": "arn:aws:iot:us-east-1:000000000000:topic/$jitp/certificates/renew/*"},
]}
MAY_NOT = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}]}


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    running = Broker(tmp_path_factory.mktemp("broker"), "--https", "127.0.0.1:0")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def factory(tmp_path_factory, broker):
    return plant(tmp_path_factory.mktemp("factory"), broker, "EST CA", MAY_RENEW)


def openssl(*arguments, stdin=b""):
    run = subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True, timeout=PATIENCE)
    assert run.returncode == 0, run.stderr
    return run.stdout


def request(directory, subject):
    """A new key and a signing request in DER."""
    key = directory / f"{subject.replace('/', '_')}.key"
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
    return key, openssl("req", "-new", "-key", key, "-subj", subject, "-outform", "DER")


def est(broker, device, operation, body=None, content="application/pkcs10"):
    """Status, headers and body of an EST call with the device's certificate."""
    certificate, key, _ = device
    post = ["--data-binary", "@-", "--header", f"Content-Type: {content}"] if body is not None else []
    run = subprocess.run(
        ["curl", "--silent", "--show-error", "--include", "--max-time", str(PATIENCE), "--cacert", broker.ca,
         "--cert", certificate, "--key", key, *post, f"https://localhost:{broker.https}/.well-known/est/{operation}"],
        input=body, capture_output=True, timeout=2 * PATIENCE)
    assert run.returncode == 0, run.stderr
    head, _, answer = run.stdout.partition(b"\r\n\r\n")
    lines = head.decode().splitlines()
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
    return int(lines[0].split()[1]), headers, answer


def certificates(answer):
    """The PEM of the certificates in a reply, as openssl reads them."""
    return openssl("pkcs7", "-inform", "DER", "-print_certs", stdin=base64.b64decode(answer)).decode()


def connected(broker, device, client_id):
    joined = Device(broker, device, client_id, mqtt.MQTTv5).accepted()
    joined.stop()


def test_the_ca_certificates_are_those_that_issue(broker, factory):
    device = factory.device("est-0")
    connected(broker, device, "est-0")
    status, headers, answer = est(broker, device, "cacerts")
    assert status == 200
    assert headers["content-type"].startswith("application/pkcs7-mime")
    assert headers["content-transfer-encoding"] == "base64"
    assert max(map(len, answer.splitlines())) == 76
    assert est(broker, device, "plant-a/cacerts")[2] == answer, "under the label of a CA"
    issuing = (broker.data / "issuing-ca.pem").read_text()
    body = lambda pem: "".join(pem.split("-----BEGIN CERTIFICATE-----")[1].split("-----END")[0].split())
    assert body(certificates(answer)) == body(issuing)


def test_a_device_re_enrols_and_goes_on_with_its_new_certificate(broker, factory, tmp_path):
    iot = broker.iot()
    old = factory.device("est-1", "/CN=est-1")
    connected(broker, old, "est-1")
    key, csr = request(tmp_path, "/CN=est-1")
    status, headers, answer = est(broker, old, "simplereenroll", base64.encodebytes(csr))
    assert status == 200, answer
    assert headers["content-type"] == "application/pkcs7-mime; smime-type=certs-only"
    pem = tmp_path / "new.pem"
    pem.write_text(certificates(answer))
    openssl("verify", "-CAfile", broker.data / "issuing-ca.pem", pem)
    old_id, new_id = certificate_id(old[0]), certificate_id(pem)
    arn = iot.describe_certificate(certificateId=new_id)["certificateDescription"]["certificateArn"]
    assert iot.list_principal_things(principal=arn)["things"] == ["est-1"]
    assert [p["policyName"] for p in iot.list_attached_policies(target=arn)["policies"]] == ["device"]

    # The same request again is answered the same, as after a lost reply.
    assert est(broker, old, "simplereenroll", base64.b64encode(csr))[2] == answer

    new = (pem, key, old[2])
    connected(broker, new, "est-1")
    status_of = lambda id_: iot.describe_certificate(certificateId=id_)["certificateDescription"]["status"]
    assert (status_of(old_id), status_of(new_id)) == ("INACTIVE", "ACTIVE")
    assert est(broker, old, "simplereenroll", base64.b64encode(csr))[0] == 403

    chain = broker.jitp("cert", "chain", new_id)["certificates"]
    assert [link["certificateId"] for link in chain] == [old_id, new_id]
    assert chain[0]["retiredDate"] >= chain[0]["renewedDate"]
    audited = broker.jitp("audit", "--operation", "RenewCertificate")
    assert any(record["resources"] == {"certificateId": old_id, "newCertificateId": new_id} for record in audited)


def test_enrolment_may_name_another_subject_and_re_enrolment_may_not(broker, factory, tmp_path):
    device = factory.device("est-2", "/CN=est-2")
    connected(broker, device, "est-2")
    _, csr = request(tmp_path, "/CN=operational/OU=est-2")
    status, _, answer = est(broker, device, "simplereenroll", base64.b64encode(csr))
    assert status == 400 and b"CN=est-2" in answer, answer
    status, _, answer = est(broker, device, "simpleenroll", base64.b64encode(csr))
    assert status == 200 and "operational" in certificates(answer)


def test_what_is_refused_says_why(broker, factory, tmp_path):
    device = factory.device("est-3", "/CN=est-3")
    connected(broker, device, "est-3")
    _, csr = request(tmp_path, "/CN=est-3")
    assert est(broker, device, "simpleenroll", b"nonsense!")[0] == 400
    assert est(broker, device, "simpleenroll", b"A" * 20_000)[0] == 413
    status, headers, _ = est(broker, device, "simpleenroll")
    assert (status, headers["allow"]) == (405, "POST")
    assert est(broker, device, "csrattrs")[0] == 404
    stranger = factory.device("est-stranger")
    assert est(broker, stranger, "simpleenroll", base64.b64encode(csr))[0] == 403, "never provisioned"
    broker.iot().create_policy_version(policyName="device", policyDocument=json.dumps(MAY_NOT), setAsDefault=True)
    try:
        assert est(broker, device, "simpleenroll", base64.b64encode(csr))[0] == 403, "no policy allows it"
        wait_for(lambda: "$jitp/certificates/renew/est" in broker.logged(), "the refusal in the log")
    finally:
        broker.iot().set_default_policy_version(policyName="device", policyVersionId="1")
