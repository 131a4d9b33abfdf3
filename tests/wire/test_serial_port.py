"""The serial port on own pseudo-terminals: opening, refusing, losing, draining."""

import errno
import fcntl
import os
import pty
import resource
import subprocess
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import serial
import trio
import trio.testing
from attrs import evolve, frozen

from oht50d.drivers import serial_setup
from oht50d.drivers.port_holders import describe_holders, describe_process, holders_of
from oht50d.drivers.serial_port import SerialLink, SerialPortConfig, open_serial_port
from oht50d.model.errors import LinkError, LinkLost

LIMIT_S = 20
HOLD = """
import os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
if len(sys.argv) > 2:
    import fcntl
    fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


@frozen
class Wire:
    """Our end of a pseudo-terminal and the configuration that opens the other."""

    master: int
    device: str
    config: SerialPortConfig


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    master, slave = pty.openpty()
    tty.setraw(slave)
    device = os.ttyname(slave)
    os.close(slave)
    link = tmp_path / "bus"
    link.symlink_to(device)
    yield Wire(master, device, SerialPortConfig(port=str(link), lock_dir=str(tmp_path)))
    with suppress(OSError):  # a test may have closed it
        os.close(master)


@pytest.fixture
def holder(wire: Wire) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the port, with the lock that pyserial takes."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, wire.device, "flock"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


async def refusal(config: SerialPortConfig) -> LinkError:
    with trio.fail_after(LIMIT_S), pytest.raises(LinkError) as raised:
        await open_serial_port(config)
    assert raised.value.remedy
    return raised.value


async def test_bytes_pass_in_both_directions_through_a_symbolic_link(wire: Wire) -> None:
    with trio.fail_after(LIMIT_S):
        link = await open_serial_port(wire.config)
        await link.send_all(bytes(range(256)))
        sent = b""
        while len(sent) < 256:
            sent += os.read(wire.master, 4096)
        assert sent == bytes(range(256))
        os.write(wire.master, b"\x00\x11\x13\xff")
        assert await link.receive_some() == b"\x00\x11\x13\xff"
        os.write(wire.master, b"abc")
        assert await link.receive_some(2) == b"ab"
        assert await link.receive_some(2) == b"c"
        link.close()


async def test_a_stable_name_is_resolved_again_at_every_opening(wire: Wire, tmp_path: Path) -> None:
    """A replugged adapter comes back as another device behind the same link."""
    other_master, other_slave = pty.openpty()
    tty.setraw(other_slave)
    other = os.ttyname(other_slave)
    os.close(other_slave)
    name = Path(wire.config.port)
    opened = []
    for device, master in ((wire.device, wire.master), (other, other_master), (wire.device, wire.master)):
        name.unlink()
        name.symlink_to(device)
        link = await open_serial_port(wire.config)
        opened.append(link.device)
        await link.send_all(device.encode())
        assert os.read(master, 4096) == device.encode()
        assert [path.name for path in tmp_path.glob("*.lock") if holders_of(str(path))] == [
            f"oht50d{device.replace('/', '-')}.lock"
        ]
        link.close()
    os.close(other_master)
    assert opened == [wire.device, other, wire.device]


async def test_a_name_that_moves_while_the_port_is_open_leaves_the_open_one_alone(wire: Wire) -> None:
    link = await open_serial_port(wire.config)
    name = Path(wire.config.port)
    name.unlink()
    await link.send_all(b"still here")
    assert os.read(wire.master, 4096) == b"still here"
    link.close()
    gone = await refusal(wire.config)
    assert gone.cause == "absent"
    assert str(gone) == f"{name} is not there: No such file or directory"
    name.symlink_to(wire.device)
    (await open_serial_port(wire.config)).close()


async def test_a_slow_latency_timer_is_a_warning_of_the_link(wire: Wire, tmp_path: Path) -> None:
    link = await open_serial_port(wire.config, sysfs=tmp_path)
    assert link.warning == ""
    link.close()
    attribute = tmp_path / "class" / "tty" / Path(wire.device).name / "device" / "latency_timer"
    attribute.parent.mkdir(parents=True)
    attribute.symlink_to("/proc/sys/kernel/cap_last_cap")  # nobody may write it
    link = await open_serial_port(wire.config, sysfs=tmp_path)
    assert f"the latency timer of {wire.device} is" in link.warning
    link.close()


async def test_a_frame_is_with_the_kernel_before_any_other_task_runs(wire: Wire) -> None:
    """What was decided before the frame holds when it goes: nobody can decide otherwise in between."""
    link = await open_serial_port(wire.config)
    os.set_blocking(wire.master, False)
    found: list[bytes] = []

    async def other() -> None:
        await trio.lowlevel.cancel_shielded_checkpoint()
        found.append(os.read(wire.master, 4096))

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            await link.send_all(b"frame")
    assert found == [b"frame"]
    link.close()


async def test_a_frame_that_the_kernel_takes_in_pieces_goes_out_whole(wire: Wire) -> None:
    link = await open_serial_port(wire.config)
    octets = bytes(range(256)) * 400
    received = b""
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.send_all, octets)
            while len(received) < len(octets):
                await trio.lowlevel.wait_readable(wire.master)
                received += os.read(wire.master, 65536)
    assert received == octets
    link.close()


@pytest.mark.parametrize("baud", [9_600, 115_200, 256_000, 460_800, 1_000_000])
async def test_line_is_set_up_raw_with_one_byte_wakeups_at_the_speed(wire: Wire, baud: int) -> None:
    link = await open_serial_port(evolve(wire.config, baud=baud))
    fd = os.open(wire.device, os.O_RDWR | os.O_NOCTTY)
    iflag, _, cflag, lflag, _, _, characters = termios.tcgetattr(fd)
    speeds = fcntl.ioctl(fd, 0x802C542A, bytes(44))  # TCGETS2: c_ospeed is its last word
    os.close(fd)
    assert int.from_bytes(speeds[40:44], sys.byteorder) == baud
    assert cflag & termios.CSIZE == termios.CS8
    assert not cflag & (termios.PARENB | termios.CSTOPB)
    assert not lflag & (termios.ICANON | termios.ECHO | termios.ISIG)
    assert not iflag & (termios.IXON | termios.ICRNL | termios.INLCR)
    assert (characters[termios.VMIN], characters[termios.VTIME]) in ((1, 0), (b"\x01", b"\x00"))
    link.close()


async def test_an_idle_port_waits_and_a_cancelled_wait_loses_nothing(wire: Wire) -> None:
    link = await open_serial_port(wire.config)
    with trio.move_on_after(0.05) as scope:
        await link.receive_some()
    assert scope.cancelled_caught
    os.write(wire.master, b"late")
    with trio.fail_after(LIMIT_S):
        assert await link.receive_some() == b"late"
    link.close()


async def test_closing_the_other_end_is_a_lost_link_for_everyone(wire: Wire) -> None:
    link = await open_serial_port(wire.config)
    losses: list[str] = []

    async def wait_for_bytes() -> None:
        with pytest.raises(LinkLost) as raised:
            await link.receive_some()
        losses.append(raised.value.cause)

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_bytes)
            await trio.testing.wait_all_tasks_blocked()
            os.close(wire.master)
        assert losses == ["lost"]
        with pytest.raises(LinkLost):
            await link.receive_some()
        with pytest.raises(LinkLost):
            await link.send_all(b"x")
        with pytest.raises(LinkLost):
            link.drain_input()
    link.close()


async def test_a_port_knows_when_its_name_stands_for_another_device(wire: Wire) -> None:
    link, name = await open_serial_port(wire.config), Path(wire.config.port)
    assert link.is_current
    name.unlink()
    assert link.is_current, "a name that is gone says nothing"
    other, slave = pty.openpty()
    name.symlink_to(os.ttyname(slave))
    assert not link.is_current
    name.unlink()
    name.symlink_to(wire.device)
    assert link.is_current
    link.close()
    os.close(other)
    os.close(slave)


async def test_closing_our_end_wakes_the_waiter_and_is_idempotent(wire: Wire) -> None:
    link = await open_serial_port(wire.config)

    async def wait_for_bytes() -> None:
        with pytest.raises(LinkLost):
            await link.receive_some()

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_bytes)
            await trio.testing.wait_all_tasks_blocked()
            link.close()
    link.close()
    assert holders_of(wire.device) == ()
    for act in (link.drain_input, lambda: link.set_dtr(True)):
        with pytest.raises(LinkLost):
            act()


async def test_drain_throws_away_what_is_old_and_says_how_much(wire: Wire) -> None:
    link = await open_serial_port(wire.config)
    assert link.drain_input() == b""
    os.write(wire.master, b"old bytes")
    with trio.fail_after(LIMIT_S):
        assert await link.receive_some(1) == b"o"
        assert link.drain_input() == b"ld bytes"
        os.write(wire.master, b"new")
        assert await link.receive_some() == b"new"
    link.close()


async def test_drain_ends_while_the_other_side_keeps_talking(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    link = await open_serial_port(wire.config)
    reads: list[int] = []

    def endless(fd: int, size: int) -> bytes:
        reads.append(fd)
        return b"x" * size

    monkeypatch.setattr(os, "read", endless)
    dropped = len(link.drain_input())
    monkeypatch.undo()
    assert dropped == len(reads) * 4096
    assert len(reads) <= 100
    link.close()


async def test_a_pseudo_terminal_has_no_dtr_and_says_so(wire: Wire) -> None:
    link = await open_serial_port(wire.config)
    assert link.set_dtr(False) is False
    assert link.set_dtr(True) is False
    link.close()


class PortWithLines(serial.Serial):
    """A port whose DTR line can be driven, or breaks with `failure`."""

    failure: OSError | None = None
    driven: tuple[bool, ...] = ()

    def _update_dtr_state(self) -> None:
        if self.failure is not None:
            raise self.failure
        self.driven = (*self.driven, bool(self.dtr))


async def test_dtr_is_driven_where_there_is_one_and_a_broken_port_is_lost(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[PortWithLines] = []

    def open_with_lines(device: str, baud: int, **options: Any) -> PortWithLines:
        opened.append(PortWithLines(device, baud, **options))
        return opened[-1]

    monkeypatch.setattr(serial, "Serial", open_with_lines)
    link = await open_serial_port(wire.config)
    (port,) = opened
    assert link.set_dtr(False) is True
    assert link.set_dtr(True) is True
    assert port.driven[-2:] == (False, True)
    port.failure = OSError(errno.EIO, "gone")
    with pytest.raises(LinkLost):
        link.set_dtr(True)
    link.close()


async def test_a_port_that_is_not_there(tmp_path: Path) -> None:
    missing = str(tmp_path / "ttyNONE")
    error = await refusal(SerialPortConfig(port=missing, lock_dir=str(tmp_path)))
    assert error.cause == "absent"
    assert missing in str(error)
    assert list(tmp_path.iterdir()) == [], "no lock file for nothing"


@pytest.mark.parametrize("path", ["/dev/null", "{tmp}", "{tmp}/file"])
async def test_something_that_is_no_serial_port(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("x")
    error = await refusal(SerialPortConfig(port=path.format(tmp=tmp_path), lock_dir=str(tmp_path)))
    assert error.cause == "config"


async def test_a_missing_lock_directory_is_a_matter_of_configuration(wire: Wire, tmp_path: Path) -> None:
    error = await refusal(evolve(wire.config, lock_dir=str(tmp_path / "absent")))
    assert error.cause == "config"
    assert "lock_dir" in error.remedy


async def test_a_forbidden_lock_file(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path) -> int:
        raise PermissionError(errno.EACCES, "forbidden", str(path))

    monkeypatch.setattr(serial_setup, "take_lock", forbidden)
    assert (await refusal(wire.config)).cause == "permission"


async def test_a_forbidden_port_names_the_group_that_may(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_arguments: object, **_options: object) -> serial.Serial:
        raise serial.SerialException(errno.EACCES, "forbidden")

    monkeypatch.setattr(serial, "Serial", forbidden)
    error = await refusal(wire.config)
    assert error.cause == "permission"
    assert "to the group" in error.remedy
    assert serial_setup._group_of("/nonexistent") == "dialout"


@pytest.mark.parametrize(
    ("number", "cause"), [(errno.EIO, "absent"), (errno.ENXIO, "absent"), (errno.EINVAL, "config")]
)
async def test_a_port_that_breaks_while_it_is_set_up(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, number: int, cause: str
) -> None:
    def broken(_port: serial.Serial, _config: SerialPortConfig) -> None:
        raise termios.error(number, os.strerror(number))

    monkeypatch.setattr(serial_setup, "_configure", broken)
    assert (await refusal(wire.config)).cause == cause
    assert holders_of(wire.device) == ()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
async def test_a_lack_of_resources_is_told_from_an_absent_port(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def exhausted(*_arguments: object, **_options: object) -> serial.Serial:
        raise serial.SerialException(number, os.strerror(number))

    monkeypatch.setattr(serial, "Serial", exhausted)
    error = await refusal(wire.config)
    assert error.cause == "resources"
    assert "restart the daemon" in error.remedy


async def test_every_descriptor_that_opening_needs_may_be_the_one_too_many(wire: Wire) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    (await open_serial_port(wire.config)).close()
    free = os.dup(0)
    os.close(free)
    causes = []
    for more in range(20):
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + more, hard))
        try:
            link = await open_serial_port(wire.config)
        except LinkError as error:
            causes.append(error.cause)
            continue
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        link.close()
        break
    assert len(causes) >= 3
    assert set(causes) == {"resources"}
    assert holders_of(wire.device) == ()


async def test_a_second_opening_in_this_process_names_this_process(wire: Wire) -> None:
    link = await open_serial_port(wire.config)
    error = await refusal(wire.config)
    assert error.cause == "held"
    assert f"(pid {os.getpid()})" in str(error)
    link.close()
    again = await open_serial_port(wire.config)
    again.close()


async def test_a_lock_file_without_a_pid_falls_back_to_who_has_it_open(wire: Wire, tmp_path: Path) -> None:
    path = tmp_path / f"oht50d{wire.device.replace('/', '-')}.lock"
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        error = await refusal(wire.config)
    assert error.cause == "held"
    assert "hidden from this user" in error.remedy


async def test_a_port_locked_by_another_program_names_it(wire: Wire, holder: subprocess.Popen[str]) -> None:
    error = await refusal(wire.config)
    assert error.cause == "held"
    name = Path(f"/proc/{holder.pid}/comm").read_text().strip()
    assert f"{name} (pid {holder.pid})" in str(error)
    assert f"{name} (pid {holder.pid})" in error.remedy


async def test_a_real_port_that_somebody_opened_without_a_lock_is_refused(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serial_setup, "_is_pseudo_terminal", lambda _fd: False)
    link = await open_serial_port(wire.config)
    link.close()
    with subprocess.Popen([sys.executable, "-c", HOLD, wire.device], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        error = await refusal(wire.config)
        process.kill()
    assert error.cause == "held"
    assert f"(pid {process.pid})" in str(error)


async def test_a_cancelled_opening_leaves_nothing_open(wire: Wire) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await open_serial_port(wire.config)
    assert scope.cancelled_caught
    assert holders_of(wire.device) == ()
    link: SerialLink = await open_serial_port(wire.config)
    link.close()


@pytest.mark.parametrize(
    "settings",
    [
        {"port": "ttyS1"},
        {"port": ""},
        {"port": "/dev/\0"},
        {"port": "/dev/ttyS1", "baud": 0},
        {"port": "/dev/ttyS1", "baud": 12_345},
        {"port": "/dev/ttyS1", "lock_dir": "run"},
    ],
)
def test_garbage_is_no_configuration(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        SerialPortConfig(**settings)  # type: ignore[arg-type]  # garbage is the point


def test_holders(holder: subprocess.Popen[str], wire: Wire) -> None:
    assert holders_of(wire.device) == (holder.pid,)
    fd = os.open(wire.device, os.O_RDWR | os.O_NOCTTY)
    assert set(holders_of(wire.device)) == {holder.pid, os.getpid()}
    assert describe_holders(wire.device) == describe_process(holder.pid)
    os.close(fd)
    assert describe_process(2**22 + 1) == f"pid {2**22 + 1}"
