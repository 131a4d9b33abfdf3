"""The simulated bus seen from outside: raw Modbus bytes over the pty, the plant's truth over the control socket."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from raw_master import LIMIT_S, Master, framed
from robot_fixture import ROOT, SCENARIOS, SimulatedRobot, open_raw, read_within

CHARACTER_S = 10 / 115200
SILENCE_S = 0.00175
TURNAROUND_S = 0.001


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedRobot]:
    with SimulatedRobot.start(tmp_path_factory.mktemp("bus"), "empty") as robot:
        yield robot


@pytest.fixture
def master(shared: SimulatedRobot) -> Iterator[Master]:
    """A master on the shared robot, which stands in the middle without faults before and after."""
    found = Master(shared)
    yield found
    shared.control({"op": "clear_faults"})
    shared.control({"op": "estop", "open": False})
    for address in (0x01, 0x02, 0x07, 0x11, 0x12, 0x17):
        found.write(4, address, 0)
    found.write(3, 0x31, 0)
    found.write(4, 0x0109, 1)
    found.write(3, 0x0109, 1)
    found.close()
    shared.wait_for("brake_engaged", wanted=True)
    shared.control({"op": "place", "x_mm": 3000})


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Path, SimulatedRobot]]:
    with SimulatedRobot.start(tmp_path, "empty") as robot:
        yield tmp_path, robot


def counters(robot: SimulatedRobot) -> dict[str, int]:
    return robot.control({"op": "counters"})


def test_raw_bytes_of_a_read_and_a_write(master: Master) -> None:
    assert master.exchange("05 03 0030 0001", 7) == framed("05 03 02 0bb8")
    assert master.exchange("04 06 0001 0000", 8) == framed("04 06 0001 0000")
    assert master.exchange("04 10 0001 0002 04 0000 0000", 8) == framed("04 10 0001 0002")


def test_refusals(master: Master) -> None:
    assert master.exchange("04 03 0000 0010", 5) == framed("04 83 02")
    assert master.exchange("04 03 0000 007e", 5) == framed("04 83 03")
    assert master.exchange("04 06 0006 0001", 5) == framed("04 86 02")
    assert master.exchange("04 06 0007 0003", 5) == framed("04 86 03")
    assert master.exchange("04 01 0000 0001", 5) == framed("04 81 01")


def test_nobody_answers_a_foreign_unit_a_broken_frame_or_a_broadcast(master: Master) -> None:
    before = counters(master.robot)
    assert master.exchange("09 03 0000 0001", 7, 0.05) == b""
    master.send(framed("05 03 0030 0001")[:-1] + b"\0")
    assert read_within(master.descriptor, 7, 0.05) == b""
    assert master.exchange("00 06 0007 0001", 8, 0.05) == b""
    assert [drive["direction"] for drive in master.robot.plant()["drives"]] == [1, 0]
    after = counters(master.robot)
    assert (after["foreign_frames"] - before["foreign_frames"], after["bad_frames"] - before["bad_frames"]) == (1, 1)


def test_half_a_frame_is_forgotten_after_a_silence(master: Master) -> None:
    master.send(framed("05 03 0030 0001")[:5])
    time.sleep(0.1)
    assert master.words(5, 0x30) == [3000]


def test_the_line_takes_its_time(master: Master) -> None:
    """8 + 85 characters, t3.5 and the turnaround: never less; and on the whole not much more."""
    wire_s = (8 + 85) * CHARACTER_S + SILENCE_S + TURNAROUND_S
    taken = []
    for _ in range(40):
        time.sleep(0.004)
        began = time.monotonic()
        os.write(master.descriptor, framed("02 03 0000 0028"))
        assert len(read_within(master.descriptor, 85, LIMIT_S)) == 85
        taken.append(time.monotonic() - began)
    assert min(taken) >= wire_s
    assert sorted(taken)[5] < wire_s + 0.005


def test_frames_before_the_silence_are_counted(master: Master) -> None:
    """The silence is watched on the robot's side, so that the master cannot flatter itself."""
    before = counters(master.robot)["early_frames"]
    for _ in range(20):
        master.words(5, 0x30)
    assert counters(master.robot)["early_frames"] == before
    request = framed("05 03 0030 0001")
    master.send(request + request)
    assert len(read_within(master.descriptor, 14, LIMIT_S)) == 14
    assert counters(master.robot)["early_frames"] == before + 1
    assert [frame["note"] for frame in master.robot.frames()][-4:] == ["", "early", "", ""]


def test_the_trace_holds_both_ways_with_times(master: Master) -> None:
    since = master.robot.control({"op": "trace", "since": 1 << 60})["next"]
    began_ns = time.monotonic_ns()
    master.words(5, 0x30)
    request, reply = master.robot.frames(since)
    assert (request["way"], request["hex"]) == ("request", framed("05 03 0030 0001").hex())
    assert (reply["way"], reply["hex"]) == ("reply", framed("05 03 02 0bb8").hex())
    assert began_ns < request["monotonic_ns"] < reply["monotonic_ns"] < time.monotonic_ns()


def test_it_drives_and_tells_when(master: Master) -> None:
    master.robot.control({"op": "reset_log"})
    master.drive(51)
    time.sleep(0.6)
    moving = master.robot.plant()
    assert 300 < moving["v_mm_s"] <= 400
    assert moving["at_rest_since_ns"] is None
    assert abs(master.words(4, 0x06)[0] - 51) <= 12
    stopped_ns = time.monotonic_ns()
    for base in (0, 0x10):
        master.write(4, base + 2, 0)
    plant = master.robot.wait_for("v_mm_s", 0.0)
    log = {entry["event"]: entry["monotonic_ns"] for entry in master.robot.control({"op": "log"})["log"]}
    assert stopped_ns < log["output_zero"] < log["standstill"] == plant["at_rest_since_ns"] < time.monotonic_ns()
    assert log["standstill"] - log["output_zero"] == pytest.approx(400e6, abs=60e6)


@pytest.mark.parametrize("module", [4, None])
def test_silence(master: Master, module: int | None) -> None:
    master.robot.control({"op": "fault", "kind": "silence", "module": module or 4})
    assert master.exchange("04 06 0007 0001", 8, 0.05) == b""
    assert master.robot.plant()["drives"][0]["direction"] == 0
    assert master.robot.control({"op": "clear_faults"}) == {"cleared": 1}
    master.write(4, 7, 1)
    assert master.robot.plant()["drives"][0]["direction"] == 1
    master.write(4, 7, 0)


def test_a_lost_reply_is_carried_out(master: Master) -> None:
    master.robot.control({"op": "fault", "kind": "lost_reply", "module": 4})
    assert master.exchange("04 06 0007 0002", 8, 0.05) == b""
    assert master.robot.plant()["drives"][0]["direction"] == 2
    assert master.words(5, 0x30) == [3000]


def test_faults_on_the_bytes(master: Master) -> None:
    good = framed("05 03 02 0bb8")
    fault = {"op": "fault", "module": 5, "for_s": 30.0}
    master.robot.control({**fault, "kind": "crc"})
    broken = master.exchange("05 03 0030 0001", 7)
    assert (broken[:5], broken[5:] == good[5:]) == (good[:5], False)
    master.robot.control({"op": "clear_faults"})
    master.robot.control({**fault, "kind": "wrong_unit"})
    assert master.exchange("05 03 0030 0001", 7) == framed("06 03 02 0bb8")
    master.robot.control({"op": "clear_faults"})
    master.robot.control({**fault, "kind": "exception", "code": 6})
    assert master.exchange("05 03 0030 0001", 5) == framed("05 83 06")


def test_a_delay_lets_others_talk_meanwhile(master: Master) -> None:
    master.robot.control({"op": "fault", "kind": "delay", "module": 5, "delay_ms": 600.0})
    began = time.monotonic()
    master.send(framed("05 03 0030 0001"))
    time.sleep(0.01)
    assert master.words(4, 0x06) == [0]
    assert time.monotonic() - began < 0.6
    assert read_within(master.descriptor, 7, LIMIT_S) == framed("05 03 02 0bb8")
    assert time.monotonic() - began >= 0.6


def test_a_stuck_register_keeps_its_word(master: Master) -> None:
    fault = {"op": "fault", "kind": "stuck_register", "module": 5, "register": "position.x"}
    master.robot.control(fault)
    assert master.words(5, 0x30) == [3000]
    master.robot.control({"op": "place", "x_mm": 4000})
    assert master.words(5, 0x30) == [3000]
    master.robot.control({"op": "clear_faults"})
    assert master.words(5, 0x30) == [4000]


def test_switches_and_errors_show_in_registers(master: Master) -> None:
    master.robot.control({"op": "estop", "open": True})
    master.robot.control({"op": "reset_button", "pressed": True})
    assert (master.words(3, 0, 2), master.words(3, 0x24)) == ([2, 1], [1])
    master.robot.control({"op": "estop", "open": False})
    master.robot.control({"op": "reset_button", "pressed": False})
    assert (master.words(3, 0, 2), master.words(3, 0x24)) == ([0, 0], [0])
    master.robot.control({"op": "fault", "kind": "estop", "for_s": 0.8})
    master.robot.control({"op": "fault", "kind": "safety_error", "code": 17, "for_s": 0.8})
    master.robot.control({"op": "fault", "kind": "drive_error", "code": 5, "for_s": 0.8})
    assert (master.words(3, 0, 6), master.words(4, 0x0C)) == ([3, 1, 0, 0, 0, 17], [5])
    time.sleep(0.9)
    assert (master.words(3, 0, 6), master.words(4, 0x0C)) == ([3, 0, 0, 0, 0, 17], [5])
    master.write(3, 0x0109, 1)
    master.write(4, 0x0109, 1)
    assert (master.words(3, 0, 6), master.words(4, 0x0C)) == ([0, 0, 0, 0, 0, 0], [0])


def test_hang_up_and_return_under_the_same_name(master: Master) -> None:
    first = master.robot.bus_path.readlink()
    master.robot.control({"op": "fault", "kind": "hangup", "for_s": 1.0})
    with pytest.raises(OSError, match=r"\[Errno 5\]"):
        os.write(master.descriptor, b"\0")
    assert read_within(master.descriptor, 1, 0.05) == b""
    assert not master.robot.bus_path.is_symlink()
    master.close()
    ends = time.monotonic() + LIMIT_S
    while not master.robot.bus_path.exists() and time.monotonic() < ends:
        time.sleep(0.01)
    master.descriptor = open_raw(master.robot.bus_path)
    assert master.words(5, 0x30) == [3000]
    assert counters(master.robot)["bus_hangups"] >= 1
    assert first.parent == master.robot.bus_path.readlink().parent


def test_who_does_not_read_loses_and_blocks_nobody(own: tuple[Path, SimulatedRobot]) -> None:
    _, robot = own
    master = Master(robot)
    for _ in range(70):
        os.write(master.descriptor, framed("02 03 0000 0028"))
        time.sleep(0.014)
    assert counters(robot)["bus_bytes_dropped"] > 0
    assert counters(robot)["modules"]["2"]["replies"] == 70  # type: ignore[index]  # a nested table
    master.close()


def test_the_drives_time_out_without_writes_and_reads_do_not_help(tmp_path: Path) -> None:
    with SimulatedRobot.start(tmp_path, "hall_timeout") as robot:
        master = Master(robot)
        assert master.words(4, 0x35) == [200]
        master.drive(51)
        ends = time.monotonic() + LIMIT_S
        while not robot.plant()["drives"][0]["has_timed_out"] and time.monotonic() < ends:
            master.words(4, 0x06)
        log = {entry["event"]: entry["monotonic_ns"] for entry in robot.control({"op": "log"})["log"]}
        written_ns = [frame["monotonic_ns"] for frame in robot.frames() if frame["hex"].startswith("0410")][-2]
        assert log["drive_timeout"] - written_ns == pytest.approx(
            200e6 + 13 * CHARACTER_S * 1e9 + SILENCE_S * 1e9, abs=3e6
        )
        assert log["output_zero"] == log["drive_timeout"]
        assert master.words(4, 0x02) == [0]
        assert master.words(4, 0x0B)[0] & 4
        master.close()


def test_a_slower_line_and_replies_in_pieces(tmp_path: Path) -> None:
    slow = tmp_path / "slow.toml"
    slow.write_text('[bus]\nbaud = 19200\npieces = 3\nturnaround = "20ms"\n')
    with SimulatedRobot.start(tmp_path, slow) as robot:
        master = Master(robot)
        began = time.monotonic()
        assert len(master.exchange("02 03 0000 0028", 85)) == 85
        assert time.monotonic() - began >= 93 * 10 / 19200 + 0.002 + 0.02
        assert [len(frame["hex"]) // 2 for frame in robot.frames()] == [8, 29, 29, 27]
        master.close()


def test_the_same_seed_gives_the_same_noise(tmp_path: Path) -> None:
    def readings(directory: str, seed: int) -> list[list[int]]:
        with SimulatedRobot.start(tmp_path, "empty", seed=seed, directory=directory) as robot:
            master = Master(robot)
            found = [master.words(5, 0, 6) for _ in range(5)]
            master.close()
        return found

    first = readings("a", 11)
    assert first == readings("b", 11)
    assert first != readings("c", 12)


def test_wrong_operations_are_answered_and_harm_nothing(shared: SimulatedRobot) -> None:
    wrong: list[dict[str, object]] = [
        {"op": "fly"},
        {"op": "fault", "kind": "silense"},
        {"op": "fault", "kind": "silence", "modul": 3},
        {"op": "fault", "kind": "stuck_register", "module": 3},
        {"op": "fault", "kind": "stuck_register", "module": 3, "register": "nosuch"},
        {"op": "fault", "kind": "crc", "module": 99},
        {"op": "estop"},
        {"op": "reset_button"},
        {"op": "obstacle", "id": "x"},
        {"op": "obstacle", "id": "x", "x_mm": 1.0, "ahead_mm": 1.0},
        {"op": "obstacle", "id": "x", "x_mm": 1.0, "radius_mm": 0.0},
        {"op": "remove_obstacle", "id": "nobody"},
        {"op": "place", "x_mm": "far"},
        {},
    ]
    for operation in wrong:
        with pytest.raises(RuntimeError):
            shared.control(operation)
    assert shared.plant()["x_mm"] == 3000


async def test_the_socket_takes_many_lines_and_no_nonsense(shared: SimulatedRobot) -> None:
    answer = await shared.ask({"op": "obstacle", "id": "a", "ahead_mm": 500.0, "radius_mm": 100.0})
    assert answer["x_mm"] == 3000 + 400 + 500 + 100
    assert "monotonic_ns" in await shared.ask({"op": "remove_obstacle", "id": "a"})
    with pytest.raises(RuntimeError, match="unknown key"):
        await shared.ask({"op": "place", "y_mm": 3})


def test_it_ends_cleanly_by_signal_and_by_quit(tmp_path: Path) -> None:
    by_signal = SimulatedRobot.start(tmp_path, "empty", directory="one")
    assert by_signal.stop() == 0
    options = ["--trace-file", str(tmp_path / "t")]
    with SimulatedRobot.start(tmp_path, "empty", directory="two", arguments=options) as by_quit:
        master = Master(by_quit)
        master.words(5, 0x30)
        master.close()
        assert by_quit.control({"op": "quit"}) == {"quitting": True}
        assert by_quit.process.wait(LIMIT_S * 5) == 0
    assert [list((tmp_path / name).iterdir()) for name in ("one", "two")] == [[], []]
    assert [json.loads(line)["way"] for line in (tmp_path / "t").read_text().splitlines()] == ["request", "reply"]


def command(tmp_path: Path, scenario: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "oht50d.sim", "--scenario", str(scenario)),
        *("--runtime-dir", str(tmp_path / "run"), "--map-dir", str(ROOT / "config/modules"), *more),
    ]


def test_it_ends_when_its_standard_input_does(tmp_path: Path) -> None:
    ended = subprocess.run(
        command(tmp_path, SCENARIOS / "empty.toml", "--watch-stdin"), input=b"ignored", capture_output=True, timeout=60
    )
    assert (ended.returncode, json.loads(ended.stdout)["event"]) == (0, "ready")


def test_a_broken_scenario_is_one_line_and_code_78(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("[hall]\nlenght_mm = 5\n")
    ended = subprocess.run(command(tmp_path, broken), capture_output=True, timeout=60, text=True)
    assert ended.returncode == 78
    assert ended.stderr == f"oht50d.sim: {broken}: hall.lenght_mm: unknown key (did you mean 'length_mm'?)\n"


def test_a_runtime_directory_that_cannot_be_is_code_73(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    ended = subprocess.run(command(tmp_path, SCENARIOS / "empty.toml"), capture_output=True, timeout=60, text=True)
    assert ended.returncode == 73
    assert ended.stderr.count("\n") == 1
