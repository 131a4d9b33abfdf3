"""Maps that fit one by one may not fit together."""

from pathlib import Path

import pytest
from attrs import evolve

from oht50d.codec.registers import load_module_map
from oht50d.core.map_set import REQUIRED_ROLES, check_map_set
from oht50d.model.errors import ConfigError
from oht50d.model.registers import ModuleKind, ModuleMap

NAMES = ("power.toml", "safety.toml", "travel_motor.toml", "dock.toml")
MODULES = Path(__file__).resolve().parents[2] / "config" / "modules"


def shipped() -> list[tuple[str, ModuleMap]]:
    return [(name, load_module_map((MODULES / name).read_text(), file=name)) for name in NAMES]


def test_the_shipped_maps_fit() -> None:
    check_map_set(shipped())


def test_two_maps_with_one_address() -> None:
    maps = shipped()
    maps[2] = ("travel_motor.toml", evolve(maps[2][1], address=3))
    with pytest.raises(ConfigError, match=r"taken by safety\.toml") as caught:
        check_map_set(maps)
    assert (caught.value.file, caught.value.found) == ("travel_motor.toml", "0x03")


@pytest.mark.parametrize(("kind", "role"), [(kind, role) for kind, roles in REQUIRED_ROLES.items() for role in roles])
def test_a_missing_role_is_named(kind: ModuleKind, role: str) -> None:
    maps = [
        (
            file,
            evolve(module, registers=tuple(spec for spec in module.registers if spec.role != role))
            if module.kind is kind
            else module,
        )
        for file, module in shipped()
    ]
    with pytest.raises(ConfigError, match="needs this role") as caught:
        check_map_set(maps)
    assert caught.value.key == role
