"""What the guardian knows about the robot, reply by reply."""

import pytest
from attrs import evolve
from core_fixtures import (
    DOCK,
    MS,
    POWER,
    SAFETY,
    SECTORS,
    TRAVEL,
    S,
    WireBench,
    fresh_registry,
    good_inputs,
    sector,
    stop_report,
)

from oht50d.core.robot_state import MAX_STOPS, ONLINE_NS, UNASKED_NS, RobotState, Simulation
from oht50d.model.bus import Failure
from oht50d.model.lidar import LidarLinkState
from oht50d.model.motion import StopKind, StopPhase
from oht50d.model.registers import ModuleKind
from oht50d.model.snapshot import WireStatus


def state(bench: WireBench, simulation: Simulation | None = None) -> RobotState:
    simulation = simulation or Simulation(True, True)
    return RobotState(bench.schedule, bench.actuators, simulation, SECTORS, fresh_registry(bench.maps))


def wire(bench: WireBench) -> WireStatus:
    return good_inputs(bench.now_ns).wire


def fed(bench: WireBench) -> RobotState:
    robot = state(bench)
    for readings in bench.published:
        robot.apply_block(readings)
    return robot


def test_before_the_first_reply_everything_is_missing() -> None:
    bench = WireBench()
    robot = state(bench)
    inputs = robot.inputs(wire(bench))
    assert (inputs.chain, inputs.velocity, inputs.auto_reset, inputs.reset_button, inputs.stop) == (None,) * 5
    assert all(drive.error is None and drive.enable is None for drive in inputs.drives)
    assert [drive.number for drive in inputs.drives] == [1, 2]
    assert not any(module.was_seen or module.last_valid_ns for module in inputs.modules.values())
    assert set(inputs.modules) == set(ModuleKind)
    assert robot.lidar.state is LidarLinkState.CONNECTING
    assert robot.number("velocity.x") is None
    assert robot.fresh_number("velocity.x", bench.now_ns, S) is None


def test_replies_become_inputs() -> None:
    bench = WireBench()
    bench.slaves.words |= {(SAFETY, 1): 1, (DOCK, 0x33): 0xFFD8, (TRAVEL, 0x0C): 7, (SAFETY, 0x24): 1}
    robot = fed(bench.settle())
    inputs = robot.inputs(wire(bench))
    assert inputs.chain is not None
    assert inputs.velocity is not None
    assert inputs.reset_button is not None
    assert inputs.drives[0].error is not None
    assert (inputs.chain.raw, inputs.velocity.value) == (1, -40)
    assert (inputs.reset_button.raw, inputs.drives[0].error.raw) == (1, 7)
    assert all(module.is_identified and module.was_seen for module in inputs.modules.values())
    assert (inputs.is_energised, inputs.commanded_direction, inputs.is_set_up) == (False, 0, True)
    assert inputs.is_stop_active, "at -40 mm/s the stop of the opening is not over"
    assert not inputs.is_stop_judged
    assert (robot.number("velocity.x"), robot.fresh_number("velocity.x", bench.now_ns, S)) == (-40.0, -40.0)
    assert robot.fresh_number("velocity.x", bench.now_ns + 2 * S, S) is None


def test_a_module_is_as_old_as_what_it_is_there_for() -> None:
    bench = WireBench().settle()
    robot = fed(bench)
    speeds = [d.actual_speed for d in robot.inputs(wire(bench)).drives]
    assert all(speeds)
    travel = robot.inputs(wire(bench)).modules[ModuleKind.TRAVEL]
    assert travel.last_valid_ns == min(speed.received_ns for speed in speeds if speed is not None)


def test_a_silence_that_ends_between_two_steps_is_kept_for_the_second_one() -> None:
    bench = WireBench().settle()
    robot = fed(bench)
    robot.forget_silences()
    before = robot.inputs(wire(bench)).modules[ModuleKind.DOCK]
    assert before.ended_silence is None
    position = [p for p in bench.published if "velocity.x" in {spec.role for spec in p.block.specs}][-1]
    ends_ns = position.received_ns + 152 * MS
    for received_ns in (ends_ns, ends_ns + 20 * MS):
        robot.apply_block(evolve(position, received_ns=received_ns))
    after = robot.inputs(wire(bench)).modules[ModuleKind.DOCK]
    assert (after.ended_silence, after.last_valid_ns) == ((before.last_valid_ns, ends_ns), ends_ns + 20 * MS)
    robot.forget_silences()
    assert robot.inputs(wire(bench)).modules[ModuleKind.DOCK].ended_silence is None


def test_one_drive_alone_does_not_end_the_silence_of_both() -> None:
    bench = WireBench().settle()
    robot = fed(bench)
    robot.forget_silences()
    speeds = {"drive.1.actual_speed", "drive.2.actual_speed"}
    drives = [p for p in bench.published if any(spec.role in speeds for spec in p.block.specs)][-2:]
    since_ns = robot.inputs(wire(bench)).modules[ModuleKind.TRAVEL].last_valid_ns
    for late_ms, readings in zip((140, 160), drives, strict=True):
        robot.apply_block(evolve(readings, received_ns=bench.now_ns + late_ms * MS))
    travel = robot.inputs(wire(bench)).modules[ModuleKind.TRAVEL]
    assert travel.ended_silence in {
        (since_ns, bench.now_ns + 160 * MS),
        (drives[1].received_ns, bench.now_ns + 160 * MS),
    }


def test_identity_alone_is_not_a_valid_module() -> None:
    bench = WireBench().settle()
    robot = state(bench)
    for readings in bench.published:
        if "identity.type" in {spec.role for spec in readings.block.specs}:
            robot.apply_block(readings)
    safety = robot.inputs(wire(bench)).modules[ModuleKind.SAFETY]
    assert (safety.was_seen, safety.last_valid_ns) == (True, None)


def test_the_error_of_each_module_is_kept_apart() -> None:
    bench = WireBench()
    bench.slaves.words |= {(POWER, 0x108): 3, (DOCK, 0x108): 9}
    modules = fed(bench.settle()).inputs(wire(bench)).modules
    assert {kind: module.error for kind, module in modules.items()} == {
        ModuleKind.POWER: 3, ModuleKind.SAFETY: 0, ModuleKind.TRAVEL: 0, ModuleKind.DOCK: 9,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("is_bus", "is_lidar", "everything", "anything"),
    [(True, True, True, True), (True, False, False, True), (False, True, False, True), (False, False, False, False)],
)
def test_simulation(is_bus: bool, is_lidar: bool, everything: bool, anything: bool) -> None:
    bench = WireBench()
    robot = state(bench, Simulation(is_bus, is_lidar))
    inputs = robot.inputs(wire(bench))
    assert (inputs.is_everything_simulated, inputs.is_anything_simulated) == (everything, anything)
    assert robot.lidar.is_simulated is is_lidar


def test_the_field_map_has_a_time_out() -> None:
    bench = WireBench("travel_motor_timeout")
    inputs = state(bench).inputs(wire(bench))
    assert (inputs.has_drive_timeout, inputs.is_set_up) == (True, False)


def test_sectors_by_index() -> None:
    robot = state(WireBench())
    report = sector(7, S, 900)
    robot.apply_sectors([report])
    assert (robot.sectors[7], robot.sectors[8], len(robot.sectors)) == (report, None, SECTORS)


def test_the_newest_stops_are_kept_and_progress_replaces() -> None:
    robot = state(WireBench())
    for number in range(1, MAX_STOPS + 4):
        robot.apply_stop(stop_report(number=number, phase=StopPhase.SENDING))
        robot.apply_stop(stop_report(number=number, kind=StopKind.S1))
    assert [stop.number for stop in robot.last_stops] == list(range(4, MAX_STOPS + 4))
    assert {stop.kind for stop in robot.last_stops} == {StopKind.S1}


def test_module_statuses() -> None:
    bench = WireBench()
    bench.slaves.words |= {(POWER, 0x105): 0x0101, (POWER, 0xFB): 7, (POWER, 0xFC): 1}
    robot = fed(bench.settle())
    power, safety, travel, dock = robot.modules(bench.now_ns)
    assert [m.address for m in (power, safety, travel, dock)] == [POWER, SAFETY, TRAVEL, DOCK]
    assert (power.is_online, power.is_identified, power.firmware, power.problem) == (True, True, "1.01", "")
    assert power.serial in (7 | 1 << 16, None)
    assert power.counters.replies > 0
    assert set(travel.readings) == {s.name for s in bench.maps[2].registers if s.is_readable and s.poll is not None}


def test_a_module_that_is_silent_for_long_is_offline() -> None:
    bench = WireBench().settle()
    robot = fed(bench)
    assert robot.modules(bench.now_ns)[0].is_online
    last_ns = robot.modules(bench.now_ns)[0].last_valid_ns
    assert last_ns is not None
    assert robot.modules(last_ns + UNASKED_NS)[0].is_online, "it has answered whenever it was asked"
    assert not robot.modules(last_ns + UNASKED_NS + 1)[0].is_online
    bench.schedule.links[POWER].breaker.fail(bench.now_ns, last_ns)
    assert robot.modules(last_ns + ONLINE_NS)[0].is_online
    assert not robot.modules(last_ns + ONLINE_NS + 1)[0].is_online


def test_a_closed_port_is_everybodys_problem() -> None:
    bench = WireBench().settle()
    robot = fed(bench)
    bench.schedule.close()
    statuses = robot.modules(bench.now_ns)
    assert {(m.is_online, m.problem) for m in statuses} == {(False, "the port is closed")}
    statuses = robot.modules(bench.now_ns, is_listen_only=True)
    assert {m.problem for m in statuses} == {"bus.listen_only is set: nothing is sent"}


def test_motion_shows_in_the_inputs() -> None:
    bench = WireBench().settle().drive_on()
    inputs = state(bench).inputs(wire(bench))
    assert (inputs.is_energised, inputs.commanded_direction) == (True, 1)
    bench.slaves.silent.add(TRAVEL)
    bench.now_ns += 200 * MS
    slot = bench.next_slot()
    bench.finish(slot, Failure.SILENT)
    after = state(bench).inputs(wire(bench))
    assert (after.is_energised, after.is_stop_active, after.is_stop_judged) == (False, True, True)
