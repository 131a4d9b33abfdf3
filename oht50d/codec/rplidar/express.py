"""Answer 0x82: express capsules of 32 samples, both ways (no state beyond `CapsuleDecoder`'s).

Source of layout and arithmetic: RPLIDAR.md, section 3, "0x82 express".
"""

from collections.abc import Sequence
from struct import Struct

import numpy as np

from oht50d.codec.rplidar.capsules import (
    CapsuleDecoder,
    Sweep,
    encode_start,
    qualities,
    require_all,
    seal,
    start_flags,
    starts_q6,
    to_q14,
    turns_q8,
)
from oht50d.codec.rplidar.samples import Samples

CAPSULE_SIZE = 84
SAMPLES_PER_CAPSULE = 32
_DISTANCE_MAX_MM = (1 << 14) - 1
_OFFSET_MAX_Q3 = (1 << 6) - 1
_NUMBERS = np.arange(SAMPLES_PER_CAPSULE, dtype=np.int64)
_CABIN = Struct("<HHB")
_CAPSULE = np.dtype(
    [
        ("sync", "u1", 2),
        ("start", "<u2"),
        ("cabins", [("words", "<u2", 2), ("offsets", "u1")], SAMPLES_PER_CAPSULE // 2),
    ]
)
# An offset is in eighths of a degree: its low four bits by the octet that holds those of two samples, and its high two.
_LOW_OFFSETS_Q16 = np.array([(octet & 15, octet >> 4) for octet in range(256)], np.int64) * 8192
_HIGH_OFFSET, _HIGH_OFFSET_Q16 = np.array(3), np.array(16 * 8192)
_DISTANCE = np.array(0xFFFC)


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
        starts = starts_q6(fields)
        sweep = Sweep([start * 1024 for start in starts[:-1]], [turn * 8 for turn in turns_q8(starts)])
        cabins = fields["cabins"][:-1]
        words = cabins["words"].reshape(-1, SAMPLES_PER_CAPSULE).astype(np.int64)
        beam_q16 = sweep.beams_q16(_NUMBERS)
        beam_q16 -= (words & _HIGH_OFFSET) * _HIGH_OFFSET_Q16
        beam_q16 -= _LOW_OFFSETS_Q16.take(cabins["offsets"], axis=0).reshape(words.shape)
        dist_q2 = (words & _DISTANCE).ravel()
        return Samples(
            angle_q14=to_q14(beam_q16),
            dist_q2=dist_q2,
            quality=qualities(dist_q2),
            flag=start_flags(sweep, SAMPLES_PER_CAPSULE),
            lag=self.lag,
        )
