"""A timer with microsecond resolution, for the bus owner and the safety step: timerfd by ctypes.

Each `PreciseTimer` owns one descriptor. Source: timerfd_create(2) and clock_getres(2) of Linux. `trio.sleep` rounds to
the millisecond of epoll, and `os.timerfd_create` exists from Python 3.13 only.
"""

import ctypes
import os

import trio

from oht50d.clock import NS_PER_S, now_ns

_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK = os.O_NONBLOCK
_TFD_CLOEXEC = os.O_CLOEXEC

LEAD_NS = 350_000
"""Waking up takes 40 to 130 us in a virtual machine; a turn of the loop, the choice and the encoding about 200 us."""

_libc = ctypes.CDLL(None, use_errno=True)
_settime = _libc.timerfd_settime


class _TimerSpec(ctypes.Structure):
    """struct itimerspec: interval and first expiry, each in seconds and nanoseconds."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("first_s", ctypes.c_long),
        ("first_ns", ctypes.c_long),
    )


class PreciseTimer:
    """Waits on Trio's clock to a few tens of microseconds; one waiter at a time.

    It runs on the kernel's monotonic clock, which is what Trio's system clock reads; under a mock clock it still waits
    in real time.
    """

    def __init__(self) -> None:
        self.lead_ns = LEAD_NS
        self._spec = _TimerSpec(0, 0, 0, 0)
        self._spec_at = ctypes.byref(self._spec)
        self._fd = _checked(_libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC))

    async def wait_until_ns(self, deadline_ns: int) -> None:
        """Return at or just after `deadline_ns`, never before; at once (after a checkpoint) if it has passed.

        A cancellation leaves it usable. Raises trio.ClosedResourceError after `close`.
        """
        if self._fd < 0:
            raise trio.ClosedResourceError("the timer is closed")
        remaining_ns = deadline_ns - now_ns()
        if remaining_ns <= 0:
            await trio.lowlevel.checkpoint()
        while remaining_ns > 0:
            # Arming forgets an expiry that nobody has read, so nothing has to be disarmed afterwards.
            self._arm(remaining_ns)
            await trio.lowlevel.wait_readable(self._fd)
            remaining_ns = deadline_ns - now_ns()

    def hold_until_ns(self, deadline_ns: int) -> int:
        """Spin until `deadline_ns`, letting no other task run, never for longer than `lead_ns`; the time then."""
        at_ns = now_ns()
        ends_ns = min(deadline_ns, at_ns + self.lead_ns)
        while at_ns < ends_ns:
            at_ns = now_ns()
        return at_ns

    def close(self) -> None:
        """Close the descriptor; a waiter gets trio.ClosedResourceError. May be called twice."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        trio.lowlevel.notify_closing(fd)
        os.close(fd)

    def _arm(self, delay_ns: int) -> None:
        """Expire once after `delay_ns`; an expiry that nobody has read is forgotten."""
        self._spec.first_s, self._spec.first_ns = divmod(delay_ns, NS_PER_S)
        _checked(_settime(self._fd, 0, self._spec_at, None))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
