"""Safety status and reset (API.md, section 6; SAFETY.md, Latch, reset, authority; no state)."""

from collections.abc import Mapping

from quart import Blueprint, Response

from oht50d.clock import now_ns
from oht50d.model.accounts import Role
from oht50d.services.ports import Claim
from oht50d.web.envelope import success
from oht50d.web.guard import Guard
from oht50d.web.present_safety import failsafe_table, safety_view
from oht50d.web.schema import ResetRequest, body_as, invalid
from oht50d.web.web_ports import WebPorts

_CODE = "INVALID_COMMAND"


def safety_blueprint(ports: WebPorts, guard: Guard) -> Blueprint:
    """/safety/status and /safety/reset; STOP has its own blueprint."""
    blueprint = Blueprint("safety", __name__, url_prefix="/api/v1/safety")

    @blueprint.get("/status")
    async def status() -> Response:
        guard.require(Role.VIEWER)
        view = safety_view(ports.snapshots.current(), now_ns(), ports.zones)
        return success({**view, "failsafes": failsafe_table()})

    @blueprint.post("/reset")
    async def reset() -> Response:
        actor = await guard.require_for_command(Role.OPERATOR)
        press = await body_as(ResetRequest, code=_CODE)
        claim = Claim(press.boot_id, press.epoch)
        note = "force is accepted and ignored" if press.force else ""
        match press.action:
            case "hold":
                report: Mapping[str, object] = ports.commander.hold_reset(actor, claim)
            case "release":
                if press.hold_id is None:
                    raise invalid("hold_id", "required with release", code=_CODE)
                report = await ports.commander.release_reset(actor, claim, press.hold_id)
            case _:
                raise invalid("action", "expected hold or release", code=_CODE)
        return success(dict(report), note)

    return blueprint
