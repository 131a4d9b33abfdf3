"""What the capsules of answers 0x82, 0x84, 0x85 and 0x86 share: framing, interpolation, flags, sealing.

`CapsuleDecoder` owns the last capsule of its stream. Source: RPLIDAR.md, section 3 ("0x82/0x84/0x85/0x86 capsules:
shared rules"); start flags and jump limits from the sections of the kinds.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oht50d.codec.rplidar.commands import checksum
from oht50d.codec.rplidar.packets import Gap, PacketFraming
from oht50d.codec.rplidar.samples import ChecksumError, EncoderReset, Samples, ScanReset, StreamEvent
from oht50d.model.errors import LocalProtocolError

QUALITY = 188
TURN_Q16 = 360 * 65536
_START_MASK = 0x7FFF
_RESET_BIT = 0x8000
_TURN_Q8 = 360 * 256
_SAMPLE_US_MAX = 1_000_000
# The vendor takes the octet behind a first octet with it if that is no second octet, without a look at it.
_NOISE = re.compile(rb"[^\xa0-\xaf]*(?:[\xa0-\xaf][^\x50-\x5f][^\xa0-\xaf]*)*")
_START = re.compile(rb"[\xa0-\xaf][\x50-\x5f]")

Integers = NDArray[np.int64]


def encode_start(start_angle_q6: int, is_reset: bool) -> bytes:
    """The start word: angle in 1/64 degree (0..32767) and the S bit. Raises LocalProtocolError beyond that."""
    if not 0 <= start_angle_q6 <= _START_MASK:
        raise LocalProtocolError(f"start angle {start_angle_q6} is not in 0..{_START_MASK}")
    return (start_angle_q6 | (_RESET_BIT if is_reset else 0)).to_bytes(2, "little")


def seal(body: bytes) -> bytes:
    """Put the two sync nibbles and the checksum in front of everything else."""
    check = checksum(body)
    return bytes((0xA0 | check & 15, 0x50 | check >> 4)) + body


def require_all(name: str, numbers: Sequence[int], count: int, most: int) -> None:
    """Raise LocalProtocolError unless there are `count` numbers in 0..`most`."""
    if len(numbers) != count:
        raise LocalProtocolError(f"a capsule has {count} of {name}, not {len(numbers)}")
    if min(numbers) < 0 or max(numbers) > most:
        raise LocalProtocolError(f"one of {name} is not in 0..{most}")


def jump_limit_q8(full_q0: int, sample_us: int) -> int:
    """The widest turn between two starts that 0x85 and 0x86 interpolate; raises LocalProtocolError for no time."""
    if not 1 <= sample_us <= _SAMPLE_US_MAX:
        raise LocalProtocolError(f"{sample_us} us a sample is not in 1..{_SAMPLE_US_MAX}")
    return full_q0 // (1_000_000 // sample_us) << 8


def turned_q8(start_q6: Integers) -> Integers:
    """From n + 1 starts in a row to the n turns between them; equal starts are no turn."""
    begins, ends = start_q6[:-1], start_q6[1:]
    return 4 * (ends - begins) + _TURN_Q8 * (begins > ends)


def beams_q16(start_q6: Integers, step_q16: Integers, steps: Integers) -> Integers:
    """Uncorrected beam angles of shape (n, samples); not reduced to one turn."""
    return (start_q6 * 1024)[:, None] + step_q16[:, None] * steps


def to_q14(beam_q16: Integers) -> Integers:
    """Degrees * 16384 / 90 modulo 65536; floor division makes the vendor's single wrap superfluous."""
    return (beam_q16 >> 10) * 256 // 90 & 0xFFFF


def start_flags(beam_q16: Integers, step_q16: Integers) -> Integers:
    """0x82 and 0x84: 1 for the last sample before the beam passes 0, else 2."""
    step = step_q16[:, None]
    return 2 - ((beam_q16 + step) % TURN_Q16 < step)


class StartDebounce:
    """0x85 and 0x86: a hit is twice as wide as a step, and of hits in a row every second one counts.

    The state goes on across packets and damage (the vendor's is one for the whole process; here one per decoder).
    """

    def __init__(self) -> None:
        self._was_start = False

    def reset(self) -> None:
        """The next hit counts."""
        self._was_start = False

    def flags(self, beam_q16: Integers, step_q16: Integers) -> Integers:
        """Shape (n, samples) in time order to flags of that shape: 1 for the start of a turn, else 2."""
        step = step_q16[:, None]
        is_hit = ((beam_q16 + step) % TURN_Q16 < 2 * step).ravel()
        flags = np.full(is_hit.size, 2, np.int64)
        last = -1 if self._was_start else -2
        for hit in np.flatnonzero(is_hit).tolist():
            if hit - 1 != last:
                flags[hit] = 1
                last = hit
        self._was_start = last == is_hit.size - 1
        return flags.reshape(beam_q16.shape)


class CapsuleDecoder(ABC):
    """Samples from a stream of capsules of one kind, bit for bit as the vendor's reference.

    The one deviation is the search of `PacketFraming`. A capsule is told when its successor is in, so the first one
    after a start, damage or an S bit tells nothing, and damage costs the capsule before it too.
    """

    size: int
    lag: int
    _start_offset = 2

    def __init__(self) -> None:
        self._framing = PacketFraming(self.size, _NOISE, _START, is_sound_capsule)
        self._run: list[bytes] = []
        self._events: list[StreamEvent] = []

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
        self._run = []

    def receive_data(self, octets: bytes) -> list[StreamEvent]:
        """Samples and events in their order; consecutive capsules share one Samples. Never raises."""
        for found in self._framing.receive_data(octets):
            if isinstance(found, bytes):
                self._accept(found)
            else:
                self._tell_run()
                self._run = []
                if found is Gap.CHECKSUM:
                    self._events.append(ChecksumError())
        self._tell_run()
        events, self._events = self._events, []
        return events

    def _accept(self, capsule: bytes) -> None:
        if capsule[self._start_offset + 1] & 0x80:
            self._tell_run()
            if self._run:
                self._events.append(EncoderReset())
                self._run = []
            self._events.append(ScanReset())
        self._run.append(capsule)

    def _tell_run(self) -> None:
        if len(self._run) < 2:
            return
        samples = self._measure(b"".join(self._run))
        if len(samples):
            self._events.append(samples)
        del self._run[:-1]

    @abstractmethod
    def _measure(self, run: bytes) -> Samples:
        """The samples of all capsules of a run (two or more in a row) but the last."""


def is_sound_capsule(capsule: bytes) -> bool:
    """Whether the checksum in the low nibbles in front is that of the rest."""
    return checksum(capsule[2:]) == capsule[0] & 15 | (capsule[1] & 15) << 4


def starts_q6(fields: NDArray[Any]) -> Integers:
    """The start angles of parsed capsules, without the S bit."""
    return (fields["start"] & _START_MASK).astype(np.int64)
