"""A timer that rings on the microsecond: Trio's own sleep rounds up to whole milliseconds (owns its descriptor).

Source: timerfd_create(2); the clock is CLOCK_MONOTONIC, the one that `time.monotonic_ns` reads.
"""

import ctypes
import os
import time
from types import TracebackType
from typing import Self

import trio

_TFD_TIMER_ABSTIME = 1
_NS_PER_S = 1_000_000_000


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSetting(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("first", _Timespec))


_LIBC = ctypes.CDLL(None, use_errno=True)


class Alarm:
    """One deadline at a time; setting a new one replaces the old."""

    def __init__(self) -> None:
        self._fd = _LIBC.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def set(self, monotonic_ns: int) -> None:
        """Ring at `monotonic_ns`, at once if that has passed."""
        first = _Timespec(*divmod(max(monotonic_ns, 1), _NS_PER_S))
        setting = _TimerSetting(_Timespec(0, 0), first)
        if _LIBC.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(setting), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    async def wait(self) -> None:
        """Until it rings; a cancellation leaves the alarm set."""
        while True:
            await trio.lowlevel.wait_readable(self._fd)
            try:
                os.read(self._fd, 8)
            except BlockingIOError:
                continue
            return
