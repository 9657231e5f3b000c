#!/usr/bin/env python3
"""A pre-provisioning hook: allows the serial numbers of a file, and tells each device its site.

    HOOK_SECRET=… python3 hook.py --port 9000 --serials serials.txt

Each line of the file is a serial number, and after a blank the site if there is one. The broker's configuration:

    [hooks.stock]
    arn = "arn:aws:lambda:us-east-1:000000000000:function:stock"
    url = "http://127.0.0.1:9000/"
    secret_file = "/etc/jitp/stock-secret"
"""

import argparse
import hashlib
import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OLDEST = 300  # seconds
LONGEST = 1 << 20  # bytes


def is_signed(secret: bytes, timestamp: str, signature: str, body: bytes, now: float) -> bool:
    """Did the broker ask, and just now?"""
    if not timestamp.isascii() or not timestamp.isdigit() or abs(now - int(timestamp)) > OLDEST:
        return False
    expected = "sha256=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), signature.encode())


def decide(sites: dict[str, str], question: dict) -> dict:
    """Is the device ours, and where does it go?"""
    serial = question["parameters"].get("Serial", "")
    if serial not in sites:
        return {"allowProvisioning": False}
    return {"allowProvisioning": True, "parameterOverrides": {"Site": sites[serial]} if sites[serial] else {}}


class Hook(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > LONGEST:
            self.close_connection = True
            return self.answer(413, {})
        body = self.rfile.read(int(length))
        timestamp = self.headers.get("X-Jitp-Timestamp", "")
        signature = self.headers.get("X-Jitp-Signature", "")
        if not is_signed(self.server.secret, timestamp, signature, body, time.time()):
            return self.answer(403, {})
        question = json.loads(body)
        answer = decide(self.server.sites, question)
        print(question["clientId"], question["parameters"], answer, file=sys.stderr)
        self.answer(200, answer)

    def answer(self, status: int, body: dict):
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *arguments):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=9000, help="0 picks a free one, and prints it")
    parser.add_argument("--serials", required=True, help="file: a serial number a line, and its site")
    arguments = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", arguments.port), Hook)
    server.secret = os.environ["HOOK_SECRET"].strip().encode()
    with open(arguments.serials) as lines:
        fields = [line.split(None, 1) for line in lines if line.strip()]
    server.sites = {line[0]: line[1].strip() if len(line) > 1 else "" for line in fields}
    print(f"listening on {server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
