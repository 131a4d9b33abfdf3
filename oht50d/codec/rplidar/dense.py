"""Answer 0x85: dense capsules of 40 distances in whole millimetres, both ways.

`DenseDecoder` owns the debounced start flag. Source of layout and arithmetic: RPLIDAR.md, section 3, "0x85 dense".
"""

from collections.abc import Sequence

import numpy as np

from oht50d.codec.rplidar.capsules import (
    QUALITY,
    CapsuleDecoder,
    StartDebounce,
    beams_q16,
    encode_start,
    jump_limit_q8,
    require_all,
    seal,
    starts_q6,
    to_q14,
    turned_q8,
)
from oht50d.codec.rplidar.samples import Samples

CAPSULE_SIZE = 84
SAMPLES_PER_CAPSULE = 40
_DISTANCE_MAX_MM = (1 << 16) - 1
_LIMIT_FULL = 1_440_000
_STEPS = np.arange(SAMPLES_PER_CAPSULE, dtype=np.int64)
_CAPSULE = np.dtype([("sync", "u1", 2), ("start", "<u2"), ("distances", "<u2", SAMPLES_PER_CAPSULE)])


def encode_dense_capsule(start_angle_q6: int, is_reset: bool, distances_mm: Sequence[int]) -> bytes:
    """84 octets from 40 distances (0..65535, 0 is no return). Raises LocalProtocolError for others."""
    require_all("distances", distances_mm, SAMPLES_PER_CAPSULE, _DISTANCE_MAX_MM)
    return seal(encode_start(start_angle_q6, is_reset) + np.array(distances_mm, "<u2").tobytes())


class DenseDecoder(CapsuleDecoder):
    """Samples of 0x85; `sample_us` (1..1000000, the active mode's) limits how far a start may jump.

    Beyond the limit a capsule tells nothing. Raises LocalProtocolError for a time beyond the range. The vendor's
    debounce is not cleared by a reset; here it is, which the S bit of every new scan makes unobservable.
    """

    size = CAPSULE_SIZE
    lag = SAMPLES_PER_CAPSULE

    def __init__(self, sample_us: int) -> None:
        super().__init__()
        self._limit_q8 = jump_limit_q8(_LIMIT_FULL, sample_us)
        self._debounce = StartDebounce()

    def reset(self) -> None:
        """Forget everything but the counts."""
        super().reset()
        self._debounce.reset()

    def _measure(self, run: bytes) -> Samples:
        fields = np.frombuffer(run, _CAPSULE)
        start_q6 = starts_q6(fields)
        turn_q8 = turned_q8(start_q6)
        is_near = turn_q8 <= self._limit_q8
        step_q16 = turn_q8[is_near] * 256 // SAMPLES_PER_CAPSULE
        beam_q16 = beams_q16(start_q6[:-1][is_near], step_q16, _STEPS)
        dist_q2 = fields["distances"][:-1][is_near].astype(np.int64) * 4
        return Samples(
            angle_q14=to_q14(beam_q16).ravel(),
            dist_q2=dist_q2.ravel(),
            quality=(QUALITY * (dist_q2 != 0)).ravel(),
            flag=self._debounce.flags(beam_q16, step_q16).ravel(),
            lag=self.lag,
        )
