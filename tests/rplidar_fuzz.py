"""Fuzzed octets for every decoder, the client, the device's reader and the value decoders, with what must hold after.

What must hold: nothing but RemoteProtocolError from a value decoder and no exception at all from a stream, bounded
memory at every moment, and in step again within two packets of good data.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from rplidar_packets import SAMPLE_US, STREAMS, Stream, held_octets

from oht50d.codec.rplidar import commands
from oht50d.codec.rplidar.answers import (
    REPEATED_KINDS,
    AnswerKind,
    decode_acc_board,
    decode_descriptor,
    decode_health,
    decode_info,
    decode_sample_rate,
    describe,
    encode_descriptor,
    encode_single_answer,
)
from oht50d.codec.rplidar.commands import RequestParser, encode_motor_pwm
from oht50d.codec.rplidar.conf import CONF_TYPES, MODE_COUNT, decode_query, decode_setting_result
from oht50d.codec.rplidar.parser import (
    AccBoardAnswer,
    ConfAnswer,
    HealthAnswer,
    InfoAnswer,
    RplidarClient,
    SampleRateAnswer,
    ScanStarted,
    SettingAnswer,
)
from oht50d.codec.rplidar.samples import Samples
from oht50d.codec.rplidar.standard import StandardDecoder, encode_node
from oht50d.model.errors import RemoteProtocolError

REQUEST_MAX = 68
CLIENT_MAX = 263 + 64
SINGLES: dict[AnswerKind, type] = {
    AnswerKind.INFO: InfoAnswer,
    AnswerKind.HEALTH: HealthAnswer,
    AnswerKind.SAMPLE_RATE: SampleRateAnswer,
    AnswerKind.CONF: ConfAnswer,
    AnswerKind.SET_CONF: SettingAnswer,
    AnswerKind.ACC_BOARD: AccBoardAnswer,
}
NODE = encode_node(0, 0x3FFC, 10, is_start=False)  # no other cut of it in a row passes for a node
VALUE_DECODERS: list[Callable[[bytes], object]] = [
    decode_acc_board,
    decode_descriptor,
    decode_health,
    decode_info,
    decode_sample_rate,
    decode_query,
    decode_setting_result,
    commands.decode_baud_confirm,
    commands.decode_express_scan,
    commands.decode_motor,
    *(conf.decode_answer for conf in CONF_TYPES.values()),
]
_HEADS = [encode_descriptor(describe(kind)) for kind in AnswerKind]
_PACKETS = [stream.packet(number) for stream in STREAMS for number in range(20)] + [NODE]


def burst(dice: random.Random) -> bytes:
    """Noise, heads, whole, cut, shifted and damaged packets of every kind, up to some thousand octets."""
    octets = bytearray()
    for _ in range(dice.randint(1, 8)):
        match dice.randrange(6):
            case 0:
                octets += dice.randbytes(dice.randint(0, 900))
            case 1:
                octets += dice.choice(_HEADS) * dice.randint(1, 3)
            case 2:
                octets += bytes((dice.choice((0xA5, 0x5A, 0xA0, 0x50, 0, 0xFF)),)) * dice.randint(1, 900)
            case 3:
                packet = dice.choice(_PACKETS)
                octets += packet[dice.randrange(len(packet)) :]
            case 4:
                packet = dice.choice(_PACKETS)
                octets += packet[: dice.randrange(len(packet))]
            case _:
                packet = bytearray(dice.choice(_PACKETS))
                packet[dice.randrange(len(packet))] ^= 1 << dice.randrange(8)
                octets += packet * dice.randint(1, 3)
    return bytes(octets)


def cuts(dice: random.Random, octets: bytes) -> Iterator[bytes]:
    """The octets in pieces of random size, now and then one by one."""
    most = dice.choice((1, 16, 300, 5000))
    position = 0
    while position < len(octets):
        size = dice.randint(1, most)
        yield octets[position : position + size]
        position += size


def feed(dice: random.Random, reader: Any, octets: bytes, most: int) -> int:
    """All of `octets` in random pieces; `reader` never holds more than `most` of them. Returns how many they are."""
    for piece in cuts(dice, octets):
        reader.receive_data(piece)
        assert held_octets(reader) <= most
    return len(octets)


def fuzz_stream(stream: Stream, seed: int, amount: int) -> int:
    """Feed `amount` octets or more to one decoder, good packets between them; returns how many."""
    dice = random.Random(seed)
    decoder = stream.decoder()
    fed = 0
    while fed < amount:
        fed += feed(dice, decoder, burst(dice), 4 * stream.size - 1)
        told = [n for number in range(1, 7) for n in stream.numbers(decoder.receive_data(stream.packet(number)))]
        # What the burst left behind may come first, such as its last packet; then one of the first three good ones.
        wanted = list(range(3, 7 - stream.lag))
        assert told[-len(wanted) :] == wanted, f"seed {seed}, after {fed} octets: {told}"
    return fed


def fuzz_standard(seed: int, amount: int) -> int:
    """The same for the nodes of 0x81, of which nothing can tell whether they are damaged."""
    dice = random.Random(seed)
    decoder = StandardDecoder()
    fed = 0
    while fed < amount:
        fed += feed(dice, decoder, burst(dice), len(NODE) - 1)
        decoder.receive_data(NODE * 2)
        (samples,) = decoder.receive_data(NODE)
        assert isinstance(samples, Samples)
        assert samples.dist_q2.tolist() == [0x3FFC]
        assert samples.quality.tolist() == [40]
    return fed


def fuzz_client(seed: int, amount: int) -> int:
    """Awaited answers of every kind behind noise, and scans with noise in the middle; returns the octets of noise."""
    dice = random.Random(seed)
    client = RplidarClient()
    fed = 0
    while fed < amount:
        kind = dice.choice([None, *AnswerKind])
        client.expect(kind, conf=dice.choice((None, MODE_COUNT)), sample_us=SAMPLE_US)
        most = CLIENT_MAX + (4 * describe(kind).size if kind is not None else 0)
        octets = burst(dice)
        fed += len(octets)
        if kind in REPEATED_KINDS and dice.random() < 0.8:
            octets = encode_descriptor(describe(kind)) + octets
        feed(dice, client, octets, most)
        _ask_again(client, dice.choice([*SINGLES]))
    return fed


def _ask_again(client: RplidarClient, kind: AnswerKind) -> None:
    """Whatever was before, an answer and a scan come through."""
    client.expect(kind, conf=MODE_COUNT)
    octets = MODE_COUNT.encode_answer(3) if kind is AnswerKind.CONF else bytes(describe(kind).size)
    (answer,) = client.receive_data(encode_single_answer(kind, octets))
    assert type(answer) is SINGLES[kind]
    client.expect(AnswerKind.STANDARD)
    started, samples = client.receive_data(encode_descriptor(describe(AnswerKind.STANDARD)) + NODE)
    assert started == ScanStarted(AnswerKind.STANDARD)
    assert isinstance(samples, Samples)


def fuzz_requests(seed: int, amount: int) -> int:
    """The device's reader; one damaged request can hide what it could swallow, and no more."""
    dice = random.Random(seed)
    parser = RequestParser()
    fed = 0
    while fed < amount:
        fed += feed(dice, parser, burst(dice), REQUEST_MAX)
        found = parser.receive_data(encode_motor_pwm(660) * 13)
        assert found
        assert found[-1].payload == b"\x94\x02"
    return fed


def fuzz_values(seed: int, amount: int) -> int:
    """Answers and payloads of any octets: a value, or RemoteProtocolError."""
    dice = random.Random(seed)
    fed = 0
    codes = list(CONF_TYPES)
    while fed < amount:
        octets = dice.randbytes(dice.randint(0, 24))
        if dice.random() < 0.7:
            octets = dice.choice(codes).to_bytes(4, "little") + octets
        fed += len(octets)
        for decode in VALUE_DECODERS:
            with suppress(RemoteProtocolError):
                decode(octets)
    return fed


FUZZERS: dict[str, Callable[[int, int], int]] = {
    "STANDARD": fuzz_standard,
    **{stream.kind.name: lambda seed, amount, stream=stream: fuzz_stream(stream, seed, amount) for stream in STREAMS},
    "client": fuzz_client,
    "requests": fuzz_requests,
    "values": fuzz_values,
}
