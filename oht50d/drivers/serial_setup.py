"""Opening a serial port for oneself alone: lock, open, claim, set up, or the reason why not (no state).

Source: termios(3) (VMIN, VTIME, HUPCL), ioctl_tty(2) (TIOCEXCL, TIOCNXCL), flock(2); Linux
Documentation/admin-guide/devices.txt (majors 136 to 143 are pseudo-terminals).
"""

import errno
import fcntl
import grp
import os
import stat
import termios
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import assert_never

import serial
from attrs import frozen

from oht50d.drivers.latency_timer import shorten_latency
from oht50d.drivers.lock_file import LockHeld, take_lock
from oht50d.drivers.port_control import Ioctl, PortControl, system_ioctl
from oht50d.drivers.port_holders import describe_holders, holders_of
from oht50d.drivers.rs485_direction import set_idle, set_kernel_mode
from oht50d.drivers.serial_settings import DirectionControl, RtsLevel, SerialPortConfig
from oht50d.model.errors import LinkError
from oht50d.model.line import Parity

_PTY_MAJORS = range(136, 144)
_NOT_A_PORT = (errno.ENOTTY, errno.EINVAL, errno.EISDIR)
_BUSY = (errno.EBUSY, errno.EAGAIN)
_NO_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_PARITIES = {Parity.NONE: serial.PARITY_NONE, Parity.EVEN: serial.PARITY_EVEN, Parity.ODD: serial.PARITY_ODD}


@frozen
class OpenedPort:
    """A port that is open and set up; `warning` is for the technician, empty if there is nothing to say."""

    port: serial.Serial
    device: str
    control: PortControl
    warning: str


def open_exclusively(config: SerialPortConfig, opened: ExitStack, ioctl: Ioctl, sysfs: Path) -> OpenedPort:
    """Lock first, then open; whatever was opened is on the stack. Raises LinkError.

    The name is resolved here, at every opening: a stable name may stand for another device than the last time.
    """
    device = os.path.realpath(config.port)
    try:
        if not stat.S_ISCHR(Path(device).stat().st_mode):
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        _lock(config, device, opened)
        port = _open(config, device)
        opened.callback(port.close)
        _claim(config.port, device, port.fileno(), opened)
        control = _set_up(port, config, ioctl)
        return OpenedPort(port, device, control, shorten_latency(device, sysfs))
    except (OSError, termios.error, ValueError) as error:
        raise explain(error, config.port, device) from error


def open_for_a_moment(config: SerialPortConfig, opened: ExitStack, ioctl: Ioctl = system_ioctl) -> OpenedPort:
    """The same port without the lock file, for a program that is short and has nothing to wait with. Raises LinkError.

    Whoever has the port open is respected all the same.
    """
    device = os.path.realpath(config.port)
    try:
        port = _open(config, device)
        opened.callback(port.close)
        return OpenedPort(port, device, _set_up(port, config, ioctl), "")
    except (OSError, termios.error, ValueError) as error:
        raise explain(error, config.port, device) from error


def _set_up(port: serial.Serial, config: SerialPortConfig, ioctl: Ioctl) -> PortControl:
    _configure(port, config)
    control = PortControl(port.fileno(), ioctl)
    _set_direction(config, control)
    return control


def _open(config: SerialPortConfig, device: str) -> serial.Serial:
    """The kernel itself raises RTS for a moment where it opens a port; nothing here keeps it up."""
    port = serial.Serial(
        None, config.baud, parity=_PARITIES[config.parity], stopbits=config.stop_bits, timeout=0, write_timeout=0,
        exclusive=True,
    )  # fmt: skip
    if config.direction is DirectionControl.RTS:
        port.rts = config.rts_while_sending is not RtsLevel.SET
    port.port = device
    port.open()
    return port


def _set_direction(config: SerialPortConfig, control: PortControl) -> None:
    match config.direction:
        case DirectionControl.AUTO:
            pass
        case DirectionControl.KERNEL:
            set_kernel_mode(config, control)
        case DirectionControl.RTS:
            set_idle(config, control)
        case _:
            assert_never(config.direction)


def _lock(config: SerialPortConfig, device: str, opened: ExitStack) -> None:
    path = Path(config.lock_dir) / f"oht50d{device.replace('/', '-')}.lock"
    try:
        opened.callback(os.close, take_lock(path))
    except LockHeld as held:
        raise _held(config.port, held.holder or describe_holders(device)) from None
    except OSError as error:
        if error.errno in _NO_RESOURCES:
            raise _exhausted(config.port, error) from error
        cause = "permission" if error.errno == errno.EACCES else "config"
        remedy = f"let this user write {path}, or set another lock_dir"
        raise LinkError(f"no lock file {path}: {error.strerror}", cause=cause, remedy=remedy) from error


def _claim(name: str, device: str, fd: int, opened: ExitStack) -> None:
    """Keep later openers away, and refuse a port that somebody opened before without any lock.

    Not on a pseudo-terminal: its other end may hold it too, and its exclusive flag outlives a killed process.
    """
    if _is_pseudo_terminal(fd):
        return
    fcntl.ioctl(fd, termios.TIOCEXCL)
    opened.callback(_release_claim, fd)
    if set(holders_of(device)) - {os.getpid()}:
        raise _held(name, describe_holders(device))


def _release_claim(fd: int) -> None:
    with suppress(OSError):
        fcntl.ioctl(fd, termios.TIOCNXCL)


def _configure(port: serial.Serial, config: SerialPortConfig) -> None:
    """VMIN 1: with pyserial's VMIN 0 an empty buffer would read as a hang-up."""
    attributes = termios.tcgetattr(port.fileno())
    attributes[6][termios.VMIN] = 1
    attributes[6][termios.VTIME] = 0
    attributes[2] |= termios.HUPCL
    if config.direction is DirectionControl.RTS and config.rts_while_sending is RtsLevel.CLEARED:
        # HUPCL clears RTS when the last descriptor goes, by a kill too: here that would drive the line for ever.
        attributes[2] &= ~termios.HUPCL
    termios.tcsetattr(port.fileno(), termios.TCSANOW, attributes)
    if not _is_pseudo_terminal(port.fileno()):  # it carries whole bytes and clears the parity flag
        check_character(config, termios.tcgetattr(port.fileno())[2])
    with suppress(OSError, ValueError):  # best effort: few drivers know the flag
        port.set_low_latency_mode(True)


def apply_line(port: serial.Serial, config: SerialPortConfig) -> None:
    """Set an open port to the speed and character of `config`. Raises LinkError, OSError, termios.error, ValueError."""
    port.apply_settings({"baudrate": config.baud, "parity": _PARITIES[config.parity], "stopbits": config.stop_bits})
    _configure(port, config)


def check_character(config: SerialPortConfig, flags: int) -> None:
    """Compare what the driver made of the character (its `c_cflag`). Raises LinkError with cause `config`."""
    wanted = termios.CS8
    if config.stop_bits == 2:
        wanted |= termios.CSTOPB
    if config.parity is not Parity.NONE:
        wanted |= termios.PARENB
    if config.parity is Parity.ODD:
        wanted |= termios.PARODD
    if flags & (termios.CSIZE | termios.CSTOPB | termios.PARENB | termios.PARODD) != wanted:
        words = f"the driver of {config.port} cannot send 8 bits, parity {config.parity.value}, {config.stop_bits} stop"
        remedy = "use another adapter, or set parity and stop_bits of bus.serial and of the modules to what it can do"
        raise LinkError(words, cause="config", remedy=remedy)


def _is_pseudo_terminal(fd: int) -> bool:
    return os.major(os.fstat(fd).st_rdev) in _PTY_MAJORS


def _held(name: str, holder: str) -> LinkError:
    remedy = f"stop {holder}; nothing else may use this port"
    return LinkError(f"{name} is held by {holder}", cause="held", remedy=remedy)


def _exhausted(name: str, error: Exception) -> LinkError:
    """Not the device: a process that leaks descriptors never opens it again, only a new one does."""
    remedy = "this process or computer has no files or memory left: restart the daemon, and look for what uses them up"
    return LinkError(f"{name} cannot be opened: {error}", cause="resources", remedy=remedy)


def explain(error: Exception, name: str, device: str) -> LinkError:
    """An error of the system in terms of cause and remedy."""
    number = _errno_of(error)
    if number in _NO_RESOURCES:
        return _exhausted(name, error)
    if number in _BUSY:
        return _held(name, describe_holders(device))
    if number in (errno.EACCES, errno.EPERM):
        group = _group_of(device)
        remedy = f"add the user of this service to the group {group} and start it again"
        return LinkError(f"no permission to open {name}", cause="permission", remedy=remedy)
    if number is None or number in _NOT_A_PORT:  # pyserial drops the number where setting up failed
        remedy = "set the port to a serial device and the baud to a speed that it knows"
        return LinkError(f"{name} cannot be set up as a serial port: {error}", cause="config", remedy=remedy)
    remedy = "plug in the adapter, or set the port to one that /dev/serial/by-id shows"
    return LinkError(f"{name} is not there: {os.strerror(number)}", cause="absent", remedy=remedy)


def _errno_of(error: Exception) -> int | None:
    """termios.error carries its number as the first argument; pyserial copies it into `errno`."""
    if isinstance(error, termios.error):
        return int(error.args[0])
    return error.errno if isinstance(error, OSError) else None


def _group_of(device: str) -> str:
    try:
        return grp.getgrgid(Path(device).stat().st_gid).gr_name
    except (OSError, KeyError):
        return "dialout"
