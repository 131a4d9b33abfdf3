"""STOP, control, reset and sign-in over Quart's test client with the autojump clock."""

import pytest
import trio
from attrs import evolve
from web_fakes import BOOT_ID, PASSWORD, FakeHouse, with_obstacle

from oht50d.model.accounts import Account, Role
from oht50d.model.motion import StopPhase
from oht50d.web.app import create_app
from oht50d.web.app_config import WebConfig
from oht50d.web.stop import STOP_PATHS

STOP = "/api/v1/robot/emergency-stop"
PROGRESS = "/api/v1/safety/stop"
CONTROL = "/api/v1/robot/control"
RESET = "/api/v1/safety/reset"


@pytest.fixture
async def house() -> FakeHouse:
    return FakeHouse(config=WebConfig(cors_origins=("https://panel.example",)))


@pytest.fixture
async def client(house):
    return create_app(house.ports).test_client()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://robot.local:8000"},
        {"Origin": "https://robot.local:8000"},
        {"Origin": "https://panel.example"},
        {"Origin": "https://behind.proxy", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-site"},
        {"Authorization": "Bearer rubbish"},
        {"Content-Type": "application/json"},
    ],
)
async def test_stop_is_taken_from_everybody(autojump_clock, house, client, headers) -> None:
    response = await client.post(STOP, headers={"Host": "robot.local:8000", **headers}, data=b"{broken")
    assert response.status_code == 200
    assert house.commander.stops == [(None, "http")]
    assert (await response.get_json())["data"]["outcome"] == "verified"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[broken"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_stop_from_a_foreign_page_is_turned_away(autojump_clock, house, client, headers) -> None:
    response = await client.post(STOP, headers={"Host": "robot.local:8000", **headers})
    assert response.status_code == 403
    assert (await response.get_json())["error"]["code"] == "FOREIGN_ORIGIN"
    assert house.commander.stops == []


@pytest.mark.parametrize("path", [STOP, "/api/v1/safety/emergency-stop", "/api/v1/safety/emergency"])
async def test_stop_aliases_and_source(autojump_clock, house, client, path) -> None:
    assert (await client.post(path, headers=house.headers("eyes"))).status_code == 200
    assert house.commander.stops == [("eyes", "http")]


async def test_stop_with_a_body_above_the_limit_stops(autojump_clock, house, client) -> None:
    assert (await client.post(STOP, data=b"x" * 200_000)).status_code == 200
    assert len(house.commander.stops) == 1


@pytest.mark.parametrize("outcome", ["sent", "unknown", "rejected"])
async def test_stop_that_is_not_read_back_fails_loudly(autojump_clock, house, client, outcome) -> None:
    house.commander.outcome = outcome
    response = await client.post(STOP)
    document = await response.get_json()
    assert response.status_code == 503
    assert document["error"]["code"] == "ESTOP_NOT_DELIVERED"
    assert "red button" in document["detail"]
    assert document["data"]["first_frame_ms"] == 4.1


async def test_the_progress_of_a_stop_is_public_and_names_nobody(autojump_clock, house, client) -> None:
    document = await (await client.get(PROGRESS)).get_json()
    assert document["data"] == {"stop": None, "is_latched": True, "age_ms": 0}
    stop = with_obstacle(house.hub.current()).last_stops[0]
    house.hub.publish(stop=evolve(stop, phase=StopPhase.STOPPING, standstill_ns=None))
    told = (await (await client.get(PROGRESS)).get_json())["data"]["stop"]
    assert (told["number"], told["kind"], told["phase"], told["outcome"]) == (3, "S1", "stopping", "acknowledged")
    assert (told["output_zero_ms"], told["standstill_ms"]) == (39.0, None)
    assert "causes" not in told
    assert house.commander.stops == []


@pytest.mark.parametrize("path", sorted(STOP_PATHS))
async def test_a_get_on_a_path_of_stop_stops_nothing_and_says_so(autojump_clock, house, client, path) -> None:
    response = await client.get(path)
    assert response.status_code == 405
    assert (await response.get_json())["error"]["code"] == "METHOD_NOT_ALLOWED"
    assert house.commander.stops == []


async def test_a_defect_behind_stop_is_never_a_success(autojump_clock, house, client) -> None:
    house.commander.error = RuntimeError("a defect")
    response = await client.post(STOP)
    assert response.status_code == 503
    assert (await response.get_json())["error"]["code"] == "ESTOP_NOT_DELIVERED"


async def test_stop_as_a_plain_form_answers_a_page(autojump_clock, house, client) -> None:
    headers = {"Accept": "text/html,application/xhtml+xml", "Content-Type": "application/x-www-form-urlencoded"}
    response = await client.post(STOP, headers=headers)
    body = await response.get_data(as_text=True)
    assert response.content_type.startswith("text/html")
    assert "STOP was sent" in body
    house.commander.outcome = "unknown"
    response = await client.post(STOP, headers=headers)
    assert response.status_code == 503
    assert "NOT CONFIRMED" in await response.get_data(as_text=True)


async def test_stop_reaches_the_commander_although_the_client_hangs_up(autojump_clock, house) -> None:
    house.commander.stop_takes_s = 0.5
    app = create_app(house.ports)
    events = iter([{"type": "http.request", "body": b"", "more_body": False}, {"type": "http.disconnect"}])
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": STOP,
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 80),
        "state": {},
        "extensions": {},
    }

    async def receive():
        await trio.lowlevel.checkpoint()
        return next(events)

    async def send(_) -> None:
        raise OSError("the client is gone")

    await app(scope, receive, send)
    assert house.commander.stops == [(None, "http")]


async def test_control_stop_needs_no_login(autojump_clock, house, client) -> None:
    response = await client.post(CONTROL, json={"command": "stop"})
    assert response.status_code == 200
    assert house.commander.stops == [(None, "http")]


async def test_control_stop_is_not_refused_for_what_else_it_says(autojump_clock, house, client) -> None:
    for rest in (b'"parameters": 7, "foo": 1', b'"epoch": NaN', b'"boot_id": "\\ud800"', b'"epoch": 1e999'):
        response = await client.post(CONTROL, data=b'{"command": "stop", ' + rest + b"}")
        assert response.status_code == 200, rest
    assert len(house.commander.stops) == 4


async def test_a_lone_surrogate_is_no_text(autojump_clock, house, client) -> None:
    body = b'{"username": "ann", "password": "\\ud800"}'
    response = await client.post("/api/v1/auth/login", data=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert (await response.get_json())["error"]["details"]["field"] == "body"


async def test_arm_and_disarm_carry_the_claim(autojump_clock, house, client) -> None:
    armed = await client.post(
        CONTROL, headers=house.headers(), json={"command": "arm", "boot_id": BOOT_ID, "epoch": 1, "force": True}
    )
    document = await armed.get_json()
    assert document["data"]["holder"] == "ops"
    assert document["message"] == "force is accepted and ignored"
    late = await client.post(CONTROL, headers=house.headers(), json={"command": "arm", "boot_id": BOOT_ID, "epoch": 1})
    assert late.status_code == 409
    assert (await late.get_json())["error"]["code"] == "CONFLICT"
    back = await client.post(
        CONTROL, headers=house.headers(), json={"command": "disarm", "boot_id": BOOT_ID, "epoch": 2}
    )
    assert (await back.get_json())["data"]["holder"] is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "body"),
        (b"[" * 5000, "body"),
        (b"{}", "command"),
        (b'{"command": 5}', "command"),
        (b'{"command": "fly"}', "command"),
        (b'{"command": "arm"}', "boot_id"),
        (b'{"command": "arm", "boot_id": "b"}', "epoch"),
        (b'{"command": "arm", "boot_id": "b", "epoch": "1"}', "epoch"),
        (b'{"command": "arm", "boot_id": "b", "epoch": true}', "epoch"),
        (b'{"command": "arm", "boot_id": "b", "epoch": 1, "spede": 2}', "spede"),
        (b'{"command": "reset"}', "command"),
    ],
)
async def test_malformed_control_names_code_and_field(autojump_clock, house, client, body, field) -> None:
    response = await client.post(CONTROL, headers=house.headers(), data=body)
    document = await response.get_json()
    assert response.status_code == 422
    assert document["error"]["code"] == "INVALID_COMMAND"
    assert document["error"]["details"]["field"] == field


async def test_move_is_refused_honestly(autojump_clock, house, client) -> None:
    response = await client.post(CONTROL, headers=house.headers(), json={"command": "move", "parameters": {"speed": 1}})
    document = await response.get_json()
    assert response.status_code == 409
    assert document["error"]["code"] == "SAFETY_VIOLATION"
    assert "brake test" in document["error"]["details"]["missing"]
    assert document["error"]["details"]["why"]["inhibits"][0]["code"] == "boot"
    house.hub.publish(is_commissioned=True)
    response = await client.post(CONTROL, headers=house.headers(), json={"command": "move"})
    assert response.status_code == 422


async def test_viewer_may_not_command_and_commands_are_limited(autojump_clock) -> None:
    house = FakeHouse(config=WebConfig(commands_per_minute=2))
    client = create_app(house.ports).test_client()
    refused = await client.post(CONTROL, headers=house.headers("eyes"), json={"command": "pause"})
    assert refused.status_code == 403
    assert (await refused.get_json())["error"]["details"]["required_role"] == "operator"
    codes = [
        (await client.post(CONTROL, headers=house.headers(), json={"command": "pause"})).status_code for _ in range(3)
    ]
    assert codes == [200, 200, 429]
    assert (await client.post(CONTROL, headers=house.headers(), json={"command": "stop"})).status_code == 200


async def test_a_switched_off_account_may_not_command(autojump_clock, house, client) -> None:
    headers = house.headers()
    assert (await client.post(CONTROL, headers=headers, json={"command": "pause"})).status_code == 200
    house.accounts.accounts["ops"] = Account("ops", Role.OPERATOR, False)
    await trio.sleep(6)
    assert (await client.post(CONTROL, headers=headers, json={"command": "pause"})).status_code == 401


async def test_reset_is_a_hold_and_a_release(autojump_clock, house, client) -> None:
    claim = {"boot_id": BOOT_ID, "epoch": 1}
    held = await client.post(RESET, headers=house.headers(), json={"action": "hold", **claim})
    hold_id = (await held.get_json())["data"]["hold_id"]
    short = await client.post(RESET, headers=house.headers(), json={"action": "release", "hold_id": hold_id, **claim})
    assert short.status_code == 422
    await client.post(RESET, headers=house.headers(), json={"action": "hold", **claim})
    await trio.sleep(1.1)
    released = await client.post(
        RESET, headers=house.headers(), json={"action": "release", "hold_id": hold_id, **claim}
    )
    assert (await released.get_json())["data"]["state"] == "IDLE"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"action": "press", "boot_id": BOOT_ID, "epoch": 1}, "action"),
        ({"action": "release", "boot_id": BOOT_ID, "epoch": 1}, "hold_id"),
        ({"action": "hold", "boot_id": BOOT_ID}, "epoch"),
    ],
)
async def test_malformed_reset_names_the_field(autojump_clock, house, client, body, field) -> None:
    response = await client.post(RESET, headers=house.headers(), json=body)
    assert response.status_code == 422
    assert (await response.get_json())["error"]["details"]["field"] == field


async def test_login_refresh_once_and_logout(autojump_clock, house, client) -> None:
    login = await (
        await client.post("/api/v1/auth/login", json={"username": "ops", "password": PASSWORD, "remember_me": True})
    ).get_json()
    assert login["access_token"] == login["data"]["access_token"]
    assert login["expires_in"] == 3600
    assert login["user"]["role"] == "operator"
    fresh = await (await client.post("/api/v1/auth/refresh", json={"refresh_token": login["refresh_token"]})).get_json()
    headers = {"Authorization": f"Bearer {fresh['access_token']}"}
    assert (await (await client.get("/api/v1/auth/me", headers=headers)).get_json())["data"]["username"] == "ops"
    assert (await client.post("/api/v1/auth/logout", headers=headers)).status_code == 200
    assert (await client.get("/api/v1/auth/me", headers=headers)).status_code == 401
    last = await client.post("/api/v1/auth/refresh", json={"refresh_token": fresh["refresh_token"]})
    assert last.status_code == 401


async def test_a_refresh_token_used_twice_ends_the_session(autojump_clock, house, client) -> None:
    first = house.ports.tokens.issue(house.accounts.accounts["ops"])
    good = await client.post("/api/v1/auth/refresh", json={"refresh_token": first.refresh_token})
    access = (await good.get_json())["access_token"]
    stolen = await client.post("/api/v1/auth/refresh", json={"refresh_token": first.refresh_token})
    assert stolen.status_code == 401
    response = await client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {access}"})
    assert response.status_code == 401


async def test_wrong_passwords_lock_and_unknown_users_look_alike(autojump_clock, client) -> None:
    answers = []
    for username in ("ops", "nobody"):
        body = {"username": username, "password": "wrong password!"}
        responses = [await client.post("/api/v1/auth/login", json=body) for _ in range(6)]
        answers.append([response.status_code for response in responses])
    assert answers == [[401] * 5 + [429]] * 2


async def test_one_time_link_signs_in_once_and_grows_old(autojump_clock, house, client) -> None:
    token = house.one_time.issue(Account("boss", Role.ADMIN, True))
    first = await client.post("/api/v1/auth/one-time", json={"token": token})
    assert (await first.get_json())["user"]["role"] == "admin"
    assert (await client.post("/api/v1/auth/one-time", json={"token": token})).status_code == 401
    late = house.one_time.issue(Account("boss", Role.ADMIN, True))
    await trio.sleep(601)
    assert (await client.post("/api/v1/auth/one-time", json={"token": late})).status_code == 401


async def test_access_life_is_monotonic(autojump_clock, house, client) -> None:
    headers = house.headers()
    house.wall_s += 10_000_000
    assert (await client.get("/api/v1/auth/me", headers=headers)).status_code == 200
    await trio.sleep(3601)
    house.wall_s -= 20_000_000
    assert (await client.get("/api/v1/auth/me", headers=headers)).status_code == 401


async def test_cors_only_for_configured_origins(autojump_clock, client) -> None:
    ours = await client.options(STOP, headers={"Origin": "https://panel.example"})
    assert ours.headers["Access-Control-Allow-Origin"] == "https://panel.example"
    foreign = await client.options(STOP, headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in foreign.headers


async def test_chain_open_is_an_emergency(autojump_clock, house, client) -> None:
    safety = house.hub.current().modules[1]
    opened = evolve(
        safety,
        readings={
            name: evolve(item, raw=1, value=True) if item.role == "chain.open" else item
            for name, item in safety.readings.items()
        },
    )
    house.hub.publish(modules=(opened,))
    view = (await (await client.get("/api/v1/safety/status", headers=house.headers())).get_json())["data"]
    assert (view["safety_state"], view["emergency_stop"]) == ("EMERGENCY", True)
