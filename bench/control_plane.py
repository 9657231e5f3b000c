#!/usr/bin/env python3
"""The control plane of jitp and of moto_server under the same calls, one after the other, in one run.

    python3 -m venv .venv && .venv/bin/pip install -r bench/requirements.txt
    cargo build --release -p jitp -p jitp-bench
    .venv/bin/python bench/control_plane.py --jitp target/release/jitp --bench target/release/jitp-bench

Calls: CreateThing, DescribeThing, ListThings (pages of 25 from anywhere in the list) and RegisterThing (a template with a
thing and a policy), over 1,000 and 200,000 things that are there before. Both servers get the same bytes over the same
kind of connections: the requests are made and signed (Signature Version 4) before the clock starts, by botocore, and sent
over HTTP/1.1 by a few processes that wait for each answer. jitp checks the signatures and writes to the disk; moto does
neither. Rounds of the two alternate; the median counts.

moto is filled before it serves, by its own backend: over HTTP 200,000 things take too long. It looks through all of them for
DescribeThing, and makes a list of all of them for each page of ListThings: a page then takes moto seconds, and --seconds bounds
when a call begins, not when it ends. `--things 200000 --rounds 1` keeps that to some minutes.
"""

import argparse
import datetime
import json
import multiprocessing
import os
import pathlib
import platform
import queue
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

REGION = "us-east-1"
# For an answer, and beside what it takes to put the things there.
PATIENCE = 300
MOST_SECONDS_PER_THING = 0.001
TEMPLATE = json.dumps({
    "Parameters": {"Name": {"Type": "String"}},
    "Resources": {
        "thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Ref": "Name"}}},
    },
})
CALLS = ("CreateThing", "DescribeThing", "ListThings", "RegisterThing")


def main():
    options = arguments()
    report = {"started": datetime.datetime.now(datetime.timezone.utc).isoformat(), "machine": machine(), "cases": []}
    for things in options.things:
        with tempfile.TemporaryDirectory(prefix="jitp-control-plane-") as directory:
            peers = start(options, things, pathlib.Path(directory))
            try:
                for call in options.calls:
                    report["cases"].append(case(options, peers, call, things))
            finally:
                for peer in peers:
                    peer.stop()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"control-plane-{int(time.time())}.json"
    path.write_text(json.dumps(report, indent=2))
    print(f"\nevery round: {path}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=lambda text: text.split(","), default=["jitp", "moto"])
    parser.add_argument("--calls", type=lambda text: text.split(","), default=list(CALLS))
    parser.add_argument("--things", type=lambda text: [int(n) for n in text.split(",")], default=[1_000, 200_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=3000, help="of one round; fewer where they take too long")
    parser.add_argument("--seconds", type=float, default=10, help="the longest time of a round")
    parser.add_argument("--processes", type=int, default=4, help="that send requests, one connection each")
    parser.add_argument("--jitp", type=pathlib.Path, default=pathlib.Path("target/release/jitp"))
    parser.add_argument("--bench", type=pathlib.Path, default=pathlib.Path("target/release/jitp-bench"))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("bench/results"))
    return parser.parse_args()


# Servers ---------------------------------------------------------------------------------------------------------------

class Server:
    """A process that has said where it listens."""

    def __init__(self, name, command, ready, key_id, secret, patience=PATIENCE):
        self.name, self.key_id, self.secret, self.tokens = name, key_id, secret, None
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        lines = queue.Queue()
        threading.Thread(target=lambda: [lines.put(line) for line in self.process.stdout], daemon=True).start()
        try:
            line = lines.get(timeout=patience)
        except queue.Empty:
            self.stop()
            raise SystemExit(f"{name} does not start") from None
        self.address = re.search(ready, line)[1]

    def stop(self):
        self.process.kill()
        self.process.wait()


def start(options, things, directory):
    peers = []
    if "jitp" in options.peers:
        data = directory / "data"
        print(f"jitp: writing {things} things")
        subprocess.run([options.bench, "things", "--data-dir", data, "--count", str(things)], check=True)
        config = directory / "jitp.toml"
        # Page sizes and limits are the defaults; only the log is quiet.
        config.write_text('[log]\nlevel = "error"\n')
        jitp = Server("jitp", [options.jitp, "serve", "--mqtt", "127.0.0.1:0", "--api", "127.0.0.1:0", "--data-dir", data,
                               "--config", config], r"api=http://(\S+)", "", "")
        text = (data / "credentials").read_text()
        jitp.key_id = re.search(r"aws_access_key_id = (\S+)", text)[1]
        jitp.secret = re.search(r"aws_secret_access_key = (\S+)", text)[1]
        peers.append(jitp)
    if "moto" in options.peers:
        print(f"moto: writing {things} things")
        command = [sys.executable, "-c", MOTO, str(things)]
        patience = PATIENCE + things * MOST_SECONDS_PER_THING
        peers.append(Server("moto", command, r"listens on (\S+)", "AKIAMOTO", "secret", patience))
    return peers


# moto_server with things in it: put there directly, as its own backend has them after CreateThing.
MOTO = """
import sys
from moto.core import DEFAULT_ACCOUNT_ID
from moto.iot.models import iot_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server, WSGIRequestHandler
backend = iot_backends[DEFAULT_ACCOUNT_ID]["us-east-1"]
for number in range(int(sys.argv[1])):
    backend.create_thing(f"thing-{number:07}", None, {"attributes": {"line": str(number % 10)}})
class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    def log(self, *_):
        pass
app = DomainDispatcherApplication(create_backend_app)
server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
print(f"listens on 127.0.0.1:{server.port}", flush=True)
server.serve_forever()
"""


# Requests --------------------------------------------------------------------------------------------------------------

def requests(peer, call, things, round_, count):
    """That many signed requests, as bytes."""
    tokens = list_tokens(peer) if call == "ListThings" else [None]
    made = []
    for number in range(count):
        somewhere = (number * 7919 + round_ * 104_729) % things
        fresh = f"made-{call}-{round_}-{number}"
        query, body = {}, b""
        if call == "CreateThing":
            method, path = "POST", f"/things/{fresh}"
            body = json.dumps({"attributePayload": {"attributes": {"line": "7"}}}).encode()
        elif call == "DescribeThing":
            method, path = "GET", f"/things/thing-{somewhere:07}"
        elif call == "ListThings":
            method, path = "GET", "/things"
            query = {"maxResults": "25"}
            token = tokens[number % len(tokens)]
            if token:
                query["nextToken"] = token
        else:
            method, path = "POST", "/things"
            body = json.dumps({"templateBody": TEMPLATE, "parameters": {"Name": fresh}}).encode()
        made.append(signed(peer, method, path, query, body))
    return made


def signed(peer, method, path, query, body):
    request = AWSRequest(method, f"http://{peer.address}{path}", params=query, data=body,
                         headers={"Content-Type": "application/json"})
    SigV4Auth(Credentials(peer.key_id, peer.secret), "iot", REGION).add_auth(request)
    prepared = request.prepare()
    target = urllib.parse.urlsplit(prepared.url)
    line = target.path + (f"?{target.query}" if target.query else "")
    headers = {**prepared.headers, "Host": peer.address, "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value.decode() if isinstance(value, bytes) else value}\r\n"
                   for name, value in headers.items())
    return f"{method} {line} HTTP/1.1\r\n{head}\r\n".encode() + body


def list_tokens(peer, pages=8):
    """Tokens of the first pages of 250, asked for once: where further pages begin."""
    if peer.tokens:
        return peer.tokens
    tokens, token = [None], None
    connection = Connection(peer.address)
    for _ in range(pages):
        query = {"maxResults": "250", **({"nextToken": token} if token else {})}
        status, body = connection.ask(signed(peer, "GET", "/things", query, b""))
        token = json.loads(body).get("nextToken") if status == 200 else None
        if not token:
            break
        tokens.append(token)
    peer.tokens = tokens
    return tokens


class Connection:
    """HTTP/1.1, kept open where the server keeps it."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.address, self.stream = (host, int(port)), None

    def ask(self, request):
        if self.stream is None:
            self.stream = socket.create_connection(self.address, timeout=PATIENCE)
            self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream.sendall(request)
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            more = self.stream.recv(65536)
            if not more:
                raise ConnectionError("the server closed the connection")
            received += more
        head = received[:end].decode("latin-1")
        status = int(head.split(" ", 2)[1])
        length = re.search(r"(?i)\r\ncontent-length: *(\d+)", head)
        if not length:
            raise ConnectionError("an answer without Content-Length")
        missing = int(length[1]) - (len(received) - end - 4)
        body = [received[end + 4:]]
        while missing > 0:
            more = self.stream.recv(65536)
            if not more:
                raise ConnectionError("the server closed the connection")
            body.append(more)
            missing -= len(more)
        if re.search(r"(?i)\r\nconnection: *close", head) or head.startswith("HTTP/1.0"):
            self.stream.close()
            self.stream = None
        return status, b"".join(body)


# Measuring -------------------------------------------------------------------------------------------------------------

def send(address, batch, seconds, barrier, results):
    """In a process of its own: everything in turn. Gives how many, how many were refused, when, the latencies."""
    connection, refused, latencies = Connection(address), 0, []
    barrier.wait()
    began = time.perf_counter()
    for request in batch:
        sent = time.perf_counter()
        if sent - began > seconds:
            break
        status, _ = connection.ask(request)
        latencies.append(time.perf_counter() - sent)
        refused += status != 200
    results.put((len(latencies), refused, began, time.perf_counter(), latencies))


def measure(options, peer, call, things, round_):
    made = requests(peer, call, things, round_, options.requests)
    barrier, results = multiprocessing.Barrier(options.processes), multiprocessing.Queue()
    processes = [multiprocessing.Process(target=send, args=(peer.address, made[n::options.processes], options.seconds,
                                                            barrier, results)) for n in range(options.processes)]
    for process in processes:
        process.start()
    parts = [results.get(timeout=PATIENCE + options.seconds) for _ in processes]
    for process in processes:
        process.join()
    took = max(part[3] for part in parts) - min(part[2] for part in parts)
    latencies = sorted(latency for part in parts for latency in part[4])
    at = lambda share: round(latencies[min(len(latencies) - 1, int(len(latencies) * share))] * 1e6)
    return {"peer": peer.name, "round": round_, "calls": len(latencies), "refused": sum(part[1] for part in parts),
            "perSecond": len(latencies) / took, "p50Micros": at(0.5), "p99Micros": at(0.99)}


def case(options, peers, call, things):
    rounds, notes = [], []
    served = [peer for peer in peers if supports(peer, call, things, notes)]
    for round_ in range(options.rounds):
        for peer in served:
            rounds.append(measure(options, peer, call, things, round_))
    print(f"\n{call}, {things} things")
    medians = {}
    for peer in served:
        own = [r for r in rounds if r["peer"] == peer.name]
        medians[peer.name] = statistics.median(r["perSecond"] for r in own)
        refused = sum(r["refused"] for r in own)
        print(f"  {peer.name:5} {medians[peer.name]:10.0f} calls/s   p50 {statistics.median(r['p50Micros'] for r in own):7.0f} µs"
              f"   p99 {statistics.median(r['p99Micros'] for r in own):7.0f} µs" + (f"   {refused} refused" if refused else ""))
    if {"jitp", "moto"} <= medians.keys():
        print(f"  jitp / moto {medians['jitp'] / medians['moto']:.1f}")
    for note in notes:
        print(f"  {note}")
    return {"call": call, "things": things, "rounds": rounds, "medians": medians, "notes": notes}


def supports(peer, call, things, notes):
    """Tries the call once: what a peer does not have is said, not measured."""
    request = requests(peer, call, things, 999_999, 1)[0]
    try:
        status, body = Connection(peer.address).ask(request)
    except ConnectionError as error:
        status, body = 0, str(error).encode()
    if status == 200:
        return True
    notes.append(f"{peer.name} has no {call} ({status}: {body[:80].decode(errors='replace').strip()!r})")
    return False


def machine():
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return [f"{os.cpu_count()} cores shared by servers and clients; {model[1] if model else platform.machine()}",
            f"Linux {platform.release()}, Python {platform.python_version()}"]


if __name__ == "__main__":
    main()
