"""The safe-stop program on a link that fails while it sends."""

from collections import Counter

import pytest

from oht50d.app import safe_stop
from oht50d.app.config import load_config
from oht50d.app.exit_codes import ExitCode
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
