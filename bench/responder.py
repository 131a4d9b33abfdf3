"""Modules that answer at once on a pty, in a process of their own: no pacing, no physics, replies made beforehand.

Every shipped map is served with its type code; a write is echoed. Registers with a role read 0: everything stands
still, so that the stop on opening is soon confirmed, as in a robot at rest. Prints {"port": ...}, then serves until
killed.
"""

import json
import os
import sys
import tty
from pathlib import Path

from oht50d.codec.registers import load_module_map
from oht50d.codec.rtu import crc16

REQUEST_BYTES = {3: 8, 6: 8, 16: 11}


def load_words(directory: Path) -> dict[int, dict[int, int]]:
    """Words by unit and address: each its own number, but for the type code that identifies a module and for roles."""
    found: dict[int, dict[int, int]] = {}
    for path in sorted(directory.glob("*.toml")):
        module = load_module_map(path.read_text(encoding="utf-8"), file=str(path))
        words = {spec.address: 0 if spec.role else (spec.address * 7) % 100 for spec in module.registers}
        words.update({spec.address: module.type_code for spec in module.registers if spec.role == "identity.type"})
        found.setdefault(module.address, words)
    return found


def make_reply(words: dict[int, dict[int, int]], request: bytes) -> bytes:
    """The whole reply of a request with a good CRC."""
    unit, function = request[0], request[1]
    first, count = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
    if function == 3:
        known = words.get(unit, {})
        body = b"".join(known.get(address, 0).to_bytes(2, "big") for address in range(first, first + count))
        frame = bytes((unit, function, len(body))) + body
    else:
        frame = request[:6]
    return frame + crc16(frame).to_bytes(2, "little")


def main() -> None:
    words = load_words(Path(sys.argv[1]))
    master, slave = os.openpty()
    tty.setraw(slave)
    print(json.dumps({"port": os.ttyname(slave)}), flush=True)
    replies: dict[bytes, bytes] = {}
    buffer = b""
    while True:
        buffer += os.read(master, 4096)
        while len(buffer) >= 8:
            length = 9 + buffer[6] if buffer[1] == 16 else REQUEST_BYTES.get(buffer[1], 8)
            if len(buffer) < length:
                break
            request, buffer = buffer[:length], buffer[length:]
            reply = replies.get(request)
            if reply is None:
                reply = replies[request] = make_reply(words, request)
            os.write(master, reply)


if __name__ == "__main__":
    main()
