"""Fleet provisioning with the AWS IoT Device SDK's own clients, unchanged: both of Python's over both versions of MQTT, and
the one of JavaScript; and the sample hook that decides who may."""

import json
import os
import pathlib
import queue
import secrets
import subprocess
import sys
import threading
from concurrent.futures import Future

import pytest
from awscrt import mqtt, mqtt5, mqtt_request_response
from awsiot import V2ServiceException, iotidentity, mqtt5_client_builder, mqtt_connection_builder

from conftest import PATIENCE, POLICY, Broker, certificate_id, openssl, wait_for

HERE = pathlib.Path(__file__).parent
ROLE = "arn:aws:iam::000000000000:role/provisioner"
HOOK = "arn:aws:lambda:us-east-1:000000000000:function:stock"
ARN = "arn:aws:iot:us-east-1:000000000000:"
QOS = mqtt.QoS.AT_LEAST_ONCE

CLAIM = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": "iot:Connect", "Resource": ARN + "client/boot-*"},
    {"Effect": "Allow", "Action": ["iot:Publish", "iot:Receive"], "Resource": [
        ARN + "topic/$aws/certificates/create*", ARN + "topic/$aws/provisioning-templates/pumps/provision/*"]},
    {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": [
        ARN + "topicfilter/$aws/certificates/create*", ARN + "topicfilter/$aws/provisioning-templates/pumps/provision/*"]},
]}

TEMPLATE = {
    "Parameters": {"Serial": {"Type": "String"}, "Site": {"Type": "String", "Default": "lab"}},
    "Resources": {
        "thing": {"Type": "AWS::IoT::Thing", "Properties": {
            "ThingName": {"Ref": "Serial"}, "AttributePayload": {"site": {"Ref": "Site"}}}},
        "certificate": {"Type": "AWS::IoT::Certificate", "Properties": {
            "CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "ACTIVE"}},
        "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "device"}},
    },
    "DeviceConfiguration": {"interval": "30"},
}


@pytest.fixture(scope="module")
def hook(tmp_path_factory):
    """The sample hook: its port, its secret, and what it prints."""
    directory = tmp_path_factory.mktemp("hook")
    secret = secrets.token_hex(16)
    (directory / "secret").write_text(secret + "\n")
    (directory / "serials").write_text("boxed oslo\nloose\n")
    process = subprocess.Popen(
        [sys.executable, HERE.parent.parent / "docs/samples/hook.py", "--port", "0", "--serials", directory / "serials"],
        env={**os.environ, "HOOK_SECRET": secret}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines: queue.Queue[str] = queue.Queue()
    for stream in (process.stdout, process.stderr):
        threading.Thread(target=lambda s=stream: [lines.put(line) for line in s], daemon=True).start()
    line = lines.get(timeout=PATIENCE)
    assert line.startswith("listening on "), line
    yield int(line.split()[-1]), directory / "secret", lines
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def broker(tmp_path_factory, hook):
    port, secret, _ = hook
    config = f'[hooks.stock]\narn = "{HOOK}"\nurl = "http://127.0.0.1:{port}/"\nsecret_file = "{secret}"\n'
    running = Broker(tmp_path_factory.mktemp("broker"), config=config)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def claim(broker, tmp_path_factory):
    """A claim certificate: (certificate, key)."""
    iot = broker.iot()
    iot.create_policy(policyName="device", policyDocument=json.dumps(POLICY))
    iot.create_policy(policyName="claim", policyDocument=json.dumps(CLAIM))
    iot.create_provisioning_template(templateName="pumps", templateBody=json.dumps(TEMPLATE), provisioningRoleArn=ROLE,
                                     enabled=True)
    made = iot.create_keys_and_certificate(setAsActive=True)
    iot.attach_policy(policyName="claim", target=made["certificateArn"])
    directory = tmp_path_factory.mktemp("claim")
    return saved(directory / "claim", made["certificatePem"], made["keyPair"]["PrivateKey"])


def saved(stem, certificate, key):
    files = stem.with_suffix(".pem"), stem.with_suffix(".key")
    for file, text in zip(files, (certificate, key)):
        file.write_text(text)
    return files


class Connection:
    """A connection of the SDK's, of either version; `service` is what its service clients take."""

    def __init__(self, broker, identity, client_id, version, old_service):
        shared = dict(endpoint="localhost", port=broker.port, cert_filepath=str(identity[0]),
                      pri_key_filepath=str(identity[1]), ca_filepath=str(broker.ca), client_id=client_id)
        self.version, self.adapter = version, None
        if version == 3:
            self.client = mqtt_connection_builder.mtls_from_path(**shared, clean_session=True, keep_alive_secs=30)
            self.client.connect().result(PATIENCE)
            self.service = self.client
            return
        connected, self.stopped = Future(), Future()
        self.client = mqtt5_client_builder.mtls_from_path(
            **shared,
            on_lifecycle_connection_success=lambda data: connected.done() or connected.set_result(data),
            on_lifecycle_connection_failure=lambda data: connected.done() or connected.set_exception(data.exception),
            on_lifecycle_stopped=lambda data: self.stopped.set_result(data))
        if old_service:
            self.adapter = self.client.new_connection()
            self.adapter.connect().result(PATIENCE)
            self.service = self.adapter
        else:
            self.client.start()
            connected.result(PATIENCE)
            self.service = self.client

    def stop(self):
        if self.version == 3 or self.adapter:
            (self.adapter or self.client).disconnect().result(PATIENCE)
        else:
            self.client.stop()
            self.stopped.result(PATIENCE)


class Old:
    """IotIdentityClient: subscribe, publish, wait."""

    def __init__(self, service):
        self.client = iotidentity.IotIdentityClient(service)

    def ask(self, name, request, subscription):
        answer = Future()
        for outcome in ("accepted", "rejected"):
            subscribed, _ = getattr(self.client, f"subscribe_to_{name}_{outcome}")(
                request=subscription, qos=QOS, callback=lambda reply: answer.set_result(reply))
            subscribed.result(PATIENCE)
        getattr(self.client, f"publish_{name}")(request, QOS).result(PATIENCE)
        return answer.result(PATIENCE)

    def create(self):
        return self.ask("create_keys_and_certificate", iotidentity.CreateKeysAndCertificateRequest(),
                        iotidentity.CreateKeysAndCertificateSubscriptionRequest())

    def create_from_csr(self, csr):
        return self.ask("create_certificate_from_csr",
                        iotidentity.CreateCertificateFromCsrRequest(certificate_signing_request=csr),
                        iotidentity.CreateCertificateFromCsrSubscriptionRequest())

    def register(self, template, token, parameters):
        return self.ask("register_thing",
                        iotidentity.RegisterThingRequest(template_name=template, certificate_ownership_token=token,
                                                         parameters=parameters),
                        iotidentity.RegisterThingSubscriptionRequest(template_name=template))


class New:
    """IotIdentityClientV2: requests and responses."""

    def __init__(self, service):
        options = mqtt_request_response.ClientOptions(
            max_request_response_subscriptions=6, max_streaming_subscriptions=2, operation_timeout_in_seconds=PATIENCE)
        self.client = iotidentity.IotIdentityClientV2(service, options)

    def answer(self, future):
        try:
            return future.result(PATIENCE)
        except V2ServiceException as error:
            assert error.modeled_error, error
            return error.modeled_error

    def create(self):
        return self.answer(self.client.create_keys_and_certificate(iotidentity.CreateKeysAndCertificateRequest()))

    def create_from_csr(self, csr):
        return self.answer(self.client.create_certificate_from_csr(
            iotidentity.CreateCertificateFromCsrRequest(certificate_signing_request=csr)))

    def register(self, template, token, parameters):
        return self.answer(self.client.register_thing(iotidentity.RegisterThingRequest(
            template_name=template, certificate_ownership_token=token, parameters=parameters)))


@pytest.mark.parametrize("client", [Old, New])
@pytest.mark.parametrize("version", [3, 5])
def test_a_device_of_the_sdk_gets_its_own_certificate_and_comes_back_with_it(broker, claim, tmp_path, client, version):
    name = f"{client.__name__.lower()}-{version}"
    connection = Connection(broker, claim, f"boot-{name}", version, client is Old)
    identity = client(connection.service)

    made = identity.create()
    assert made.private_key.startswith("-----BEGIN RSA PRIVATE KEY-----\n")
    assert len(made.certificate_ownership_token) <= 400
    own = saved(tmp_path / "own", made.certificate_pem, made.private_key)
    assert certificate_id(own[0]) == made.certificate_id

    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", tmp_path / "csr.key")
    openssl("req", "-new", "-key", tmp_path / "csr.key", "-subj", f"/CN={name}-csr", "-out", tmp_path / "csr")
    signed = identity.create_from_csr((tmp_path / "csr").read_text())
    from_csr = saved(tmp_path / "from-csr", signed.certificate_pem, (tmp_path / "csr.key").read_text())

    rejected = identity.register("pumps", made.certificate_ownership_token, {"Other": "x"})
    assert isinstance(rejected, (iotidentity.ErrorResponse, iotidentity.V2ErrorResponse))
    assert (rejected.status_code, rejected.error_code) == (400, "InvalidParameters") and rejected.error_message

    for serial, token in ((name, made.certificate_ownership_token), (f"{name}-csr", signed.certificate_ownership_token)):
        for _ in range(2):
            registered = identity.register("pumps", token, {"Serial": serial})
            assert (registered.thing_name, registered.device_configuration) == (serial, {"interval": "30"})
    connection.stop()
    for serial, files in ((name, own), (f"{name}-csr", from_csr)):
        Connection(broker, files, serial, version, False).stop()
    attempts = [attempt for attempt in broker.attempts(client_id=f"boot-{name}") if attempt.get("kind") == "fleet"]
    assert sorted(attempt["reason"] for attempt in attempts) == [
        "PROVISIONED", "PROVISIONED", "TEMPLATE_PARAMETER_MISSING"]


def test_the_sample_hook_checks_the_signature_and_decides(broker, claim, hook):
    port, _, lines = hook
    iot = broker.iot()
    iot.update_provisioning_template(
        templateName="pumps", preProvisioningHook={"payloadVersion": "2020-04-01", "targetArn": HOOK})
    connection = Connection(broker, claim, "boot-hook", 5, False)
    identity = New(connection.service)
    for serial, site in (("boxed", "oslo"), ("loose", "lab")):
        token = identity.create().certificate_ownership_token
        assert identity.register("pumps", token, {"Serial": serial}).thing_name == serial
        assert iot.describe_thing(thingName=serial)["attributes"] == {"site": site}
        assert "boot-hook" in lines.get(timeout=PATIENCE)
    token = identity.create().certificate_ownership_token
    refused = identity.register("pumps", token, {"Serial": "stolen"})
    assert (refused.status_code, refused.error_code, refused.error_message) == (403, "AccessDenied", "Access denied.")
    wait_for(lambda: broker.attempts(reason="HOOK_DENIED"), "the attempt")
    connection.stop()
    # Without the secret nobody may ask.
    curl = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--data", "{}", f"http://127.0.0.1:{port}/"]
    for headers in ([], ["-H", "X-Jitp-Timestamp: 1", "-H", "X-Jitp-Signature: sha256=00"]):
        assert subprocess.run([*curl, *headers], capture_output=True, text=True, check=True).stdout == "403"
    iot.update_provisioning_template(templateName="pumps", removePreProvisioningHook=True)


def test_a_claim_for_five_minutes_is_enough(broker, claim, tmp_path):
    made = broker.iot().create_provisioning_claim(templateName="pumps")
    temporary = saved(tmp_path / "temporary", made["certificatePem"], made["keyPair"]["PrivateKey"])
    connection = Connection(broker, temporary, "any-client-id", 5, False)
    identity = New(connection.service)
    own = identity.create()
    registered = identity.register("pumps", own.certificate_ownership_token, {"Serial": "by-phone"})
    assert registered.thing_name == "by-phone"
    connection.stop()
    files = saved(tmp_path / "own", own.certificate_pem, own.private_key)
    Connection(broker, files, "by-phone", 3, False).stop()
    attempts = [attempt for attempt in broker.attempts(client_id="any-client-id") if attempt.get("kind") == "fleet"]
    assert [attempt["claimCertificateId"] for attempt in attempts] == [made["certificateId"]]


def test_the_device_sdk_for_javascript_provisions_too(broker, claim, tmp_path):
    given = tmp_path / "given.json"
    given.write_text(json.dumps({"port": broker.port, "ca": str(broker.ca), "cert": str(claim[0]), "key": str(claim[1]),
                                 "directory": str(tmp_path)}))
    # Node looks for packages beside the script: tests/run installs them beside a copy of it.
    script = pathlib.Path(os.environ.get("JITP_INTEROP_JS", HERE / "js")) / "fleet.test.mjs"
    run = subprocess.run(["node", "--test", "--test-reporter=spec", str(script)],
                         env={**os.environ, "JITP_GIVEN": str(given)}, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    for serial in ("javascript-1", "javascript-2"):
        assert broker.iot().describe_thing(thingName=serial)["attributes"] == {"site": "lab"}
