"""The daemon's trace held against two witnesses: Wireshark's tshark, and what the simulator saw on its wire.

    async with watched(tmp_path) as (daemon, robot): ...
    await compare_trace(daemon, robot, tmp_path, seconds)

Every frame is compared: its bytes, way, unit, function, register, count, words and exception, and that its CRC is good.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from struct import unpack_from
from typing import Any

import trio
from attrs import frozen
from daemon_fixture import Daemon
from robot_fixture import ROOT, SimulatedRobot

FIELDS = (
    "frame.comment", "frame.packet_flags_direction", "exported_pdu.exported_pdu", "mbrtu.unit_id",
    "mbrtu.crc16.status", "modbus.func_code", "modbus.exception_code", "modbus.reference_num", "modbus.word_cnt",
    "modbus.bit_cnt", "modbus.regval_uint16", "modbus.data", "frame.protocols",
)  # fmt: skip
"""What tshark is asked for; its names of the fields of Modbus."""
REGULAR = {"sent", "sent:", "early", "valid", "exception"}
INBOUND, OUTBOUND = "0x00000001", "0x00000002"


@frozen
class Agreement:
    """How many frames were compared, by function, and how many the simulator saw in the same time."""

    frames: int
    functions: Mapping[int, int]
    values: int
    simulated: int
    odd: int


def oht50ctl(daemon_directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command as a technician runs it, here as root."""
    environ = {**os.environ, "OHT50_SOCKET": str(daemon_directory / "run" / "control.sock")}
    return subprocess.run(
        [sys.executable, "-m", "oht50d.app.ctl", *words], capture_output=True, text=True, cwd=ROOT, env=environ,
        timeout=120, check=False,
    )  # fmt: skip


async def ctl(daemon_directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The same, while other tasks of the test go on."""
    return await trio.to_thread.run_sync(lambda: oht50ctl(daemon_directory, *words))


async def exercise(directory: Path) -> None:
    """What polling alone does not do: other functions, a verified write, exceptions, a module that is not there."""
    for words, code in (
        (("set", "dock.magnetic_declination", "7"), 0),
        (("get", "0x05:0x0030", "--input"), 1),
        (("get", "0x05:0x0000", "--coil"), 1),
        (("get", "0x05:0x0000:9", "--discrete"), 1),
        (("get", "0x05:0x0999"), 1),
        (("get", "0x44:0"), 1),
    ):
        done = await ctl(directory, "reg", *words)
        assert done.returncode == code, (words, done.stdout, done.stderr)


async def compare_trace(daemon: Daemon, robot: SimulatedRobot, directory: Path, seconds: float) -> Agreement:
    """Let the bus run for `seconds` and hold everything that was traced against both witnesses."""
    await exercise(directory)
    await trio.sleep(seconds)
    capture = directory / "bus.pcapng"
    done = await ctl(directory, "bus", "trace", "--seconds", f"{seconds + 15:g}", "--pcap", str(capture))
    assert done.returncode == 0, done.stdout + done.stderr
    simulated = robot.frames()
    frames = tshark(capture)
    assert f"{len(frames)} frames" in done.stdout
    told = await ctl(directory, "--json", "bus", "trace", "--seconds", "3600")
    assert told.returncode == 0, told.stderr
    traced = [json.loads(line) for line in told.stdout.splitlines()]
    odd = [frame for frame in traced if frame["note"] not in ("sent", "valid", "exception", "opened")]
    check_against_trace(frames, traced)
    # A busy computer lets a reply come after its time: its bytes are captured as they were read, perhaps in pieces.
    whole = [frame for frame in frames if REGULAR & set(frame["frame.comment"].rstrip(":").split())]
    assert len(frames) - len(whole) <= len(odd)
    values = sum(map(check_frame, whole))
    check_against_simulator(whole, simulated, len(odd))
    functions = Counter(int(frame["modbus.func_code"]) for frame in whole)
    return Agreement(len(whole), functions, values, len(simulated), len(odd))


def tshark(capture: Path) -> list[dict[str, str]]:
    """Every packet of the file as tshark reads it. The first option says which side answers, for echoes of a write; the
    second has it check every CRC. Nothing else is set: the file itself says that it is Modbus RTU."""
    options = ["-o", "mbrtu.tcp.port:502", "-o", "mbrtu.crc_verification:TRUE"]
    fields = [word for field in FIELDS for word in ("-e", field)]
    form = ["-E", "separator=;", "-E", "aggregator=,"]
    done = subprocess.run(
        ["tshark", "-n", "-r", str(capture), *options, "-T", "fields", *fields, *form], capture_output=True, text=True,
        timeout=300, check=False, env={**os.environ, "HOME": str(capture.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [dict(zip(FIELDS, line.split(";"), strict=True)) for line in done.stdout.splitlines()]


def check_frame(frame: Mapping[str, str]) -> int:
    """One frame: tshark's fields against the bytes; how many register values agreed."""
    octets = bytes.fromhex(frame["exported_pdu.exported_pdu"])
    is_request = frame["frame.packet_flags_direction"] == OUTBOUND
    assert is_request or frame["frame.packet_flags_direction"] == INBOUND
    assert frame["frame.protocols"] == "exported_pdu:mbrtu:modbus", frame
    assert int(frame["mbrtu.unit_id"]) == octets[0], frame
    assert frame["mbrtu.crc16.status"] == "1", frame
    function = octets[1] & 0x7F
    assert int(frame["modbus.func_code"]) == function, frame
    if octets[1] & 0x80:
        assert int(frame["modbus.exception_code"]) == octets[2], frame
        return 0
    if is_request or function in (6, 16):
        address, second = unpack_from(">HH", octets, 2)
        assert int(frame["modbus.reference_num"]) == address, frame
        counted = {1: "modbus.bit_cnt", 2: "modbus.bit_cnt", 3: "modbus.word_cnt", 4: "modbus.word_cnt",
                   16: "modbus.word_cnt"}.get(function)  # fmt: skip
        assert counted is None or int(frame[counted]) == second, frame
    words = words_of(octets, function, is_request=is_request)
    if function == 6:
        assert frame["modbus.data"].replace(":", "") == octets[4:6].hex(), frame
        return 1
    assert [int(word) for word in frame["modbus.regval_uint16"].split(",") if word] == words, frame
    return len(words)


def words_of(octets: bytes, function: int, *, is_request: bool) -> list[int]:
    """The register words that a frame carries."""
    if function in (3, 4) and not is_request:
        return list(unpack_from(f">{octets[2] // 2}H", octets, 3))
    if function == 16 and is_request:
        return list(unpack_from(f">{octets[6] // 2}H", octets, 7))
    return []


def check_against_trace(frames: Sequence[Mapping[str, str]], traced: Sequence[Mapping[str, Any]]) -> None:
    """The capture holds exactly the frames that the text of the same trace shows."""
    captured = [
        (frame["frame.packet_flags_direction"] == OUTBOUND, frame["exported_pdu.exported_pdu"]) for frame in frames
    ]
    shown = [(frame["way"] == "sent", frame["hex"]) for frame in traced if frame["hex"] and frame["way"] != "line"]
    begins = next(n for n in range(len(shown)) if shown[n : n + 20] == captured[:20])
    assert captured == shown[begins : begins + len(captured)]
    by_hex = {frame["hex"]: frame for frame in traced if frame["note"] in REGULAR}
    for frame in frames:
        known = by_hex.get(frame["exported_pdu.exported_pdu"])
        if known is None:
            continue
        assert known["crc"] == "good"
        assert (known["unit"], known["function"]) == (int(frame["mbrtu.unit_id"]), int(frame["modbus.func_code"]))


def check_against_simulator(
    frames: Sequence[Mapping[str, str]], simulated: Sequence[Mapping[str, Any]], odd: int
) -> None:
    """In the same order on the simulated wire; what only the wire saw is no more than what the trace calls odd.

    Both begin at the first frame that was on the wire only once: the noise of the IMU makes most replies unique.
    """
    seen = [(frame["way"] == "request", frame["hex"]) for frame in simulated]
    wanted = [
        (frame["frame.packet_flags_direction"] == OUTBOUND, frame["exported_pdu.exported_pdu"]) for frame in frames
    ]
    times = Counter(seen)
    begin = next(place for place, frame in enumerate(wanted) if times[frame] == 1)
    assert begin < 100
    place, skipped = seen.index(wanted[begin]), 0
    for frame in wanted[begin:]:
        assert frame in seen[place : place + odd + 1], f"{frame} was not on the wire then"
        found = seen.index(frame, place)
        skipped, place = skipped + found - place, found + 1
    assert skipped <= odd, f"{skipped} frames were on the wire and not in the trace, which calls {odd} odd"
