"""The stop sequences frame by frame: order, repeats, read-back in time."""

import itertools

import pytest
from core_fixtures import MS, SAFETY, START_NS, TRAVEL, S, cause, codes, shipped_actuators
from stop_bench import (
    BRAKE_ON,
    DRIVES_FIRST,
    OFF_1,
    OFF_2,
    READ_BRAKE,
    READ_OFF_1,
    READ_OFF_2,
    READ_ZERO_1,
    READ_ZERO_2,
    S0,
    S1,
    S2,
    ZERO,
    Sequence,
    tripped,
    writes,
)

from oht50d.codec.rtu import encode_request
from oht50d.core.safety_config import StopConfig, StopStep
from oht50d.core.stop_frames import StopFrame, stop_items
from oht50d.core.stop_run import MotionFeedback
from oht50d.model.bus import (
    BusRequest,
    ExchangeResult,
    Failure,
    WriteRegisters,
)
from oht50d.model.motion import CauseCode, CommandOutcome, StopKind, StopPhase

# -- order


def test_nothing_is_sent_before_a_stop() -> None:
    stops = Sequence().stops
    stops.observe(MotionFeedback(0.0, START_NS, True), START_NS)
    stops.complete(StopFrame(OFF_1, StopStep.DRIVES_OFF, False), ExchangeResult(OFF_1, None, Failure.SILENT, 0, 0))
    stops.repeat(START_NS)
    assert (stops.next_frame(START_NS), stops.wakeup_ns(START_NS), stops.report, stops.kind) == (None, None, None, None)
    assert (stops.is_active, stops.is_judged, stops.abandon()) == (False, False, False)


def test_s0_disables_both_drives_then_brakes_then_reads_back() -> None:
    sequence = tripped(S0)
    assert sequence.run(30) == [*DRIVES_FIRST, READ_OFF_1, READ_OFF_2, READ_BRAKE]
    assert [encode_request(request)[:-2].hex() for request in sequence.sent] == [
        "04100001000306000000000000", "04100011000306000000000000", "030600310000",
        "040300010003", "040300110006", "030300310001",
    ]  # fmt: skip


def test_s1_zeroes_the_demand_and_keeps_enable_until_standstill() -> None:
    sequence = tripped(S1)
    assert sequence.run(300) == [*ZERO, READ_ZERO_1, READ_ZERO_2]
    sequence.come_to_rest()
    assert sequence.run(150) == [BRAKE_ON, OFF_1, OFF_2, READ_BRAKE, READ_OFF_1, READ_OFF_2]
    assert sequence.report.phase is StopPhase.STANDSTILL


def test_s2_holds_at_standstill_before_it_brakes() -> None:
    sequence = tripped(S2, CauseCode.JOG_RELEASED)
    sequence.come_to_rest()
    assert sequence.run(1900) == [*ZERO, READ_ZERO_1, READ_ZERO_2]
    assert sequence.stops.is_active
    assert sequence.run(400) == [BRAKE_ON, OFF_1, OFF_2, READ_BRAKE, READ_OFF_1, READ_OFF_2]
    assert sequence.report.outcome is CommandOutcome.VERIFIED


@pytest.mark.parametrize("is_creeping", [False, True], ids=["velocity", "outputs"])
def test_what_moves_again_during_the_hold_gets_s0(is_creeping: bool) -> None:
    """A monitored standstill is monitored until the brake is on."""
    sequence = tripped(S2, CauseCode.JOG_RELEASED)
    sequence.come_to_rest()
    sequence.run(600)
    assert sequence.report.standstill_ns is not None
    if is_creeping:
        sequence.are_still = False
    else:
        sequence.velocity_mm_s = 31.0
    sequence.run(30)
    assert sequence.report.kind is S0
    assert CauseCode.STOP_UNVERIFIED in {found.code for found in sequence.report.causes}


def test_the_order_is_site_data() -> None:
    sequence = Sequence(StopConfig(s0_steps=(StopStep.BRAKE_ON, StopStep.DRIVES_OFF)))
    sequence.trip(S0)
    assert sequence.run(15) == [BRAKE_ON, OFF_1, OFF_2]


def test_a_stop_is_never_a_stream_of_shrinking_setpoints() -> None:
    sequence = tripped(S1)
    sequence.run(1400)
    sent = writes(sequence.sent)
    assert sent
    assert {request.words for request in sent if isinstance(request, WriteRegisters)} == {(0, 0)}


def test_waiting_steps_send_nothing() -> None:
    assert stop_items(StopStep.AWAIT_STANDSTILL, shipped_actuators()) == []
    assert stop_items(StopStep.HOLD, shipped_actuators()) == []


# -- silent and lying modules


@pytest.mark.parametrize("kind", [S0, S1, S2])
def test_a_silent_drive_gets_one_attempt_per_step_until_everything_was_tried(kind: StopKind) -> None:
    sequence = tripped(kind)
    sequence.silent.add(TRAVEL)
    expected = DRIVES_FIRST if kind is S0 else ZERO
    assert sequence.run(75)[: len(expected)] == expected


def test_s0_reaches_the_brake_before_it_repeats_a_silent_drive() -> None:
    sequence = tripped(S0)
    sequence.silent.add(TRAVEL)
    sent = sequence.run(400)
    assert sent[:3] == DRIVES_FIRST
    assert sent.count(OFF_1) > 2
    assert READ_BRAKE in sent


def test_what_reads_back_wrong_is_written_again() -> None:
    sequence = tripped(S0)
    sequence.wrong.add(READ_OFF_1)
    sent = sequence.run(250)
    assert sent.count(OFF_1) == sent.count(READ_OFF_1) > 1
    assert (sent.count(OFF_2), sequence.report.output_zero_ns) == (1, None)
    sequence.wrong.clear()
    sequence.run(100)
    assert sequence.report.output_zero_ns is not None


@pytest.mark.parametrize("refused", [OFF_1, READ_OFF_1])
def test_a_refused_frame_is_not_taken_for_done(refused: BusRequest) -> None:
    sequence = tripped(S0)
    sequence.refused.add(refused)
    sequence.run(250)
    assert sequence.sent.count(refused) > 1
    assert sequence.report.output_zero_ns is None


def test_repeats_slow_down_but_never_end() -> None:
    sequence = tripped(S0)
    sequence.silent |= {TRAVEL, SAFETY}
    at_ns: list[int] = []
    while sequence.now_ns < START_NS + 10 * S:
        before_ns = sequence.now_ns
        if sequence.exchange() == OFF_1:
            at_ns.append(before_ns)
        sequence.observe()
    gaps_ms = [(later - earlier) / MS for earlier, later in itertools.pairwise(at_ns)]
    assert 40 <= gaps_ms[0] <= 140
    assert gaps_ms[-1] < 800
    assert at_ns[-1] > START_NS + 9 * S


def test_the_wakeup_is_the_next_repeat() -> None:
    sequence = tripped(S0)
    sequence.silent |= {TRAVEL, SAFETY}
    assert sequence.stops.wakeup_ns(sequence.now_ns) is None, "a frame is due at once"
    while sequence.exchange() is not None:
        pass
    wakeup_ns = sequence.stops.wakeup_ns(sequence.now_ns)
    assert wakeup_ns is not None
    sequence.now_ns = wakeup_ns
    assert sequence.exchange() is not None


def test_the_wakeup_of_a_hold_is_its_end() -> None:
    sequence = tripped(S2)
    sequence.come_to_rest()
    sequence.run(500)
    standstill_ns = sequence.report.standstill_ns
    wakeup_ns = sequence.stops.wakeup_ns(sequence.now_ns)
    assert wakeup_ns is not None
    assert standstill_ns is not None
    assert 2000 <= (wakeup_ns - standstill_ns) / MS <= 2150


# -- read-back in time


def test_a_stop_that_is_not_read_back_within_300_ms_becomes_s0_and_unverified() -> None:
    sequence = tripped(S1)
    sequence.silent.add(TRAVEL)
    sequence.run(290)
    assert sequence.stops.kind is S1
    sent = sequence.run(60)
    assert sequence.stops.kind is S0
    assert codes(sequence.report.causes) == {"stop_unverified", "operator_stop"}
    assert BRAKE_ON in sent, "the brake does not wait for drives that are known to be silent"
    assert OFF_1 not in sent[: sent.index(BRAKE_ON)]
    assert OFF_1 in sequence.run(400)
    assert sequence.report.unconfirmed_units == (TRAVEL,)


def test_an_unverified_s0_says_not_confirmed_and_names_its_units() -> None:
    sequence = tripped(S0, CauseCode.CHAIN_OPEN)
    sequence.silent.add(SAFETY)
    sequence.run(400)
    assert sequence.report.phase is StopPhase.NOT_CONFIRMED
    assert codes(sequence.report.causes) == {"chain_open", "stop_unverified"}
    unverified = next(found for found in sequence.report.causes if found.code is CauseCode.STOP_UNVERIFIED)
    assert "0x03" in unverified.detail
    assert "0x04" not in unverified.detail


def test_a_stop_whose_frames_cannot_go_out_at_all_is_unverified_too() -> None:
    sequence = tripped(S1)
    for _ in range(70):
        sequence.now_ns += 5 * MS
        sequence.observe()
    assert sequence.report.first_frame_ns is None
    assert "stop_unverified" in codes(sequence.report.causes)


def test_each_further_alarm_is_told_once() -> None:
    sequence = tripped(S0)
    sequence.silent |= {TRAVEL, SAFETY}
    sequence.run(4000)
    told = sorted(found.code.value for found in sequence.report.causes)
    assert told == ["operator_stop", "stop_late", "stop_unverified"]


def test_phases_sending_stopping_standstill() -> None:
    sequence = tripped(S1)
    assert (sequence.report.phase, sequence.report.outcome) == (StopPhase.SENDING, CommandOutcome.SENT)
    sequence.run(30)
    assert (sequence.report.phase, sequence.report.outcome) == (StopPhase.STOPPING, CommandOutcome.ACKNOWLEDGED)
    sequence.come_to_rest()
    sequence.run(300)
    assert (sequence.report.phase, sequence.report.unconfirmed_units) == (StopPhase.STANDSTILL, ())


def test_output_zero_needs_every_drive() -> None:
    sequence = tripped(S1)
    sequence.wrong.add(READ_ZERO_2)
    sequence.run(100)
    assert sequence.report.output_zero_ns is None
    assert sequence.report.phase is StopPhase.SENDING


def test_not_confirmed_after_500_ms_without_output_zero() -> None:
    sequence = Sequence()
    sequence.stops.secure_opening((cause(CauseCode.BOOT),), sequence.now_ns)
    sequence.silent.add(TRAVEL)
    sequence.run(490)
    assert sequence.report.phase is StopPhase.SENDING
    sequence.run(60)
    assert (sequence.report.phase, sequence.report.outcome) == (StopPhase.NOT_CONFIRMED, CommandOutcome.UNKNOWN)
