"""The list of accepted modules on disk: small, whole or not at all, and never silently empty (owner: `ModuleFile`).

A list that cannot be read counts as lost: whoever has no record is unknown then. The file that says so takes the place
of the damaged one in one step, so that no crash in between makes the loss look like a first start. JSON, schema 1.
"""

import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import trio
from attrs import asdict

from oht50d.drivers.wall_clock import utc_now
from oht50d.model.errors import StoreError
from oht50d.model.modules import ModuleRecord, StoredModules

SCHEMA_VERSION = 1
MAX_BYTES = 262_144
"""247 records take a quarter of it."""
MAX_TEXT = 200
KEPT_DAMAGED = 3
SAVE_LIMIT_S = 5.0


class ModuleFile:
    """One file and one write at a time, in a thread and bounded in time; `load` blocks and belongs before the loop."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._must_keep_old = False
        self._one_at_a_time = trio.CapacityLimiter(1)

    def load(self) -> StoredModules:
        """What is on disk; a file that is not there is a first start. Never raises."""
        try:
            octets = self._read()
        except FileNotFoundError:
            return StoredModules()
        except OSError as problem:
            return self._lost(f"{self.path.name} cannot be read: {problem.strerror}")
        try:
            return _parse(octets)
        except ValueError as problem:
            return self._lost(f"{self.path.name} is damaged: {problem}")

    async def save(self, stored: StoredModules) -> None:
        """Replace the file in one step, on disk when this returns. Raises StoreError.

        After the time is over, or a cancellation, the disk may still do it; what is saved next comes after that.
        """
        with trio.move_on_after(SAVE_LIMIT_S):
            await trio.to_thread.run_sync(self.save_now, stored, limiter=self._one_at_a_time, abandon_on_cancel=True)
            return
        raise StoreError(f"{self.path}: no end within {SAVE_LIMIT_S:.0f} s")

    def save_now(self, stored: StoredModules) -> None:
        """The same, blocking. Raises StoreError; the old file stands then."""
        fresh = self.path.with_name(f"{self.path.name}.new")
        try:
            _write(fresh, _encode(stored))
            if self._must_keep_old:
                self._keep_old()
            fresh.replace(self.path)
            self._must_keep_old = False
            _sync_directory(self.path.parent)
        except OSError as problem:
            raise StoreError(f"{self.path}: {problem.strerror or problem}") from problem

    def _read(self) -> bytes:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return b""
            return file.read(MAX_BYTES + 1)

    def _lost(self, why: str) -> StoredModules:
        self._must_keep_old = True
        return StoredModules(is_lost=True, problem=why)

    def _keep_old(self) -> None:
        """A second name for the damaged file; the first one is replaced a moment later."""
        stamp = utc_now().replace(":", "").replace("-", "").replace(".", "")
        with suppress(FileExistsError, FileNotFoundError):
            os.link(self.path, self.path.with_name(f"{self.path.name}.damaged-{stamp}"))
        older = sorted(self.path.parent.glob(f"{self.path.name}.damaged-*"))
        for path in older[:-KEPT_DAMAGED]:
            path.unlink(missing_ok=True)


def _encode(stored: StoredModules) -> bytes:
    document = {
        "schema_version": SCHEMA_VERSION,
        "is_lost": stored.is_lost,
        "problem": stored.problem,
        "modules": [asdict(record) for record in stored.records],
    }
    return (json.dumps(document, indent=1) + "\n").encode()


def _write(path: Path, octets: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parse(octets: bytes) -> StoredModules:
    """Strict: whatever is not exactly what `_encode` writes is damaged. Raises ValueError."""
    if len(octets) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    try:
        document = json.loads(octets)
    except RecursionError:
        raise ValueError("no JSON that anybody wrote") from None
    if not isinstance(document, dict):
        raise ValueError("no JSON object")
    version = document.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise ValueError(f"schema version {version!r}, this program knows {SCHEMA_VERSION}")
    modules = document.get("modules")
    if not isinstance(modules, list):
        raise ValueError("no list of modules")
    records = tuple(_record(entry) for entry in modules)
    if len({record.address for record in records}) != len(records):
        raise ValueError("one address twice")
    is_lost = document.get("is_lost")
    if not isinstance(is_lost, bool):
        raise ValueError("is_lost is not true or false")
    return StoredModules(records=records, is_lost=is_lost, problem=_text(document, "problem"))


def _record(entry: object) -> ModuleRecord:
    if not isinstance(entry, dict):
        raise ValueError("a module that is no object")
    firmware = None if entry.get("firmware", "") is None else _text(entry, "firmware")
    return ModuleRecord(
        address=_number(entry, "address", 1, 247),
        type_code=_number(entry, "type_code", 0, 0xFFFF),
        serial=None if entry.get("serial", "") is None else _number(entry, "serial", 1, 0xFFFFFFFE),
        firmware=firmware,
        map_name=_text(entry, "map_name"),
        accepted_utc=_text(entry, "accepted_utc"),
        accepted_by=_text(entry, "accepted_by"),
    )


def _number(entry: Mapping[str, object], key: str, least: int, most: int) -> int:
    found = entry.get(key)
    if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
        raise ValueError(f"{key} is no whole number within {least} and {most}")
    return found


def _text(entry: Mapping[str, object], key: str) -> str:
    found = entry.get(key)
    if not isinstance(found, str) or len(found) > MAX_TEXT:
        raise ValueError(f"{key} is no text of at most {MAX_TEXT} characters")
    return found
