"""Supervised tasks under the mock clock: what restarts, how fast, what ends it; and polling survives everything."""

import logging
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
import trio
from attrs import evolve
from bus_fakes import MS, Bench, make_bench
from trio.testing import MockClock

from oht50d.app.supervisor import RestartPolicy, Supervised, first_problem
from oht50d.clock import now_ns
from oht50d.model.bus import WriteRegisters
from oht50d.model.errors import ConfigError, DeviceSilent, InvariantViolation, LinkError, LinkLost, StoreError

EXACT = RestartPolicy(first_s=0.1, cap_s=1.0, jitter_ratio=0.0)
S0 = [WriteRegisters(4, 0x0001, (0, 0, 0)), WriteRegisters(4, 0x0011, (0, 0, 0))]


class Failing:
    """A task that ends the same way every time and keeps when it began."""

    def __init__(self, error: BaseException | None, lasts_s: float = 0.0) -> None:
        self.error = error
        self.lasts_s = lasts_s
        self.began_ns: list[int] = []

    async def __call__(self) -> None:
        self.began_ns.append(now_ns())
        await trio.sleep(self.lasts_s)
        if self.error is not None:
            raise self.error

    @property
    def pauses_ms(self) -> list[float]:
        return [round((later - earlier) / MS - self.lasts_s * 1000, 3) for earlier, later in pairwise(self.began_ns)]


async def supervise(task: Callable[[], Awaitable[None]], seconds: float, policy: RestartPolicy = EXACT) -> None:
    with trio.move_on_after(seconds):
        await Supervised("a task", task, policy).run()


# -- pauses


@pytest.mark.parametrize("error", [LinkError("absent"), LinkLost("gone"), DeviceSilent("mute")])
async def test_a_device_that_is_absent_is_tried_for_ever_with_a_capped_backoff(
    autojump_clock: MockClock, error: LinkError
) -> None:
    task = Failing(error)
    await supervise(task, 3600)
    assert task.pauses_ms[:5] == [100, 200, 400, 800, 1000]
    assert set(task.pauses_ms[5:]) == {1000}
    assert len(task.began_ns) > 3500


async def test_a_run_that_lasted_begins_the_backoff_anew(autojump_clock: MockClock) -> None:
    task = Failing(LinkLost("gone"), lasts_s=11)
    await supervise(task, 200)
    assert set(task.pauses_ms) <= {100.0, 200.0}
    assert len(task.began_ns) >= 17


async def test_a_task_that_ends_by_itself_is_started_again(autojump_clock: MockClock) -> None:
    task = Failing(None)
    await supervise(task, 60)
    assert len(task.began_ns) > 50


def test_jitter_stays_inside_its_ratio_and_the_exponent_is_bounded() -> None:
    policy = RestartPolicy(first_s=0.1, cap_s=5.0, jitter_ratio=0.2)
    delays = [policy.delay_s(attempt) for attempt in (0, 1, 5, 10, 10**9) for _ in range(50)]
    assert min(delays) >= 0.08
    assert max(delays) <= 6.0
    assert len(set(delays)) > 200


async def test_whoever_vouches_for_the_loop_hears_of_it_twice_a_second(autojump_clock: MockClock) -> None:
    told: list[int] = []
    policy = RestartPolicy(first_s=5.0, cap_s=5.0, jitter_ratio=0.0)
    with trio.move_on_after(60):
        await Supervised("x", Failing(LinkError("absent")), policy, on_pause=lambda _: told.append(now_ns())).run()
    assert max(later - earlier for earlier, later in pairwise(told)) <= 500 * MS + 1000


@pytest.mark.parametrize("error", [LinkError("no files", cause="resources"), ValueError("a defect"), None])
async def test_whoever_vouches_for_the_loop_hears_what_ended_the_last_run(
    autojump_clock: MockClock, error: Exception | None
) -> None:
    told: list[BaseException | None] = []
    with trio.move_on_after(1):
        await Supervised("x", Failing(error), EXACT, on_pause=told.append).run()
    assert set(told) == {error}


# -- defects


async def test_defects_restart_within_their_budget_and_then_end_it(autojump_clock: MockClock) -> None:
    seen: list[BaseException] = []
    task = Failing(ValueError("a defect"))
    supervised = Supervised("a task", task, EXACT, on_defect=seen.append)
    raised: list[BaseException] = []
    try:
        await supervised.run()
    except* ValueError as group:
        raised.append(group)
    assert raised
    assert len(task.began_ns) == EXACT.defects_allowed + 1
    assert len(seen) == EXACT.defects_allowed + 1


async def test_old_defects_leave_the_budget(autojump_clock: MockClock) -> None:
    task = Failing(ValueError("a defect"), lasts_s=15)
    await supervise(task, 3600)
    assert len(task.began_ns) > 200


async def test_link_errors_never_use_up_the_budget(autojump_clock: MockClock) -> None:
    errors = [LinkLost("gone"), ValueError("a defect")]
    task = Failing(None)

    async def alternate() -> None:
        task.error = errors[len(task.began_ns) % 2 if len(task.began_ns) < 9 else 0]
        await task()

    await supervise(alternate, 120)
    assert len(task.began_ns) > 100


NESTED: dict[str, tuple[BaseException, bool]] = {
    "a link error": (ExceptionGroup("a", [LinkLost("gone")]), False),
    "a link error three deep": (
        ExceptionGroup("a", [ExceptionGroup("b", [ExceptionGroup("c", [LinkLost("x")])])]),
        False,
    ),
    "two link errors": (ExceptionGroup("a", [LinkLost("gone"), DeviceSilent("mute")]), False),
    "a defect": (ExceptionGroup("a", [KeyError("k")]), True),
    "a defect three deep": (ExceptionGroup("a", [ExceptionGroup("b", [ExceptionGroup("c", [KeyError("k")])])]), True),
    "a link error and a defect": (ExceptionGroup("a", [LinkLost("gone"), ExceptionGroup("b", [KeyError("k")])]), True),
}


@pytest.mark.parametrize("case", NESTED)
async def test_groups_are_judged_by_what_is_in_them(autojump_clock: MockClock, case: str) -> None:
    error, is_defect = NESTED[case]
    seen: list[BaseException] = []
    task = Failing(error)
    supervised = Supervised("a task", task, EXACT, on_defect=seen.append)
    with trio.move_on_after(10) as scope:
        try:
            await supervised.run()
        except* KeyError:
            pass
    assert bool(seen) is is_defect
    assert scope.cancelled_caught is not is_defect
    assert all(isinstance(error, KeyError) for error in seen)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
async def test_what_ends_a_process_is_not_restarted(autojump_clock: MockClock, error: BaseException) -> None:
    task = Failing(error)
    with pytest.raises((type(error), BaseExceptionGroup)):
        await Supervised("a task", task, EXACT).run()
    assert len(task.began_ns) == 1


async def test_a_cancellation_ends_it_at_once_wherever_it_is(autojump_clock: MockClock) -> None:
    for task, seconds in ((Failing(None, lasts_s=100), 5.0), (Failing(LinkError("absent")), 5.05)):
        began_ns = now_ns()
        await supervise(task, seconds)
        assert now_ns() - began_ns <= seconds * 1e9 + 1000


def test_the_first_problem_of_ours_is_found_in_nested_groups() -> None:
    problem = ConfigError("bus.port", "is wrong")
    assert first_problem(ExceptionGroup("a", [ExceptionGroup("b", [problem])])) is problem
    assert first_problem(ValueError("x")) is None


# -- the log


async def test_a_problem_is_logged_once_with_its_remedy_then_counted(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    task = Failing(LinkError("absent", remedy="Plug it in."))
    supervised = Supervised("field bus", task, EXACT)
    with trio.move_on_after(60):
        await supervised.run()
    assert [record.getMessage() for record in caplog.records] == ["field bus: absent. Plug it in."]
    task.error = LinkError("held", remedy="Stop it.")
    with trio.move_on_after(5):
        await supervised.run()
    text = caplog.records[-1].getMessage()
    assert text.startswith("field bus: held. Stop it. (the last problem came")


async def test_a_problem_that_comes_back_another_day_is_logged_again(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await supervise(Failing(LinkLost("gone"), lasts_s=3600), 3 * 3600 + 10)
    assert len(caplog.records) == 3


# -- the wire survives whatever is thrown at any of its awaits

ERRORS: tuple[Exception, ...] = (
    LinkLost("gone"), LinkError("absent"), DeviceSilent("mute"), StoreError("full"), InvariantViolation("never"),
    OSError(5, "Input/output error"), TimeoutError(), ValueError("x"), KeyError("x"), AssertionError("x"),
    MemoryError(), RecursionError(), StopAsyncIteration(), trio.ClosedResourceError(), trio.BusyResourceError(),
    trio.TooSlowError(), ExceptionGroup("a", [ExceptionGroup("b", [ValueError("x")])]),
    ExceptionGroup("a", [LinkLost("gone"), ValueError("x")]),
)  # fmt: skip
PLACES = ("open", "send", "receive", "drain", "close", "timer", "publish", "publish_stop")


def plant(bench: Bench, place: str, error: Exception) -> None:
    """The next passage through `place` raises `error`, once."""
    line, bus = bench.line, bench.bus
    owners: dict[str, tuple[object, str]] = {
        "send": (line, "send_now"), "receive": (line, "receive_some"), "drain": (line, "drain_input"),
        "close": (line, "close"), "timer": (bus._timer, "wait_until_ns"), "open": (bus, "_open_port"),
        "publish": (bus, "_publish"), "publish_stop": (bus, "_publish_stop"),
    }  # fmt: skip
    owner, name = owners[place]
    honest = getattr(owner, name)

    def fail(*_: object, **__: object) -> object:
        setattr(owner, name, honest)
        raise error

    setattr(owner, name, fail)
    if place == "drain":
        bus.discard_input()
    if place in ("open", "close"):
        line.hang_up()


async def reopened_and_polling(bench: Bench) -> None:
    line = bench.line
    await bench.until(lambda: bench.line is not line, limit_s=5)
    published = len(bench.words_of(3, 0))
    await bench.until(lambda: len(bench.words_of(3, 0)) > published, limit_s=5)


@pytest.mark.parametrize("place", PLACES)
async def test_polling_survives_every_error_at_every_await(autojump_clock: MockClock, place: str) -> None:
    bench = make_bench()
    defects: list[BaseException] = []
    patient = evolve(EXACT, defects_allowed=len(ERRORS))
    async with trio.open_nursery() as nursery:
        await nursery.start(Supervised("field bus", bench.bus.run, patient, on_defect=defects.append).run)
        await bench.settle()
        for error in ERRORS:
            before, known = bench.line, len(defects)
            plant(bench, place, error)
            if place == "publish_stop":
                bench.bus.repeat_stop(())
            await reopened_and_polling(bench)
            assert [request for _, request in bench.line.sent][:2] == S0, error
            assert before.is_closed or place == "close"
            assert bench.bus.status.is_open
            assert len(defects) - known == (0 if isinstance(error, LinkError) else 1), error
        nursery.cancel_scope.cancel()
