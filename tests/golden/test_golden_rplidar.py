"""The vendor reference's own output, bit for bit, however the stream is cut.

Source of the vectors: golden/rplidar/*.json, made by running the public Slamtec SDK 2.1.0 (RPLIDAR.md, section 6).
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oht50d.codec.rplidar.express import ExpressDecoder
from oht50d.codec.rplidar.samples import ChecksumError, EncoderReset, Samples, ScanReset
from oht50d.codec.rplidar.standard import StandardDecoder

VECTORS = sorted((Path(__file__).parent / "rplidar").glob("*.json"))
EVENT_NAMES = {ChecksumError: "checksum_error", EncoderReset: "encoder_reset", ScanReset: "scan_reset"}


def pieces(stream: bytes, cut: str) -> Iterator[bytes]:
    dice = random.Random(stream[:8] + cut.encode())
    position = 0
    while position < len(stream):
        size = {"whole": len(stream), "bytes": 1, "packets": 84}.get(cut) or dice.randint(1, 200)
        yield stream[position : position + size]
        position += size


def decode(kind: str, chunks: Iterator[bytes]) -> tuple[list[list[int]], list[list[Any]]]:
    decoder: StandardDecoder | ExpressDecoder = StandardDecoder() if kind == "0x81" else ExpressDecoder()
    nodes: list[list[int]] = []
    events: list[list[Any]] = []
    for chunk in chunks:
        for event in decoder.receive_data(chunk):
            if isinstance(event, Samples):
                columns = (event.angle_q14, event.dist_q2, event.quality, event.flag)
                nodes += [list(node) for node in zip(*(column.tolist() for column in columns), strict=True)]
            else:
                events.append([len(nodes), EVENT_NAMES[type(event)]])
    return nodes, events


def test_all_vectors_of_both_kinds_are_there() -> None:
    assert [path.name[:4] for path in VECTORS] == ["0x81"] * 3 + ["0x82"] * 4


@pytest.mark.parametrize("cut", ["whole", "bytes", "packets", "random 1", "random 2", "random 3"])
@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_nodes_and_events_equal_the_reference(path: Path, cut: str) -> None:
    vector = json.loads(path.read_text())
    stream = bytes.fromhex("".join(vector["packets_hex"]))
    nodes, events = decode(vector["kind"], pieces(stream, cut))
    assert events == vector["events"]
    assert nodes == vector["nodes"]
    assert nodes
