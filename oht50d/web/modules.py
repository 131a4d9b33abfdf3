"""Modules and registers, read only (API.md, section 8; no state)."""

import re

from quart import Blueprint, Response

from oht50d.clock import now_ns
from oht50d.model.accounts import Role
from oht50d.model.errors import CommandRejected
from oht50d.model.snapshot import ModuleStatus
from oht50d.web.envelope import success
from oht50d.web.guard import Guard
from oht50d.web.present_modules import module_view, modules_view, registers_view
from oht50d.web.schema import invalid, only_parameters
from oht50d.web.web_ports import WebPorts

_FIRST_UNIT, _LAST_UNIT = 1, 247
_ADDRESS = re.compile(r"0[xX][0-9A-Fa-f]{1,8}|[0-9]{1,8}")


def modules_blueprint(ports: WebPorts, guard: Guard) -> Blueprint:
    """/modules, /modules/{address} and /modules/{address}/registers; the address is decimal or 0x.."""
    blueprint = Blueprint("modules", __name__, url_prefix="/api/v1/modules")

    @blueprint.get("")
    async def modules() -> Response:
        guard.require(Role.VIEWER)
        only_parameters()
        return success(modules_view(ports.snapshots.current(), now_ns()))

    @blueprint.get("/<address>")
    async def module(address: str) -> Response:
        guard.require(Role.VIEWER)
        only_parameters()
        return success(module_view(_find(ports, address), now_ns()))

    @blueprint.get("/<address>/registers")
    async def registers(address: str) -> Response:
        guard.require(Role.VIEWER)
        only_parameters()
        found = _find(ports, address)
        return success(registers_view(found, ports.module_maps.get(found.address), now_ns()))

    return blueprint


def _find(ports: WebPorts, text: str) -> ModuleStatus:
    unit = _parse(text)
    for module in ports.snapshots.current().modules:
        if module.address == unit:
            return module
    raise CommandRejected(
        "NOT_FOUND", f"no module is bound to address {unit:#04x}", {"field": "address", "issue": "no module there"}
    )


def _parse(text: str) -> int:
    if _ADDRESS.fullmatch(text) is None:
        raise invalid("address", "expected a bus address such as 4 or 0x04")
    unit = int(text, 16 if text[:2] in ("0x", "0X") else 10)
    if not _FIRST_UNIT <= unit <= _LAST_UNIT:
        raise invalid("address", f"expected {_FIRST_UNIT} to {_LAST_UNIT}")
    return unit
