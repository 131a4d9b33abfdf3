"""Answer 0x82: express capsules of 32 samples, both ways (no state beyond `CapsuleDecoder`'s).

Source of layout and arithmetic: RPLIDAR.md, section 3, "0x82 express".
"""

from collections.abc import Sequence
from struct import Struct

import numpy as np

from oht50d.codec.rplidar.capsules import (
    QUALITY,
    CapsuleDecoder,
    beams_q16,
    encode_start,
    require_all,
    seal,
    start_flags,
    starts_q6,
    to_q14,
    turned_q8,
)
from oht50d.codec.rplidar.samples import Samples

CAPSULE_SIZE = 84
SAMPLES_PER_CAPSULE = 32
_DISTANCE_MAX_MM = (1 << 14) - 1
_OFFSET_MAX_Q3 = (1 << 6) - 1
_STEPS = np.arange(SAMPLES_PER_CAPSULE, dtype=np.int64)
_CABIN = Struct("<HHB")
_CAPSULE = np.dtype(
    [
        ("sync", "u1", 2),
        ("start", "<u2"),
        ("cabins", [("words", "<u2", 2), ("offsets", "u1")], SAMPLES_PER_CAPSULE // 2),
    ]
)
_NIBBLES = np.array([0, 4], np.uint8)


def encode_capsule(
    start_angle_q6: int, is_reset: bool, distances_mm: Sequence[int], offsets_q3: Sequence[int]
) -> bytes:
    """84 octets from 32 distances (0..16383, 0 is no return) and 32 angle offsets (0..63 eighths of a degree).

    Raises LocalProtocolError for other counts or ranges.
    """
    require_all("distances", distances_mm, SAMPLES_PER_CAPSULE, _DISTANCE_MAX_MM)
    require_all("offsets", offsets_q3, SAMPLES_PER_CAPSULE, _OFFSET_MAX_Q3)
    body = encode_start(start_angle_q6, is_reset)
    for i in range(0, SAMPLES_PER_CAPSULE, 2):
        words = (distances_mm[k] << 2 | offsets_q3[k] >> 4 for k in (i, i + 1))
        body += _CABIN.pack(*words, (offsets_q3[i] & 15) | (offsets_q3[i + 1] & 15) << 4)
    return seal(body)


class ExpressDecoder(CapsuleDecoder):
    """Samples of 0x82; their angles are corrected by offsets, so neighbours hop across each other."""

    size = CAPSULE_SIZE
    lag = SAMPLES_PER_CAPSULE

    def _measure(self, run: bytes) -> Samples:
        fields = np.frombuffer(run, _CAPSULE)
        start_q6 = starts_q6(fields)
        step_q16 = turned_q8(start_q6) * 8
        beam_q16 = beams_q16(start_q6[:-1], step_q16, _STEPS)
        cabins = fields["cabins"][:-1]
        words = cabins["words"].reshape(beam_q16.shape).astype(np.int64)
        low = (cabins["offsets"][:, :, None] >> _NIBBLES & 15).reshape(beam_q16.shape)
        offset_q3 = low | (words & 3) << 4
        dist_q2 = words & 0xFFFC
        return Samples(
            angle_q14=to_q14(beam_q16 - offset_q3 * 8192).ravel(),
            dist_q2=dist_q2.ravel(),
            quality=(QUALITY * (dist_q2 != 0)).ravel(),
            flag=start_flags(beam_q16, step_q16).ravel(),
            lag=self.lag,
        )
