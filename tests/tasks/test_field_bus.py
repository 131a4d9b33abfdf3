"""The bus owner on a line of memory under the mock clock: asserted are frames, their times, and what is published."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
import trio
from bus_fakes import CHARACTER_NS, DOCK, MS, SAFETY, SILENCE_NS, TRAVEL, Bench, Pieces, Rule, make_bench
from trio.testing import MockClock, wait_all_tasks_blocked

from oht50d.clock import now_ns
from oht50d.codec.rtu import crc16, encode_reply, encode_request, reply_length
from oht50d.drivers.field_bus import exchange_ns
from oht50d.model.bus import (
    BusRequest,
    ExchangeResult,
    Failure,
    Hint,
    ReadRegisters,
    ReadReply,
    WriteRegister,
    WriteRegisters,
)
from oht50d.model.errors import LinkError, LinkLost
from oht50d.model.motion import Cause, CauseCode, StopKind, StopPhase
from oht50d.model.registers import PollClass

DRIVE_1_OFF = WriteRegisters(TRAVEL, 0x0001, (0, 0, 0))
DRIVE_2_OFF = WriteRegisters(TRAVEL, 0x0011, (0, 0, 0))
DRIVE_1_ZERO = WriteRegisters(TRAVEL, 0x0002, (0, 0))
DRIVE_2_ZERO = WriteRegisters(TRAVEL, 0x0012, (0, 0))
BRAKE_ON = WriteRegister(SAFETY, 0x0031, 0)
SAFETY_BLOCK = ReadRegisters(SAFETY, 0x0000, 8)
POSITION_BLOCK = ReadRegisters(DOCK, 0x0030, 12)
ENDS_AT_ONCE_NS = 100
"""Slack for the floating-point seconds of the mock clock."""


@asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[Bench]:
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.bus.run)
        await wait_all_tasks_blocked()
        yield bench
        nursery.cancel_scope.cancel()


def stop_cause(code: CauseCode = CauseCode.OPERATOR_STOP) -> tuple[Cause, ...]:
    return (Cause(code, now_ns(), "a test"),)


def last_frame(bench: Bench) -> tuple[int, BusRequest]:
    return bench.line.sent[-1]


async def pending(bench: Bench, request: BusRequest) -> int:
    """Wait until `request` has just been sent (again); when its last byte is out."""
    seen = len(bench.line.sent_times(request))
    await bench.until(lambda: len(bench.line.sent_times(request)) > seen)
    return bench.line.sent_times(request)[-1] + len(encode_request(request)) * CHARACTER_NS


# -- opening


async def test_every_opening_sends_s0_to_the_bound_addresses_before_any_identification(
    autojump_clock: MockClock,
) -> None:
    bench = make_bench()
    for _ in range(2):
        with pytest.raises(BaseExceptionGroup):
            async with running(bench):
                await bench.settle()
                bench.line.hang_up()
                await trio.sleep(1)
    assert len(bench.lines) == 2
    for line in bench.lines:
        frames = [request for _, request in line.sent]
        assert frames[:3] == [DRIVE_1_OFF, DRIVE_2_OFF, BRAKE_ON]
        reads = [request for request in frames if isinstance(request, ReadRegisters)]
        # Read back, then identification, the safety module first; nothing else is polled before.
        assert reads[:3] == [
            ReadRegisters(TRAVEL, 1, 3),
            ReadRegisters(TRAVEL, 0x11, 6),
            ReadRegisters(SAFETY, 0x31, 1),
        ]
        assert reads[3] == ReadRegisters(SAFETY, 0x00F8, 15)


async def test_dead_modules_get_their_s0_too_and_do_not_hold_it_up(autojump_clock: MockClock) -> None:
    bench = make_bench()
    bench.rules.append(lambda request, _: [] if request.unit == TRAVEL else None)
    async with running(bench):
        await bench.until(lambda: bench.schedule.links[SAFETY].is_identified)
    frames = [request for _, request in bench.lines[0].sent]
    assert frames[:3] == [DRIVE_1_OFF, DRIVE_2_OFF, BRAKE_ON]
    # One attempt a step: the brake is out after two time-outs of 25 ms.
    assert bench.lines[0].sent[2][0] < 70 * MS


async def test_a_silent_drive_gets_its_s0_repeated_until_it_is_read_back(autojump_clock: MockClock) -> None:
    bench = make_bench()
    bench.rules.append(lambda request, _: [] if request.unit == TRAVEL and now_ns() < 3000 * MS else None)
    async with running(bench):
        await bench.settle()
    repeats = bench.lines[0].sent_times(DRIVE_1_OFF)
    assert len(repeats) > 3
    assert repeats[-1] >= 3000 * MS
    assert bench.reports[-1].phase is StopPhase.STANDSTILL


async def test_an_open_that_fails_tells_cause_and_remedy(autojump_clock: MockClock) -> None:
    bench = make_bench()

    async def refuse() -> None:
        raise LinkError("held by cat", cause="held", remedy="stop cat")

    bench.on_open = refuse
    with pytest.raises(LinkError):
        await bench.bus.run()
    status = bench.bus.status
    assert (status.is_open, status.cause, status.remedy) == (False, "held by cat", "stop cat")
    assert not bench.lines


# -- silence on the line


async def test_t35_is_kept_before_every_frame(autojump_clock: MockClock) -> None:
    bench = make_bench()
    async with running(bench):
        await bench.settle()
        await trio.sleep(1.5)
    line = bench.lines[0]
    assert len(line.sent) > 100
    assert min(line.quiet_ns) >= SILENCE_NS - ENDS_AT_ONCE_NS
    assert bench.bus.status.early_frames == 0
    assert len(line.sent) - bench.bus.status.transactions in (0, 1), "the last one may be under way"


async def test_after_noise_the_line_must_have_been_quiet_for_t35(autojump_clock: MockClock) -> None:
    bench = make_bench()
    async with running(bench):
        await bench.settle()
        line = bench.line
        bench.rules.append(lambda request, _: [(at * MS, b"\x55") for at in range(3, 20)])
        ends_ns = await pending(bench, SAFETY_BLOCK)
        bench.rules.clear()
        count = len(line.sent)
        await bench.until(lambda: len(line.sent) > count)
        sent_ns, _ = last_frame(bench)
        assert sent_ns >= ends_ns + 19 * MS + SILENCE_NS - ENDS_AT_ONCE_NS
        assert line.quiet_ns[-1] >= SILENCE_NS - ENDS_AT_ONCE_NS


async def test_a_line_that_never_is_quiet_holds_frames_up_for_a_bounded_time(autojump_clock: MockClock) -> None:
    bench = make_bench()
    async with running(bench):
        await bench.settle()
        for moment in range(2000):
            bench.line.inject(b"\xff", now_ns() + moment * MS)
        began_ns = now_ns()
        bench.bus.trip_causes(StopKind.S0, stop_cause())
        await bench.until(lambda: DRIVE_1_OFF in bench.line.frames_since(began_ns))
        # The exchange that was pending, twenty silences, and the frame.
        assert bench.line.sent_times(DRIVE_1_OFF)[-1] - began_ns < 60 * MS + 21 * SILENCE_NS


# -- time-outs and bytes that are no reply


@pytest.mark.parametrize(("block", "least_ms", "limit_ms"), [(SAFETY_BLOCK, 25, 25), (POSITION_BLOCK, 18, 50)])
async def test_a_reply_has_its_time_out_and_then_the_line_goes_on(
    autojump_clock: MockClock, block: ReadRegisters, least_ms: int, limit_ms: int
) -> None:
    """Nobody is waited for beyond the safety module's deadline, but 25 ms with all that belongs to the exchange."""
    bench = make_bench()
    async with running(bench):
        await bench.settle()
        await pending(bench, block)
        bench.rules.append(lambda request, _: [] if request == block else None)
        ends_ns = await pending(bench, block)
        count = len(bench.line.sent)
        await bench.until(lambda: len(bench.line.sent) > count)
        waited_ns = last_frame(bench)[0] - ends_ns - reply_length(block) * CHARACTER_NS
        assert least_ms * MS <= waited_ns <= limit_ms * MS + 2 * SILENCE_NS + ENDS_AT_ONCE_NS
        assert bench.schedule.links[block.unit].counters.timeouts == 1
        assert all(bench.schedule.links[unit].counters.timeouts == 0 for unit in (2, 3, 4, 5) if unit != block.unit)


def _wrong_crc(adu: bytes) -> bytes:
    return adu[:-1] + bytes((adu[-1] ^ 1,))


def _wrong_unit(adu: bytes) -> bytes:
    body = bytes((adu[0] + 1,)) + adu[1:-2]
    return body + crc16(body).to_bytes(2, "little")


def _too_long(adu: bytes) -> bytes:
    return adu + b"\x00"


@pytest.mark.parametrize("spoil", [_wrong_crc, _wrong_unit, _too_long, lambda adu: adu[::-1]])
async def test_bytes_that_are_no_reply_are_counted_and_never_published(
    autojump_clock: MockClock, spoil: object
) -> None:
    assert callable(spoil)
    bench = make_bench()
    async with running(bench):
        await bench.settle()
        bench.modules[SAFETY].image[0x0010] = 777
        bench.rules.append(
            lambda request, honest: (
                [(at, spoil(adu)) for at, adu in honest] if request.unit == SAFETY else None
            )
        )  # fmt: skip
        await trio.sleep(0.02)  # what was on its way is there
        published = len(bench.words_of(SAFETY, 0))
        await trio.sleep(0.5)
        link = bench.schedule.links[SAFETY]
        assert link.counters.noise >= 3
        assert "damaged replies" in link.problem
        assert len(bench.words_of(SAFETY, 0)) == published
        assert (777,) not in [words[:1] for words in bench.words_of(SAFETY, 0x0010)]
        bench.rules.clear()
        await bench.until(lambda: len(bench.words_of(SAFETY, 0)) > published)
        assert link.problem == ""


async def failures_of(bench: Bench, unit: int, rule: Rule) -> list[ExchangeResult]:
    """What half a second of exchanges with a unit comes to, all of which fail, while `rule` holds."""
    found: list[ExchangeResult] = []
    bench.on_exchange = lambda _slot, result: found.append(result) if result.request.unit == unit else None
    async with running(bench):
        await bench.settle()
        bench.rules.append(lambda request, honest: rule(request, honest) if request.unit == unit else None)
        await trio.sleep(0.02)
        found.clear()
        await trio.sleep(0.5)
    assert len(found) >= 3
    assert all(result.reply is None for result in found)
    return found


async def test_an_adapter_that_hears_itself_is_told(autojump_clock: MockClock) -> None:
    bench = make_bench()
    found = await failures_of(
        bench, SAFETY, lambda request, honest: [(-4 * CHARACTER_NS, encode_request(request)), *honest]
    )
    assert {result.hint for result in found} == {Hint.ECHO}
    assert "the adapter hears what it sends" in bench.schedule.links[SAFETY].problem
    assert "bus.serial.direction" in bench.schedule.links[SAFETY].problem


@pytest.mark.parametrize("first", [b"\x00", b"\xff"])
async def test_a_byte_before_each_reply_is_damage_and_tells_of_the_bias(
    first: bytes, autojump_clock: MockClock
) -> None:
    bench = make_bench()
    found = await failures_of(bench, SAFETY, lambda _, honest: [(at, first + adu) for at, adu in honest])
    assert {(result.failure, result.hint) for result in found} == {(Failure.NOISE, Hint.BIAS)}
    assert "bias resistors and termination" in bench.schedule.links[SAFETY].problem


async def test_a_frame_of_somebody_else_is_a_mismatch_and_damage_to_an_address_is_not(
    autojump_clock: MockClock,
) -> None:
    def spoil_unit(adu: bytes) -> bytes:
        return bytes((adu[0] ^ 0x40,)) + adu[1:]

    for spoil, failure in ((_wrong_unit, Failure.MISMATCH), (spoil_unit, Failure.NOISE)):
        found = await failures_of(make_bench(), SAFETY, lambda _, honest, s=spoil: [(at, s(adu)) for at, adu in honest])
        assert {(result.failure, result.hint) for result in found} == {(failure, None)}


async def test_a_lost_reply_is_asked_for_again_at_once(autojump_clock: MockClock) -> None:
    bench = make_bench()
    async with running(bench):
        await bench.settle()
        await pending(bench, SAFETY_BLOCK)
        losses: Iterator[int] = iter(range(1))
        bench.rules.append(
            lambda request, honest: (
                [(honest[0][0], _wrong_crc(honest[0][1]))]
                if request == SAFETY_BLOCK and next(losses, None) is not None else None
            )
        )  # fmt: skip
        published = len(bench.words_of(SAFETY, 0))
        ends_ns = await pending(bench, SAFETY_BLOCK)
        await bench.until(lambda: len(bench.words_of(SAFETY, 0)) > published)
        assert now_ns() - ends_ns < 40 * MS


# -- late replies


@pytest.mark.parametrize("late_ms", [26, 29, 33, 40, 60, 120])
async def test_a_late_reply_is_never_taken_for_the_answer_to_another_request(
    autojump_clock: MockClock, late_ms: int
) -> None:
    """Each reply carries the number of its request; whatever is published must carry the number of what was asked."""
    bench = make_bench()
    asked: list[int] = []

    def numbered(request: BusRequest, honest: Pieces) -> Pieces | None:
        if request != SAFETY_BLOCK:
            return None
        asked.append(now_ns())
        adu = encode_reply(ReadReply(SAFETY, (0, 0, 0, 0, 0, 0, 0, len(asked))))
        is_late = len(asked) % 3 == 2
        return [(late_ms * MS if is_late else honest[0][0], adu)]

    bench.modules[SAFETY].image[0x0007] = 0
    async with running(bench):
        await bench.settle()
        bench.rules.append(numbered)
        await bench.until(lambda: len(asked) >= 20)
        published = [r for r in bench.readings if r.block.unit == SAFETY and r.block.first == 0 and r.words[7]]
        assert len(published) >= 8
        for reading in published:
            assert asked[reading.words[7] - 1] == reading.requested_ns


async def test_a_module_that_answers_everything_late_is_left_quiet_until_its_replies_are_gone(
    autojump_clock: MockClock,
) -> None:
    bench = make_bench()
    async with running(bench):
        await bench.settle()
        ends_ns = await pending(bench, SAFETY_BLOCK)
        await trio.sleep_until((ends_ns + 10 * MS) / 1e9)
        bench.rules.append(lambda request, honest: [(300 * MS, honest[0][1])] if request.unit == SAFETY else None)
        published = len(bench.words_of(SAFETY, 0))
        await trio.sleep(3)
        assert len(bench.words_of(SAFETY, 0)) == published
        bench.rules.clear()
        await bench.until(lambda: len(bench.words_of(SAFETY, 0)) > published, limit_s=3)


# -- replies that come twice


@asynccontextmanager
async def repeating(units: set[int], copy: Callable[[int, bytes], Pieces]) -> AsyncIterator[set[tuple[int, int]]]:
    """Modules that send every reply twice for three seconds: what was published as the gains of drives 1 and 2."""
    bench = make_bench()
    bench.modules[TRAVEL].image |= {0x0008: 11, 0x0018: 22}

    def twice(request: BusRequest, honest: Pieces) -> Pieces | None:
        if request.unit not in units or not honest:
            return None
        ((at_ns, adu),) = honest
        return [(at_ns, adu), *copy(at_ns, adu)]

    async with running(bench):
        await bench.settle()
        bench.rules.append(twice)
        before = len(bench.readings)
        await trio.sleep(3)
        yield {
            (spec.address, word)
            for reading in bench.readings[before:]
            if reading.block.poll is PollClass.MOTOR
            for spec, word in zip(reading.block.specs, reading.words, strict=True)
            if spec.role in ("drive.1.pid_kp", "drive.2.pid_kp")
        }
        assert bench.bus.status.unexpected_bytes > 0


UNITS = pytest.mark.parametrize("units", [{TRAVEL}, {2, 3, 4, 5}], ids=["drives", "everybody"])


@UNITS
@pytest.mark.parametrize("gap_us", [0, 300, 1000, 1600])
async def test_a_reply_that_comes_twice_costs_time_and_nothing_else(
    autojump_clock: MockClock, units: set[int], gap_us: int
) -> None:
    def byte_by_byte(at_ns: int, adu: bytes) -> Pieces:
        return [(at_ns + gap_us * 1000 + (1 + i) * CHARACTER_NS, adu[i : i + 1]) for i in range(len(adu))]

    async with repeating(units, byte_by_byte) as gains:
        assert gains == {(0x08, 11), (0x18, 22)}


@UNITS
@pytest.mark.parametrize("gap_us", [1800, 2500, 4000, 6000])
async def test_a_second_copy_in_the_next_exchange_is_never_taken_for_another_answer(
    autojump_clock: MockClock, units: set[int], gap_us: int
) -> None:
    """An adapter that hands over whole frames late."""
    async with repeating(units, lambda at_ns, adu: [(at_ns + gap_us * 1000, adu)]) as gains:
        assert gains == {(0x08, 11), (0x18, 22)}


async def test_a_reply_that_follows_somebody_elses_frame_is_no_value(autojump_clock: MockClock) -> None:
    """Another master, or a second module at the address: whose words those are cannot be known."""
    bench = make_bench()
    lies = 0

    def talk_over(request: BusRequest, honest: Pieces) -> Pieces | None:
        nonlocal lies
        if request != POSITION_BLOCK or trio.current_time() < began_s + 1 or lies == 3:
            return None
        lies += 1
        foreign = encode_reply(ReadReply(SAFETY, (1, 2, 3)))
        false = encode_reply(ReadReply(DOCK, (0x7777,) * 12))
        return [(2 * MS, foreign), (8 * MS, false)]

    began_s = trio.current_time()
    bench.rules.append(talk_over)
    async with running(bench):
        await bench.settle()
        await bench.until(lambda: lies == 3)
        await trio.sleep(1)
        assert (0x7777,) * 12 not in bench.words_of(DOCK, 0x0030)
        assert bench.schedule.links[DOCK].counters.noise >= 3
        assert bench.words_of(DOCK, 0x0030)


# -- losing the port


async def test_a_lost_link_ends_the_session_and_the_next_one_starts_with_s0(autojump_clock: MockClock) -> None:
    bench = make_bench()

    def hang_up_at_the_end(request: BusRequest, _: Pieces) -> None:
        if request == POSITION_BLOCK:
            bench.line.hang_up()

    bench.rules.append(hang_up_at_the_end)
    with pytest.raises(LinkLost):
        await bench.bus.run()
    bench.rules.clear()
    status = bench.bus.status
    assert not status.is_open
    assert (status.cause, status.remedy) == ("memory has hung up", "plug it in")
    assert bench.line.is_closed
    bench.bus.trip_causes(StopKind.S1, stop_cause())
    async with running(bench):
        await bench.until(lambda: len(bench.line.sent) > 3)
        assert [request for _, request in bench.line.sent][:3] == [DRIVE_1_OFF, DRIVE_2_OFF, BRAKE_ON]
        assert bench.bus.status.is_open
        assert bench.reports[-1].kind is StopKind.S0


async def test_a_silent_port_whose_name_has_moved_is_let_go_of(autojump_clock: MockClock) -> None:
    bench = make_bench()
    moves_s = 5.0

    def silent(_request: BusRequest, _: Pieces) -> Pieces:
        bench.line.is_current = trio.current_time() < moves_s
        return []

    bench.rules.append(silent)
    moves_s += trio.current_time()
    with pytest.raises(LinkLost, match="stands for another device now"):
        await bench.bus.run()
    assert moves_s < trio.current_time() < moves_s + 2, "neither before it moves nor long after"


async def test_a_port_that_answers_is_kept_wherever_its_name_leads(autojump_clock: MockClock) -> None:
    bench = make_bench()
    async with running(bench):
        await bench.settle()
        bench.line.is_current = False
        await trio.sleep(5)
        assert bench.bus.status.is_open


async def test_a_cancelled_session_closes_the_port(autojump_clock: MockClock) -> None:
    bench = make_bench()
    async with running(bench):
        await bench.settle()
    assert bench.line.is_closed
    assert not bench.bus.status.is_open


# -- input of unknown age


@pytest.mark.parametrize("is_pending", [False, True])
async def test_discarded_input_is_never_read(autojump_clock: MockClock, is_pending: bool) -> None:
    bench = make_bench()
    async with running(bench):
        await bench.settle()
        ends_ns = await pending(bench, SAFETY_BLOCK)
        answered_ns = ends_ns + SILENCE_NS + MS + 21 * CHARACTER_NS
        if is_pending:
            # While the reply is awaited; the old bytes turn up between it and the next frame.
            bench.line.inject(b"old bytes", answered_ns + MS // 2)
        else:
            await bench.until(lambda: now_ns() - last_frame(bench)[0] > 14 * MS)
            bench.line.inject(b"old bytes")
        noise = sum(link.counters.noise for link in bench.schedule.links.values())
        bench.bus.discard_input()
        await trio.sleep(0.3)
        assert bench.line.drained == 9
        assert sum(link.counters.noise for link in bench.schedule.links.values()) == noise


async def test_a_reply_that_was_seen_after_a_gap_of_the_loop_is_not_taken_for_fresh(autojump_clock: MockClock) -> None:
    bench = make_bench()
    async with running(bench):
        await bench.settle()
        ends_ns = await pending(bench, SAFETY_BLOCK)
        await trio.sleep_until((ends_ns + 10 * MS) / 1e9)
        bench.rules.append(lambda request, _: [] if request == SAFETY_BLOCK else None)
        await pending(bench, SAFETY_BLOCK)
        published = len(bench.words_of(SAFETY, 0))
        # The reply is there, and this process does not run for 200 ms before it looks.
        bench.line.inject(encode_reply(bench.modules[SAFETY].answer(SAFETY_BLOCK)))
        autojump_clock.jump(0.2)
        await trio.sleep(0.001)
        assert len(bench.words_of(SAFETY, 0)) == published
        assert bench.schedule.links[SAFETY].counters.timeouts == 1
        bench.rules.clear()
        await bench.until(lambda: len(bench.words_of(SAFETY, 0)) > published)


def test_the_length_of_an_exchange_is_that_of_the_formula() -> None:
    # 8 and 21 characters of 86.806 us (10 bits at 115200 baud), 1 ms of turnaround, two silences of 1.75 ms.
    assert exchange_ns(SAFETY_BLOCK, 115_200, MS) == pytest.approx(29 * 86_806 + MS + 2 * 1_750_000, abs=100)
