"""What the capsules of answers 0x82, 0x84, 0x85 and 0x86 share: framing, interpolation, flags, sealing.

`CapsuleDecoder` owns the last capsule of its stream. Source: RPLIDAR.md, section 3 ("0x82/0x84/0x85/0x86 capsules:
shared rules"); start flags and jump limits from the sections of the kinds.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import compress, pairwise
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from oht50d.codec.rplidar.commands import checksum
from oht50d.codec.rplidar.packets import FramedDecoder, Gap, Octets, PacketFraming
from oht50d.codec.rplidar.samples import ChecksumError, EncoderReset, Samples, ScanReset, StreamEvent
from oht50d.model.errors import LocalProtocolError

TURN_Q16 = 360 * 65536
_START_MASK = 0x7FFF
_RESET_BIT = 0x8000
_RESET_OCTET = 0x80
_TURN_Q8 = 360 * 256
_SAMPLE_US_MAX = 1_000_000
# The vendor takes the octet behind a first octet with it if that is no second octet, without a look at it.
_NOISE = re.compile(rb"[^\xa0-\xaf]*(?:[\xa0-\xaf][^\x50-\x5f][^\xa0-\xaf]*)*")
_START = re.compile(rb"[\xa0-\xaf][\x50-\x5f]")

# The first two octets by checksum.
_SEALS = [bytes((0xA0 | check & 15, 0x50 | check >> 4)) for check in range(256)]
_SEAL_WORDS = np.frombuffer(b"".join(_SEALS), "<u2")

# Arrays without dimensions: as operands of short arrays they cost half of what Python's numbers do.
_ANGLE_BITS, _Q14_NUMERATOR, _Q14_DENOMINATOR = np.array(10), np.array(256), np.array(90)
_Q14_MASK = np.array(0xFFFF)
_QUALITY, _NO_QUALITY = np.array(188), np.array(0)

Integers = NDArray[np.int64]


def encode_start(start_angle_q6: int, is_reset: bool) -> bytes:
    """The start word: angle in 1/64 degree (0..32767) and the S bit. Raises LocalProtocolError beyond that."""
    if not 0 <= start_angle_q6 <= _START_MASK:
        raise LocalProtocolError(f"start angle {start_angle_q6} is not in 0..{_START_MASK}")
    return (start_angle_q6 | (_RESET_BIT if is_reset else 0)).to_bytes(2, "little")


def seal(body: bytes) -> bytes:
    """Put the two sync nibbles and the checksum in front of everything else."""
    return _SEALS[checksum(body)] + body


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


@frozen
class Sweep:
    """How the beam went through n capsules: where each began and the step from sample to sample, in 1/65536 degree."""

    begins_q16: list[int]
    steps_q16: list[int]

    def beams_q16(self, numbers: Integers) -> Integers:
        """Uncorrected angles of shape (n, samples), not reduced to one turn; `numbers` are those of the samples."""
        steps = np.array(self.steps_q16, np.int64)[:, None]
        return np.array(self.begins_q16, np.int64)[:, None] + steps * numbers


def turns_q8(starts_q6: Sequence[int]) -> list[int]:
    """From n + 1 starts in a row to the n turns between them; equal starts are no turn."""
    return [4 * (end - begin) + _TURN_Q8 * (begin > end) for begin, end in pairwise(starts_q6)]


def near_sweep(starts_q6: Sequence[int], limit_q8: int, samples: int) -> tuple[Sweep, list[bool]]:
    """0x85 and 0x86: the sweep through the capsules whose turn is within the limit, and which those are."""
    turns = turns_q8(starts_q6)
    are_near = [turn <= limit_q8 for turn in turns]
    begins_q16 = [start * 1024 for start in compress(starts_q6, are_near)]
    return Sweep(begins_q16, [turn * 256 // samples for turn in compress(turns, are_near)]), are_near


def to_q14(beam_q16: Integers) -> Integers:
    """Degrees * 16384 / 90 modulo 65536, in one line; floor division makes the vendor's single wrap superfluous."""
    angle: Integers = beam_q16.ravel() >> _ANGLE_BITS
    angle *= _Q14_NUMERATOR
    angle //= _Q14_DENOMINATOR
    angle &= _Q14_MASK
    return angle


def qualities(dist_q2: Integers) -> Integers:
    """188 for a return and 0 for none: what the kinds without a quality of their own tell."""
    return np.where(dist_q2, _QUALITY, _NO_QUALITY)


def start_flags(sweep: Sweep, samples: int) -> Integers:
    """0x82 and 0x84: 1 for the last sample before the beam passes 0, else 2; n times `samples` in one line.

    The vendor asks of every sample whether (A + INC) mod 360 degrees < INC; the same for all samples of a capsule at
    once: which is the last one before each multiple of 360 degrees in (A, A + samples * INC].
    """
    flags = np.full(len(sweep.begins_q16) * samples, 2, np.int64)
    for row, (begin, step) in enumerate(zip(sweep.begins_q16, sweep.steps_q16, strict=True)):
        for turn in range(begin // TURN_Q16 + 1, (begin + samples * step) // TURN_Q16 + 1):
            flags[row * samples + (turn * TURN_Q16 - begin - 1) // step] = 1
    return flags


class StartDebounce:
    """0x85 and 0x86: a hit is twice as wide as a step, and of hits in a row every second one counts.

    The state goes on across packets and damage (the vendor's is one for the whole process; here one per decoder).
    """

    def __init__(self) -> None:
        self._was_start = False

    def reset(self) -> None:
        """The next hit counts."""
        self._was_start = False

    def flags(self, sweep: Sweep, samples: int) -> Integers:
        """1 for the start of a turn, else 2; n times `samples` in one line, in time order.

        A hit is a sample with (A + INC) mod 360 degrees < 2 * INC: the last one before each multiple of 360 degrees
        or on it, and the one after that.
        """
        flags = np.full(len(sweep.begins_q16) * samples, 2, np.int64)
        last = -1 if self._was_start else -2
        for hit in _wide_hits(sweep, samples):
            if hit - 1 != last:
                flags[hit] = 1
                last = hit
        self._was_start = last == flags.size - 1
        return flags


def _wide_hits(sweep: Sweep, samples: int) -> Iterator[int]:
    for row, (begin, step) in enumerate(zip(sweep.begins_q16, sweep.steps_q16, strict=True)):
        if step <= 0:
            continue
        for turn in range((begin - step) // TURN_Q16 + 1, (begin + samples * step) // TURN_Q16 + 1):
            first = (turn * TURN_Q16 - begin - 1) // step
            yield from (row * samples + hit for hit in (first, first + 1) if 0 <= hit < samples)


class CapsuleDecoder(FramedDecoder, ABC):
    """Samples from a stream of capsules of one kind, bit for bit as the vendor's reference.

    The one deviation is the search of `PacketFraming`. A capsule is told when its successor is in, so the first one
    after a start, damage or an S bit tells nothing, and damage costs the capsule before it too.
    """

    size: int
    lag: int
    _start_offset = 2

    def __init__(self) -> None:
        super().__init__(PacketFraming(self.size, _NOISE, _START, _are_sound))
        self._run = b""
        self._events: list[StreamEvent] = []

    def reset(self) -> None:
        """Forget everything but the counts."""
        super().reset()
        self._run = b""

    def receive_data(self, octets: bytes) -> list[StreamEvent]:
        """Samples and events in their order; consecutive capsules share one Samples. Never raises."""
        for found in self._framing.receive_data(octets):
            if isinstance(found, bytes):
                self._accept(found)
            else:
                self._tell_run()
                self._run = b""
                if found is Gap.CHECKSUM:
                    self._events.append(ChecksumError())
        self._tell_run()
        events, self._events = self._events, []
        return events

    def _accept(self, capsules: bytes) -> None:
        resets = capsules[self._start_offset + 1 :: self.size]
        if max(resets) < _RESET_OCTET:
            self._run += capsules
            return
        for number, octet in enumerate(resets):
            if octet >= _RESET_OCTET:
                self._begin_anew()
            self._run += capsules[number * self.size : (number + 1) * self.size]

    def _begin_anew(self) -> None:
        self._tell_run()
        if self._run:
            self._events.append(EncoderReset())
            self._run = b""
        self._events.append(ScanReset())

    def _tell_run(self) -> None:
        if len(self._run) < 2 * self.size:
            return
        samples = self._measure(self._run)
        if len(samples):
            self._events.append(samples)
        self._run = self._run[-self.size :]

    @abstractmethod
    def _measure(self, run: bytes) -> Samples:
        """The samples of all capsules of a run (two or more in a row) but the last."""


def _are_sound(capsules: Octets) -> NDArray[np.bool_]:
    """Whether both sync nibbles are there, and the low nibbles are the checksum of the rest; shape (n, size) to (n)."""
    heads: NDArray[np.uint16] = capsules[:, :2].view("<u2")[:, 0]
    sound: NDArray[np.bool_] = _SEAL_WORDS.take(np.bitwise_xor.reduce(capsules[:, 2:], axis=1)) == heads
    return sound


def starts_q6(fields: NDArray[Any]) -> list[int]:
    """The start angles of parsed capsules, without the S bit."""
    found: list[int] = (fields["start"] & _START_MASK).tolist()
    return found
