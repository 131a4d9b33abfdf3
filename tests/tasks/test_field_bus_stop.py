"""Stops and motion on a line of memory under the mock clock: what a stop waits for, and what ends with the permit."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import trio
from attrs import evolve
from bus_fakes import CHARACTER_NS, DOCK, MS, SAFETY, SILENCE_NS, TRAVEL, Bench, Pieces, make_bench
from trio.testing import MockClock

from oht50d.clock import now_ns
from oht50d.codec.rtu import encode_request, reply_length
from oht50d.model.bus import BusRequest, ReadRegisters, WriteRegister, WriteRegisters
from oht50d.model.errors import LinkLost
from oht50d.model.motion import Cause, CauseCode, Decision, StopKind, StopPhase
from oht50d.model.registers import BlockReadings

DRIVE_1_OFF = WriteRegisters(TRAVEL, 0x0001, (0, 0, 0))
DRIVE_2_OFF = WriteRegisters(TRAVEL, 0x0011, (0, 0, 0))
DRIVE_1_ZERO = WriteRegisters(TRAVEL, 0x0002, (0, 0))
DRIVE_2_ZERO = WriteRegisters(TRAVEL, 0x0012, (0, 0))
DRIVE_1_GO = WriteRegisters(TRAVEL, 0x0001, (1, 0, 4))
DRIVE_2_GO = WriteRegisters(TRAVEL, 0x0011, (1, 0, 4))
BRAKE_ON = WriteRegister(SAFETY, 0x0031, 0)
BRAKE_OFF = WriteRegister(SAFETY, 0x0031, 1)
POSITION_BLOCK = ReadRegisters(DOCK, 0x0030, 12)
SAFETY_BLOCK = ReadRegisters(SAFETY, 0x0000, 8)
VELOCITY = 0x0033
BEGIN_LIMIT_NS = 10 * MS
SLACK_NS = 2 * MS
"""The test looks once a millisecond of mock time."""


@asynccontextmanager
async def settled(bench: Bench) -> AsyncIterator[Bench]:
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.bus.run)
        await bench.settle()
        yield bench
        nursery.cancel_scope.cancel()


def causes(code: CauseCode = CauseCode.OPERATOR_STOP) -> tuple[Cause, ...]:
    return (Cause(code, now_ns(), "a test"),)


async def sent_again(bench: Bench, request: BusRequest) -> int:
    """Wait until `request` has just been sent again; when its last byte is out."""
    seen = len(bench.line.sent_times(request))
    await bench.until(lambda: len(bench.line.sent_times(request)) > seen)
    return bench.line.sent_times(request)[-1] + len(encode_request(request)) * CHARACTER_NS


def next_frame(bench: Bench, after_ns: int) -> tuple[int, BusRequest]:
    return next((at_ns, request) for at_ns, request in bench.line.sent if at_ns > after_ns)


async def next_sent(bench: Bench, after_ns: int) -> tuple[int, BusRequest]:
    await bench.until(lambda: bench.line.sent[-1][0] > after_ns)
    return next_frame(bench, after_ns)


async def moving(bench: Bench, velocity_mm_s: int = 90) -> Decision:
    """Permits until both drives have their demand."""
    bench.modules[DOCK].image[VELOCITY] = velocity_mm_s
    bench.modules[TRAVEL].image[0x0006] = bench.modules[TRAVEL].image[0x0016] = 10
    with trio.fail_after(1):
        while DRIVE_2_GO not in bench.line.frames_since(0):
            bench.grant()
            await trio.sleep(0.02)
    decision = bench.grant()
    await trio.sleep(0.02)
    return decision


# -- what a stop waits for


@pytest.mark.parametrize("trip_after_ms", [0, 5, 14])
async def test_a_stop_does_not_wait_for_a_reply_that_has_not_begun_in_time(
    autojump_clock: MockClock, trip_after_ms: int
) -> None:
    bench = make_bench((25, 200, 200))
    async with settled(bench):
        bench.rules.append(lambda request, _: [] if request.unit == DOCK else None)
        ends_ns = await sent_again(bench, POSITION_BLOCK)
        await trio.sleep_until((ends_ns + trip_after_ms * MS) / 1e9)
        tripped_ns, timeouts = now_ns(), bench.schedule.links[DOCK].counters.timeouts
        bench.bus.trip_causes(StopKind.S0, causes())
        sent_ns, frame = await next_sent(bench, ends_ns)
        assert frame == DRIVE_1_OFF
        earliest_ns = max(ends_ns + SILENCE_NS + BEGIN_LIMIT_NS, tripped_ns)
        assert earliest_ns <= sent_ns + 100
        assert sent_ns <= earliest_ns + SILENCE_NS + 100
        assert bench.schedule.links[DOCK].counters.timeouts == timeouts, (
            "an exchange that was given up is not the module's fault"
        )


async def test_a_reply_that_has_begun_is_waited_for(autojump_clock: MockClock) -> None:
    bench = make_bench((25, 200, 200))

    def slowly(request: BusRequest, honest: Pieces) -> Pieces | None:
        if request != POSITION_BLOCK:
            return None
        return [(3 * MS, honest[0][1][:4]), (12 * MS, honest[0][1][4:])]

    async with settled(bench):
        bench.rules.append(slowly)
        ends_ns = await sent_again(bench, POSITION_BLOCK)
        published = len(bench.words_of(DOCK, 0x30))
        await trio.sleep_until((ends_ns + 5 * MS) / 1e9)
        bench.bus.trip_causes(StopKind.S0, causes())
        sent_ns, frame = await next_sent(bench, ends_ns)
        assert frame == DRIVE_1_OFF
        assert ends_ns + 12 * MS + SILENCE_NS - 100 <= sent_ns <= ends_ns + 12 * MS + 2 * SILENCE_NS
        assert len(bench.words_of(DOCK, 0x30)) == published + 1


async def test_a_reply_that_stalls_after_its_first_bytes_does_not_hold_a_stop(autojump_clock: MockClock) -> None:
    """It gets the time of its characters, the silence and ten milliseconds; then the stop goes out."""
    bench = make_bench((25, 200, 200))

    def stalled(request: BusRequest, honest: Pieces) -> Pieces | None:
        return [(3 * MS, honest[0][1][:4])] if request == POSITION_BLOCK else None

    async with settled(bench):
        bench.rules.append(stalled)
        ends_ns = await sent_again(bench, POSITION_BLOCK)
        published = len(bench.words_of(DOCK, 0x30))
        await trio.sleep_until((ends_ns + 5 * MS) / 1e9)
        bench.bus.trip_causes(StopKind.S0, causes())
        sent_ns, frame = await next_sent(bench, ends_ns)
        assert frame == DRIVE_1_OFF
        assert sent_ns <= ends_ns + 5 * MS + 10 * MS + 3 * MS + 4 * SILENCE_NS
        assert len(bench.words_of(DOCK, 0x30)) == published


@pytest.mark.parametrize("kind", [StopKind.S1, StopKind.S0])
async def test_an_exchange_of_a_stop_gives_way_to_a_harder_stop_only(autojump_clock: MockClock, kind: StopKind) -> None:
    """A silent drive holds up nobody for longer than 10 ms after the earliest time of its reply."""
    bench = make_bench()
    async with settled(bench):
        bench.rules.append(lambda request, _: [] if request.unit == TRAVEL else None)
        bench.bus.trip_causes(StopKind.S1, causes())
        ends_ns = await sent_again(bench, DRIVE_1_ZERO)
        bench.bus.trip_causes(kind, causes(CauseCode.CHAIN_OPEN))
        sent_ns, frame = await next_sent(bench, ends_ns)
        assert frame == (DRIVE_1_OFF if kind is StopKind.S0 else DRIVE_2_ZERO)
        allowed_ns = SILENCE_NS + BEGIN_LIMIT_NS + reply_length(DRIVE_1_ZERO) * CHARACTER_NS
        assert sent_ns - ends_ns <= allowed_ns + 2 * SILENCE_NS


async def test_an_idle_wire_sends_the_stop_at_once(autojump_clock: MockClock) -> None:
    bench = make_bench()
    async with settled(bench):
        await bench.until(lambda: now_ns() - bench.line.sent[-1][0] > 14 * MS)
        tripped_ns = now_ns()
        bench.bus.trip_causes(StopKind.S1, causes())
        sent_ns, frame = await next_sent(bench, tripped_ns - 1)
        assert (frame, sent_ns - tripped_ns < 100) == (DRIVE_1_ZERO, True)


async def test_the_silent_drive_is_skipped_until_the_brake_is_out(autojump_clock: MockClock) -> None:
    bench = make_bench()
    async with settled(bench):
        bench.rules.append(lambda request, _: [] if request.unit == TRAVEL else None)
        tripped_ns = now_ns()
        bench.bus.trip_causes(StopKind.S0, causes())
        await bench.until(lambda: BRAKE_ON in bench.line.frames_since(tripped_ns))
        writes = [f for f in bench.line.frames_since(tripped_ns) if not isinstance(f, ReadRegisters)]
        assert writes == [DRIVE_1_OFF, DRIVE_2_OFF, BRAKE_ON]
        await bench.until(
            lambda: bench.bus.stop_report is not None and bench.bus.stop_report.unconfirmed_units == (TRAVEL,)
        )
        await bench.until(lambda: bench.reports[-1].phase is StopPhase.NOT_CONFIRMED, limit_s=1)


async def test_a_repeated_stop_sends_its_frames_again(autojump_clock: MockClock) -> None:
    bench = make_bench()
    async with settled(bench):
        bench.bus.trip_causes(StopKind.S1, causes())
        await bench.until(lambda: not bench.schedule.sequencer.is_active)
        again_ns = now_ns()
        bench.bus.repeat_stop(causes())
        await bench.until(lambda: not bench.schedule.sequencer.is_active)
        writes = [f for f in bench.line.frames_since(again_ns) if not isinstance(f, ReadRegisters)]
        assert writes == [DRIVE_1_ZERO, DRIVE_2_ZERO, BRAKE_ON, DRIVE_1_OFF, DRIVE_2_OFF]


@pytest.mark.parametrize("is_pending", [True, False], ids=["pending", "over"])
async def test_a_stop_pressed_again_has_limits_whatever_stop_it_meets(
    autojump_clock: MockClock, is_pending: bool
) -> None:
    """The S0 of an opening or of a scan's end has none of its own: a STOP that joins it must not wait for ever."""
    bench = make_bench()
    async with settled(bench):
        bench.rules.append(lambda request, _: [] if request.unit == DOCK else None)
        if is_pending:
            bench.schedule.open(now_ns(), *causes(CauseCode.BUS_SCAN))
            await trio.sleep(5)
            assert bench.bus.stop_report.phase is StopPhase.STOPPING, "modules may be powered later than this computer"
        bench.bus.repeat_stop(causes())
        await bench.until(lambda: bench.bus.stop_report.phase is StopPhase.NOT_CONFIRMED, limit_s=2)
        codes = {cause.code for cause in bench.bus.stop_report.causes}
        assert CauseCode.STOP_LATE in codes
        assert not is_pending or CauseCode.OPERATOR_STOP in codes


# -- motion and its permit


async def test_motion_frames_go_out_in_their_order_and_only_with_a_permit(autojump_clock: MockClock) -> None:
    bench = make_bench()
    async with settled(bench):
        began_ns = now_ns()
        await trio.sleep(0.5)
        assert not [f for f in bench.line.frames_since(began_ns) if bench.is_motion(f)]
        began_ns = now_ns()
        await moving(bench)
        frames = [f for f in bench.line.frames_since(began_ns) if bench.is_motion(f)]
        assert frames == [
            WriteRegister(TRAVEL, 0x0000, 2), WriteRegister(TRAVEL, 0x0010, 2),
            WriteRegister(TRAVEL, 0x0007, 1), WriteRegister(TRAVEL, 0x0017, 1),
            WriteRegisters(TRAVEL, 0x0001, (1, 0, 0)), WriteRegisters(TRAVEL, 0x0011, (1, 0, 0)),
            BRAKE_OFF, DRIVE_1_GO, DRIVE_2_GO,
        ]  # fmt: skip


async def test_at_the_end_of_a_permit_the_bus_owner_sends_s1_with_no_guardian_at_all(autojump_clock: MockClock) -> None:
    bench = make_bench()
    async with settled(bench):
        decision = await moving(bench)
        assert decision.permit is not None
        expires_ns = decision.permit.expires_ns
        await bench.until(lambda: DRIVE_2_ZERO in bench.line.frames_since(expires_ns))
        zeros = [bench.line.sent_times(zero)[-1] for zero in (DRIVE_1_ZERO, DRIVE_2_ZERO)]
        # At most the exchange that was under way, then the stop.
        assert expires_ns <= zeros[0] <= expires_ns + 25 * MS
        assert not [f for f in bench.line.frames_since(expires_ns) if bench.is_motion(f)]
        report = bench.bus.stop_report
        assert report is not None
        assert (report.kind, report.causes[0].code) == (StopKind.S1, CauseCode.PERMIT_EXPIRED)
        # Enable is kept and the brake stays open while it still moves.
        assert BRAKE_ON not in bench.line.frames_since(expires_ns)
        bench.modules[DOCK].image[VELOCITY] = 0
        bench.modules[TRAVEL].image[0x0006] = bench.modules[TRAVEL].image[0x0016] = 0
        await bench.until(
            lambda: bench.bus.stop_report is not None and bench.bus.stop_report.phase is StopPhase.STANDSTILL
        )
        writes = [f for f in bench.line.frames_since(expires_ns) if not isinstance(f, ReadRegisters)]
        assert writes == [DRIVE_1_ZERO, DRIVE_2_ZERO, BRAKE_ON, DRIVE_1_OFF, DRIVE_2_OFF]


async def test_a_stop_without_standstill_becomes_s0_at_its_time_limit(autojump_clock: MockClock) -> None:
    bench = make_bench()
    async with settled(bench):
        decision = await moving(bench, velocity_mm_s=90)
        assert decision.permit is not None
        expires_ns = decision.permit.expires_ns
        await bench.until(lambda: BRAKE_ON in bench.line.frames_since(expires_ns))
        limit_ns = expires_ns + 1500 * MS
        assert limit_ns <= bench.line.sent_times(DRIVE_1_OFF)[-1] <= limit_ns + 60 * MS
        report = bench.bus.stop_report
        assert report is not None
        assert (report.kind, report.phase) == (StopKind.S0, StopPhase.NOT_CONFIRMED)


async def test_the_demand_is_refreshed_while_permits_come(autojump_clock: MockClock) -> None:
    bench = make_bench(travel="travel_motor_timeout")
    async with settled(bench):
        await bench.until(lambda: bench.schedule.is_set_up)
        assert bench.modules[TRAVEL].image[0x0035] == 200
        await moving(bench)
        began_ns = now_ns()
        for number in range(20):
            bench.grant(sequence=number + 2)
            await trio.sleep(0.05)
        times = [at for at in bench.line.sent_times(DRIVE_1_GO) if at >= began_ns]
        assert len(times) >= 10
        assert max(later - earlier for earlier, later in pairwise(times)) <= 150 * MS


async def test_a_stop_that_comes_while_the_line_must_be_quiet_overtakes_the_motion_frame(
    autojump_clock: MockClock,
) -> None:
    bench = make_bench()
    async with settled(bench):
        await bench.until(lambda: now_ns() - bench.line.sent[-1][0] > 14 * MS)
        # A babbling line: every frame has to wait for silence.
        for moment in range(12):
            bench.line.inject(b"\xff", now_ns() + moment * MS)
        bench.bus.discard_input()
        bench.grant()
        await trio.sleep(0.005)
        tripped_ns = now_ns()
        bench.bus.trip_causes(StopKind.S0, causes())
        await bench.until(lambda: BRAKE_ON in bench.line.frames_since(tripped_ns))
        assert [f for f in bench.line.frames_since(tripped_ns) if bench.is_motion(f)] == []
        assert bench.line.frames_since(tripped_ns)[0] == DRIVE_1_OFF


async def test_no_motion_frame_leaves_after_the_end_of_its_permit(autojump_clock: MockClock) -> None:
    bench = make_bench()
    async with settled(bench):
        await bench.until(lambda: now_ns() - bench.line.sent[-1][0] > 14 * MS)
        for moment in range(20):
            bench.line.inject(b"\xff", now_ns() + moment * MS)
        bench.bus.discard_input()
        decision = bench.grant(life_ns=10 * MS)
        assert decision.permit is not None
        await trio.sleep(0.3)
        late = [f for f in bench.line.frames_since(decision.permit.expires_ns) if bench.is_motion(f)]
        assert late == []


async def test_a_motion_frame_that_is_answered_after_the_stop_leaves_nothing_energised(
    autojump_clock: MockClock,
) -> None:
    """Its reply must not make the drives count as energised: that would end in a second stop of its own."""
    bench = make_bench()
    async with settled(bench):
        await moving(bench, velocity_mm_s=0)
        bench.modules[TRAVEL].image[0x0006] = bench.modules[TRAVEL].image[0x0016] = 0
        bench.grant(duty_ratio=0.03)
        await bench.until(lambda: bench.line.sent[-1][1] == WriteRegisters(TRAVEL, 0x0001, (1, 0, 3)))
        bench.bus.trip_causes(StopKind.S1, causes())
        number = bench.schedule.sequencer.report
        assert number is not None
        await trio.sleep(2)
        report = bench.bus.stop_report
        assert report is not None
        assert report.number == number.number
        assert report.phase is StopPhase.STANDSTILL
        assert [cause.code for cause in report.causes] == [CauseCode.OPERATOR_STOP]


async def test_a_stop_in_a_decision_is_served_and_acknowledged_by_the_wire(autojump_clock: MockClock) -> None:
    bench = make_bench()
    async with settled(bench):
        decision = await moving(bench)
        stop = evolve(
            decision, sequence=7, permit=None, demand=None, stop=StopKind.S1, stop_causes=causes(CauseCode.ZONE_STOP)
        )
        tripped_ns = now_ns()
        bench.bus.take_over(stop)
        await bench.until(lambda: DRIVE_2_ZERO in bench.line.frames_since(tripped_ns))
        assert bench.bus.status.adopted_sequence == 7
        assert bench.reports[-1].causes[0].code is CauseCode.ZONE_STOP


async def test_motion_writes_that_are_not_answered_end_in_a_stop(autojump_clock: MockClock) -> None:
    bench = make_bench()
    async with settled(bench):
        bench.rules.append(lambda request, _: [] if bench.is_motion(request) else None)
        began_ns = now_ns()
        bench.grant(life_ns=5000 * MS)
        await bench.until(lambda: DRIVE_1_ZERO in bench.line.frames_since(began_ns))
        assert bench.bus.stop_report is not None
        assert bench.bus.stop_report.causes[0].code is CauseCode.MOTION_UNKNOWN


async def test_who_wakes_together_with_the_bus_is_heard_before_the_next_frame(autojump_clock: MockClock) -> None:
    """Trio runs what is ready in random order: the guardian's judgement of the last reply comes first all the same."""
    for _ in range(20):
        bench = make_bench()
        async with settled(bench):
            judged = trio.Event()
            received: list[int] = []

            def note(readings: BlockReadings, received: list[int] = received, judged: trio.Event = judged) -> None:
                if readings.block.unit == SAFETY and not received:
                    received.append(now_ns())
                    judged.set()

            bench.on_readings = note
            await judged.wait()
            # The very moment at which the bus has kept its silence.
            await trio.sleep_until((received[0] + SILENCE_NS + 1) / 1e9)
            tripped_ns = now_ns()
            bench.bus.trip_causes(StopKind.S0, causes())
            assert (await next_sent(bench, tripped_ns - 1))[1] == DRIVE_1_OFF


async def test_a_stop_does_not_wait_for_a_reply_because_foreign_bytes_came(autojump_clock: MockClock) -> None:
    bench = make_bench()
    async with settled(bench):
        foreign = bytes((0x66, 3, 2))
        bench.rules.append(lambda request, _: [(12 * MS, foreign)] if request == POSITION_BLOCK else None)
        ends_ns = await sent_again(bench, POSITION_BLOCK)
        await trio.sleep_until((ends_ns + 12 * MS + 10_000) / 1e9)
        tripped_ns = now_ns()
        bench.bus.trip_causes(StopKind.S0, causes())
        sent_ns, frame = await next_sent(bench, tripped_ns)
        assert frame == DRIVE_1_OFF
        assert sent_ns - tripped_ns <= BEGIN_LIMIT_NS


async def test_a_stop_that_comes_while_the_line_babbles_waits_three_silences(autojump_clock: MockClock) -> None:
    bench = make_bench()
    async with settled(bench):
        bench.rules.append(lambda request, _: [(moment * MS, b"\xff") for moment in range(3, 300)])
        ends_ns = await sent_again(bench, POSITION_BLOCK)
        await trio.sleep_until((ends_ns + 80 * MS) / 1e9)
        tripped_ns = now_ns()
        bench.bus.trip_causes(StopKind.S0, causes())
        sent_ns, frame = await next_sent(bench, tripped_ns)
        assert frame == DRIVE_1_OFF
        assert sent_ns - tripped_ns <= BEGIN_LIMIT_NS + 5 * SILENCE_NS + reply_length(POSITION_BLOCK) * CHARACTER_NS


async def test_a_permit_that_runs_out_during_a_silent_exchange_is_followed_by_its_stop(
    autojump_clock: MockClock,
) -> None:
    bench = make_bench()
    async with settled(bench):
        decision = await moving(bench)
        assert decision.permit is not None
        bench.rules.append(lambda request, _: [] if request.unit == DOCK else None)
        await bench.until(lambda: DRIVE_1_ZERO in bench.line.frames_since(decision.permit.expires_ns))
        sent_ns = bench.line.sent_times(DRIVE_1_ZERO)[-1]
        assert sent_ns - decision.permit.expires_ns <= BEGIN_LIMIT_NS + 3 * SILENCE_NS


async def test_a_port_that_takes_no_more_bytes_is_a_lost_link(autojump_clock: MockClock) -> None:
    bench = make_bench()
    with pytest.raises(BaseExceptionGroup) as caught:
        async with settled(bench):
            bench.line.is_stuck = True
            began_ns = now_ns()
            await trio.sleep(1)
    assert caught.group_contains(LinkLost, match="takes no more bytes", depth=1)
    assert now_ns() - began_ns < 200 * MS


async def test_stop_pressed_again_under_a_stop_sends_its_frames_again_and_waits_for_their_read_back(
    autojump_clock: MockClock,
) -> None:
    bench = make_bench()
    async with settled(bench):
        await moving(bench)
        bench.bus.trip_causes(StopKind.S1, causes())
        await bench.until(lambda: bench.reports[-1].phase is StopPhase.STOPPING)
        pressed_ns = now_ns()
        bench.bus.repeat_stop(causes())
        report = bench.bus.stop_report
        assert report is not None
        assert (report.phase, report.output_zero_ns is not None) == (StopPhase.SENDING, True)
        await bench.until(lambda: bench.bus.stop_report.phase is StopPhase.STOPPING, limit_s=0.2)
        assert {DRIVE_1_ZERO, DRIVE_2_ZERO} <= set(bench.line.frames_since(pressed_ns))


async def test_a_demand_that_comes_back_during_the_ramp_is_zeroed_at_once(autojump_clock: MockClock) -> None:
    """A module that restarted, or a second master: the read-back of before says nothing any more."""
    bench = make_bench()
    async with settled(bench):
        await moving(bench)
        bench.bus.trip_causes(StopKind.S1, causes())
        await bench.until(lambda: bench.reports[-1].phase is StopPhase.STOPPING)
        lost_ns = now_ns()
        bench.modules[TRAVEL].image[0x0003] = 40
        await bench.until(lambda: DRIVE_1_ZERO in bench.line.frames_since(lost_ns), limit_s=0.2)


async def test_with_a_dead_drive_the_brake_comes_first_when_s1_fails_and_the_safety_module_is_still_asked(
    autojump_clock: MockClock,
) -> None:
    bench = make_bench()
    async with settled(bench):
        await moving(bench)
        bench.rules.append(lambda request, _: [] if request.unit == TRAVEL else None)
        tripped_ns = now_ns()
        bench.bus.trip_causes(StopKind.S1, causes())
        await bench.until(lambda: BRAKE_ON in bench.line.frames_since(tripped_ns), limit_s=1)
        braked_ns = bench.line.sent_times(BRAKE_ON)[-1]
        assert braked_ns - tripped_ns <= 330 * MS
        assert not {DRIVE_1_OFF, DRIVE_2_OFF} & set(bench.line.frames_since(tripped_ns)[:-1])
        await trio.sleep(0.3)
        asked = [at_ns for at_ns in bench.line.sent_times(SAFETY_BLOCK) if at_ns > tripped_ns]
        gaps = [later - earlier for earlier, later in pairwise([tripped_ns, *asked])]
        assert max(gaps) < 120 * MS
