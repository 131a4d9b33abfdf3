"""Packets of one size out of a byte stream: skipping, checking, resynchronising (`PacketFraming` owns its octets).

Source of the vendor's framing: RPLIDAR.md, section 3 ("Byte-level framing state" and "0x83 HQ", Framing).
"""

import enum
import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_PATIENCE = 3
_WINDOW = 3
# Looked at in one go; behind a damaged packet they are looked at again, so it must not be all of a long buffer.
_RUN_MAX = 64

Octets = NDArray[np.uint8]


class Gap(enum.Enum):
    """What stands between packets that are not neighbours."""

    NOISE = "noise"
    CHECKSUM = "checksum"


class PacketFraming:
    """Cuts a stream as the vendor's reference does, octet for octet, with one deviation.

    The deviation: the reference never looks again at what it has thrown away, so a still scene whose packets
    contain the start octets, or end with the first of them, can keep it misaligned for ever. Here, once three
    packets' worth of octets have passed without a sound packet (the vendor's own vectors recover by themselves
    sooner), and then for each further packet's worth, the newest octets (less than three packets) are searched for
    a sound packet at any place. Framing goes on from the newest one, or the first of those in a row with it,
    because what is found late is dated as if it had just come. A single packet between gaps may be an accident of
    its checksum, so behind it the search begins after one packet's worth. At most two good packets are lost after
    garbage.

    `noise` matches what is skipped at the front: never anything at a front that may begin a packet, and never more
    than two octets at a time that belong together. `start` finds the places where a packet may begin. `are_sound`
    judges packets of shape (n, size), their start octets too. Held between calls: less than one packet, and less than
    three that were thrown away.
    """

    def __init__(
        self,
        size: int,
        noise: re.Pattern[bytes],
        start: re.Pattern[bytes],
        are_sound: Callable[[Octets], NDArray[np.bool_]],
    ) -> None:
        self._size = size
        self._noise = noise
        self._start = start
        self._are_sound = are_sound
        self._buffer = bytearray()
        self._recent = bytearray()
        self._search_in = _PATIENCE * size
        self._is_in_step = False
        self._again = 0
        self.noise_bytes = 0
        self.checksum_errors = 0

    def reset(self) -> None:
        """Forget everything but the counts."""
        self._buffer.clear()
        self._again = 0
        self._is_in_step = False
        self._recent.clear()
        self._search_in = _PATIENCE * self._size

    def receive_data(self, octets: bytes) -> list[bytes | Gap]:
        """Runs of sound packets in a row and the gaps between them, in order; the cut of the stream changes nothing.

        Never raises.
        """
        self._buffer += octets
        found: list[bytes | Gap] = []
        while self._buffer:
            if skipped := self._noise_size():
                found.append(Gap.NOISE)
                self.noise_bytes += max(0, skipped - self._again)
                self._lose(self._take(skipped))
            elif len(self._buffer) < self._size:
                break
            elif count := self._sound_count():
                found.append(self._take(count * self._size))
                self._be_in_step(is_sure=count > 1 or self._is_in_step)
            else:
                found.append(Gap.CHECKSUM)
                self.checksum_errors += 1
                self._lose(self._take(self._size))
        return found

    def _sound_count(self) -> int:
        """How many packets at the front are sound."""
        count = min(len(self._buffer) // self._size, _RUN_MAX)
        front = np.frombuffer(bytes(self._buffer[: count * self._size]), np.uint8)
        first_bad = self._are_sound(front.reshape(count, self._size)).tobytes().find(b"\0")
        return count if first_bad < 0 else first_bad

    def _noise_size(self) -> int:
        """Octets to skip at the front, no further than the next search, or the result would depend on the cut.

        Two that belong together may go one beyond it. A match keeps the buffer from being resized, so none may
        outlive this function.
        """
        skipped = self._noise.match(self._buffer, 0, self._search_in)
        if self._search_in == 1 and skipped is not None and not skipped.end():
            skipped = self._noise.match(self._buffer, 0, 2)
        return 0 if skipped is None else skipped.end()

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        if self._again:
            self._again = max(0, self._again - count)
        return taken

    def _lose(self, octets: bytes) -> None:
        self._is_in_step = False
        self._recent += octets
        del self._recent[: 1 - _WINDOW * self._size]
        self._search_in -= len(octets)
        if self._search_in <= 0:
            self._search()

    def _search(self) -> None:
        """Put the newest sound packet back, those in a row with it, and what follows; it is not counted twice."""
        self._search_in = self._size
        recent = bytes(self._recent)
        for newest in reversed([match.start() for match in self._start.finditer(recent)]):
            if self._is_sound_at(recent, newest):
                begin = newest
                while self._is_sound_at(recent, begin - self._size):
                    begin -= self._size
                self._again = len(recent) - begin
                self._buffer[:0] = recent[begin:]
                self._recent.clear()
                return

    def _is_sound_at(self, octets: bytes, begin: int) -> bool:
        if begin < 0 or begin + self._size > len(octets):
            return False
        return bool(self._are_sound(np.frombuffer(octets, np.uint8, self._size, begin).reshape(1, -1))[0])

    def _be_in_step(self, *, is_sure: bool) -> None:
        self._recent.clear()
        self._search_in = (_PATIENCE if is_sure else 1) * self._size
        self._is_in_step = True


class FramedDecoder:
    """What decoders of packets have in common: the framing of their kind and its counts."""

    def __init__(self, framing: PacketFraming) -> None:
        self._framing = framing

    @property
    def noise_bytes(self) -> int:
        """Octets that belonged to no packet."""
        return self._framing.noise_bytes

    @property
    def checksum_errors(self) -> int:
        """Packets dropped for their checksum."""
        return self._framing.checksum_errors

    def reset(self) -> None:
        """Forget everything but the counts."""
        self._framing.reset()
