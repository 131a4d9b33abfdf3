"""A pseudo-terminal under a stable symlink: the far end of a serial line (the object owns descriptors and links).

The simulator keeps the slave side open too, so that a program that closes the line does not hang it up; a hang-up is
deliberate. Quirk: a pty buffers far more than a UART's driver, so a write is dropped while over UNREAD_LIMIT bytes
wait, as a real line loses what nobody reads.
"""

import fcntl
import os
import struct
import termios
import time
import tty
from pathlib import Path

import trio

from oht50d.sim.line_settings import read_settings, write_baud

UNREAD_LIMIT = 3_500
_COUNT = struct.Struct("i")


class PseudoTerminal:
    """One line; absent until `open`, and between `hang_up` and the next `open`.

    `baud` is what a program finds that opens it and sets no speed. `linked_ns` tells when the stable name last began to
    point to the line, None while it does not.
    """

    def __init__(self, link: Path, baud: int = 115_200) -> None:
        self.linked_ns: int | None = None
        self._link = link
        self._baud = baud
        self._master_fd: int | None = None
        self._slave_fd = -1
        self._left_fd: int | None = None
        self._device = ""
        self._new_name: Path | None = None
        self._names = 0
        self._link_due_ns: int | None = None
        self._is_back = trio.Event()

    @property
    def is_open(self) -> bool:
        return self._master_fd is not None

    @property
    def device(self) -> str:
        """The path of the pseudo-terminal, the last one while there is none."""
        return self._device

    @property
    def new_name(self) -> Path | None:
        """The name under which the line came back when it was plugged in elsewhere."""
        return self._new_name

    def open(self) -> None:
        """Make a new pty in raw mode and point the symlink at it in one step."""
        self._make(os.openpty())
        self.settle_link()

    def open_elsewhere(self, link_after_ns: int) -> None:
        """Come back as another device under a new name beside the link, which follows `link_after_ns` later."""
        self._make(os.openpty())
        self._names += 1
        self._new_name = self._link.with_name(f"{self._link.name}.{self._names}")
        _point(self._new_name, self._device)
        self._link_due_ns = time.monotonic_ns() + link_after_ns
        self.settle_link()

    def _make(self, pair: tuple[int, int]) -> None:
        master_fd, self._slave_fd = pair
        tty.setraw(self._slave_fd)
        write_baud(self._slave_fd, self._baud)
        os.set_blocking(master_fd, False)
        self._device = os.ttyname(self._slave_fd)
        self._master_fd = master_fd
        self._is_back.set()

    def settle_link(self) -> None:
        """Point the stable name at the line, if that is due."""
        if not self.is_open or self.linked_ns is not None:
            return
        if self._link_due_ns is None or time.monotonic_ns() >= self._link_due_ns:
            self._link_due_ns = None
            self.linked_ns = time.monotonic_ns()
            _point(self._link, self._device)
            self._let_go()

    def hang_up(self, *, is_link_kept: bool = False) -> None:
        """Close both sides and remove the names: whoever has it open reads end of file, then EIO.

        A link that is kept points to a device that is no more. Its number stays taken until the link has moved, or
        whoever follows the link could get the next pseudo-terminal of somebody else.
        """
        if self._master_fd is None:
            return
        trio.lowlevel.notify_closing(self._master_fd)
        self._close(is_link_kept=is_link_kept)

    def close(self) -> None:
        """The same when no task waits for the line any more (idempotent); nothing of it stays."""
        self._close(is_link_kept=False)
        self._let_go()
        if self._device:
            self._link.unlink(missing_ok=True)

    def _close(self, *, is_link_kept: bool) -> None:
        if self._master_fd is None:
            return
        if not is_link_kept:
            self._link.unlink(missing_ok=True)
        if self._new_name is not None:
            self._new_name.unlink(missing_ok=True)
        self._new_name = self._link_due_ns = self.linked_ns = None
        os.close(self._master_fd)
        self._let_go()
        self._left_fd = self._slave_fd
        if not is_link_kept:
            self._let_go()
        self._master_fd = None
        self._is_back = trio.Event()

    def _let_go(self) -> None:
        """The number of the last pseudo-terminal may be given to others."""
        if self._left_fd is not None:
            os.close(self._left_fd)
            self._left_fd = None

    async def receive(self) -> bytes:
        """What the program wrote; waits through a hang-up. A cancellation loses nothing."""
        while True:
            master_fd = self._master_fd
            if master_fd is None:
                await self._is_back.wait()
                continue
            try:
                await trio.lowlevel.wait_readable(master_fd)
                if master_fd == self._master_fd:
                    return os.read(master_fd, 4096)
            except (trio.ClosedResourceError, BlockingIOError):
                await trio.lowlevel.checkpoint()

    def send(self, octets: bytes) -> int:
        """Hand over bytes without waiting; returns how many were dropped because nobody reads."""
        if self._master_fd is None or self._unread_bytes() > UNREAD_LIMIT:
            return len(octets)
        try:
            return len(octets) - os.write(self._master_fd, octets)
        except BlockingIOError:
            return len(octets)

    def settings(self) -> tuple[int, bool]:
        """The speed that the program has set, and whether its parity is odd; the defaults while there is no line."""
        return read_settings(self._slave_fd) if self.is_open else (self._baud, False)

    def _unread_bytes(self) -> int:
        reply = fcntl.ioctl(self._slave_fd, termios.FIONREAD, bytes(_COUNT.size))
        return int(_COUNT.unpack(reply)[0])


def _point(link: Path, device: str) -> None:
    """A symlink, made or moved in one step."""
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(device)
    fresh.replace(link)
