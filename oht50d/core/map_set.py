"""The loaded maps as a set: addresses of their own, and every role that safety cannot do without (no state)."""

from collections.abc import Mapping, Sequence

from oht50d.model.errors import ConfigError
from oht50d.model.registers import ModuleKind, ModuleMap

REQUIRED_ROLES: Mapping[ModuleKind, tuple[str, ...]] = {
    ModuleKind.SAFETY: (
        "chain.open", "safety.status", "safety.error", "safety.auto_reset", "brake.release", "reset.button",
    ),
    ModuleKind.TRAVEL: (
        "drive.1.enable", "drive.1.setpoint", "drive.1.direction", "drive.1.actual_speed", "drive.1.error",
    ),
    ModuleKind.DOCK: ("position.x", "velocity.x"),
    ModuleKind.POWER: ("battery.soc", "battery.voltage"),
}  # fmt: skip
"""A safety input without a register would be an unknown that nobody notices."""


def check_map_set(maps: Sequence[tuple[str, ModuleMap]]) -> None:
    """Raises ConfigError for no map, one map twice, a shared bus address or a missing role.

    Each map comes with its file's name. What is wrong with the list itself is told of the setting `bus.maps`.
    """
    if not maps:
        raise ConfigError("bus.maps", "no register map", expected="the map of each module", found="[]")
    files: dict[int, str] = {}
    for file, module in maps:
        if files.get(module.address) == file:
            raise ConfigError("bus.maps", "one map is named twice", expected="each map once", found=f"{file} twice")
        if module.address in files:
            why = f"the address is taken by {files[module.address]}"
            raise ConfigError("address", why, file=file, expected="one of its own", found=f"{module.address:#04x}")
        files[module.address] = file
        for role in REQUIRED_ROLES[module.kind]:
            if role not in module.by_role:
                why = f"a {module.kind.value} map needs this role"
                raise ConfigError(role, why, file=file, expected=f'a register with role = "{role}"')
