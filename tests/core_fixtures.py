"""For the tests of the safety core: good inputs, a kernel that may move, and a wire with slaves in memory.

Time is a number that the tests move; nothing here touches a clock, a port or Trio.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve

from oht50d.codec.registers import load_module_map
from oht50d.core.actuators import Actuators, find_actuators
from oht50d.core.inputs import DriveFeedback, ModuleInput, SafetyInputs
from oht50d.core.module_registry import ModuleRegistry
from oht50d.core.role_table import RoleReading
from oht50d.core.safety_config import BrakeWiring, SafetyConfig
from oht50d.core.safety_kernel import SafetyKernel
from oht50d.core.wire_schedule import Idle, Purpose, Slot, WireSchedule, WireTimes
from oht50d.model.bus import (
    BusReply,
    BusRequest,
    ExceptionReply,
    ExchangeResult,
    Failure,
    ReadRegisters,
    ReadReply,
    WriteRegister,
    WriteReply,
)
from oht50d.model.lidar import LidarLinkState, LidarPoint, LidarStatus, SectorReport
from oht50d.model.modules import ModuleTrust, StoredModules, Trust
from oht50d.model.motion import (
    Cause,
    CauseCode,
    Decision,
    Direction,
    MachineState,
    MotionDemand,
    Permit,
    StopKind,
    StopPhase,
    StopReport,
)
from oht50d.model.registers import BlockReadings, DataType, ModuleKind, ModuleMap
from oht50d.model.snapshot import WireStatus

MODULES = Path(__file__).parents[1] / "config" / "modules"
MS = 1_000_000
S = 1_000_000_000
START_NS = 1000 * S
"""Where the tests' clock begins; zero would hide mistakes with zeros."""

POWER, SAFETY, TRAVEL, DOCK = 2, 3, 4, 5
BRAKE = 0x31
TIMES = WireTimes(safety_ns=25 * MS, other_ns=50 * MS, probe_ns=25 * MS)
CONFIG = SafetyConfig(brake_wiring=BrakeWiring.ENERGISE_TO_RELEASE)
FORWARD = MotionDemand(Direction.FORWARD, 0.04)
REVERSE = MotionDemand(Direction.REVERSE, 0.04)
SECTORS = CONFIG.zones.sector_count
TURN_NS = 100 * MS
KNOWN = ModuleTrust(Trust.ACCEPTED)


def field(name: str, setting: Any = None) -> dict[str, Any]:
    """One keyword whose name a table holds, for `evolve` and constructors."""
    return {name: setting}


def load_map(name: str) -> ModuleMap:
    return load_module_map((MODULES / f"{name}.toml").read_text(), file=name)


SHIPPED = {name: load_map(name) for name in ("power", "safety", "travel_motor", "travel_motor_timeout", "dock")}


def shipped_maps(travel: str = "travel_motor") -> tuple[ModuleMap, ...]:
    return tuple(SHIPPED[name] for name in ("power", "safety", travel, "dock"))


def shipped_actuators(travel: str = "travel_motor", *, released_word: int | None = 1) -> Actuators:
    return find_actuators(shipped_maps(travel), released_word=released_word)


def fresh_registry(maps: tuple[ModuleMap, ...], stored: StoredModules | None = None) -> ModuleRegistry:
    """A registry that has seen nobody yet."""
    return ModuleRegistry([(f"{module.kind.value}.toml", module) for module in maps], stored or StoredModules())


def permit(now_ns: int = START_NS, **changes: Any) -> Permit:
    good = Permit(1, now_ns, now_ns + 150 * MS, Direction.FORWARD, 100.0, 0.04)
    return evolve(good, **changes)


def cause(code: CauseCode, since_ns: int = START_NS) -> Cause:
    return Cause(code, since_ns)


def reading(value: float, now_ns: int, *, raw: int | None = None, is_usable: bool = True) -> RoleReading:
    """Asked for 8 ms and received 3 ms before `now_ns`."""
    return RoleReading(value, int(value) if raw is None else raw, now_ns - 8 * MS, now_ns - 3 * MS, is_usable)


def stop_report(now_ns: int = START_NS, **changes: Any) -> StopReport:
    """A finished S0, the one of the opening."""
    good = StopReport(
        1, StopKind.S0, (cause(CauseCode.BOOT),), StopPhase.STANDSTILL, now_ns, now_ns, now_ns, now_ns, 100.0
    )  # fmt: skip
    return evolve(good, **changes)


def drive(
    number: int, now_ns: int, *, enable: int = 0, direction: int = 0, speed: int = 0, error: int = 0
) -> DriveFeedback:
    def of(word: int) -> RoleReading:
        return reading(word, now_ns)

    return DriveFeedback(number, of(enable), of(direction), of(speed), of(error))


def good_inputs(now_ns: int, **changes: Any) -> SafetyInputs:
    """Everything fresh, closed, at rest and simulated; `changes` replace fields."""
    good = SafetyInputs(
        wire=WireStatus(True, "tty", "", "", True, START_NS - 10 * S, 100, 0, 1, now_ns),
        modules={kind: ModuleInput(True, True, now_ns - 3 * MS, "", trust=KNOWN) for kind in ModuleKind},
        chain=reading(0, now_ns),
        safety_status=reading(0, now_ns),
        safety_error=reading(0, now_ns),
        auto_reset=reading(0, now_ns),
        reset_button=reading(0, now_ns),
        velocity=reading(0, now_ns),
        drives=(drive(1, now_ns), drive(2, now_ns)),
        lidar=LidarStatus(
            LidarLinkState.SCANNING, last_byte_ns=now_ns - MS, last_turn_ns=now_ns - 10 * MS, turn_period_ns=TURN_NS,
            is_simulated=True,
        ),
        stop=stop_report(),
        is_stop_active=False,
        is_stop_judged=False,
        is_energised=False,
        is_set_up=True,
        has_drive_timeout=True,
        commanded_direction=0,
        is_everything_simulated=True,
        is_anything_simulated=True,
    )  # fmt: skip
    return evolve(good, **changes)


def sector(index: int, now_ns: int, *points_mm: float, hits: int = 20) -> SectorReport:
    """One sector: points at these distances and the rest of its hits at 4 m."""
    points = tuple(LidarPoint(index * 10.0 + number, mm) for number, mm in enumerate(sorted(points_mm)))
    nearest = min(points_mm, default=4000.0 if hits else None)
    return SectorReport(index, now_ns - 3 * MS, now_ns - MS, max(hits, 1), hits, 0, nearest, points)


class KernelBench:
    """A kernel with its inputs and a clock: each `step` is 10 ms and sees a fresh, clear turn."""

    def __init__(self, config: SafetyConfig = CONFIG, **changes: Any) -> None:
        self.now_ns = START_NS
        self.config = config
        self.kernel = SafetyKernel(config, "boot-1", self.now_ns)
        self.changes: dict[str, Any] = changes
        self.sectors: dict[int, SectorReport | None] = {}
        self.pass_time(150)

    def pass_time(self, milliseconds: int) -> Decision:
        """Steps of 10 ms; the last decision."""
        decision = self.step()
        for _ in range(milliseconds // 10 - 1):
            decision = self.step()
        return decision

    def grow_old(self, milliseconds: int) -> "KernelBench":
        """Long steps without a gap: a silence counts at most from the start of the kernel."""
        for _ in range(milliseconds // 50):
            self.step(50)
        return self

    def step(self, after_ms: int = 10, **changes: Any) -> Decision:
        """One step `after_ms` later; `changes` hold for this step, values may be functions of the time."""
        self.now_ns += after_ms * MS
        self._see()
        return self.kernel.step(self.inputs(**changes), self.now_ns)

    def inputs(self, **changes: Any) -> SafetyInputs:
        merged = {**self.changes, **changes}
        return good_inputs(self.now_ns, **{name: self._at_now(value) for name, value in merged.items()})

    def _at_now(self, value: Any) -> Any:
        return value(self.now_ns) if callable(value) else value

    def _see(self) -> None:
        for index in range(SECTORS):
            report = self.sectors.get(index, sector(index, self.now_ns))
            if report is not None:
                self.kernel.zones.update(report)

    def reset(self, *, is_at_vehicle: bool = True) -> None:
        self.kernel.check_reset(self.inputs(), is_at_vehicle=is_at_vehicle)
        self.kernel.apply_reset(self.inputs(), is_at_vehicle=is_at_vehicle)

    def arm(self) -> "KernelBench":
        """Reset and authority for `ann`."""
        self.reset()
        self.kernel.authority.take("ann", self.now_ns, is_at_rest=True)
        self.step()
        return self

    def press(self, demand: MotionDemand = FORWARD, holder: str = "ann") -> Decision:
        """The button goes down and its first nonce is echoed at once."""
        lease = self.kernel.lease
        assert lease.press(holder, demand, self.now_ns)
        assert lease.nonce is not None
        assert lease.renew(holder, lease.nonce, self.now_ns)
        return self.step()

    def drive_on(self, milliseconds: int = 50, demand: MotionDemand = FORWARD) -> Decision:
        """Press, then the wire has energised the drives and the carriage moves."""
        decision = self.press(demand)
        code = demand.direction.value
        sign = 1 if demand.direction is Direction.FORWARD else -1
        self.changes |= {
            "is_energised": True,
            "commanded_direction": code,
            "velocity": lambda now_ns: reading(60.0 * sign, now_ns),
            "drives": lambda now_ns: tuple(drive(n, now_ns, enable=1, direction=code, speed=8) for n in (1, 2)),
        }
        for _ in range(milliseconds // 10):
            self.renew()
            decision = self.step()
        return decision

    def state(self) -> MachineState:
        """A call, because a type checker takes a property for constant between two looks."""
        return self.kernel.state

    def renew(self) -> None:
        nonce = self.kernel.lease.nonce
        if nonce is not None:
            self.kernel.lease.renew("ann", nonce, self.now_ns)


def moving(*, age_ms: int = 0) -> KernelBench:
    """A kernel that has granted permits for 50 ms of jogging forward."""
    bench = KernelBench().arm().grow_old(age_ms)
    assert bench.drive_on().permit is not None
    return bench


def codes(causes: tuple[Cause, ...]) -> set[str]:
    return {found.code.value for found in causes}


Answer = Callable[[BusRequest], "BusReply | Failure"]


class Slaves:
    """Registers in memory that answer every legal request; units in `silent` do not, `noisy` ones answer rubbish."""

    def __init__(self, maps: tuple[ModuleMap, ...]) -> None:
        self.words: dict[tuple[int, int], int] = {}
        self.silent: set[int] = set()
        self.noisy: set[int] = set()
        self.refusing: set[int] = set()
        self.deaf_writes: set[int] = set()
        self.dirt = 0
        """What every 8-bit register leaves in its high byte."""
        self._bytes = {(m.address, s.address) for m in maps for s in m.registers if s.data_type is DataType.UINT8}
        for module in maps:
            for spec in module.registers:
                self.words[module.address, spec.address] = spec.default or 0
                if spec.role == "identity.type":
                    self.words[module.address, spec.address] = module.type_code

    def answer(self, request: BusRequest) -> BusReply | Failure:
        if request.unit in self.silent:
            return Failure.SILENT
        if request.unit in self.noisy:
            return Failure.NOISE
        if request.unit in self.refusing:
            return ExceptionReply(request.unit, 3, 2)
        if isinstance(request, ReadRegisters):
            span = range(request.address, request.address + request.count)
            return ReadReply(request.unit, tuple(self._word(request.unit, address) for address in span))
        words = (request.word,) if isinstance(request, WriteRegister) else request.words
        if request.unit not in self.deaf_writes:
            self.words |= {(request.unit, request.address + i): word for i, word in enumerate(words)}
        word = request.word if isinstance(request, WriteRegister) else None
        return WriteReply(request.unit, request.address, len(words), word)

    def _word(self, unit: int, address: int) -> int:
        dirt = self.dirt if (unit, address) in self._bytes else 0
        return self.words.get((unit, address), 0) | dirt


class WireBench:
    """A schedule with slaves; an answered exchange takes 5 ms, a silent one its time-out."""

    def __init__(
        self,
        travel: str = "travel_motor",
        config: SafetyConfig = CONFIG,
        *,
        released_word: int | None = 1,
        maps: tuple[ModuleMap, ...] | None = None,
    ) -> None:
        self.maps = maps or shipped_maps(travel)
        self.actuators = find_actuators(self.maps, released_word=released_word)
        self.schedule = WireSchedule(self.maps, self.actuators, config, TIMES, predicted_ms=321.0)
        self.slaves = Slaves(self.maps)
        self.now_ns = START_NS
        self.sequence = 0
        self.sent: list[tuple[int, Slot]] = []
        self.published: list[BlockReadings] = []

    def open(self) -> "WireBench":
        self.schedule.open(self.now_ns, cause(CauseCode.BOOT, self.now_ns))
        return self

    def settle(self, milliseconds: int = 600) -> "WireBench":
        """Open and serve until everything is identified and the opening's stop is verified."""
        self.open().run(milliseconds)
        return self

    def one(self) -> Slot | Idle:
        """The next slot and its outcome, or the idle time passed."""
        step = self.schedule.next(self.now_ns)
        if isinstance(step, Idle):
            assert step.until_ns > self.now_ns, "an idle wire must not spin"
            self.now_ns = step.until_ns
            return step
        self.sent.append((self.now_ns, step))
        self.finish(step, self.slaves.answer(step.request))
        return step

    def finish(self, slot: Slot, answer: BusReply | Failure, *, taking_ns: int | None = None) -> None:
        sent_ns = self.now_ns
        is_silent = answer is Failure.SILENT
        self.now_ns += taking_ns if taking_ns is not None else slot.timeout_ns if is_silent else 5 * MS
        reply, failure = (None, answer) if isinstance(answer, Failure) else (answer, None)
        result = ExchangeResult(slot.request, reply, failure, sent_ns, self.now_ns)
        readings = self.schedule.complete(slot, result)
        if readings is not None:
            self.published.append(readings)

    def run(self, milliseconds: int, *, renewing: MotionDemand | None = None) -> list[Slot]:
        """Serve for a while; with `renewing` every exchange finds a fresh permit for that demand."""
        first, ends_ns = len(self.sent), self.now_ns + milliseconds * MS
        while self.now_ns < ends_ns:
            if renewing is not None:
                self.permit(renewing)
            self.one()
        return [slot for _, slot in self.sent[first:]]

    def next_slot(self) -> Slot:
        """The next slot that is not idle time; its outcome is open."""
        while isinstance(step := self.schedule.next(self.now_ns), Idle):
            assert step.until_ns > self.now_ns, "an idle wire must not spin"
            self.now_ns = step.until_ns
        return step

    def decide(
        self, granted: Permit | None = None, demand: MotionDemand | None = None, stop: StopKind | None = None,
        causes: tuple[Cause, ...] = (),
    ) -> bool:  # fmt: skip
        self.sequence += 1
        decision = Decision(self.sequence, self.now_ns, granted, demand, stop, causes, ())
        return self.schedule.take_over(decision, self.now_ns)

    def permit(self, demand: MotionDemand = FORWARD, **changes: Any) -> Permit:
        granted = permit(self.now_ns, direction=demand.direction, **changes)
        self.decide(granted, demand)
        return granted

    def drive_on(self, milliseconds: int = 200, demand: MotionDemand = FORWARD) -> "WireBench":
        self.run(milliseconds, renewing=demand)
        return self

    def requests(self, purpose: Purpose, since: int = 0) -> list[BusRequest]:
        return [slot.request for _, slot in self.sent[since:] if slot.purpose is purpose]

    def words_of(self, unit: int) -> Mapping[int, int]:
        return {address: word for (u, address), word in self.slaves.words.items() if u == unit}
