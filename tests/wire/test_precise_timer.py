"""The timer against the real clock."""

import os
from pathlib import Path

import pytest
import trio
import trio.testing

from oht50d.clock import now_ns
from oht50d.drivers.timer import PreciseTimer

MS = 1_000_000
LIMIT_S = 20


async def test_never_early_and_mostly_far_below_the_millisecond_of_epoll() -> None:
    timer = PreciseTimer()
    late_ns = []
    with trio.fail_after(LIMIT_S):
        for _ in range(50):
            deadline_ns = now_ns() + 1_750_000
            await timer.wait_until_ns(deadline_ns)
            late_ns.append(now_ns() - deadline_ns)
    timer.close()
    assert min(late_ns) >= 0
    assert sorted(late_ns)[5] < 600_000, "a tenth of the waits must be better than the rounding of trio.sleep"


async def test_a_deadline_in_the_past_returns_after_a_checkpoint() -> None:
    timer = PreciseTimer()
    await timer.wait_until_ns(now_ns() - MS)
    with trio.CancelScope() as scope:
        scope.cancel()
        await timer.wait_until_ns(0)
    assert scope.cancelled_caught
    timer.close()


async def test_a_cancelled_wait_leaves_the_timer_usable() -> None:
    timer = PreciseTimer()
    with trio.move_on_after(0.02) as scope:
        await timer.wait_until_ns(now_ns() + 60_000 * MS)
    assert scope.cancelled_caught
    with trio.fail_after(LIMIT_S):
        for delay_ms in (5, 30):
            deadline_ns = now_ns() + delay_ms * MS
            await timer.wait_until_ns(deadline_ns)
            assert now_ns() >= deadline_ns
    timer.close()


async def test_closing_wakes_the_waiter_frees_the_descriptor_and_is_idempotent() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    timer = PreciseTimer()

    async def wait_for_ever() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await timer.wait_until_ns(now_ns() + 60_000 * MS)

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_ever)
            await trio.testing.wait_all_tasks_blocked()
            timer.close()
    timer.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with pytest.raises(trio.ClosedResourceError):
        await timer.wait_until_ns(now_ns() + MS)


async def test_the_kernel_refusing_a_timer_is_an_os_error(monkeypatch: pytest.MonkeyPatch) -> None:
    timer = PreciseTimer()
    descriptor, timer._fd = timer._fd, os.open("/dev/null", os.O_RDONLY)  # a descriptor that is no timer
    with pytest.raises(OSError, match="Invalid argument"):
        await timer.wait_until_ns(now_ns() + MS)
    os.close(descriptor)
    timer.close()
