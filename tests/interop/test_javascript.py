"""The AWS SDK for JavaScript v3, run by Node.js: js/iot.test.mjs."""

import json
import os
import pathlib
import subprocess

import pytest

from conftest import Broker, Factory

HERE = pathlib.Path(__file__).parent / "js"


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    running = Broker(tmp_path_factory.mktemp("broker"))
    yield running
    running.stop()


def test_the_sdk_for_javascript_registers_describes_paginates_and_reads_errors(broker, tmp_path):
    given = tmp_path / "given.json"
    given.write_text(json.dumps({"api": broker.api, "keyId": broker.key_id, "secret": broker.secret,
                                 "ca": str(Factory(tmp_path, "JavaScript CA").certificate)}))
    # Node looks for packages beside the script: tests/run installs them beside a copy of it.
    script = pathlib.Path(os.environ.get("JITP_INTEROP_JS", HERE)) / "iot.test.mjs"
    run = subprocess.run(["node", "--test", "--test-reporter=spec", str(script)],
                         env={**os.environ, "JITP_GIVEN": str(given)}, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
