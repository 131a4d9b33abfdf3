"""How fast does the LiDAR codec decode, beside pyrplidar?

Both decode the same whole turns in one process, in turn, 4 and 16 capsules a call as one read would bring them. Ours is
the client that the daemon has: framing, checksums, one Samples a run. pyrplidar is driven by its own generator over a
port that is memory; it cuts by count, checks nothing and yields an object a sample. The kinds that it does not know are
shown alone. CPU time, so a busy machine disturbs it little.
"""

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from types import SimpleNamespace
from typing import TYPE_CHECKING

from harness import IS_QUICK, alternate, head, ratio_line, run_child, spread

if TYPE_CHECKING:
    from rplidar_packets import Stream

SAMPLES = 50_000 if IS_QUICK else 300_000
GOALS = {4: 4.0, 16: 10.0}
KNOWN_TO_PEER = ("EXPRESS", "ULTRA", "DENSE")
ALONE = ("HQ", "ULTRA_DENSE")


def turns(kind: str) -> tuple["Stream", list[bytes]]:
    """The kind and its capsules for five whole turns, so that the first one follows the last as any other."""
    from rplidar_packets import STEP_Q6, STREAMS, TURN_Q6

    stream = next(stream for stream in STREAMS if stream.kind.name == kind)
    starts = [STEP_Q6 * number % TURN_Q6 for number in range(144)]
    assert (starts[-1] + STEP_Q6) % TURN_Q6 == 0
    return stream, [stream.packet(number) for number in range(144)]


def rate(call: Callable[[], object], samples_a_call: int) -> float:
    """Samples a second of CPU time."""
    calls = max(1, SAMPLES // samples_a_call)
    for _ in range(calls // 5):
        call()
    began_ns = time.process_time_ns()
    for _ in range(calls):
        call()
    return calls * samples_a_call * 1e9 / (time.process_time_ns() - began_ns)


def ours(kind: str, capsules: int) -> Callable[[], object]:
    """The client in a running scan, `capsules` a call."""
    from rplidar_packets import SAMPLE_US

    from oht50d.codec.rplidar.answers import describe, encode_descriptor
    from oht50d.codec.rplidar.parser import RplidarClient

    stream, packets = turns(kind)
    client = RplidarClient()
    client.expect(stream.kind, sample_us=SAMPLE_US)
    client.receive_data(encode_descriptor(describe(stream.kind)) + packets[-1])
    reads = cycle([b"".join(packets[at : at + capsules]) for at in range(0, len(packets), capsules)])

    def call() -> None:
        (samples,) = client.receive_data(next(reads))
        assert len(samples) == capsules * stream.samples

    return call


def pyrplidar(kind: str, capsules: int) -> Callable[[], object]:
    """Its generator in a running scan, the samples of `capsules` a call."""
    from pyrplidar import PyRPlidar

    from oht50d.codec.rplidar.answers import describe, encode_descriptor

    stream, packets = turns(kind)

    def reads() -> Iterator[bytes]:
        yield encode_descriptor(describe(stream.kind))
        yield packets[-1]
        yield from cycle(packets)

    octets = reads()
    lidar = PyRPlidar()
    lidar.lidar_serial = SimpleNamespace(send_data=len, receive_data=lambda _: next(octets), close=lambda: None)
    measurements = lidar.start_scan_express(0)()

    def call() -> None:
        deque(islice(measurements, capsules * stream.samples), maxlen=0)

    return call


def compare(kind: str, capsules: int) -> dict[str, list[float]]:
    """Rates of both in turn, or of ours alone where the peer does not know the kind."""
    stream, _ = turns(kind)
    mine = ours(kind, capsules)
    samples = capsules * stream.samples
    peer = pyrplidar(kind, capsules) if kind in KNOWN_TO_PEER else None
    if peer is None:
        return {"ours": alternate(lambda: rate(mine, samples), lambda: None)[0], "peer": []}
    first, second = alternate(lambda: rate(mine, samples), lambda: rate(peer, samples))
    return {"ours": first, "peer": second}


def main() -> None:
    if "--run" in sys.argv:
        kind, capsules = sys.argv[sys.argv.index("--run") + 1 :][:2]
        print(json.dumps(compare(kind, int(capsules))))
        return
    head("Decoding of LiDAR capsules", "numpy", "pyrplidar")
    for kind in (*KNOWN_TO_PEER, *ALONE):
        for capsules, goal in GOALS.items():
            found = run_child(__file__, "--run", kind, str(capsules), *["--quick"] * IS_QUICK)
            name = f"{kind}, {capsules} a call"
            spread(f"ours, {name}", [samples / 1e6 for samples in found["ours"]], "M samples/s")
            if found["peer"]:
                spread(f"pyrplidar, {name}", [samples / 1e6 for samples in found["peer"]], "M samples/s")
                ratio_line(f"throughput, {name}, ours / pyrplidar", found["ours"], found["peer"], goal, is_floor=True)


if __name__ == "__main__":
    main()
