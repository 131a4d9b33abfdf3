"""Answer 0x86: ultra dense capsules of 64 distances with their own qualities, both ways.

`UltraDenseDecoder` owns the debounced start flag and the distance that smoothing compares with. Source of layout and
arithmetic: RPLIDAR.md, section 3, "0x86 ultra dense".
"""

from collections.abc import Sequence
from struct import Struct

import numpy as np

from oht50d.codec.rplidar.capsules import (
    CapsuleDecoder,
    Integers,
    StartDebounce,
    encode_start,
    jump_limit_q8,
    near_sweep,
    require_all,
    seal,
    starts_q6,
    to_q14,
)
from oht50d.codec.rplidar.samples import Samples
from oht50d.model.errors import LocalProtocolError

CAPSULE_SIZE = 170
SAMPLES_PER_CAPSULE = 64
DISTANCE_MAX_MM = 5 * 0x1FFF + 24567
_LIMIT_FULL = 1_152_000
_SMOOTH_Q2 = 8
_NUMBERS = np.arange(SAMPLES_PER_CAPSULE, dtype=np.int64)
_HEAD = Struct("<IH")
_CABIN = Struct("<HHB")
_CAPSULE = np.dtype(
    [
        ("sync", "u1", 2),
        ("timestamp", "<u4"),
        ("status", "<u2"),
        ("start", "<u2"),
        ("cabins", [("words", "<u2", 2), ("highs", "u1")], SAMPLES_PER_CAPSULE // 2),
    ]
)
_NIBBLES = np.array([0, 4], np.uint8)
# By scale 0 to 3: what the magnitude bits (still times four) are multiplied with and added to; quality bits.
_MAGNITUDE_MASK = np.array([0xFFC, 0x1FFC, 0x3FFC, 0x7FFC], np.int64)
_FACTOR = np.array([2, 3, 4, 5], np.int64)
_BASE_Q2 = np.array([0, 8184, 32748, 98268], np.int64)
_BASES_MM = (0, 2046, 8187, 24567)


def encode_ultra_dense_capsule(
    start_angle_q6: int,
    is_reset: bool,
    distances_mm: Sequence[int],
    qualities: Sequence[int],
    *,
    timestamp: int = 0,
    status: int = 0,
) -> bytes:
    """170 octets from 64 distances (0..65522, 0 is no return) and 64 qualities (0..255).

    A distance is rounded down to steps of 2, 3, 4 or 5 mm, a quality to steps of 1, 2, 4 or 8, the coarser the
    farther. Raises LocalProtocolError for other counts or ranges.
    """
    require_all("distances", distances_mm, SAMPLES_PER_CAPSULE, DISTANCE_MAX_MM)
    require_all("qualities", qualities, SAMPLES_PER_CAPSULE, 0xFF)
    if not (0 <= timestamp < 1 << 32 and 0 <= status < 1 << 16):
        raise LocalProtocolError(f"timestamp {timestamp} or device status {status} is out of range")
    body = _HEAD.pack(timestamp, status) + encode_start(start_angle_q6, is_reset)
    words = [_encode_word(*pair) for pair in zip(distances_mm, qualities, strict=True)]
    for first, second in zip(words[::2], words[1::2], strict=True):
        body += _CABIN.pack(first & 0xFFFF, second & 0xFFFF, first >> 16 | second >> 16 << 4)
    return seal(body)


def _encode_word(distance_mm: int, quality: int) -> int:
    # Where two scales meet, the finer one can still tell it.
    scale = sum(distance_mm > base for base in _BASES_MM[1:])
    magnitude = (distance_mm - _BASES_MM[scale]) // (scale + 2)
    return scale | magnitude << 2 | quality >> scale << (12 + scale)


class UltraDenseDecoder(CapsuleDecoder):
    """Samples of 0x86; `sample_us` (1..1000000, the active mode's) limits how far a start may jump.

    Beyond the limit a capsule tells nothing. Raises LocalProtocolError for a time beyond the range.
    """

    size = CAPSULE_SIZE
    lag = SAMPLES_PER_CAPSULE
    _start_offset = 8

    def __init__(self, sample_us: int) -> None:
        super().__init__()
        self._limit_q8 = jump_limit_q8(_LIMIT_FULL, sample_us)
        self._debounce = StartDebounce()
        self._last_q2 = 0

    def reset(self) -> None:
        """Forget everything but the counts."""
        super().reset()
        self._debounce.reset()
        self._last_q2 = 0

    def _measure(self, run: bytes) -> Samples:
        fields = np.frombuffer(run, _CAPSULE)
        sweep, is_near = near_sweep(starts_q6(fields), self._limit_q8, SAMPLES_PER_CAPSULE)
        cabins = fields["cabins"][:-1][is_near]
        high = (cabins["highs"][:, :, None] >> _NIBBLES & 15).ravel().astype(np.int64)
        word = cabins["words"].ravel() | high << 16
        scale = word & 3
        dist_q2 = (word & _MAGNITUDE_MASK[scale]) * _FACTOR[scale] + _BASE_Q2[scale]
        return Samples(
            angle_q14=to_q14(sweep.beams_q16(_NUMBERS)),
            dist_q2=self._smooth(dist_q2, scale),
            quality=word >> (12 + scale) << scale,
            flag=self._debounce.flags(sweep, SAMPLES_PER_CAPSULE),
            lag=self.lag,
        )

    def _smooth(self, dist_q2: Integers, scale: Integers) -> Integers:
        """Near distances (scale 0) within 2 mm of the one before become the mean of both; each depends on the last."""
        if not len(dist_q2):
            return dist_q2
        distances = dist_q2.tolist()
        last_q2 = self._last_q2
        for i, is_near in enumerate((scale == 0).tolist()):
            if is_near and last_q2 and -_SMOOTH_Q2 <= distances[i] - last_q2 <= _SMOOTH_Q2:
                distances[i] = distances[i] + last_q2 >> 1
            last_q2 = distances[i]
        self._last_q2 = last_q2
        return np.array(distances, np.int64)
