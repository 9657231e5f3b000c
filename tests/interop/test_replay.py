"""What another version of a template would have decided, asked with the operator's command."""

import json
import os
import subprocess

from conftest import JITP, TEMPLATE
from test_paho import Device


def replay(broker, version):
    """(exit code, answer)"""
    run = subprocess.run(
        [JITP, "--json", "replay", "--template", "plant-a", "--version", str(version), "--since", "1d",
         "--data-dir", broker.data],
        env={**os.environ, "JITP_API": broker.api}, capture_output=True, text=True)
    assert run.returncode in (0, 2), run.stderr
    return run.returncode, json.loads(run.stdout)


def registry(broker, file):
    """All records, as an archive has them between its first and its last line."""
    broker.jitp("export", str(file))
    return file.read_text().splitlines()[1:-1]


def test_a_version_is_tried_on_the_devices_that_came(broker, factory, tmp_path):
    iot = broker.iot()
    for number in range(3):
        name = f"replayed-{number}"
        Device(broker, factory.device(name), name).accepted().stop()
    code, same = replay(broker, 1)
    assert (code, same["compared"] >= 3, same["differences"]) == (0, True, [])
    edited = json.loads(json.dumps(TEMPLATE))
    edited["Resources"]["thing"]["Properties"]["AttributePayload"]["line"] = "fixed"
    version = iot.create_provisioning_template_version(
        templateName="plant-a", templateBody=json.dumps(edited))["versionId"]
    before = registry(broker, tmp_path / "before.jsonl")
    attempts = broker.attempts()
    code, other = replay(broker, version)
    assert code == 2
    assert registry(broker, tmp_path / "after.jsonl") == before, "nothing is written"
    assert broker.attempts() == attempts
    [change] = next(d for d in other["differences"] if "CN=replayed-0" in d["subject"])["changes"]
    assert change == {"what": "attributes.line", "was": "line-7", "wouldBe": "fixed"}
    assert iot.describe_thing(thingName="replayed-0")["attributes"] == {"line": "line-7"}
