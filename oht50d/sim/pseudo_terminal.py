"""A pseudo-terminal under a stable symlink: the far end of a serial line (the object owns descriptors and link).

The simulator keeps the slave side open too, so that a program that closes the line does not hang it up; a hang-up is
deliberate. Quirk: a pty buffers far more than a UART's driver, so a write is dropped while over UNREAD_LIMIT bytes
wait, as a real line loses what nobody reads.
"""

import fcntl
import os
import struct
import termios
import tty
from pathlib import Path

import trio

UNREAD_LIMIT = 3_500
_COUNT = struct.Struct("i")


class PseudoTerminal:
    """One line; absent until `open`, and between `hang_up` and the next `open`."""

    def __init__(self, link: Path) -> None:
        self._link = link
        self._master_fd: int | None = None
        self._slave_fd = -1
        self._is_back = trio.Event()

    @property
    def is_open(self) -> bool:
        return self._master_fd is not None

    def open(self) -> None:
        """Make a new pty in raw mode and point the symlink at it in one step."""
        master_fd, self._slave_fd = os.openpty()
        tty.setraw(self._slave_fd)
        os.set_blocking(master_fd, False)
        fresh = self._link.with_name(f".{self._link.name}.new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.ttyname(self._slave_fd))
        fresh.replace(self._link)
        self._master_fd = master_fd
        self._is_back.set()

    def hang_up(self) -> None:
        """Close both sides and remove the link: whoever has it open reads end of file, then EIO."""
        if self._master_fd is None:
            return
        trio.lowlevel.notify_closing(self._master_fd)
        self.close()

    def close(self) -> None:
        """The same when no task waits for the line any more (idempotent)."""
        if self._master_fd is None:
            return
        self._link.unlink(missing_ok=True)
        os.close(self._master_fd)
        os.close(self._slave_fd)
        self._master_fd = None
        self._is_back = trio.Event()

    async def receive(self) -> bytes:
        """What the program wrote; waits through a hang-up. A cancellation loses nothing."""
        while True:
            master_fd = self._master_fd
            if master_fd is None:
                await self._is_back.wait()
                continue
            try:
                await trio.lowlevel.wait_readable(master_fd)
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

    def _unread_bytes(self) -> int:
        reply = fcntl.ioctl(self._slave_fd, termios.FIONREAD, bytes(_COUNT.size))
        return int(_COUNT.unpack(reply)[0])
