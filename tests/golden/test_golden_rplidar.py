"""The vendor reference's own output, bit for bit, however the stream is cut.

Source of the vectors: golden/rplidar/*.json, made by running the public Slamtec SDK 2.1.0 (RPLIDAR.md, section 6).
"""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oht50d.codec.rplidar.answers import AnswerKind, describe, encode_descriptor
from oht50d.codec.rplidar.dense import DenseDecoder
from oht50d.codec.rplidar.express import ExpressDecoder
from oht50d.codec.rplidar.hq import HqDecoder
from oht50d.codec.rplidar.parser import ClientEvent, RplidarClient, ScanStarted
from oht50d.codec.rplidar.samples import ChecksumError, EncoderReset, Samples, ScanReset, StreamEvent
from oht50d.codec.rplidar.standard import StandardDecoder
from oht50d.codec.rplidar.ultra import UltraDecoder
from oht50d.codec.rplidar.ultra_dense import UltraDenseDecoder

VECTORS = sorted((Path(__file__).parent / "rplidar").glob("*.json"))
EVENT_NAMES = {ChecksumError: "checksum_error", EncoderReset: "encoder_reset", ScanReset: "scan_reset"}
Receive = Callable[[bytes], list[StreamEvent]]
# The sample time counts for the jump limit of 0x85 and 0x86 only.
DECODERS: dict[str, Callable[[int], Receive]] = {
    "0x81": lambda _: StandardDecoder().receive_data,
    "0x82": lambda _: ExpressDecoder().receive_data,
    "0x83": lambda _: HqDecoder().receive_data,
    "0x84": lambda _: UltraDecoder().receive_data,
    "0x85": lambda sample_us: DenseDecoder(sample_us).receive_data,
    "0x86": lambda sample_us: UltraDenseDecoder(sample_us).receive_data,
}
CUTS = ["whole", "bytes", "packets", "random 1", "random 2", "random 3"]


def pieces(stream: bytes, cut: str, packet_size: int) -> Iterator[bytes]:
    dice = random.Random(stream[:8] + cut.encode())
    position = 0
    while position < len(stream):
        size = {"whole": len(stream), "bytes": 1, "packets": packet_size}.get(cut) or dice.randint(1, 200)
        yield stream[position : position + size]
        position += size


def decode(
    receive: Receive | Callable[[bytes], list[ClientEvent]], chunks: Iterator[bytes]
) -> tuple[list[list[int]], list[list[Any]]]:
    nodes: list[list[int]] = []
    events: list[list[Any]] = []
    for chunk in chunks:
        for event in receive(chunk):
            if isinstance(event, Samples):
                columns = (event.angle_q14, event.dist_q2, event.quality, event.flag)
                nodes += [list(node) for node in zip(*(column.tolist() for column in columns), strict=True)]
            else:
                events.append([len(nodes), EVENT_NAMES[type(event)]])
    return nodes, events


def chunks_of(vector: dict[str, Any], cut: str) -> Iterator[bytes]:
    return pieces(bytes.fromhex("".join(vector["packets_hex"])), cut, vector["packet_size"])


def test_all_vectors_of_every_kind_are_there() -> None:
    counts = dict.fromkeys(DECODERS, 0)
    for path in VECTORS:
        counts[path.name[:4]] += 1
    assert counts == {"0x81": 3, "0x82": 4, "0x83": 3, "0x84": 6, "0x85": 5, "0x86": 5}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_nodes_and_events_equal_the_reference(path: Path, cut: str) -> None:
    vector = json.loads(path.read_text())
    receive = DECODERS[vector["kind"]](vector["sample_duration_us"])
    nodes, events = decode(receive, chunks_of(vector, cut))
    assert events == vector["events"]
    assert nodes == vector["nodes"]
    assert nodes


@pytest.mark.parametrize("path", [path for path in VECTORS if "0x84" in path.name], ids=lambda path: path.stem)
def test_negative_distances_are_no_returns_where_that_is_asked_for(path: Path) -> None:
    vector = json.loads(path.read_text())
    nodes, events = decode(UltraDecoder(drops_negative=True).receive_data, chunks_of(vector, "whole"))
    assert events == vector["events"]
    expected = [[a, d, q, f] if d < 1 << 31 else [a, 0, 0, f] for a, d, q, f in vector["nodes"]]
    assert nodes == expected
    assert (expected != vector["nodes"]) == ("negative" in path.name)


@pytest.mark.parametrize("cut", ["whole", "random 1"])
@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_the_client_tells_the_same_behind_a_descriptor(path: Path, cut: str) -> None:
    vector = json.loads(path.read_text())
    kind = AnswerKind(int(vector["kind"], 16))
    client = RplidarClient()
    client.expect(kind, sample_us=vector["sample_duration_us"])
    assert client.receive_data(b"\xa5" + encode_descriptor(describe(kind))) == [ScanStarted(kind)]
    nodes, events = decode(client.receive_data, chunks_of(vector, cut))
    assert events == vector["events"]
    assert nodes == [
        [a, d, q, f] if d < 1 << 31 or kind is AnswerKind.HQ else [a, 0, 0, f] for a, d, q, f in vector["nodes"]
    ]
    assert client.checksum_errors == [name for _, name in events].count("checksum_error")
