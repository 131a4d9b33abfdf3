"""GET_LIDAR_CONF and SET_LIDAR_CONF: configuration types, their questions and answers, both ways (no state).

Source of every type and layout: RPLIDAR.md, section 1 ("Configuration types", "Fixed answers" and "Requests").
"""

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, Generic, TypeVar

from attrs import field, frozen

from oht50d.codec.rplidar.commands import Command, encode_payload_request
from oht50d.model.errors import LocalProtocolError, RemoteProtocolError

T = TypeVar("T")

_CODE = Struct("<I")
_MODE = Struct("<H")
_RESULT = Struct("<II")
_ROTATION = Struct("<HH")
_SETTABLE = range(0x0001_0000, 0x0002_0000)
_MODE_MAX = 0xFFFF


@frozen
class Rotation:
    """The rotation that the device wants: turns a minute, and the PWM duty that is meant to give it."""

    rpm: int
    pwm: int


@frozen
class StaticAddress:
    """Four octets each; raises LocalProtocolError for others."""

    address: bytes
    mask: bytes
    gateway: bytes

    def __attrs_post_init__(self) -> None:
        if {len(self.address), len(self.mask), len(self.gateway)} != {4}:
            raise LocalProtocolError("an address, a mask and a gateway have four octets each")


@frozen
class ConfType(Generic[T]):
    """One configuration type: whether a mode's id follows the code in a question, and the value both ways.

    `least_octets` of the value are required in an answer; more are tolerated.
    """

    code: int
    name: str
    least_octets: int
    has_mode: bool = field(kw_only=True, default=False)
    question_padding: int = field(kw_only=True, default=0)
    _decode: Callable[[bytes], T] = field(kw_only=True, repr=False)
    _encode: Callable[[T], bytes] = field(kw_only=True, repr=False)

    def encode_query(self, mode: int | None = None) -> bytes:
        """The whole GET_LIDAR_CONF request; `mode` exactly for what is told by mode, else LocalProtocolError."""
        if (mode is not None) != self.has_mode:
            raise LocalProtocolError(f"{self.name} is {'' if self.has_mode else 'not '}asked by mode")
        if mode is not None and not 0 <= mode <= _MODE_MAX:
            raise LocalProtocolError(f"scan mode {mode} is not in 0..{_MODE_MAX}")
        extra = bytes(self.question_padding) if mode is None else _MODE.pack(mode)
        return encode_payload_request(Command.GET_LIDAR_CONF, _CODE.pack(self.code) + extra)

    def encode_setting(self, setting: T) -> bytes:
        """The whole SET_LIDAR_CONF request; raises LocalProtocolError for a type that cannot be set."""
        if self.code not in _SETTABLE:
            raise LocalProtocolError(f"{self.name} cannot be set")
        return encode_payload_request(Command.SET_LIDAR_CONF, _CODE.pack(self.code) + self._encode(setting))

    def encode_answer(self, setting: T) -> bytes:
        """The device's answer without its descriptor. Raises LocalProtocolError for a value that does not fit."""
        return _CODE.pack(self.code) + self._encode(setting)

    def decode_answer(self, octets: bytes) -> T:
        """From the octets behind the descriptor; raises RemoteProtocolError for another type's echo or too few."""
        if (code := echoed_code(octets)) != self.code:
            raise RemoteProtocolError(f"configuration type {code:#x} is answered where {self.code:#x} was asked")
        if len(octets) < _CODE.size + self.least_octets:
            raise RemoteProtocolError(f"{self.name} of {len(octets) - 4} octets, at least {self.least_octets} expected")
        return self._decode(octets[_CODE.size :])


def echoed_code(octets: bytes) -> int:
    """The configuration type that an answer or a question begins with; raises RemoteProtocolError."""
    if len(octets) < _CODE.size:
        raise RemoteProtocolError(f"a configuration type of {len(octets)} octets, at least {_CODE.size} expected")
    return int.from_bytes(octets[: _CODE.size], "little")


def _number(code: int, name: str, layout: str, *, has_mode: bool = False) -> ConfType[int]:
    packing = Struct(f"<{layout}")

    def encode(number: int) -> bytes:
        if not 0 <= number < 1 << 8 * packing.size:
            raise LocalProtocolError(f"{name} {number} does not fit {packing.size} octets")
        return packing.pack(number)

    return ConfType(
        code,
        name,
        packing.size,
        has_mode=has_mode,
        decode=lambda octets: int(packing.unpack_from(octets)[0]),
        encode=encode,
    )


def _text(code: int, name: str, *, has_mode: bool = False) -> ConfType[str]:
    return ConfType(
        code,
        name,
        0,
        has_mode=has_mode,
        decode=lambda octets: octets.strip(b"\0").decode("ascii", "replace"),
        encode=lambda text: text.encode("ascii", "replace") + b"\0",
    )


def _encode_rotation(rotation: Rotation) -> bytes:
    if not (0 <= rotation.rpm <= 0xFFFF and 0 <= rotation.pwm <= 0xFFFF):
        raise LocalProtocolError(f"{rotation} does not fit two octets each")
    return _ROTATION.pack(rotation.rpm, rotation.pwm)


def _encode_mac(mac: bytes) -> bytes:
    if len(mac) != 6:
        raise LocalProtocolError("a MAC address has six octets")
    return mac


DESIRED_ROTATION: ConfType[Rotation] = ConfType(
    0x01,
    "desired rotation",
    4,
    decode=lambda octets: Rotation(*_ROTATION.unpack_from(octets)),
    encode=_encode_rotation,
)
MINIMUM_RPM = _number(0x04, "minimum rotation", "H")
MAXIMUM_RPM = _number(0x05, "maximum rotation", "H")
MODE_COUNT = _number(0x70, "scan mode count", "H")
MODE_SAMPLE_US_Q8 = _number(0x71, "microseconds per sample", "I", has_mode=True)
MODE_DISTANCE_M_Q8 = _number(0x74, "maximum distance", "I", has_mode=True)
MODE_ANSWER = _number(0x75, "answer type", "B", has_mode=True)
MAC_ADDRESS: ConfType[bytes] = ConfType(0x79, "MAC address", 6, decode=lambda octets: octets[:6], encode=_encode_mac)
TYPICAL_MODE = _number(0x7C, "typical mode", "H")
MODE_NAME = _text(0x7F, "mode name", has_mode=True)
MODEL_NAME = _text(0x81, "model name")
DETECTED_BAUD = _number(0xA1, "detected baud", "I")
STATIC_ADDRESS: ConfType[StaticAddress] = ConfType(
    0x0001_CCC0,
    "static address",
    12,
    question_padding=2,
    decode=lambda octets: StaticAddress(octets[:4], octets[4:8], octets[8:12]),
    encode=lambda static: static.address + static.mask + static.gateway,
)
CONF_TYPES: dict[int, ConfType[Any]] = {
    conf.code: conf
    for conf in (
        DESIRED_ROTATION,
        MINIMUM_RPM,
        MAXIMUM_RPM,
        MODE_COUNT,
        MODE_SAMPLE_US_Q8,
        MODE_DISTANCE_M_Q8,
        MODE_ANSWER,
        MAC_ADDRESS,
        TYPICAL_MODE,
        MODE_NAME,
        MODEL_NAME,
        DETECTED_BAUD,
        STATIC_ADDRESS,
    )
}


@frozen
class ConfQuestion:
    """A GET_LIDAR_CONF request as the device reads it: the type's code, known or not, and the mode if one follows."""

    code: int
    mode: int | None


def decode_query(payload: bytes) -> ConfQuestion:
    """The device's half of `ConfType.encode_query`; raises RemoteProtocolError if a type or its mode is cut short."""
    code = echoed_code(payload)
    conf = CONF_TYPES.get(code)
    if conf is None or not conf.has_mode:
        return ConfQuestion(code, None)
    if len(payload) < _CODE.size + _MODE.size:
        raise RemoteProtocolError(f"{conf.name} is asked without a mode")
    return ConfQuestion(code, _MODE.unpack_from(payload, _CODE.size)[0])


@frozen
class SettingResult:
    """The answer to SET_LIDAR_CONF: `code` is None from old devices, which tell the result only; 0 is success."""

    code: int | None
    result: int


def encode_setting_result(outcome: SettingResult) -> bytes:
    """Eight octets, or four without a code."""
    if outcome.code is None:
        return _CODE.pack(outcome.result)
    return _RESULT.pack(outcome.code, outcome.result)


def decode_setting_result(octets: bytes) -> SettingResult:
    """From eight octets or more, or the four to seven of old devices; raises RemoteProtocolError for fewer."""
    if len(octets) >= _RESULT.size:
        return SettingResult(*_RESULT.unpack_from(octets))
    return SettingResult(None, echoed_code(octets))


@frozen
class ReportedMode:
    """One scan mode as its device tells it; times and distances in 1/256, so that nothing is lost."""

    number: int
    name: str
    answer: int
    sample_us_q8: int
    distance_m_q8: int

    @property
    def sample_us(self) -> int:
        """Microseconds a sample, rounded half up: what the jump limit of 0x85 and 0x86 is made of."""
        return (self.sample_us_q8 + 128) >> 8

    @property
    def distance_m(self) -> float:
        """The nominal range in metres, not the data sheet's."""
        return self.distance_m_q8 / 256


def find_mode(modes: Sequence[ReportedMode], name: str) -> ReportedMode:
    """The mode of that name, upper and lower case alike; LocalProtocolError lists those that there are."""
    for mode in modes:
        if mode.name.casefold() == name.casefold():
            return mode
    raise LocalProtocolError(f"the device has no scan mode {name!r}, but {', '.join(mode.name for mode in modes)}")
