"""The safe-stop program on a link that fails while it sends."""

from collections import Counter
from pathlib import Path

import pytest

from oht50d.app import safe_stop
from oht50d.app.config import load_config
from oht50d.app.exit_codes import ExitCode
from oht50d.app.listening import has_listened, mark_listening
from oht50d.app.paths import shipped_config_dir
from oht50d.model.errors import LinkLost


class Link:
    """A link whose first sends fail."""

    device = "memory"

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.frames: Counter[bytes] = Counter()
        self.is_closed = False

    def send(self, octets: bytes) -> None:
        self.frames[octets] += 1
        if self.frames.total() <= self.failures:
            raise LinkLost("the port takes nothing", cause="lost", remedy="plug it in")

    def receive(self) -> bytes:
        return b""

    def discard_input(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize(("failures", "code"), [(1, ExitCode.OK), (safe_stop.TRIES, ExitCode.IO), (99, ExitCode.IO)])
def test_an_error_of_the_port_keeps_no_frame_from_being_tried(
    monkeypatch: pytest.MonkeyPatch, failures: int, code: ExitCode
) -> None:
    link = Link(failures)
    monkeypatch.setattr(safe_stop, "_open", lambda _bus: link)
    monkeypatch.setattr(safe_stop, "_is_echoed", lambda _link, _framing, _frame: True)
    loaded = load_config(environ={}, default_file=shipped_config_dir() / "none.toml")
    assert safe_stop.main(loaded.config) == code
    assert len(link.frames) == 3, "two drives and the brake"
    assert link.is_closed


@pytest.mark.parametrize(("is_set", "is_marked", "frames"), [(True, True, 0), (True, False, 3), (False, True, 3)])
def test_only_a_run_that_listened_and_still_is_to_listen_gets_no_stop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_set: bool, is_marked: bool, frames: int
) -> None:
    """The setting may have been changed while a run was driving, the mark may be left from an older run."""
    link = Link(0)
    monkeypatch.setattr(safe_stop, "_open", lambda _bus: link)
    monkeypatch.setattr(safe_stop, "_is_echoed", lambda *_: True)
    mark_listening(tmp_path, is_listening=is_marked)
    assignments = [f"bus.listen_only={str(is_set).lower()}", f"robot.runtime_dir={tmp_path}"]
    loaded = load_config(environ={}, default_file=shipped_config_dir() / "none.toml", assignments=assignments)
    assert safe_stop.main(loaded.config) == ExitCode.OK
    assert len(link.frames) == frames


def test_the_next_run_takes_the_mark_away(tmp_path: Path) -> None:
    mark_listening(tmp_path, is_listening=True)
    assert has_listened(tmp_path)
    mark_listening(tmp_path, is_listening=False)
    assert not has_listened(tmp_path)


def test_a_mark_that_cannot_be_kept_ends_nothing_and_the_stop_is_sent(tmp_path: Path) -> None:
    mark_listening(tmp_path / "absent", is_listening=True)
    assert not has_listened(tmp_path / "absent")
