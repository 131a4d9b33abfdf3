"""The shipped module maps against golden facts, and every way in which a map can be wrong."""

import csv
from pathlib import Path

import pytest

from oht50d.codec.registers import load_module_map
from oht50d.model.errors import ConfigError
from oht50d.model.registers import ModuleKind, ModuleMap, PollClass, RegisterPair
from oht50d.model.roles import ROLES, find_role, role_words

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
NAMES = ("power", "safety", "travel_motor", "travel_motor_timeout", "dock")
IDENTITY_ROLES = {
    *("identity.device_id", "identity.type", "identity.firmware", "identity.hardware", "identity.serial_low"),
    *("identity.serial_high", "identity.tag_low", "identity.tag_high", "module.error", "module.reset_error"),
}


def load(name: str) -> ModuleMap:
    path = ROOT / "config" / "modules" / f"{name}.toml"
    return load_module_map(path.read_text(), file=path.name)


def number(text: str) -> int | None:
    return int(text, 0) if text else None


@pytest.mark.parametrize(("name", "count"), list(zip(NAMES, (92, 64, 54, 55, 70), strict=True)))
def test_map_is_complete_and_says_what_the_register_list_says(name: str, count: int) -> None:
    with (GOLDEN / f"registers_{name}.csv").open(newline="") as file:
        golden = list(csv.DictReader(file))
    module_map = load(name)
    assert len(golden) == len(module_map.registers) == count
    for row, spec in zip(golden, module_map.registers, strict=True):
        assert {
            "address": f"0x{spec.address:04X}",
            "name": spec.name,
            "type": spec.data_type.value,
            "unit": spec.unit,
            "access": spec.access.value,
        } == {key: row[key] for key in ("address", "name", "type", "unit", "access")}
        assert spec.scale == float(row["scale"])
        assert (spec.minimum, spec.maximum, spec.default) == tuple(
            map(number, (row["min"], row["max"], row["default"]))
        )


@pytest.mark.parametrize(
    ("name", "kind", "tag", "code"),
    [
        ("power", ModuleKind.POWER, "POWR", 2),
        ("safety", ModuleKind.SAFETY, "SAFE", 3),
        ("travel_motor", ModuleKind.TRAVEL, "TRVL", 4),
        ("travel_motor_timeout", ModuleKind.TRAVEL, "TRVL", 4),
        ("dock", ModuleKind.DOCK, "DCLO", 5),
    ],
)
def test_identity_of_each_map(name: str, kind: ModuleKind, tag: str, code: int) -> None:
    module_map = load(name)
    assert (module_map.kind, module_map.tag, module_map.type_code, module_map.address) == (kind, tag, code, code)
    assert module_map.is_mandatory
    assert module_map.is_actuator == (kind in (ModuleKind.SAFETY, ModuleKind.TRAVEL))
    assert set(module_map.by_role) >= IDENTITY_ROLES
    assert module_map.pairs == (
        RegisterPair("serial_number", 0x00FB, 0x00FC),
        RegisterPair("build_date", 0x00FD, 0x00FE),
    )
    assert module_map.by_role["identity.type"].default == code
    tag_words = [module_map.by_role[f"identity.tag_{half}"].default for half in ("low", "high")]
    assert b"".join(word.to_bytes(2, "big") for word in tag_words if word is not None).decode() == tag


def test_every_role_of_the_table_is_in_some_map_and_none_is_invented() -> None:
    found = {role for name in NAMES for role in load(name).by_role}
    assert found == set(role_words())
    assert find_role("drive.3.enable") is ROLES["drive.N.enable"]
    assert find_role("drive.N.enable") is None
    assert find_role("drive.0.enable") is None


def test_motion_set() -> None:
    harmless = {spec.name for name in NAMES for spec in load(name).registers if spec.is_writable and not spec.is_motion}
    assert harmless == {
        *("charger_voltage_setpoint", "charger_current_setpoint"),
        *("charge_request", "voltage_usage_threshold", "magnetic_declination"),
    }


def test_timeout_register_is_in_the_variant_only() -> None:
    assert "drive.communication_timeout" not in load("travel_motor").by_role
    spec = load("travel_motor_timeout").by_role["drive.communication_timeout"]
    assert (spec.address, spec.minimum, spec.maximum, spec.default, spec.unit) == (0x35, 0, 5000, 0, "ms")


@pytest.mark.parametrize(
    ("name", "address", "poll"),
    [
        ("power", 0x0013, PollClass.BATTERY),
        ("power", 0x0014, PollClass.SLOW),
        ("safety", 0x0007, PollClass.SAFETY),
        ("safety", 0x0017, PollClass.AUXILIARY),
        ("safety", 0x0024, PollClass.INPUTS),
        ("safety", 0x0031, PollClass.AUXILIARY),
        ("safety", 0x0052, PollClass.SLOW),
        ("travel_motor", 0x001C, PollClass.MOTOR),
        ("travel_motor", 0x0020, PollClass.SLOW),
        ("dock", 0x0010, PollClass.IMU),
        ("dock", 0x0033, PollClass.POSITION),
        ("dock", 0x0040, PollClass.DOCK),
        ("dock", 0x00F8, PollClass.STATIC),
        ("dock", 0x0106, PollClass.STATIC),
        ("dock", 0x0108, PollClass.SLOW),
        ("dock", 0x0109, None),
    ],
)
def test_poll_class(name: str, address: int, poll: PollClass | None) -> None:
    assert load(name).by_address[address].poll is poll


HEAD = """kind = "travel"
title = "Drive"
tag = "TRVL"
type_code = 4
address = 4
mandatory = true
actuator = true
registers = [
"""
COMMON = 'type = "uint8", access = "rw", poll = "motor", description = "d"'
ENABLE = f'  {{ address = 1, name = "on", role = "drive.1.enable", {COMMON} }},\n'
SETPOINT = f'  {{ address = 2, name = "duty", role = "drive.1.setpoint", {COMMON} }},\n'
EXTRA_LINE = 11


def small_map(extra: str = "", *, head: str = HEAD, tail: str = "]\n") -> str:
    row = f"  {{ {extra} }},\n" if extra else ""
    return head + ENABLE + SETPOINT + row + tail


def failure(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        load_module_map(text, file="site.toml")
    assert raised.value.file == "site.toml"
    return raised.value


GOOD = 'address = 9, name = "x", type = "uint16", access = "ro", poll = "slow", description = "d"'


def test_a_small_map_loads_and_sorts_and_is_safe_by_default() -> None:
    module_map = load_module_map(small_map(GOOD.replace("9", "0")), file="site.toml", address=9)
    assert [spec.name for spec in module_map.registers] == ["x", "on", "duty"]
    assert module_map.address == 9
    assert module_map.source == "site.toml"
    assert module_map.by_name["on"].is_motion
    assert not module_map.by_name["x"].is_motion
    assert (module_map.by_name["x"].scale, module_map.by_name["x"].unit) == (1, "")


def test_a_register_may_be_kept_from_polling_and_a_write_only_one_always_is() -> None:
    never = load_module_map(small_map(GOOD.replace("slow", "never")), file="f").by_name["x"]
    assert never.poll is None
    only = 'address = 9, name = "x", type = "uint16", access = "wo", motion = false, description = "d"'
    spec = load_module_map(small_map(only), file="f").by_name["x"]
    assert spec.poll is None
    assert not spec.is_motion


@pytest.mark.parametrize(
    ("change", "key", "expected", "found", "nearest"),
    [
        (("type =", "typ ="), "registers[2].typ", "one of address", "'typ'", "type"),
        (('"uint16"', '"unit16"'), "registers[2].type", "one of uint8", "'unit16'", "uint16"),
        (('"uint16"', "16"), "registers[2].type", "one of uint8", "16", None),
        (('"ro"', '"wr"'), "registers[2].access", "one of ro, rw, wo", "'wr'", None),
        (('"slow"', '"slowly"'), "registers[2].poll", "one of safety", "'slowly'", "slow"),
        (("address = 9", "address = 0x10000"), "registers[2].address", "an integer from 0 to 65535", "65536", None),
        (("address = 9", "address = -1"), "registers[2].address", "an integer from 0 to 65535", "-1", None),
        (("address = 9", "address = true"), "registers[2].address", "an integer from 0 to 65535", "True", None),
        (("address = 9", 'address = "9"'), "registers[2].address", "an integer from 0 to 65535", "'9'", None),
        (("address = 9", "address = 1"), "registers[2].address", "another address", "'0x0001'", None),
        (('"x"', '"duty"'), "registers[2].name", "another name", "'duty'", None),
        (('"x"', '"Bad Name"'), "registers[2].name", "lower-case words", "'Bad Name'", None),
        (('"d"', '""'), "registers[2].description", "what the register is", "''", None),
        (('"d"', '"d", unit = "m m"'), "registers[2].unit", "a unit", "'m m'", None),
        (('"d"', '"d", unit = 3'), "registers[2].unit", "a unit", "3", None),
        (('"d"', '"d", scale = 0'), "registers[2].scale", "a finite number above 0", "0", None),
        (('"d"', '"d", scale = nan'), "registers[2].scale", "a finite number above 0", "nan", None),
        (('"d"', '"d", scale = "1"'), "registers[2].scale", "a finite number above 0", "'1'", None),
        (('"d"', '"d", scale = true'), "registers[2].scale", "a finite number above 0", "True", None),
        (('"d"', '"d", min = 5, max = 4'), "registers[2].min", "at most 4", "5", None),
        (('"d"', '"d", min = -1'), "registers[2].min", "an integer from 0 to 65535", "-1", None),
        (('"d"', '"d", max = 65536'), "registers[2].max", "an integer from 0 to 65535", "65536", None),
        (('"d"', '"d", min = 2, max = 4, default = 1'), "registers[2].default", "from 2 to 4", "1", None),
        (('"d"', '"d", default = 1.0'), "registers[2].default", "an integer", "1.0", None),
        (('"d"', '"d", safety_critical = 1'), "registers[2].safety_critical", "true or false", "1", None),
        (('"d"', '"d", motion = true'), "registers[2].motion", "no motion key", "True", None),
        (('"ro"', '"rw", motion = 0'), "registers[2].motion", "true or false", "0", None),
        (('"d"', '"d", role = "safety.eror"'), "registers[2].role", "a role", "'safety.eror'", "safety.error"),
        (('"d"', '"d", role = "drive.1.enable"'), "registers[2].role", "access rw or wo", "'ro'", None),
        (('"ro"', '"rw", role = "drive.1.enable"'), "registers[2].role", "another role", "'drive.1.enable'", None),
        (('"ro"', '"rw", motion = false, role = "horn"'), "registers[2].motion", "true", "False", None),
        (('"ro", poll = "slow"', '"wo", role = "safety.zone"'), "registers[2].role", "access ro or rw", "'wo'", None),
        (('"ro"', '"wo"'), "registers[2].poll", "no poll", "'slow'", None),
        ((', poll = "slow"', ""), "registers[2]", "poll = a class", None, None),
        ((', description = "d"', ""), "registers[2]", "description", None, None),
        (('"d"', '"d", choices = { 0 = "a" }'), "registers[2].choices", 'unit = "enum"', "''", None),
        (('"d"', '"d", unit = "enum", choices = 3'), "registers[2].choices", "{ 0 =", "3", None),
        (('"d"', '"d", unit = "enum", choices = { a = "b" }'), "registers[2].choices.a", "0 to 65535", "'a'", None),
        (('"d"', '"d", unit = "enum", choices = { -1 = "b" }'), "registers[2].choices.-1", "0 to 65535", "'-1'", None),
        (('"d"', '"d", unit = "enum", choices = { 0 = "B" }'), "registers[2].choices.0", "lower-case", "'B'", None),
        (('"d"', '"d", unit = "enum", choices = { 0 = 1 }'), "registers[2].choices.0", "lower-case", "1", None),
        (
            ('"d"', '"d", unit = "enum", choices = { 0 = "a", 1 = "a" }'),
            "registers[2].choices.1",
            "a lower-case word of its own",
            "'a'",
            None,
        ),
    ],
)
def test_broken_register(
    change: tuple[str, str], key: str, expected: str, found: str | None, nearest: str | None
) -> None:
    assert change[0] in GOOD
    error = failure(small_map(GOOD.replace(*change)))
    assert (error.key, error.line, error.found, error.nearest) == (key, EXTRA_LINE, found, nearest)
    assert error.expected is not None
    assert expected in error.expected


@pytest.mark.parametrize(
    ("change", "key", "line", "expected", "nearest"),
    [
        (('kind = "travel"', 'kind = "travell"'), "kind", 1, "one of power", "travel"),
        (('title = "Drive"', 'title = ""'), "title", 2, "a name for people", None),
        (('tag = "TRVL"', 'tag = "trvl"'), "tag", 3, "four capital letters", None),
        (("type_code = 4", "type_code = 0"), "type_code", 4, "an integer from 1", None),
        (("address = 4", "address = 248"), "address", 5, "an integer from 1 to 247", None),
        (("mandatory = true", "mandatory = 1"), "mandatory", 6, "true or false", None),
        (("mandatory = true", "mandatoy = true"), "mandatoy", 6, "one of kind", "mandatory"),
        (("actuator = true", "actuator = false"), "actuator", 7, "true", None),
        (("actuator = true\n", ""), "(file)", 1, "actuator", None),
    ],
)
def test_broken_head(change: tuple[str, str], key: str, line: int, expected: str, nearest: str | None) -> None:
    error = failure(small_map(head=HEAD.replace(*change)))
    assert (error.key, error.line, error.nearest) == (key, line, nearest)
    assert error.expected is not None
    assert expected in error.expected


@pytest.mark.parametrize(
    ("pair", "key", "line", "expected", "nearest"),
    [
        ('name = "p"\nlow = 9\nhigh = 8', "pair[0].high", 16, "its address", None),
        ('name = "p"\nlow = 1\nhigh = 9', "pair[0].low", 15, "its address", None),
        ('name = "p"\nlow = 9\nhigh = 9', "pair[0].high", 16, "another address", None),
        ('name = "P"\nlow = 9\nhigh = 9', "pair[0].name", 14, "lower-case words", None),
        ('name = "p"\nlow = 9', "pair[0]", 13, "high", None),
        ('name = "p"\nlo = 9', "pair[0].lo", 15, "one of name", "low"),
    ],
)
def test_broken_pair(pair: str, key: str, line: int, expected: str, nearest: str | None) -> None:
    error = failure(small_map(GOOD, tail=f"]\n[[pair]]\n{pair}\n"))
    assert (error.key, error.line, error.nearest) == (key, line, nearest)
    assert error.expected is not None
    assert expected in error.expected


def test_an_actuator_without_stop_roles_is_refused() -> None:
    without_setpoint = failure(HEAD + ENABLE + "]\n")
    assert (without_setpoint.key, without_setpoint.line) == ("actuator", 7)
    assert "drive.1.setpoint" in without_setpoint.why
    without_any = failure(HEAD + f"  {{ {GOOD} }}\n]\n")
    assert without_any.expected == "drive.N.enable and drive.N.setpoint, or brake.release"
    assert "without a stop role" in without_any.why
    second_drive = GOOD.replace('"ro"', '"rw", role = "drive.2.direction"')
    assert "drive.2.enable" in failure(small_map(second_drive)).why


def test_a_map_without_registers_and_registers_of_another_type_are_refused() -> None:
    assert failure(HEAD + "]\n").key == "registers"
    error = failure(HEAD.replace("registers = [", "registers = 5"))
    assert (error.key, error.line, error.expected) == ("registers", 8, "an array of tables")
    assert failure(HEAD + "1, 2]\n").expected == "an array of tables"


def test_syntax_errors_name_their_line() -> None:
    error = failure(HEAD.replace("type_code = 4", "type_code = "))
    assert (error.key, error.line) == ("(file)", 4)
    assert failure(HEAD).line == HEAD.count("\n") + 1


@pytest.mark.parametrize("address", [0, 248, -1])
def test_a_site_cannot_bind_a_map_to_an_address_that_does_not_exist(address: int) -> None:
    with pytest.raises(ConfigError, match="out of range"):
        load_module_map(small_map(), file="site.toml", address=address)


def test_the_message_names_everything() -> None:
    error = failure(small_map(GOOD.replace("type =", "typ =")))
    assert str(error).startswith("site.toml:11: registers[2].typ: unknown key (expected one of address, name")
    assert str(error).endswith("found 'typ', did you mean 'type'?)")
