"""Names, roles and numbers of registers, and the words for what a technician types."""

import pytest
from bus_fakes import shipped_maps

from oht50d.core.register_names import RegisterNames, Space, UnknownName
from oht50d.core.register_value import WrongValue, allowed_words, word_of_text
from oht50d.model.registers import RegisterSpec

MAPS = shipped_maps()
NAMES = RegisterNames(MAPS)
DOCK, TRAVEL = MAPS[3], MAPS[2]


@pytest.mark.parametrize(
    "text", ["dock.velocity_x", "velocity.x", "DCLO.velocity_x", "0x05.velocity_x", "5.velocity_x"]
)
def test_a_register_has_many_names(text: str) -> None:
    target = NAMES.find(text)
    assert (target.unit, target.address, target.count, target.is_raw) == (5, 0x33, 1, False)
    assert target.specs[0] is DOCK.by_name["velocity_x"]


def test_by_number_with_and_without_a_count() -> None:
    target = NAMES.find("0x05:0x0033")
    assert (target.unit, target.address, target.count, target.is_raw) == (5, 0x33, 1, True)
    assert target.specs == (DOCK.by_name["velocity_x"],)
    target = NAMES.find("5:60:4")
    assert (target.address, target.count, target.specs) == (60, 4, (None, None, None, None))
    assert NAMES.find("0x77:0:2").specs == (None, None)


def test_a_pair_is_one_number() -> None:
    target = NAMES.find("dock.serial_number")
    assert (target.unit, target.address, target.count) == (5, 0xFB, 2)
    assert target.pair is not None


def test_other_tables_go_by_number_and_have_no_map() -> None:
    target = NAMES.find("0x05:0x0033:2", Space.INPUT)
    assert (target.space, target.specs) == (Space.INPUT, (None, None))
    with pytest.raises(UnknownName, match="by number"):
        NAMES.find("dock.velocity_x", Space.COIL)


@pytest.mark.parametrize("text", ["0:1", "248:1", "5:0:41", "5:0:0", "5:0xFFFF:2", "5:99999"])
def test_numbers_out_of_their_range_are_refused(text: str) -> None:
    with pytest.raises(UnknownName):
        NAMES.find(text)


def test_an_unknown_name_says_what_comes_near() -> None:
    with pytest.raises(UnknownName, match=r"did you mean dock\.velocity_x"):
        NAMES.find("dock.velocty_x")
    with pytest.raises(UnknownName, match="reg list"):
        NAMES.find("???")


def test_a_name_that_means_two_registers_is_refused() -> None:
    with pytest.raises(UnknownName, match="more than one"):
        NAMES.find("identity.type")


def test_values_as_they_are_typed() -> None:
    kp, enable, mode = (TRAVEL.by_name[f"motor_1_{name}"] for name in ("pid_kp", "enable", "control_mode"))
    assert word_of_text(kp, "1.25", is_raw=False) == 125
    assert word_of_text(kp, "125", is_raw=True) == 125
    assert word_of_text(enable, "on", is_raw=False) == 1
    assert word_of_text(mode, next(iter(mode.choices.values())), is_raw=False) == next(iter(mode.choices))
    assert word_of_text(DOCK.by_name["position_x"], "-2", is_raw=False) == 0xFFFE
    assert word_of_text(DOCK.by_name["position_x"], "-0x02", is_raw=True) == 0xFFFE
    assert word_of_text(DOCK.by_name["magnetic_declination"], "0x10", is_raw=False) == 16


@pytest.mark.parametrize(
    ("name", "text", "is_raw"),
    [
        ("motor_1_pid_kp", "1000", False),
        ("motor_1_pid_kp", "nan", False),
        ("motor_1_pid_kp", "inf", False),
        ("motor_1_pid_kp", "fast", False),
        ("motor_1_pid_kp", "10001", True),
        ("motor_1_pid_kp", "1.5", True),
        ("motor_1_pid_kp", "-1", True),
        ("motor_1_enable", "2", False),
        ("motor_1_enable", "maybe", False),
        ("motor_1_enable", "256", True),
        ("motor_1_control_mode", "9", False),
        ("motor_1_control_mode", "warp", False),
        ("motor_1_actual_speed", "1", False),
    ],
)
def test_what_a_register_cannot_take_is_refused(name: str, text: str, is_raw: bool) -> None:
    with pytest.raises(WrongValue, match=name):
        word_of_text(TRAVEL.by_name[name], text, is_raw=is_raw)


@pytest.mark.parametrize(
    ("spec", "text", "step"),
    [
        (DOCK.by_name["magnetic_declination"], "-10.5", "1 deg"),
        (DOCK.by_name["magnetic_declination"], "10.123456", "1 deg"),
        (TRAVEL.by_name["motor_1_pid_kp"], "1.255", "0.01"),
    ],
)
def test_a_value_between_two_steps_is_refused_with_the_step(spec: RegisterSpec, text: str, step: str) -> None:
    with pytest.raises(WrongValue, match=f"'{text}' lies between two values of {spec.name}; .* steps of {step}$"):
        word_of_text(spec, text, is_raw=False)


def test_every_step_of_a_scaled_register_can_be_written() -> None:
    kp = TRAVEL.by_name["motor_1_pid_kp"]
    assert all(word_of_text(kp, f"{raw / 100:.2f}", is_raw=False) == raw for raw in range(10_001))
    assert word_of_text(DOCK.by_name["magnetic_declination"], "-10.0", is_raw=False) == 0x10000 - 10


def test_what_a_register_takes_is_told() -> None:
    assert allowed_words(TRAVEL.by_name["motor_1_pid_kp"]) == "0 to 100"
    assert allowed_words(TRAVEL.by_name["motor_1_linear_input"]) == "0 to 100 %"
    assert allowed_words(TRAVEL.by_name["motor_1_enable"]) == "on or off"
    assert "(1)" in allowed_words(TRAVEL.by_name["motor_1_control_mode"])
    assert allowed_words(TRAVEL.by_name["motor_1_enable"], is_raw=True) == "0 to 1 (raw)"
