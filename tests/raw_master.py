"""A bus master of a few lines on a pty of the simulated robot: raw bytes out, raw bytes and times in.

Its CRC is calculated bit by bit after the serial line guide, so that it shares nothing with the code under test.
"""

import os
import time

from robot_fixture import SimulatedRobot, open_raw, read_within

LIMIT_S = 2.0
QUIET_S = 0.05


def crc(octets: bytes) -> bytes:
    """Bit by bit, after the serial line guide: independent of the code under test."""
    remainder = 0xFFFF
    for octet in octets:
        remainder ^= octet
        for _ in range(8):
            remainder = remainder >> 1 ^ (0xA001 if remainder & 1 else 0)
    return remainder.to_bytes(2, "little")


def framed(text: str) -> bytes:
    octets = bytes.fromhex(text)
    return octets + crc(octets)


class Master:
    """A bus master of a few lines that keeps the silence between frames."""

    def __init__(self, robot: SimulatedRobot) -> None:
        self.robot = robot
        self.descriptor = open_raw(robot.bus_path)

    def send(self, frame: bytes) -> None:
        time.sleep(0.004)
        os.write(self.descriptor, frame)

    def listen(self, seconds: float) -> bytes:
        """Everything that comes within a time."""
        return read_within(self.descriptor, 1 << 16, seconds)

    def listen_for(self, octets: bytes, limit_s: float = LIMIT_S) -> bytes:
        """Everything until `octets` have come, or until the time is over."""
        heard, ends_s = b"", time.monotonic() + limit_s
        while octets not in heard and time.monotonic() < ends_s:
            heard += read_within(self.descriptor, 1 << 16, limit_s, is_whole=False)
        return heard

    def settle(self, limit_s: float = LIMIT_S) -> None:
        """Until nothing has come for a while: what a busy simulator still owed is out."""
        ends_s = time.monotonic() + limit_s
        while self.listen(QUIET_S) and time.monotonic() < ends_s:
            pass

    def arrivals(self, text: str, count: int, limit_s: float = LIMIT_S) -> list[tuple[float, bytes]]:
        """Send, then what came and when, in seconds after the sending, until `count` bytes are in."""
        self.send(framed(text))
        sent_s, found, missing = time.monotonic(), [], count
        while missing > 0 and (got := read_within(self.descriptor, missing, limit_s, is_whole=False)):
            found.append((time.monotonic() - sent_s, got))
            missing -= len(got)
        return found

    def exchange(self, text: str, count: int, limit_s: float = LIMIT_S) -> bytes:
        self.send(framed(text))
        return read_within(self.descriptor, count, limit_s)

    def words(self, unit: int, address: int, count: int = 1) -> list[int]:
        reply = self.exchange(f"{unit:02x} 03 {address:04x} {count:04x}", 5 + 2 * count)
        assert reply[:3] == bytes((unit, 3, 2 * count))
        assert reply[-2:] == crc(reply[:-2])
        return [int.from_bytes(reply[at : at + 2], "big") for at in range(3, 3 + 2 * count, 2)]

    def write(self, unit: int, address: int, word: int) -> None:
        request = f"{unit:02x} 06 {address:04x} {word:04x}"
        assert self.exchange(request, 8) == framed(request)

    def drive(self, setpoint: int, direction: int = 1) -> None:
        """Brake off, both drives on."""
        self.write(3, 0x31, 1)
        for base in (0x00, 0x10):
            self.write(4, base + 7, direction)
            request = f"04 10 {base + 1:04x} 0002 04 0001 {setpoint:04x}"
            assert self.exchange(request, 8)[:6] == bytes.fromhex(f"04 10 {base + 1:04x} 0002")

    def reopen(self) -> None:
        """Let go of the line and open it again by its stable name."""
        self.close()
        self.descriptor = open_raw(self.robot.bus_path)

    def close(self) -> None:
        os.close(self.descriptor)
