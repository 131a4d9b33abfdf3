"""The safe-stop program: opens the bus and sends S0 (run by the service manager after every end of the daemon).

It is short, has no tasks and no state, and tries for a bounded time: the daemon may still hold the port for a moment.
"""

import sys
import time

from oht50d.app.config import Config
from oht50d.app.exit_codes import ExitCode
from oht50d.app.listening import has_listened
from oht50d.app.rooms import load_maps, released_word
from oht50d.codec.framing import Framing
from oht50d.core.actuators import find_actuators
from oht50d.drivers.blocking_link import BlockingLink, open_blocking
from oht50d.drivers.bus_config import BusConfig
from oht50d.drivers.bus_transport import framing_of, line_times
from oht50d.model.bus import BusRequest
from oht50d.model.errors import LinkError, LinkLost, RemoteProtocolError

TRIES = 3
OPEN_LIMIT_S = 5.0
REPLY_LIMIT_S = 0.05
QUIET_S = 0.002


def main(config: Config) -> int:
    """S0 to every drive and the brake; 0 only if every frame was answered, or if the run only listened."""
    if config.bus.listen_only and has_listened(config.robot.runtime_dir):
        print("oht50d safe-stop: that run only listened to the bus, nothing is sent")
        return ExitCode.OK
    maps = load_maps(config.bus)
    actuators = find_actuators(maps, released_word=released_word(config.safety.brake_wiring))
    frames: list[BusRequest] = [d.output(enable=False, setpoint=0, linear_input=0) for d in actuators.drives]
    frames.append(actuators.brake.apply())
    try:
        link = _open(config.bus)
    except LinkError as problem:
        print(f"oht50d safe-stop: {problem}. {problem.remedy}", file=sys.stderr)
        return ExitCode.UNAVAILABLE
    framing, quiet_s = framing_of(config.bus), max(line_times(config.bus).silence_ns / 1e9, QUIET_S)
    try:
        unanswered = [frame for frame in frames if not _send(link, framing, frame, quiet_s)]
    finally:
        link.close()
    for frame in unanswered:
        print(f"oht50d safe-stop: unit {frame.unit:#04x} did not answer; press the red button", file=sys.stderr)
    print(f"oht50d safe-stop: {len(frames) - len(unanswered)} of {len(frames)} stop frames answered")
    return ExitCode.IO if unanswered else ExitCode.OK


def _open(bus: BusConfig) -> BlockingLink:
    """The bus, waiting a moment for a dying daemon to let go of it."""
    ends_s = time.monotonic() + OPEN_LIMIT_S
    while True:
        try:
            return open_blocking(bus)
        except LinkError:
            if time.monotonic() >= ends_s:
                raise
            time.sleep(0.05)


def _send(link: BlockingLink, framing: Framing, frame: BusRequest, quiet_s: float) -> bool:
    """One frame, a few tries; True if it was echoed. An error of the port never keeps a later frame from its tries."""
    for _ in range(TRIES):
        time.sleep(quiet_s)
        try:
            if not framing.is_numbered:
                link.discard_input()
            link.send(framing.encode(frame))
            if _is_echoed(link, framing, frame):
                return True
        except LinkLost:
            continue
    return False


def _is_echoed(link: BlockingLink, framing: Framing, frame: BusRequest) -> bool:
    framing.expect(frame)
    ends_s = time.monotonic() + REPLY_LIMIT_S
    try:
        while time.monotonic() < ends_s:
            octets = link.receive()
            if octets and framing.receive_data(octets) is not None:
                return True
    except RemoteProtocolError:
        return False
    return False
