"""A stop sequencer with a clock and a world, for the tests of the stop sequences (time is a number)."""

from collections.abc import Iterable

from core_fixtures import BRAKE, CONFIG, MS, SAFETY, START_NS, TRAVEL, cause, shipped_actuators

from oht50d.core.safety_config import StopConfig
from oht50d.core.stop_frames import StopFrame
from oht50d.core.stop_run import MotionFeedback
from oht50d.core.stop_sequence import StopSequencer
from oht50d.model.bus import (
    BusReply,
    BusRequest,
    ExceptionReply,
    ExchangeResult,
    Failure,
    ReadRegisters,
    ReadReply,
    WriteRegister,
    WriteRegisters,
    WriteReply,
)
from oht50d.model.motion import CauseCode, StopKind, StopReport

S0, S1, S2 = StopKind.S0, StopKind.S1, StopKind.S2
ZERO_1, ZERO_2 = WriteRegisters(TRAVEL, 0x02, (0, 0)), WriteRegisters(TRAVEL, 0x12, (0, 0))
OFF_1, OFF_2 = WriteRegisters(TRAVEL, 0x01, (0, 0, 0)), WriteRegisters(TRAVEL, 0x11, (0, 0, 0))
BRAKE_ON = WriteRegister(SAFETY, BRAKE, 0)
# The second drive's are longer, so that their replies cannot be taken for the first one's.
READ_ZERO_1, READ_ZERO_2 = ReadRegisters(TRAVEL, 0x02, 2), ReadRegisters(TRAVEL, 0x12, 7)
READ_OFF_1, READ_OFF_2 = ReadRegisters(TRAVEL, 0x01, 3), ReadRegisters(TRAVEL, 0x11, 6)
READ_BRAKE = ReadRegisters(SAFETY, BRAKE, 1)
DRIVES_FIRST = [OFF_1, OFF_2, BRAKE_ON]
ZERO = [ZERO_1, ZERO_2]


class Sequence:
    """A sequencer, a clock and a world: `silent` units do not answer, `wrong` reads bring other words."""

    def __init__(self, config: StopConfig = CONFIG.stop) -> None:
        self.stops = StopSequencer(config, shipped_actuators(), predicted_ms=250.0)
        self.now_ns = START_NS
        self.silent: set[int] = set()
        self.wrong: set[BusRequest] = set()
        self.refused: set[BusRequest] = set()
        self.velocity_mm_s: float | None = 80.0
        self.are_still: bool | None = True
        self.sent: list[BusRequest] = []

    @property
    def report(self) -> StopReport:
        report = self.stops.report
        assert report is not None
        return report

    def trip(self, kind: StopKind, *found: CauseCode) -> None:
        causes = tuple(cause(code, self.now_ns) for code in found or (CauseCode.OPERATOR_STOP,))
        self.stops.trip(kind, causes, self.now_ns)

    def observe(self, *, requested_ns: int | None = None) -> None:
        asked_ns = self.now_ns - MS if requested_ns is None else requested_ns
        self.stops.observe(MotionFeedback(self.velocity_mm_s, asked_ns, self.are_still), self.now_ns)

    def answer(self, request: BusRequest) -> BusReply | None:
        if request.unit in self.silent:
            return None
        if request in self.refused:
            return ExceptionReply(request.unit, 16, 4)
        if isinstance(request, ReadRegisters):
            return ReadReply(request.unit, ((1,) if request in self.wrong else (0,)) * request.count)
        return WriteReply(request.unit, request.address, 1, 0)

    def exchange(self) -> BusRequest | None:
        """One frame with its outcome, or 5 ms without one."""
        frame = self.stops.next_frame(self.now_ns)
        if frame is None:
            self.now_ns += 5 * MS
            return None
        self.finish(frame, self.answer(frame.request))
        self.sent.append(frame.request)
        return frame.request

    def finish(self, frame: StopFrame, reply: BusReply | None, taking_ns: int | None = None) -> None:
        sent_ns = self.now_ns
        self.now_ns += taking_ns or (25 * MS if reply is None else 5 * MS)
        failure = Failure.SILENT if reply is None else None
        self.stops.complete(frame, ExchangeResult(frame.request, reply, failure, sent_ns, self.now_ns))

    def run(self, milliseconds: int) -> list[BusRequest]:
        """Serve and observe; what was sent."""
        first, ends_ns = len(self.sent), self.now_ns + milliseconds * MS
        while self.now_ns < ends_ns:
            self.exchange()
            self.observe()
        return self.sent[first:]

    def come_to_rest(self) -> None:
        self.velocity_mm_s = 0.0


def tripped(kind: StopKind, *found: CauseCode) -> Sequence:
    sequence = Sequence()
    sequence.trip(kind, *found)
    return sequence


def writes(requests: Iterable[BusRequest]) -> list[BusRequest]:
    return [request for request in requests if not isinstance(request, ReadRegisters)]
