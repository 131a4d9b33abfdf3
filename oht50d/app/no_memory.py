"""What stands in for the spool when it could not be opened: every call says so (state: the problem).

The robot's watch and its stops need no memory (SAFETY.md: a full disk never inhibits motion in progress); a reset is
refused, because it must be recorded before it takes effect.
"""

from collections.abc import Mapping, Sequence

import trio

from oht50d.core.history import PurgeReport
from oht50d.model.errors import StoreError
from oht50d.model.records import Row


class NoMemory:
    """Raises StoreError with the problem of the opening from every call but `close`."""

    was_clean = True
    """Nobody knows how the last run ended."""

    def __init__(self, problem: str) -> None:
        self._problem = problem

    async def append(self, rows: Sequence[Row], *, batch: int | None = None) -> None:
        """Keeps nothing: the journal's overflow makes the gap known."""
        raise await self._refusal()

    async def purge(self) -> PurgeReport:
        raise await self._refusal()

    async def telemetry(
        self, *, start_utc: str | None, end_utc: str | None, interval_s: float, limit: int
    ) -> Sequence[Mapping[str, object]]:
        raise await self._refusal()

    async def events(self, *, limit: int, before_seq: int | None = None) -> Sequence[Mapping[str, object]]:
        raise await self._refusal()

    async def close(self) -> None:
        """Nothing is open."""
        await trio.lowlevel.checkpoint()

    async def _refusal(self) -> StoreError:
        await trio.lowlevel.checkpoint()
        return StoreError(f"there is no memory: {self._problem}")
