"""The API against AWS's own model of it, as botocore carries it: every operation that is served is called as the model
says, and answers what the model says."""

import base64
import functools
import json
import re
import string

import botocore.loaders
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpsession import URLLib3Session
from botocore.model import ServiceModel

MODELS = [ServiceModel(botocore.loaders.Loader().load_service_model(service, "service-2"), service)
          for service in ("iot", "iot-data")]

# The exceptions that every operation may answer with, whether or not its model lists them.
ALWAYS = {"InvalidRequestException", "ThrottlingException", "InternalFailureException", "ServiceUnavailableException"}

# Operations whose answer to input about nothing is a success, on AWS too.
INDIFFERENT = {
    "DeleteThing", "DeleteThingGroup", "DeleteDynamicThingGroup", "DeleteBillingGroup", "DetachPolicy",
    "ListCertificatesByCA", "SetV2LoggingOptions", "UpdateEventConfigurations", "ListThingTypes",
    "DetachPrincipalPolicy", "Publish",
}

ID = "0" * 64
ARNS = {
    "principal": f"arn:aws:iot:us-east-1:000000000000:cert/{ID}",
    "target": f"arn:aws:iot:us-east-1:000000000000:cert/{ID}",
    "resourceArn": "arn:aws:iot:us-east-1:000000000000:policy/absent",
    "thingArn": "arn:aws:iot:us-east-1:000000000000:thing/absent",
    "thingGroupArn": "arn:aws:iot:us-east-1:000000000000:thinggroup/absent",
    "billingGroupArn": "arn:aws:iot:us-east-1:000000000000:billinggroup/absent",
}
POLICY = json.dumps({"Version": "2012-10-17",
                     "Statement": [{"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}]})
TEMPLATE = json.dumps({"Resources": {"certificate": {
    "Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}}}}})
VALUES = {
    **ARNS,
    "policyDocument": POLICY, "templateBody": TEMPLATE, "policyVersionId": "1", "endpointType": "iot:Data-ATS",
    "queryString": "thingName:absent", "indexName": "AWS_Things", "queryVersion": "2017-09-30",
    "payloadVersion": "2020-04-01", "certificatePem": "-", "caCertificate": "-", "certificateSigningRequest": "-",
    "connectionAttribute": "iot:ClientId", "correlationData": "YWJz", "userProperties": [{"a": "b"}],
}
# Members that are two ways to say the same: the model has them as optional, and one is given.
LEFT_OUT = {
    "thingArn", "thingGroupArn", "billingGroupArn", "removeThingType", "removePreProvisioningHook",
    "removeAutoRegistration", "nextToken", "marker", "cognitoIdentityPoolId", "thingAttribute", "roleArn",
    "templateName@registrationConfig", "setAsActive@RegisterCertificate", "attributeName", "attributeValue",
    "caCertificatePem", "verificationCertificate", "expectedVersion", "preProvisioningHook",
}

@functools.cache
def session():
    return URLLib3Session()


def model_of(name):
    """AWS's model of an operation, if it has one."""
    return next((model.operation_model(name) for model in MODELS if name in model.operation_names), None)


def send(broker, method, path, query=None, headers=None, body=None):
    request = AWSRequest(method, broker.api + path, params=query, headers=headers or {}, data=body or b"")
    SigV4Auth(Credentials(broker.key_id, broker.secret), "iot", "us-east-1").add_auth(request)
    return session().send(request.prepare())


@pytest.fixture(scope="module")
def served(broker):
    reply = send(broker, "GET", "/jitp/v1/operations")
    assert reply.status_code == 200
    routes = json.loads(reply.content)["operations"]
    return {route["operation"]: route for route in routes if not route["path"].startswith("/jitp/")}


def quote(text):
    keep = string.ascii_letters + string.digits + "-_.~"
    return "".join(c if c in keep else "".join(f"%{b:02X}" for b in c.encode()) for c in str(text))


def value_of(shape, name, path=()):
    """A value that the model allows, about things that do not exist."""
    if name in VALUES:
        return VALUES[name]
    kind = shape.type_name
    if kind == "structure":
        return {member: value_of(inner, member, (*path, name)) for member, inner in shape.members.items()
                if member in shape.required_members
                or (member not in LEFT_OUT and f"{member}@{name}" not in LEFT_OUT)}
    if kind == "list":
        return [value_of(shape.member, shape.member.serialization.get("name", name), path)]
    if kind == "map":
        keys = {"eventConfigurations": "THING"}
        return {keys.get(name, "absent"): value_of(shape.value, "value", path)}
    if kind == "boolean":
        return False
    if kind == "blob":
        return b"absent"
    if kind in ("integer", "long"):
        return 1
    if shape.enum:
        return shape.enum[0]
    if "arn" in name.lower():
        return "arn:aws:iam::000000000000:role/absent"
    length = shape.metadata.get("min", 0)
    if name.endswith("ertificateId"):
        return ID
    if name == "targetAwsAccount":
        return "000000000001"
    return "absent" if length <= 6 else "0" * length


def wire(operation, given):
    """method, path, query, headers, body of a call: the model's word on where each member goes."""
    path, query, headers, body, payload = operation.http["requestUri"], {}, {}, {}, b""
    for member, value in given.items():
        shape = operation.input_shape.members[member]
        location = shape.serialization.get("location")
        name = shape.serialization.get("name", member)
        text = json.dumps(value) if isinstance(value, (bool, int, float, list, dict)) or value is None else value
        if location == "uri":
            path = path.replace("{" + name + "}", quote(text))
        elif location == "querystring":
            query[name] = text
        elif location == "header":
            jsonvalue = shape.serialization.get("jsonvalue")
            headers[name] = base64.b64encode(json.dumps(text).encode()).decode() if jsonvalue else text
        elif operation.input_shape.serialization.get("payload") == member:
            payload = value
        else:
            body[name] = value
    return operation.http["method"], path, query, headers, json.dumps(body).encode() if body else payload


def baseline(operation):
    return value_of(operation.input_shape, operation.name) if operation.input_shape else {}


def exception(reply):
    return reply.headers.get("x-amzn-errortype", "").split(":")[0]


def declared(operation):
    return ALWAYS | {shape.name for shape in operation.error_shapes}


def wrong_values(shape, name, operation, path=()):
    """(path to the member, value) pairs, each of which breaks one rule of the model."""
    kind, metadata = shape.type_name, shape.metadata
    at_top = len(path) == 1
    location = shape.serialization.get("location") if at_top else None
    as_text = location in ("uri", "querystring", "header")
    if kind == "structure":
        for member, inner in shape.members.items():
            yield from wrong_values(inner, member, operation, (*path, member))
        if path:
            yield path, "text"
            yield path, ["text"]
    elif kind == "list":
        yield path, "text"
        yield path, {"text": 1}
        for where, wrong in wrong_values(shape.member, name, operation, (*path, 0)):
            yield where, wrong
    elif kind == "map":
        yield path, "text"
        yield path, []
        for where, wrong in wrong_values(shape.value, name, operation, (*path, "absent")):
            yield where, wrong
    elif kind == "boolean":
        yield path, "perhaps"
        if not as_text:
            yield path, 1
            yield path, "true"
    elif kind in ("integer", "long"):
        yield path, "one"
        yield path, 1.5
        yield path, 10 ** 30
        if "max" in metadata:
            yield path, metadata["max"] + 1
        if "min" in metadata:
            yield path, metadata["min"] - 1
        if not as_text:
            yield path, "1"
    elif kind == "string":
        if not as_text:
            yield path, 1
            yield path, ["text"]
            yield path, {"text": "text"}
        if "max" in metadata and metadata["max"] < 100_000 and location != "header":
            yield path, "a" * (metadata["max"] + 1)
        if metadata.get("min", 0) > 0 and location not in ("uri", "header"):
            yield path, "a" * (metadata["min"] - 1)
        if shape.enum:
            yield path, "NO_SUCH"
        # \p{…} is not Python's; those that matter here mean letters, digits and some marks.
        pattern = metadata.get("pattern")
        if pattern and "\\p" not in pattern and not pattern.startswith("[\\s\\S]"):
            for wrong in ("a b", "ab\u00fc\u0000", "!\"%&"):
                if not re.fullmatch(pattern, wrong) and (location != "header" or wrong.isascii()) and "\0" not in wrong:
                    yield path, wrong


def replaced(given, path, value):
    head, *rest = path
    if isinstance(given, list):
        copy = list(given)
        copy[head] = replaced(copy[head], rest, value) if rest else value
        return copy
    copy = dict(given or {})
    inner = copy.get(head)
    if rest and inner is None:
        inner = [None] if isinstance(rest[0], int) else {}
    copy[head] = replaced(inner, rest, value) if rest else value
    return copy


def test_every_operation_is_called_as_the_model_says(served):
    for name, route in served.items():
        assert model_of(name), f"{name} is no operation of AWS IoT"
        http = model_of(name).http
        assert (route["method"], route["path"]) == (http["method"], http["requestUri"]), name
    assert len(served) > 80


def test_what_is_asked_about_nothing_is_answered_with_an_error_that_the_model_has(broker, served):
    wrong = []
    for name in served:
        operation = model_of(name)
        if name.startswith(("Create", "Set", "Tag")) and name not in ("CreatePolicyVersion",):
            continue
        reply = send(broker, *wire(operation, baseline(operation)))
        if reply.status_code == 200:
            # Lists of everything, settings, and what is as good as done.
            about = [m for m in operation.input_shape.required_members] if operation.input_shape else []
            fine = not about or name in INDIFFERENT or name in ("SearchIndex", "DescribeEndpoint")
        else:
            fine = 400 <= reply.status_code < 500 and exception(reply) in declared(operation)
        if not fine:
            wrong.append(f"{name}: {reply.status_code} {exception(reply)} {reply.content[:200]!r}")
    assert not wrong, "\n".join(wrong)


# More than eight hundred calls, one after the other: on a slow machine they may take longer than one test is given.
@pytest.mark.timeout(1200)
def test_input_that_breaks_the_model_is_refused_before_anything_is_looked_up(broker, served):
    wrong, tried = [], 0
    for name in served:
        operation = model_of(name)
        if not operation.input_shape:
            continue
        given = baseline(operation)
        for path, value in wrong_values(operation.input_shape, name, operation):
            leaf = [part for part in path if isinstance(part, str) and part != "absent"][-1]
            tried += 1
            shape = operation.input_shape.members[path[0]]
            reply = send(broker, *wire(operation, replaced(given, path, value)))
            message = json.loads(reply.content or b"{}").get("message", "")
            top = shape.serialization.get("name", path[0])
            last_word = re.findall("[A-Z]?[a-z]+", leaf)[-1].lower()
            names_it = top in message or leaf in message or last_word in message.lower()
            refused = reply.status_code == 400 and exception(reply) in declared(operation)
            if not (refused and names_it):
                shown = repr(value)[:60]
                wrong.append(f"{name} {'.'.join(map(str, path))} = {shown}: {reply.status_code} {exception(reply)} "
                             f"{message[:160]}")
    assert not wrong, f"{len(wrong)} of {tried}\n" + "\n".join(wrong)
    assert tried > 800


def test_required_input_is_required(broker, served):
    wrong = []
    for name in served:
        operation = model_of(name)
        for member in operation.input_shape.required_members if operation.input_shape else []:
            shape = operation.input_shape.members[member]
            if shape.serialization.get("location") == "uri":
                continue
            given = {key: value for key, value in baseline(operation).items() if key != member}
            reply = send(broker, *wire(operation, given))
            message = json.loads(reply.content or b"{}").get("message", "")
            wire_name = shape.serialization.get("name", member)
            if reply.status_code != 400 or wire_name not in message:
                wrong.append(f"{name} without {member}: {reply.status_code} {exception(reply)} {message}")
    assert not wrong, "\n".join(wrong)


def test_tokens_that_were_not_given_are_refused(broker, served):
    for name in served:
        operation = model_of(name)
        for member in ("nextToken", "marker"):
            if operation.input_shape and member in operation.input_shape.members:
                for token in ("AAAA", "not base64!", "a" * 3000):
                    reply = send(broker, *wire(operation, {**baseline(operation), member: token}))
                    assert reply.status_code == 400, f"{name}: {reply.status_code} {reply.content}"
