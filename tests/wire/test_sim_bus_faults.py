"""Every fault of the bus as a master on the pty meets it: bytes, times, notes and counters, and that it ends.

After each test all faults are cleared and the master must be answered as if nothing had been.
"""

import os
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import serial
from raw_master import LIMIT_S, Master, crc, framed
from robot_fixture import SimulatedRobot, open_raw

READ = "05 03 0030 0001"
REPLY = framed("05 03 02 0bb8")
CHARACTER_NS = 86_806
FORMULA_NS = 15 * CHARACTER_NS + 2_750_000
"""Of a read of one register: eight characters out, seven in, t3.5 and a turnaround of 1 ms."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedRobot]:
    with SimulatedRobot.start(tmp_path_factory.mktemp("bus"), "empty") as robot:
        yield robot


@pytest.fixture
def master(shared: SimulatedRobot) -> Iterator[Master]:
    found = Master(shared)
    yield found
    shared.control({"op": "clear_faults"})
    found.settle()
    found.reopen()
    for _ in range(3):
        assert found.exchange(READ, 7) == REPLY
    assert found.listen(0.03) == b""
    found.write(4, 7, 0)
    found.close()


def fault(master: Master, kind: str, **parameters: object) -> None:
    master.robot.control({"op": "fault", "kind": kind, **parameters})


def counted(master: Master, unit: int = 5) -> dict[str, Any]:
    found: dict[str, Any] = master.robot.control({"op": "counters"})["modules"][str(unit)]
    return found


def faults_of(master: Master, kind: str, unit: int = 5) -> int:
    return int(counted(master, unit)["faults"].get(kind, 0))


def newest(master: Master) -> int:
    return int(master.robot.control({"op": "trace", "since": 1 << 60})["next"])


def notes(frames: list[dict[str, Any]], way: str) -> set[str]:
    return {note for frame in frames if frame["way"] == way for note in frame["note"].split(",")}


# -- what happens to the bytes of a reply

BYTE_FAULTS: list[tuple[str, dict[str, object], bytes]] = [
    ("wrong_unit", {}, framed("06 03 02 0bb8")),
    ("wrong_unit", {"code": 4}, framed("04 03 02 0bb8")),
    ("wrong_function", {}, framed("05 04 02 0bb8")),
    ("wrong_function", {"code": 16}, framed("05 10 02 0bb8")),
    ("crc", {}, REPLY[:-1] + bytes((REPLY[-1] ^ 0x5A,))),
    ("truncated", {"count": 4}, REPLY[:4]),
    ("extra_bytes", {"count": 2, "code": 0xFF}, REPLY + b"\xff\xff"),
    ("bias_noise", {"place": "reply"}, b"\0" + REPLY),
    ("bias_noise", {"place": "reply", "code": 0xFF, "count": 3}, b"\xff\xff\xff" + REPLY),
    ("exception", {"code": 4}, framed("05 83 04")),
    ("exception", {"code": 200}, framed("05 83 c8")),
    ("split", {"pieces": 3}, REPLY),
    ("copy", {"delay_ms": 4}, REPLY + REPLY),
    ("duplicate_address", {"delay_ms": 5}, REPLY + framed("05 03 02 0bb9")),
]


@pytest.mark.parametrize(("kind", "parameters", "expected"), BYTE_FAULTS)
def test_the_bytes_of_a_reply(master: Master, kind: str, parameters: dict[str, object], expected: bytes) -> None:
    since, before = newest(master), faults_of(master, kind)
    fault(master, kind, module=5, **parameters)
    assert master.exchange(READ, len(expected)) == expected
    assert master.listen(0.03) == b""
    assert master.words(4, 6) == [0], "another module is spared"
    frames = master.robot.frames(since)
    assert kind in notes(frames, "reply") | notes(frames, "request")
    assert faults_of(master, kind) == before + 1


def test_one_bit_is_wrong_and_the_crc_tells(master: Master) -> None:
    fault(master, "bit_error", module=5)
    found = [master.exchange(READ, 7) for _ in range(20)]
    turned = [int.from_bytes(reply, "big") ^ int.from_bytes(REPLY, "big") for reply in found]
    assert {mask.bit_count() for mask in turned} == {1}
    assert len(set(turned)) > 5
    assert not [reply for reply in found if crc(reply[:-2]) == reply[-2:]]


def test_two_at_one_address_garble_each_other(master: Master) -> None:
    fault(master, "duplicate_address", module=5)
    for _ in range(10):
        found = master.exchange(READ, 7)
        assert (len(found), crc(found[:-2]) == found[-2:]) == (7, False)
    assert master.exchange("05 10 0030 0001 02 0bb8", 8)[-2:] != crc(framed("05 10 0030 0001")[:-2])


@pytest.mark.parametrize("kind", ["silence", "lost_reply"])
def test_no_reply(master: Master, kind: str) -> None:
    fault(master, kind, module=4)
    assert master.exchange("04 06 0007 0001", 8, 0.05) == b""
    assert master.robot.plant()["drives"][0]["direction"] == (kind == "lost_reply")
    assert faults_of(master, kind, 4) >= 1


def test_a_ratio_spares_some(master: Master) -> None:
    fault(master, "crc", module=5, ratio=0.5)
    good = sum(master.exchange(READ, 7) == REPLY for _ in range(60))
    assert 15 < good < 45
    assert faults_of(master, "crc") >= 60 - good


def test_it_comes_and_goes_live(master: Master) -> None:
    fault(master, "silence", module=5, for_s=0.1, every_s=0.25)
    found = []
    for _ in range(30):
        found.append(master.exchange(READ, 7, 0.02) != b"")
        time.sleep(0.005)
    changes = sum(one is not after for one, after in pairwise(found))
    assert 3 <= changes <= 12


# -- when it comes


def answer_times_ns(master: Master, count: int) -> list[int]:
    """From the request's arrival to the reply's last byte, as the simulator saw it."""
    since = newest(master)
    for _ in range(count):
        master.exchange(READ, 7)
    frames = master.robot.frames(since)
    return [
        reply["monotonic_ns"] - request["monotonic_ns"]
        for request, reply in pairwise(frames)
        if (request["way"], reply["way"]) == ("request", "reply")
    ]


def test_a_fixed_and_a_random_delay(master: Master) -> None:
    fault(master, "delay", module=5, delay_ms=12)
    fixed = answer_times_ns(master, 5)
    assert min(fixed) >= FORMULA_NS + 12_000_000
    assert sorted(fixed)[1] < FORMULA_NS + 20_000_000
    master.robot.control({"op": "clear_faults"})
    fault(master, "delay", module=5, delay_ms=2, delay_most_ms=40)
    drawn = answer_times_ns(master, 30)
    assert min(drawn) >= FORMULA_NS + 2_000_000
    assert sorted(drawn)[25] < FORMULA_NS + 45_000_000
    assert drawn[-1] - drawn[0] != 0
    assert max(drawn) - min(drawn) > 15_000_000


@pytest.mark.parametrize("is_fault", [True, False])
def test_a_slower_turnaround_of_one_and_of_all(master: Master, is_fault: bool) -> None:
    if is_fault:
        fault(master, "turnaround", module=5, delay_ms=8)
    else:
        master.robot.control({"op": "turnaround", "module": 5, "ms": 8})
    assert FORMULA_NS + 7_000_000 <= min(answer_times_ns(master, 5)) < FORMULA_NS + 9_000_000
    members = master.robot.control({"op": "line"})["modules"]
    assert [members[unit]["turnaround_ms"] for unit in "45"] == [1, 1 if is_fault else 8]
    master.robot.control({"op": "turnaround", "ms": 16})
    master.robot.control({"op": "clear_faults"})
    assert min(answer_times_ns(master, 3)) >= FORMULA_NS + 15_000_000
    master.robot.control({"op": "turnaround", "ms": 1})
    assert min(answer_times_ns(master, 5)) < FORMULA_NS + 5_000_000


def test_a_reply_with_a_pause_inside(master: Master) -> None:
    """The pause is longer than the 1.5 characters that a frame may have."""
    fault(master, "split", module=5, pieces=3, pause_ms=6)
    since = newest(master)
    came = master.arrivals(READ, 7)
    assert b"".join(octets for _, octets in came) == REPLY
    frames = master.robot.frames(since)
    pieces = [frame for frame in frames if frame["way"] == "reply"]
    assert [len(frame["hex"]) // 2 for frame in pieces] == [3, 3, 1]
    (asked_ns,) = (frame["monotonic_ns"] for frame in frames if frame["way"] == "request")
    for number, piece in enumerate(pieces):
        earliest_ns = asked_ns + FORMULA_NS - 15 * CHARACTER_NS + number * 6_000_000
        assert piece["monotonic_ns"] >= earliest_ns, "a late piece shortens a pause, none is early"
    assert counted(master)["replies"] >= 1


def test_a_late_copy_comes_into_the_next_exchange(master: Master) -> None:
    fault(master, "copy", module=5, delay_ms=60)
    assert master.exchange(READ, 7) == REPLY
    fault(master, "silence", module=4)
    assert master.exchange("04 03 0006 0001", 7, 0.2) == REPLY


def test_busy_and_then_it_works(master: Master) -> None:
    fault(master, "busy", module=4, delay_ms=60)
    assert master.exchange("04 06 0007 0001", 5) == framed("04 86 06")
    assert master.exchange("04 06 0007 0001", 5) == framed("04 86 06")
    assert master.robot.plant()["drives"][0]["direction"] == 0
    time.sleep(0.1)
    master.write(4, 7, 1)
    assert master.robot.plant()["drives"][0]["direction"] == 1
    master.robot.control({"op": "clear_faults"})
    fault(master, "busy", module=4, code=5, delay_ms=1000)
    assert master.exchange("04 06 0007 0002", 5) == framed("04 86 05")
    assert master.robot.plant()["drives"][0]["direction"] == 2, "acknowledged is carried out"
    assert master.exchange("04 06 0007 0001", 5) == framed("04 86 06")
    master.robot.control({"op": "clear_faults"})
    master.write(4, 7, 1)
    assert faults_of(master, "busy", 4) == 4


# -- what is on the line besides


def test_an_adapter_that_hears_itself(master: Master) -> None:
    fault(master, "echo")
    assert master.exchange(READ, 15) == framed(READ) + REPLY
    broadcast = "00 06 0007 0001"
    assert master.exchange(broadcast, 8) == framed(broadcast)
    written = "04 06 0007 0002"
    assert master.exchange(written, 16) == framed(written) * 2, "the echo of a write looks like its reply"
    assert master.robot.control({"op": "counters"})["echoed_frames"] == 3


def test_babble_has_no_pause_and_drowns_replies(master: Master) -> None:
    since = newest(master)
    fault(master, "babble", for_s=0.5)
    time.sleep(0.1)
    os.write(master.descriptor, framed("04 06 0007 0001"))
    heard = master.listen(0.7)
    assert 0.4 * 11_520 < len(heard) < 0.6 * 11_520
    assert framed("04 06 0007 0001") not in heard
    assert master.robot.plant()["drives"][0]["direction"] == 1
    frames = master.robot.frames(since)
    assert (notes(frames, "noise"), notes(frames, "request")) == ({"babble"}, {"babble"})
    times = [frame["monotonic_ns"] for frame in frames if frame["way"] == "noise"]
    gaps = sorted(after - one for one, after in pairwise(times))
    assert gaps[len(gaps) // 2] < 1_500_000
    assert master.robot.control({"op": "counters"})["noise_bytes"] >= len(heard)


def test_bias_noise_on_the_idle_line(master: Master) -> None:
    since = newest(master)
    fault(master, "bias_noise", place="idle", period_ms=20, code=0xFF)
    heard = master.listen(0.5)
    assert set(heard) == {0xFF}
    assert 10 <= len(heard) <= 35
    assert notes(master.robot.frames(since), "noise") == {"bias_noise"}
    for _ in range(60):
        os.write(master.descriptor, framed(READ))
        assert REPLY in master.listen_for(REPLY), "noise stands beside replies, not in them"


def test_another_master_talks_in_between_and_into_ours(master: Master) -> None:
    since = newest(master)
    fault(master, "second_master", period_ms=12, address=0x104, module=3)
    heard = master.listen(0.3)
    foreign = framed("03 03 0104 0001") + framed("03 03 02 0003")
    assert heard.count(foreign) >= 10
    for _ in range(60):
        os.write(master.descriptor, framed(READ))
        master.listen(0.01)
    counters = master.robot.control({"op": "counters"})
    assert counters["collisions"] >= 3
    assert counters["second_master_frames"] >= 20
    assert counters["modules"]["3"]["requests"] == 0, "what another master asks is not counted as ours"
    frames = master.robot.frames(since)
    assert "collision" in notes(frames, "request") | notes(frames, "reply") | notes(frames, "foreign_request")
    spoilt = [
        bytes.fromhex(frame["hex"]) for frame in frames if "collision" in frame["note"] and frame["way"] != "request"
    ]
    assert not [octets for octets in spoilt if crc(octets[:-2]) == octets[-2:]]


# -- modules that come, go and change


def test_a_loss_of_power_and_its_return(master: Master) -> None:
    master.write(4, 7, 2)
    master.write(4, 4, 9)
    master.robot.control({"op": "power_cycle", "module": 4, "for_s": 0.3})
    assert master.exchange("04 03 0007 0001", 7, 0.05) == b""
    time.sleep(0.35)
    assert (master.words(4, 7), master.words(4, 4)) == ([0], [5])
    assert faults_of(master, "power_cycle", 4) == 1


def test_the_drives_time_out_is_lost_with_the_power(tmp_path: Path) -> None:
    with SimulatedRobot.start(tmp_path, "empty_timeout") as robot:
        master = Master(robot)
        assert master.words(4, 0x35) == [200]
        master.drive(51)
        robot.control({"op": "fault", "kind": "power_cycle", "module": 4, "for_s": 0.2})
        assert robot.plant()["drives"][0]["enable"] == 0
        time.sleep(0.3)
        assert (master.words(4, 0x35), master.words(4, 1, 2)) == ([0], [0, 0])
        master.close()


def test_another_board_in_the_place_of_one(master: Master) -> None:
    serial_number = master.words(2, 0xFB, 2)
    master.robot.control({"op": "swap", "module": 2, "serial": 0x0007_0042, "firmware": 0x0301, "for_s": 0.2})
    assert master.exchange("02 03 00fb 0002", 9, 0.05) == b""
    time.sleep(0.25)
    assert (master.words(2, 0xFB, 2), master.words(2, 0x104, 2)) == ([0x42, 7], [2, 0x0301])
    back = serial_number[1] << 16 | serial_number[0]
    master.robot.control({"op": "swap", "module": 2, "serial": back, "for_s": 0})
    assert master.words(2, 0xFB, 2) == serial_number


def test_a_module_is_plugged_in_and_out(master: Master) -> None:
    assert master.exchange("07 03 0104 0001", 7, 0.05) == b""
    master.robot.control({"op": "add_module", "address": 7, "type": 7, "serial": 5})
    assert (master.words(7, 0x100), master.words(7, 0x104), master.words(7, 0xFB, 2)) == ([7], [7], [5, 0])
    with pytest.raises(RuntimeError, match="address 7 is taken"):
        master.robot.control({"op": "add_module", "address": 7, "type": 8})
    assert master.robot.control({"op": "line"})["modules"]["7"]["type"] == 7
    master.robot.control({"op": "remove_module", "address": 7})
    fault(master, "crc", module=7, for_s=0.01)  # it may come back
    assert master.exchange("07 03 0104 0001", 7, 0.05) == b""
    with pytest.raises(RuntimeError, match="no module at address 7"):
        master.robot.control({"op": "remove_module", "address": 7})


def test_a_module_at_another_speed_or_parity_hears_a_master_that_has_it_too(master: Master) -> None:
    master.robot.control({"op": "add_module", "address": 6, "type": 6, "baud": 9600, "parity": "odd"})

    def who_answers(baud: int, parity: str) -> list[int]:
        """One opening each: a pty refuses to be set to a parity again, because it keeps half of it only."""
        with serial.Serial(str(master.robot.bus_path), baud, parity=parity, timeout=0.1) as port:
            found = []
            for unit in (5, 6):
                time.sleep(0.01)
                port.write(framed(f"{unit:02x} 03 0104 0001"))
                if port.read(7) == framed(f"{unit:02x} 03 02 {unit:04x}"):
                    found.append(unit)
            return found

    try:
        found = [who_answers(*setting) for setting in ((115_200, "N"), (9600, "N"), (9600, "O"), (19_200, "O"))]
        assert found == [[5], [], [6], []]
        line = master.robot.control({"op": "line"})
        assert (line["baud"], line["parity"], line["modules"]["6"]["parity"]) == (19_200, "odd", "odd")
        master.robot.control({"op": "line_setting", "module": 6, "baud": 57_600})
        assert who_answers(57_600, "O") == [6]
        assert faults_of(master, "line_setting", 6) == 3
    finally:
        master.robot.control({"op": "remove_module", "address": 6})
        serial.Serial(str(master.robot.bus_path), 115_200).close()


def test_who_a_module_is_by_its_own_words(master: Master) -> None:
    reply = master.exchange("04 11", 18)
    assert reply[2:9] == bytes((12, 4, 0xFF)) + b"TRVL"
    objects = master.exchange("04 2b 0e 01 00", 48)
    assert objects[:8] == bytes.fromhex("04 2b 0e 01 81 00 00 03")
    assert objects[8:-2] == b"\0\x10OHT-50 simulator\1\x09TRVL-0004\2\x041.06"
    assert master.exchange("04 2b 0e 04 01", 21)[8:-2] == b"\1\x09TRVL-0004"
    assert master.exchange("04 2b 0e 04 09", 5) == framed("04 ab 02")
    assert master.exchange("04 04 0000 0001", 5) == framed("04 84 01")


# -- the adapter


def wait_for_link(robot: SimulatedRobot) -> dict[str, Any]:
    ends = time.monotonic() + LIMIT_S
    while time.monotonic() < ends:
        line = robot.control({"op": "line"})
        if line["linked_ns"] is not None:
            return line
        time.sleep(0.005)
    raise TimeoutError("the stable name never came back")


@pytest.mark.parametrize("follows_ms", [0, 150])
def test_plugged_in_elsewhere(master: Master, follows_ms: int) -> None:
    stable = master.robot.bus_path
    before = stable.resolve()
    names = set(stable.parent.iterdir())
    fault(master, "replug", for_s=0.1, delay_ms=follows_ms)
    with pytest.raises(OSError, match=r"\[Errno 5\]"):
        os.write(master.descriptor, b"\0")
    assert stable.is_symlink(), "the stable name is left behind"
    time.sleep(0.2)
    new_name = Path(master.robot.control({"op": "line"})["new_name"])
    assert new_name not in names
    os.close(open_raw(new_name))
    line = wait_for_link(master.robot)
    assert (Path(line["device"]), new_name.resolve()) == (stable.resolve(), stable.resolve())
    assert stable.resolve() != before
    master.reopen()
    assert master.exchange(READ, 7) == REPLY


def test_cleared_while_the_adapter_is_away_it_comes_back(master: Master) -> None:
    fault(master, "replug")
    time.sleep(0.05)
    assert not master.robot.control({"op": "line"})["is_open"]
    master.robot.control({"op": "clear_faults"})
    wait_for_link(master.robot)
    master.reopen()
    assert master.exchange(READ, 7) == REPLY


# -- what can be counted


def test_the_share_of_the_wire_of_each_module(master: Master) -> None:
    before, other = counted(master, 5)["wire_busy_ns"], counted(master, 2)["wire_busy_ns"]
    for _ in range(10):
        master.exchange(READ, 7)
    assert counted(master, 5)["wire_busy_ns"] - before == 10 * FORMULA_NS
    fault(master, "silence", module=2)
    master.exchange("02 03 0000 0001", 7, 0.02)
    assert counted(master, 2)["wire_busy_ns"] - other == 8 * CHARACTER_NS
