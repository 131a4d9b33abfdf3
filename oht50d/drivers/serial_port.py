"""A serial port as a Trio byte stream: pyserial opens and configures it, `FdStream` does the I/O.

Each `SerialLink` owns one descriptor and the lock that keeps others away. Source: termios(3) (VMIN and VTIME),
ioctl_tty(2) (TIOCEXCL, TIOCNXCL), flock(2); Linux Documentation/admin-guide/devices.txt (majors 136 to 143 are
pseudo-terminals). RS-485 direction is left to the adapter ("auto").
"""

import errno
import fcntl
import grp
import os
import stat
import termios
from contextlib import ExitStack, suppress
from pathlib import Path

import serial
import trio
from attrs import Attribute, field, frozen

from oht50d.drivers.lock_file import LockHeld, take_lock
from oht50d.drivers.port_holders import describe_holders, holders_of
from oht50d.model.errors import LinkError, LinkLost

DEFAULT_RECEIVE_BYTES = 4096
BAUD_RATES = (9600, 19_200, 38_400, 57_600, 115_200, 230_400, 256_000, 460_800, 500_000, 921_600, 1_000_000)
_MAX_DRAIN_READS = 64
_PTY_MAJORS = range(136, 144)
_NO_SUCH_LINE = (errno.ENOTTY, errno.EINVAL)
_NOT_A_PORT = (errno.ENOTTY, errno.EINVAL, errno.EISDIR)
_BUSY = (errno.EBUSY, errno.EAGAIN)
_NO_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def check_path(_instance: object, attribute: "Attribute[str]", path: str) -> None:
    """An attrs validator: an absolute path."""
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f"{attribute.name} must be an absolute path, found {path!r}")


def _check_baud(_instance: object, _attribute: "Attribute[int]", baud: int) -> None:
    if baud not in BAUD_RATES:
        raise ValueError(f"baud must be one of {', '.join(map(str, BAUD_RATES))}, found {baud!r}")


@frozen(kw_only=True)
class SerialPortConfig:
    """Device path and speed (8N1 always); `lock_dir` is where the lock file stands. Raises ValueError for garbage."""

    port: str = field(validator=check_path)
    baud: int = field(default=115_200, validator=_check_baud)
    lock_dir: str = field(default="/run/lock", validator=check_path)


async def open_serial_port(config: SerialPortConfig) -> "SerialLink":
    """Open, configure and lock the port in a thread, since a wedged USB adapter blocks for seconds.

    Raises LinkError with cause `absent`, `permission`, `held` (the remedy names the holder), `config`, or `resources`
    (this process or computer has none left). A cancellation waits for the thread and then leaves nothing open.
    """
    with ExitStack() as opened:
        port = await trio.to_thread.run_sync(_open_exclusively, config, opened)
        await trio.lowlevel.checkpoint()
        try:
            return SerialLink(config.port, port, opened)
        except OSError as error:
            raise _explain(error, config.port, config.port) from error


class SerialLink:
    """An open port. All bytes go through Trio; `close` is synchronous and may be called twice."""

    def __init__(self, name: str, port: serial.Serial, opened: ExitStack) -> None:
        """Take over what `opened` would close; use `open_serial_port` instead."""
        self._name = name
        self._port = port
        self._stream = trio.lowlevel.FdStream(os.dup(port.fileno()))
        self._resources = opened.pop_all()

    def send_now(self, octets: bytes) -> int:
        """Hand over what the kernel takes at once; how many bytes that was. Raises LinkLost."""
        try:
            return os.write(self._port.fileno(), octets)
        except BlockingIOError:
            return 0
        except (OSError, serial.PortNotOpenError) as error:
            raise self._lost() from error

    async def send_all(self, octets: bytes) -> None:
        """Hand all bytes to the kernel. Raises LinkLost. After a cancellation an unknown part has been sent."""
        sent = self.send_now(octets)
        try:
            await self._stream.send_all(octets[sent:])
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise self._lost() from error

    async def receive_some(self, max_bytes: int = DEFAULT_RECEIVE_BYTES) -> bytes:
        """At least one byte. Raises LinkLost for an empty read, EIO or ENXIO. A cancellation loses no byte."""
        try:
            while True:
                # The wait is the checkpoint: `FdStream.receive_some` would turn the loop once more for every reply.
                await trio.lowlevel.wait_readable(self._stream.fileno())
                with suppress(BlockingIOError):
                    octets = os.read(self._stream.fileno(), max_bytes)
                    break
        except (OSError, trio.ClosedResourceError) as error:
            raise self._lost() from error
        if not octets:
            raise self._lost()
        return octets

    def drain_input(self) -> bytes:
        """Take what has arrived and answers nothing; bounded, the rest is flushed unseen.

        Raises LinkLost if the port has hung up.
        """
        dropped = b""
        try:
            for _ in range(_MAX_DRAIN_READS):
                octets = os.read(self._port.fileno(), DEFAULT_RECEIVE_BYTES)
                if not octets:
                    raise self._lost()
                dropped += octets
            termios.tcflush(self._port.fileno(), termios.TCIFLUSH)
        except BlockingIOError:
            return dropped
        except (OSError, termios.error, serial.PortNotOpenError) as error:
            raise self._lost() from error
        return dropped

    def set_dtr(self, is_asserted: bool) -> bool:
        """Drive the DTR line; False if the port has no such line (a pseudo-terminal). Raises LinkLost."""
        if not self._port.is_open:
            raise self._lost()
        try:
            self._port.dtr = is_asserted
        except OSError as error:
            if error.errno in _NO_SUCH_LINE:
                return False
            raise self._lost() from error
        return True

    def close(self) -> None:
        """Drop unsent bytes (or closing could wait for seconds), close and unlock; waiters get LinkLost."""
        if not self._port.is_open:
            return
        with suppress(termios.error, OSError):
            termios.tcflush(self._port.fileno(), termios.TCOFLUSH)
        self._stream.close()
        self._resources.close()

    def _lost(self) -> LinkLost:
        return LinkLost(f"{self._name} has hung up", cause="lost", remedy="check plug, cable and power of the adapter")


def _open_exclusively(config: SerialPortConfig, opened: ExitStack) -> serial.Serial:
    """Lock first, then open; whatever was opened is on the stack."""
    device = os.path.realpath(config.port)
    try:
        if not stat.S_ISCHR(Path(device).stat().st_mode):
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        _lock(config, device, opened)
        port = serial.Serial(device, config.baud, timeout=0, write_timeout=0, exclusive=True)
        opened.callback(port.close)
        _claim(config.port, device, port.fileno(), opened)
        _configure(port)
    except (OSError, termios.error, ValueError) as error:
        raise _explain(error, config.port, device) from error
    return port


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


def _configure(port: serial.Serial) -> None:
    """VMIN 1: with pyserial's VMIN 0 an empty buffer would read as a hang-up."""
    attributes = termios.tcgetattr(port.fileno())
    attributes[6][termios.VMIN] = 1
    attributes[6][termios.VTIME] = 0
    termios.tcsetattr(port.fileno(), termios.TCSANOW, attributes)
    with suppress(OSError, ValueError):  # best effort: few drivers know the flag
        port.set_low_latency_mode(True)


def _is_pseudo_terminal(fd: int) -> bool:
    return os.major(os.fstat(fd).st_rdev) in _PTY_MAJORS


def _held(name: str, holder: str) -> LinkError:
    remedy = f"stop {holder}; nothing else may use this port"
    return LinkError(f"{name} is held by {holder}", cause="held", remedy=remedy)


def _exhausted(name: str, error: Exception) -> LinkError:
    """Not the device: a process that leaks descriptors never opens it again, only a new one does."""
    remedy = "this process or computer has no files or memory left: restart the daemon, and look for what uses them up"
    return LinkError(f"{name} cannot be opened: {error}", cause="resources", remedy=remedy)


def _explain(error: Exception, name: str, device: str) -> LinkError:
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
    return LinkError(f"{name} is not there: {error}", cause="absent", remedy=remedy)


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
