"""Properties of the safety kernel: no permit without evidence, no unlatching but by reset, obstacles never help."""

from typing import Any

from attrs import evolve
from core_fixtures import (
    CONFIG,
    FORWARD,
    MS,
    REVERSE,
    SECTORS,
    KernelBench,
    cause,
    drive,
    field,
    good_inputs,
    moving,
    reading,
    sector,
    stop_report,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from oht50d.core.failsafes import FAILSAFES, Latching
from oht50d.core.inputs import ModuleInput, SafetyInputs
from oht50d.model.errors import CommandRejected
from oht50d.model.lidar import LidarLinkState
from oht50d.model.motion import CauseCode, Decision, MachineState, MotionDemand, StopKind, StopPhase
from oht50d.model.registers import ModuleKind

CODES = st.sampled_from(sorted((c for c in CauseCode if FAILSAFES[c].is_latching), key=lambda c: c.value))
DEMANDS = st.sampled_from([FORWARD, REVERSE])


# -- absence of evidence

NEEDED = ("chain", "safety_status", "safety_error", "auto_reset", "velocity", "stop")
DRIVE_FIELDS = ("enable", "direction", "actual_speed", "error")
LIDAR_FIELDS = ("last_byte_ns", "last_turn_ns", "turn_period_ns")


def without(inputs: SafetyInputs, missing: tuple[str, ...]) -> SafetyInputs:
    """The inputs with some of them unknown."""
    for place in missing:
        kind, _, name = place.partition(".")
        change: Any
        if kind == "lidar":
            change = {"lidar": evolve(inputs.lidar, **field(name))}
        elif kind == "drive":
            change = {"drives": (inputs.drives[0], evolve(inputs.drives[1], **field(name)))}
        elif kind == "wire":
            change = {"wire": evolve(inputs.wire, opened_ns=None)}
        elif kind == "module":
            change = {"modules": {k: m for k, m in inputs.modules.items() if k.value != name}}
        elif kind == "age":
            never = ModuleInput(True, True, None, "")
            change = {"modules": {k: never if k.value == name else m for k, m in inputs.modules.items()}}
        else:
            change = field(place)
        inputs = evolve(inputs, **change)
    return inputs


UNKNOWNS = st.sampled_from(
    [
        *NEEDED, *(f"drive.{name}" for name in DRIVE_FIELDS), *(f"lidar.{name}" for name in LIDAR_FIELDS),
        "wire.opened_ns", *(f"module.{kind.value}" for kind in ModuleKind),
        *(f"age.{kind.value}" for kind in ModuleKind),
    ]
)  # fmt: skip


@settings(max_examples=80)
@given(missing=st.lists(UNKNOWNS, min_size=1, max_size=4, unique=True), was_moving=st.booleans())
def test_missing_inputs_never_yield_a_permit(missing: list[str], was_moving: bool) -> None:
    bench = moving() if was_moving else KernelBench().arm()
    if not was_moving:
        assert bench.kernel.lease.press("ann", FORWARD, bench.now_ns)
    bench.renew()
    bench.now_ns += 10 * MS
    bench._see()
    decision = bench.kernel.step(without(bench.inputs(), tuple(missing)), bench.now_ns)
    assert decision.permit is None
    assert decision.demand is None
    assert decision.inhibits
    assert decision.stop is not None if was_moving else decision.stop is None


# -- obstacles

PAIR = st.tuples(st.integers(0, SECTORS - 1), st.integers(60, 2600), st.integers(60, 2600))
"""A sector and two points in it, as far away as this: two make a hit."""


def seen(bench: KernelBench, points: list[tuple[int, int, int]], extra: dict[int, list[float]]) -> Decision:
    """One step in which these sectors hold these points; `extra` adds points to sectors."""
    at_ns = bench.now_ns + 10 * MS
    found: dict[int, list[float]] = {}
    for index, one_mm, other_mm in points:
        found.setdefault(index, []).extend((float(one_mm), float(other_mm)))
    for index, distances_mm in extra.items():
        found.setdefault(index, []).extend(distances_mm)
    bench.sectors = {index: sector(index, at_ns, *distances_mm) for index, distances_mm in found.items()}
    bench.renew()
    return bench.step()


@settings(max_examples=60)
@given(
    points=st.lists(PAIR, max_size=4),
    added=st.lists(PAIR, min_size=1, max_size=5),
    is_moving=st.booleans(),
    demand=DEMANDS,
)
def test_more_obstacles_never_raise_the_limit_or_grant_what_was_refused(
    points: list[tuple[int, int, int]], added: list[tuple[int, int, int]], is_moving: bool, demand: MotionDemand
) -> None:
    extra: dict[int, list[float]] = {}
    for index, one_mm, other_mm in added:
        extra.setdefault(index, []).extend((float(one_mm), float(other_mm)))
    decisions = []
    for more in ({}, extra):
        bench = KernelBench().arm()
        if is_moving:
            bench.drive_on(demand=demand)
        else:
            assert bench.kernel.lease.press("ann", demand, bench.now_ns)
        decisions.append(seen(bench, points, more))
    few, many = (decision.permit for decision in decisions)
    if many is not None:
        assert few is not None
        assert many.speed_limit_mm_s <= few.speed_limit_mm_s
        assert many.duty_limit_ratio <= few.duty_limit_ratio


# -- the latch, over any history


class KernelMachine(RuleBasedStateMachine):
    """Anything may happen in any order; a model of the latch runs beside the kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = KernelBench()
        self.decision = self.bench.step()
        self.held: set[CauseCode] = {CauseCode.BOOT}
        self.oddities: dict[str, Any] = {}

    @initialize(is_armed=st.booleans())
    def begin(self, is_armed: bool) -> None:
        if is_armed:
            self.reset(is_at_vehicle=True)
            self.arm()

    def step(self, after_ms: int = 10, **changes: Any) -> None:
        self.decision = self.bench.step(after_ms, **self.oddities, **changes)
        self.held |= {found.code for found in self.bench.kernel.latch.causes}

    @rule(count=st.integers(1, 5), is_renewing=st.booleans())
    def time_passes(self, count: int, is_renewing: bool) -> None:
        for _ in range(count):
            if is_renewing:
                self.bench.renew()
            self.step()

    @rule(milliseconds=st.integers(51, 400))
    def the_process_stalls(self, milliseconds: int) -> None:
        self.step(milliseconds)

    @rule(name=st.sampled_from(["chain", "safety_status", "safety_error", "auto_reset"]), raw=st.integers(0, 3))
    def a_bit_changes(self, name: str, raw: int) -> None:
        self.oddities[name] = lambda now_ns: reading(raw, now_ns)
        self.step()

    @rule(velocity=st.integers(-150, 150), is_usable=st.booleans())
    def a_velocity(self, velocity: int, is_usable: bool) -> None:
        self.step(velocity=lambda now_ns: reading(velocity, now_ns, is_usable=is_usable))

    @rule(kind=st.sampled_from(list(ModuleKind)), silence_ms=st.integers(0, 12_000))
    def a_module_is_silent(self, kind: ModuleKind, silence_ms: int) -> None:
        now_ns = self.bench.now_ns + 10 * MS
        quiet = ModuleInput(True, True, now_ns - silence_ms * MS, "")
        self.step(modules={**good_inputs(now_ns).modules, kind: quiet})

    @rule(state=st.sampled_from(list(LidarLinkState)))
    def the_lidar(self, state: LidarLinkState) -> None:
        self.step(lidar=lambda now_ns: evolve(good_inputs(now_ns).lidar, state=state))

    @rule(speed=st.integers(0, 255), error=st.integers(0, 1))
    def drives_report(self, speed: int, error: int) -> None:
        self.step(drives=lambda now_ns: (drive(1, now_ns, speed=speed), drive(2, now_ns, error=error)))

    @rule(index=st.integers(0, SECTORS - 1), mm=st.integers(100, 3000))
    def something_stands_there(self, index: int, mm: int) -> None:
        self.bench.sectors = {index: sector(index, self.bench.now_ns + 10 * MS, mm, mm + 5)}
        self.step()
        self.bench.sectors = {}

    @rule(
        kind=st.sampled_from(list(StopKind)),
        phase=st.sampled_from(list(StopPhase)),
        code=CODES,
        is_judged=st.booleans(),
    )
    def a_stop_is_under_way(self, kind: StopKind, phase: StopPhase, code: CauseCode, is_judged: bool) -> None:
        report = stop_report(kind=kind, phase=phase, causes=(cause(code, self.bench.now_ns),), standstill_ns=None)
        self.step(stop=report, is_stop_active=True, is_stop_judged=is_judged)

    @rule(is_energised=st.booleans(), direction=st.integers(0, 2))
    def the_wire_says(self, is_energised: bool, direction: int) -> None:
        self.oddities |= {"is_energised": is_energised, "commanded_direction": direction}
        self.step()

    @rule()
    def everything_is_well_again(self) -> None:
        self.oddities = {}
        self.bench.pass_time(150)
        self.step()

    @rule(code=CODES)
    def somebody_trips(self, code: CauseCode) -> None:
        self.bench.kernel.trip(cause(code, self.bench.now_ns))
        self.held.add(code)
        self.step()

    @rule(demand=DEMANDS, holder=st.sampled_from(["ann", "bob"]))
    def press(self, demand: MotionDemand, holder: str) -> None:
        self.bench.kernel.lease.release(holder)
        self.bench.kernel.lease.press(holder, demand, self.bench.now_ns)
        self.step()

    @rule(holder=st.sampled_from(["ann", "bob"]))
    def release(self, holder: str) -> None:
        self.bench.kernel.lease.release(holder)
        self.step()

    @rule()
    def arm(self) -> None:
        if self.bench.kernel.state is MachineState.IDLE:
            self.bench.kernel.authority.take("ann", self.bench.now_ns, is_at_rest=True)

    @rule(is_at_vehicle=st.booleans())
    def reset(self, is_at_vehicle: bool) -> None:
        kernel = self.bench.kernel
        was_person_related = kernel.latch.is_person_related
        try:
            kernel.check_reset(self.bench.inputs(**self.oddities), is_at_vehicle=is_at_vehicle)
            kernel.apply_reset(self.bench.inputs(**self.oddities), is_at_vehicle=is_at_vehicle)
        except CommandRejected:
            return
        assert is_at_vehicle or not was_person_related
        assert kernel.authority.holder is None
        assert kernel.state is not MachineState.MOVE
        self.held = set()
        self.step()

    @invariant()
    def only_a_reset_opens_the_latch(self) -> None:
        kernel = self.bench.kernel
        assert {found.code for found in kernel.latch.causes} == self.held

    @invariant()
    def latched_means_no_permit(self) -> None:
        if self.bench.kernel.latch.is_tripped:
            assert self.decision.permit is None
            assert self.bench.kernel.state in (MachineState.SAFE, MachineState.ESTOP)
        if self.bench.kernel.latch.is_person_related:
            assert self.bench.kernel.state is MachineState.ESTOP

    @invariant()
    def a_permit_is_short_capped_and_alone(self) -> None:
        decision = self.decision
        if decision.permit is None:
            assert decision.demand is None
            return
        assert (decision.stop, decision.stop_causes, decision.inhibits) == (None, (), ())
        assert 0 < decision.permit.expires_ns - decision.permit.granted_ns <= 150 * MS
        assert decision.permit.speed_limit_mm_s <= CONFIG.uncommissioned_speed_mm_s
        assert decision.permit.duty_limit_ratio <= CONFIG.jog.duty_ratio
        assert decision.demand is not None
        assert decision.demand.direction is decision.permit.direction
        assert self.bench.kernel.authority.holder == self.bench.kernel.lease.holder

    @invariant()
    def an_energised_robot_has_a_permit_or_a_stop(self) -> None:
        if self.oddities.get("is_energised"):
            assert self.decision.permit is not None or self.decision.stop is not None

    @invariant()
    def what_always_latches_is_held_while_it_is_present(self) -> None:
        present = {found.code for found in self.decision.inhibits}
        assert {code for code in present if FAILSAFES[code].latching is Latching.ALWAYS} <= self.held


KernelMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25)
TestKernelMachine = KernelMachine.TestCase
