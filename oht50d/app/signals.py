"""SIGTERM, SIGINT and SIGQUIT stop in order, SIGHUP reloads (owns the process's signal handlers)."""

import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import trio

from oht50d.model.errors import Oht50Error

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
MEANT_FOR_OTHERS = (signal.SIGUSR1, signal.SIGUSR2)
"""Sent by mistake, by a rule for log files for instance: a robot is not left to itself for that."""


class Stoppable(Protocol):
    """The house as the signals see it."""

    def request_stop(self, reason: str) -> None: ...

    async def reload(self) -> None: ...

    async def run(self) -> int: ...


@contextmanager
def noted_signals() -> Iterator[Sequence[int]]:
    """From now on to the end of the process none of these ends it out of order; those that came are noted.

    `run_with_signals` has its own receiver; this is for the time before it, after it, and while the interpreter ends,
    which would give the signals their default effect back if they had any other than none.
    """
    noted: list[int] = []
    for number in HANDLED:
        signal.signal(number, lambda came, _frame: noted.append(came))
    for number in MEANT_FOR_OTHERS:
        signal.signal(number, signal.SIG_IGN)
    try:
        yield noted
    finally:
        for number in HANDLED:
            signal.signal(number, signal.SIG_IGN)


async def run_with_signals(house: Stoppable, early: Sequence[int] = ()) -> int:
    """Run the house until it ends; a second SIGINT, SIGQUIT or SIGTERM changes nothing.

    `early` came before there was a receiver. Raises what the house raises when it cannot start, as it is and not inside
    a group.
    """
    outcome: int | Oht50Error
    with trio.open_signal_receiver(*HANDLED) as received:
        for number in set(early) - {signal.SIGHUP}:
            house.request_stop(signal.Signals(number).name)
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
