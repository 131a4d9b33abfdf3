"""The stop sequences frame by frame: order, repeats, time limits, standstill."""

import itertools
from collections.abc import Iterable

import pytest
from core_fixtures import BRAKE, CONFIG, MS, SAFETY, START_NS, TRAVEL, S, cause, codes, shipped_actuators

from oht50d.codec.rtu import encode_request
from oht50d.core.safety_config import StopConfig, StopStep
from oht50d.core.stop_frames import StopFrame, stop_items
from oht50d.core.stop_sequence import MotionFeedback, StopSequencer
from oht50d.model.bus import (
    BusReply,
    BusRequest,
    ExceptionReply,
    ExchangeResult,
    Failure,
    ReadRegisters,
    ReadReply,
    WriteRegister,
    WriteRegisters,
    WriteReply,
)
from oht50d.model.motion import CauseCode, CommandOutcome, StopKind, StopPhase, StopReport

S0, S1, S2 = StopKind.S0, StopKind.S1, StopKind.S2
ZERO_1, ZERO_2 = WriteRegisters(TRAVEL, 0x02, (0, 0)), WriteRegisters(TRAVEL, 0x12, (0, 0))
OFF_1, OFF_2 = WriteRegisters(TRAVEL, 0x01, (0, 0, 0)), WriteRegisters(TRAVEL, 0x11, (0, 0, 0))
BRAKE_ON = WriteRegister(SAFETY, BRAKE, 0)
READ_ZERO_1, READ_ZERO_2 = ReadRegisters(TRAVEL, 0x02, 2), ReadRegisters(TRAVEL, 0x12, 2)
READ_OFF_1, READ_OFF_2 = ReadRegisters(TRAVEL, 0x01, 3), ReadRegisters(TRAVEL, 0x11, 3)
READ_BRAKE = ReadRegisters(SAFETY, BRAKE, 1)
DRIVES_FIRST = [OFF_1, OFF_2, BRAKE_ON]
ZERO = [ZERO_1, ZERO_2]


class Sequence:
    """A sequencer, a clock and a world: `silent` units do not answer, `wrong` reads bring other words."""

    def __init__(self, config: StopConfig = CONFIG.stop) -> None:
        self.stops = StopSequencer(config, shipped_actuators(), predicted_ms=250.0)
        self.now_ns = START_NS
        self.silent: set[int] = set()
        self.wrong: set[BusRequest] = set()
        self.refused: set[BusRequest] = set()
        self.velocity_mm_s: float | None = 80.0
        self.are_still: bool | None = True
        self.sent: list[BusRequest] = []

    @property
    def report(self) -> StopReport:
        report = self.stops.report
        assert report is not None
        return report

    def trip(self, kind: StopKind, *found: CauseCode) -> None:
        causes = tuple(cause(code, self.now_ns) for code in found or (CauseCode.OPERATOR_STOP,))
        self.stops.trip(kind, causes, self.now_ns)

    def observe(self, *, requested_ns: int | None = None) -> None:
        asked_ns = self.now_ns - MS if requested_ns is None else requested_ns
        self.stops.observe(MotionFeedback(self.velocity_mm_s, asked_ns, self.are_still), self.now_ns)

    def answer(self, request: BusRequest) -> BusReply | None:
        if request.unit in self.silent:
            return None
        if request in self.refused:
            return ExceptionReply(request.unit, 16, 4)
        if isinstance(request, ReadRegisters):
            return ReadReply(request.unit, ((1,) if request in self.wrong else (0,)) * request.count)
        return WriteReply(request.unit, request.address, 1, 0)

    def exchange(self) -> BusRequest | None:
        """One frame with its outcome, or 5 ms without one."""
        frame = self.stops.next_frame(self.now_ns)
        if frame is None:
            self.now_ns += 5 * MS
            return None
        self.finish(frame, self.answer(frame.request))
        self.sent.append(frame.request)
        return frame.request

    def finish(self, frame: StopFrame, reply: BusReply | None, taking_ns: int | None = None) -> None:
        sent_ns = self.now_ns
        self.now_ns += taking_ns or (25 * MS if reply is None else 5 * MS)
        failure = Failure.SILENT if reply is None else None
        self.stops.complete(frame, ExchangeResult(frame.request, reply, failure, sent_ns, self.now_ns))

    def run(self, milliseconds: int) -> list[BusRequest]:
        """Serve and observe; what was sent."""
        first, ends_ns = len(self.sent), self.now_ns + milliseconds * MS
        while self.now_ns < ends_ns:
            self.exchange()
            self.observe()
        return self.sent[first:]

    def come_to_rest(self) -> None:
        self.velocity_mm_s = 0.0


def tripped(kind: StopKind, *found: CauseCode) -> Sequence:
    sequence = Sequence()
    sequence.trip(kind, *found)
    return sequence


def writes(requests: Iterable[BusRequest]) -> list[BusRequest]:
    return [request for request in requests if not isinstance(request, ReadRegisters)]


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
        "040300010003", "040300110003", "030300310001",
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
    sequence.run(60)
    assert sequence.stops.kind is S0
    assert codes(sequence.report.causes) == {"stop_unverified", "operator_stop"}
    assert sequence.report.unconfirmed_units == (SAFETY, TRAVEL)
    sent = sequence.run(400)
    assert BRAKE_ON in sent
    assert OFF_1 in sent


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
