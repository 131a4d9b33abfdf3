"""Robot status and control (API.md, section 4; no state)."""

from collections.abc import Mapping

from quart import Blueprint, Response, request

from oht50d.clock import now_ns
from oht50d.model.accounts import Role
from oht50d.model.errors import CommandRejected
from oht50d.web.envelope import success
from oht50d.web.guard import Guard, claim_of
from oht50d.web.present_robot import status_view, why_view
from oht50d.web.schema import ControlRequest, body_as, parse_json
from oht50d.web.stop import answer_stop
from oht50d.web.web_ports import WebPorts

COMMANDS = ("stop", "pause", "arm", "disarm")
NOT_BUILT = frozenset(
    {
        "move", "resume", "home", "set_mode", "dock", "undock", "reset", "move_forward", "move_backward", "turn_left",
        "turn_right",
    }
)  # fmt: skip
_CODE = "INVALID_COMMAND"


def robot_blueprint(ports: WebPorts, guard: Guard) -> Blueprint:
    """/robot/status and /robot/control."""
    blueprint = Blueprint("robot", __name__, url_prefix="/api/v1/robot")

    @blueprint.get("/status")
    async def status() -> Response:
        guard.require(Role.VIEWER)
        view = status_view(ports.snapshots.current(), now_ns())
        return success(view, top=view)

    @blueprint.post("/control")
    async def control() -> Response:
        order = await _parsed(guard)
        if order.command == "stop":
            return await answer_stop(ports, guard)
        actor = await guard.require_for_command(Role.OPERATOR)
        note = "force is accepted and ignored" if order.force else ""
        match order.command:
            case "pause":
                ports.commander.release_jog(actor)
                report: Mapping[str, object] = {"status": "executed", "stop": "S2"}
            case "arm":
                report = ports.commander.arm(actor, claim_of(order.boot_id, order.epoch, code=_CODE))
            case "disarm":
                report = ports.commander.disarm(actor, claim_of(order.boot_id, order.epoch, code=_CODE))
            case _:
                raise _refusal(ports, order.command)
        return success({"command": order.command, "status": "executed", **report}, note)

    return blueprint


async def _parsed(guard: Guard) -> ControlRequest:
    """The order; a body that cannot be read is refused after the login was checked, so that strangers learn nothing."""
    if await _asks_for_stop():
        return ControlRequest(command="stop")
    try:
        return await body_as(ControlRequest, code=_CODE)
    except CommandRejected:
        guard.require(Role.OPERATOR)
        raise


async def _asks_for_stop() -> bool:
    """STOP is never refused for what else stands in its body."""
    try:
        document = parse_json(await request.get_data(as_text=False))
    except CommandRejected:
        return False
    return isinstance(document, dict) and document.get("command") == "stop"


def _refusal(ports: WebPorts, command: str) -> CommandRejected:
    """Why `command` is not carried out, honestly: unknown, not built, or not allowed before commissioning."""
    if command not in NOT_BUILT:
        issue = f"not a command; known are {', '.join((*COMMANDS, *sorted(NOT_BUILT)))}"
        return CommandRejected(_CODE, f"command: {issue}", {"field": "command", "issue": issue})
    if command == "reset":
        issue = "reset is a hold and a release: POST /api/v1/safety/reset"
        return CommandRejected(_CODE, issue, {"field": "command", "issue": issue})
    snapshot = ports.snapshots.current()
    if snapshot.is_commissioned:
        issue = "automatic motion is not part of this version; hold-to-run jog over /ws is"
        return CommandRejected(_CODE, f"{command}: {issue}", {"field": "command", "issue": issue})
    return CommandRejected(
        "SAFETY_VIOLATION",
        f"{command}: this robot is not commissioned; only hold-to-run jog over /ws can move it",
        {
            "field": "command",
            "issue": "needs a commissioned robot",
            "missing": ["brake test", "direction of each drive", "speed calibration", "measured stopping distance"],
            "allowed": "jog_press, jog_renew, jog_release over /ws",
            "why": why_view(snapshot, now_ns()),
        },
    )
