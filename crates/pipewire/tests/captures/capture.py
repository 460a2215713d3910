"""Records what a PipeWire daemon sends during one session: see README.md.

usage: capture.py FILE SECONDS
"""

import os
import socket
import struct
import sys
import time

file, listen = open(sys.argv[1], "wb"), float(sys.argv[2])
daemon = socket.socket(socket.AF_UNIX)
daemon.connect(os.environ["XDG_RUNTIME_DIR"] + "/pipewire-0")
daemon.settimeout(0.05)
sent, syncs, inbox = 0, 0, b""


def pod(kind, data):
    bytes = struct.pack("=II", len(data), kind) + data
    return bytes + b"\0" * (-len(bytes) % 8)


def integer(value):
    return pod(4, struct.pack("=i", value))


def text(value):
    return pod(1, b"") if value is None else pod(8, value.encode() + b"\0")


def structure(*members):
    return pod(14, b"".join(members))


def call(object, opcode, *arguments):
    global sent
    body = structure(*arguments)
    daemon.sendall(struct.pack("=IIII", object, opcode << 24 | len(body), sent, 0) + body)
    sent += 1


def messages(seconds):
    """Yields and records the messages of some seconds: object, opcode, body."""
    global inbox
    until = time.time() + seconds
    while time.time() < until:
        while len(inbox) >= 16:
            object, word, _, _ = struct.unpack("=IIII", inbox[:16])
            end = 16 + (word & 0xFFFFFF)
            if len(inbox) < end:
                break
            message, inbox = inbox[:end], inbox[end:]
            file.write(message)
            yield object, word >> 24, message[16:]
        try:
            received = daemon.recv(65536)
        except socket.timeout:
            continue
        if not received:
            return
        inbox += received


def sync():
    """Core::Sync; returns the messages up to the answer."""
    global syncs
    syncs += 1
    call(0, 2, integer(0), integer(syncs))
    seen = []
    for message in messages(3):
        seen.append(message)
        if message == (0, 1, structure(integer(0), integer(syncs))):
            return seen
    raise SystemExit("the daemon does not answer")


def bind(interface, name, object):
    """Registry::Bind of the first global whose message contains these."""
    for _, opcode, body in registry:
        if opcode == 0 and interface.encode() in body and name.encode() in body:
            id = struct.unpack("=i", body[16:20])[0]
            call(2, 1, integer(id), text("PipeWire:Interface:" + interface), integer(3), integer(object))
            return
    raise SystemExit("no " + interface)


def force_quantum(value):
    call(3, 1, integer(0), text("clock.force-quantum"), text(None), text(value))


call(0, 1, integer(3))
call(1, 2, structure(integer(1), text("application.name"), text("capture")))
call(0, 5, integer(3), integer(2))
registry = [message for message in sync() if message[0] == 2]
bind("Metadata", "settings\0", 3)
sync()
force_quantum("64")
sync()
time.sleep(0.3)
bind("Node", "test-sink", 4)
sync()
bind("Profiler", "", 5)
list(messages(listen))
call(0, 7, integer(5))
force_quantum("0")
sync()
call(2, 1, integer(99999), text("PipeWire:Interface:Node"), integer(3), integer(6))
sync()
