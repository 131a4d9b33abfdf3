"""The list of accepted modules on disk: whole or not at all, and never silently empty."""

import json
import os
from pathlib import Path

import pytest
from attrs import evolve

from oht50d.drivers.module_file import KEPT_DAMAGED, MAX_BYTES, ModuleFile
from oht50d.model.errors import StoreError
from oht50d.model.modules import ModuleRecord, StoredModules

RECORD = ModuleRecord(
    address=5, type_code=5, serial=1000, firmware="1.01", map_name="dock.toml", accepted_utc="2024-05-01T12:00:00Z",
    accepted_by="uid:0",
)  # fmt: skip
BARE = evolve(RECORD, address=4, serial=None, firmware=None)
STORED = StoredModules(records=(BARE, RECORD))


def written(path: Path, stored: StoredModules = STORED) -> ModuleFile:
    file = ModuleFile(path)
    file.save_now(stored)
    return file


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "modules.json"
    written(path)
    assert ModuleFile(path).load() == STORED
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["modules.json"]


def test_no_file_is_a_first_start(tmp_path: Path) -> None:
    assert ModuleFile(tmp_path / "modules.json").load() == StoredModules()


def test_a_lost_list_stays_lost_until_it_is_whole_again(tmp_path: Path) -> None:
    path = tmp_path / "modules.json"
    written(path, StoredModules(records=(RECORD,), is_lost=True, problem="it was damaged"))
    assert ModuleFile(path).load() == StoredModules(records=(RECORD,), is_lost=True, problem="it was damaged")


def _broken(change: object) -> bytes:
    document = {
        "schema_version": 1, "is_lost": False, "problem": "",
        "modules": [{
            "address": 5, "type_code": 5, "serial": 1000, "firmware": "1.01", "map_name": "dock.toml",
            "accepted_utc": "", "accepted_by": "uid:0",
        }],
    }  # fmt: skip
    assert callable(change)
    change(document)
    return json.dumps(document).encode()


DAMAGES = {
    "empty": b"",
    "half": b'{"schema_version": 1, "modu',
    "binary": bytes(range(256)),
    "list": b"[]",
    "deep": b"[" * 100_000,
    "long": b" " * (MAX_BYTES + 1),
    "newer": _broken(lambda d: d.update(schema_version=2)),
    "true": _broken(lambda d: d.update(schema_version=True)),
    "no modules": _broken(lambda d: d.pop("modules")),
    "lost unsaid": _broken(lambda d: d.pop("is_lost")),
    "no address": _broken(lambda d: d["modules"][0].pop("address")),
    "no serial": _broken(lambda d: d["modules"][0].pop("serial")),
    "serial 0": _broken(lambda d: d["modules"][0].update(serial=0)),
    "serial text": _broken(lambda d: d["modules"][0].update(serial="1000")),
    "address 248": _broken(lambda d: d["modules"][0].update(address=248)),
    "long text": _broken(lambda d: d["modules"][0].update(map_name="x" * 300)),
    "module no object": _broken(lambda d: d.update(modules=[3])),
    "twice": _broken(lambda d: d.update(modules=d["modules"] * 2)),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_whatever_is_damaged_counts_as_lost_and_is_kept_aside(tmp_path: Path, name: str) -> None:
    path = tmp_path / "modules.json"
    path.write_bytes(DAMAGES[name])
    file = ModuleFile(path)
    found = file.load()
    assert (found.records, found.is_lost) == ((), True)
    assert "modules.json is damaged" in found.problem
    assert path.read_bytes() == DAMAGES[name], "nothing is changed by reading"
    file.save_now(found)
    assert ModuleFile(path).load() == found, "after a restart it is still lost, not a first start"
    (aside,) = tmp_path.glob("modules.json.damaged-*")
    assert aside.read_bytes() == DAMAGES[name]


def test_a_file_that_cannot_be_read_counts_as_lost(tmp_path: Path) -> None:
    path = tmp_path / "modules.json"
    path.symlink_to(path)
    assert ModuleFile(path).load().is_lost


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_something_else_in_its_place_is_lost_and_holds_nothing_up(tmp_path: Path, make: object) -> None:
    assert callable(make)
    make(tmp_path / "modules.json")
    assert ModuleFile(tmp_path / "modules.json").load().is_lost


def test_damaged_files_are_kept_a_few_times(tmp_path: Path) -> None:
    path = tmp_path / "modules.json"
    for number in range(KEPT_DAMAGED):
        (tmp_path / f"modules.json.damaged-2020{number}").write_bytes(b"old")
    path.write_bytes(b"damaged")
    file = ModuleFile(path)
    file.save_now(file.load())
    kept = sorted(path.name for path in tmp_path.glob("modules.json.damaged-*"))
    assert len(kept) == KEPT_DAMAGED
    assert "modules.json.damaged-20200" not in kept


def test_a_save_that_fails_says_so_and_the_old_list_stands(tmp_path: Path) -> None:
    path = tmp_path / "modules.json"
    written(path)
    (tmp_path / "modules.json.new").mkdir()
    with pytest.raises(StoreError, match=r"modules\.json"):
        ModuleFile(path).save_now(StoredModules())
    assert ModuleFile(path).load() == STORED


def test_a_half_written_list_is_never_seen(tmp_path: Path) -> None:
    """What a crash leaves behind stands beside it."""
    path = tmp_path / "modules.json"
    written(path)
    (tmp_path / "modules.json.new").write_bytes(b'{"schema_ver')
    assert ModuleFile(path).load() == STORED
    written(path, StoredModules(records=(RECORD,)))
    assert ModuleFile(path).load().records == (RECORD,)
