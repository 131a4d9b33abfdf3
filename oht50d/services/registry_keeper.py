"""Keeps the list of accepted modules on disk, beside the loop (owner of the store; the registry is the guardian's).

First sight takes effect at once and is written as soon as the disk lets it; an acceptance is written before it takes
effect, else refused (like a reset).
"""

import logging
from collections.abc import Callable
from typing import Protocol

import trio

from oht50d.core.module_registry import ModuleRegistry
from oht50d.model.errors import CommandRejected, StoreError
from oht50d.model.modules import ModuleRecord, StoredModules

RETRY_S = 5.0

_log = logging.getLogger(__name__)


class ModuleStore(Protocol):
    """The file."""

    async def save(self, stored: StoredModules) -> None:
        """On disk when it returns; raises StoreError and takes a bounded time."""
        ...


class RegistryKeeper:
    """`problem` says why the newest list is not on disk; empty if it is."""

    def __init__(self, registry: ModuleRegistry, store: ModuleStore, utc_now: Callable[[], str]) -> None:
        self._registry = registry
        self._store = store
        self._utc_now = utc_now
        self._written = -1 if registry.stored.is_lost else 0
        self._news = trio.Event()
        self.problem = ""
        registry.on_change = self._note_change

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write whatever has changed, for ever."""
        task_status.started()
        while True:
            self._news = trio.Event()
            if self._written == self._registry.revision:
                await self._news.wait()
            elif not await self._write_newest():
                await trio.sleep(RETRY_S)

    async def accept(self, record: ModuleRecord) -> None:
        """Write a record, then take it over. Raises CommandRejected, and nothing has changed then."""
        revision = self._registry.revision
        try:
            await self._store.save(self._registry.with_record(record))
        except StoreError as problem:
            # Whatever the disk does with it later, what is written next is what the registry says.
            self._written = -1
            self._note_change()
            why = f"the acceptance could not be stored, so it is refused: {problem}"
            raise CommandRejected("SYSTEM_ERROR", why) from problem
        is_newest = self._registry.revision == revision
        self._registry.adopt(record)
        # What was seen for the first time meanwhile is not in what was written.
        self._written = self._registry.revision if is_newest else -1

    async def _write_newest(self) -> bool:
        revision = self._registry.revision
        self._registry.date_new(self._utc_now())
        try:
            await self._store.save(self._registry.stored)
        except StoreError as problem:
            if not self.problem:
                _log.warning("the list of known modules cannot be written: %s", problem)
            self.problem = str(problem)
            return False
        self._written, self.problem = revision, ""
        return True

    def _note_change(self) -> None:
        self._news.set()
