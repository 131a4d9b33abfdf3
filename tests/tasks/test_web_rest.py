"""REST: health, envelopes, status answers, malformed requests; over Quart's test client with the autojump clock."""

import json

import pytest
import trio
from attrs import evolve
from web_fakes import FakeHouse, modules, room_scan, with_obstacle

from oht50d.clock import now_ns
from oht50d.model.errors import StoreError
from oht50d.model.motion import Cause, CauseCode
from oht50d.model.registers import ModuleKind
from oht50d.web.app import create_app
from oht50d.web.app_config import WebConfig
from oht50d.web.page import LIBRARY, StaticFile, load_static
from oht50d.web.present_robot import why_view

STOP_TIMES = ("detected_ms", "first_frame_ms", "output_zero_ms", "standstill_ms")


@pytest.fixture
async def house() -> FakeHouse:
    return FakeHouse()


@pytest.fixture
async def client(house):
    return create_app(house.ports).test_client()


async def test_health_paths_need_no_login_and_tell_the_same(autojump_clock, client) -> None:
    for path in ("/health", "/health/live", "/health/ready", "/ready", "/health/startup", "/startup"):
        response = await client.get(path)
        assert response.status_code == 200, path
        assert (await response.get_json())["checks"]["bus"]["ok"] is True


async def test_not_ready_names_cause_and_remedy(autojump_clock, house, client) -> None:
    house.is_ready = False
    for path in ("/ready", "/health/ready"):
        response = await client.get(path)
        document = await response.get_json()
        assert response.status_code == 503
        assert document["error"]["code"] == "NOT_READY"
        assert document["checks"]["bus"]["remedy"] == "Plug in the RS485 adapter."
        assert "/dev/ttyOHT485 is absent" in document["detail"]
    assert (await client.get("/health/live")).status_code == 200


async def test_success_envelope_and_request_id(autojump_clock, house, client) -> None:
    response = await client.get("/api/v1/robot/status", headers={**house.headers(), "X-Request-ID": "abc-1"})
    document = await response.get_json()
    assert {"success", "data", "message", "timestamp", "request_id"} <= set(document)
    assert document["success"] is True
    assert document["request_id"] == response.headers["X-Request-ID"] == "abc-1"
    assert document["timestamp"].endswith("Z")


async def test_error_envelope_repeats_the_message_as_detail(autojump_clock, client) -> None:
    response = await client.get("/api/v1/robot/status", headers={"X-Request-ID": "not a good id"})
    document = await response.get_json()
    assert response.status_code == 401
    assert document["success"] is False
    assert set(document["error"]) == {"code", "message", "details"}
    assert document["error"]["code"] == "AUTH_FAILED"
    assert document["detail"] == document["error"]["message"]
    assert document["request_id"] != "not a good id"


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/robot/status",
        "/api/v1/safety/status",
        "/api/v1/modules",
        "/api/v1/modules/2",
        "/api/v1/modules/2/registers",
        "/api/v1/lidar/scan",
        "/api/v1/lidar/status",
        "/api/v1/telemetry/current",
        "/api/v1/telemetry/history",
        "/api/v1/events",
        "/api/v1/auth/me",
    ],
)
async def test_reading_needs_a_login_and_every_answer_is_strict_json(autojump_clock, house, client, path) -> None:
    house.hub.scan = room_scan(now_ns(), 1)
    assert (await client.get(path)).status_code == 401
    response = await client.get(path, headers=house.headers("eyes"))
    assert response.status_code == 200, await response.get_data(as_text=True)
    json.loads(await response.get_data(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


async def test_status_says_why_it_cannot_move(autojump_clock, house, client) -> None:
    house.hub.publish(**_fields(with_obstacle(house.hub.current())))
    view = (await (await client.get("/api/v1/robot/status", headers=house.headers())).get_json())["data"]
    assert view["status"] == "safe"
    assert view["why"]["can_move"] is False
    assert view["why"]["sentence"].startswith("It is locked: the control program has just started.")
    codes = [cause["code"] for cause in view["why"]["inhibits"]]
    assert codes == ["zone_stop", "boot", "no_authority"]
    zone = view["why"]["inhibits"][0]
    assert zone["hit"]["zone"] == "stop"
    assert zone["hit"]["points"][1] == {"angle_deg": 0.0, "distance_mm": 430}
    assert zone["remedy"]


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (CauseCode.OPERATOR_STOP, "It is locked: STOP was pressed."),
        (CauseCode.LIDAR_SILENT, "It is locked: the LiDAR has gone silent."),
    ],
)
async def test_a_title_within_the_sentence_keeps_its_capitals(autojump_clock, house, code, sentence) -> None:
    cause = Cause(code, now_ns())
    decision = evolve(house.hub.current().decision, inhibits=(cause,))
    snapshot = house.hub.publish(latched_causes=(cause,), decision=decision)
    assert why_view(snapshot, now_ns())["sentence"] == sentence


async def test_unknown_is_null_and_stale_is_said(autojump_clock, house, client) -> None:
    await trio.sleep(10)
    house.hub.publish(modules=tuple(m for m in modules(0) if m.kind is not ModuleKind.DOCK))
    view = (await (await client.get("/api/v1/robot/status", headers=house.headers())).get_json())["data"]
    assert view["position"]["x"] == {"value": None, "unit": None, "quality": "unknown", "age_ms": None}
    assert view["battery"]["voltage"]["quality"] == "stale"
    assert view["battery"]["voltage"]["age_ms"] >= 10_000
    assert view["battery_level"] is None
    assert view["safety_status"] == "UNAVAILABLE"


async def test_safety_status_has_times_evidence_and_the_failsafe_table(autojump_clock, house, client) -> None:
    house.hub.publish(**_fields(with_obstacle(house.hub.current())))
    view = (await (await client.get("/api/v1/safety/status", headers=house.headers())).get_json())["data"]
    stop = view["last_stops"][0]
    assert [stop[name] for name in STOP_TIMES] == [0, 7.0, 39.0, 290.0]
    assert [hit["zone"] for hit in view["zones"]] == ["stop", "slow"]
    assert view["zones"][0]["age_ms"] >= 40
    assert view["sectors"][0]["quality"] == "unknown"
    assert view["sectors"][0]["nearest_mm"] is None
    assert {"code", "title", "stop", "is_latching", "is_person_related", "is_ordinary", "remedy"} == set(
        view["failsafes"][0]
    )
    assert view["emergency_stop"] is False


async def test_modules_and_registers(autojump_clock, house, client) -> None:
    listed = (await (await client.get("/api/v1/modules", headers=house.headers())).get_json())["data"]
    assert [module["address"] for module in listed["modules"]] == ["0x02", "0x03", "0x04", "0x05"]
    for spelling in ("2", "0x02", "0X2"):
        response = await client.get(f"/api/v1/modules/{spelling}/registers", headers=house.headers())
        registers = (await response.get_json())["data"]["registers"]
        assert [item["name"] for item in registers] == ["battery_voltage", "rail_12v"]
        assert registers[0]["value"] == 26.1
        assert registers[0]["access"] == "ro"
        assert registers[1]["value"] is None
        assert registers[1]["quality"] == "unknown"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/v1/modules/9/registers", 404, "NOT_FOUND"),
        ("/api/v1/modules/zwei/registers", 422, "INVALID_REQUEST"),
        ("/api/v1/modules/0x1FF/registers", 422, "INVALID_REQUEST"),
        ("/api/v1/nowhere", 404, "NOT_FOUND"),
    ],
)
async def test_wrong_paths(autojump_clock, house, client, path, status, code) -> None:
    response = await client.get(path, headers=house.headers())
    document = await response.get_json()
    assert (response.status_code, document["error"]["code"]) == (status, code)


async def test_no_scan_is_503_with_cause(autojump_clock, house, client) -> None:
    house.hub.publish(lidar=evolve(house.hub.current().lidar, cause="no device", remedy="Plug it in."))
    response = await client.get("/api/v1/lidar/scan", headers=house.headers())
    document = await response.get_json()
    assert response.status_code == 503
    assert document["error"]["code"] == "STALE_DATA"
    assert document["error"]["details"]["remedy"] == "Plug it in."


async def test_scan_leaves_out_points_without_return_and_tells_its_age(autojump_clock, house, client) -> None:
    house.hub.scan = room_scan(now_ns(), 7)
    await trio.sleep(2)
    view = (await (await client.get("/api/v1/lidar/scan", headers=house.headers())).get_json())["data"]
    assert view["no_returns"] == 10
    assert len(view["point_cloud"]) == 390
    assert view["point_cloud"][0] == {"angle": 0.0, "distance": 0.43, "quality": 47}
    assert view["quality"] == "stale"
    assert view["age_ms"] >= 2000


async def test_history_passes_a_bounded_question(autojump_clock, house, client) -> None:
    query = "start_time=2030-01-31T13:00:00%2B01:00&end_time=2030-01-31T12:30:00Z&interval=1m&limit=50"
    response = await client.get(f"/api/v1/telemetry/history?{query}", headers=house.headers())
    assert (await response.get_json())["data"]["records"][0]["values"] == {"battery_level": 81.0}
    assert house.history.asked == [
        {"start": "2030-01-31T12:00:00.000Z", "end": "2030-01-31T12:30:00.000Z", "interval_s": 60.0, "limit": 50}
    ]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("start_time=yesterday", "start_time"),
        ("start_time=2030-01-31T12:00:00", "start_time"),
        ("start_time=2030-02-01T00:00:00Z&end_time=2030-01-01T00:00:00Z", "end_time"),
        ("interval=3s", "interval"),
        ("limit=0", "limit"),
        ("limit=1000000", "limit"),
        ("limit=-1", "limit"),
        ("limit=%D9%A3", "limit"),
        ("limits=5", "limits"),
        ("end_time=0001-01-01T00:00:00%2B23:00", "end_time"),
    ],
)
async def test_malformed_history_questions_name_the_field(autojump_clock, house, client, query, field) -> None:
    response = await client.get(f"/api/v1/telemetry/history?{query}", headers=house.headers())
    document = await response.get_json()
    assert response.status_code == 422
    assert document["error"]["details"]["field"] == field


async def test_memory_that_is_down_is_503(autojump_clock, house, client) -> None:
    house.history.error = StoreError("database is locked")
    response = await client.get("/api/v1/telemetry/history", headers=house.headers())
    assert response.status_code == 503
    assert "database is locked" in (await response.get_json())["detail"]


async def test_events_page_backwards(autojump_clock, house, client) -> None:
    response = await client.get("/api/v1/events?limit=5&before_seq=2", headers=house.headers())
    assert [event["seq"] for event in (await response.get_json())["data"]["events"]] == [1]


async def test_security_headers_and_static_page(autojump_clock, house, monkeypatch) -> None:
    files = {LIBRARY: StaticFile(b"export {};", "text/javascript", "1"), **load_static()}
    monkeypatch.setattr("oht50d.web.app.load_static", lambda: files)
    client = create_app(house.ports).test_client()
    response = await client.get("/")
    body = await response.get_data(as_text=True)
    assert response.status_code == 200
    assert 'action="/api/v1/robot/emergency-stop"' in body
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    again = await client.get("/", headers={"If-None-Match": response.headers["ETag"]})
    assert again.status_code == 304
    assert (await client.get("/static/../app.py")).status_code == 404


async def test_a_page_without_its_library_says_how_to_get_it(autojump_clock, house, monkeypatch, caplog) -> None:
    files = {name: file for name, file in load_static().items() if name != LIBRARY}
    monkeypatch.setattr("oht50d.web.app.load_static", lambda: files)
    client = create_app(house.ports).test_client()
    for known in ({}, {"If-None-Match": f'"{files["no_library.html"].etag}"'}):
        response = await client.get("/", headers=known)
        body = await response.get_data(as_text=True)
        assert response.status_code == 503
        assert "standalone.module.js" in body
        assert "./dev run" in body
        assert 'action="/api/v1/robot/emergency-stop"' in body
        assert "<script" not in body
    assert LIBRARY in caplog.text
    assert (await client.get("/static/style.css")).status_code == 200


async def test_rate_limit_spares_stop_health_and_metrics(autojump_clock) -> None:
    house = FakeHouse(config=WebConfig(requests_per_minute=3))
    client = create_app(house.ports).test_client()
    headers = house.headers()
    codes = [(await client.get("/api/v1/robot/status", headers=headers)).status_code for _ in range(4)]
    assert codes == [200, 200, 200, 429]
    refused = await client.get("/api/v1/robot/status", headers=headers)
    assert refused.headers["Retry-After"]
    assert (await client.get("/api/v1/robot/status", headers=house.headers("boss"))).status_code == 200
    for _ in range(5):
        assert (await client.post("/api/v1/robot/emergency-stop", headers=headers)).status_code == 200
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/metrics")).status_code == 200
    await trio.sleep(60)
    assert (await client.get("/api/v1/robot/status", headers=headers)).status_code == 200


async def test_metrics_text(autojump_clock, house, client) -> None:
    await client.get("/api/v1/robot/status")
    text = await (await client.get("/metrics")).get_data(as_text=True)
    assert 'http_requests_total{status="401"} 1.0' in text
    assert 'oht50_module_up{module="power@0x02"} 1.0' in text
    assert 'oht50_machine_state{state="safe"} 1.0' in text
    assert "oht50_lidar_scan_age_seconds" in text


def _fields(snapshot) -> dict[str, object]:
    return {"decision": snapshot.decision, "last_stops": snapshot.last_stops}
