"""The link to one module: identity, counts, and when it is left alone."""

import pytest
from attrs import evolve
from core_fixtures import MS, SHIPPED, START_NS, TRAVEL, S

from oht50d.codec.registers import decode_block
from oht50d.core.breaker import FAILURES_UNTIL_OPEN, MANDATORY_COOLDOWN
from oht50d.core.module_link import ModuleLink
from oht50d.core.poll_plan import plan_blocks
from oht50d.model.bus import ExceptionReply, ExchangeResult, Failure, Hint, ReadRegisters, ReadReply
from oht50d.model.registers import BlockReadings

T = START_NS
REQUEST = ReadRegisters(TRAVEL, 0, 3)
BLOCK = next(b for b in plan_blocks(SHIPPED["travel_motor"]) if any(s.role == "identity.type" for s in b.specs))


def link() -> ModuleLink:
    return ModuleLink(SHIPPED["travel_motor"])


def failed(failure: Failure, at_ns: int = T) -> ExchangeResult:
    return ExchangeResult(REQUEST, None, failure, at_ns - 5 * MS, at_ns)


def answered(at_ns: int = T) -> ExchangeResult:
    return ExchangeResult(REQUEST, ReadReply(TRAVEL, (0, 0, 0)), None, at_ns - 5 * MS, at_ns)


def refused(at_ns: int = T) -> ExchangeResult:
    return ExchangeResult(REQUEST, ExceptionReply(TRAVEL, 3, 2), None, at_ns - 5 * MS, at_ns)


def identity(type_code: int, **words: int) -> BlockReadings:
    known = {"identity.type": type_code, **{name.replace("__", "."): word for name, word in words.items()}}
    filled = tuple(known.get(spec.role or "", 0) for spec in BLOCK.specs)
    return decode_block(BLOCK, filled, requested_ns=T, received_ns=T)


def test_totals() -> None:
    module = link()
    for result in (answered(), failed(Failure.SILENT), failed(Failure.NOISE), failed(Failure.MISMATCH), refused()):
        module.record(result)
    counters = module.counters
    assert (counters.requests, counters.replies, counters.timeouts, counters.noise, counters.exceptions) == (
        5,
        2,
        1,
        2,
        1,
    )


@pytest.mark.parametrize("failure", [Failure.ABANDONED, Failure.LINK_LOST])
def test_what_is_not_the_modules_fault_is_not_held_against_it(failure: Failure) -> None:
    module = link()
    for _ in range(10):
        module.record(failed(failure))
    assert (module.failures, module.is_paused(T), module.problem) == (0, False, "not found yet")


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (Failure.SILENT, "no reply from 0x04 (travel): check power, A/B wiring, address switch"),
        (Failure.NOISE, "damaged"),
    ],
)
def test_a_module_that_was_never_heard_is_left_alone_after_three_failures(failure: Failure, words: str) -> None:
    module = link()
    for number in range(1, FAILURES_UNTIL_OPEN + 1):
        module.record(failed(failure))
        assert module.is_paused(T) is module.is_dead is (number == FAILURES_UNTIL_OPEN)
    assert words in module.problem
    assert module.is_paused(T + MANDATORY_COOLDOWN.first_ns - 1)
    assert not module.is_paused(T + MANDATORY_COOLDOWN.first_ns)


@pytest.mark.parametrize(
    ("failure", "hint", "words"),
    [
        (Failure.MISMATCH, Hint.ECHO, "the adapter hears what it sends"),
        (Failure.SILENT, Hint.ECHO, "the adapter hears what it sends"),
        (Failure.NOISE, Hint.BIAS, "check bias resistors and termination"),
    ],
)
def test_the_problem_says_what_the_bytes_tell(failure: Failure, hint: Hint, words: str) -> None:
    module = link()
    module.record(evolve(failed(failure), hint=hint))
    assert words in module.problem


def test_it_is_damaged_until_something_else_comes_of_a_request() -> None:
    module = link()
    for result, is_damaged in (
        (failed(Failure.NOISE), True),
        (failed(Failure.ABANDONED), True),
        (answered(), False),
        (failed(Failure.MISMATCH), True),
        (failed(Failure.SILENT), False),
    ):
        module.record(result)
        assert module.is_damaged is is_damaged
    module.record(failed(Failure.NOISE))
    module.forget_identity()
    assert not module.is_damaged


@pytest.mark.parametrize(
    ("is_mandatory", "pauses_ms"), [(True, [250, 500, 1000, 1000]), (False, [1000, 2000, 4000, 8000, 16_000, 30_000])]
)
def test_the_cooldown_doubles_up_to_its_limit(is_mandatory: bool, pauses_ms: list[int]) -> None:
    module = ModuleLink(evolve(SHIPPED["travel_motor"], is_mandatory=is_mandatory))
    for _ in range(FAILURES_UNTIL_OPEN - 1):
        module.record(failed(Failure.SILENT))
    found = []
    for _ in pauses_ms:
        module.record(failed(Failure.SILENT))
        found.append((module.resume_ns - T) // MS)
    assert found == pauses_ms


def test_one_valid_reply_closes_the_breaker_and_the_next_cooldown_is_short_again() -> None:
    module = link()
    for _ in range(6):
        module.record(failed(Failure.SILENT))
    module.record(answered(T + S))
    assert (module.is_dead, module.failures) == (False, 0)
    for ms in range(3):
        module.record(failed(Failure.SILENT, T + 2 * S + ms * MS))
    assert module.resume_ns == T + 2 * S + 2 * MS + MANDATORY_COOLDOWN.first_ns


def test_the_breaker_opens_after_three_failures_and_150_ms_without_a_valid_reply_not_before() -> None:
    module = link()
    module.record(answered(T))
    states = []
    for ms in range(25, 176, 25):
        module.record(failed(Failure.SILENT, T + ms * MS))
        states.append(module.is_dead)
    assert states == [False, False, False, False, False, True, True]


def test_a_burst_of_noise_shorter_than_the_loss_limit_does_not_lose_a_module() -> None:
    module = link()
    module.identify(identity(4))
    module.record(answered(T))
    for ms in range(5, 150, 5):
        module.record(failed(Failure.NOISE, T + ms * MS))
    assert (module.is_paused(T + 166 * MS), module.is_identified) == (False, True)
    module.record(answered(T + 150 * MS))
    assert (module.failures, module.problem) == (0, "")


def test_a_module_that_was_away_for_the_loss_limit_must_prove_again_who_it_is() -> None:
    module = link()
    module.identify(identity(4))
    module.record(answered(T))
    for ms in (50, 100, 150):
        module.record(failed(Failure.SILENT, T + ms * MS))
    assert (module.is_paused(T + 151 * MS), module.is_identified, module.is_dead) == (True, False, True)


def test_a_refusal_is_an_answer_but_not_a_valid_one() -> None:
    module = link()
    module.record(failed(Failure.SILENT))
    module.record(refused())
    assert (module.failures, module.last_valid_ns) == (0, None)
    assert "0x04 (travel) refused function 3 with exception 2 (illegal data address): check" in module.problem


def test_a_valid_reply_clears_the_problem_of_an_identified_module_only() -> None:
    module = link()
    module.record(answered())
    assert (module.last_valid_ns, module.problem) == (T, "not found yet")
    module.identify(identity(4))
    module.record(failed(Failure.SILENT))
    module.record(answered(T + 1))
    assert (module.last_valid_ns, module.problem) == (T + 1, "")


def test_identity() -> None:
    module = link()
    assert module.identify(identity(4, identity__firmware=0x0203))
    assert (module.is_identified, module.firmware, module.problem) == (True, "2.03", "")


def test_another_module_at_the_address_is_not_taken_for_the_bound_one() -> None:
    module = link()
    module.identify(identity(4))
    assert not module.identify(identity(5))
    assert not module.is_identified
    assert "type 5, expected 4" in module.problem


def test_the_serial_number_is_two_words_low_first() -> None:
    module = link()
    specs = {spec.role for spec in BLOCK.specs}
    assert module.identify(identity(4, identity__serial_low=0x5678, identity__serial_high=0x1234))
    assert {"identity.serial_low", "identity.serial_high"} <= specs
    assert module.serial == 0x12345678


@pytest.mark.parametrize("words", [(0, 0), (0xFFFF, 0xFFFF)])
def test_a_serial_number_of_nothing_is_none(words: tuple[int, int]) -> None:
    module = link()
    assert module.identify(identity(4, identity__serial_low=words[0], identity__serial_high=words[1]))
    assert module.serial is None


def test_an_identity_that_comes_in_pieces_is_put_together() -> None:
    module = link()
    pieces = {}
    for role in ("identity.type", "identity.firmware", "identity.serial_low", "identity.serial_high"):
        spec = next(spec for spec in BLOCK.specs if spec.role == role)
        pieces[role] = evolve(BLOCK, first=spec.address, specs=(spec,))
    words = {"identity.type": 4, "identity.firmware": 0x0107, "identity.serial_low": 7, "identity.serial_high": 1}
    read = {role: decode_block(pieces[role], (words[role],), requested_ns=T, received_ns=T) for role in words}
    assert module.identify(read["identity.type"])
    assert (module.firmware, module.serial) == (None, None)
    for role in ("identity.firmware", "identity.serial_low", "identity.serial_high"):
        module.learn(read[role])
    assert (module.firmware, module.serial) == ("1.07", 0x10007)


def test_a_module_without_a_serial_number_is_identified_all_the_same() -> None:
    module = link()
    specs = tuple(spec for spec in BLOCK.specs if spec.role == "identity.type")
    block = evolve(BLOCK, first=specs[0].address, specs=specs)
    assert module.identify(decode_block(block, (4,), requested_ns=T, received_ns=T))
    assert (module.serial, module.firmware) == (None, None)


def test_a_new_opening_forgets_identity_and_pause() -> None:
    module = link()
    module.identify(identity(4))
    for _ in range(3):
        module.record(failed(Failure.SILENT))
    module.forget_identity()
    assert (module.is_identified, module.failures, module.is_paused(T), module.problem) == (
        False,
        0,
        False,
        "not found yet",
    )
