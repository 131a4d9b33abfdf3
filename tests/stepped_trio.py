"""A Trio world on the mock clock that a test without Trio steps from outside, for stateful tests.

It runs in a thread of its own, and never at the same time as the test: virtual time passes only inside `do`.
"""

import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from queue import Queue
from typing import Generic, TypeVar

import outcome
import trio
from trio.testing import MockClock

T = TypeVar("T")
LIMIT_S = 120.0
"""Of real time, for one step."""


class SteppedTrio(Generic[T]):
    """`world()` is entered at once; `subject` is what it gives."""

    subject: T

    def __init__(self, world: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._world = world
        self._orders: Queue[Callable[[], Awaitable[object]] | None] = Queue()
        self._answers: Queue[BaseException | None] = Queue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._await_answer()

    def do(self, order: Callable[[], Awaitable[object]]) -> None:
        """Run it in the world; what it raises is raised here, and what ends the world too."""
        self._orders.put(order)
        self._await_answer()

    def close(self) -> None:
        """Leave the world."""
        self._orders.put(None)
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive()

    def _await_answer(self) -> None:
        problem = self._answers.get(timeout=LIMIT_S)
        if problem is not None:
            raise problem

    def _run(self) -> None:
        ended = outcome.capture(trio.run, self._serve, clock=MockClock(autojump_threshold=0))
        if isinstance(ended, outcome.Error):
            self._answers.put(ended.error)  # raised again in the thread of the test

    async def _serve(self) -> None:
        async with self._world() as self.subject:
            self._answers.put(None)
            # Blocks the whole loop on purpose: nothing happens in the world between two orders.
            while (order := self._orders.get()) is not None:
                await order()
                self._answers.put(None)
