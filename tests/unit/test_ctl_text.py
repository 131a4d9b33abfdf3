"""What `oht50ctl` prints: columns, units, ages, unknown told."""

import pytest
from attrs import evolve
from memory_samples import MS, START_NS, a_snapshot, a_stop

from oht50d.app import ctl_modules, ctl_text
from oht50d.model.motion import Cause, CauseCode, MachineState, StopPhase
from oht50d.services.local_views import view_modules, view_registers, view_status

NOW_NS = START_NS + 20 * MS


def test_a_status_of_a_latched_robot() -> None:
    snapshot = a_snapshot(
        state=MachineState.SAFE, is_latched=True, latched_causes=(Cause(CauseCode.BOOT, START_NS - 3 * 10**9),),
        stop=a_stop(1, StopPhase.STANDSTILL, first_frame_ns=START_NS + 4 * MS), position_mm=None,
    )  # fmt: skip
    lines = ctl_text.status_text(view_status(snapshot, NOW_NS)).splitlines()
    assert lines[0] == "robot      OHT-50-001 SIMULATED, 20 ms ago"
    assert lines[1] == "state      SAFE LATCHED: boot 3.0 s ago"
    assert lines[2] == "may move   no: no_authority 20 ms ago"
    assert lines[4] == "position   unknown"
    assert lines[5] == "velocity   0 mm/s, limit 300 mm/s"
    assert "battery    soc 87.5 V 20 ms ago" in lines[8]
    assert lines[9] == "modules    2 of 2 online"
    assert "first frame 4 ms, output zero unknown" in lines[10]


def test_a_cause_that_stops_and_inhibits_is_told_once_with_its_oldest_age() -> None:
    causes = {
        "stop_causes": [{"code": "position_lost", "detail": "no reply", "since_s": 2.0}],
        "inhibits": [
            {"code": "bus_scan", "detail": "", "since_s": 2.5},
            {"code": "position_lost", "detail": "not read", "since_s": 6.1},
            {"code": "boot", "detail": "", "since_s": None},
        ],
    }
    lines = ctl_text.status_text({**view_status(a_snapshot(), NOW_NS), **causes}).splitlines()
    assert lines[2] == "may move   no: position_lost (no reply) 6.1 s ago, bus_scan 2.5 s ago, boot never"


def test_two_drives_in_error_are_both_told_behind_one_code() -> None:
    drives = [{"code": "drive_error", "detail": f"drive {n}: error code 3", "since_s": n} for n in (1, 2)]
    tree = {**view_status(a_snapshot(), NOW_NS), "stop_causes": drives, "inhibits": drives}
    line = ctl_text.status_text(tree).splitlines()[2]
    assert line == "may move   no: drive_error (drive 1: error code 3; drive 2: error code 3) 2.0 s ago"


def test_hints_come_last() -> None:
    text = ctl_text.status_text({**view_status(a_snapshot(), NOW_NS), "hints": ["this computer is too slow"]})
    assert text.splitlines()[-1] == "hint       this computer is too slow"


def test_a_closed_bus_names_its_remedy() -> None:
    snapshot = a_snapshot()
    closed = evolve(snapshot.wire, is_open=False, cause="held", remedy="stop brltty", last_valid_ns=None)
    text = ctl_text.status_text(view_status(evolve(snapshot, wire=closed), NOW_NS))
    assert "CLOSED on /dev/ttyOHT485, last heard never: held (stop brltty)" in text


@pytest.mark.parametrize(
    ("found", "words"),
    [("/dev/ttyUSB1", "on /dev/ttyOHT485 (/dev/ttyUSB1),"), ("/dev/ttyOHT485", "on /dev/ttyOHT485,")],
)
def test_a_stable_name_is_told_with_what_it_stands_for(found: str, words: str) -> None:
    snapshot = a_snapshot()
    text = ctl_text.status_text(view_status(evolve(snapshot, wire=evolve(snapshot.wire, device=found)), NOW_NS))
    assert words in text


def test_an_unconfirmed_stop_points_to_the_red_button() -> None:
    text = ctl_text.stop_text({"outcome": "unknown", "persisted": False, "message": "no read-back"})
    assert "NOT CONFIRMED, press the red button" in text
    assert "not yet written" in text
    assert text.endswith("no read-back")
    done = ctl_text.stop_text({"outcome": "verified", "detected_ms": 0.0, "standstill_ms": 380.0})
    assert "red button" not in done
    assert "detected 0 ms, first frame unknown, output zero unknown, standstill 380 ms" in done


def test_tables_are_aligned() -> None:
    lines = ctl_modules.modules_text({"modules": view_modules(a_snapshot(), NOW_NS)}).splitlines()
    assert lines[0].index("STATE") == lines[1].index("online") == lines[2].index("online")
    assert lines[1].startswith("0x02")


def test_registers_show_value_unit_raw_and_age() -> None:
    module = a_snapshot().modules[0]
    tree = {**view_modules(a_snapshot(), NOW_NS)[0], "registers": view_registers(module, NOW_NS)}
    text = ctl_text.registers_text(tree)
    assert text.startswith("Power at 0x02, online\n")
    assert "battery_soc" in text
    assert "87.5 V" in text
    assert "20 ms ago" in text


def test_users_and_events() -> None:
    users = [{"username": "ann", "role": "operator", "is_active": True}]
    assert ctl_text.user_list_text({"users": users}).splitlines()[1].split() == ["ann", "operator", "active"]
    assert ctl_text.user_add_text({"username": "ann", "role": "operator"}) == "added ann as operator"
    assert ctl_text.events_text({"events": []}).split() == ["SEQ", "UTC", "SEVERITY", "KIND", "ACTOR", "MESSAGE"]


def test_an_answer_of_another_shape_does_not_break_the_text() -> None:
    for shown in ctl_text.TEXTS.values():
        assert isinstance(shown({}), str)
        assert isinstance(shown({"modules": 3, "wire": [], "stop": "x", "events": [1], "battery": None}), str)
