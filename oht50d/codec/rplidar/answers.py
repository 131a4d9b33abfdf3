"""RPLIDAR answers: descriptors and the fixed single answers, both ways (no state).

Sources: RPLIDAR.md, section 1 (Fixed answers) and section 2 (Response descriptor).
"""

import enum
from struct import Struct

from attrs import frozen

from oht50d.model.errors import LocalProtocolError, RemoteProtocolError
from oht50d.model.lidar import LidarHealth, LidarInfo

DESCRIPTOR_START = bytes((0xA5, 0x5A))
DESCRIPTOR_SIZE = 7
_LENGTH_MASK = 0x3FFF_FFFF
_REPEATED = 0x4000_0000
_DESCRIPTOR = Struct("<2sIB")
_INFO = Struct("<BBBB16s")
_HEALTH = Struct("<BH")
_SAMPLE_RATE = Struct("<HH")
_FLAGS = Struct("<I")


class AnswerKind(enum.IntEnum):
    """Answer types that this package reads or writes."""

    INFO = 0x04
    HEALTH = 0x06
    SAMPLE_RATE = 0x15
    CONF = 0x20
    SET_CONF = 0x21
    STANDARD = 0x81
    EXPRESS = 0x82
    HQ = 0x83
    ULTRA = 0x84
    DENSE = 0x85
    ULTRA_DENSE = 0x86
    ACC_BOARD = 0xFF


# Single answers may be longer; of a configuration answer this is the echoed type, of a setting the old form.
PACKET_SIZES = {
    AnswerKind.INFO: 20,
    AnswerKind.HEALTH: 3,
    AnswerKind.SAMPLE_RATE: 4,
    AnswerKind.CONF: 4,
    AnswerKind.SET_CONF: 4,
    AnswerKind.STANDARD: 5,
    AnswerKind.EXPRESS: 84,
    AnswerKind.HQ: 781,
    AnswerKind.ULTRA: 132,
    AnswerKind.DENSE: 84,
    AnswerKind.ULTRA_DENSE: 170,
    AnswerKind.ACC_BOARD: 4,
}
REPEATED_KINDS = frozenset(
    (
        AnswerKind.STANDARD,
        AnswerKind.EXPRESS,
        AnswerKind.HQ,
        AnswerKind.ULTRA,
        AnswerKind.DENSE,
        AnswerKind.ULTRA_DENSE,
    )
)


@frozen
class Descriptor:
    """The head of an answer: octets of one packet, whether packets repeat, and the answer type."""

    kind: int
    size: int
    is_repeated: bool


@frozen
class SampleRate:
    """Microseconds per sample in standard and in express scans."""

    standard_us: int
    express_us: int


def describe(kind: AnswerKind) -> Descriptor:
    """The descriptor that a device sends for `kind`."""
    return Descriptor(kind, PACKET_SIZES[kind], kind in REPEATED_KINDS)


def encode_descriptor(descriptor: Descriptor) -> bytes:
    """Seven octets."""
    word = (descriptor.size & _LENGTH_MASK) | (_REPEATED if descriptor.is_repeated else 0)
    return _DESCRIPTOR.pack(DESCRIPTOR_START, word, descriptor.kind)


def encode_single_answer(kind: AnswerKind, octets: bytes) -> bytes:
    """A single answer with its descriptor, whose length is that of `octets`."""
    return encode_descriptor(Descriptor(kind, len(octets), is_repeated=False)) + octets


def decode_descriptor(octets: bytes) -> Descriptor:
    """From seven octets; raises RemoteProtocolError if they do not begin A5 5A or are too few."""
    if len(octets) < DESCRIPTOR_SIZE or octets[:2] != DESCRIPTOR_START:
        raise RemoteProtocolError(f"no response descriptor: {bytes(octets[:DESCRIPTOR_SIZE]).hex(' ')}")
    _, word, kind = _DESCRIPTOR.unpack_from(octets)
    return Descriptor(kind, word & _LENGTH_MASK, bool(word & _REPEATED))


def _require(octets: bytes, kind: AnswerKind) -> None:
    if len(octets) < PACKET_SIZES[kind]:
        raise RemoteProtocolError(f"{kind.name} answer of {len(octets)} octets, at least {PACKET_SIZES[kind]} expected")


def encode_info(info: LidarInfo) -> bytes:
    """Twenty octets; raises LocalProtocolError if the serial is not 32 hex digits or a number is no octet."""
    try:
        serial = bytes.fromhex(info.serial)
        octets = bytes((info.model, info.firmware_minor, info.firmware_major, info.hardware))
    except ValueError as error:
        raise LocalProtocolError(f"device information that cannot be sent: {error}") from error
    if len(serial) != 16:
        raise LocalProtocolError("a serial is 32 hex digits")
    return octets + serial


def decode_info(octets: bytes) -> LidarInfo:
    """From 20 octets or more; raises RemoteProtocolError."""
    _require(octets, AnswerKind.INFO)
    model, minor, major, hardware, serial = _INFO.unpack_from(octets)
    return LidarInfo(model, major, minor, hardware, serial.hex().upper())


def encode_health(health: LidarHealth) -> bytes:
    """Three octets."""
    return _HEALTH.pack(health.status, health.error_code)


def decode_health(octets: bytes) -> LidarHealth:
    """From 3 octets or more, the status as it came; raises RemoteProtocolError."""
    _require(octets, AnswerKind.HEALTH)
    status, error_code = _HEALTH.unpack_from(octets)
    return LidarHealth(status, error_code)


def encode_sample_rate(rate: SampleRate) -> bytes:
    """Four octets."""
    return _SAMPLE_RATE.pack(rate.standard_us, rate.express_us)


def decode_sample_rate(octets: bytes) -> SampleRate:
    """From 4 octets or more; raises RemoteProtocolError."""
    _require(octets, AnswerKind.SAMPLE_RATE)
    standard_us, express_us = _SAMPLE_RATE.unpack_from(octets)
    return SampleRate(standard_us, express_us)


def encode_acc_board(is_pwm_motor: bool) -> bytes:
    """Four octets; bit 0 says that the motor is driven by PWM."""
    return _FLAGS.pack(int(is_pwm_motor))


def decode_acc_board(octets: bytes) -> bool:
    """True if the motor is driven by PWM; raises RemoteProtocolError."""
    _require(octets, AnswerKind.ACC_BOARD)
    return bool(octets[0] & 1)
