"""Answer 0x84: ultra capsules of 96 samples, a major distance and two predictions a cabin, both ways (no state).

Source of layout, bit scale, prediction and angle correction: RPLIDAR.md, section 3, "0x84 ultra".
"""

from collections.abc import Sequence
from struct import Struct

import numpy as np
from attrs import frozen

from oht50d.codec.rplidar.capsules import (
    CapsuleDecoder,
    Integers,
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
from oht50d.model.errors import LocalProtocolError

CAPSULE_SIZE = 132
CABINS_PER_CAPSULE = 32
SAMPLES_PER_CAPSULE = 96
DISTANCE_MAX_MM = 16384 + (4095 - 3328) * 16
_NO_RETURN = -512
_NO_RETURNS = (_NO_RETURN, 511)
# From which major on, at which level, a value in millimetres begins; the coarsest first.
_BIT_SCALE = ((3328, 4, 16384), (1792, 3, 4096), (1280, 2, 2048), (512, 1, 512), (0, 0, 0))
_NUMBERS = np.arange(SAMPLES_PER_CAPSULE, dtype=np.int64)
_CABINS = Struct(f"<{CABINS_PER_CAPSULE}I")
_CAPSULE = np.dtype([("sync", "u1", 2), ("start", "<u2"), ("cabins", "<u4", CABINS_PER_CAPSULE)])
_NEAR_Q2 = 200
_BASELINE = 98361


def decode_major(major: int) -> tuple[int, int]:
    """Millimetres and level of a 12-bit major; a level is how many bits the format has dropped."""
    for least, level, base_mm in _BIT_SCALE:
        if major >= least:
            return base_mm + (major - least << level), level
    raise LocalProtocolError(f"major {major} is negative")


def encode_major(distance_mm: int) -> int:
    """The greatest major that is no farther than 0..28656 mm."""
    for least, level, base_mm in _BIT_SCALE:
        if distance_mm >= base_mm:
            return least + (distance_mm - base_mm >> level)
    raise LocalProtocolError(f"distance {distance_mm} is negative")


def _correction_q16(offset_radians_q16: int) -> int:
    """Degrees from radians, truncated toward zero: the integer form of the vendor's floating point."""
    scaled = abs(offset_radians_q16) * 18_000_000_000 // 314_159_265
    return scaled if offset_radians_q16 >= 0 else -scaled


def _corrections_q16() -> Integers:
    """By 98361 // dist_q2, which is 491 at most from 50 mm on; the last one is for nearer and for no returns."""
    far_8_degrees, fallback_7_5_degrees = 9150, 8578
    offsets = [far_8_degrees - 64 * k - k * k * k // 98304 for k in range(_BASELINE // _NEAR_Q2 + 1)]
    return np.array([_correction_q16(offset) for offset in [*offsets, fallback_7_5_degrees]], np.int64)


def _major_tables() -> tuple[Integers, Integers]:
    """`decode_major` for all 4096; a loop over them would cost 3 ms of every start."""
    values_mm, levels = np.zeros(4096, np.int64), np.zeros(4096, np.int64)
    for least, level, base_mm in reversed(_BIT_SCALE):
        values_mm[least:] = base_mm + (np.arange(4096 - least) << level)
        levels[least:] = level
    return values_mm, levels


_MAJORS_MM, _LEVELS = _major_tables()
_CORRECTIONS_Q16 = _corrections_q16()


@frozen
class UltraCabin:
    """Three samples: a major (0..4095) and two differences (-512..511, the outermost two mean no return)."""

    major: int
    predict1: int
    predict2: int


def predict_cabins(distances_mm: Sequence[int], next_mm: int) -> list[UltraCabin]:
    """The cabins for 96 distances (0..28656, 0 is no return) and the first distance of the next capsule.

    A distance that lies too far from the major that it is told against becomes no return; the others are rounded
    down to steps of 1 to 16 mm, as far as their major's level says. Raises LocalProtocolError for other ranges.
    """
    require_all("distances", distances_mm, SAMPLES_PER_CAPSULE, DISTANCE_MAX_MM)
    require_all("next distances", (next_mm,), 1, DISTANCE_MAX_MM)
    majors = [encode_major(distance) for distance in (*distances_mm[::3], next_mm)]
    cabins = []
    for i in range(CABINS_PER_CAPSULE):
        second = decode_major(majors[i + 1])
        first = decode_major(majors[i]) if majors[i] else second
        predictions = (_predict(distances_mm[3 * i + 1], first), _predict(distances_mm[3 * i + 2], second))
        cabins.append(UltraCabin(majors[i], *predictions))
    return cabins


def _predict(distance_mm: int, base: tuple[int, int]) -> int:
    base_mm, level = base
    prediction = distance_mm - base_mm >> level
    # Rounding down must not make a return into none: what decodes to 0 mm is lost anyway.
    is_told = distance_mm > 0 and _NO_RETURN < prediction < 511
    return prediction if is_told else _NO_RETURN


def encode_ultra_capsule(start_angle_q6: int, is_reset: bool, cabins: Sequence[UltraCabin]) -> bytes:
    """132 octets from 32 cabins. Raises LocalProtocolError for other counts or ranges."""
    require_all("majors", [cabin.major for cabin in cabins], CABINS_PER_CAPSULE, 0xFFF)
    for cabin in cabins:
        if not (-512 <= cabin.predict1 <= 511 and -512 <= cabin.predict2 <= 511):
            raise LocalProtocolError(f"a prediction is not in -512..511: {cabin}")
    words = [cabin.major | (cabin.predict1 & 0x3FF) << 12 | (cabin.predict2 & 0x3FF) << 22 for cabin in cabins]
    return seal(encode_start(start_angle_q6, is_reset) + _CABINS.pack(*words))


class UltraDecoder(CapsuleDecoder):
    """Samples of 0x84; angles are corrected by distance, so neighbours hop across each other.

    Odd data can make a distance negative. The reference tells it modulo 2**32, more than a thousand kilometres away,
    and so does this decoder. With `drops_negative` it is told as no return (distance and quality 0), as nonsense
    must not pass for a far return; everything else stays as it is.
    """

    size = CAPSULE_SIZE
    lag = SAMPLES_PER_CAPSULE

    def __init__(self, *, drops_negative: bool = False) -> None:
        super().__init__()
        self._drops_negative = drops_negative

    def _measure(self, run: bytes) -> Samples:
        fields = np.frombuffer(run, _CAPSULE)
        starts = starts_q6(fields)
        sweep = Sweep([start * 1024 for start in starts[:-1]], [turn * 8 // 3 for turn in turns_q8(starts)])
        signed_q2 = _distances_q2(fields["cabins"].ravel().astype(np.int64)).ravel()
        nearness = np.where(signed_q2 >= _NEAR_Q2, _BASELINE // np.maximum(signed_q2, _NEAR_Q2), -1)
        dist_q2 = np.maximum(signed_q2, 0) if self._drops_negative else signed_q2 & 0xFFFF_FFFF
        return Samples(
            angle_q14=to_q14(sweep.beams_q16(_NUMBERS).ravel() - _CORRECTIONS_Q16[nearness]),
            dist_q2=dist_q2,
            quality=qualities(dist_q2),
            flag=start_flags(sweep, SAMPLES_PER_CAPSULE),
            lag=self.lag,
        )


def _distances_q2(cabins: Integers) -> Integers:
    """Cabins of capsules in a row, in one line, to three signed distances each; none for the last capsule."""
    told = len(cabins) - CABINS_PER_CAPSULE
    majors = cabins[: told + 1] & 0xFFF
    value_mm, level = _MAJORS_MM[majors], _LEVELS[majors]
    # The reference takes the next major's level only if that is not 0; a major of 0 has level 0, so it is the same.
    is_empty = majors[:-1] == 0
    base1_mm = np.where(is_empty, value_mm[1:], value_mm[:-1])
    level1 = np.where(is_empty, level[1:], level[:-1])
    distances_mm = np.empty((told, 3), np.int64)
    distances_mm[:, 0] = value_mm[:-1]
    distances_mm[:, 1] = _predicted_mm(cabins[:told] >> 12 & 0x3FF, base1_mm, level1)
    distances_mm[:, 2] = _predicted_mm(cabins[:told] >> 22, value_mm[1:], level[1:])
    return distances_mm * 4


def _predicted_mm(raw: Integers, base_mm: Integers, level: Integers) -> Integers:
    """From 10-bit two's complement; the outermost two values are no return."""
    prediction = (raw ^ 0x200) - 0x200
    is_none = (prediction == _NO_RETURNS[0]) | (prediction == _NO_RETURNS[1])
    return np.where(is_none, 0, (prediction << level) + base_mm)
