"""How `jitp serve` presents itself, and how the commands find their key: as the AWS tools do."""

import os
import pathlib
import re
import socket
import ssl
import subprocess
import sys

import pytest

from conftest import JITP, PATIENCE, Broker, wait_for
from test_paho import Device


def names(broker, *hosts):
    """Those of the hosts that the server's certificate is good for, as OpenSSL checks it."""
    good = []
    context = ssl.create_default_context(cafile=str(broker.ca))
    for host in hosts:
        with socket.create_connection(("127.0.0.1", broker.port), PATIENCE) as tcp:
            try:
                with context.wrap_socket(tcp, server_hostname=host):
                    good.append(host)
            except ssl.SSLCertVerificationError:
                pass
            except (ssl.SSLError, ConnectionError):
                good.append(host)  # Who brings no certificate is refused, but not before it has looked at the server's.
    return good


def test_the_servers_certificate_is_good_for_this_host_and_for_the_names_that_are_asked_for(tmp_path):
    usual = ["localhost", "127.0.0.1", "::1", socket.gethostname()]
    broker = Broker(tmp_path)
    ca = broker.ca.read_text()
    assert names(broker, *usual, "broker.example", "192.0.2.1") == usual
    broker.stop()
    broker = Broker(tmp_path, "--host", "broker.example", "--host", "192.0.2.1")
    try:
        assert names(broker, *usual, "broker.example", "192.0.2.1", "other.example") == [*usual, "broker.example", "192.0.2.1"]
        assert broker.ca.read_text() == ca, "devices would have to trust another CA"
    finally:
        broker.stop()


@pytest.mark.parametrize("where", ["credentials", "config", "environment"])
def test_a_command_finds_its_key_where_the_aws_tools_keep_theirs(broker, tmp_path, where):
    key = f"aws_access_key_id = {broker.key_id}\naws_secret_access_key = {broker.secret}\n"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "JITP_API": broker.api, "AWS_PROFILE": "plant"}
    (tmp_path / ".aws").mkdir()
    if where == "credentials":
        (tmp_path / ".aws/credentials").write_text(f"[default]\naws_access_key_id = AKIAOTHER\n[plant]\n{key}")
    elif where == "config":
        (tmp_path / ".aws/config").write_text(f"[default]\nregion = eu-west-1\n[profile plant]\nregion = us-east-1\n{key}")
    else:
        environment |= {"AWS_ACCESS_KEY_ID": broker.key_id, "AWS_SECRET_ACCESS_KEY": broker.secret}
    listed = subprocess.run([JITP, "--json", "thing", "list", "--data-dir", tmp_path / "elsewhere"], env=environment,
                            capture_output=True, text=True, timeout=PATIENCE)
    assert (listed.returncode, listed.stdout.strip()[:1]) == (0, "["), listed.stderr


def test_without_a_key_a_command_says_where_it_looked(broker, tmp_path):
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "JITP_API": broker.api}
    listed = subprocess.run([JITP, "thing", "list", "--data-dir", tmp_path], env=environment, capture_output=True, text=True,
                            timeout=PATIENCE)
    assert listed.returncode == 3
    assert "JITP_ACCESS_KEY_ID" in listed.stderr and "--data-dir" in listed.stderr


def test_the_log_in_a_file_has_no_colours_and_no_secret(broker, factory):
    Device(broker, factory.device("plain"), "plain").accepted().stop()
    log = wait_for(lambda: 'eventType="Connect"' in (log := broker.logged()) and log.count("plain") > 2 and log,
                   "the device's records")
    assert "\x1b" not in log and broker.secret not in log


def test_a_broker_without_huge_pages_is_small(tmp_path, monkeypatch):
    monkeypatch.setenv("MIMALLOC_ALLOW_THP", "0")
    broker = Broker(tmp_path)
    memory = pathlib.Path(f"/proc/{broker.process.pid}/smaps_rollup").read_text()
    broker.stop()
    assert re.search(r"^AnonHugePages: +0 kB$", memory, re.MULTILINE), memory


def test_the_quick_starts_commands_for_awss_tools_work_as_they_are_written(broker, factory, tmp_path):
    page = (pathlib.Path(__file__).parents[2] / "docs/quick-start.md").read_text()
    script = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)[-1]
    assert script.startswith("export AWS_") and script.count("\naws iot ") == 2, script
    Device(broker, factory.device("pump-0042"), "pump-0042").accepted().stop()
    script = script.replace("http://127.0.0.1:8080", broker.api).replace("./jitp-data", str(broker.data))
    tools = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    ran = subprocess.run(["sh", "-euc", script], env={"PATH": tools, "HOME": str(tmp_path)}, capture_output=True, text=True,
                         timeout=PATIENCE)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("thing/pump-0042") == 2, ran.stdout
