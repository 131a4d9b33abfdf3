"""The sum: who gives way, when motion is refused, what is waited for; and how long it holds."""

import pytest
from attrs import evolve
from core_fixtures import CONFIG, MS, START_NS, TIMES, S, shipped_actuators, shipped_maps

from oht50d.core.admission import Load, admit
from oht50d.core.admission_watch import PATIENCE_NS, REVIEW_NS, AdmissionWatch, rounded_up
from oht50d.core.drive_line import refresh_ns
from oht50d.core.exchange_times import LineSpeed
from oht50d.core.poll_rates import VITAL, YIELDS
from oht50d.core.turnaround import NEEDED, WINDOW, Measured, Turnaround
from oht50d.core.unit_plan import plan_unit
from oht50d.core.wire_load import LoadMaker
from oht50d.model.registers import PollClass


def load(turnaround_ms: float, travel: str = "travel_motor", baud: int = 115_200) -> Load:
    actuators = shipped_actuators(travel)
    maps = shipped_maps(travel)
    blocks = tuple(b for m in maps for b in plan_unit(m, taken=actuators.read_lengths.get(m.address, set())).blocks)
    times = evolve(TIMES, speed=LineSpeed.of_baud(baud))
    refresh = refresh_ns(CONFIG, has_timeout=actuators.timeout_register is not None)
    measured = {module.address: Measured.always(round(turnaround_ms * MS)) for module in maps}
    return LoadMaker(actuators, CONFIG, times, refresh)(blocks, measured)


def test_at_one_millisecond_everything_fits_and_motion_is_allowed() -> None:
    for is_moving in (False, True):
        found = admit(load(1), is_moving=is_moving)
        assert (found.level, found.refusal, found.given_way) == (0, "", ())
        assert 0 < found.headroom < 0.2
        assert found.share == pytest.approx(1 - found.headroom)


def test_drives_that_are_written_to_make_imu_and_dock_give_way_first() -> None:
    found = admit(load(1, "travel_motor_timeout"), is_moving=True)
    assert found.given_way == ("imu: each 500ms", "dock: each 200ms")
    assert found.refusal == ""


def test_the_slower_the_modules_the_more_gives_way_and_vital_classes_never() -> None:
    levels = []
    for turnaround_ms in (1, 2, 3, 4, 6, 8):
        found = admit(load(turnaround_ms), is_moving=True)
        levels.append(found.level)
        assert {found.periods[poll] for poll in VITAL} == {50 * MS}
        assert found.refusal == ""
    assert levels == sorted(levels)
    assert (levels[0], levels[-1]) == (0, len(YIELDS))


@pytest.mark.parametrize("turnaround_ms", [12, 16, 30])
def test_a_bus_that_leaves_no_room_for_one_lost_reply_refuses_motion_with_its_sum(turnaround_ms: int) -> None:
    found = admit(load(turnaround_ms), is_moving=True)
    assert "is read every" in found.refusal
    for words in ("one round of vital reads", "a motion write", "one other exchange", "within 150.0 ms"):
        assert words in found.refusal
    assert any(not gap.is_kept for gap in found.gaps)


def test_a_slow_line_is_refused_too() -> None:
    assert admit(load(1, baud=9600), is_moving=True).refusal


@pytest.mark.parametrize("turnaround_ms", [1, 3, 8])
def test_what_is_waited_for_leaves_room_to_ask_again(turnaround_ms: int) -> None:
    case = load(turnaround_ms)
    for gap in admit(case, is_moving=True).gaps:
        taken_ns = case.speed.read_ns(gap.block.count, 0)
        assert gap.gap_ns + gap.wait_ns + gap.retry_ns - taken_ns <= case.loss_ns
        assert gap.needed_wait_ns <= gap.wait_ns


def test_drives_that_would_hear_too_late_refuse_motion() -> None:
    case = evolve(load(1, "travel_motor_timeout"), drive_timeout_ns=100 * MS)
    assert "its own time-out is 100.0 ms" in admit(case, is_moving=True).refusal


def test_at_rest_the_inputs_keep_their_rate() -> None:
    found = admit(load(16), is_moving=False)
    assert found.level == len(YIELDS)
    assert found.periods[PollClass.INPUTS] == 200 * MS


def test_of_a_round_one_reply_is_slow_and_not_all() -> None:
    usual = admit(load(1), is_moving=True)
    case = load(1)
    late = evolve(case, turnarounds={unit: Measured(MS, 6 * MS) for unit in case.turnarounds})
    found = admit(late, is_moving=True)
    assert found.refusal == ""
    assert found.level == 0, "the shares take what nine of ten replies keep"
    bare = [max(gap.gap_ns for gap in sums.gaps) - sums.writes_per_round * case.write_ns for sums in (usual, found)]
    assert 0 <= bare[1] - bare[0] <= 10 * MS, "one of the round, and the other exchange"
    assert found.gaps[0].needed_wait_ns == usual.gaps[0].needed_wait_ns + 5 * MS


# -- over time


class Watched:
    """A watch over modules whose turnaround is moved."""

    def __init__(self) -> None:
        self.turnaround_ms = 1.0
        self.watch = AdmissionWatch(lambda: load(self.turnaround_ms))
        self.now_ns = START_NS

    def pass_time(self, span_ns: int) -> None:
        ends_ns = self.now_ns + span_ns
        while self.now_ns < ends_ns:
            self.now_ns += REVIEW_NS
            self.watch.review(self.now_ns)


def test_worse_counts_at_once_and_better_after_a_while() -> None:
    watched = Watched()
    watched.pass_time(S)
    watched.turnaround_ms = 16
    watched.pass_time(REVIEW_NS)
    assert watched.watch.moving.refusal
    watched.turnaround_ms = 1
    watched.pass_time(PATIENCE_NS - S)
    assert watched.watch.moving.refusal
    assert watched.watch.rest.level == len(YIELDS)
    watched.pass_time(2 * S)
    assert (watched.watch.moving.refusal, watched.watch.rest.level) == ("", 0)


def test_who_becomes_slow_again_in_between_starts_the_while_anew() -> None:
    watched = Watched()
    for _ in range(4):
        watched.turnaround_ms = 16
        watched.pass_time(REVIEW_NS)
        watched.turnaround_ms = 1
        watched.pass_time(PATIENCE_NS - S)
        assert watched.watch.moving.refusal


# -- what it rests on


def test_nothing_is_known_of_a_module_before_enough_replies_and_two_slow_ones_do_not_show() -> None:
    turnaround = Turnaround()
    for _ in range(NEEDED - 1):
        turnaround.add(MS, START_NS)
    assert turnaround.p99_ns is None
    for _ in range(WINDOW):
        turnaround.add(MS, START_NS)
    for _ in range(2):
        turnaround.add(30 * MS, START_NS)
    assert turnaround.p99_ns == MS
    for _ in range(8):
        turnaround.add(30 * MS, START_NS)
    assert turnaround.p99_ns == 30 * MS
    turnaround.forget()
    assert turnaround.p99_ns is None


def test_a_slow_time_is_forgotten_after_a_minute_however_rarely_a_module_is_asked() -> None:
    turnaround = Turnaround()
    for count in range(WINDOW):
        turnaround.add(16 * MS, START_NS + count * 50 * MS)
    turnaround.add(MS, START_NS + 11 * S)
    assert turnaround.p99_ns == 16 * MS
    for count in range(NEEDED):
        turnaround.add(MS, START_NS + (20 + 4 * count) * S)
    assert turnaround.p99_ns == MS, "twenty replies, four seconds apart"


def test_a_figure_is_rounded_up_never_down() -> None:
    assert rounded_up(Measured(0, 1)) == Measured(0, 250_000)
    assert rounded_up(Measured(250_000, 250_001)) == Measured(250_000, 500_000)
