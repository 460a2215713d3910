"""Attaches a program to what arrives at a device, before any filter (tcx, Linux 6.6), by bpf(2).

    tcx.py DEVICE next|pass

It counts packets, and hands them on to the next (`next`) or ends the chain there (`pass`). What is
asked on standard input is answered in a line: `count` with the packets so far, `attached` with how
many programs are attached there, `send DEVICE` after ten frames have left through that device. After
`flow DEVICE` ten frames leave every 20 ms until the program ends or is asked to `rest`.
Where the kernel has no tcx, the only line is `no tcx: ERRNO`.
"""

import ctypes
import os
import socket
import struct
import sys
import threading

BPF = 321  # the number of bpf(2) on x86_64
MAP_CREATE, MAP_LOOKUP_ELEM, PROG_LOAD, PROG_QUERY, LINK_CREATE = 0, 1, 5, 16, 28
ARRAY, SCHED_CLS, TCX_INGRESS = 2, 3, 46
VERDICTS = {"next": -1, "pass": 0}

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, 128)
    answer = libc.syscall(BPF, command, buffer, 128)
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer, buffer.raw


def instruction(code, destination=0, source=0, offset=0, immediate=0):
    return struct.pack("<BBhi", code, source << 4 | destination, offset, immediate)


def program(counter, verdict):
    return b"".join(
        [
            instruction(0x62, 10, 0, -4, 0),  # the key, zero, on the stack
            instruction(0xBF, 2, 10),
            instruction(0x07, 2, 0, 0, -4),
            instruction(0x18, 1, 1, 0, counter),  # the map, in two parts
            instruction(0x00),
            instruction(0x85, 0, 0, 0, 1),  # look the key up
            instruction(0x15, 0, 0, 2, 0),  # nothing there: skip
            instruction(0xB7, 1, 0, 0, 1),
            instruction(0xDB, 0, 1, 0, 0),  # one more
            instruction(0xB7, 0, 0, 0, verdict),
            instruction(0x95),
        ]
    )


def count(counter):
    key = ctypes.create_string_buffer(4)
    value = ctypes.create_string_buffer(8)
    bpf(
        MAP_LOOKUP_ELEM,
        struct.pack("<IxxxxQQ", counter, ctypes.addressof(key), ctypes.addressof(value)),
    )
    return struct.unpack("<Q", value.raw)[0]


def attached(device):
    ids = (ctypes.c_uint32 * 16)()
    _, answer = bpf(
        PROG_QUERY,
        struct.pack("<IIIIQI", device, TCX_INGRESS, 0, 0, ctypes.addressof(ids), 16),
    )
    return struct.unpack_from("<I", answer, 24)[0]


def send(device):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((device, 0))
        for _ in range(10):
            # To everybody, of a protocol for experiments.
            raw.send(b"\xff" * 6 + b"\x02" * 6 + b"\x88\xb5" + bytes(50))


def flow(device, ends):
    while not ends.wait(0.02):
        send(device)


def main():
    ends = threading.Event()
    flowing = None
    name, verdict = sys.argv[1:]
    device = socket.if_nametoindex(name)
    counter, _ = bpf(MAP_CREATE, struct.pack("<IIII", ARRAY, 4, 8, 1))
    code = program(counter, VERDICTS[verdict])
    instructions = ctypes.create_string_buffer(code, len(code))
    license = ctypes.create_string_buffer(b"GPL")
    loaded, _ = bpf(
        PROG_LOAD,
        struct.pack(
            "<IIQQIIQII16s",
            SCHED_CLS,
            len(code) // 8,
            ctypes.addressof(instructions),
            ctypes.addressof(license),
            *(0, 0, 0, 0, 0),  # no log, no version of the kernel, no flags
            b"counting",
        ),
    )
    try:
        bpf(LINK_CREATE, struct.pack("<IIII", loaded, device, TCX_INGRESS, 0))
    except OSError as error:
        print("no tcx:", error.errno, flush=True)
        return
    print("ready", flush=True)
    for line in sys.stdin:
        asked, *words = line.split()
        if asked == "count":
            print(count(counter), flush=True)
        elif asked == "attached":
            print(attached(device), flush=True)
        elif asked == "flow":
            ends.clear()
            flowing = threading.Thread(target=flow, args=(*words, ends), daemon=True)
            flowing.start()
            print("flows", flush=True)
        elif asked == "rest":
            ends.set()
            flowing.join()
            print("rests", flush=True)
        else:
            send(*words)
            print("sent", flush=True)


main()
