"""SIGTERM and SIGINT stop in order, SIGHUP reloads (no state)."""

import signal
from collections.abc import AsyncIterator
from typing import Protocol

import trio

from oht50d.model.errors import Oht50Error


class Stoppable(Protocol):
    """The house as the signals see it."""

    def request_stop(self, reason: str) -> None: ...

    async def reload(self) -> None: ...

    async def run(self) -> int: ...


async def run_with_signals(house: Stoppable) -> int:
    """Run the house until it ends; a second SIGINT or SIGTERM changes nothing, the stop is under way.

    Raises what the house raises when it cannot start, as it is and not inside a group.
    """
    outcome: int | Oht50Error
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_obey, received, house, nursery)
            try:
                outcome = await house.run()
            except Oht50Error as problem:
                outcome = problem
            nursery.cancel_scope.cancel()
    if isinstance(outcome, Oht50Error):
        raise outcome
    return outcome


async def _obey(received: AsyncIterator[int], house: Stoppable, nursery: trio.Nursery) -> None:
    async for number in received:
        if number == signal.SIGHUP:
            nursery.start_soon(house.reload)  # a stop does not wait for files that are read
        else:
            house.request_stop(signal.Signals(number).name)
