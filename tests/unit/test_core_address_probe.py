"""Asking one address who is there: reads only, a bounded number of them, and what each answer means."""

import pytest
from core_fixtures import MS, START_NS
from hypothesis import given
from hypothesis import strategies as st
from strange_modules import LIFTER, Answer, device

from oht50d.core.address_probe import DAMAGED_LIMIT, GARBLED, MAX_EXCHANGES, NAMELESS, TWICE, AddressProbe, serial_of
from oht50d.model.bus import BusReply, ExceptionReply, ExchangeResult, Failure, Hint, ReadRegisters, ReadReply
from oht50d.model.modules import FoundState

UNIT = 0x06


def step(probe: AddressProbe, answer: BusReply | Failure, at_ns: int = START_NS) -> None:
    request = probe.next_request()
    assert request is not None
    reply, failure = (None, answer) if isinstance(answer, Failure) else (answer, None)
    probe.complete(ExchangeResult(request, reply, failure, at_ns, at_ns + 5 * MS))


def ask(answer: Answer) -> tuple[AddressProbe, list[ReadRegisters]]:
    """To the end, with every question that was asked."""
    probe, asked = AddressProbe(UNIT), []
    while (request := probe.next_request()) is not None:
        asked.append(request)
        step(probe, answer(request))
    return probe, asked


def test_a_module_says_type_firmware_tag_and_serial_in_two_reads() -> None:
    probe, asked = ask(device(LIFTER))
    assert asked == [ReadRegisters(UNIT, 0x0100, 9), ReadRegisters(UNIT, 0x00F8, 8)]
    found = probe.found
    assert found is not None
    assert (found.state, found.address, found.device_id) == (FoundState.IDENTIFIED, UNIT, 6)
    assert (found.type_code, found.firmware, found.serial, found.tag) == (6, "2.03", 1234, "LIFT")
    assert found.problem == ""


def test_a_module_that_lacks_the_last_registers_of_its_block_still_says_its_type() -> None:
    short = {address: word for address, word in LIFTER.items() if address <= 0x0106}
    probe, asked = ask(device(short))
    assert asked[1] == ReadRegisters(UNIT, 0x0104, 2)
    assert probe.found is not None
    assert (probe.found.type_code, probe.found.serial, probe.found.device_id) == (6, 1234, None)


def test_a_module_without_tag_may_have_a_serial_number() -> None:
    probe, asked = ask(device(LIFTER, refused=(0x00F8,)))
    assert asked[-1] == ReadRegisters(UNIT, 0x00FB, 2)
    assert probe.found is not None
    assert (probe.found.tag, probe.found.serial) == (None, 1234)


def test_an_old_module_that_knows_no_identity_is_present_without_one() -> None:
    probe, asked = ask(device({0: 7}))
    assert asked[-1] == ReadRegisters(UNIT, 0x0000, 1)
    assert probe.found is not None
    assert (probe.found.state, probe.found.type_code, probe.found.problem) == (FoundState.PRESENT, None, NAMELESS)


def test_one_that_refuses_everything_is_present_too() -> None:
    probe, _ = ask(lambda request: ExceptionReply(request.unit, 3, 1))
    assert probe.found is not None
    assert (probe.found.state, probe.found.problem) == (FoundState.PRESENT, NAMELESS)


def test_nobody_is_asked_once() -> None:
    probe, asked = ask(lambda _request: Failure.SILENT)
    assert (len(asked), probe.found, probe.is_conclusive) == (1, None, True)


@pytest.mark.parametrize("code", [10, 11])
def test_a_gateway_that_gets_no_answer_is_nobody(code: int) -> None:
    probe, asked = ask(lambda request: ExceptionReply(request.unit, 3, code))
    assert (len(asked), probe.found) == (1, None)


def test_damage_is_asked_again_with_other_lengths_and_then_told_as_two_modules() -> None:
    probe, asked = ask(lambda _request: Failure.NOISE)
    assert [request.count for request in asked] == [9, 8, 7], "the fence lets another length through at once"
    assert len(asked) == DAMAGED_LIMIT
    assert probe.found is not None
    assert (probe.found.state, probe.found.problem) == (FoundState.GARBLED, GARBLED)


def test_one_damaged_reply_is_noise_and_says_nothing() -> None:
    probe = AddressProbe(UNIT)
    step(probe, Failure.NOISE)
    honest = device(LIFTER)
    while (request := probe.next_request()) is not None:
        step(probe, honest(request))
    assert probe.found is not None
    assert (probe.found.state, probe.found.problem) == (FoundState.IDENTIFIED, "")


def test_two_of_one_type_that_differ_in_their_serial_numbers_are_told_by_the_damage() -> None:
    """Equal replies sent at once are one reply; where they differ they are none."""
    honest = device(LIFTER)
    probe, _ = ask(lambda request: honest(request) if request.address >= 0x0100 else Failure.NOISE)
    assert probe.found is not None
    assert (probe.found.state, probe.found.type_code, probe.found.problem) == (FoundState.GARBLED, 6, GARBLED)


def test_a_second_reply_is_told_whatever_comes_afterwards() -> None:
    probe = AddressProbe(UNIT)
    honest = device(LIFTER)
    step(probe, honest(ReadRegisters(UNIT, 0x0100, 9)))
    probe.note_unexpected(START_NS)
    step(probe, honest(ReadRegisters(UNIT, 0x00F8, 8)))
    assert probe.found is not None
    assert (probe.found.state, probe.found.problem, probe.found.serial) == (FoundState.GARBLED, TWICE, 1234)


def test_a_stop_that_cuts_a_question_short_says_nothing_about_the_address() -> None:
    probe = AddressProbe(UNIT)
    step(probe, Failure.ABANDONED)
    assert probe.next_request() == ReadRegisters(UNIT, 0x0100, 9)
    for _ in range(MAX_EXCHANGES):
        if not probe.is_over:
            step(probe, Failure.ABANDONED)
    assert (probe.is_over, probe.found, probe.is_conclusive) == (True, None, False)


@pytest.mark.parametrize(("low", "high", "serial"), [(0, 0, None), (0xFFFF, 0xFFFF, None), (1, 2, 0x20001)])
def test_an_empty_memory_is_no_serial_number(low: int, high: int, serial: int | None) -> None:
    assert serial_of(low, high) == serial


@given(st.lists(st.sampled_from(["reply", "refusal", *Failure]), max_size=MAX_EXCHANGES + 2))
def test_whatever_comes_it_only_reads_few_registers_and_ends(outcomes: list[object]) -> None:
    probe = AddressProbe(UNIT)
    asked = 0
    for outcome in [*outcomes, *[Failure.SILENT] * MAX_EXCHANGES]:
        request = probe.next_request()
        if request is None:
            break
        asked += 1
        assert isinstance(request, ReadRegisters)
        assert request.unit == UNIT
        assert 1 <= request.count <= 9
        if outcome == "reply":
            step(probe, ReadReply(UNIT, tuple(0xABCD for _ in range(request.count))))
        elif outcome == "refusal":
            step(probe, ExceptionReply(UNIT, 3, 2))
        else:
            assert isinstance(outcome, Failure)
            step(probe, outcome)
    assert probe.is_over
    assert asked <= MAX_EXCHANGES


def test_an_echo_of_the_question_is_nobody() -> None:
    probe = AddressProbe(UNIT)
    request = probe.next_request()
    assert request is not None
    probe.complete(ExchangeResult(request, None, Failure.MISMATCH, START_NS, START_NS, hint=Hint.ECHO))
    assert (probe.is_over, probe.found, probe.is_conclusive) == (True, None, False)
