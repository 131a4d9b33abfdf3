"""Properties of the listen-only parser: every frame of somebody else is found whatever the splits and the noise."""

from itertools import pairwise
from struct import pack

import hypothesis.strategies as st
from hypothesis import given, settings

from oht50d.codec.overheard import MAX_BUFFER_BYTES, HeardFrame, HeardKind, Overhearer
from oht50d.codec.rtu import MAX_FRAME_BYTES, crc16

UNITS = st.integers(1, 247)
ADDRESSES = st.integers(0, 0xFF00)


def framed(body: bytes) -> bytes:
    return body + pack("<H", crc16(body))


@st.composite
def exchanges(draw: st.DrawFn) -> tuple[bytes, bytes | None]:
    """Request and reply of one of the functions, as V1.1b3 section 6 draws them; None: nobody answered."""
    unit, address = draw(UNITS), draw(ADDRESSES)
    function = draw(st.sampled_from([1, 2, 3, 4, 5, 6, 15, 16, 17, 22, 23, 43]))
    count = draw(st.integers(1, 100))
    words = draw(st.binary(min_size=2 * count, max_size=2 * count))
    bits = words[: (count + 7) // 8]
    requests: dict[int, bytes] = {
        **dict.fromkeys((1, 2, 3, 4), pack(">HH", address, count)),
        **dict.fromkeys((5, 6), pack(">H", address) + words[:2]),
        15: pack(">HHB", address, count, len(bits)) + bits,
        16: pack(">HHB", address, count, len(words)) + words,
        17: b"",
        22: pack(">HHH", address, 0xF2, 0x25),
        23: pack(">HHHHB", address, count, address, count, len(words)) + words,
        43: b"\x0e\x01\x00",
    }
    replies: dict[int, bytes] = {
        **dict.fromkeys((1, 2), bytes((len(bits),)) + bits),
        **dict.fromkeys((3, 4, 23), bytes((2 * count,)) + words),
        **dict.fromkeys((5, 6, 22), requests[function]),
        **dict.fromkeys((15, 16), pack(">HH", address, count)),
        17: b"\x04\x05\xffAB",
        43: b"\x0e\x01\x01\x00\x00\x02\x00\x03abc\x01\x02de",
    }
    answer = draw(st.sampled_from(["reply", "reply", "exception", "silence"]))
    request = framed(bytes((unit, function)) + requests[function])
    if answer == "silence":
        return request, None
    body = bytes((unit, function)) + replies[function]
    return request, framed(bytes((unit, function | 0x80, 2)) if answer == "exception" else body)


def heard_in(pieces: list[bytes]) -> list[HeardFrame]:
    listener = Overhearer()
    heard = [frame for piece in pieces for frame in listener.receive_data(piece)]
    return heard + listener.flush()


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(octets) + 1) for place in places), len(octets)]
    return [octets[first:last] for first, last in pairwise(edges)]


@settings(max_examples=300)
@given(st.lists(exchanges(), min_size=1, max_size=8), st.lists(st.integers(0, 9999), max_size=20))
def test_every_frame_is_found_and_every_reply_has_its_request(
    said: list[tuple[bytes, bytes | None]], places: list[int]
) -> None:
    octets = b"".join(request + (reply or b"") for request, reply in said)
    heard = heard_in(cut(octets, places))
    assert b"".join(frame.octets for frame in heard) == octets
    assert HeardKind.NOISE not in {frame.kind for frame in heard}
    answered = [(frame.request, frame.octets) for frame in heard if frame.kind is HeardKind.REPLY]
    assert [pair for pair in said if pair[1] is not None and pair not in answered] == []


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=30), exchanges()), min_size=1, max_size=6))
def test_noise_between_exchanges_hides_no_exchange(said: list[tuple[bytes, tuple[bytes, bytes | None]]]) -> None:
    listener = Overhearer()
    for noise, (request, reply) in said:
        told = listener.receive_data(noise) + listener.flush()
        assert b"".join(frame.octets for frame in told) == noise
        told = listener.receive_data(request + (reply or b"")) + listener.flush()
        kinds = [frame.kind for frame in told]
        assert kinds == ([HeardKind.REQUEST] if reply is None else [HeardKind.REQUEST, HeardKind.REPLY])


@given(st.lists(st.tuples(st.binary(max_size=40), exchanges()), min_size=1, max_size=6))
def test_noise_without_a_pause_hides_at_most_what_it_touches(
    said: list[tuple[bytes, tuple[bytes, bytes | None]]],
) -> None:
    """A damaged beginning can claim up to 256 bytes: once these are in, the parser finds its way back."""
    quiet = framed(b"\x01\x03\x00\x00\x00\x01") * 40
    listener = Overhearer()
    for noise, (request, reply) in said:
        told = listener.receive_data(noise + request + (reply or b"") + quiet)
        assert request in [frame.octets for frame in told]


@given(st.lists(st.binary(max_size=600), max_size=10))
def test_any_bytes_come_out_again_and_the_buffer_stays_bounded(pieces: list[bytes]) -> None:
    listener = Overhearer()
    told = b""
    said = b""
    for piece in pieces:
        said += piece
        told += b"".join(frame.octets for frame in listener.receive_data(piece))
        assert len(said) - len(told) <= MAX_BUFFER_BYTES + MAX_FRAME_BYTES
    told += b"".join(frame.octets for frame in listener.flush())
    assert told == said
    assert not listener.is_waiting


def test_a_write_that_was_repeated_without_an_answer_keeps_its_refusal() -> None:
    """Its second frame looks like its echo; the exception behind it still belongs to it."""
    write, refusal = framed(b"\x05\x06\x00\x25\x00\x07"), framed(b"\x05\x86\x02")
    assert [(frame.kind, frame.request) for frame in heard_in([write + write + refusal])] == [
        (HeardKind.REQUEST, None), (HeardKind.REPLY, write), (HeardKind.REPLY, write)
    ]  # fmt: skip
    repeated = heard_in([write + write] * 3)
    assert [frame.kind for frame in repeated] == [HeardKind.REQUEST, HeardKind.REPLY] * 3
