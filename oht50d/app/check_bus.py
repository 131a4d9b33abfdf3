"""The part of `oht50d check` that looks at the field bus: where it is, how it is spoken to, if it opens (no state).

It opens what the daemon would open, sends nothing, and leaves it at once; beside a running daemon it opens nothing.
"""

from oht50d.app import preparation
from oht50d.app.check import ReportSection, Verdict
from oht50d.app.config import LoadedConfig
from oht50d.drivers.blocking_link import open_blocking
from oht50d.drivers.bus_config import BusConfig, Transport
from oht50d.drivers.bus_transport import has_numbered_replies, line_times
from oht50d.drivers.serial_settings import DirectionControl
from oht50d.model.errors import LinkError

_WRONG_SETTINGS = ("config", "permission")
"""Causes that will not go away by plugging something in."""


def report_bus(loaded: LoadedConfig) -> ReportSection:
    """A port that is not there is no warning: the daemon starts without it and waits for it.

    A server that is not there is one: nothing tells it from a host or port that was mistyped.
    """
    bus = loaded.config.bus
    lines = [f"{bus.transport.value} on {bus.place}", *_character(bus), *_replies(bus)]
    if preparation.find_holder(loaded.config.robot.state_dir) is not None:
        return ReportSection("Field bus", (*lines, "not tried: a daemon runs and has it"))
    trouble, verdict = _try(bus)
    return ReportSection("Field bus", (*lines, trouble), verdict)


def report_simulated_bus(loaded: LoadedConfig) -> ReportSection:
    """With `--simulate` there is nothing to open yet."""
    return ReportSection("Field bus", (f"the simulator's, scenario {loaded.config.robot.scenario}: not tried",))


def _character(bus: BusConfig) -> list[str]:
    serial = bus.serial
    words = f"{serial.baud} bit/s, 8{serial.parity.value[0].upper()}{serial.stop_bits}"
    if bus.transport.uses_tcp:
        return [f"{words} on the line behind the server"]
    if serial.direction is not DirectionControl.AUTO:
        words += f", RTS {serial.rts_while_sending.value} while sending"
    return [f"{words}, direction {serial.direction.value}"]


def _replies(bus: BusConfig) -> list[str]:
    silence_ns = line_times(bus).silence_ns
    kept = f"{silence_ns / 1e6:.2f} ms of silence between frames" if silence_ns else "no silence between frames"
    late = "known by their number" if has_numbered_replies(bus) else "kept apart by the fence"
    lines = [f"{kept}; late replies are {late}"]
    if bus.transport is not Transport.RTU:
        lines.append("one master only: nothing keeps another one away from a TCP server")
    return lines


def _try(bus: BusConfig) -> tuple[str, Verdict]:
    try:
        link = open_blocking(bus)
    except LinkError as problem:
        is_doubtful = bus.transport.uses_tcp or problem.cause in _WRONG_SETTINGS
        verdict = Verdict.WARNING if is_doubtful else Verdict.GOOD
        return f"{problem.cause}: {problem}. {problem.remedy}", verdict
    link.close()
    return f"opens; it is {link.device} now", Verdict.GOOD
