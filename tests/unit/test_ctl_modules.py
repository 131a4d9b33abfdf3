"""`oht50ctl modules`: what the words ask for, and what is shown."""

import io
import json
import signal
from collections.abc import Callable
from typing import Any

import pytest

from oht50d.app import ctl, ctl_modules
from oht50d.app.ctl_link import LinkProblem
from oht50d.app.exit_codes import ExitCode

FOUND = {
    "address": 6, "state": "identified", "type_code": 6, "type": "lifter", "tag": "LIFT", "serial": 777,
    "firmware": "2.03", "line": None, "age_s": 0.2, "problem": "",
}  # fmt: skip


def asked(*words: str) -> dict[str, object]:
    return ctl_modules.modules_request(ctl._parser().parse_args(["modules", *words]))


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        ((), {"op": "modules"}),
        (("list",), {"op": "modules"}),
        (("scan",), {"op": "modules_search"}),
        (("scan", "--cancel"), {"op": "modules_scan", "action": "cancel"}),
        (("scan", "--all"), {"op": "modules_scan", "action": "start", "first": 1, "last": 247}),
        (("scan", "--first", "0x10"), {"op": "modules_scan", "action": "start", "first": 16, "last": 247}),
        (
            ("scan", "--last", "9", "--baud", "9600", "--baud", "19200", "--parity", "even"),
            {
                "op": "modules_scan", "action": "start", "first": 1, "last": 9, "bauds": [9600, 19_200],
                "parities": ["even"],
            },
        ),
        (("accept", "0x05", "--serial", "1234"), {"op": "modules_accept", "address": 5, "serial": 1234}),
        (("accept", "5", "--serial", "none"), {"op": "modules_accept", "address": 5, "serial": None}),
    ],
)  # fmt: skip
def test_what_the_words_ask_for(words: tuple[str, ...], request_: dict[str, object]) -> None:
    assert asked(*words) == request_


@pytest.mark.parametrize(
    "words",
    [
        ("accept", "5"), ("accept", "0", "--serial", "1"), ("accept", "5", "--serial", "0"),
        ("accept", "5", "--serial", "x"), ("scan", "--first", "248"), ("scan", "--parity", "mark"),
        ("scan", "--baud", "fast"), ("dance",),
    ],
)  # fmt: skip
def test_nonsense_is_a_matter_of_usage(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as end:
        asked(*words)
    assert end.value.code == ExitCode.USAGE


def test_a_range_that_is_none_is_a_matter_of_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl.main(["--socket", "/nowhere", "modules", "scan", "--first", "9", "--last", "3"]) == ExitCode.USAGE
    assert "--last 3 is below --first 9" in capsys.readouterr().err


def test_a_cancellation_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl.main(["--socket", "/nowhere", "modules", "scan", "--cancel", "--all"]) == ExitCode.USAGE
    assert "--cancel stands alone" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("--first", "1"), ("--last", "10"), ("--first", "1", "--last", "10")])
def test_every_address_and_a_range_contradict_each_other(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ctl.main(["--socket", "/nowhere", "modules", "scan", "--all", *words]) == ExitCode.USAGE
    assert "--all is every address" in capsys.readouterr().err


def test_a_cancellation_says_whether_there_was_a_scan() -> None:
    assert "is cancelled" in run(Daemon({"was_running": True}), "modules", "scan", "--cancel")[1]
    assert run(Daemon({"was_running": False}), "modules", "scan", "--cancel") == (0, "No scan is under way.\n")


def test_the_list_shows_a_scan_under_way_and_how_to_end_it() -> None:
    text = ctl_modules.modules_text({"modules": [], **scan(running=True)})
    assert "1 of 2, 1 found" in text
    assert "`oht50ctl modules scan --cancel` ends it" in text
    assert "--cancel" not in ctl_modules.modules_text({"modules": [], **scan(running=False, end="complete")})


def test_nobody_beyond_the_bound_modules_is_not_nobody() -> None:
    module: dict[str, Any] = {"modules": [{"is_online": True}], "discovery": {"rounds": 5}, "found": []}
    assert "beyond the bound modules" in run(Daemon({"rounds": 5}, module), "modules", "scan")[1]
    module["modules"] = [{"is_online": False}]
    assert run(Daemon({"rounds": 5}, module), "modules", "scan")[1] == "Nobody was found.\n"


def test_the_list_shows_trust_and_strangers() -> None:
    module = {
        "address": 5, "title": "Dock", "is_online": True, "age_s": 0.1, "serial": 1234, "firmware": "1.01",
        "trust": "changed", "problem": "another module at 0x05", "requests": 1, "timeouts": 0, "exceptions": 0,
    }  # fmt: skip
    text = ctl_modules.modules_text({"modules": [module], "found": [FOUND], "registry_problem": "no space left"})
    assert "CHANGED" in text
    assert "another module at 0x05" in text
    assert "read only" in text
    assert "lifter (0x0006)" in text
    assert "no space left" in text


def test_whatever_the_daemon_says_something_is_shown() -> None:
    assert "Nobody" in ctl_modules.found_text([])
    assert "unknown" in ctl_modules.found_text([{}])
    assert "0x0063" in ctl_modules.found_text([{**FOUND, "type": None, "type_code": 0x63}])
    assert isinstance(ctl_modules.modules_text({"modules": [{}], "found": 3}), str)


class Daemon:
    """Answers in this order; the last answer for ever."""

    def __init__(self, *trees: dict[str, Any]) -> None:
        self.trees = list(trees)
        self.requests: list[dict[str, object]] = []

    def __call__(self, request: dict[str, object]) -> dict[str, Any]:
        self.requests.append(request)
        return self.trees.pop(0) if len(self.trees) > 1 else self.trees[0]


def scan(*, running: bool, end: str = "") -> dict[str, Any]:
    return {"scan": {"is_running": running, "asked": 1, "planned": 2, "at": "", "found": [FOUND], "end": end}}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctl_modules, "_LOOK_S", 0.0)


def run(daemon: Callable[[dict[str, object]], Any], *words: str) -> tuple[int, str]:
    """Exit code and what was printed."""
    out = io.StringIO()
    return ctl_modules.run_modules(ctl._parser().parse_args([*words]), daemon, out), out.getvalue()


def test_a_scan_is_followed_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    daemon = Daemon({"planned": 2}, scan(running=True), scan(running=True), scan(running=False, end="complete"))
    code, printed = run(daemon, "modules", "scan", "--all")
    assert (code, len(daemon.requests)) == (ExitCode.OK, 4)
    assert "lifter" in printed
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "The scan begins: 2 addresses and settings to ask."
    assert "then reset" in told[-1]


def test_one_that_a_stop_has_ended_is_a_warning() -> None:
    daemon = Daemon({"planned": 2}, scan(running=False, end="ended early: a stop needed the bus"))
    code, printed = run(daemon, "--json", "modules", "scan", "--all")
    assert (code, json.loads(printed)["found"][0]["serial"]) == (ExitCode.WARNINGS, 777)


def test_a_search_is_over_when_its_round_is() -> None:
    rounds = [{"discovery": {"rounds": number}, "found": [FOUND]} for number in (3, 4, 5)]
    daemon = Daemon({"rounds": 5}, *rounds)
    code, printed = run(daemon, "modules", "scan")
    assert (code, len(daemon.requests)) == (ExitCode.OK, 4)
    assert "777" in printed


def test_a_search_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctl_modules, "_SEARCH_LIMIT_S", 0.0)
    with pytest.raises(LinkProblem):
        run(Daemon({"rounds": 5}, {"discovery": {"rounds": 1}}), "modules", "scan")


def test_an_interrupted_scan_is_cancelled() -> None:
    requests: list[dict[str, object]] = []

    def interrupted(request: dict[str, object]) -> dict[str, object]:
        requests.append(request)
        if request["op"] == "modules":
            raise KeyboardInterrupt
        return {}

    code, _ = run(interrupted, "modules", "scan", "--all")
    assert code == ExitCode.WARNINGS
    assert requests[-1] == {"op": "modules_scan", "action": "cancel"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_cancels_the_scan_too(number: signal.Signals) -> None:
    requests: list[dict[str, object]] = []

    def signalled(request: dict[str, object]) -> dict[str, Any]:
        requests.append(request)
        if request["op"] == "modules":
            signal.raise_signal(number)
        return scan(running=True)

    before = signal.getsignal(number)
    assert run(signalled, "modules", "scan", "--all")[0] == ExitCode.WARNINGS
    assert requests[-1] == {"op": "modules_scan", "action": "cancel"}
    assert signal.getsignal(number) is before


def test_a_hang_up_that_is_ignored_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def watched(_request: dict[str, object]) -> dict[str, Any]:
        seen.append(signal.getsignal(signal.SIGHUP))
        return scan(running=False, end="complete")

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run(watched, "modules", "scan", "--all")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert seen[-1] is signal.SIG_IGN


def test_an_acceptance_and_the_list_are_printed_as_text_or_json() -> None:
    assert run(Daemon({"message": "accepted"}), "modules", "accept", "5", "--serial", "7") == (0, "accepted\n")
    assert run(Daemon({"modules": []}), "--json", "modules") == (0, '{\n  "modules": []\n}\n')
    assert "ADDRESS" in run(Daemon({"modules": []}), "modules", "list")[1]
