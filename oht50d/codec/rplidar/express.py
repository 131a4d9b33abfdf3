"""Answer 0x82: express capsules of 32 samples, both ways (`ExpressDecoder` owns its buffer and the last capsule).

Source of layout, framing and arithmetic: RPLIDAR.md, section 3 ("shared rules" and "0x82 express").
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from oht50d.codec.rplidar.commands import checksum
from oht50d.codec.rplidar.samples import ChecksumError, EncoderReset, Samples, ScanReset, StreamEvent
from oht50d.model.errors import LocalProtocolError

CAPSULE_SIZE = 84
SAMPLES_PER_CAPSULE = 32
_DISTANCE_MAX_MM = (1 << 14) - 1
_OFFSET_MAX_Q3 = (1 << 6) - 1
_START_MASK = 0x7FFF
_TURN_Q8 = 360 * 256
_TURN_Q16 = 360 * 65536
_QUALITY = 188
# The vendor's own vectors recover by themselves after two failures in a row; a third one is our business.
_RESCAN_AFTER = 3
_STEPS = np.arange(SAMPLES_PER_CAPSULE, dtype=np.int64)


def encode_capsule(
    start_angle_q6: int, is_reset: bool, distances_mm: Sequence[int], offsets_q3: Sequence[int]
) -> bytes:
    """84 octets from 32 distances (0..16383, 0 is no return) and 32 angle offsets (0..63 eighths of a degree).

    Raises LocalProtocolError for other counts or ranges.
    """
    if len(distances_mm) != SAMPLES_PER_CAPSULE or len(offsets_q3) != SAMPLES_PER_CAPSULE:
        raise LocalProtocolError(f"a capsule has {SAMPLES_PER_CAPSULE} samples")
    if not 0 <= start_angle_q6 <= _START_MASK:
        raise LocalProtocolError(f"start angle {start_angle_q6} is not in 0..{_START_MASK}")
    if not all(0 <= distance <= _DISTANCE_MAX_MM for distance in distances_mm):
        raise LocalProtocolError(f"a distance is not in 0..{_DISTANCE_MAX_MM}")
    if not all(0 <= offset <= _OFFSET_MAX_Q3 for offset in offsets_q3):
        raise LocalProtocolError(f"an offset is not in 0..{_OFFSET_MAX_Q3}")
    body = (start_angle_q6 | (0x8000 if is_reset else 0)).to_bytes(2, "little")
    for i in range(0, SAMPLES_PER_CAPSULE, 2):
        words = [distances_mm[k] << 2 | offsets_q3[k] >> 4 for k in (i, i + 1)]
        body += words[0].to_bytes(2, "little") + words[1].to_bytes(2, "little")
        body += bytes(((offsets_q3[i] & 15) | (offsets_q3[i + 1] & 15) << 4,))
    check = checksum(body)
    return bytes((0xA0 | check & 15, 0x50 | check >> 4)) + body


class ExpressDecoder:
    """Samples from a byte stream, bit for bit as the vendor's reference, with one deviation.

    The deviation: the reference never looks inside a packet that failed its checksum, so a still scene that happens
    to contain the sync nibbles can keep it misaligned for ever. Here the third failure in a row (and each one after
    it) searches the last 167 octets, which hold one whole capsule wherever it begins, so that at most two good
    capsules are lost after garbage. No more than that is kept between calls.
    """

    lag = SAMPLES_PER_CAPSULE

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._recent = bytearray()
        self._failures = 0
        self._previous: bytes | None = None
        self._pairs: list[tuple[bytes, int]] = []
        self._events: list[StreamEvent] = []
        self.noise_bytes = 0
        self.checksum_errors = 0

    def reset(self) -> None:
        """Forget everything but the counts."""
        self._buffer.clear()
        self._forget_recent()
        self._previous = None

    def receive_data(self, octets: bytes) -> list[StreamEvent]:
        """Samples and events in their order; consecutive capsules share one Samples. Never raises."""
        self._buffer += octets
        while self._find_start() and len(self._buffer) >= CAPSULE_SIZE:
            capsule = self._consume(CAPSULE_SIZE)
            if _is_sound(capsule):
                self._accept(capsule)
            else:
                self._refuse()
        self._flush()
        events, self._events = self._events, []
        return events

    def _find_start(self) -> bool:
        """Skip until the buffer begins with the sync nibbles A, 5; False if it holds fewer than two octets."""
        while self._buffer:
            if self._buffer[0] >> 4 != 0xA:
                drop = 1
            elif len(self._buffer) < 2:
                return False
            elif self._buffer[1] >> 4 != 0x5:
                drop = 2
            else:
                return True
            self._consume(drop)
            self.noise_bytes += drop
            self._previous = None
        return False

    def _consume(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        self._recent += taken
        del self._recent[: -(2 * CAPSULE_SIZE - 1)]
        return taken

    def _accept(self, capsule: bytes) -> None:
        start = int.from_bytes(capsule[2:4], "little")
        if start & 0x8000:
            self._flush()
            if self._previous is not None:
                self._events.append(EncoderReset())
                self._previous = None
            self._events.append(ScanReset())
        if self._previous is not None:
            self._pairs.append((self._previous, start & _START_MASK))
        self._previous = capsule
        self._forget_recent()

    def _refuse(self) -> None:
        self._flush()
        self._previous = None
        self.checksum_errors += 1
        self._events.append(ChecksumError())
        self._failures += 1
        if self._failures >= _RESCAN_AFTER:
            self._rescan()

    def _rescan(self) -> None:
        """Put the newest octets back into the buffer from the first sound capsule among them."""
        for begin in range(len(self._recent) - CAPSULE_SIZE + 1):
            if _is_sound(self._recent[begin : begin + CAPSULE_SIZE]):
                self._buffer[:0] = self._recent[begin:]
                self._forget_recent()
                return

    def _forget_recent(self) -> None:
        self._recent.clear()
        self._failures = 0

    def _flush(self) -> None:
        if self._pairs:
            self._events.append(_decode(self._pairs))
            self._pairs = []


def _is_sound(capsule: bytes | bytearray) -> bool:
    if capsule[0] >> 4 != 0xA or capsule[1] >> 4 != 0x5:
        return False
    return checksum(capsule[2:]) == (capsule[0] & 15 | (capsule[1] & 15) << 4)


def _decode(pairs: list[tuple[bytes, int]]) -> Samples:
    """Samples of each first capsule, its angles interpolated to the start (q6) of its successor."""
    octets = np.frombuffer(b"".join(capsule for capsule, _ in pairs), np.uint8).reshape(-1, CAPSULE_SIZE)
    wide = octets.astype(np.int64)
    start_q6 = (wide[:, 2] | wide[:, 3] << 8) & _START_MASK
    next_q6 = np.array([start for _, start in pairs], np.int64)
    step_q16 = (4 * (next_q6 - start_q6) + _TURN_Q8 * (start_q6 > next_q6)) * 8
    beam_q16 = (start_q6 * 1024)[:, None] + step_q16[:, None] * _STEPS
    is_start = (beam_q16 + step_q16[:, None]) % _TURN_Q16 < step_q16[:, None]
    dist_q2, offset_q3 = _unpack_cabins(wide[:, 4:].reshape(-1, 16, 5))
    angle_q14 = ((beam_q16 - offset_q3 * 8192) >> 10) * 256 // 90 & 0xFFFF
    return Samples(
        angle_q14=angle_q14.ravel(),
        dist_q2=dist_q2.ravel(),
        quality=np.where(dist_q2 != 0, _QUALITY, 0).ravel(),
        flag=np.where(is_start, 1, 2).ravel(),
        lag=SAMPLES_PER_CAPSULE,
    )


def _unpack_cabins(cabins: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Shape (n, 16, 5) octets to distances (q2) and offsets (q3) of shape (n, 32)."""
    words = cabins[:, :, 0:4:2] | cabins[:, :, 1:4:2] << 8
    nibbles = np.stack((cabins[:, :, 4] & 15, cabins[:, :, 4] >> 4), axis=-1)
    offsets = nibbles | (words & 3) << 4
    return (words & 0xFFFC).reshape(-1, SAMPLES_PER_CAPSULE), offsets.reshape(-1, SAMPLES_PER_CAPSULE)
