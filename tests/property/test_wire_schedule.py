"""Properties of the wire: no motion frame without a valid permit, and a stop as soon as there is none."""

from typing import Any

import pytest
from core_fixtures import (
    BRAKE,
    DOCK,
    FORWARD,
    MS,
    POWER,
    REVERSE,
    SAFETY,
    TRAVEL,
    WireBench,
    cause,
    permit,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from oht50d.core.wire_schedule import Idle, Purpose, Slot
from oht50d.model.bus import BusReply, BusRequest, ExceptionReply, Failure, ReadRegisters, ReadReply, WriteRegister
from oht50d.model.motion import CauseCode, MotionDemand, Permit, StopKind, StopPhase

pytestmark = pytest.mark.no_cover
"""Minutes of virtual time or thousands of cases: under the tracer they take six times as long."""

OUTCOMES = st.sampled_from(["true", "true", "true", "silent", "noise", "abandoned", "exception", "wrong"])
UNITS = st.sets(st.sampled_from([POWER, SAFETY, TRAVEL, DOCK]), max_size=3)
DEMANDS = st.sampled_from([FORWARD, REVERSE])


def is_stop_write(request: BusRequest) -> bool:
    """By hand and not by the gate: zeros to the drives' outputs, or the brake on."""
    if isinstance(request, ReadRegisters):
        return False
    if isinstance(request, WriteRegister):
        return (request.unit, request.address, request.word) == (SAFETY, BRAKE, 0)
    return request.unit == TRAVEL and request.address in (0x01, 0x02, 0x11, 0x12) and set(request.words) == {0}


def is_inside(request: BusRequest, granted: Permit) -> bool:
    """By hand: what a permit allows to be written."""
    if isinstance(request, WriteRegister):
        allowed = {(TRAVEL, 0x00): 2, (TRAVEL, 0x10): 2, (SAFETY, BRAKE): 1}
        allowed |= {(TRAVEL, 0x07): granted.direction.value, (TRAVEL, 0x17): granted.direction.value}
        return allowed.get((request.unit, request.address)) == request.word
    assert not isinstance(request, ReadRegisters)
    enable, setpoint, linear_input = request.words
    duty = max(setpoint / 255, linear_input / 100)
    return request.address in (0x01, 0x11) and enable == 1 and duty <= granted.duty_limit_ratio + 1e-9


class WireMachine(RuleBasedStateMachine):
    """A schedule against slaves that may do anything, decisions of any kind, an outside that trips stops."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = WireBench()
        self.granted: Permit | None = None

    @initialize(travel=st.sampled_from(["travel_motor", "travel_motor_timeout"]), is_settled=st.booleans())
    def begin(self, travel: str, is_settled: bool) -> None:
        self.bench = WireBench(travel)
        if is_settled:
            self.bench.settle(400)

    @property
    def schedule(self) -> Any:
        return self.bench.schedule

    def judge(self, step: Slot | Idle) -> None:
        """What must hold for every slot at the moment when it leaves."""
        now_ns = self.bench.now_ns
        if isinstance(step, Idle):
            assert now_ns < step.until_ns <= now_ns + 1_000 * MS
            return
        request = step.request
        if isinstance(request, ReadRegisters):
            assert request.count <= 40
            return
        if step.purpose is Purpose.STOP:
            assert is_stop_write(request)
        elif step.purpose is Purpose.SET_UP:
            assert request == WriteRegister(TRAVEL, 0x35, 200)
        else:
            assert step.purpose is Purpose.MOTION
            assert self.granted is not None
            assert self.granted.is_valid(now_ns)
            assert is_inside(request, self.granted)
            assert not self.schedule.sequencer.is_active
            assert self.schedule.is_set_up

    def serve(self, outcome: str) -> None:
        was_energised = self.schedule.drive_line.is_energised
        had_stop = self.schedule.sequencer.is_active
        step = self.schedule.next(self.bench.now_ns)
        self.judge(step)
        is_allowed = self.granted is not None and self.granted.is_valid(self.bench.now_ns)
        if self.schedule.is_open and was_energised and not had_stop and not is_allowed:
            assert isinstance(step, Slot)
            assert step.purpose is Purpose.STOP
            assert is_stop_write(step.request)
        if isinstance(step, Idle):
            self.bench.now_ns = min(step.until_ns, self.bench.now_ns + 20 * MS)
            return
        self.bench.finish(step, self.answer(step.request, outcome))

    def answer(self, request: BusRequest, outcome: str) -> BusReply | Failure:
        failures = {"silent": Failure.SILENT, "noise": Failure.NOISE, "abandoned": Failure.ABANDONED}
        if outcome in failures:
            return failures[outcome]
        if outcome == "exception":
            return ExceptionReply(request.unit, 3, 4)
        reply = self.bench.slaves.answer(request)
        if outcome == "wrong" and isinstance(reply, ReadReply):
            return ReadReply(reply.unit, tuple((word + 1) & 0xFFFF for word in reply.words))
        return reply

    @rule(outcomes=st.lists(OUTCOMES, min_size=1, max_size=8))
    def exchanges(self, outcomes: list[str]) -> None:
        for outcome in outcomes:
            self.serve(outcome)

    @rule(
        demand=DEMANDS,
        duty=st.sampled_from([0.0, 0.01, 0.02, 0.04]),
        life_ms=st.integers(1, 150),
        count=st.integers(1, 12),
    )
    def the_guardian_permits(self, demand: MotionDemand, duty: float, life_ms: int, count: int) -> None:
        for _ in range(count):
            now_ns = self.bench.now_ns
            self.granted = permit(
                now_ns, expires_ns=now_ns + life_ms * MS, direction=demand.direction, duty_limit_ratio=duty
            )  # fmt: skip
            self.bench.decide(self.granted, demand)
            self.serve("true")

    @rule(kind=st.none() | st.sampled_from(list(StopKind)))
    def the_guardian_refuses(self, kind: StopKind | None) -> None:
        self.granted = None
        causes = () if kind is None else (cause(CauseCode.ZONE_STOP, self.bench.now_ns),)
        self.bench.decide(stop=kind, causes=causes)
        self.serve("true")

    @rule(milliseconds=st.integers(1, 400))
    def time_passes(self, milliseconds: int) -> None:
        self.bench.now_ns += milliseconds * MS
        self.schedule.observe_closed(self.bench.now_ns)

    @rule(kind=st.sampled_from([StopKind.S0, StopKind.S1]))
    def somebody_stops_it(self, kind: StopKind) -> None:
        self.schedule.trip(kind, (cause(CauseCode.OPERATOR_STOP, self.bench.now_ns),), self.bench.now_ns)
        if self.schedule.is_open:
            step = self.schedule.next(self.bench.now_ns)
            self.judge(step)
            if isinstance(step, Slot):
                self.bench.finish(step, self.answer(step.request, "true"))

    @rule(silent=UNITS)
    def modules_come_and_go(self, silent: set[int]) -> None:
        self.bench.slaves.silent = silent

    @rule(velocity=st.sampled_from([0, 60, 0xFFC4]))
    def it_rolls(self, velocity: int) -> None:
        self.bench.slaves.words[DOCK, 0x33] = velocity

    @rule()
    def the_port_closes(self) -> None:
        self.schedule.close()

    @precondition(lambda self: not self.schedule.is_open)
    @rule()
    def the_port_opens(self) -> None:
        self.granted = None
        self.bench.decide()
        self.bench.open()
        step = self.schedule.next(self.bench.now_ns)
        self.judge(step)
        assert isinstance(step, Slot)
        assert step.purpose is Purpose.STOP
        assert step.stop_frame is not None
        assert is_stop_write(step.request)
        self.bench.finish(step, self.answer(step.request, "true"))

    @precondition(lambda self: self.schedule.is_open)
    @rule()
    def all_is_well_for_some_seconds(self) -> None:
        """Whatever happened: modules that answer and a robot at rest end every stop, drives off and brake on."""
        self.granted = None
        self.bench.decide()
        self.bench.slaves.silent = set()
        self.bench.slaves.words[DOCK, 0x33] = 0
        self.bench.run(7000)
        report = self.schedule.stop_report
        assert report is not None
        assert report.phase is StopPhase.STANDSTILL
        assert all(link.is_identified for link in self.schedule.links.values())
        assert self.schedule.is_set_up
        words = self.bench.slaves.words
        assert [words[TRAVEL, a] for a in (0x01, 0x02, 0x03, 0x11, 0x12, 0x13)] == [0] * 6
        assert words[SAFETY, BRAKE] == 0

    @invariant()
    def a_stop_under_way_is_never_energised(self) -> None:
        if self.schedule.sequencer.is_active:
            assert not self.schedule.drive_line.is_energised

    @invariant()
    def enabled_drives_are_watched(self) -> None:
        """A drive that this process switched on is energised by its own account, or a stop is under way."""
        words = self.bench.slaves.words
        if words[TRAVEL, 0x01] == 1 or words[TRAVEL, 0x11] == 1 or words[SAFETY, BRAKE] == 1:
            assert self.schedule.drive_line.is_energised or self.schedule.sequencer.is_active


WireMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25)
TestWireMachine = WireMachine.TestCase
