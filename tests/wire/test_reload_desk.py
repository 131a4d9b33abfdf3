"""Who hears what of a reload, and that it never disturbs the house."""

import os
import signal
import threading
from typing import cast

import pytest
import trio
from attrs import define, field

from oht50d.app.reload import ReloadDesk, ReloadReport
from oht50d.app.signals import run_with_signals
from oht50d.drivers.systemd import Notifier
from oht50d.model.errors import ConfigError


@define(slots=False)
class Manager:
    """A service manager of memory."""

    told: list[str] = field(factory=list)

    def reloading(self) -> None:
        self.told.append("reloading")

    def ready(self, words: str) -> None:
        self.told.append(f"ready {words}")


def desk_with(manager: Manager, reload: object) -> ReloadDesk:
    return ReloadDesk(cast("type[ReloadReport]", reload), cast(Notifier, manager), lambda: "SAFE")


async def test_a_refusal_is_a_warning_with_its_place(caplog: pytest.LogCaptureFixture) -> None:
    manager = Manager()
    refusal = ConfigError("web.port", "wrong type", file="/etc/x.toml", line=7)
    await desk_with(manager, lambda: ReloadReport(refusal=refusal)).reload()
    (record,) = caplog.records
    assert (record.levelname, record.__dict__["config_line"], record.__dict__["config_key"]) == (
        "WARNING",
        7,
        "web.port",
    )
    assert "/etc/x.toml:7: web.port: wrong type" in record.getMessage()
    assert manager.told == ["reloading", "ready SAFE"]


async def test_a_defect_in_a_reload_does_not_end_the_house(caplog: pytest.LogCaptureFixture) -> None:
    manager = Manager()

    def defect() -> ReloadReport:
        raise ZeroDivisionError

    await desk_with(manager, defect).reload()
    assert manager.told == ["reloading", "ready SAFE"]
    assert "the running configuration stays" in caplog.text


async def test_a_reload_that_hangs_is_given_up_and_the_next_one_is_served(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oht50d.app.reload.LIMIT_S", 0.2)
    manager, gate, calls = Manager(), threading.Event(), []

    def hangs_once() -> ReloadReport:
        calls.append(1)
        if len(calls) == 1:
            gate.wait(30)
        return ReloadReport(("the second one",))

    desk = desk_with(manager, hangs_once)
    with trio.fail_after(20):
        await desk.reload()
        assert manager.told == ["reloading", "ready SAFE"]
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "given up" in caplog.text
        caplog.set_level("INFO")
        await desk.reload()
    gate.set()
    assert manager.told == ["reloading", "ready SAFE"] * 2
    assert "the second one" in caplog.text


async def test_a_flood_is_folded_and_the_last_one_is_served() -> None:
    manager, gate, calls = Manager(), threading.Event(), []

    def slow() -> ReloadReport:
        calls.append(gate.wait(30))
        return ReloadReport()

    desk = desk_with(manager, slow)
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(desk.reload)
            await trio.sleep(0.001)
        gate.set()
    assert manager.told == ["reloading", "ready SAFE"] * 2
    assert len(calls) == 2


async def test_a_stop_does_not_wait_for_a_reload() -> None:
    """SIGTERM while the files of a reload hang: the house is asked to stop at once."""
    stopped, reloading = trio.Event(), trio.Event()

    class House:
        def request_stop(self, reason: str) -> None:
            stopped.set()

        async def reload(self) -> None:
            reloading.set()
            await trio.sleep_forever()

        async def run(self) -> int:
            os.kill(os.getpid(), signal.SIGHUP)
            await reloading.wait()
            os.kill(os.getpid(), signal.SIGTERM)
            await stopped.wait()
            return 0

    with trio.fail_after(30):
        assert await run_with_signals(House()) == 0
