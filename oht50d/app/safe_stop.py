"""The safe-stop program: takes the port and sends S0 (run by the service manager after every end of the daemon).

It is short, has no tasks and no state, and tries for a bounded time: the daemon may still hold the port for a moment.
"""

import sys
import termios
import time

import serial

from oht50d.app.config import Config
from oht50d.app.exit_codes import ExitCode
from oht50d.app.listening import has_listened
from oht50d.app.rooms import load_maps, released_word
from oht50d.codec.rtu import ModbusClient, encode_request, silence_ns
from oht50d.core.actuators import find_actuators
from oht50d.model.bus import BusRequest
from oht50d.model.errors import RemoteProtocolError

TRIES = 3
OPEN_LIMIT_S = 5.0
REPLY_LIMIT_S = 0.05


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
        port = _open(config.bus.serial.port, config.bus.serial.baud)
    except (OSError, serial.SerialException) as problem:
        print(f"oht50d safe-stop: {config.bus.serial.port}: {problem}", file=sys.stderr)
        return ExitCode.UNAVAILABLE
    with port:
        unanswered = [frame for frame in frames if not _send(port, frame, config.bus.serial.baud)]
    for frame in unanswered:
        print(f"oht50d safe-stop: unit {frame.unit:#04x} did not answer; press the red button", file=sys.stderr)
    print(f"oht50d safe-stop: {len(frames) - len(unanswered)} of {len(frames)} stop frames answered")
    return ExitCode.IO if unanswered else ExitCode.OK


def _open(name: str, baud: int) -> serial.Serial:
    """The port, waiting a moment for a dying daemon to let go of it."""
    ends_s = time.monotonic() + OPEN_LIMIT_S
    while True:
        try:
            return serial.Serial(name, baud, timeout=0.005, write_timeout=0.1, exclusive=True)
        except (OSError, serial.SerialException):
            if time.monotonic() >= ends_s:
                raise
            time.sleep(0.05)


def _send(port: serial.Serial, frame: BusRequest, baud: int) -> bool:
    """One frame, a few tries; True if it was echoed. An error of the port never keeps a later frame from its tries."""
    for _ in range(TRIES):
        time.sleep(max(silence_ns(baud) / 1e9, 0.002))
        try:
            port.reset_input_buffer()
            port.write(encode_request(frame))
            if _is_echoed(port, frame):
                return True
        except (OSError, termios.error):  # a SerialException is an OSError; termios.error is none
            continue
    return False


def _is_echoed(port: serial.Serial, frame: BusRequest) -> bool:
    client = ModbusClient()
    client.expect(frame)
    ends_s = time.monotonic() + REPLY_LIMIT_S
    try:
        while time.monotonic() < ends_s:
            if client.receive_data(port.read(256)) is not None:
                return True
    except RemoteProtocolError:
        return False
    return False
