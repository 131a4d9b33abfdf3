"""The single judgements of a safety step: each turns inputs into causes (pure; the rules are SAFETY.md's).

A check never decides what happens: the failsafe table does. An input that is missing is a cause, never a pass.
"""

from collections.abc import Iterable, Iterator
from typing import assert_never

from attrs import frozen

from oht50d.core.inputs import DriveFeedback, ModuleInput, SafetyInputs
from oht50d.core.role_table import RoleReading
from oht50d.core.safety_config import BrakeWiring, SafetyConfig
from oht50d.core.zones import ZoneView
from oht50d.model.lidar import LidarLinkState, LidarStatus
from oht50d.model.modules import Trust
from oht50d.model.motion import Cause, CauseCode, Direction, StopKind, StopPhase
from oht50d.model.registers import ModuleKind

SPEED_NOISE = 5
"""Counts (of 255) by which two healthy drives may differ at any speed."""
REOPENED_GRACE_NS = 1_000_000_000
"""After an opening the modules are asked one after the other; the vehicle is in S0 all that time."""

_LOST = {
    ModuleKind.SAFETY: CauseCode.SAFETY_LOST,
    ModuleKind.TRAVEL: CauseCode.TRAVEL_LOST,
    ModuleKind.DOCK: CauseCode.POSITION_LOST,
    ModuleKind.POWER: CauseCode.POWER_LOST,
}
_IN_ERROR = {ModuleKind.SAFETY: CauseCode.SAFETY_ERROR, ModuleKind.TRAVEL: CauseCode.DRIVE_ERROR}
"""An error of another module stops nothing, but a reset waits until it is cleared."""
_OWN = {CauseCode.STOP_UNVERIFIED, CauseCode.STOP_LATE, CauseCode.PERMIT_EXPIRED, CauseCode.MOTION_UNKNOWN}
"""Causes that only the bus owner can find."""


@frozen
class Moment:
    """When a step judges, whether the vehicle is or is about to be in motion, and since when inputs count (after a
    loop gap); `before_ns` is when the step before this one judged."""

    now_ns: int
    is_active: bool
    floor_ns: int
    before_ns: int


def evaluate_wire(inputs: SafetyInputs, moment: Moment) -> Iterator[Cause]:
    """The port itself, and whether it is used for something else than polling."""
    scan = inputs.wire.scan
    if scan is not None and scan.is_running:
        yield Cause(CauseCode.BUS_SCAN, moment.now_ns, f"{scan.planned} addresses and settings to ask")
    if inputs.wire.is_listen_only:
        yield Cause(CauseCode.LISTEN_ONLY, moment.now_ns, "bus.listen_only is set: nothing is sent, not even a stop")
        if inputs.wire.is_listening:
            return
    if inputs.wire.is_open and inputs.wire.opened_ns is not None:
        return
    detail = inputs.wire.cause or "the port is closed"
    code = CauseCode.MODULE_MISSING if inputs.wire.opened_ns is None else CauseCode.BUS_LOST
    yield Cause(code, moment.now_ns, detail)


def evaluate_modules(inputs: SafetyInputs, config: SafetyConfig, moment: Moment) -> Iterator[Cause]:
    """Modules that were never found, that are lost, that are not the accepted ones, and modules in error."""
    for kind in ModuleKind:
        module = inputs.modules.get(kind)
        if module is None or not module.was_seen or module.last_valid_ns is None:
            # While the port never was open its own cause says it all, once.
            place = kind.value if inputs.wire.opened_ns is not None else ""
            yield Cause(CauseCode.MODULE_MISSING, moment.now_ns, _told(kind, module, "not read yet"), place=place)
            continue
        limit_ns = _loss_limit_ns(kind, config, moment.is_active)
        silences = ((module.last_valid_ns, moment.now_ns), module.ended_silence or (0, 0))
        is_silent = any(_silence_ns(inputs, silence, moment) > limit_ns for silence in silences)
        if is_silent and inputs.wire.is_open and not inputs.wire.is_scanning:
            yield Cause(_LOST[kind], moment.now_ns, _told(kind, module, "no valid reply"))
        if module.trust.trust.is_inhibiting:
            yield Cause(CauseCode.MODULE_CHANGED, moment.now_ns, module.trust.note, place=kind.value)
        if module.error != 0 and kind in _IN_ERROR:
            detail = f"{kind.value}: system_error reads {module.error}"
            yield Cause(_IN_ERROR[kind], moment.now_ns, detail, place=kind.value)


def _told(kind: ModuleKind, module: ModuleInput | None, otherwise: str) -> str:
    """A module's problem, led by its kind unless it is named in it."""
    problem = "no map" if module is None else module.problem or otherwise
    return problem if f"({kind.value})" in problem else f"{kind.value}: {problem}"


def _silence_ns(inputs: SafetyInputs, silence: tuple[int, int], moment: Moment) -> int:
    """What of a silence counts, which began and ended so: nothing from before an opening or a gap."""
    began_ns, ended_ns = silence
    opened_ns = inputs.wire.opened_ns or 0
    since_ns = began_ns if began_ns > opened_ns else opened_ns + REOPENED_GRACE_NS
    return ended_ns - max(since_ns, moment.floor_ns)


def _loss_limit_ns(kind: ModuleKind, config: SafetyConfig, is_active: bool) -> int:
    match kind:
        case ModuleKind.SAFETY:
            return config.moving_loss.ns
        case ModuleKind.POWER:
            return config.power_loss.ns
        case ModuleKind.TRAVEL:
            return config.moving_loss.ns if is_active else config.resting_travel_loss.ns
        case ModuleKind.DOCK:
            return config.moving_loss.ns if is_active else config.resting_dock_loss.ns
    assert_never(kind)


def evaluate_safety_module(inputs: SafetyInputs, moment: Moment) -> Iterator[Cause]:
    """The chain, the module's own verdict and its self-reset setting."""
    is_open = inputs.chain is not None and (inputs.chain.raw != 0 or not inputs.chain.is_usable)
    if is_open and inputs.chain is not None:
        yield Cause(CauseCode.CHAIN_OPEN, moment.now_ns, f"estop_status reads {inputs.chain.raw}")
    for name, reading, limit in (
        # With the chain open the module's status says the same in other words.
        ("safety_status", None if is_open else inputs.safety_status, 1),
        ("safety_error", inputs.safety_error, 0),
    ):
        if reading is not None and reading.raw > limit:
            yield Cause(CauseCode.SAFETY_ERROR, moment.now_ns, f"{name} reads {reading.raw}")
    if inputs.auto_reset is not None and inputs.auto_reset.raw != 0:
        yield Cause(CauseCode.SAFETY_AUTO_RESET, moment.now_ns, "auto_reset_enable is 1")


def evaluate_evidence(inputs: SafetyInputs, moment: Moment) -> Iterator[Cause]:
    """A permit needs every input at least once since the port was opened; after a gap or a start also one safety reply
    requested and one turn begun after it."""
    opened_ns = inputs.wire.opened_ns or 0
    safety = (inputs.chain, inputs.safety_status, inputs.safety_error)
    drives = [r for d in inputs.drives for r in (d.enable, d.direction, d.actual_speed, d.error)]
    rows: tuple[tuple[str, bool], ...] = (
        ("an answer of the safety module", _are_known(safety, max(moment.floor_ns, opened_ns))),
        ("auto_reset_enable", _are_known((inputs.auto_reset,), opened_ns)),
        ("the drives' feedback", _are_known(drives, opened_ns) and bool(drives)),
        ("a measured velocity", _are_known((inputs.velocity,), opened_ns)),
        ("the drives' communication time-out, written and confirmed", inputs.is_set_up),
        ("the stop of the opening", inputs.stop is not None),
        ("the serial number of every module", not any(_is_nameless(module) for module in inputs.modules.values())),
        ("a whole LiDAR turn", _has_turned(inputs.lidar, moment.floor_ns)),
    )
    missing = [name for name, is_there in rows if not is_there]
    if missing:
        yield Cause(CauseCode.NO_EVIDENCE, moment.now_ns, "waiting for " + ", ".join(missing))


def _is_nameless(module: ModuleInput) -> bool:
    """It answers as its map says, and its whole identity was not read yet."""
    return module.is_identified and module.trust.trust is Trust.UNSEEN


def _are_known(readings: Iterable[RoleReading | None], since_ns: int) -> bool:
    return all(reading is not None and reading.requested_ns >= since_ns for reading in readings)


def _has_turned(lidar: LidarStatus, floor_ns: int) -> bool:
    turn_ns, period_ns = lidar.last_turn_ns, lidar.turn_period_ns
    return turn_ns is not None and period_ns is not None and turn_ns - period_ns >= floor_ns


def evaluate_drives(inputs: SafetyInputs, moment: Moment) -> Iterator[Cause]:
    """Errors that the drives report."""
    for drive in inputs.drives:
        if drive.error is not None and drive.error.raw != 0:
            name = f"drive {drive.number}"
            yield Cause(CauseCode.DRIVE_ERROR, moment.now_ns, f"{name}: error code {drive.error.raw}", place=name)


def evaluate_speed(inputs: SafetyInputs, limit_mm_s: float, moment: Moment) -> Iterator[Cause]:
    """Measured speed against the limit, while the drives are energised or a stop is under way."""
    if inputs.velocity is None or not moment.is_active:
        return
    if not inputs.velocity.is_usable:
        yield Cause(CauseCode.POSITION_LOST, moment.now_ns, f"velocity reads {inputs.velocity.raw}, out of range")
        return
    speed_mm_s = abs(float(inputs.velocity.value))
    if speed_mm_s > limit_mm_s:
        yield Cause(CauseCode.OVERSPEED, moment.now_ns, f"{speed_mm_s:.0f} mm/s measured, {limit_mm_s:.0f} allowed")


def is_wrong_way(inputs: SafetyInputs, direction: int, threshold_mm_s: float) -> bool:
    """True if the measured velocity points against `direction` (the drives' word; 0 is none)."""
    if inputs.velocity is None or direction not in (1, 2):
        return False
    velocity_mm_s = float(inputs.velocity.value)
    sign = 1 if direction == Direction.FORWARD.value else -1
    return velocity_mm_s * sign < -threshold_mm_s


def do_drives_disagree(drives: tuple[DriveFeedback, ...], ratio: float) -> bool:
    """True if measured speeds differ by more than `ratio` of the faster one, or if directions or enables differ."""
    speeds = [drive.actual_speed.raw for drive in drives if drive.actual_speed is not None]
    directions = {drive.direction.raw for drive in drives if drive.direction is not None}
    enables = {drive.enable.raw for drive in drives if drive.enable is not None}
    if not speeds:
        return False
    allowed = max(SPEED_NOISE, max(speeds) * ratio)
    is_turning = max(speeds) > 0
    return max(speeds) - min(speeds) > allowed or (is_turning and (len(directions) > 1 or len(enables) > 1))


def is_uncommanded(drives: tuple[DriveFeedback, ...], since_ns: int) -> bool:
    """True if a drive reads back as enabled by a reading that was asked for after `since_ns`."""
    return any(
        drive.enable is not None and drive.enable.raw != 0 and drive.enable.requested_ns > since_ns for drive in drives
    )


def evaluate_lidar(inputs: SafetyInputs, view: ZoneView, silence_ns: int, moment: Moment) -> Iterator[Cause]:
    """Link, freshness, unknown sectors and violated stop zones."""
    lidar = inputs.lidar
    if lidar.state is not LidarLinkState.SCANNING or lidar.last_byte_ns is None:
        yield Cause(CauseCode.LIDAR_ABSENT, moment.now_ns, lidar.cause or lidar.state.value)
        return
    age_ns = moment.now_ns - lidar.last_byte_ns
    if age_ns > silence_ns:
        yield Cause(CauseCode.LIDAR_SILENT, moment.now_ns, f"no byte for {age_ns / 1e6:.0f} ms")
    if view.unknown_sectors:
        numbers = ", ".join(str(number) for number in view.unknown_sectors)
        yield Cause(CauseCode.SECTOR_UNKNOWN, moment.now_ns, f"sectors {numbers}")
    for hit in view.stop_hits:
        detail = f"{hit.nearest_mm:.0f} mm in sector {hit.sector}, zone {hit.zone} reaches {hit.limit_mm:.0f} mm"
        yield Cause(CauseCode.ZONE_STOP, moment.now_ns, detail, hit)
    if view.must_stop and not view.stop_hits and not view.unknown_sectors:
        yield Cause(CauseCode.SECTOR_UNKNOWN, moment.now_ns, "an unobserved sector had something within reach")


def evaluate_stop(inputs: SafetyInputs, moment: Moment) -> Iterator[Cause]:
    """What the bus owner's own stop found out: unverified, late, permit expired, motion unknown."""
    stop = inputs.stop
    if stop is None:
        return
    for cause in stop.causes:
        # A stop may be over before this step looks at it: what it found out since the last step counts all the same.
        if cause.code in _OWN and (inputs.is_stop_active or cause.since_ns >= moment.before_ns):
            yield cause
    if not inputs.is_stop_active:
        return
    is_held_by_setpoint = stop.kind is StopKind.S2 and stop.standstill_ns is not None
    if stop.phase is not StopPhase.STANDSTILL and not is_held_by_setpoint:
        yield Cause(CauseCode.STOPPING, moment.now_ns, f"{stop.kind.label}: {stop.phase.value}")


def evaluate_plan(inputs: SafetyInputs, moment: Moment) -> Iterator[Cause]:
    """A bus that is too slow for safe motion, and registers that motion hangs on and that cannot be read."""
    if inputs.bus_refusal:
        yield Cause(CauseCode.BUS_TOO_SLOW, moment.now_ns, inputs.bus_refusal)
    for words in inputs.refused_needs:
        yield Cause(CauseCode.REGISTER_REFUSED, moment.now_ns, words, place=words)


def evaluate_site(inputs: SafetyInputs, config: SafetyConfig, moment: Moment) -> Iterator[Cause]:
    """Commissioning and simulation."""
    if config.brake_wiring is BrakeWiring.UNKNOWN:
        yield Cause(CauseCode.BRAKE_UNKNOWN, moment.now_ns, "safety.brake_wiring is unknown")
    if inputs.is_anything_simulated and not inputs.is_everything_simulated:
        names = ["bus"] if inputs.wire.is_simulated else ["LiDAR"]
        yield Cause(CauseCode.MIXED_SIMULATION, moment.now_ns, f"only the {names[0]} is simulated")


def is_fresh(reading: RoleReading | None, now_ns: int, limit_ns: int) -> bool:
    """True for a usable reading that is not older than `limit_ns`."""
    return reading is not None and reading.is_usable and reading.age_ns(now_ns) <= limit_ns
