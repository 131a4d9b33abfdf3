"""The limit on open files is raised at the start, within what is allowed."""

import resource

import pytest

from oht50d.app.open_files import raise_file_limit

ENDLESS = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "expected"),
    [(256, 512, 512), (256, 5000, 4096), (256, ENDLESS, 4096), (4500, 5000, 4500), (512, 512, 512), (ENDLESS,) * 3],
)
def test_the_limit_is_raised_to_the_hard_one_within_reason(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, expected: int
) -> None:
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, wanted: limits.append(wanted))
    assert raise_file_limit() == expected
    assert limits[-1] == (expected, hard)


def test_a_limit_that_may_not_be_raised_does_not_end_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_kind: int, _wanted: tuple[int, int]) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (256, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert raise_file_limit() == 256
