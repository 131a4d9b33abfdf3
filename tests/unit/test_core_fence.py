"""Late and repeated replies: only a reply that no older request can have caused is taken for an answer."""

import pytest
from core_fixtures import MS, START_NS

from oht50d.codec.rtu import encode_reply
from oht50d.core.fence import COPY_NS, IDENTITY_COUNT, IDENTITY_FIRST, MAX_SHAPES, SUSPECT_NS, Fence, Shape, shape_of
from oht50d.model.bus import (
    BusReply,
    BusRequest,
    DeviceIdAccess,
    ExceptionReply,
    ExchangeResult,
    Failure,
    MaskWriteRegister,
    ReadCoils,
    ReadDeviceIdentification,
    ReadDiscreteInputs,
    ReadInputRegisters,
    ReadRegisters,
    ReadReply,
    ReadWriteRegisters,
    ReportServerId,
    WriteCoil,
    WriteCoils,
    WriteRegister,
    WriteRegisters,
    WriteReply,
)

T = START_NS
ASKED, OTHER = ReadRegisters(4, 0, 13), ReadRegisters(4, 0x20, 5)
TWIN = ReadRegisters(4, 16, 13)
"""Of another place and the same shape."""
PROBE = ReadRegisters(4, IDENTITY_FIRST, 1)


def told(fence: Fence, request: BusRequest, outcome: BusReply | Failure, at_ns: int = T) -> ExchangeResult:
    reply, failure = (None, outcome) if isinstance(outcome, Failure) else (outcome, None)
    return fence.attributed(ExchangeResult(request, reply, failure, at_ns - MS, at_ns))


def ask(fence: Fence, request: BusRequest, outcome: BusReply | Failure, at_ns: int = T) -> ExchangeResult:
    """One whole exchange; what the fence makes of its outcome."""
    fence.sent(request)
    return told(fence, request, outcome, at_ns)


def answered(request: ReadRegisters) -> ReadReply:
    return ReadReply(request.unit, (7,) * request.count)


def refused(request: ReadRegisters) -> ExceptionReply:
    return ExceptionReply(request.unit, 3, 2)


def after_a_miss(failure: Failure = Failure.SILENT) -> Fence:
    fence = Fence()
    ask(fence, ASKED, failure)
    return fence


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (ReadRegisters(4, 0, 13), (3, 13)),
        (ReadRegisters(4, 16, 13), (3, 13)),
        (WriteRegister(4, 7, 1), (6, 7)),
        (WriteRegisters(4, 1, (0, 0, 0)), (16, 1)),
        (ReadInputRegisters(4, 16, 13), (4, 13)),
        (ReadWriteRegisters(4, 16, 13, 1, (2, 3)), (23, 13)),
        (ReadCoils(4, 16, 9), (1, 2)),
        (ReadCoils(4, 0, 16), (1, 2)),
        (ReadDiscreteInputs(4, 0, 16), (2, 2)),
        (WriteCoil(4, 7, True), (5, 7, 1)),
        (WriteCoil(4, 7, False), (5, 7, 0)),
        (WriteCoils(4, 7, (True, False)), (15, 7, 2)),
        (MaskWriteRegister(4, 7, 0xFF00, 3), (22, 7, 0xFF00, 3)),
        (ReportServerId(4), (17,)),
        (ReadDeviceIdentification(4, DeviceIdAccess.BASIC, 2), (43, 1, 0)),
        (ReadDeviceIdentification(4, DeviceIdAccess.EXTENDED, 0), (43, 3, 0)),
        (ReadDeviceIdentification(4, DeviceIdAccess.INDIVIDUAL, 2), (43, 4, 2)),
    ],
)
def test_shape(request_: BusRequest, expected: Shape) -> None:
    assert shape_of(request_) == expected


def test_an_answer_leaves_nothing_behind() -> None:
    fence = Fence()
    assert ask(fence, ASKED, answered(ASKED)).is_valid
    assert fence.is_free(TWIN)


@pytest.mark.parametrize("failure", list(Failure))
def test_a_missed_shape_is_closed_for_its_unit_only(failure: Failure) -> None:
    fence = after_a_miss(failure)
    assert not fence.is_free(TWIN), "the other drive's block cannot be told apart"
    assert fence.is_free(ReadRegisters(4, 0, 12))
    assert fence.is_free(ReadRegisters(3, 0, 13))


def test_what_was_sent_when_the_port_was_lost_may_still_be_answered() -> None:
    fence = Fence()
    fence.sent(ASKED)
    assert not fence.is_free(ASKED)
    assert fence.is_free(OTHER)


def test_a_reply_of_a_free_shape_proves_that_older_ones_are_gone() -> None:
    fence = after_a_miss()
    ask(fence, OTHER, Failure.SILENT)
    assert ask(fence, PROBE, answered(PROBE)).is_valid
    assert fence.is_free(ASKED)
    assert fence.is_free(OTHER)


def test_a_reply_that_may_belong_to_an_older_request_carries_nothing() -> None:
    fence = after_a_miss()
    result = ask(fence, TWIN, answered(TWIN))
    assert (result.reply, result.failure) == (None, Failure.FENCED)
    assert not fence.is_free(ASKED), "the other one's reply may come too"


def test_nothing_is_freed_by_time() -> None:
    fence = after_a_miss()
    ask(fence, OTHER, Failure.SILENT, T + 3_600_000 * MS)
    assert not fence.is_free(ASKED)


# -- probes


def test_a_probe_is_repeated_until_it_is_answered_and_one_answer_is_enough() -> None:
    fence = after_a_miss()
    for _ in range(1000):
        assert fence.probe(ASKED, T) == PROBE
        ask(fence, PROBE, Failure.SILENT)
    assert ask(fence, PROBE, answered(PROBE)).failure is Failure.FENCED, "whose answer it is stays unknown"
    assert fence.is_free(ASKED)
    assert not fence.is_free(PROBE), "nine hundred and ninety-nine more may come"
    assert ask(fence, ASKED, answered(ASKED)).is_valid
    assert fence.is_free(PROBE)


def test_a_write_that_went_out_after_the_probe_needs_another_one() -> None:
    fence = after_a_miss()
    stop = WriteRegisters(4, 1, (0, 0, 0))
    ask(fence, PROBE, Failure.SILENT)
    ask(fence, stop, Failure.SILENT)
    following = fence.probe(ASKED, T)
    assert following == ReadRegisters(4, IDENTITY_FIRST, 2)
    ask(fence, PROBE, answered(PROBE))
    assert fence.is_free(ASKED)
    assert not fence.is_free(stop)
    ask(fence, following, answered(following))
    assert fence.is_free(stop)


def test_probes_are_beginnings_of_what_the_module_is_known_to_answer() -> None:
    fence = Fence()
    fence.probe_with(ReadRegisters(4, 0x00F8, 2))
    assert fence.probe(ASKED, T) == ReadRegisters(4, 0x00F8, 1)
    for count in (1, 2):
        ask(fence, ReadRegisters(4, 0x0040, count), Failure.SILENT)
    ask(fence, WriteRegister(4, 7, 1), Failure.SILENT)
    assert fence.probe(ASKED, T) == ReadRegisters(4, IDENTITY_FIRST, 3), "the next shape that is free"
    for _ in range(2):
        ask(fence, ReadRegisters(4, IDENTITY_FIRST, 3), Failure.SILENT)
        assert fence.probe(ASKED, T) == ReadRegisters(4, IDENTITY_FIRST, 3)
    fence.probe_with(ReadRegisters(4, 0x00F8, 15))
    assert fence.probe(ASKED, T) == ReadRegisters(4, 0x00F8, 3), "what looks the same is the same probe"


def test_what_looks_like_the_wanted_one_is_no_probe_for_it() -> None:
    fence = Fence()
    single = ReadRegisters(4, 0x0040, 1)
    ask(fence, single, Failure.SILENT)
    probe = fence.probe(single, T)
    assert probe.count == 2
    ask(fence, probe, answered(probe))
    assert fence.is_free(single)


def test_a_unit_with_every_shape_waiting_is_freed_again() -> None:
    fence = Fence()
    counts = range(1, IDENTITY_COUNT + 1)
    for count in counts:
        ask(fence, ReadRegisters(4, 0x0040, count), Failure.SILENT)
    ask(fence, WriteRegister(4, 0x31, 0), Failure.SILENT)
    for _ in range(3):
        probe = fence.probe(ASKED, T)
        ask(fence, probe, answered(probe))
    assert sum(fence.is_free(ReadRegisters(4, 0x0040, count)) for count in counts) == IDENTITY_COUNT
    assert fence.is_free(WriteRegister(4, 0x31, 0))


def test_a_unit_with_too_many_shapes_waiting_gets_probes_only() -> None:
    fence = Fence()
    for address in range(MAX_SHAPES):
        assert fence.is_free(WriteRegister(4, address, 0))
        ask(fence, WriteRegister(4, address, 0), Failure.SILENT)
    assert not fence.is_free(WriteRegister(4, MAX_SHAPES, 0))
    probe = fence.probe(ASKED, T)
    assert ask(fence, probe, answered(probe)).is_valid
    assert fence.is_free(WriteRegister(4, MAX_SHAPES, 0))


# -- echoes and refusals


def test_an_echo_is_left_to_the_read_back() -> None:
    fence = Fence()
    stop, echo = WriteRegisters(4, 1, (0, 0, 0)), WriteReply(4, 1, 3, None)
    ask(fence, stop, Failure.SILENT)
    assert ask(fence, stop, echo).reply == echo
    assert not fence.is_free(stop)


def test_a_refusal_answers_the_request_that_nothing_older_can_have_caused() -> None:
    fence = Fence()
    assert ask(fence, ASKED, refused(ASKED)).reply == refused(ASKED)
    assert fence.is_free(ASKED)


def test_a_refusal_that_may_belong_to_an_older_request_is_nobodys() -> None:
    fence = after_a_miss()
    assert ask(fence, OTHER, refused(OTHER)).failure is Failure.FENCED
    assert not fence.is_free(OTHER)
    assert fence.is_free(ASKED), "it was answered now or is gone"


def test_a_module_that_refuses_every_probe_can_be_asked_again() -> None:
    fence = after_a_miss()
    for _ in range(5):
        ask(fence, PROBE, Failure.SILENT)
    ask(fence, PROBE, refused(PROBE))
    assert fence.is_free(ASKED)
    assert ask(fence, ASKED, answered(ASKED)).is_valid


def test_a_refused_write_says_nothing_about_reads() -> None:
    fence = after_a_miss()
    write = WriteRegister(4, 7, 1)
    refusal = ExceptionReply(4, 6, 3)
    assert ask(fence, write, refusal).reply == refusal
    assert fence.is_free(ASKED), "replies come in order"


def test_a_reply_to_what_was_never_sent_is_nobodys() -> None:
    fence = Fence()
    assert told(fence, ASKED, answered(ASKED)).failure is Failure.FENCED
    assert told(fence, ASKED, refused(ASKED)).failure is Failure.FENCED


def test_nobody_answers_a_broadcast() -> None:
    fence = Fence()
    everybody = WriteRegister(0, 7, 1)
    assert ask(fence, everybody, WriteReply(0, 7, 1, 1)).is_valid
    assert fence.is_free(everybody)


# -- replies that come twice


def twice() -> Fence:
    """Unit 4 has answered, and its reply came again."""
    fence = Fence()
    ask(fence, ASKED, answered(ASKED))
    fence.unexpected(encode_reply(answered(ASKED)), T)
    return fence


def test_what_may_come_twice_is_closed_until_another_shape_was_answered() -> None:
    fence = twice()
    assert not fence.is_free(TWIN)
    assert fence.is_free(ReadRegisters(3, 0, 13))
    assert fence.is_suspect(4, T)
    ask(fence, PROBE, answered(PROBE))
    assert fence.is_free(ASKED)


def test_for_a_minute_no_shape_follows_itself() -> None:
    fence = twice()
    last_ns = T + SUSPECT_NS - 1
    ask(fence, PROBE, answered(PROBE))
    ask(fence, ASKED, answered(ASKED), last_ns)
    assert not fence.is_free(TWIN), "it could be the first one's second copy"
    assert fence.is_free(OTHER)
    ask(fence, OTHER, answered(OTHER), last_ns + 1)
    assert not fence.is_suspect(4, last_ns + 1)
    assert fence.is_free(OTHER)


def test_a_refusal_is_no_copy_of_an_answer() -> None:
    fence = twice()
    assert ask(fence, OTHER, refused(OTHER)).reply == refused(OTHER)
    assert fence.is_free(ASKED)


def test_a_refusal_that_may_come_twice_is_nobodys_and_frees_nothing() -> None:
    fence = twice()
    ask(fence, OTHER, refused(OTHER))
    for _ in range(2):
        assert ask(fence, ASKED, refused(ASKED)).failure is Failure.FENCED
    assert not fence.is_free(ASKED)
    assert ask(fence, PROBE, answered(PROBE)).is_valid
    assert fence.is_free(ASKED)


def test_a_copy_of_what_is_under_way_makes_its_answer_doubtful() -> None:
    fence = Fence()
    ask(fence, ASKED, answered(ASKED))
    fence.sent(ASKED)
    fence.unexpected(encode_reply(answered(OTHER)), T)
    assert told(fence, ASKED, answered(ASKED)).failure is Failure.FENCED


def test_a_late_reply_is_no_copy() -> None:
    fence = after_a_miss()
    ask(fence, OTHER, Failure.SILENT)
    fence.unexpected(encode_reply(answered(ASKED)), T)
    assert not fence.is_suspect(4, T)


def test_damaged_bytes_and_strangers_are_no_copies() -> None:
    fence = Fence()
    ask(fence, ASKED, answered(ASKED))
    whole = encode_reply(answered(ASKED))
    for octets in (whole[:-1] + b"\0", whole[:4], b"", encode_reply(answered(ReadRegisters(9, 0, 2)))):
        fence.unexpected(octets, T)
    assert not fence.is_suspect(4, T)
    assert fence.is_free(ASKED)


def test_a_unit_that_never_answered_cannot_have_said_it() -> None:
    fence = Fence()
    ask(fence, ASKED, refused(ASKED))
    fence.unexpected(encode_reply(answered(ASKED)), T)
    assert fence.is_free(ASKED)


def test_without_suspicion_equal_shapes_may_follow_each_other() -> None:
    fence = Fence()
    ask(fence, ASKED, answered(ASKED))
    assert ask(fence, TWIN, answered(TWIN)).is_valid


def test_the_exchange_just_made_is_not_repeated_directly() -> None:
    fence = Fence()
    assert not fence.follows_itself(ASKED, T)
    ask(fence, ASKED, answered(ASKED))
    assert fence.follows_itself(TWIN, T + COPY_NS - 1)
    assert not fence.follows_itself(TWIN, T + COPY_NS)
    assert not fence.follows_itself(ReadRegisters(4, 16, 12), T)
    assert not fence.follows_itself(ReadRegisters(3, 0, 13), T)
    ask(fence, PROBE, answered(PROBE))
    assert not fence.follows_itself(ASKED, T)
    assert fence.probe(ASKED, T) == ReadRegisters(4, IDENTITY_FIRST, 2)
