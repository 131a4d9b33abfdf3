"""The WebSocket: token, subscriptions, jog echoes, STOP, slow and broken clients; with the autojump clock."""

import json
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from quart.testing.connections import WebsocketDisconnectError
from web_fakes import BOOT_ID, FakeHouse, room_scan

from oht50d.clock import now_ns
from oht50d.model.accounts import Account, Role
from oht50d.model.motion import MachineState, StopKind, StopPhase, StopReport
from oht50d.web.app import create_app
from oht50d.web.app_config import WebConfig
from oht50d.web.outbox import EVENT_LIMIT, Outbox

CLAIM = {"boot_id": BOOT_ID, "epoch": 2}


@pytest.fixture
async def house() -> FakeHouse:
    return FakeHouse()


@asynccontextmanager
async def connected(house: FakeHouse, username: str = "ops", app=None):
    """A connected client; its greeting has been read."""
    client = (app or create_app(house.ports)).test_client()
    async with client.websocket(f"/ws?token={house.token(username)}") as socket:
        greeting = await socket.receive_json()
        assert greeting["type"] == greeting["event"] == "connection_established"
        assert greeting["username"] == username
        yield socket


async def wait_for(socket, kind: str) -> dict:
    """The next message of `kind`; others are passed over."""
    with trio.fail_after(20):
        while True:
            message = await socket.receive_json()
            assert "type" in message
            assert "event" in message
            if message["type"] == kind:
                return message


async def armed(house: FakeHouse, holder: str = "ops") -> None:
    authority = house.hub.current().authority
    house.hub.publish(authority=type(authority)(BOOT_ID, 2, holder, now_ns()), state=MachineState.IDLE)


@pytest.mark.parametrize("query", ["", "?token=", "?token=rubbish", "?token=a.b.c"])
async def test_a_bad_token_is_closed_with_4001(autojump_clock, house, query) -> None:
    async with create_app(house.ports).test_client().websocket(f"/ws{query}") as socket:
        with pytest.raises(WebsocketDisconnectError) as closed:
            await socket.receive()
        assert closed.value.args == (4001,)


async def test_a_refresh_token_does_not_open_a_socket(autojump_clock, house) -> None:
    token = house.ports.tokens.issue(house.accounts.accounts["ops"]).refresh_token
    async with create_app(house.ports).test_client().websocket(f"/ws?token={token}") as socket:
        with pytest.raises(WebsocketDisconnectError):
            await socket.receive()


async def test_subscribed_topics_come_ten_times_a_second(autojump_clock, house) -> None:
    async with connected(house) as socket:
        await socket.send_json({"type": "subscribe", "subscription_type": "robot_status"})
        confirmed = await wait_for(socket, "subscription_confirmed")
        assert confirmed["subscription_type"] == "robot_status"
        began = trio.current_time()
        for _ in range(10):
            update = await wait_for(socket, "robot_status_update")
        assert update["event"] == "robot_status"
        assert update["data"]["state"] == "SAFE"
        assert 0.8 <= trio.current_time() - began <= 1.2
        await socket.send_json({"type": "unsubscribe", "subscription_type": "robot_status"})
        await wait_for(socket, "unsubscription_confirmed")


async def test_an_unchanged_snapshot_grows_old_on_the_wire(autojump_clock, house) -> None:
    async with connected(house) as socket:
        await socket.send_json({"type": "subscribe", "subscription_type": "safety"})
        ages = [(await wait_for(socket, "safety_update"))["data"]["age_ms"] for _ in range(5)]
        assert ages == sorted(ages)
        assert ages[-1] - ages[0] >= 350


async def test_a_scan_is_sent_once_and_then_only_ages(autojump_clock, house) -> None:
    house.hub.scan = room_scan(now_ns(), 5)
    async with connected(house) as socket:
        await socket.send_json({"type": "subscribe", "subscription_type": "lidar"})
        first = await wait_for(socket, "lidar_update")
        assert first["data"]["scan_data"]["number"] == 5
        assert len(first["data"]["scan_data"]["angles_ddeg"]) == 390
        began = trio.current_time()
        again = await wait_for(socket, "lidar_update")
        assert trio.current_time() - began >= 0.4
        assert again["data"]["scan_data"]["age_ms"] > first["data"]["scan_data"]["age_ms"]
        house.hub.scan = room_scan(now_ns(), 6)
        began = trio.current_time()
        assert (await wait_for(socket, "lidar_update"))["data"]["scan_data"]["number"] == 6
        assert trio.current_time() - began <= 0.2


async def test_two_clients_are_sent_the_same_text(autojump_clock, house) -> None:
    app = create_app(house.ports)
    async with connected(house, app=app) as one, connected(house, "eyes", app=app) as two:
        texts = []
        for socket in (one, two):
            await socket.send_json({"type": "subscribe", "subscription_type": "telemetry"})
            await wait_for(socket, "subscription_confirmed")
        for socket in (one, two):
            await wait_for(socket, "telemetry_update")
            texts.append({(await wait_for(socket, "telemetry_update"))["timestamp"] for _ in range(5)})
        assert texts[0] & texts[1]


async def test_state_changes_and_stops_are_events(autojump_clock, house) -> None:
    async with connected(house) as socket:
        await socket.send_json({"type": "ping", "sent": 1.5})
        assert (await wait_for(socket, "pong"))["sent"] == 1.5
        stop = StopReport(1, StopKind.S1, (), StopPhase.STOPPING, now_ns(), first_frame_ns=now_ns() + 4_000_000)
        house.hub.publish(state=MachineState.ESTOP, stop=stop)
        change = await wait_for(socket, "status_change")
        assert (change["old_status"], change["new_status"]) == ("safe", "estop")
        told = await wait_for(socket, "stop_update")
        assert told["event"] == "alert"
        assert told["data"]["first_frame_ms"] == 4.0
        assert told["data"]["standstill_ms"] is None


async def test_jog_echoes_nonces_and_ends_with_the_lease(autojump_clock, house) -> None:
    await armed(house)
    async with connected(house) as socket:
        await socket.send_json({"type": "jog_press", "direction": "forward", **CLAIM})
        started = await wait_for(socket, "jog_started")
        assert (started["nonce"], started["lease_ms"]) == (1, 180)
        for nonce in (2, 3, 4):
            house.commander.issue_nonce()
            while (await wait_for(socket, "jog_nonce"))["nonce"] != nonce:
                pass
            await socket.send_json({"type": "jog_renew", "nonce": nonce})
            await trio.testing.wait_all_tasks_blocked()
        await socket.send_json({"type": "jog_renew", "nonce": 1})
        await socket.send_json({"type": "ping"})
        await wait_for(socket, "pong")
        assert house.commander.renewed == [2, 3, 4]
        house.commander.release_jog(None)
        assert "lease" in (await wait_for(socket, "jog_ended"))["message"]


async def test_release_ends_a_jog(autojump_clock, house) -> None:
    await armed(house)
    async with connected(house) as socket:
        await socket.send_json({"type": "jog_press", "direction": "reverse", **CLAIM})
        await wait_for(socket, "jog_started")
        await socket.send_json({"type": "jog_release"})
        assert (await wait_for(socket, "jog_ended"))["message"] == "released"
        assert house.commander.jog is None


async def test_a_lost_connection_lets_go(autojump_clock, house) -> None:
    await armed(house)
    async with connected(house) as socket:
        await socket.send_json({"type": "jog_press", "direction": "forward", **CLAIM})
        await wait_for(socket, "jog_started")
    assert house.commander.released_holders == ["ops"]
    assert house.commander.jog is None


async def test_closing_a_tab_that_never_jogged_disturbs_nobody(autojump_clock, house) -> None:
    await armed(house)
    async with connected(house):
        pass
    assert house.commander.released_holders == []


async def test_nonces_go_to_the_one_who_jogs_only(autojump_clock, house) -> None:
    await armed(house)
    app = create_app(house.ports)
    async with connected(house, app=app) as jogger, connected(house, "boss", app=app) as watcher:
        await jogger.send_json({"type": "jog_press", "direction": "forward", **CLAIM})
        await wait_for(jogger, "jog_started")
        house.commander.issue_nonce()
        await wait_for(jogger, "jog_nonce")
        await watcher.send_json({"type": "ping"})
        kinds = []
        while (message := await watcher.receive_json())["type"] != "pong":
            kinds.append(message["type"])
        assert "jog_nonce" not in kinds


@pytest.mark.parametrize(
    ("said", "code", "field"),
    [
        ("{", "INVALID_COMMAND", "body"),
        ("[]", "INVALID_COMMAND", "body"),
        ('{"type": "fly"}', "INVALID_COMMAND", "type"),
        ('{"type": ["x"]}', "INVALID_COMMAND", "type"),
        ('{"type": "subscribe", "subscription_type": "secrets"}', "INVALID_COMMAND", "subscription_type"),
        ('{"type": "jog_press", "direction": "up", "boot_id": "b", "epoch": 1}', "INVALID_COMMAND", "direction"),
        ('{"type": "jog_press", "direction": "forward", "boot_id": "b"}', "INVALID_COMMAND", "epoch"),
        ('{"type": "jog_renew", "nonce": "1"}', "INVALID_COMMAND", "nonce"),
        ('{"type": "jog_press", "direction": "forward", "boot_id": "other", "epoch": 1}', "CONFLICT", None),
        ('{"type": "ping", "sent": NaN}', "INVALID_COMMAND", "body"),
        ('{"type": "ping", "sent": 1e999}', "INVALID_COMMAND", "body"),
        ('{"type": "ping", "sent": 1' + "0" * 400 + "}", "INVALID_COMMAND", "sent"),
        ('{"type": "ping", "filler": "' + "x" * 5000 + '"}', "INVALID_COMMAND", "body"),
    ],
)
async def test_malformed_messages_are_answered_with_code_and_field(autojump_clock, house, said, code, field) -> None:
    async with connected(house) as socket:
        await socket.send(said)
        error = await wait_for(socket, "error")
        assert error["code"] == code
        assert error["details"].get("field") == field


async def test_five_errors_in_a_minute_close(autojump_clock, house) -> None:
    async with connected(house) as socket:
        for _ in range(4):
            await socket.send("{")
            await wait_for(socket, "error")
        await trio.sleep(61)
        await socket.send("{")
        await wait_for(socket, "error")
        for _ in range(4):
            await socket.send("{")
        with pytest.raises(WebsocketDisconnectError) as closed, trio.fail_after(20):
            while True:
                await socket.receive()
        assert closed.value.args == (1008,)


async def test_viewer_may_not_jog_but_may_stop(autojump_clock, house) -> None:
    async with connected(house, "eyes") as socket:
        await socket.send_json({"type": "jog_press", "direction": "forward", **CLAIM})
        assert (await wait_for(socket, "error"))["code"] == "INSUFFICIENT_PERMISSIONS"
        await socket.send_json({"type": "emergency_stop", "anything": {"at": "all"}})
        answer = await wait_for(socket, "command_response")
        assert answer["data"]["outcome"] == "verified"
        assert house.commander.stops == [("eyes", "ws")]


async def test_a_stop_that_waits_does_not_delay_a_release(autojump_clock, house) -> None:
    await armed(house)
    house.commander.stop_takes_s = 30
    async with connected(house) as socket:
        await socket.send_json({"type": "jog_press", "direction": "forward", **CLAIM})
        await wait_for(socket, "jog_started")
        began = trio.current_time()
        for _ in range(3):
            await socket.send_json({"type": "robot_control", "command": "stop"})
        await socket.send_json({"type": "jog_release"})
        await wait_for(socket, "jog_ended")
        assert trio.current_time() - began < 1
        assert len(house.commander.stops) == 3


async def test_a_session_that_ends_closes_its_socket(autojump_clock, house) -> None:
    pair = house.ports.tokens.issue(house.accounts.accounts["ops"])
    async with create_app(house.ports).test_client().websocket(f"/ws?token={pair.access_token}") as socket:
        await socket.receive_json()
        house.ports.tokens.revoke(house.ports.tokens.check(pair.access_token).session_id)
        with pytest.raises(WebsocketDisconnectError) as closed, trio.fail_after(5):
            while True:
                await socket.receive()
        assert closed.value.args == (4001,)


async def test_a_client_that_does_not_read_is_let_go_and_its_jog_first(autojump_clock, house) -> None:
    await armed(house)
    async with connected(house) as socket:
        await socket.send_json({"type": "jog_press", "direction": "forward", **CLAIM})
        await wait_for(socket, "jog_started")
        for turn in range(EVENT_LIMIT + 40):
            house.hub.publish(state=MachineState.MOVE if turn % 2 else MachineState.PAUSED)
            await trio.sleep(0.01)
        assert house.commander.released_holders == ["ops"]


async def test_clients_are_bounded_per_user_and_in_all(autojump_clock) -> None:
    house = FakeHouse(config=WebConfig(ws_clients=2, ws_clients_per_user=1))
    app = create_app(house.ports)

    async def is_turned_away(username: str) -> bool:
        async with app.test_client().websocket(f"/ws?token={house.token(username)}") as socket:
            try:
                await socket.receive()
            except WebsocketDisconnectError:
                return True
            return False

    async with connected(house, "ops", app):
        assert await is_turned_away("ops")
        async with connected(house, "boss", app):
            assert await is_turned_away("eyes")
        async with connected(house, "eyes", app):
            pass


async def test_a_switched_off_account_opens_no_socket(autojump_clock, house) -> None:
    token = house.token("ops")
    house.accounts.accounts["ops"] = Account("ops", Role.OPERATOR, False)
    async with create_app(house.ports).test_client().websocket(f"/ws?token={token}") as socket:
        with pytest.raises(WebsocketDisconnectError):
            await socket.receive()


async def test_outbox_latest_wins_events_stay_and_nonces_overtake(autojump_clock) -> None:
    outbox = Outbox()
    outbox.put_latest("telemetry", "t1")
    outbox.put_latest("telemetry", "t2")
    assert outbox.put_event("e1")
    assert outbox.put_event("e2")
    outbox.put_nonce("n1")
    outbox.put_nonce("n2")
    assert [await outbox.take() for _ in range(4)] == ["n2", "e1", "e2", "t2"]
    with trio.move_on_after(1) as scope:
        await outbox.take()
    assert scope.cancelled_caught
    assert all(outbox.put_event(json.dumps(number)) for number in range(EVENT_LIMIT))
    assert not outbox.put_event("one too many")
