#!/usr/bin/env python3
"""Activates the certificates of a JITR CA as AWS's sample Lambda does: one rule, one policy, one thing for each.

    pip install paho-mqtt boto3
    export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… AWS_DEFAULT_REGION=us-east-1
    python3 jitr_consumer.py --api http://127.0.0.1:8080 --host localhost --port 8883 \\
        --ca server-ca.pem --cert consumer.pem --key consumer.key --policy device --allow 'plant-a-*'

The consumer's own certificate needs a policy that lets it connect and subscribe to $aws/events/certificates/registered/#.
An event comes when a certificate registers itself, and again whenever its device knocks while it waits: what this does may
safely be done twice.
"""

import argparse
import fnmatch
import json
import queue
import ssl
import subprocess

import boto3
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

TOPIC = "$aws/events/certificates/registered/#"


def common_name(pem: str) -> str:
    shown = subprocess.run(["openssl", "x509", "-noout", "-subject", "-nameopt", "sep_multiline,utf8"],
                           input=pem, check=True, capture_output=True, text=True).stdout
    names = [line.strip() for line in shown.splitlines()]
    return next((name.removeprefix("CN=") for name in names if name.startswith("CN=")), "")


def decide(iot, event: dict, allow: str, policy: str) -> str:
    """What was done about the certificate of an event."""
    identifier = event["certificateId"]
    try:
        certificate = iot.describe_certificate(certificateId=identifier)["certificateDescription"]
    except iot.exceptions.ResourceNotFoundException:
        return "gone"
    if certificate["status"] != "PENDING_ACTIVATION":
        return "decided already"
    name = common_name(certificate["certificatePem"])
    if not fnmatch.fnmatchcase(name, allow):
        return f"left alone: {name!r} does not match"
    arn = certificate["certificateArn"]
    iot.create_thing(thingName=name)
    iot.attach_thing_principal(thingName=name, principal=arn)
    iot.attach_policy(policyName=policy, target=arn)
    # Last, so that the device never connects half provisioned.
    iot.update_certificate(certificateId=identifier, newStatus="ACTIVE")
    return f"activated as {name}"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--api", required=True, help="the broker's API")
    arguments.add_argument("--host", default="localhost")
    arguments.add_argument("--port", type=int, default=8883)
    arguments.add_argument("--ca", required=True, help="server-ca.pem of the broker's data directory")
    arguments.add_argument("--cert", required=True)
    arguments.add_argument("--key", required=True)
    arguments.add_argument("--policy", required=True, help="attached to each certificate")
    arguments.add_argument("--allow", default="*", help="pattern of the common names that are let in")
    given = arguments.parse_args()

    iot = boto3.client("iot", endpoint_url=given.api)
    events: queue.Queue[dict] = queue.Queue()
    # A session that is kept: events that come while the consumer is away are delivered later.
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="jitr-consumer", protocol=mqtt.MQTTv311,
                         clean_session=False)
    client.tls_set(ca_certs=given.ca, certfile=given.cert, keyfile=given.key, tls_version=ssl.PROTOCOL_TLS_CLIENT)
    client.on_connect = lambda client, *_: client.subscribe(TOPIC, qos=1)
    client.on_subscribe = lambda *_: print("listening", flush=True)
    client.on_message = lambda _client, _data, message: events.put(json.loads(message.payload))
    client.connect(given.host, given.port)
    client.loop_start()
    while True:
        event = events.get()
        print(event["certificateId"], decide(iot, event, given.allow, given.policy), flush=True)


if __name__ == "__main__":
    main()
