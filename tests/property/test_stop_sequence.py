"""Properties of the stop sequences: whatever comes back, a stop goes on until every actuator was truly read back."""

from core_fixtures import CONFIG, MS, SAFETY, START_NS, TRAVEL, Slaves, cause, shipped_actuators, shipped_maps
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from oht50d.core.stop_frames import StopFrame
from oht50d.core.stop_run import MotionFeedback
from oht50d.core.stop_sequence import StopSequencer
from oht50d.model.bus import (
    BusReply,
    ExceptionReply,
    ExchangeResult,
    Failure,
    ReadRegisters,
    ReadReply,
    WriteRegister,
    WriteRegisters,
)
from oht50d.model.motion import CauseCode, StopKind, StopPhase

KINDS = st.sampled_from(list(StopKind))
OUTCOMES = st.sampled_from(["true", "silent", "noise", "abandoned", "exception", "wrong", "unheard"])
LONGEST_QUIET_NS = 16 * CONFIG.stop.repeat_interval.ns + CONFIG.stop.hold.ns


def reply_to(slaves: Slaves, frame: StopFrame, outcome: str) -> BusReply | Failure:
    """What comes back; `unheard` echoes a write that the device did not carry out."""
    request = frame.request
    failures = {"silent": Failure.SILENT, "noise": Failure.NOISE, "abandoned": Failure.ABANDONED}
    if outcome in failures:
        return failures[outcome]
    if outcome == "exception":
        return ExceptionReply(request.unit, 3, 4)
    slaves.deaf_writes = {SAFETY, TRAVEL} if outcome in ("unheard", "wrong") else set()
    reply = slaves.answer(request)
    if outcome == "wrong" and isinstance(reply, ReadReply):
        return ReadReply(reply.unit, tuple(word + 1 for word in reply.words))
    return reply


class StopMachine(RuleBasedStateMachine):
    """Trips, exchanges with any outcome, and time; the registers in memory are the truth."""

    def __init__(self) -> None:
        super().__init__()
        self.stops = StopSequencer(CONFIG.stop, shipped_actuators())
        self.slaves = Slaves(shipped_maps())
        self.now_ns = START_NS
        self.velocity: float | None = 80.0
        self.asked_ns = START_NS
        self.energise()
        self.hardest: StopKind | None = None
        self.detected_ns = 0

    def energise(self) -> None:
        words = self.slaves.words
        words[TRAVEL, 0x01] = words[TRAVEL, 0x11] = words[SAFETY, 0x31] = 1
        words[TRAVEL, 0x03] = words[TRAVEL, 0x13] = 4

    def is_safe(self) -> bool:
        outputs = [(TRAVEL, a) for a in (0x01, 0x02, 0x03, 0x11, 0x12, 0x13)] + [(SAFETY, 0x31)]
        return all(self.slaves.words[place] == 0 for place in outputs)

    def look(self) -> None:
        self.stops.observe(MotionFeedback(self.velocity, self.asked_ns, True), self.now_ns)

    @rule(kind=KINDS, code=st.sampled_from([CauseCode.OPERATOR_STOP, CauseCode.ZONE_STOP, CauseCode.CHAIN_OPEN]))
    def trip(self, kind: StopKind, code: CauseCode) -> None:
        if not self.stops.is_active:
            self.energise()
            self.hardest, self.detected_ns = None, self.now_ns
        self.stops.trip(kind, (cause(code, self.now_ns),), self.now_ns)
        self.hardest = kind if self.hardest is None else max(kind, self.hardest)

    @rule()
    def the_port_is_opened(self) -> None:
        if not self.stops.is_active:
            self.energise()
            self.detected_ns = self.now_ns
        self.stops.secure_opening((cause(CauseCode.BUS_LOST, self.now_ns),), self.now_ns)
        self.hardest = StopKind.S0

    @rule(outcomes=st.lists(OUTCOMES, min_size=1, max_size=6))
    def exchange(self, outcomes: list[str]) -> None:
        for outcome in outcomes:
            frame = self.stops.next_frame(self.now_ns)
            if frame is None:
                return
            sent_ns = self.now_ns
            answer = reply_to(self.slaves, frame, outcome)
            self.now_ns += 25 * MS if answer is Failure.SILENT else 5 * MS
            reply, failure = (None, answer) if isinstance(answer, Failure) else (answer, None)
            self.stops.complete(frame, ExchangeResult(frame.request, reply, failure, sent_ns, self.now_ns))
            self.look()

    @rule(milliseconds=st.integers(1, 400))
    def time_passes(self, milliseconds: int) -> None:
        self.now_ns += milliseconds * MS
        self.look()

    @rule(velocity=st.sampled_from([0.0, 5.0, 80.0, -80.0, None]))
    def a_measurement(self, velocity: float | None) -> None:
        self.velocity, self.asked_ns = velocity, self.now_ns
        self.now_ns += 5 * MS
        self.look()

    @precondition(lambda self: self.stops.is_active)
    @rule()
    def good_results_end_it(self) -> None:
        """However bad it was before: with true answers and a robot at rest the stop is over, and truly."""
        ends_ns = self.now_ns + LONGEST_QUIET_NS + 1000 * MS
        while self.stops.is_active:
            assert self.now_ns < ends_ns, "a stop that can be read back must end"
            self.velocity, self.asked_ns = 0.0, self.now_ns
            frame = self.stops.next_frame(self.now_ns)
            sent_ns, self.now_ns = self.now_ns, self.now_ns + 5 * MS
            if frame is not None:
                answer = reply_to(self.slaves, frame, "true")
                assert not isinstance(answer, Failure)
                self.stops.complete(frame, ExchangeResult(frame.request, answer, None, sent_ns, self.now_ns))
            self.look()
        assert self.is_safe()

    @invariant()
    def it_ends_only_when_everything_is_off_and_still(self) -> None:
        report = self.stops.report
        if report is not None and not self.stops.is_active:
            assert self.is_safe()
            assert report.phase is StopPhase.STANDSTILL
            assert report.standstill_ns is not None
            assert report.unconfirmed_units == ()

    @invariant()
    def it_never_becomes_milder_and_keeps_its_detection(self) -> None:
        report = self.stops.report
        if report is not None and self.hardest is not None:
            assert report.kind >= self.hardest
            assert report.detected_ns == self.detected_ns

    @invariant()
    def an_active_stop_always_has_something_to_do(self) -> None:
        if not self.stops.is_active:
            assert self.stops.next_frame(self.now_ns) is None
            return
        if self.stops.next_frame(self.now_ns) is None:
            wakeup_ns = self.stops.wakeup_ns(self.now_ns)
            report = self.stops.report
            assert report is not None
            assert wakeup_ns is not None or report.standstill_ns is None
            assert wakeup_ns is None or wakeup_ns - self.now_ns <= LONGEST_QUIET_NS

    @invariant()
    def every_frame_is_a_read_or_sends_zeros(self) -> None:
        for frame in self.stops.frames(self.now_ns):
            request = frame.request
            if isinstance(request, WriteRegisters):
                assert set(request.words) == {0}
            elif isinstance(request, WriteRegister):
                assert (request.unit, request.address, request.word) == (SAFETY, 0x31, 0)
            else:
                assert isinstance(request, ReadRegisters)
                assert frame.is_read_back

    @invariant()
    def an_unconfirmed_stop_says_so(self) -> None:
        report = self.stops.report
        if report is None or not self.stops.is_active or report.output_zero_ns is not None:
            return
        if self.now_ns - report.detected_ns > CONFIG.stop.not_confirmed_after.ns:
            self.look()
            report = self.stops.report
            assert report is not None
            assert report.phase is StopPhase.NOT_CONFIRMED


StopMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25)
TestStopMachine = StopMachine.TestCase


@settings(max_examples=60)
@given(kind=KINDS, outcomes=st.lists(OUTCOMES, max_size=40))
def test_one_attempt_per_step_before_the_first_repeat(kind: StopKind, outcomes: list[str]) -> None:
    stops, slaves, now_ns = StopSequencer(CONFIG.stop, shipped_actuators()), Slaves(shipped_maps()), START_NS
    stops.trip(kind, (cause(CauseCode.OPERATOR_STOP),), now_ns)
    written: list[object] = []
    for outcome in (*outcomes, *["silent"] * 8):
        frame = stops.next_frame(now_ns)
        if frame is None:
            break
        if not frame.is_read_back:
            written.append(frame.request)
        answer = reply_to(slaves, frame, outcome)
        now_ns += 5 * MS
        reply, failure = (None, answer) if isinstance(answer, Failure) else (answer, None)
        stops.complete(frame, ExchangeResult(frame.request, reply, failure, now_ns - 5 * MS, now_ns))
    first_step = 3 if kind is StopKind.S0 else 2
    assert len(set(map(str, written[:first_step]))) == min(first_step, len(written)) == first_step
