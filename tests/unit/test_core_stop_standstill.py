"""The stop sequences: standstill, escalation, a fresh opening, repeats, abandoning."""

import pytest
from core_fixtures import MS, SAFETY, START_NS, TRAVEL, cause, codes
from stop_bench import DRIVES_FIRST, READ_BRAKE, READ_OFF_1, READ_OFF_2, S0, S1, S2, Sequence, tripped, writes

from oht50d.model.bus import (
    ExchangeResult,
    Failure,
    ReadReply,
    WriteReply,
)
from oht50d.model.motion import CauseCode, StopKind, StopPhase

# -- standstill


def test_times_of_a_good_stop() -> None:
    sequence = tripped(S1)
    sequence.run(400)
    rest_ns = sequence.now_ns
    sequence.come_to_rest()
    sequence.run(200)
    report = sequence.report
    assert report.detected_ns == START_NS
    assert report.first_frame_ns == START_NS
    assert report.output_zero_ns == START_NS + 20 * MS
    assert report.standstill_ns is not None
    assert rest_ns <= report.standstill_ns <= rest_ns + 10 * MS, "when stillness began, not when it had lasted"
    assert report.predicted_ms == 250.0


def test_standstill_counts_only_what_was_asked_for_after_the_first_frame() -> None:
    sequence = tripped(S1)
    sequence.come_to_rest()
    before_ns = sequence.now_ns - MS
    for _ in range(60):
        sequence.exchange()
        sequence.observe(requested_ns=before_ns)
    assert sequence.report.standstill_ns is None


def test_one_still_reading_is_not_a_standstill_however_long_it_is_looked_at() -> None:
    sequence = tripped(S1)
    sequence.come_to_rest()
    sequence.run(20)
    asked_ns = sequence.now_ns
    for _ in range(40):
        sequence.now_ns += 5 * MS
        sequence.observe(requested_ns=asked_ns)
    assert sequence.report.standstill_ns is None
    sequence.observe(requested_ns=asked_ns + 50 * MS)
    assert sequence.report.standstill_ns is None
    sequence.observe(requested_ns=asked_ns + 100 * MS)
    assert sequence.report.standstill_ns is not None


@pytest.mark.parametrize(
    ("velocity_mm_s", "are_still", "is_standstill"),
    [
        (10.0, True, True), (-10.0, True, True), (10.1, True, False), (-10.1, True, False), (None, True, False),
        (0.0, False, False), (0.0, None, False),
    ],
)  # fmt: skip
def test_what_standstill_is(velocity_mm_s: float | None, are_still: bool | None, is_standstill: bool) -> None:
    sequence = tripped(S1)
    sequence.velocity_mm_s, sequence.are_still = velocity_mm_s, are_still
    sequence.run(400)
    assert (sequence.report.standstill_ns is not None) is is_standstill


def test_a_twitch_starts_the_stillness_anew() -> None:
    sequence = tripped(S1)
    sequence.come_to_rest()
    sequence.run(80)
    sequence.velocity_mm_s = 40.0
    sequence.run(10)
    sequence.come_to_rest()
    sequence.run(80)
    assert sequence.report.standstill_ns is None
    sequence.run(60)
    assert sequence.report.standstill_ns is not None


@pytest.mark.parametrize("kind", [S1, S2])
def test_standstill_that_comes_too_late_becomes_s0_and_not_confirmed(kind: StopKind) -> None:
    sequence = tripped(kind)
    sequence.run(1490)
    assert (sequence.stops.kind, sequence.report.phase) == (kind, StopPhase.STOPPING)
    sent = sequence.run(60)
    assert sequence.stops.kind is S0
    assert "stop_late" in codes(sequence.report.causes)
    assert (sequence.report.phase, sequence.report.detected_ns) == (StopPhase.NOT_CONFIRMED, START_NS)
    assert sent[:3] == DRIVES_FIRST


def test_an_s0_without_standstill_goes_on_and_says_so() -> None:
    sequence = tripped(S0)
    sequence.run(1600)
    assert "stop_late" in codes(sequence.report.causes)
    assert sequence.stops.is_active
    sequence.come_to_rest()
    sequence.run(200)
    assert (sequence.stops.is_active, sequence.report.phase) == (False, StopPhase.STANDSTILL)


# -- escalation


def test_escalation_keeps_number_detection_and_causes() -> None:
    sequence = tripped(S2, CauseCode.JOG_RELEASED)
    sequence.run(50)
    sequence.trip(S1, CauseCode.ZONE_STOP)
    sequence.run(50)
    sequence.trip(S0, CauseCode.CHAIN_OPEN)
    report = sequence.report
    assert (report.number, report.kind, report.detected_ns, report.first_frame_ns) == (1, S0, START_NS, START_NS)
    assert codes(report.causes) == {"jog_released", "zone_stop", "chain_open"}
    assert sequence.run(15) == DRIVES_FIRST


def test_a_milder_or_equal_stop_changes_nothing() -> None:
    sequence = tripped(S1)
    sequence.run(50)
    before = sequence.report
    sequence.trip(S2, CauseCode.JOG_RELEASED)
    sequence.trip(S1, CauseCode.ZONE_STOP)
    assert sequence.report == before
    assert writes(sequence.run(50)) == []


def test_not_confirmed_survives_escalation() -> None:
    sequence = tripped(S1)
    sequence.run(1600)
    assert sequence.report.phase is StopPhase.NOT_CONFIRMED
    sequence.trip(S0, CauseCode.CHAIN_OPEN)
    assert sequence.report.phase is StopPhase.NOT_CONFIRMED


def test_a_frame_on_its_way_while_the_stop_escalates_is_its_first_frame_but_verifies_nothing() -> None:
    sequence = tripped(S1)
    frame = sequence.stops.next_frame(sequence.now_ns)
    assert frame is not None
    sequence.trip(S0, CauseCode.CHAIN_OPEN)
    sequence.finish(frame, WriteReply(TRAVEL, 0x02, 2, None))
    assert sequence.report.first_frame_ns == START_NS
    assert sequence.run(15) == DRIVES_FIRST


def test_a_frame_of_the_stop_before_is_no_frame_of_the_new_one() -> None:
    sequence = tripped(S2)
    frame = sequence.stops.next_frame(sequence.now_ns)
    assert frame is not None
    sequence.come_to_rest()
    sequence.run(300)
    assert sequence.stops.abandon()
    old_ns = sequence.now_ns
    sequence.now_ns += 10 * MS
    sequence.trip(S1)
    sequence.stops.complete(frame, ExchangeResult(frame.request, None, Failure.SILENT, old_ns, sequence.now_ns))
    assert sequence.report.first_frame_ns is None


def test_the_next_stop_after_a_finished_one_is_a_new_one() -> None:
    sequence = tripped(S0)
    sequence.come_to_rest()
    sequence.run(300)
    sequence.trip(S1)
    assert (sequence.report.number, sequence.report.kind, sequence.report.standstill_ns) == (2, S1, None)


# -- a fresh opening, repeats, abandoning


def test_the_stop_of_an_opening_waits_for_modules_without_an_alarm() -> None:
    sequence = Sequence()
    sequence.silent |= {TRAVEL, SAFETY}
    sequence.velocity_mm_s = None
    sequence.stops.secure_opening((cause(CauseCode.BOOT),), sequence.now_ns)
    assert (sequence.stops.is_active, sequence.stops.is_judged, sequence.stops.kind) == (True, False, S0)
    sequence.run(3000)
    assert codes(sequence.report.causes) == {"boot"}
    sequence.silent.clear()
    sequence.come_to_rest()
    sequence.run(1500)
    assert sequence.report.phase is StopPhase.STANDSTILL


def test_opening_again_and_again_without_modules_raises_no_alarm() -> None:
    sequence = Sequence()
    sequence.silent |= {TRAVEL, SAFETY}
    for _ in range(5):
        sequence.stops.secure_opening((cause(CauseCode.BUS_LOST),), sequence.now_ns)
        assert sequence.run(200)[:3] == DRIVES_FIRST
    assert (sequence.report.number, sequence.stops.is_judged) == (1, False)
    assert codes(sequence.report.causes) == {"bus_lost"}


def test_a_real_stop_during_the_opening_is_judged_from_then_on() -> None:
    sequence = Sequence()
    sequence.silent |= {TRAVEL, SAFETY}
    sequence.stops.secure_opening((cause(CauseCode.BOOT),), sequence.now_ns)
    sequence.run(1000)
    sequence.trip(S1)
    assert sequence.stops.is_judged
    assert codes(sequence.report.causes) == {"boot", "operator_stop"}
    sequence.run(250)
    assert "stop_unverified" not in codes(sequence.report.causes)
    sequence.run(150)
    assert "stop_unverified" in codes(sequence.report.causes)


def test_an_opening_under_a_stop_makes_it_s0_and_sends_everything_again() -> None:
    sequence = tripped(S1, CauseCode.BUS_LOST)
    sequence.run(100)
    sequence.stops.secure_opening((cause(CauseCode.BUS_LOST, sequence.now_ns),), sequence.now_ns)
    assert (sequence.stops.kind, sequence.stops.is_judged, sequence.report.detected_ns) == (S0, True, START_NS)
    assert sequence.run(15) == DRIVES_FIRST


def test_opening_again_and_again_does_not_put_off_the_limits_of_a_stop() -> None:
    sequence = tripped(S0)
    sequence.silent |= {TRAVEL, SAFETY}
    for _ in range(20):
        sequence.run(100)
        sequence.stops.secure_opening((cause(CauseCode.BUS_LOST, sequence.now_ns),), sequence.now_ns)
    assert "stop_late" in codes(sequence.report.causes)


def test_a_repeat_after_standstill_sends_and_measures_again() -> None:
    sequence = tripped(S0)
    sequence.come_to_rest()
    sequence.run(300)
    first_ns = sequence.report.standstill_ns
    sequence.stops.repeat(sequence.now_ns)
    assert sequence.stops.is_active
    assert sequence.run(300)[:3] == DRIVES_FIRST
    assert sequence.report.phase is StopPhase.STANDSTILL
    assert first_ns is not None
    assert sequence.report.standstill_ns is not None
    assert sequence.report.standstill_ns > first_ns
    assert sequence.report.number == 1


def test_a_read_back_asked_for_before_a_repeat_proves_nothing_after_it() -> None:
    sequence = tripped(S0)
    sequence.run(15)
    frame = sequence.stops.next_frame(sequence.now_ns)
    assert frame is not None
    assert frame.is_read_back
    sequence.stops.repeat(sequence.now_ns)
    sequence.finish(frame, ReadReply(TRAVEL, (0, 0, 0)))
    assert sequence.report.unconfirmed_units == (SAFETY, TRAVEL)
    assert sequence.run(30) == [*DRIVES_FIRST, READ_OFF_1, READ_OFF_2, READ_BRAKE]


def test_an_s2_at_standstill_can_be_abandoned_for_a_new_press() -> None:
    sequence = tripped(S2)
    sequence.come_to_rest()
    sequence.run(300)
    assert sequence.stops.abandon()
    assert not sequence.stops.is_active
    assert (sequence.stops.next_frame(sequence.now_ns), sequence.stops.wakeup_ns(sequence.now_ns)) == (None, None)
    assert not sequence.stops.abandon()


@pytest.mark.parametrize("kind", [S0, S1])
def test_no_other_stop_can_be_abandoned(kind: StopKind) -> None:
    sequence = tripped(kind)
    sequence.come_to_rest()
    sequence.wrong.add(READ_BRAKE)
    sequence.run(300)
    assert not sequence.stops.abandon()
    assert sequence.stops.is_active


def test_an_s2_that_still_moves_cannot_be_abandoned() -> None:
    sequence = tripped(S2)
    sequence.run(300)
    assert not sequence.stops.abandon()
    assert sequence.stops.is_active
