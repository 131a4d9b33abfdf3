"""RPLIDAR requests: the host's encoders and the device's tolerant parser (`RequestParser` owns its buffer).

Source of every code, payload and checksum: RPLIDAR.md, section 1 (Requests).
"""

import enum
from struct import Struct

from attrs import frozen

from oht50d.model.errors import LocalProtocolError, RemoteProtocolError

START = 0xA5
PAYLOAD_BIT = 0x80
PWM_MAX = 1023
RPM_MAX = 0xFFFF
_BAUD = Struct("<HIH")
_BAUD_MARK = 0x5F5F
_FOLDS = (2048, 1024, 512, 256, 128, 64, 32, 16, 8)


class Command(enum.IntEnum):
    """Request codes; bit 7 set means that a length, a payload and a checksum follow."""

    STOP = 0x25
    RESET = 0x40
    SCAN = 0x20
    FORCE_SCAN = 0x21
    GET_INFO = 0x50
    GET_HEALTH = 0x52
    GET_SAMPLERATE = 0x59
    EXPRESS_SCAN = 0x82
    HQ_SCAN = 0x83
    GET_LIDAR_CONF = 0x84
    SET_LIDAR_CONF = 0x85
    NEW_BAUDRATE_CONFIRM = 0x90
    SET_MOTOR_SPEED = 0xA8
    SET_MOTOR_PWM = 0xF0
    GET_ACC_BOARD_FLAG = 0xFF


_PAYLOAD_SIZES: dict[int, range] = {
    Command.EXPRESS_SCAN: range(5, 6),
    Command.HQ_SCAN: range(33, 34),
    Command.GET_LIDAR_CONF: range(4, 17),
    Command.SET_LIDAR_CONF: range(4, 65),
    Command.NEW_BAUDRATE_CONFIRM: range(8, 9),
    Command.SET_MOTOR_SPEED: range(2, 3),
    Command.SET_MOTOR_PWM: range(2, 3),
    Command.GET_ACC_BOARD_FLAG: range(4, 5),
}
_PLAIN = frozenset(int(command) for command in Command if not command & PAYLOAD_BIT)


def checksum(octets: bytes | bytearray) -> int:
    """XOR of all octets, at most 512."""
    # Halves of one number folded onto each other: half the time of a loop over the octets of a capsule.
    folded = int.from_bytes(octets, "little")
    for bits in _FOLDS:
        folded ^= folded >> bits
    return folded & 0xFF


def _encode(command: Command) -> bytes:
    return bytes((START, command))


def encode_payload_request(command: Command, payload: bytes) -> bytes:
    """A request with bit 7: length, payload and checksum. Raises LocalProtocolError for a size it does not have."""
    if len(payload) not in _PAYLOAD_SIZES[command]:
        raise LocalProtocolError(f"{command.name} has no payload of {len(payload)} octets")
    frame = bytes((START, command, len(payload))) + payload
    return frame + bytes((checksum(frame),))


def encode_stop() -> bytes:
    """Leave scanning; no answer."""
    return _encode(Command.STOP)


def encode_reset() -> bytes:
    """Reboot the device; no framed answer, but boot text may follow."""
    return _encode(Command.RESET)


def encode_scan() -> bytes:
    """Start a standard scan (answer 0x81)."""
    return _encode(Command.SCAN)


def encode_force_scan() -> bytes:
    """Start a standard scan whatever the rotation (bench test)."""
    return _encode(Command.FORCE_SCAN)


def encode_express_scan(mode: int = 0) -> bytes:
    """Start an express scan in the mode of that id; mode 0 answers 0x82 where there are no modes to ask for.

    Raises LocalProtocolError beyond 0..255.
    """
    if not 0 <= mode <= 0xFF:
        raise LocalProtocolError(f"express mode {mode} is not in 0..255")
    return encode_payload_request(Command.EXPRESS_SCAN, bytes((mode, 0, 0, 0, 0)))


def encode_hq_scan() -> bytes:
    """Start an HQ scan (answer 0x83; defined from firmware 1.24, the vendor's SDK never sends it)."""
    return encode_payload_request(Command.HQ_SCAN, bytes(33))


def encode_get_info() -> bytes:
    """Ask who the device is (answer 0x04)."""
    return _encode(Command.GET_INFO)


def encode_get_health() -> bytes:
    """Ask for the health (answer 0x06)."""
    return _encode(Command.GET_HEALTH)


def encode_get_samplerate() -> bytes:
    """Ask for microseconds per sample (answer 0x15; firmware 1.17 and newer)."""
    return _encode(Command.GET_SAMPLERATE)


def encode_motor_pwm(pwm: int) -> bytes:
    """Motor duty 0..1023 of accessory-board devices, 0 stops. Raises LocalProtocolError beyond that."""
    if not 0 <= pwm <= PWM_MAX:
        raise LocalProtocolError(f"motor PWM {pwm} is not in 0..{PWM_MAX}")
    return encode_payload_request(Command.SET_MOTOR_PWM, pwm.to_bytes(2, "little"))


def encode_motor_speed(rpm: int) -> bytes:
    """Turns a minute of devices that control their motor, 0 stops. Raises LocalProtocolError beyond 0..65535."""
    if not 0 <= rpm <= RPM_MAX:
        raise LocalProtocolError(f"motor speed {rpm} rpm is not in 0..{RPM_MAX}")
    return encode_payload_request(Command.SET_MOTOR_SPEED, rpm.to_bytes(2, "little"))


def encode_baud_confirm(baud: int) -> bytes:
    """Keep the baud rate that the device has just measured (RPLIDAR.md, section 5). Raises LocalProtocolError."""
    if not 0 < baud < 1 << 32:
        raise LocalProtocolError(f"baud {baud} does not fit 32 bits")
    return encode_payload_request(Command.NEW_BAUDRATE_CONFIRM, _BAUD.pack(_BAUD_MARK, baud, 0))


def encode_acc_board_flag() -> bytes:
    """Ask whether an accessory board drives the motor by PWM (answer 0xFF)."""
    return encode_payload_request(Command.GET_ACC_BOARD_FLAG, bytes(4))


@frozen
class Request:
    """One request as the device reads it."""

    command: int
    payload: bytes = b""


def decode_express_scan(payload: bytes) -> int:
    """The id of the wanted mode; raises RemoteProtocolError if there is none."""
    return _first_number(payload, 1)


def decode_motor(payload: bytes) -> int:
    """The duty of SET_MOTOR_PWM or the turns a minute of SET_MOTOR_SPEED; raises RemoteProtocolError if cut short."""
    return _first_number(payload, 2)


def decode_baud_confirm(payload: bytes) -> int:
    """The baud rate to keep; raises RemoteProtocolError if it is cut short or does not bear the mark."""
    if len(payload) < _BAUD.size or (fields := _BAUD.unpack_from(payload))[0] != _BAUD_MARK:
        raise RemoteProtocolError(f"no confirmation of a baud rate: {payload.hex(' ')}")
    return int(fields[1])


def _first_number(payload: bytes, size: int) -> int:
    if len(payload) < size:
        raise RemoteProtocolError(f"a payload of {len(payload)} octets, at least {size} expected")
    return int.from_bytes(payload[:size], "little")


class RequestParser:
    """The device's side: bytes to requests. Whatever is not a known, whole and undamaged request is skipped.

    The buffer never holds more than one incomplete request (at most 68 octets).
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.skipped_bytes = 0

    def receive_data(self, octets: bytes) -> list[Request]:
        """Every request completed by `octets`, in order; never raises."""
        self._buffer += octets
        requests: list[Request] = []
        while self._buffer:
            size = self._frame_size()
            if size > len(self._buffer):
                break
            if size == 0 or not self._is_sound(size):
                # Only the first octet goes: a start octet inside damage may begin the next request.
                del self._buffer[0]
                self.skipped_bytes += 1
                continue
            requests.append(Request(self._buffer[1], bytes(self._buffer[3 : size - 1])))
            del self._buffer[:size]
        return requests

    def _frame_size(self) -> int:
        """Octets of the request at the front: 0 if there is none; more than held while it is incomplete."""
        if self._buffer[0] != START:
            return 0
        if len(self._buffer) < 2:
            return 2
        command = self._buffer[1]
        if command in _PLAIN:
            return 2
        sizes = _PAYLOAD_SIZES.get(command)
        if sizes is None:
            return 0
        if len(self._buffer) < 3:
            return 3
        return self._buffer[2] + 4 if self._buffer[2] in sizes else 0

    def _is_sound(self, size: int) -> bool:
        return size == 2 or checksum(self._buffer[: size - 1]) == self._buffer[size - 1]
