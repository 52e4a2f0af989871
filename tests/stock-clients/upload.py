"""Uploads one file with the PyPI package `websockets`, following docs/protocol.md; then downloads it and compares.

    python upload.py http://127.0.0.1:8080 USER PASSWORD FILE
"""

import hashlib
import json
import os
import re
import struct
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

from crc32c import crc32c
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

STREAM = 1
STORED, FAILED = "file.uploaded_successfully", "file.upload_failed"


class Refused(Exception):
    """The server has said no."""


def frame(offset, payload):
    """The binary message of one chunk."""
    return struct.pack(">BxxxIQI", 0x01, STREAM, offset, crc32c(payload)) + payload


def digest_of(stream):
    digest = hashlib.sha256()
    while part := stream.read(1 << 16):
        digest.update(part)
    return f"sha256:{digest.hexdigest()}"


def request(method, url, body):
    headers = {"content-type": "application/json"}
    message = urllib.request.Request(url, json.dumps(body).encode(), headers, method=method)
    try:
        with urllib.request.urlopen(message) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def token_for(server, user, password):
    """Signs up, or logs in if the name is taken. Returns the access token."""
    status, body = request("POST", f"{server}/auth/signup", {"user_name": user, "password": password})
    if body.get("code") == "conflict":
        name = urllib.parse.quote(user, safe="")
        status, body = request("PUT", f"{server}/auth/login/{name}", {"password": password})
    if status >= 300:
        raise Refused(f"no token: {body}")
    return body["access_token"]


class Upload:
    """One upload on one session: what is sent, what is acknowledged, and what is known of its end."""

    def __init__(self, socket, limits, file, digest):
        self.socket, self.limits, self.file, self.digest = socket, limits, file, digest
        self.size = os.fstat(file.fileno()).st_size
        self.chunk_bytes = limits["max_chunk_bytes"]
        # What fits the window is sent without waiting for `transfer-started`.
        self.may_send = self.size <= limits["window_bytes"]
        self.sent = self.acked = 0
        self.requests = 1
        self.completing = None
        self.completed = None
        self.outcomes = {}

    def run(self):
        name = os.path.basename(self.file.name)
        self.start = {"type": "start-transfer", "stream": STREAM, "key": str(uuid.uuid4()), "name": name, "size": self.size}
        self.send_start()
        while self.completed is None:
            self.pump()
            self.take(json.loads(self.socket.recv()))
        while self.completed["file_id"] not in self.outcomes:
            self.take(json.loads(self.socket.recv()))
        outcome = self.outcomes[self.completed["file_id"]]
        if outcome["event"] != STORED:
            raise Refused(f"not stored: {outcome['data']['reason']}")
        return self.completed

    def send(self, message):
        self.requests += 1
        message["id"] = self.requests
        self.socket.send(json.dumps(message))
        return self.requests

    def send_start(self):
        self.send(self.start)

    def pump(self):
        """Sends what the window allows, and the end when all is sent."""
        while self.may_send and self.completing is None:
            if self.sent == self.size:
                self.completing = self.send({"type": "complete-upload", "stream": STREAM, "digest": self.digest})
                return
            length = min(self.chunk_bytes, self.size - self.sent)
            if self.sent + length - self.acked > self.limits["window_bytes"]:
                return
            self.file.seek(self.sent)
            payload = self.file.read(length)
            if len(payload) != length:
                raise Refused("the file has become shorter")
            self.socket.send(frame(self.sent, payload))
            self.sent += length

    def take(self, message):
        match message["type"]:
            case "transfer-started":
                if message["status"] != "open":
                    raise Refused(f"the upload is {message['status']}")
                self.chunk_bytes = message["chunk_bytes"]
                if not self.may_send:
                    self.sent = self.acked = message["offset"]
                self.may_send = True
            case "chunk-acked":
                self.acked = max(self.acked, message["offset"])
            case "upload-completed":
                self.completed = message
            case "notification" if message["event"] in (STORED, FAILED):
                self.outcomes[message["data"]["file_id"]] = message
            case "error":
                self.recover(message)

    def recover(self, error):
        """After an error that can pass: waits if asked to, and goes on where the server says."""
        if not error["retryable"]:
            raise Refused(f"refused: {error['code']} {error.get('detail', '')}")
        time.sleep(error.get("retry_after_ms", 0) / 1000)
        if error.get("id") == self.start["id"]:
            self.sent = self.acked = 0
            self.completing = None
            self.send_start()
        elif error.get("id") in (None, self.completing):
            self.sent = self.acked = error.get("expected", self.sent)
            self.completing = None


def main(server, user, password, path):
    token = token_for(server, user, password)
    with open(path, "rb") as file:
        digest = digest_of(file)
        url = re.sub("^http", "ws", server) + "/ws"
        with connect(url, subprotocols=["sluice.v1"], compression=None, max_size=None) as socket:
            client = {"name": "upload.py", "version": "1"}
            socket.send(json.dumps({"type": "connect", "id": 1, "access_token": token, "client": client}))
            connected = json.loads(socket.recv())
            if connected["type"] != "connected":
                raise Refused(f"not connected: {connected}")
            completed = Upload(socket, connected["limits"], file, digest).run()
    if completed["digest"] != digest:
        raise Refused(f"the server has {completed['digest']}, the file is {digest}")

    content = f"{server}/api/v1/files/{completed['file_id']}/content"
    message = urllib.request.Request(content, headers={"authorization": f"Bearer {token}"})
    with urllib.request.urlopen(message) as response:
        downloaded = digest_of(response)
    if downloaded != digest:
        raise Refused(f"downloaded {downloaded}, sent {digest}")
    print(completed["file_id"], digest)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit("usage: python upload.py SERVER USER PASSWORD FILE")
    try:
        main(*sys.argv[1:])
    except (Refused, ConnectionClosed, OSError) as error:
        sys.exit(f"{error}")
