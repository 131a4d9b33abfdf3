"""The safe-stop program on a port that fails while it sends."""

import termios
from collections import Counter
from typing import cast

import pytest
import serial

from oht50d.app import safe_stop
from oht50d.app.config import load_config
from oht50d.app.exit_codes import ExitCode
from oht50d.app.paths import shipped_config_dir


class Port:
    """A port whose first writes fail."""

    def __init__(self, problem: Exception, failures: int) -> None:
        self.problem, self.failures = problem, failures
        self.frames: Counter[bytes] = Counter()

    def __enter__(self) -> "Port":
        return self

    def __exit__(self, *_problem: object) -> None:
        pass

    def reset_input_buffer(self) -> None:
        pass

    def write(self, octets: bytes) -> None:
        self.frames[octets] += 1
        if self.frames.total() <= self.failures:
            raise self.problem


@pytest.mark.parametrize(
    "problem", [serial.SerialTimeoutException("write timeout"), OSError(5, "I/O error"), termios.error(5, "I/O error")]
)
@pytest.mark.parametrize(("failures", "code"), [(1, ExitCode.OK), (safe_stop.TRIES, ExitCode.IO), (99, ExitCode.IO)])
def test_an_error_of_the_port_keeps_no_frame_from_being_tried(
    monkeypatch: pytest.MonkeyPatch, problem: Exception, failures: int, code: ExitCode
) -> None:
    port = Port(problem, failures)
    monkeypatch.setattr(safe_stop, "_open", lambda _name, _baud: cast(serial.Serial, port))
    monkeypatch.setattr(safe_stop, "_is_echoed", lambda _port, _frame: True)
    loaded = load_config(environ={}, default_file=shipped_config_dir() / "none.toml")
    assert safe_stop.main(loaded.config) == code
    assert len(port.frames) == 3, "two drives and the brake"
