"""Requests that no client of ours sends: every one is a 4xx with code and field, in JSON's words and never Python's."""

import itertools
import re

import pytest
from web_fakes import FakeHouse

from oht50d.web.app import create_app
from oht50d.web.app_config import WebConfig

LOGIN, REFRESH, ONE_TIME = "/api/v1/auth/login", "/api/v1/auth/refresh", "/api/v1/auth/one-time"
CONTROL, RESET = "/api/v1/robot/control", "/api/v1/safety/reset"
GOOD = {
    LOGIN: {"username": b'"ops"', "password": b'"not the password"'},
    REFRESH: {"refresh_token": b'"x"'},
    ONE_TIME: {"token": b'"x"'},
    CONTROL: {"command": b'"arm"', "boot_id": b'"b"', "epoch": b"1"},
    RESET: {"action": b'"hold"', "boot_id": b'"b"', "epoch": b"1"},
}
OPTIONAL = {
    LOGIN: ("remember_me",), REFRESH: (), ONE_TIME: (), CONTROL: ("parameters", "priority", "force"),
    RESET: ("hold_id", "force"),
}  # fmt: skip
WILD = (
    b"null", b"true", b"7", b"7.5", b'"x"', b'"\\u0000"', b"[]", b"{}", b"NaN", b"-Infinity", b"1e999",
    b"1" + b"0" * 400, b"1" + b"0" * 5000, b'"\\ud800"', b"[" * 800 + b"]" * 800, b"[" * 30_000,
    b'{"a":' * 900 + b"1" + b"}" * 900,
)  # fmt: skip
PYTHON_WORDS = re.compile(r"\b(str|int|bool|dict|NoneType|float|attribute|object has|attrs|cattrs|class|Traceback)\b")
FIELDS = [(path, field) for path, known in GOOD.items() for field in (*known, *OPTIONAL[path])]


@pytest.fixture
async def house() -> FakeHouse:
    return FakeHouse(config=WebConfig(requests_per_minute=10**6, commands_per_minute=10**6))


@pytest.fixture
async def client(house):
    return create_app(house.ports).test_client()


def body_with(path: str, field: str, wild: bytes) -> bytes:
    """A good body with one wild member."""
    members = {**GOOD[path], field: wild}
    return b"{" + b", ".join(f'"{name}": '.encode() + text for name, text in members.items()) + b"}"


@pytest.mark.parametrize(("path", "field"), FIELDS)
async def test_a_wild_value_is_refused_by_code_and_field(autojump_clock, house, client, path, field) -> None:
    for wild in WILD:
        response = await client.post(path, headers=house.headers("boss"), data=body_with(path, field, wild))
        document = await response.get_json()
        assert response.status_code < 500, (wild[:20], document)
        if response.status_code != 200:
            assert document["error"]["code"], wild[:20]
            assert not PYTHON_WORDS.search(document["detail"]), document["detail"]
        if response.status_code == 422:
            assert document["error"]["details"]["field"] in (field, "body", "command", "action"), document["detail"]


@pytest.mark.parametrize(
    ("path", "field", "wild", "issue"),
    [
        (CONTROL, "command", b"5", "expected a string, found a number"),
        (CONTROL, "epoch", b'"1"', "expected a whole number (digits only), found a string"),
        (CONTROL, "epoch", b"1.0", "expected a whole number (digits only), found a number"),
        (CONTROL, "epoch", b"true", "expected a whole number (digits only), found true or false"),
        (CONTROL, "force", b"null", "expected true or false, found null"),
        (CONTROL, "parameters", b"[]", "expected an object, found a list"),
        (CONTROL, "priority", b"{}", "expected a string or a whole number, found an object"),
        (LOGIN, "password", b"null", "expected a string, found null"),
    ],
)
async def test_the_issue_is_told_in_words_of_json(autojump_clock, house, client, path, field, wild, issue) -> None:
    response = await client.post(path, headers=house.headers("boss"), data=body_with(path, field, wild))
    document = await response.get_json()
    assert response.status_code == 422
    assert document["error"]["details"]["field"] == field
    assert document["error"]["details"]["issue"] == issue
    assert document["detail"] == f"{field}: {issue}"


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999"])
async def test_numbers_that_json_does_not_have_are_refused(autojump_clock, house, client, number) -> None:
    for wild in (number, b'{"speed": ' + number + b"}"):
        body = body_with(CONTROL, "parameters", wild)
        response = await client.post(CONTROL, headers=house.headers("boss"), data=body)
        assert response.status_code == 422
        assert (await response.get_json())["error"]["details"]["field"] == "body"


CONTENTS = (
    (b"username=ops&password=x", "application/x-www-form-urlencoded"),
    (b"--x\r\n", "multipart/form-data; boundary=x"),
    (b"--x\r\n", "multipart/form-data"),
    (b"\xff\xfe", "application/json"),
    (b"\x1f\x8b\x08", "application/json"),
    (b"<a/>", "text/xml; charset=utf-99"),
    (b"[1]", "text/plain"),
    (b"{}", "\xff/"),
    (b"", ""),
)


@pytest.mark.parametrize(("path", "content"), [*itertools.product(GOOD, CONTENTS)])
async def test_another_content_is_refused(autojump_clock, house, client, path, content) -> None:
    body, kind = content
    response = await client.post(path, headers={**house.headers("boss"), "Content-Type": kind}, data=body)
    document = await response.get_json()
    assert response.status_code == 422
    assert document["error"]["code"] in ("INVALID_REQUEST", "INVALID_COMMAND")
    assert document["error"]["details"]["field"]
    assert not PYTHON_WORDS.search(document["detail"])


@pytest.mark.parametrize(
    ("path", "field", "issue"),
    [
        ("modules/%D9%A3", "address", "expected a bus address such as 4 or 0x04"),
        ("modules/1_0", "address", "expected a bus address such as 4 or 0x04"),
        ("modules/+3", "address", "expected a bus address such as 4 or 0x04"),
        ("modules?x=1", "x", "unknown parameter; there are none here"),
        ("modules/2/registers?x=1", "x", "unknown parameter; there are none here"),
        ("lidar/scan?x=1", "x", "unknown parameter; there are none here"),
        ("lidar/status?x", "x", "unknown parameter; there are none here"),
        ("telemetry/current?x=1", "x", "unknown parameter; there are none here"),
        ("events?limit=1&limit=2", "limit", "given more than once"),
        ("telemetry/history?limit=1&limit=2", "limit", "given more than once"),
        ("telemetry/history?limit=-1", "limit", "expected 1 to 5000"),
    ],
)
async def test_a_question_that_is_not_understood_whole_is_refused(
    autojump_clock, house, client, path, field, issue
) -> None:
    response = await client.get(f"/api/v1/{path}", headers=house.headers())
    document = await response.get_json()
    assert response.status_code == 422, document
    assert document["error"]["details"] == {"field": field, "issue": issue}


@pytest.mark.parametrize(
    "body", ['{"epoch": 1, "epoch": 2, %s}', '{"parameters": {"a": [{"epoch": 1, "epoch": 1}]}, %s}']
)
async def test_a_key_that_stands_twice_is_named(autojump_clock, house, client, body) -> None:
    sent = body % '"command": "arm", "boot_id": "b"'
    response = await client.post(CONTROL, headers=house.headers("boss"), data=sent.encode())
    document = await response.get_json()
    assert response.status_code == 422, document
    assert document["error"]["details"] == {"field": "epoch", "issue": "given more than once"}


@pytest.mark.parametrize("words", [("stop", "arm"), ("arm", "stop"), ("stop", "emergency_stop")])
async def test_stop_counts_even_if_its_key_stands_twice(autojump_clock, house, client, words) -> None:
    sent = '{{"command": "{}", "command": "{}"}}'.format(*words)
    assert (await client.post(CONTROL, data=sent.encode())).status_code == 200
    assert house.commander.stops == [(None, "http")]
