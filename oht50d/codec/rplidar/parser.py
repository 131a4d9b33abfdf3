"""The host's side of the RPLIDAR protocol, sans-IO: bytes to answers and samples (`RplidarClient` owns its buffers).

Source: RPLIDAR.md, section 2 (Response descriptor: one per answer, none inside a repeated stream).
"""

from collections.abc import Callable
from typing import Any, Protocol

from attrs import frozen

from oht50d.codec.rplidar.answers import (
    DESCRIPTOR_SIZE,
    DESCRIPTOR_START,
    PACKET_SIZES,
    AnswerKind,
    SampleRate,
    decode_acc_board,
    decode_descriptor,
    decode_health,
    decode_info,
    decode_sample_rate,
    describe,
)
from oht50d.codec.rplidar.conf import ConfType, SettingResult, decode_setting_result, echoed_code
from oht50d.codec.rplidar.dense import DenseDecoder
from oht50d.codec.rplidar.express import ExpressDecoder
from oht50d.codec.rplidar.hq import HqDecoder
from oht50d.codec.rplidar.samples import StreamEvent
from oht50d.codec.rplidar.standard import StandardDecoder
from oht50d.codec.rplidar.ultra import UltraDecoder
from oht50d.codec.rplidar.ultra_dense import UltraDenseDecoder
from oht50d.model.errors import LocalProtocolError
from oht50d.model.lidar import LidarHealth, LidarInfo

_SINGLE_ANSWER_MAX = 256
_TAIL_SIZE = 64


@frozen
class InfoAnswer:
    """GET_INFO is answered."""

    info: LidarInfo


@frozen
class HealthAnswer:
    """GET_HEALTH is answered."""

    health: LidarHealth


@frozen
class SampleRateAnswer:
    """GET_SAMPLERATE is answered."""

    rate: SampleRate


@frozen
class AccBoardAnswer:
    """GET_ACC_BOARD_FLAG is answered."""

    is_pwm_motor: bool


@frozen
class ConfAnswer:
    """GET_LIDAR_CONF is answered: `octets` begin with the echoed type, `ConfType.decode_answer` reads them."""

    octets: bytes


@frozen
class SettingAnswer:
    """SET_LIDAR_CONF is answered."""

    outcome: SettingResult


@frozen
class ScanStarted:
    """The descriptor of a scan is in: what follows is decoded as `kind` until the next `expect`."""

    kind: AnswerKind


Answer = InfoAnswer | HealthAnswer | SampleRateAnswer | AccBoardAnswer | ConfAnswer | SettingAnswer
ClientEvent = Answer | ScanStarted | StreamEvent


class Decoder(Protocol):
    """What every decoder of a measurement stream can do."""

    @property
    def noise_bytes(self) -> int: ...

    @property
    def checksum_errors(self) -> int: ...

    def reset(self) -> None: ...

    def receive_data(self, octets: bytes, /) -> list[StreamEvent]: ...


_SINGLES: dict[AnswerKind, Callable[[bytes], Answer]] = {
    AnswerKind.INFO: lambda octets: InfoAnswer(decode_info(octets)),
    AnswerKind.HEALTH: lambda octets: HealthAnswer(decode_health(octets)),
    AnswerKind.SAMPLE_RATE: lambda octets: SampleRateAnswer(decode_sample_rate(octets)),
    AnswerKind.ACC_BOARD: lambda octets: AccBoardAnswer(decode_acc_board(octets)),
    AnswerKind.CONF: ConfAnswer,
    AnswerKind.SET_CONF: lambda octets: SettingAnswer(decode_setting_result(octets)),
}
_DECODERS: dict[AnswerKind, Callable[[], Decoder]] = {
    AnswerKind.STANDARD: StandardDecoder,
    AnswerKind.EXPRESS: ExpressDecoder,
    AnswerKind.HQ: HqDecoder,
    # A negative distance is nonsense and must not pass for a return from afar.
    AnswerKind.ULTRA: lambda: UltraDecoder(drops_negative=True),
}
_TIMED_DECODERS: dict[AnswerKind, Callable[[int], Decoder]] = {
    AnswerKind.DENSE: DenseDecoder,
    AnswerKind.ULTRA_DENSE: UltraDenseDecoder,
}


class RplidarClient:
    """One awaited answer at a time. Only its own descriptor (type, send mode, size) ends the hunt.

    Everything else is noise: boot text, samples of a scan that still runs, a late answer to an older request. A
    descriptor that is not the awaited one loses only its first octet, so that one inside noise hides nothing behind
    it. Held between calls: less than one descriptor and one single answer (263 octets) or the decoder's octets.
    """

    def __init__(self) -> None:
        self._awaited: AnswerKind | None = None
        self._conf: ConfType[Any] | None = None
        self._answer_size: int | None = None
        self._next_decoder: Decoder | None = None
        self._decoder: Decoder | None = None
        self._buffer = bytearray()
        self._tail = bytearray()
        self._noise_bytes = 0
        self._old_noise = 0
        self._old_errors = 0

    @property
    def noise_bytes(self) -> int:
        """Octets that belonged to nothing, since the client was made."""
        return self._noise_bytes + self._old_noise + (self._decoder.noise_bytes if self._decoder else 0)

    @property
    def checksum_errors(self) -> int:
        """Packets dropped for their checksum, since the client was made."""
        return self._old_errors + (self._decoder.checksum_errors if self._decoder else 0)

    @property
    def noise_tail(self) -> bytes:
        """The last 64 octets of noise outside a scan: evidence about a device that does not answer."""
        return bytes(self._tail)

    def expect(
        self, kind: AnswerKind | None, *, conf: ConfType[Any] | None = None, sample_us: int | None = None
    ) -> None:
        """A request was just sent: drop what is half read and hunt for the answer's descriptor (None: for nothing).

        With `conf` the answers to questions about other configuration types are noise; a mode's id is not echoed, so
        an answer about another mode cannot be told apart. `sample_us` is the sample time of the wanted mode: 0x85
        and 0x86 cannot be decoded without it, so for them anything but 1..1000000 raises LocalProtocolError.
        """
        next_decoder = None if kind is None else _make_decoder(kind, sample_us)
        self._waste(len(self._buffer))
        if self._decoder is not None:
            self._old_noise += self._decoder.noise_bytes
            self._old_errors += self._decoder.checksum_errors
            self._decoder = None
        self._awaited = kind
        self._conf = conf
        self._next_decoder = next_decoder
        self._answer_size = None
        self._tail.clear()

    def resynchronise(self) -> None:
        """Octets were thrown away outside: forget every partial packet and keep the running scan."""
        if self._decoder is not None:
            self._decoder.reset()
        else:
            self._waste(len(self._buffer))
            self._answer_size = None

    def receive_data(self, octets: bytes) -> list[ClientEvent]:
        """Every answer and sample completed by `octets`, in order. Never raises."""
        if self._decoder is not None:
            return list(self._decoder.receive_data(octets))
        self._buffer += octets
        while True:
            if self._answer_size is None:
                events = self._hunt()
                if self._answer_size is None:
                    return events
            if len(self._buffer) < self._answer_size:
                return []
            answer = self._take_answer(self._answer_size)
            if answer is not None:
                return [answer]

    def _hunt(self) -> list[ClientEvent]:
        """Advance to the awaited descriptor; starts the decoder if it is a scan's."""
        while True:
            at = self._buffer.find(DESCRIPTOR_START)
            if at < 0:
                is_half = self._buffer.endswith(DESCRIPTOR_START[:1])
                self._waste(len(self._buffer) - int(is_half))
                return []
            self._waste(at)
            if self._awaited is None:
                self._waste(len(DESCRIPTOR_START))
                continue
            if len(self._buffer) < DESCRIPTOR_SIZE:
                return []
            if self._is_awaited(self._awaited):
                return self._begin(self._awaited)
            self._waste(1)

    def _is_awaited(self, awaited: AnswerKind) -> bool:
        found, wanted = decode_descriptor(bytes(self._buffer[:DESCRIPTOR_SIZE])), describe(awaited)
        if found.kind != wanted.kind or found.is_repeated != wanted.is_repeated:
            return False
        if wanted.is_repeated:
            return found.size == wanted.size
        return wanted.size <= found.size <= _SINGLE_ANSWER_MAX

    def _begin(self, awaited: AnswerKind) -> list[ClientEvent]:
        if self._next_decoder is None:
            self._answer_size = DESCRIPTOR_SIZE + decode_descriptor(bytes(self._buffer[:DESCRIPTOR_SIZE])).size
            return []
        self._decoder, self._next_decoder = self._next_decoder, None
        stream, self._buffer = bytes(self._buffer[DESCRIPTOR_SIZE:]), bytearray()
        return [ScanStarted(awaited), *self._decoder.receive_data(stream)]

    def _take_answer(self, size: int) -> Answer | None:
        """The awaited answer, after which nothing is awaited; None if it is one to an older question."""
        assert self._awaited is not None, "an answer's size is known only while its kind is awaited"
        octets = bytes(self._buffer[DESCRIPTOR_SIZE:size])
        assert len(octets) >= PACKET_SIZES[self._awaited]
        self._answer_size = None
        if not self._is_about_awaited(octets):
            self._waste(1)
            return None
        answer = _SINGLES[self._awaited](octets)
        del self._buffer[:size]
        self._awaited = None
        self._waste(len(self._buffer))
        return answer

    def _is_about_awaited(self, octets: bytes) -> bool:
        """False for the answer to a question about another configuration type."""
        if self._conf is None:
            return True
        match self._awaited:
            case AnswerKind.CONF:
                return echoed_code(octets) == self._conf.code
            case AnswerKind.SET_CONF:
                return decode_setting_result(octets).code in (None, self._conf.code)
            case _:
                return True

    def _waste(self, count: int) -> None:
        self._noise_bytes += count
        self._tail += self._buffer[:count]
        del self._tail[:-_TAIL_SIZE]
        del self._buffer[:count]


def _make_decoder(kind: AnswerKind, sample_us: int | None) -> Decoder | None:
    """A decoder for a scan, None for a single answer; raises LocalProtocolError if the sample time is wanting."""
    if kind in _TIMED_DECODERS:
        if sample_us is None:
            raise LocalProtocolError(f"{kind.name} cannot be decoded without the sample time of its mode")
        return _TIMED_DECODERS[kind](sample_us)
    return _DECODERS[kind]() if kind in _DECODERS else None
