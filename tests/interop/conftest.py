"""A jitp process, a factory with OpenSSL's certificates, and the clients that are not ours."""

import json
import os
import pathlib
import queue
import re
import subprocess
import threading
import time

import boto3
import pytest
from botocore.config import Config

JITP = os.environ["JITP"]
PATIENCE = 60

TEMPLATE = {
    "Parameters": {
        "AWS::IoT::Certificate::CommonName": {"Type": "String"},
        "AWS::IoT::Certificate::OrganizationalUnit": {"Type": "String", "Default": "unsorted"},
        "AWS::IoT::Certificate::Id": {"Type": "String"},
    },
    "Resources": {
        "thing": {
            "Type": "AWS::IoT::Thing",
            "Properties": {
                "ThingName": {"Ref": "AWS::IoT::Certificate::CommonName"},
                "AttributePayload": {"line": {"Ref": "AWS::IoT::Certificate::OrganizationalUnit"}},
            },
        },
        "certificate": {
            "Type": "AWS::IoT::Certificate",
            "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "ACTIVE"},
        },
        "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "device"}},
    },
}

POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": "iot:Connect",
            "Resource": "arn:aws:iot:us-east-1:000000000000:client/${iot:Connection.Thing.ThingName}",
            "Condition": {"Bool": {"iot:Connection.Thing.IsAttached": "true"}},
        },
        {
            "Effect": "Allow",
            "Action": ["iot:Publish", "iot:Receive", "iot:RetainPublish"],
            "Resource": "arn:aws:iot:us-east-1:000000000000:topic/dev/${iot:Connection.Thing.ThingName}/*",
        },
        {
            "Effect": "Allow",
            "Action": "iot:Subscribe",
            "Resource": "arn:aws:iot:us-east-1:000000000000:topicfilter/dev/${iot:Connection.Thing.ThingName}/*",
        },
    ],
}


class Broker:
    """`jitp serve` in a directory of its own."""

    def __init__(self, directory: pathlib.Path, *arguments: str, config: str = ""):
        self.data = directory / "data"
        if config:
            (directory / "config.toml").write_text(config)
            arguments = ("--config", str(directory / "config.toml"), *arguments)
        self.log = directory / "log"
        self.arguments = arguments
        self.start()

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                [JITP, "serve", "--mqtt", "127.0.0.1:0", "--api", "127.0.0.1:0", "--data-dir", self.data, *self.arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=lambda: [lines.put(line) for line in self.process.stdout], daemon=True).start()
        try:
            line = lines.get(timeout=PATIENCE)
        except queue.Empty:
            self.stop()
            raise AssertionError(f"no ready line: {self.logged()}") from None
        ready = re.fullmatch(r"ready mqtts=(\S+):(\d+) api=(\S+)(?: https=\S+:(\d+))?((?: mqtts=\S+| https=\S+)*)\n", line)
        assert ready, line
        self.port = int(ready[2])
        self.api = ready[3]
        self.https = ready[4] and int(ready[4])
        self.further = [int(word.rpartition(":")[2]) for word in ready[5].split()]
        self.ca = self.data / "server-ca.pem"
        text = (self.data / "credentials").read_text()
        self.key_id = re.search(r"aws_access_key_id = (\S+)", text)[1]
        self.secret = re.search(r"aws_secret_access_key = (\S+)", text)[1]

    def kill_and_restart(self):
        """`kill -9`, and `jitp serve` again over the same directory, on other ports."""
        self.process.kill()
        self.process.wait()
        self.start()

    def logged(self) -> str:
        """What it has logged so far; opened again, for a shared file offset would have it write where we read."""
        return self.log.read_text()

    def iot(self, **options):
        return self.client("iot", **options)

    def iot_data(self, **options):
        return self.client("iot-data", **options)

    def client(self, service: str, secret: str | None = None, region: str = "us-east-1", key_id: str | None = None,
               retries: int = 1):
        client = boto3.client(
            service,
            endpoint_url=self.api,
            region_name=region,
            aws_access_key_id=key_id or self.key_id,
            aws_secret_access_key=secret or self.secret,
            config=Config(retries={"max_attempts": retries}),
        )
        client.meta.events.register(f"before-parse.{service}.*", must_fit_the_model)
        return client

    def jitp(self, *arguments: str):
        """Runs `jitp --json` against this broker."""
        run = subprocess.run(
            [JITP, "--json", *arguments, "--data-dir", self.data],
            env={**os.environ, "JITP_API": self.api},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    def attempts(self, **filters: str):
        arguments = [word for name, value in filters.items() for word in (f"--{name.replace('_', '-')}", value)]
        return self.jitp("attempts", *arguments)

    def stop(self):
        self.process.kill()
        self.process.wait()


def must_fit_the_model(operation_model, response_dict, **_):
    """botocore passes over members that its model does not have, and over times in the wrong form: here they fail."""
    if response_dict["status_code"] == 200:
        shape = operation_model.output_shape
        body = json.loads(response_dict["body"] or b"{}")
        assert shape or body == {}, f"{operation_model.name} has no output: {body}"
        if shape:
            must_fit(body, shape, operation_model.name)


def must_fit(value, shape, where):
    kind = shape.type_name
    if kind == "structure":
        assert isinstance(value, dict), f"{where}: {value!r}"
        names = {inner.serialization.get("name", name): inner for name, inner in shape.members.items()}
        for name, inner in value.items():
            assert name in names, f"{where}: the model has no {name}"
            must_fit(inner, names[name], f"{where}.{name}")
        missing = set(shape.required_members) - value.keys()
        assert not missing, f"{where}: {missing} are missing"
    elif kind == "list":
        assert isinstance(value, list), f"{where}: {value!r}"
        for number, inner in enumerate(value):
            must_fit(inner, shape.member, f"{where}.{number}")
    elif kind == "map":
        assert isinstance(value, dict), f"{where}: {value!r}"
        for name, inner in value.items():
            must_fit(inner, shape.value, f"{where}.{name}")
    else:
        kinds = {"string": str, "blob": str, "boolean": bool, "integer": int, "long": int, "timestamp": (int, float)}
        assert isinstance(value, kinds[kind]), f"{where}: {value!r} is no {kind}"
        if kind in ("integer", "long"):
            assert not isinstance(value, bool), f"{where}: {value!r} is no {kind}"
        if kind == "string" and shape.enum:
            assert value in shape.enum, f"{where}: {value!r} is none of {shape.enum}"
        pattern = shape.metadata.get("pattern")
        if pattern and "\\p" not in pattern:
            assert re.fullmatch(pattern, value), f"{where}: {value!r} does not match {pattern}"


class Factory:
    """A CA and devices, made with the openssl command."""

    def __init__(self, directory: pathlib.Path, name: str):
        self.directory = directory
        self.certificate = directory / "ca.pem"
        self.key = directory / "ca.key"
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.key)
        openssl("req", "-x509", "-new", "-key", self.key, "-subj", f"/O=Works/CN={name}", "-days", "30",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-out", self.certificate)

    def device(self, name: str, subject: str | None = None, digest: str = "sha256", days: str = "30", rsa: bool = False):
        """A device's (certificate, key, chain); `openssl x509 -req` without extensions makes a version 1 certificate."""
        stem = self.directory / name.replace("/", "_")
        certificate, key, request, chain = (stem.with_suffix(s) for s in (".pem", ".key", ".csr", ".chain.pem"))
        if rsa:
            openssl("genrsa", "-out", key, "2048")
        else:
            openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
        openssl("req", "-new", "-key", key, "-subj", subject or f"/OU=line-7/CN={name}", "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
                f"-{digest}", "-days", days, "-out", certificate)
        chain.write_text(certificate.read_text() + self.certificate.read_text())
        return certificate, key, chain

    def verification(self, code: str) -> str:
        """The certificate that proves possession of the CA's key."""
        return self.device("verification", f"/CN={code}")[0].read_text()


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def certificate_id(path) -> str:
    """The certificate id as OpenSSL computes it."""
    out = subprocess.run(["openssl", "x509", "-in", path, "-noout", "-fingerprint", "-sha256"],
                         check=True, capture_output=True, text=True).stdout
    return out.strip().split("=")[1].replace(":", "").lower()


def register(broker: Broker, factory: Factory, **config):
    """Registers the CA with boto3: policy, template, verification certificate."""
    iot = broker.iot()
    code = iot.get_registration_code()["registrationCode"]
    return iot.register_ca_certificate(
        caCertificate=factory.certificate.read_text(),
        verificationCertificate=factory.verification(code),
        setAsActive=True,
        allowAutoRegistration=True,
        **config,
    )["certificateId"]


def plant(directory: pathlib.Path, broker: Broker, name: str, policy: dict) -> Factory:
    """A factory whose CA is registered with the usual template; its devices get this policy."""
    made = Factory(directory, name)
    broker.iot().create_policy(policyName="device", policyDocument=json.dumps(policy))
    role = "arn:aws:iam::000000000000:role/provisioner"
    register(broker, made, registrationConfig={"templateBody": json.dumps(TEMPLATE), "roleArn": role})
    return made


def wait_for(condition, what: str):
    """Polls until true; the broker acts on its own time."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"never came: {what}")


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    running = Broker(tmp_path_factory.mktemp("broker"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def factory(tmp_path_factory, broker):
    """A CA that is registered with a template."""
    made = Factory(tmp_path_factory.mktemp("factory"), "Plant A CA")
    iot = broker.iot()
    iot.create_policy(policyName="device", policyDocument=json.dumps(POLICY))
    role = "arn:aws:iam::000000000000:role/provisioner"
    iot.create_provisioning_template(
        templateName="plant-a", type="JITP", templateBody=json.dumps(TEMPLATE), provisioningRoleArn=role, enabled=True
    )
    made.id = register(broker, made, registrationConfig={"templateName": "plant-a"})
    return made
