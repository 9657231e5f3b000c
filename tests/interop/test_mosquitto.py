"""mosquitto_pub and mosquitto_sub: libmosquitto over OpenSSL."""

import queue
import subprocess
import threading

from conftest import PATIENCE, Factory, certificate_id, wait_for


def command(program, broker, device, client_id, *arguments, version="5"):
    certificate, key, _ = device
    return [program, "-h", "localhost", "-p", str(broker.port), "--cafile", broker.ca, "--cert", certificate,
            "--key", key, "-i", client_id, "-V", version, *arguments]


def run(*arguments):
    return subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE)


def test_a_version_1_certificate_provisions_its_device_at_the_first_publish(broker, factory):
    for version in ("311", "5"):
        name = f"mosquitto-{version}"
        device = factory.device(name)
        done = run(*command("mosquitto_pub", broker, device, name, "-q", "1", "-t", f"dev/{name}/up", "-m", "hello",
                            version=version))
        assert done.returncode == 0, done.stderr
        thing = broker.iot().describe_thing(thingName=name)
        assert thing["attributes"] == {"line": "line-7"}
        principals = broker.iot().list_thing_principals(thingName=name)["principals"]
        assert principals == [f"arn:aws:iot:us-east-1:000000000000:cert/{certificate_id(device[0])}"]


class Subscriber:
    """mosquitto_sub, line by line as it prints."""

    def __init__(self, broker, device, client_id, *arguments, version="5"):
        listen = command("mosquitto_sub", broker, device, client_id, "-v", "-d", *arguments, version=version)
        self.process = subprocess.Popen(
            ["stdbuf", "-oL", *listen],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines = queue.Queue()
        threading.Thread(target=lambda: [self.lines.put(line) for line in self.process.stdout], daemon=True).start()
        self.wait_for("received SUBACK")

    def wait_for(self, *parts):
        """Reads on until every part was in some line."""
        missing = set(parts)
        while missing:
            line = self.lines.get(timeout=PATIENCE)
            missing = {part for part in missing if part not in line}

    def stop(self):
        """Not by SIGTERM: libmosquitto's handler waits for a lock that the line just printed may be holding, forever."""
        self.process.kill()
        self.process.wait()


def test_messages_pass_from_publisher_to_subscriber_at_every_qos(broker, factory):
    publisher = factory.device("speaker")
    assert run(*command("mosquitto_pub", broker, publisher, "speaker", "-q", "1", "-t", "dev/speaker/x", "-m", "x")).returncode == 0
    allow_everything(broker, publisher)
    for qos in ("0", "1", "2"):
        name = f"qos-{qos}"
        subscriber = Subscriber(broker, factory.device(name), name, "-q", qos, "-t", f"dev/{name}/#")
        sent = run(*command("mosquitto_pub", broker, publisher, "speaker", "-q", qos, "-t", f"dev/{name}/x", "-m", "payload"))
        assert sent.returncode == 0, sent.stderr
        subscriber.wait_for(f"dev/{name}/x payload")
        subscriber.stop()


def test_a_publish_that_the_policy_does_not_allow_is_refused(broker, factory):
    device = factory.device("denied")
    done = run(*command("mosquitto_pub", broker, device, "denied", "-q", "1", "-t", "dev/other/up", "-m", "x"))
    assert "not authorized" in (done.stdout + done.stderr).lower(), done


def test_a_stranger_learns_that_it_is_not_authorised_and_the_operator_learns_why(broker, factory, tmp_path):
    nobody = Factory(tmp_path, "Nobody's CA")
    device = nobody.device("stranger")
    done = run(*command("mosquitto_pub", broker, device, "stranger", "-t", "dev/stranger/x", "-m", "x"))
    assert done.returncode != 0
    attempts = wait_for(lambda: broker.attempts(certificate=certificate_id(device[0])), "the attempt")
    assert attempts[0]["reason"] == "DEVICE_CERTIFICATE_NOT_REGISTERED"
    assert attempts[0]["clientId"] == "stranger"


def test_a_sha_1_certificate_is_refused_with_its_reason(broker, factory):
    device = factory.device("old", digest="sha1")
    # OpenSSL's own default would not even load such a certificate.
    weak = ("--ciphers", "DEFAULT@SECLEVEL=0")
    done = run(*command("mosquitto_pub", broker, device, "old", *weak, "-t", "dev/old/x", "-m", "x"))
    assert done.returncode != 0
    attempts = wait_for(lambda: broker.attempts(client_id="old"), "the attempt")
    assert attempts[0]["reason"] == "DEVICE_CERTIFICATE_ALGORITHM_REFUSED"


def test_a_client_without_a_certificate_is_refused(broker, factory):
    done = run("mosquitto_pub", "-h", "localhost", "-p", str(broker.port), "--cafile", broker.ca, "-i", "bare",
               "-t", "x", "-m", "x")
    assert done.returncode != 0
    wait_for(lambda: [a for a in broker.attempts(reason="NOT_AUTHENTICATED")], "the attempt")


def test_presence_and_registration_are_heard_on_the_event_topics(broker, factory):
    watcher = factory.device("watcher")
    assert run(*command("mosquitto_pub", broker, watcher, "watcher", "-q", "1", "-t", "dev/watcher/x", "-m", "x")).returncode == 0
    allow_everything(broker, watcher)
    subscriber = Subscriber(broker, watcher, "watcher", "-q", "1", "-t", "$aws/events/#", "-t", "$jitp/events/#")
    device = factory.device("announced")
    done = run(*command("mosquitto_pub", broker, device, "announced", "-q", "1", "-t", "dev/announced/x", "-m", "x"))
    assert done.returncode == 0, done.stderr
    subscriber.wait_for(
        f"$aws/events/certificates/registered/{factory.id} ",
        "$aws/events/presence/connected/announced ",
        "$aws/events/presence/disconnected/announced ",
        f"$jitp/events/attempts/provisioned/{factory.id} ",
    )
    subscriber.stop()


def allow_everything(broker, device):
    """Gives a provisioned device a policy without bounds."""
    identity = certificate_id(device[0])
    iot = broker.iot()
    name = f"everything-{identity[:12]}"
    iot.create_policy(policyName=name, policyDocument="""{"Version": "2012-10-17", "Statement":
        {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}}""")
    iot.attach_policy(policyName=name, target=f"arn:aws:iot:us-east-1:000000000000:cert/{identity}")


def test_a_session_that_is_kept_gets_what_came_while_the_broker_was_away(broker, factory):
    listener, speaker = factory.device("keeper"), factory.device("teller")
    for device, name in ((listener, "keeper"), (speaker, "teller")):
        first = run(*command("mosquitto_pub", broker, device, name, "-q", "1", "-t", f"dev/{name}/x", "-m", "x"))
        assert first.returncode == 0, first.stderr
        allow_everything(broker, device)
    keep = {"311": ("-c",), "5": ("-c", "-x", "600")}
    for version, arguments in keep.items():
        client_id = f"keeper-{version}"
        subscriber = Subscriber(broker, listener, client_id, "-q", "2", "-t", f"kept/{version}", *arguments,
                                version=version)
        subscriber.stop()
        for qos in ("1", "2"):
            sent = run(*command("mosquitto_pub", broker, speaker, "teller", "-q", qos, "-t", f"kept/{version}",
                                "-m", f"qos {qos}"))
            assert sent.returncode == 0, sent.stderr
    broker.kill_and_restart()
    for version, arguments in keep.items():
        got = run(*command("mosquitto_sub", broker, listener, f"keeper-{version}", "-q", "2", "-t", f"kept/{version}", *arguments,
                           "-C", "2", "-W", str(PATIENCE), version=version))
        assert got.stdout.splitlines() == ["qos 1", "qos 2"], got
