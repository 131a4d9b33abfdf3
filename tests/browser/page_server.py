"""A process that serves the page over real HTTP with the fakes behind it, steered by the test through /_test/...

Prints one JSON line {"port", "token"} once it listens; ends with its standard input.
"""

import json
import socket
import sys
from pathlib import Path

import trio
from attrs import evolve
from hypercorn.config import Config
from hypercorn.trio import serve
from quart import Response, request

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from web_fakes import BOOT_ID, FakeHouse, boot_snapshot, modules, room_scan, with_obstacle

from oht50d.clock import now_ns
from oht50d.core.failsafes import FAILSAFES
from oht50d.model.motion import Cause, CauseCode, MachineState, StopPhase
from oht50d.model.snapshot import Authority
from oht50d.services.ports import Account, Role
from oht50d.web.app import create_app

assert FAILSAFES


class Stage:
    """Keeps the fakes alive: a snapshot each 50 ms, a scan each 125 ms, a nonce each 100 ms while jogging."""

    def __init__(self, house: FakeHouse) -> None:
        self.house = house
        self.has_obstacle = False
        self.is_frozen = False
        self.latched_by = boot_snapshot(0).latched_causes

    async def publish(self) -> None:
        while True:
            await trio.sleep(0.05)
            if self.is_frozen:
                continue
            hub, now = self.house.hub, now_ns()
            fresh = boot_snapshot(now)
            shown = with_obstacle(fresh) if self.has_obstacle else fresh
            keep = hub.current()
            decision = shown.decision if keep.is_latched or self.has_obstacle else evolve(shown.decision, inhibits=())
            hub.publish(
                taken_ns=now, modules=modules(now), wire=fresh.wire, lidar=fresh.lidar, decision=decision,
                last_stops=shown.last_stops, latched_causes=self.latched_by if keep.is_latched else (),
            )  # fmt: skip

    async def turn(self) -> None:
        number = 0
        while True:
            await trio.sleep(0.125)
            number += 1
            if not self.is_frozen:
                self.house.hub.scan = room_scan(now_ns(), number, has_person=self.has_obstacle)

    async def nonces(self) -> None:
        while True:
            await trio.sleep(0.1)
            if self.house.commander.jog is not None:
                self.house.commander.issue_nonce()


def steer(app, stage: Stage) -> None:
    """What the test may do and ask."""
    house = stage.house

    @app.post("/_test/set")
    async def change() -> Response:
        wish = await request.get_json()
        stage.has_obstacle = wish.get("obstacle", stage.has_obstacle)
        stage.is_frozen = wish.get("frozen", stage.is_frozen)
        house.commander.outcome = wish.get("outcome", house.commander.outcome)
        house.commander.stop_takes_s = wish.get("stop_takes_s", house.commander.stop_takes_s)
        if "stop_phase" in wish:
            report = with_obstacle(house.hub.current()).last_stops[0]
            number, phase = len(house.commander.stops), StopPhase(wish["stop_phase"])
            house.hub.publish(stop=evolve(report, number=number, phase=phase))
        if "latched_by" in wish:
            stage.latched_by = tuple(Cause(CauseCode(code), now_ns()) for code in wish["latched_by"])
        if wish.get("unlatched"):
            authority = Authority(BOOT_ID, 2, wish.get("holder", "ops"), now_ns())
            house.hub.publish(is_latched=False, state=MachineState.IDLE, authority=authority)
        return Response("{}", content_type="application/json")

    @app.get("/_test/facts")
    async def facts() -> Response:
        commander = house.commander
        known = {
            "stops": commander.stops,
            "is_latched": house.hub.current().is_latched,
            "is_jogging": commander.jog is not None,
            "renewed": len(commander.renewed),
            "holder": house.hub.current().authority.holder,
        }
        return Response(json.dumps(known), content_type="application/json")


async def main() -> None:
    """Serve until standard input closes."""
    house = FakeHouse()
    stage = Stage(house)
    app = create_app(house.ports)
    steer(app, stage)
    listener = socket.create_server(("127.0.0.1", 0))
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.graceful_timeout = 0.2
    config.accesslog = config.errorlog = None
    done = trio.Event()
    async with trio.open_nursery() as nursery:
        for loop in (stage.publish, stage.turn, stage.nonces):
            nursery.start_soon(loop)
        nursery.start_soon(lambda: serve(app, config, shutdown_trigger=done.wait, mode="asgi"))
        token = house.one_time.issue(Account("ops", Role.OPERATOR, True))
        print(json.dumps({"port": listener.getsockname()[1], "token": token}), flush=True)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        done.set()
        await trio.sleep(0.5)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
