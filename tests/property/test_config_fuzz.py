"""Any TOML in any key is a configuration that everything can be reckoned from, or one ConfigError with its place."""

import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from oht50d.app.check import report_maps, report_notes, report_values, report_warnings
from oht50d.app.check_plan import report_plan
from oht50d.app.check_safety import report_motion, report_reaction
from oht50d.app.config import load_config, setting_names
from oht50d.app.config_sources import read_document
from oht50d.model.errors import ConfigError

pytestmark = pytest.mark.no_cover
"""Minutes of virtual time or thousands of cases: under the tracer they take six times as long."""

KEYS = [".".join(map(str, path)) for path in setting_names()]
SECTIONS = sorted({key.rpartition(".")[0] for key in KEYS} - {""})
REPORTS = (report_values, report_maps, report_notes, report_warnings, report_plan, report_reaction, report_motion)

_words = st.one_of(
    st.text(max_size=12).map(lambda text: '"' + "".join(f"\\U{ord(one):08X}" for one in text) + '"'),
    st.sampled_from(['"/dev/x"', '"INFO"', '"a.toml"', '"::"', '"*"', '"."', '"a/../b"', '"' + "x" * 300 + '"']),
)
_numbers = st.one_of(
    st.integers(-3, 200),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0, 1, 65535, 65536, 10**400, 1e-300]),
).map(str)
_spans = st.tuples(
    st.sampled_from(["0", "1", "20", "150", "0.5", "9" * 30]), st.sampled_from(["us", "ms", "s", "min", "h", "d"])
)
_others = st.sampled_from(
    ["true", "false", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "{}", "{ a = 1 }", "[[]]"]
)
_plain = st.one_of(_words, _numbers, _spans.map(lambda span: f'"{span[0]}{span[1]}"'), _others)
_values = st.one_of(_plain, st.lists(_plain, max_size=3).map(lambda items: "[" + ", ".join(items) + "]"))


def reports(file: Path) -> ConfigError | None:
    """Load it and make every table and sum of `check`; the refusal, as the command line tells it."""
    try:
        loaded = load_config(file, environ={})
    except ConfigError as problem:
        return problem
    try:
        for report in REPORTS:
            report(loaded)
    except ConfigError as problem:
        return loaded.located(problem)
    return None


def judge(text: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "x.toml"
        file.write_text(text, encoding="utf-8")
        problem = reports(file)
        if problem is not None:
            assert problem.file
            assert problem.line
            assert "\n" not in str(problem)


@settings(max_examples=600)
@example("safety.stop.assumed_deceleration_mm_s2", "1e-300")
@example("bus.maps", '["\\u0000"]')
@example("bus.maps", "[]")
@given(st.sampled_from(KEYS), _values)
def test_any_value_in_any_key(key: str, text: str) -> None:
    judge(f"schema_version = 1\n{key} = {text}\n")


@settings(max_examples=100)
@given(st.sampled_from([*SECTIONS, "schema_version", "no.such.thing", "web.prot"]), _values)
def test_any_value_instead_of_a_section(key: str, text: str) -> None:
    judge(f"{'' if key == 'schema_version' else 'schema_version = 1'}\n{key} = {text}\n")


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_any_octets_as_a_file(octets: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "x.toml"
        file.write_bytes(octets)
        with suppress(ConfigError):
            read_document(file)


@settings(max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(KEYS), _values), min_size=2, max_size=6, unique_by=lambda pair: pair[0]))
def test_any_values_in_several_keys(pairs: list[tuple[str, str]]) -> None:
    judge("schema_version = 1\n" + "".join(f"{key} = {text}\n" for key, text in pairs))
