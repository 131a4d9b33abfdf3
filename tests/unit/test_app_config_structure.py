"""Strict structuring: exact types, no unknown key, a path for every problem."""

import enum
import tomllib
from pathlib import Path

import pytest
from attrs import field, frozen, validators

from oht50d.app.config_structure import StructureError, structure
from oht50d.model.units import Duration, SettingClash


class Shape(enum.Enum):
    ROUND = "round"
    FLAT = "flat"


class Mode(enum.IntEnum):
    ON_OFF = 1
    LINEAR = 2


def _at_most_one_second(_: object, attribute: object, duration: Duration) -> None:
    if duration.ns > 1_000_000_000:
        raise ValueError("must be at most one second")


@frozen(kw_only=True)
class Inner:
    pause: Duration = field(default=Duration(5), validator=_at_most_one_second)
    limit: int = field(default=3, validator=[validators.ge(1), validators.le(9)])


@frozen(kw_only=True)
class Outer:
    name: str = "x"
    ratio: float = 0.5
    is_on: bool = False
    count: int = 1
    maybe: int | None = None
    shape: Shape = Shape.ROUND
    mode: Mode = Mode.LINEAR
    home: Path = Path("/")
    shapes: tuple[Shape, ...] = ()
    inner: Inner = field(factory=Inner)
    inners: tuple[Inner, ...] = ()
    low: int = 1
    high: int = 2
    top: int = 100

    def __attrs_post_init__(self) -> None:
        if self.inner.limit >= self.top:
            raise SettingClash("inner.limit", f"below top {self.top}", self.inner.limit)
        if self.low >= self.high:
            raise ValueError("low and high must ascend")


def test_every_kind_of_setting_is_read() -> None:
    text = """
        name = "y"
        ratio = 2
        is_on = true
        count = 7
        maybe = 4
        shape = "flat"
        mode = 1
        home = "/srv"
        shapes = ["flat", "round"]
        inner = { pause = "25ms" }
        inners = [{ limit = 1 }, { limit = 9 }]
    """
    read = structure(tomllib.loads(text), Outer)
    assert type(read.mode) is Mode
    assert type(read.ratio) is float
    assert read == Outer(
        name="y",
        ratio=2.0,
        is_on=True,
        count=7,
        maybe=4,
        shape=Shape.FLAT,
        mode=Mode.ON_OFF,
        home=Path("/srv"),
        shapes=(Shape.FLAT, Shape.ROUND),
        inner=Inner(pause=Duration(25_000_000)),
        inners=(Inner(limit=1), Inner(limit=9)),
    )


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("count = true", ("count",), "a whole number"),
        ('count = "3"', ("count",), "a whole number"),
        ("count = 3.0", ("count",), "a whole number"),
        ("is_on = 1", ("is_on",), "true or false"),
        ("name = 3", ("name",), "a text"),
        ("ratio = true", ("ratio",), "a finite number"),
        ("ratio = nan", ("ratio",), "a finite number"),
        ("ratio = inf", ("ratio",), "a finite number"),
        ('maybe = "4"', ("maybe",), "a whole number"),
        ('shape = "oval"', ("shape",), "one of 'round', 'flat'"),
        ("mode = true", ("mode",), "one of 1, 2"),
        ('home = ""', ("home",), "a path"),
        ('shapes = "flat"', ("shapes",), "a list"),
        ('shapes = ["flat", "oval"]', ("shapes", 1), "one of 'round', 'flat'"),
        ("inner = 3", ("inner",), "a table"),
        ("inner = { pause = 25 }", ("inner", "pause"), 'a duration with a unit, such as "200ms"'),
        ('inner = { pause = "25" }', ("inner", "pause"), 'a duration with a unit, such as "200ms", "2s" or "1h"'),
        ('inner = { pause = "0ms" }', ("inner", "pause"), "a duration longer than zero"),
        ("inners = [{}, { limit = true }]", ("inners", 1, "limit"), "a whole number"),
    ],
)
def test_a_wrong_type_is_told_with_its_path(text: str, path: tuple[object, ...], expected: str) -> None:
    with pytest.raises(StructureError) as caught:
        structure(tomllib.loads(text), Outer)
    assert caught.value.problem.path == path
    assert caught.value.problem.expected == expected
    assert caught.value.problem.found


@pytest.mark.parametrize(
    ("text", "path", "expected", "found"),
    [
        ('inner = { pause = "2s" }', ("inner", "pause"), "at most one second", "'2s' (a text)"),
        ("inner = { limit = 10 }", ("inner", "limit"), "<= 9", "10 (a whole number)"),
        ("inners = [{ limit = 0 }]", ("inners", 0, "limit"), ">= 1", "0 (a whole number)"),
        ("top = 3", ("inner", "limit"), "below top 3", "3"),
    ],
)
def test_a_value_out_of_its_range_is_told_with_its_path(
    text: str, path: tuple[object, ...], expected: str, found: str
) -> None:
    with pytest.raises(StructureError) as caught:
        structure(tomllib.loads(text), Outer)
    problem = caught.value.problem
    assert (problem.path, problem.expected, problem.found) == (path, expected, found)


def test_settings_that_do_not_fit_together_are_told() -> None:
    with pytest.raises(StructureError) as caught:
        structure({"low": 5}, Outer)
    assert caught.value.problem.path == ()
    assert "low and high must ascend" in caught.value.problem.why


def test_an_unknown_key_is_told_with_the_nearest_known_one() -> None:
    with pytest.raises(StructureError) as caught:
        structure({"inner": {"limt": 3}}, Outer)
    problem = caught.value.problem
    assert (problem.path, problem.why, problem.nearest) == (("inner", "limt"), "unknown key", "inner.limit")


def test_a_key_like_nothing_known_gets_no_suggestion() -> None:
    with pytest.raises(StructureError) as caught:
        structure({"zzzz": 3}, Outer)
    assert caught.value.problem.nearest is None
    assert "count" in (caught.value.problem.expected or "")
