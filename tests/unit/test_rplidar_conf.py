"""Configuration questions and answers, both ways (RPLIDAR.md, section 1, "Configuration types")."""

from typing import Any

import pytest

from oht50d.codec.rplidar import conf
from oht50d.codec.rplidar.commands import Command, RequestParser
from oht50d.codec.rplidar.conf import (
    CONF_TYPES,
    ConfQuestion,
    ConfType,
    ReportedMode,
    Rotation,
    SettingResult,
    StaticAddress,
    decode_query,
    decode_setting_result,
    encode_setting_result,
    find_mode,
)
from oht50d.model.errors import LocalProtocolError, RemoteProtocolError

STATIC = StaticAddress(bytes((192, 168, 11, 2)), bytes((255, 255, 255, 0)), bytes((192, 168, 11, 1)))
# Each answer in octets, made by hand from the fact sheet's table.
ANSWERS: list[tuple[ConfType[Any], object, str]] = [
    (conf.DESIRED_ROTATION, Rotation(600, 660), "01000000 5802 9402"),
    (conf.MINIMUM_RPM, 300, "04000000 2C01"),
    (conf.MAXIMUM_RPM, 900, "05000000 8403"),
    (conf.MODE_COUNT, 5, "70000000 0500"),
    (conf.MODE_SAMPLE_US_Q8, 8000, "71000000 401F0000"),
    (conf.MODE_DISTANCE_M_Q8, 40 * 256, "74000000 00280000"),
    (conf.MODE_ANSWER, 0x85, "75000000 85"),
    (conf.MAC_ADDRESS, bytes.fromhex("001122334455"), "79000000 001122334455"),
    (conf.TYPICAL_MODE, 3, "7C000000 0300"),
    (conf.MODE_NAME, "DenseBoost", "7F000000 44656E7365426F6F737400"),
    (conf.MODEL_NAME, "", "81000000 00"),
    (conf.DETECTED_BAUD, 460_800, "A1000000 00080700"),
    (conf.STATIC_ADDRESS, STATIC, "C0CC0100 C0A80B02 FFFFFF00 C0A80B01"),
]
MODES = [ReportedMode(0, "Standard", 0x81, 128_000, 16 * 256), ReportedMode(1, "DenseBoost", 0x85, 8064, 10_368)]


def test_every_type_has_its_answer_here() -> None:
    assert sorted(kind.code for kind, _, _ in ANSWERS) == sorted(CONF_TYPES)


@pytest.mark.parametrize(("kind", "setting", "worked"), ANSWERS, ids=[row[0].name for row in ANSWERS])
def test_answers_are_read_and_written(kind: ConfType[Any], setting: object, worked: str) -> None:
    octets = bytes.fromhex(worked)
    assert kind.encode_answer(setting) == octets
    assert kind.decode_answer(octets) == setting
    assert kind.decode_answer(octets + b"\0") == setting, "longer answers are tolerated"


@pytest.mark.parametrize(
    ("kind", "worked"), [(row[0], row[2]) for row in ANSWERS], ids=[row[0].name for row in ANSWERS]
)
def test_short_answers_and_other_echoes_are_refused(kind: ConfType[Any], worked: str) -> None:
    octets = bytes.fromhex(worked)
    for size in range(4 + kind.least_octets):
        with pytest.raises(RemoteProtocolError):
            kind.decode_answer(octets[:size])
    with pytest.raises(RemoteProtocolError, match=r"is answered where"):
        kind.decode_answer(bytes((octets[0] ^ 1,)) + octets[1:])


@pytest.mark.parametrize("kind", CONF_TYPES.values(), ids=lambda kind: kind.name)
def test_the_device_reads_every_question(kind: ConfType[Any]) -> None:
    mode = 3 if kind.has_mode else None
    (request,) = RequestParser().receive_data(kind.encode_query(mode))
    assert request.command == Command.GET_LIDAR_CONF
    assert decode_query(request.payload) == ConfQuestion(kind.code, mode)


def test_questions_of_types_that_are_not_known_are_read_and_those_cut_short_are_not() -> None:
    assert decode_query(b"\x60\0\0\0\x01\0") == ConfQuestion(0x60, None)
    with pytest.raises(RemoteProtocolError):
        decode_query(b"\x70\0\0")
    with pytest.raises(RemoteProtocolError):
        decode_query(b"\x71\0\0\0\x01")


@pytest.mark.parametrize(
    ("kind", "mode"), [(conf.MODE_COUNT, 1), (conf.MODE_NAME, None), (conf.MODE_NAME, -1), (conf.MODE_NAME, 65536)]
)
def test_questions_that_cannot_be_are_refused(kind: ConfType[Any], mode: int | None) -> None:
    with pytest.raises(LocalProtocolError):
        kind.encode_query(mode)


@pytest.mark.parametrize(
    ("kind", "setting"),
    [
        (conf.MODE_ANSWER, 256),
        (conf.MODE_COUNT, -1),
        (conf.DESIRED_ROTATION, Rotation(65536, 0)),
        (conf.MAC_ADDRESS, b"12345"),
    ],
)
def test_answers_that_do_not_fit_are_refused(kind: ConfType[Any], setting: object) -> None:
    with pytest.raises(LocalProtocolError):
        kind.encode_answer(setting)


def test_addresses_have_four_octets() -> None:
    with pytest.raises(LocalProtocolError):
        StaticAddress(b"12345", b"1234", b"1234")


def test_only_the_upper_types_are_set() -> None:
    (request,) = RequestParser().receive_data(conf.STATIC_ADDRESS.encode_setting(STATIC))
    assert request.command == Command.SET_LIDAR_CONF
    assert conf.STATIC_ADDRESS.decode_answer(request.payload) == STATIC
    assert conf.STATIC_ADDRESS.encode_query()[7:9] == bytes(2)
    with pytest.raises(LocalProtocolError):
        conf.MODE_COUNT.encode_setting(1)


@pytest.mark.parametrize(
    "outcome", [SettingResult(0x0001_CCC0, 0), SettingResult(0x0001_CCC0, 7), SettingResult(None, 9)]
)
def test_results_of_settings_are_read_and_written(outcome: SettingResult) -> None:
    octets = encode_setting_result(outcome)
    assert len(octets) == (4 if outcome.code is None else 8)
    assert decode_setting_result(octets) == outcome
    assert decode_setting_result(octets + b"\0") == outcome
    with pytest.raises(RemoteProtocolError):
        decode_setting_result(octets[:3])


def test_names_without_an_end_and_of_strange_octets_are_read() -> None:
    assert conf.MODE_NAME.decode_answer(b"\x7f\0\0\0Boost") == "Boost"
    assert conf.MODE_NAME.decode_answer(b"\x7f\0\0\0\0Bo\xffst\0\0") == "Bo\ufffdst"


def test_modes_are_found_by_name_and_an_unknown_name_lists_them() -> None:
    assert find_mode(MODES, "denseboost") is MODES[1]
    assert (MODES[1].sample_us, MODES[1].distance_m) == (32, 40.5)
    assert ReportedMode(0, "", 0x81, 8063, 0).sample_us == 31, "half up"
    with pytest.raises(LocalProtocolError, match="Standard, DenseBoost"):
        find_mode(MODES, "Sensitivity")
