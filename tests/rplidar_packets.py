"""Good packets of every answer kind, numbered by their first distance, with a decoder for each."""

from collections.abc import Callable, Sequence

from attrs import frozen

from oht50d.codec.rplidar.answers import PACKET_SIZES, AnswerKind
from oht50d.codec.rplidar.dense import DenseDecoder, encode_dense_capsule
from oht50d.codec.rplidar.express import ExpressDecoder, encode_capsule
from oht50d.codec.rplidar.hq import HqDecoder, HqNode, encode_hq_packet
from oht50d.codec.rplidar.parser import Decoder
from oht50d.codec.rplidar.samples import Samples
from oht50d.codec.rplidar.ultra import UltraDecoder, encode_ultra_capsule, predict_cabins
from oht50d.codec.rplidar.ultra_dense import UltraDenseDecoder, encode_ultra_dense_capsule

SAMPLE_US = 31
STILL_MM = 0x52A0 >> 2  # times four, on the wire it is A? 5?: what a capsule begins with
STEP_MM = 40
STEP_Q6 = 1600
TURN_Q6 = 23040


def number_mm(number: int) -> int:
    """The first distance of packet `number` (0..30): no two alike on any kind's grid of distances."""
    return STILL_MM + STEP_MM * (number - 31)


def _express(number: int) -> bytes:
    return encode_capsule(STEP_Q6 * number % TURN_Q6, False, [number_mm(number)] + [STILL_MM] * 31, [0x20] * 32)


def _hq(number: int) -> bytes:
    nodes = [HqNode(0x5AA5, STILL_MM * 4, 0xA5, 2)] * 95
    return encode_hq_packet([HqNode(0, number_mm(number) * 4, 0xA5, 1), *nodes], timestamp=0xA5A5)


def _ultra(number: int) -> bytes:
    distances = [number_mm(number)] + [STILL_MM] * 95
    return encode_ultra_capsule(STEP_Q6 * number % TURN_Q6, False, predict_cabins(distances, STILL_MM))


def _dense(number: int) -> bytes:
    return encode_dense_capsule(STEP_Q6 * number % TURN_Q6, False, [number_mm(number)] + [0x52A0] * 39)


def _ultra_dense(number: int) -> bytes:
    distances = [number_mm(number)] + [STILL_MM] * 63
    return encode_ultra_dense_capsule(STEP_Q6 * number % TURN_Q6, False, distances, [0xA5] * 64, timestamp=0x52A052A0)


@frozen
class Stream:
    """One answer kind: a fresh decoder, and packet `number` (0..30) as octets."""

    kind: AnswerKind
    decoder: Callable[[], Decoder]
    packet: Callable[[int], bytes]
    samples: int

    @property
    def size(self) -> int:
        return PACKET_SIZES[self.kind]

    @property
    def lag(self) -> int:
        """Packets that are told one later than they come."""
        return 0 if self.kind is AnswerKind.HQ else 1

    def numbers(self, events: Sequence[object]) -> list[int]:
        """Which packets were told, by their first distances, as far as no capsule of a run was left out."""
        return [
            round((dist_q2 / 4 - number_mm(0)) / STEP_MM)
            for event in events
            if isinstance(event, Samples)
            for dist_q2 in event.dist_q2.tolist()[:: self.samples]
        ]


STREAMS = [
    Stream(AnswerKind.EXPRESS, ExpressDecoder, _express, 32),
    Stream(AnswerKind.HQ, HqDecoder, _hq, 96),
    Stream(AnswerKind.ULTRA, UltraDecoder, _ultra, 96),
    Stream(AnswerKind.DENSE, lambda: DenseDecoder(SAMPLE_US), _dense, 40),
    Stream(AnswerKind.ULTRA_DENSE, lambda: UltraDenseDecoder(SAMPLE_US), _ultra_dense, 64),
]


def held_octets(thing: object) -> int:
    """Octets that an object holds, and the decoder or framing that it owns."""
    owned = [getattr(thing, name) for name in ("_decoder", "_framing") if getattr(thing, name, None) is not None]
    held = sum(len(held) for held in vars(thing).values() if isinstance(held, bytes | bytearray))
    return held + sum(held_octets(part) for part in owned)
