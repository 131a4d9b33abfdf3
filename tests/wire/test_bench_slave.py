"""The slave of the benchmarks judges its masters rightly: what is early is counted, what keeps the silence is not."""

import json
import os
import select
import subprocess
import sys
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from oht50d.codec.rtu import RtuFraming
from oht50d.model.bus import ReadRegisters, ReadReply

ROOT = Path(__file__).resolve().parents[2]
MAPS = ROOT / "config" / "modules"
SILENCE_NS = 1_750_000
COUNT = 20
LIMIT_NS = 60_000_000_000
READ = ReadRegisters(0x03, 0x0000, 8)


@contextmanager
def slave(piece: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "bench" / "paced_slave.py"), str(MAPS), str(piece)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def told(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    found: dict[str, Any] = json.loads(process.stdout.readline())
    return found


def hold_until(moment_ns: int) -> None:
    while time.monotonic_ns() < moment_ns:
        pass


def judged(gap_ns: int, piece: int = 0) -> tuple[dict[str, Any], list[int]]:
    """What the slave says of a master that leaves `gap_ns` between a reply and the next request, and how long each
    exchange took."""
    with slave(piece) as process:
        descriptor = os.open(told(process)["port"], os.O_RDWR | os.O_NOCTTY)
        tty.setraw(descriptor)
        assert process.stdin is not None
        process.stdin.write(json.dumps({"pid": os.getpid(), "count": COUNT}).encode() + b"\n")
        process.stdin.flush()
        took_ns = exchange(descriptor, gap_ns, lambda: bool(select.select([process.stdout], [], [], 0)[0]))
        found = told(process)
        os.close(descriptor)
    return found, took_ns


def exchange(descriptor: int, gap_ns: int, is_over: Callable[[], bool]) -> list[int]:
    """One read after another until the slave has seen enough; it may leave some out."""
    took_ns = []
    ends_ns = time.monotonic_ns() + LIMIT_NS
    while time.monotonic_ns() < ends_ns:
        sent_ns = time.monotonic_ns()
        os.write(descriptor, RtuFraming.encode(READ))
        framing, reply = RtuFraming(), None
        framing.expect(READ)
        while reply is None:
            reply = framing.receive_data(os.read(descriptor, 256))
        ended_ns = time.monotonic_ns()
        assert isinstance(reply, ReadReply)
        took_ns.append(ended_ns - sent_ns)
        if is_over():
            return took_ns
        hold_until(ended_ns + gap_ns)
    raise AssertionError(f"the slave has not seen enough in {len(took_ns)} exchanges")


def test_a_master_that_keeps_the_silence_is_never_early() -> None:
    found, took_ns = judged(SILENCE_NS)
    assert found["early"] == 0
    assert min(found["gaps_ns"]) >= 0
    formula_ns = found["formula_ns"][0]
    assert min(took_ns) >= formula_ns - SILENCE_NS - 1000, "no reply is there before its last character"
    assert found["spent_ns"] > 0
    assert found["switches"] >= len(found["gaps_ns"]), "each reply was waited for"


@pytest.mark.parametrize("gap_ns", [0, 1_000_000])
def test_a_master_that_sends_before_it_is_counted(gap_ns: int) -> None:
    found, _ = judged(gap_ns)
    assert len(found["gaps_ns"]) == COUNT
    assert found["early"] > 2, "all but those that a busy machine has held up"


def test_a_reply_in_pieces_is_the_same_reply() -> None:
    found, _ = judged(SILENCE_NS, piece=8)
    assert found["early"] == 0
