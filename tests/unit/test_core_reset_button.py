"""The physical reset button acts on the release of a one-second hold."""

import pytest
from core_fixtures import MS, S

from oht50d.core.reset_button import MAXIMUM_HOLD_NS, HoldButton, Press

Moments = list[tuple[int, bool | None]]


def acts(moments: Moments) -> list[int]:
    """Milliseconds at which the button acted."""
    button = HoldButton(S)
    return [ms for ms, level in moments if button.observe(level, 5 * S + ms * MS, 5 * S + ms * MS, 7) == Press("", 7)]


def refusals(moments: Moments) -> list[str]:
    """Why presses did not count."""
    button = HoldButton(S)
    ended = [button.observe(level, 5 * S + ms * MS, 5 * S + ms * MS, 0) for ms, level in moments]
    return [press.refusal for press in ended if press is not None and press.refusal]


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ([(0, False), (10, True), (1010, True), (1020, False)], [1020]),
        ([(0, False), (10, True), (1010, False)], []),
        ([(0, False), (10, True), (1009, True), (1020, False)], []),
        ([(0, False), (10, True), (5000, True)], []),
        ([(0, True), (2000, False)], []),
        ([(0, True), (2000, False), (2010, True), (3010, True), (3020, False)], [3020]),
        ([(0, False), (10, True), (500, None), (1500, False)], []),
        ([(0, False), (10, True), (500, None), (510, True), (2500, False)], []),
        ([(0, False), (10, True), (9000, True), (MAXIMUM_HOLD_NS // MS + 10, False)], [MAXIMUM_HOLD_NS // MS + 10]),
        ([(0, False), (10, True), (9000, True), (MAXIMUM_HOLD_NS // MS + 11, False)], []),
        ([(0, False), (10, True), (1010, True), (1015, False), (1020, False), (1030, False)], [1015]),
    ],
    ids=[
        "a hold of a second", "released by then, when is not known", "a millisecond too short", "never let go",
        "down since the start", "down since the start, then a real hold", "unknown in between",
        "pressed again after unknown", "ten seconds", "stuck", "acts once",
    ],
)  # fmt: skip
def test_button(moments: Moments, expected: list[int]) -> None:
    assert acts(moments) == expected


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ([(0, False), (10, True), (610, True), (620, False)], "seen pressed for 0.6 s, hold it for 1 s"),
        ([(0, False), (10, True), (500, None), (510, None), (1500, False)], "was not heard while"),
        ([(0, False), (10, True), (12_010, True), (12_020, False)], "pressed for 12 s, as if it were stuck"),
    ],
    ids=["too short", "unknown in between", "stuck"],
)
def test_a_press_that_does_not_count_says_why_once(moments: Moments, expected: str) -> None:
    told = refusals(moments)
    assert len(told) == 1
    assert expected in told[0]


@pytest.mark.parametrize("moments", [[(0, True), (2000, False)], [(0, None), (10, True), (20, None)]])
def test_a_level_that_was_never_released_is_no_press(moments: Moments) -> None:
    assert refusals(moments) == []


def test_a_trip_during_the_hold_makes_the_press_void() -> None:
    button = HoldButton(S)
    levels = [(0, False, 3), (10, True, 3), (1010, True, 4), (1020, False, 4)]
    ended = [button.observe(level, 5 * S + ms * MS, 5 * S + ms * MS, trips) for ms, level, trips in levels]
    assert ended[:3] == [None] * 3
    assert ended[3] == Press("the robot was stopped again while the reset button was held", 3)
