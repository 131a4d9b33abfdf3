"""Answer 0x85: dense capsules of 40 distances in whole millimetres, both ways.

`DenseDecoder` owns the debounced start flag. Source of layout and arithmetic: RPLIDAR.md, section 3, "0x85 dense".
"""

from collections.abc import Sequence

import numpy as np

from oht50d.codec.rplidar.capsules import (
    CapsuleDecoder,
    StartDebounce,
    encode_start,
    jump_limit_q8,
    near_sweep,
    qualities,
    require_all,
    seal,
    starts_q6,
    to_q14,
)
from oht50d.codec.rplidar.samples import Samples

CAPSULE_SIZE = 84
SAMPLES_PER_CAPSULE = 40
_DISTANCE_MAX_MM = (1 << 16) - 1
_LIMIT_FULL = 1_440_000
_NUMBERS = np.arange(SAMPLES_PER_CAPSULE, dtype=np.int64)
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
        sweep, is_near = near_sweep(starts_q6(fields), self._limit_q8, SAMPLES_PER_CAPSULE)
        dist_q2 = fields["distances"][:-1][is_near].ravel().astype(np.int64) * 4
        return Samples(
            angle_q14=to_q14(sweep.beams_q16(_NUMBERS)),
            dist_q2=dist_q2,
            quality=qualities(dist_q2),
            flag=self._debounce.flags(sweep, SAMPLES_PER_CAPSULE),
            lag=self.lag,
        )
