"""The line of the simulated bus: who has it until when, collisions, and what comes without being asked for."""

import os
import random
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial
import trio

from oht50d.codec.rtu import crc16, encode_request
from oht50d.model.bus import ReadRegisters
from oht50d.model.units import Duration, milliseconds
from oht50d.sim.fault_kinds import FaultKind, Place
from oht50d.sim.faults import FaultBoard, ScriptedFault
from oht50d.sim.line_noise import LineNoise
from oht50d.sim.line_settings import LineSettings, Parity, read_settings, write_baud
from oht50d.sim.pseudo_terminal import PseudoTerminal
from oht50d.sim.wire import FOREIGN_REPLY, FOREIGN_REQUEST, NOISE, Emission, Wire

MS = 1_000_000
CHARACTER_NS = LineSettings(115_200).character_ns
REPLY = encode_request(ReadRegisters(5, 0x30, 1))


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    """On a real pty, its times long past: handing over does not wait."""
    terminal = PseudoTerminal(tmp_path / "bus")
    terminal.open()
    yield Wire(terminal, LineSettings(115_200), 1, random.Random(1))
    terminal.close()


def handed_over(wire: Wire) -> list[tuple[str, bytes, str]]:
    wire.hand_over_due()
    return [(frame.way, frame.octets, frame.note) for frame in wire.trace.since(0, 1000)]


def test_a_request_takes_its_characters_once_the_line_is_free(wire: Wire) -> None:
    assert wire.take_request(8, 5 * MS) == (5 * MS, 5 * MS + 8 * CHARACTER_NS)
    assert wire.take_request(8, 5 * MS + 1)[0] == 5 * MS + 8 * CHARACTER_NS
    wire.emit(Emission(octets=REPLY, begins_ns=20 * MS, unit=5))
    assert wire.backlog_ns(20 * MS) == len(REPLY) * CHARACTER_NS
    wire.emit(Emission(octets=REPLY, begins_ns=90 * MS, unit=5, holds_line=False))
    assert wire.backlog_ns(20 * MS) == len(REPLY) * CHARACTER_NS


def test_early_is_during_a_reply_and_t35_after_it_but_not_after_noise(wire: Wire) -> None:
    wire.emit(Emission(octets=b"\0", begins_ns=10 * MS, way=NOISE, holds_line=False))
    assert not wire.is_early(10 * MS)
    begins_ns = time.monotonic_ns() - 5 * MS
    wire.emit(Emission(octets=REPLY, begins_ns=begins_ns, unit=5))
    assert wire.is_early(begins_ns)
    wire.hand_over_due()
    handed_ns = wire.trace.since(1, 1)[0].monotonic_ns
    assert [wire.is_early(handed_ns + after) for after in (0, 1_749_999, 1_750_000)] == [True, True, False]
    assert (wire.counters.module(5).replies, wire.counters.noise_bytes) == (1, 1)


def test_two_masters_at_once_are_garbage_for_both(wire: Wire) -> None:
    wire.emit(Emission(octets=REPLY, begins_ns=10 * MS, unit=5))
    wire.emit(Emission(octets=REPLY, begins_ns=10 * MS + 300_000, way=FOREIGN_REPLY, holds_line=False))
    wire.emit(Emission(octets=REPLY, begins_ns=30 * MS, way=FOREIGN_REPLY, holds_line=False))
    wire.emit(Emission(octets=REPLY, begins_ns=30 * MS - 200_000, unit=5))
    wire.emit(Emission(octets=REPLY, begins_ns=50 * MS, unit=5))
    found = handed_over(wire)
    assert [note for _, _, note in found] == ["collision"] * 4 + [""]
    assert all(crc16(octets) for _, octets, note in found if note)
    assert wire.counters.collisions == 2


def test_what_was_asked_into_another_masters_frame_is_not_understood(wire: Wire) -> None:
    wire.emit(Emission(octets=REPLY, begins_ns=10 * MS, way=FOREIGN_REQUEST, holds_line=False))
    assert wire.is_drowned(10 * MS + 100_000, 11 * MS)
    assert not wire.is_drowned(12 * MS, 13 * MS)
    assert [note for _, _, note in handed_over(wire)] == ["collision"]


def test_another_master_cuts_off_a_request(wire: Wire) -> None:
    _, ends_ns = wire.take_request(8, 10 * MS)
    wire.emit(Emission(octets=REPLY, begins_ns=ends_ns + 3 * MS, unit=5))
    assert not wire.cut_request(ends_ns)
    assert wire.cut_request(ends_ns - 1)
    assert handed_over(wire) == []


def test_delayed_replies_and_copies_are_queued_and_not_garbled(wire: Wire) -> None:
    wire.emit(Emission(octets=REPLY, begins_ns=10 * MS, unit=5, holds_line=False))
    wire.emit(Emission(octets=REPLY, begins_ns=10 * MS, unit=5))
    assert [octets for _, octets, _ in handed_over(wire)] == [REPLY, REPLY]


def test_what_was_on_its_way_is_lost_with_the_adapter(wire: Wire) -> None:
    wire.emit(Emission(octets=REPLY, begins_ns=10 * MS, unit=5))
    wire.forget()
    assert (handed_over(wire), wire.next_ns) == ([], None)


# -- speed and parity


def test_the_line_follows_what_a_program_sets(wire: Wire) -> None:
    wire.tune()
    assert (wire.line, wire.character_ns) == (LineSettings(115_200), CHARACTER_NS)
    for baud, parity, expected in (
        (9600, "N", LineSettings(9600)),
        (19_200, "O", LineSettings(19_200, Parity.ODD)),
        (250_000, "N", LineSettings(250_000)),
    ):
        serial.Serial(wire.terminal.device, baud, parity=parity).close()
        wire.tune()
        assert wire.line == expected
    assert LineSettings(19_200, Parity.ODD).character_ns == -(-11 * 10**9 // 19_200)
    assert wire.character_ns == 40_000


@pytest.mark.parametrize("baud", [1200, 115_200, 256_000, 4_000_000])
def test_any_speed_can_be_found_on_a_line(baud: int) -> None:
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    write_baud(theirs, baud)
    tty.setraw(theirs)
    assert read_settings(theirs) == (baud, False)
    os.close(ours)
    os.close(theirs)


def test_settings_change_one_by_one_and_within_limits() -> None:
    assert LineSettings(9600).changed(None, Parity.ODD) == LineSettings(9600, Parity.ODD)
    assert LineSettings(9600, Parity.ODD).changed(19_200, None) == LineSettings(19_200, Parity.ODD)
    with pytest.raises(ValueError, match="baud must be"):
        LineSettings(300)


# -- names


async def test_plugged_in_elsewhere_the_stable_name_follows(tmp_path: Path) -> None:
    terminal = PseudoTerminal(tmp_path / "bus")
    terminal.open()
    assert (str((tmp_path / "bus").readlink()), terminal.new_name) == (terminal.device, None)
    for number in (1, 2):
        before = terminal.device
        terminal.hang_up(is_link_kept=True)
        assert (str((tmp_path / "bus").readlink()), Path(before).exists()) == (before, False)
        ours, theirs = os.openpty()
        assert os.ttyname(theirs) != before, "the link that is left behind leads to nobody else"
        terminal.open_elsewhere(0)
        assert terminal.device != before
        assert (str((tmp_path / "bus").readlink()), terminal.new_name) == (terminal.device, tmp_path / f"bus.{number}")
        assert terminal.linked_ns is not None
        os.close(ours)
        os.close(theirs)
    terminal.close()
    terminal.open_elsewhere(40 * MS)
    assert (list(tmp_path.iterdir()), terminal.linked_ns) == ([tmp_path / "bus.3"], None)
    await trio.sleep(0.05)
    terminal.settle_link()
    assert {str((tmp_path / name).readlink()) for name in ("bus", "bus.3")} == {terminal.device}
    terminal.close()
    assert list(tmp_path.iterdir()) == []


# -- noise


class Din:
    """Noise of one fault, played from time 0 to `ends`."""

    def __init__(self, wire: Wire, kind: FaultKind, seed: int = 1, **parameters: object) -> None:
        self.board = FaultBoard(random.Random(seed))
        fault = ScriptedFault(kind=kind, at=Duration(0), **parameters)  # type: ignore[arg-type]  # keywords of one test
        self.board.add(fault, 0)
        self.noise = LineNoise(self.board, wire, random.Random(seed))
        self.noise.begin(0)

    def play(self, ends_ns: int) -> list[Emission]:
        found = []
        while (next_ns := self.noise.next_ns) is not None and next_ns < ends_ns:
            found += self.noise.advance(next_ns, [2, 3])
        return found


def test_babble_has_no_pause(wire: Wire) -> None:
    found = Din(wire, FaultKind.BABBLE).play(100 * MS)
    ends_ns = 0
    for emission in found:
        assert emission.begins_ns == ends_ns
        assert (emission.way, emission.notes) == (NOISE, ("babble",))
        ends_ns += len(emission.octets) * CHARACTER_NS
    assert ends_ns >= 100 * MS
    assert len({octet for emission in found for octet in emission.octets}) > 200
    ones = Din(wire, FaultKind.BABBLE, code=0x55).play(3 * MS)
    assert {octet for emission in ones for octet in emission.octets} == {0x55}
    assert 30 < len(Din(wire, FaultKind.BABBLE, ratio=0.5).play(100 * MS)) < 70


def test_bias_noise_on_the_idle_line_keeps_its_period(wire: Wire) -> None:
    quiet = {"period": milliseconds(20), "count": 2, "code": 0xFF}
    found = Din(wire, FaultKind.BIAS_NOISE, **quiet).play(1000 * MS)
    assert 45 <= len(found) <= 55
    assert {emission.octets for emission in found} == {b"\xff\xff"}
    assert Din(wire, FaultKind.BIAS_NOISE, place=Place.REPLY).play(1000 * MS) == []
    wire.take_request(8, 1000 * MS)
    assert Din(wire, FaultKind.BIAS_NOISE, **quiet).play(900 * MS) == []


def test_another_master_goes_round_the_modules(wire: Wire) -> None:
    found = Din(wire, FaultKind.SECOND_MASTER, period=milliseconds(10), address=0x104, count=2).play(100 * MS)
    assert 8 <= len(found) <= 12
    assert {emission.octets for emission in found} == {encode_request(ReadRegisters(unit, 0x104, 2)) for unit in (2, 3)}
    one = Din(wire, FaultKind.SECOND_MASTER, module=9).play(200 * MS)
    assert {emission.octets[0] for emission in one} == {9}


def test_noise_ends_when_its_fault_does(wire: Wire) -> None:
    din = Din(wire, FaultKind.BABBLE, for_=milliseconds(10))
    assert sum(len(emission.octets) for emission in din.play(1000 * MS)) * CHARACTER_NS < 12 * MS
    assert din.noise.next_ns is None
    din = Din(wire, FaultKind.SECOND_MASTER)
    din.board.clear()
    assert din.play(1000 * MS) == []


def test_babble_does_not_make_up_for_a_pause_of_the_simulator(wire: Wire) -> None:
    din = Din(wire, FaultKind.BABBLE)
    late = din.noise.advance(700 * MS, [2])
    assert [emission.begins_ns for emission in late] == [700 * MS]
