"""The desk of the local socket: who gets what, what is recorded, what is refused."""

from typing import cast

import pytest
from memory_samples import ListedAccounts, ListedHistory, ScriptedCommander, a_snapshot

from oht50d.core.local_rights import Peer
from oht50d.model.records import EventRow, Row
from oht50d.services.hub import Latest
from oht50d.services.local_desk import LocalDesk
from oht50d.services.ports import Accounts, Commander, HistoryReader, RecordSink

TECH_GID = 900
ROOT = Peer(10, 0, 0, frozenset({0}))
TECHNICIAN = Peer(11, 1000, 1000, frozenset({1000, TECH_GID}))
STRANGER = Peer(12, 2000, 2000, frozenset({2000}))


class KeptRows:
    def __init__(self) -> None:
        self.rows: list[Row] = []

    def record(self, row: Row) -> None:
        self.rows.append(row)


class Counter:
    """The desk with everything behind it."""

    def __init__(self, **stop_answer: object) -> None:
        self.commander = ScriptedCommander(**stop_answer)
        self.history = ListedHistory()
        self.accounts = ListedAccounts()
        self.kept = KeptRows()
        self.desk = LocalDesk(
            snapshots=Latest(a_snapshot()),
            commander=cast(Commander, self.commander),
            history=cast(HistoryReader, self.history),
            accounts=cast(Accounts, self.accounts),
            records=cast(RecordSink, self.kept),
            technicians_gid=TECH_GID,
            utc_now=lambda: "2024-05-01T12:00:00.000Z",
        )

    async def ask(self, peer: Peer, **request: object) -> dict[str, object]:
        """The data of an accepted request."""
        reply = await self.desk(peer, request)
        assert reply["ok"] is True, reply
        return cast(dict[str, object], reply["data"])

    async def refused(self, peer: Peer, **request: object) -> dict[str, object]:
        """The error of a refused one."""
        reply = await self.desk(peer, request)
        assert reply["ok"] is False, reply
        return cast(dict[str, object], reply["error"])


@pytest.mark.parametrize("peer", [ROOT, TECHNICIAN, STRANGER])
async def test_anybody_may_stop_and_the_uid_is_recorded(peer: Peer) -> None:
    counter = Counter(standstill_ms=380.0)
    answer = await counter.ask(peer, op="stop", anything="else")
    assert answer["outcome"] == "verified"
    actor, source = counter.commander.stops[0]
    assert actor is not None
    assert (actor.uid, actor.origin, source) == (peer.uid, "socket", f"socket uid {peer.uid}")
    row = counter.kept.rows[0]
    assert isinstance(row, EventRow)
    assert (row.kind, row.actor, row.details["uid"]) == ("robot.stop.requested", f"uid:{peer.uid}", peer.uid)


async def test_a_repeated_stop_is_sent_again_but_writes_no_row_of_its_own() -> None:
    counter = Counter(repeats=3)
    await counter.ask(STRANGER, op="stop")
    assert len(counter.commander.stops) == 1
    assert counter.kept.rows == []


@pytest.mark.parametrize("op", ["status", "modules", "registers", "events"])
async def test_reading_needs_the_group(op: str) -> None:
    counter = Counter()
    await counter.ask(TECHNICIAN, op=op, address=2)
    await counter.ask(ROOT, op=op, address=2)
    error = await counter.refused(STRANGER, op=op, address=2)
    assert error["code"] == "INSUFFICIENT_PERMISSIONS"
    assert "oht50-tech" in str(error["message"])


@pytest.mark.parametrize("op", ["user_add", "user_list"])
@pytest.mark.parametrize("peer", [TECHNICIAN, STRANGER])
async def test_users_are_for_root(op: str, peer: Peer) -> None:
    counter = Counter()
    error = await counter.refused(peer, op=op, username="eve", password="long enough words", role="admin")
    assert error["code"] == "INSUFFICIENT_PERMISSIONS"
    assert counter.accounts.accounts == {}


async def test_root_adds_a_user_and_the_act_is_recorded_without_the_password() -> None:
    counter = Counter()
    added = await counter.ask(ROOT, op="user_add", username="ann", password="correct horse battery", role="operator")
    assert added == {"username": "ann", "role": "operator"}
    users = await counter.ask(ROOT, op="user_list")
    assert users["users"] == [{"username": "ann", "role": "operator", "is_active": True}]
    row = counter.kept.rows[0]
    assert isinstance(row, EventRow)
    assert (row.kind, row.actor, row.details["role"]) == ("user.added", "uid:0", "operator")
    assert "horse" not in str(row)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"op": "user_add", "username": "ann", "password": "short", "role": "viewer"}, "password"),
        ({"op": "user_add", "username": "ann", "password": "long enough words", "role": "king"}, "role"),
        ({"op": "user_add", "password": "long enough words", "role": "viewer"}, "username"),
        ({"op": "registers"}, "address"),
        ({"op": "registers", "address": "2"}, "address"),
        ({"op": "registers", "address": True}, "address"),
        ({"op": "registers", "address": 99}, "address"),
        ({"op": "events", "limit": 0}, "limit"),
        ({"op": "events", "limit": 501}, "limit"),
        ({"op": "events", "before_seq": "x"}, "before_seq"),
        ({"op": "reset"}, "op"),
        ({"op": ["stop"]}, "op"),
        ({}, "op"),
    ],
)
async def test_a_bad_request_names_the_field(request_: dict[str, object], field: str) -> None:
    error = await Counter().refused(ROOT, **request_)
    assert error["code"] in {"INVALID_COMMAND", "NOT_FOUND"}
    assert cast(dict[str, object], error["details"])["field"] == field


async def test_there_is_no_reset_and_no_register_write_here() -> None:
    known = cast(dict[str, object], (await Counter().refused(ROOT, op="?"))["details"])["known"]
    assert known == ["stop", "status", "modules", "registers", "events", "user_add", "user_list"]


async def test_status_shows_causes_and_ages() -> None:
    status = await Counter().ask(TECHNICIAN, op="status")
    assert status["state"] == "IDLE"
    assert status["may_move"] is False
    inhibits = cast(list[dict[str, object]], status["inhibits"])
    assert inhibits[0]["code"] == "no_authority"
    assert isinstance(status["age_s"], float)


async def test_registers_of_one_module_by_address() -> None:
    found = await Counter().ask(TECHNICIAN, op="registers", address=2)
    registers = cast(list[dict[str, object]], found["registers"])
    assert found["kind"] == "power"
    assert {"battery.soc", "battery.voltage"} <= {register["role"] for register in registers}


async def test_events_are_paged_by_seq() -> None:
    counter = Counter()
    counter.history.found = [{"seq": seq, "kind": "x"} for seq in range(1, 40)]
    first = cast(list[dict[str, object]], (await counter.ask(TECHNICIAN, op="events"))["events"])
    assert [event["seq"] for event in first] == list(range(39, 19, -1))
    more = await counter.ask(TECHNICIAN, op="events", limit=2, before_seq=20)
    assert [event["seq"] for event in cast(list[dict[str, object]], more["events"])] == [19, 18]


async def test_a_memory_that_cannot_be_read_is_an_answer() -> None:
    counter = Counter()
    counter.history.problem = "locked"
    error = await counter.refused(ROOT, op="events")
    assert error["code"] == "SYSTEM_ERROR"
    assert "locked" in str(error["message"])
