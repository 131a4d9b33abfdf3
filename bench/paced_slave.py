"""All modules on one pty at the pace of 115200 baud, who judge the master: the slave of `bench_masters.py`.

Why not the simulator: this slave does nothing else, so it hears a frame when it is there and not when its loop comes
round. After a reply it sleeps for most of t3.5 (no frame may come then; one that does is early) and looks without
sleeping from 1.4 ms on, so its own wake-up is charged to nobody. A gap runs from the return of the call that wrote the
reply's last byte to the moment at which the next request was there; the slave's own lateness is not in it. Early is
what came less than t3.5 after that call *began*: no master can have had the byte before.

The model is that of docs/performance.md: request + t3.5 + 1.0 ms turnaround + reply, delivered when its last character
would be in (or in pieces, as a UART's buffer hands them over). Source of t3.5: serial line V1.02, section 2.5.1.1.

Prints {"port": ...}; then each line {"pid": n, "count": n} on stdin begins a stretch that is told in one line.
"""

import ctypes
import json
import os
import select
import sys
import time
import tty
from pathlib import Path
from typing import Any

from responder import REQUEST_BYTES, load_words, make_reply

CHARACTER_NS = 10 * 1_000_000_000 // 115_200
SILENCE_NS = 1_750_000
TURNAROUND_NS = 1_000_000
ASLEEP_NS = 1_400_000
"""After a reply: how long a request is waited for asleep."""
AWAKE_NS = 4_000_000
"""How long awake after that, before the slave goes to sleep until something comes."""
MAX_LATE_NS = 1_000_000
"""A gap after a reply that this slave was later with is left out: the master may have given up by then."""
SPIN_NS = 200_000
"""How long before a reply is due the slave is awake again."""
_PR_SET_TIMERSLACK = 29


def master_cost(pid: int) -> dict[str, int]:
    """CPU time and voluntary context switches of all threads of the master so far."""
    spent_ns = switches = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        spent_ns += int((task / "schedstat").read_text(encoding="ascii").split()[0])
        for line in (task / "status").read_text(encoding="ascii").splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                switches += int(line.split()[1])
    return {"spent_ns": spent_ns, "switches": switches}


class Stretch:
    """What consecutive transactions looked like from the slave's end."""

    def __init__(self, pid: int, count: int) -> None:
        self.pid = pid
        self.count = count
        self.before = master_cost(pid)
        self.began_ns = time.monotonic_ns()
        self.formula_ns: list[int] = []
        self.gaps_ns: list[int] = []
        self.early = self.left_out = 0

    @property
    def is_full(self) -> bool:
        return len(self.gaps_ns) >= self.count

    def told(self) -> dict[str, Any]:
        after = master_cost(self.pid)
        return {
            "formula_ns": self.formula_ns,
            "gaps_ns": self.gaps_ns,
            "early": self.early,
            "left_out": self.left_out,
            "elapsed_ns": time.monotonic_ns() - self.began_ns,
            **{key: after[key] - self.before[key] for key in after},
        }


class Slave:
    """Owns the pty and the stretch that is being measured."""

    def __init__(self, maps: Path, piece: int) -> None:
        self._words = load_words(maps)
        self._piece = piece
        self._master, self._slave_end = os.openpty()
        tty.setraw(self._slave_end)
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave_end)
        self._replies: dict[bytes, bytes] = {}
        self._stretch: Stretch | None = None
        self._writing_ns = self._written_ns = self._late_ns = 0
        self._formula_ns = 0

    def run(self) -> None:
        while True:
            request = self._hear()
            heard_ns = time.monotonic_ns()
            self._judge(heard_ns)
            self._answer(request, heard_ns)

    def _hear(self) -> bytes:
        """The next request, whole. Commands are taken only while the line is quiet."""
        frame = b""
        while len(frame) < 8 or len(frame) < (9 + frame[6] if frame[1] == 16 else REQUEST_BYTES.get(frame[1], 8)):
            try:
                frame += os.read(self._master, 512)
            except BlockingIOError:
                self._rest()
        return frame

    def _rest(self) -> None:
        """Sleep only where a request may not come, or has not come for long."""
        quiet_ns = time.monotonic_ns() - self._written_ns
        if ASLEEP_NS <= quiet_ns < ASLEEP_NS + AWAKE_NS:
            return
        timeout_s = None if quiet_ns > ASLEEP_NS else (ASLEEP_NS - quiet_ns) / 1e9
        ready, _, _ = select.select([self._master, sys.stdin], [], [], timeout_s)
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if not line:
                raise SystemExit
            self._stretch = Stretch(**json.loads(line))

    def _judge(self, heard_ns: int) -> None:
        stretch = self._stretch
        if stretch is None or not self._formula_ns:
            return
        if self._late_ns > MAX_LATE_NS:
            stretch.left_out += 1
            return
        stretch.formula_ns.append(self._formula_ns)
        stretch.gaps_ns.append(heard_ns - self._written_ns - SILENCE_NS)
        stretch.early += heard_ns - self._writing_ns < SILENCE_NS

    def _answer(self, request: bytes, heard_ns: int) -> None:
        reply = self._replies.get(request)
        if reply is None:
            reply = self._replies[request] = make_reply(self._words, request)
        self._late_ns = 0
        begins_ns = heard_ns + len(request) * CHARACTER_NS + SILENCE_NS + TURNAROUND_NS
        step = self._piece or len(reply)
        for start in range(0, len(reply), step):
            ends = min(start + step, len(reply))
            due_ns = begins_ns + ends * CHARACTER_NS
            hold_until(due_ns)
            self._writing_ns = time.monotonic_ns()
            os.write(self._master, reply[start:ends])
            self._written_ns = time.monotonic_ns()
            self._late_ns = max(self._late_ns, self._written_ns - due_ns)
        self._formula_ns = (len(request) + len(reply)) * CHARACTER_NS + 2 * SILENCE_NS + TURNAROUND_NS
        if self._stretch is not None and self._stretch.is_full:
            # In the silence, when nobody waits for this process.
            print(json.dumps(self._stretch.told()), flush=True)
            self._stretch = None


def hold_until(due_ns: int) -> None:
    left_ns = due_ns - time.monotonic_ns() - SPIN_NS
    if left_ns > 0:
        time.sleep(left_ns / 1e9)
    while time.monotonic_ns() < due_ns:
        pass


def main() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    slave = Slave(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(json.dumps({"port": slave.port}), flush=True)
    slave.run()


if __name__ == "__main__":
    main()
