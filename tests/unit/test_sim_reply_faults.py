"""What each fault makes of one reply: its bytes, when they begin, and what else goes onto the line."""

import random
from itertools import pairwise
from pathlib import Path

import pytest

from oht50d.codec.rtu import crc16, encode_reply
from oht50d.model.bus import ExceptionReply, ReadReply
from oht50d.model.units import Duration, milliseconds
from oht50d.sim.fault_kinds import FaultKind, Place
from oht50d.sim.faults import ScriptedFault
from oht50d.sim.line_settings import LineSettings
from oht50d.sim.pseudo_terminal import PseudoTerminal
from oht50d.sim.reply_faults import Drawn, ReplyFaults, encode_refusal, sealed, twin_of
from oht50d.sim.wire import Emission, Wire

MS = 1_000_000
BEGINS = 50 * MS
WORDS = (0x1234, 0x00FF, 7)
REPLY = encode_reply(ReadReply(5, WORDS))
TWIN = twin_of(ReadReply(5, WORDS))


def drawn(*kinds: FaultKind, **parameters: object) -> Drawn:
    at = Duration(0)
    return {kind: ScriptedFault(kind=kind, at=at, **parameters) for kind in kinds}  # type: ignore[arg-type]  # keywords


class Bench:
    """A wire without a terminal, and faults with a seed."""

    def __init__(self, seed: int = 1) -> None:
        self.wire = Wire(PseudoTerminal(Path("/nowhere/bus")), LineSettings(115_200), 1, random.Random(seed))
        self.faults = ReplyFaults(self.wire, random.Random(seed))

    def play(self, faults: Drawn) -> list[Emission]:
        return self.faults.emissions(REPLY, TWIN, 5, faults, BEGINS)

    def one(self, faults: Drawn) -> Emission:
        (emission,) = self.play(faults)
        return emission

    def ends_ns(self, emission: Emission) -> int:
        return emission.begins_ns + len(emission.octets) * self.wire.character_ns


def test_without_faults_it_is_the_reply_in_time() -> None:
    assert Bench().play({}) == [Emission(octets=REPLY, begins_ns=BEGINS, unit=5)]


def test_another_unit_or_function_with_a_good_crc() -> None:
    bench = Bench()
    assert bench.one(drawn(FaultKind.WRONG_UNIT)).octets == sealed(bytes((6,)) + REPLY[1:-2])
    assert bench.one(drawn(FaultKind.WRONG_UNIT, code=3)).octets == sealed(bytes((3,)) + REPLY[1:-2])
    assert bench.one(drawn(FaultKind.WRONG_FUNCTION)).octets == sealed(bytes((5, 4)) + REPLY[2:-2])
    assert bench.one(drawn(FaultKind.WRONG_FUNCTION, code=0x10)).octets == sealed(bytes((5, 16)) + REPLY[2:-2])
    both = bench.one(drawn(FaultKind.WRONG_UNIT, FaultKind.WRONG_FUNCTION))
    assert (both.octets[:2], both.notes) == (bytes((6, 4)), ("wrong_unit", "wrong_function"))


def test_a_wrong_crc_and_a_single_bit_anywhere() -> None:
    broken = Bench().one(drawn(FaultKind.CRC))
    assert (broken.octets[:-2], crc16(broken.octets) != 0) == (REPLY[:-2], True)
    places = set()
    for seed in range(400):
        octets = Bench(seed).one(drawn(FaultKind.BIT_ERROR)).octets
        turned = int.from_bytes(octets, "big") ^ int.from_bytes(REPLY, "big")
        assert (turned.bit_count(), len(octets), crc16(octets) != 0) == (1, len(REPLY), True)
        places.add(turned.bit_length() // 8)
    assert len(places) >= len(REPLY)


def test_a_reply_cut_short_or_followed_by_more() -> None:
    assert Bench().one(drawn(FaultKind.TRUNCATED, count=4)).octets == REPLY[:4]
    lengths = {len(Bench(seed).one(drawn(FaultKind.TRUNCATED)).octets) for seed in range(300)}
    assert lengths == set(range(1, len(REPLY)))
    assert Bench().one(drawn(FaultKind.EXTRA_BYTES, count=3, code=0xFF)).octets == REPLY + b"\xff\xff\xff"
    assert {len(Bench(seed).one(drawn(FaultKind.EXTRA_BYTES)).octets) - len(REPLY) for seed in range(99)} == {
        1,
        2,
        3,
        4,
    }


def test_bias_noise_comes_before_the_first_byte() -> None:
    bench = Bench()
    noisy = bench.one(drawn(FaultKind.BIAS_NOISE, count=2))
    assert (noisy.octets, noisy.begins_ns) == (b"\0\0" + REPLY, BEGINS - 2 * bench.wire.character_ns)
    assert bench.one(drawn(FaultKind.BIAS_NOISE, code=0xFF, place=Place.REPLY)).octets == b"\xff" + REPLY
    assert bench.one(drawn(FaultKind.BIAS_NOISE, place=Place.IDLE)).octets == REPLY


def test_a_delay_leaves_the_line_to_others_and_a_turnaround_does_not() -> None:
    bench = Bench()
    slow = bench.one(drawn(FaultKind.DELAY, delay=milliseconds(30)))
    assert (slow.begins_ns, slow.holds_line, slow.notes) == (BEGINS + 30 * MS, False, ("delay",))
    between = {
        Bench(seed).one(drawn(FaultKind.DELAY, delay=milliseconds(5), delay_most=milliseconds(9))).begins_ns - BEGINS
        for seed in range(200)
    }
    assert (min(between) >= 5 * MS, max(between) <= 9 * MS, len(between) > 150) == (True, True, True)
    turned = bench.one(drawn(FaultKind.TURNAROUND, delay=milliseconds(8)))
    assert (turned.begins_ns, turned.holds_line, turned.notes) == (BEGINS, True, ("turnaround",))


def test_pieces_with_a_pause_are_the_reply_when_put_together() -> None:
    bench = Bench()
    pieces = bench.play(drawn(FaultKind.SPLIT, pieces=4, pause=milliseconds(3)))
    assert b"".join(piece.octets for piece in pieces) == REPLY
    assert [len(piece.octets) for piece in pieces] == [3, 3, 3, 2]
    assert [after.begins_ns - bench.ends_ns(one) for one, after in pairwise(pieces)] == [3 * MS] * 3
    assert [piece.is_reply for piece in pieces] == [False, False, False, True]


def test_a_copy_comes_whole_after_the_end() -> None:
    bench = Bench()
    first, second = bench.play(drawn(FaultKind.COPY, delay=milliseconds(7)))
    assert (first.octets, second.octets, second.notes) == (REPLY, REPLY, ("copy",))
    assert second.begins_ns == bench.ends_ns(first) + 7 * MS
    assert (first.is_reply, second.is_reply, second.holds_line) == (True, False, False)
    *_, last, late = bench.play({**drawn(FaultKind.COPY), **drawn(FaultKind.SPLIT)})
    assert late.begins_ns == bench.ends_ns(last)


def test_two_at_one_address_are_garbage_or_one_after_the_other() -> None:
    for seed in range(200):
        mixed = Bench(seed).one(drawn(FaultKind.DUPLICATE_ADDRESS)).octets
        assert (len(mixed), crc16(mixed) != 0) == (len(REPLY), True)
    bench = Bench()
    shifted = bench.one(drawn(FaultKind.DUPLICATE_ADDRESS, delay=Duration(4 * bench.wire.character_ns)))
    assert (shifted.octets[:4], shifted.octets[-4:], len(shifted.octets)) == (REPLY[:4], TWIN[-4:], len(REPLY) + 4)
    first, second = bench.play(drawn(FaultKind.DUPLICATE_ADDRESS, delay=milliseconds(5)))
    assert (first.octets, second.octets) == (REPLY, TWIN)
    assert (second.begins_ns - first.begins_ns, second.is_reply, second.holds_line) == (5 * MS, False, False)


def test_the_second_module_says_other_words() -> None:
    assert twin_of(ReadReply(5, WORDS)) == encode_reply(ReadReply(5, tuple(word ^ 1 for word in WORDS)))
    assert twin_of(ExceptionReply(5, 3, 2)) == encode_reply(ExceptionReply(5, 3, 2))


def test_an_exception_of_any_code() -> None:
    for code in (1, 11, 200):
        refusal = Bench().faults.refuse(drawn(FaultKind.EXCEPTION, code=code), 5, 0)
        assert refusal is not None
        assert (refusal.code, refusal.is_carried_out) == (code, False)
        assert encode_refusal(5, 3, code) == sealed(bytes((5, 0x83, code)))


@pytest.mark.parametrize(("code", "is_carried_out"), [(5, True), (6, False)])
def test_busy_refuses_for_a_while_and_then_works(code: int, is_carried_out: bool) -> None:
    faults, busy = Bench().faults, drawn(FaultKind.BUSY, code=code, delay=milliseconds(40))
    found = [faults.refuse(busy, 5, at * MS) for at in (0, 10, 39, 40, 41, 50, 80, 81)]
    codes = [None if refusal is None else refusal.code for refusal in found]
    assert codes == [code, 6, 6, None, code, 6, 6, None]
    assert found[0] is not None
    assert found[0].is_carried_out is is_carried_out
    assert faults.refuse({}, 4, 10 * MS) is None


def test_nobody_stays_busy_after_a_reset() -> None:
    faults = Bench().faults
    faults.refuse(drawn(FaultKind.BUSY, delay=milliseconds(1000)), 5, 0)
    faults.reset()
    assert faults.refuse({}, 5, 1) is None
