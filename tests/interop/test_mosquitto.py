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


def test_messages_pass_from_publisher_to_subscriber_at_every_qos(broker, factory):
    for qos in ("0", "1", "2"):
        name = f"qos-{qos}"
        device = factory.device(name)
        # The thing is exclusive to no connection: a second one of the same name takes the first one's place, so the
        # subscriber publishes to itself through its own will-free connection, in one process.
        listening = subprocess.Popen(
            command("mosquitto_sub", broker, device, name, "-q", qos, "-t", f"dev/{name}/#", "-C", "1", "-v", "-d"),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        lines = queue.Queue()
        threading.Thread(target=lambda: [lines.put(line) for line in listening.stdout], daemon=True).start()
        seen = []
        while not any("SUBACK" in line for line in seen):
            seen.append(lines.get(timeout=PATIENCE))
        other = factory.device(f"qos-{qos}-peer", f"/OU=line-7/CN=qos-{qos}-peer")
        iot = broker.iot()
        policy = f"peer-{qos}"
        iot.create_policy(policyName=policy, policyDocument="""{"Version": "2012-10-17", "Statement":
            {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}}""")
        first = run(*command("mosquitto_pub", broker, other, f"qos-{qos}-peer", "-n", "-t", "dev/x"))
        assert first.returncode == 0 or "Both" in first.stderr or first.stderr == "", first.stderr
        iot.attach_policy(policyName=policy,
                          target=f"arn:aws:iot:us-east-1:000000000000:cert/{certificate_id(other[0])}")
        sent = run(*command("mosquitto_pub", broker, other, f"qos-{qos}-peer", "-q", qos, "-t", f"dev/{name}/x",
                            "-m", "payload"))
        assert sent.returncode == 0, sent.stderr
        while not any(line == f"dev/{name}/x payload\n" for line in seen):
            seen.append(lines.get(timeout=PATIENCE))
        assert listening.wait(PATIENCE) == 0


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
    done = run(*command("mosquitto_pub", broker, device, "old", "-t", "dev/old/x", "-m", "x"))
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
    assert run(*command("mosquitto_pub", broker, watcher, "watcher", "-n", "-t", "x")).returncode in (0, 1)
    iot = broker.iot()
    iot.create_policy(policyName="watch", policyDocument="""{"Version": "2012-10-17", "Statement":
        {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}}""")
    iot.attach_policy(policyName="watch",
                      target=f"arn:aws:iot:us-east-1:000000000000:cert/{certificate_id(watcher[0])}")
    listening = subprocess.Popen(
        command("mosquitto_sub", broker, watcher, "watcher", "-q", "1", "-t", "$aws/events/#", "-t", "$jitp/events/#",
                "-v", "-d"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = queue.Queue()
    threading.Thread(target=lambda: [lines.put(line) for line in listening.stdout], daemon=True).start()
    try:
        seen = []
        while not any("SUBACK" in line for line in seen):
            seen.append(lines.get(timeout=PATIENCE))
        device = factory.device("announced")
        done = run(*command("mosquitto_pub", broker, device, "announced", "-q", "1", "-t", "dev/announced/x", "-m", "x"))
        assert done.returncode == 0, done.stderr
        wanted = {
            f"$aws/events/certificates/registered/{factory.id} ",
            "$aws/events/presence/connected/announced ",
            "$aws/events/presence/disconnected/announced ",
            f"$jitp/events/attempts/provisioned/{factory.id} ",
        }
        while wanted:
            line = lines.get(timeout=PATIENCE)
            wanted = {prefix for prefix in wanted if not line.startswith(prefix)}
    finally:
        listening.terminate()
        listening.wait()
