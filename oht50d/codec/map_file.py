"""Module maps from TOML: strict, complete and fail-safe (no state; the maps themselves are `config/modules/*.toml`).

Source of the conventions: CONFLICTS.md of the register lists (raw limits, uint8 in the low byte, pairs low word first)
and SAFETY.md, "Permits" (motion set) and "Stopping" (an actuator without a stop role is refused).
"""

import re
from collections.abc import Callable, Hashable, Iterable, Mapping

from oht50d.codec.strict_table import Table, nearest
from oht50d.model.registers import Access, DataType, ModuleKind, ModuleMap, PollClass, RegisterPair, RegisterSpec
from oht50d.model.roles import find_role, role_words
from oht50d.model.units import Duration

RAW_LIMITS: Mapping[DataType, tuple[int, int]] = {
    DataType.UINT8: (0, 0xFF),
    DataType.UINT16: (0, 0xFFFF),
    DataType.INT16: (-0x8000, 0x7FFF),
}
NEVER_POLLED = "never"

_MAP_KEYS = ("kind", "title", "tag", "type_code", "address", "mandatory", "actuator", "registers", "pair")
_REGISTER_KEYS = (
    *("address", "name", "type", "scale", "unit", "access", "role", "min", "max", "default", "poll"),
    *("safety_critical", "motion", "choices", "stuck_after", "description"),
)
_LEAST_STUCK, _MOST_STUCK = Duration.parse("1s"), Duration.parse("1h")
_NAME = "[a-z][a-z0-9_]*"
_DRIVE_ROLE = re.compile(r"(drive\.\d)\..+")
_STOP_WORDS = "drive.N.enable and drive.N.setpoint, or brake.release"


def load_module_map(text: str, *, file: str, address: int | None = None) -> ModuleMap:
    """A module map from the text of a TOML file; `address` (1 to 247) overrides the bus address that it names.

    Raises ConfigError with file, line, key, expected, found and nearest known word. A writable register that does not
    say `motion = false` belongs to the motion set.
    """
    table = Table.parse(text, file)
    table.require_known(_MAP_KEYS, [key for key in _MAP_KEYS if key != "pair"])
    rows = table.tables("registers")
    specs = [_register(row) for row in rows]
    if not specs:
        table.fail("registers", "a map without registers", expected="at least one register")
    _require_unique(rows, "address", [spec.address for spec in specs], show="{:#06x}".format)
    _require_unique(rows, "name", [spec.name for spec in specs])
    _require_unique(rows, "role", [spec.role for spec in specs])
    is_actuator = table.flag("actuator", default=False)
    _require_stop_roles(table, is_actuator, {spec.role for spec in specs if spec.role is not None})
    bound = table.integer("address", 1, 247)
    if address is not None and not 1 <= address <= 247:
        table.fail("address", "the bus address that overrides it is out of range", expected="1 to 247", found=address)
    return ModuleMap(
        kind=table.word("kind", ModuleKind),
        title=table.text_of("title", r"\S.*", "a name for people"),
        tag=table.text_of("tag", "[A-Z0-9]{4}", "four capital letters or digits"),
        type_code=table.integer("type_code", 1, 0xFFFF),
        address=bound if address is None else address,
        is_mandatory=table.flag("mandatory", default=True),
        is_actuator=is_actuator,
        registers=tuple(sorted(specs, key=lambda spec: spec.address)),
        pairs=_pairs(table, {spec.address: spec for spec in specs}),
        source=file,
    )


def _register(row: Table) -> RegisterSpec:
    row.require_known(_REGISTER_KEYS, ("address", "name", "type", "access", "description"))
    data_type = row.word("type", DataType)
    access = row.word("access", Access)
    minimum, maximum, default = _raw_limits(row, data_type)
    role = _role(row, access)
    unit = row.text_of("unit", r"\S*", "a unit without spaces", default="")
    return RegisterSpec(
        address=row.integer("address", 0, 0xFFFF),
        name=row.text_of("name", _NAME, "lower-case words joined by _"),
        data_type=data_type,
        scale=row.positive_number("scale", 1),
        unit=unit,
        access=access,
        description=row.text_of("description", r"\S.*", "what the register is, in words"),
        role=role,
        minimum=minimum,
        maximum=maximum,
        default=default,
        poll=_poll(row, access),
        is_safety_critical=row.flag("safety_critical", default=False),
        is_motion=_is_motion(row, access, role),
        choices=_choices(row, unit, RAW_LIMITS[data_type]),
        stuck_after_ns=_stuck_after_ns(row),
    )


def _stuck_after_ns(row: Table) -> int | None:
    if "stuck_after" not in row.entries:
        return None
    if row.entries.get("poll", NEVER_POLLED) == NEVER_POLLED:
        row.fail("stuck_after", "a register that is not polled", expected="a poll class", found=row.entries.get("poll"))
    expected = f'a duration from {_LEAST_STUCK} to {_MOST_STUCK}, such as "5s"'
    found = row.text_of("stuck_after", r"\S+", expected)
    try:
        span = Duration.parse(found)
    except ValueError:
        row.fail("stuck_after", "not a duration", expected=expected, found=found)
    if not _LEAST_STUCK <= span <= _MOST_STUCK:
        row.fail("stuck_after", "out of range", expected=expected, found=found)
    return span.ns


def _raw_limits(row: Table, data_type: DataType) -> tuple[int | None, int | None, int | None]:
    lowest, highest = RAW_LIMITS[data_type]
    minimum = row.optional_integer("min", lowest, highest)
    maximum = row.optional_integer("max", lowest, highest)
    if minimum is not None and maximum is not None and minimum > maximum:
        row.fail("min", "above max", expected=f"at most {maximum}", found=minimum)
    default = row.optional_integer(
        "default", lowest if minimum is None else minimum, highest if maximum is None else maximum
    )
    return minimum, maximum, default


def _role(row: Table, access: Access) -> str | None:
    if "role" not in row.entries:
        return None
    role = row.text_of("role", r"\S+", "a role")
    meaning = find_role(role)
    if meaning is None:
        near = nearest(role, role_words())
        row.fail("role", "unknown role", expected="a role of the table of roles", found=role, near=near)
    if meaning.is_written and access is Access.RO:
        row.fail("role", f"{role} must be writable", expected="access rw or wo", found=access.value)
    if not meaning.is_written and access is Access.WO:
        row.fail("role", f"{role} must be readable", expected="access ro or rw", found=access.value)
    return role


def _poll(row: Table, access: Access) -> PollClass | None:
    if access is Access.WO:
        if "poll" in row.entries:
            row.fail("poll", "a write-only register cannot be polled", expected="no poll", found=row.entries["poll"])
        return None
    if "poll" not in row.entries:
        row.fail(None, "a readable register needs a poll class", expected=f"poll = a class or {NEVER_POLLED!r}")
    return None if row.entries["poll"] == NEVER_POLLED else row.word("poll", PollClass)


def _is_motion(row: Table, access: Access, role: str | None) -> bool:
    if access is Access.RO:
        if "motion" in row.entries:
            found = row.entries["motion"]
            row.fail("motion", "a read-only register cannot cause motion", expected="no motion key", found=found)
        return False
    is_motion = row.flag("motion", default=True)
    meaning = find_role(role) if role is not None else None
    if meaning is not None and meaning.is_motion and not is_motion:
        row.fail("motion", f"the role {role} belongs to the motion set", expected="true", found=False)
    return is_motion


def _choices(row: Table, unit: str, limits: tuple[int, int]) -> dict[int, str]:
    entries = row.entries.get("choices", {})
    if not isinstance(entries, dict):
        row.fail("choices", "not a table", expected='{ 0 = "word", ... }', found=entries)
    if entries and unit != "enum":
        row.fail("choices", "only an enum has choices", expected='unit = "enum"', found=unit)
    inner = Table(row.text, row.file, (*row.path, "choices"), entries)
    choices: dict[int, str] = {}
    for code, word in entries.items():
        if re.fullmatch(r"0|-?[1-9]\d*", code) is None or not limits[0] <= int(code) <= limits[1]:
            inner.fail(code, "not a code of this type", expected=f"{limits[0]} to {limits[1]}", found=code)
        if not isinstance(word, str) or re.fullmatch("[a-z0-9_]+", word) is None or word in choices.values():
            inner.fail(code, "not a usable word", expected="a lower-case word of its own", found=word)
        choices[int(code)] = word
    return choices


def _pairs(table: Table, specs: Mapping[int, RegisterSpec]) -> tuple[RegisterPair, ...]:
    pairs: list[RegisterPair] = []
    for row in table.tables("pair"):
        row.require_known(("name", "low", "high"), ("name", "low", "high"))
        pair = RegisterPair(
            row.text_of("name", _NAME, "lower-case words joined by _"),
            row.integer("low", 0, 0xFFFF),
            row.integer("high", 0, 0xFFFF),
        )
        for key, place in (("low", pair.low), ("high", pair.high)):
            spec = specs.get(place)
            if spec is None or not spec.is_readable or spec.data_type is not DataType.UINT16:
                why = "not a readable uint16 register of this map"
                row.fail(key, why, expected="its address", found=f"{place:#06x}")
        if pair.low == pair.high:
            row.fail("high", "the same register as low", expected="another address", found=f"{pair.high:#06x}")
        pairs.append(pair)
    return tuple(pairs)


def _require_unique(
    rows: list[Table], key: str, found: Iterable[Hashable], *, show: Callable[..., str] = "{}".format
) -> None:
    seen: dict[Hashable, Table] = {}
    for row, entry in zip(rows, found, strict=True):
        if entry is None:
            continue
        if entry in seen:
            other = seen[entry].entries["name"]
            row.fail(key, f"used twice: {other!r} has it too", expected=f"another {key}", found=show(entry))
        seen[entry] = row


def _require_stop_roles(table: Table, is_actuator: bool, roles: set[str]) -> None:
    """An actuator needs a role by which it is stopped, and a map with drives is an actuator whatever it says."""
    drives = {match[1] for match in map(_DRIVE_ROLE.fullmatch, roles) if match}
    for drive in sorted(drives):
        for part in ("enable", "setpoint"):
            if f"{drive}.{part}" not in roles:
                table.fail("actuator", f"an actuator without the stop role {drive}.{part}", expected=_STOP_WORDS)
    can_act = bool(drives) or "brake.release" in roles
    if is_actuator and not can_act:
        table.fail("actuator", "an actuator without a stop role", expected=_STOP_WORDS)
    if can_act and not is_actuator:
        table.fail("actuator", "a map with a drive or brake is an actuator", expected="true", found=is_actuator)
