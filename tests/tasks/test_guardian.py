"""The guardian under the mock clock: when it steps, what it hands over, and what it publishes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import trio
from attrs import define, field
from bus_fakes import MS, POWER, SAFETY, MockTimer
from control_bench import Control, make_control, running_control
from trio.testing import MockClock, wait_all_tasks_blocked

from oht50d.clock import now_ns
from oht50d.codec.registers import decode_block
from oht50d.core.poll_plan import plan_blocks
from oht50d.core.reset_button import Press
from oht50d.model.lidar import LidarLinkState, LidarStatus, SectorReport
from oht50d.model.motion import Cause, CauseCode, Decision, StopKind, StopPhase, StopReport
from oht50d.model.registers import BlockReadings
from oht50d.model.snapshot import Snapshot, WireStatus
from oht50d.services.guardian import Guardian
from oht50d.services.snapshots import Identity, SnapshotMaker


@define(slots=False)
class Wire:
    """An open wire that keeps what it takes over, and what had been published by then."""

    published: list[Snapshot] = field(factory=list)
    taken: list[tuple[int, Decision, int]] = field(factory=list)

    def take_over(self, decision: Decision) -> None:
        self.taken.append((now_ns(), decision, len(self.published)))

    @property
    def status(self) -> WireStatus:
        return WireStatus(True, "/dev/ttyMEMORY", "", "", True, 0, 0, 0, 0, None)


@define(slots=False)
class Lonely:
    """A guardian with a wire double and nobody else."""

    control: Control
    wire: Wire
    guardian: Guardian
    lateness_ns: list[int] = field(factory=list)

    @property
    def times_ns(self) -> list[int]:
        return [at_ns for at_ns, _, _ in self.wire.taken]

    def reply(self, unit: int, first: int, **words: int) -> BlockReadings:
        """A decoded reply that has just arrived; every register 0 but `words`."""
        module = next(module for module in self.control.bench.maps if module.address == unit)
        block = next(block for block in plan_blocks(module) if block.first == first)
        raw = tuple(words.get(spec.name, 0) for spec in block.specs)
        return decode_block(block, raw, requested_ns=now_ns() - 5 * MS, received_ns=now_ns())


@asynccontextmanager
async def lonely_guardian() -> AsyncIterator[Lonely]:
    control = make_control()
    wire = Wire()
    maker = SnapshotMaker(Identity("OHT-50-001", True, False), control.config, lambda: "now")
    guardian = Guardian(
        control.config, control.kernel, control.state, wire, MockTimer(), wire.published.append, maker.make
    )
    lonely = Lonely(control, wire, guardian)
    guardian.on_step = lambda _decision, lateness_ns: lonely.lateness_ns.append(lateness_ns)
    async with trio.open_nursery() as nursery:
        await nursery.start(guardian.run)
        nursery.start_soon(guardian.beat)
        yield lonely
        nursery.cancel_scope.cancel()


async def one_pass() -> None:
    """Let every task that can run now run once."""
    await wait_all_tasks_blocked()


# -- when it steps


async def test_it_steps_at_a_fixed_rate(autojump_clock: MockClock) -> None:
    async with lonely_guardian() as it:
        await trio.sleep(1.0005)
        assert len(it.times_ns) == 101
        gaps = {round((later - earlier) / MS, 3) for earlier, later in pairwise(it.times_ns)}
        assert gaps == {10.0}
        assert max(it.lateness_ns) < 1000
        assert [decision.sequence for _, decision, _ in it.wire.taken] == list(range(1, 102))


async def test_a_reply_that_can_stop_the_robot_is_judged_in_the_same_scheduling_pass(autojump_clock: MockClock) -> None:
    async with lonely_guardian() as it:
        await trio.sleep(0.1033)
        steps, at_ns = len(it.wire.taken), now_ns()
        it.guardian.accept_block(it.reply(SAFETY, 0, estop_status=1))
        await one_pass()
        assert len(it.wire.taken) == steps + 1
        taken_ns, decision, _ = it.wire.taken[-1]
        assert taken_ns == at_ns
        assert CauseCode.CHAIN_OPEN in [cause.code for cause in decision.inhibits]
        # The rhythm of the ticks is not disturbed by it.
        await trio.sleep(0.01)
        assert round((it.times_ns[-1] - it.times_ns[0]) / MS, 3) == 110.0


async def test_a_reply_that_cannot_stop_it_waits_for_the_tick(autojump_clock: MockClock) -> None:
    async with lonely_guardian() as it:
        await trio.sleep(0.1033)
        steps = len(it.wire.taken)
        it.guardian.accept_block(it.reply(POWER, 0, battery_soc=500))
        await one_pass()
        assert len(it.wire.taken) == steps
        assert it.control.state.number("battery.soc") == 50.0


async def test_lidar_and_stop_news_and_commands_are_judged_at_once(autojump_clock: MockClock) -> None:
    async with lonely_guardian() as it:
        await trio.sleep(0.1033)

        def turn_silent() -> None:
            it.guardian.accept_lidar_status(LidarStatus(LidarLinkState.SILENT, "no bytes", "plug it in"))

        def see() -> None:
            it.guardian.accept_sectors([SectorReport(3, 1, 2, 10, 10, 0, 300.0, ())])

        def stop() -> None:
            it.guardian.accept_stop(StopReport(1, StopKind.S1, (), StopPhase.SENDING, now_ns()))

        for tell in (turn_silent, see, stop, it.guardian.poke):
            steps = len(it.wire.taken)
            tell()
            await one_pass()
            assert len(it.wire.taken) == steps + 1
        # The same status again is no news.
        steps = len(it.wire.taken)
        turn_silent()
        await one_pass()
        assert len(it.wire.taken) == steps


async def test_a_late_tick_is_told_and_not_made_up_for(autojump_clock: MockClock) -> None:
    async with lonely_guardian() as it:
        await trio.sleep(0.1005)
        autojump_clock.jump(0.037)
        await one_pass()
        assert 25 * MS < it.lateness_ns[-1] < 30 * MS
        late_ns, steps = it.times_ns[-1], len(it.times_ns)
        await trio.sleep(0.0205)
        assert [round((at_ns - late_ns) / MS, 3) for at_ns in it.times_ns[steps:]] == [10.0, 20.0]


async def test_a_step_that_an_input_woke_is_late_when_its_tick_is(autojump_clock: MockClock) -> None:
    async with lonely_guardian() as it:
        await trio.sleep(0.1005)
        it.guardian.poke()
        autojump_clock.jump(0.0395)
        steps = len(it.lateness_ns)
        await one_pass()
        assert it.lateness_ns[steps] == 30 * MS


async def test_after_a_gap_of_the_loop_input_is_thrown_away_once(autojump_clock: MockClock) -> None:
    async with lonely_guardian() as it:
        gaps: list[int] = []
        it.guardian.on_gap = lambda: gaps.append(now_ns())
        await trio.sleep(0.5005)
        autojump_clock.jump(0.049)
        await trio.sleep(0.1)
        assert gaps == []
        autojump_clock.jump(0.061)
        await trio.sleep(0.1)
        assert len(gaps) == 1
        assert it.control.kernel.floor_ns == gaps[0]


async def test_a_failure_of_the_step_ends_the_guardian(autojump_clock: MockClock) -> None:
    raised: list[type] = []
    try:
        async with lonely_guardian() as it:

            def fail(_decision: Decision, _lateness_ns: int) -> None:
                raise RuntimeError("a defect")

            it.guardian.on_step = fail
            await trio.sleep(1)
    except* RuntimeError as group:
        raised = [type(error) for error in group.exceptions]
    assert raised


# -- what it hands over and publishes


async def test_the_wire_has_a_decision_before_anybody_reads_about_it(autojump_clock: MockClock) -> None:
    async with lonely_guardian() as it:
        await trio.sleep(0.3)
        versions = [snapshot.version for snapshot in it.wire.published]
        assert versions == sorted(set(versions))
        for snapshot in it.wire.published:
            taken = [seen for _, decision, seen in it.wire.taken if decision.sequence == snapshot.decision.sequence]
            assert taken[0] < snapshot.version


async def test_it_publishes_at_twenty_hertz_and_at_once_when_something_changes(autojump_clock: MockClock) -> None:
    async with lonely_guardian() as it:
        await trio.sleep(1.0005)
        assert 20 <= len(it.wire.published) <= 22
        count = len(it.wire.published)
        it.control.kernel.trip(Cause(CauseCode.OPERATOR_STOP, now_ns()))
        it.control.kernel.authority.drop()
        it.guardian.poke()
        await one_pass()
        assert len(it.wire.published) == count + 1
        assert it.wire.published[-1].latched_causes[0].code is CauseCode.OPERATOR_STOP


async def test_old_velocity_and_position_are_unknown_in_a_snapshot(autojump_clock: MockClock) -> None:
    async with lonely_guardian() as it:
        it.guardian.accept_block(it.reply(0x05, 0x30, position_x=1234, velocity_x=0xFFCE))
        await trio.sleep(0.1)
        fresh = it.wire.published[-1]
        assert (fresh.position_mm, fresh.velocity_mm_s) == (1234, -50)
        await trio.sleep(0.15)
        old = it.wire.published[-1]
        assert (old.position_mm, old.velocity_mm_s) == (None, None)


async def test_a_second_of_the_reset_button_is_noticed_when_it_is_let_go(autojump_clock: MockClock) -> None:
    async with lonely_guardian() as it:
        presses: list[Press] = []
        it.guardian.on_button = presses.append

        async def hold(seconds: float) -> None:
            for level in (0, *(1,) * round(seconds / 0.1), 0):
                it.guardian.accept_block(it.reply(SAFETY, 0x20, digital_input_4=level))
                await trio.sleep(0.1)

        await hold(0.9)
        assert "seen pressed for 0." in presses.pop().refusal
        await hold(1.1)
        assert presses == [Press("", 1)]
        it.guardian.accept_block(it.reply(SAFETY, 0x20, digital_input_4=0))
        await hold(11)
        assert "stuck" in presses[-1].refusal


# -- with everything around it


async def test_an_open_chain_is_on_the_wire_within_one_exchange_while_moving(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        await trio.sleep(0.2)
        control.set_safety(0x0001, 1)
        await control.bench.until(lambda: "chain_open" in control.codes())
        assert control.kernel.state.name == "ESTOP"
        assert control.snapshots.current().is_latched


async def test_a_silent_lidar_takes_the_permission_away(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        await control.ready_for_reset()
        control.is_lidar_dead = True
        await trio.sleep(0.3)
        assert {"lidar_silent", "sector_unknown"} <= control.codes()
