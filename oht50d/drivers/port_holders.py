"""Which processes hold a device open, read from /proc (no state).

Source: proc(5): /proc/PID/fd holds one symbolic link per descriptor, /proc/PID/comm the process's name.
"""

import os
from pathlib import Path

_PROC = Path("/proc")


def holders_of(device: str) -> tuple[int, ...]:
    """Process ids, ascending, that have `device` (a resolved path) open; those of other users show to root only."""
    pids = sorted(int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal())
    return tuple(pid for pid in pids if _holds(pid, device))


def describe_process(pid: int) -> str:
    """`minicom (pid 812)`; without a name if the process is gone."""
    try:
        return f"{(_PROC / str(pid) / 'comm').read_text().strip()} (pid {pid})"
    except OSError:
        return f"pid {pid}"


def describe_holders(device: str) -> str:
    """Everyone who holds `device`, in words; this process only if nobody else does."""
    pids = holders_of(device)
    others = [pid for pid in pids if pid != os.getpid()] or pids
    return " and ".join(describe_process(pid) for pid in others) or "a process that is hidden from this user"


def _holds(pid: int, device: str) -> bool:
    try:
        links = list((_PROC / str(pid) / "fd").iterdir())
    except OSError:
        return False  # ended, or of another user
    for link in links:
        try:
            if str(link.readlink()) == device:
                return True
        except OSError:
            continue  # closed while we looked
    return False
