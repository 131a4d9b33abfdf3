"""Capture files that Wireshark opens as Modbus RTU (or Modbus/TCP) without any setting (no state).

pcapng with the link type of exported PDUs: each packet names the dissector that it is for, so a stock Wireshark needs
no "Decode As". Times are nanoseconds of UTC; each packet carries its direction and a comment.

Sources: draft-ietf-opsawg-pcapng, sections 4.1 (section header), 4.2 (interface description), 4.3 (enhanced packet),
option codes 1 (opt_comment), 2 (if_name, epb_flags), 3 (if_description), 4 (shb_userappl), 9 (if_tsresol);
tcpdump.org/linktypes: 252 LINKTYPE_WIRESHARK_UPPER_PDU, its tags as Wireshark's epan/exported_pdu.h numbers them
(12 name of the dissector, 24 port type, 25 and 26 source and destination port, 0 end).
"""

from collections.abc import Iterable, Iterator
from struct import Struct

from attrs import frozen

LINKTYPE_UPPER_PDU = 252
SERVER_PORT = 502
"""The port that stands for the modules: `-o mbrtu.tcp.port:502` lets tshark tell the request and the echo of a write
to one register apart; all else it tells by itself."""
MASTER_PORT = 50200

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_BYTE_ORDER = 0x1A2B3C4D
_INBOUND, _OUTBOUND = 1, 2
_TAG_DISSECTOR, _TAG_PORT_TYPE, _TAG_SOURCE, _TAG_DESTINATION = 12, 24, 25, 26
_PORT_TYPE_TCP = 2
_MAX_COMMENT_BYTES = 1000

_BLOCK_HEAD = Struct("<II")
_BLOCK_TAIL = Struct("<I")
_OPTION = Struct("<HH")
_SECTION_BODY = Struct("<IHHq")
_INTERFACE_BODY = Struct("<HHI")
_PACKET_BODY = Struct("<IIIII")
_FLAGS = Struct("<I")
_TAG = Struct(">HH")
_TAG_NUMBER = Struct(">I")


@frozen
class CapturedFrame:
    """One frame as it was on the line: `octets` with address and CRC (RTU) or with the MBAP header (TCP)."""

    utc_ns: int
    is_from_master: bool
    octets: bytes
    comment: str = ""


def encode_capture(
    frames: Iterable[CapturedFrame], *, port: str, program: str, is_tcp: bool = False
) -> Iterator[bytes]:
    """The blocks of a pcapng file, one after the other; frames without a byte are left out.

    `port` and `program` are shown by Wireshark as the name of the interface and the program that wrote the file.
    """
    yield _block(_SECTION, _SECTION_BODY.pack(_BYTE_ORDER, 1, 0, -1) + _options((4, program.encode())))
    names = _options((2, port.encode()), (3, b"RS-485, Modbus"), (9, bytes((9,))))
    yield _block(_INTERFACE, _INTERFACE_BODY.pack(LINKTYPE_UPPER_PDU, 0, 0) + names)
    heads = [_pdu_head(is_from_master=way, is_tcp=is_tcp) for way in (False, True)]
    for frame in frames:
        if frame.octets:
            yield _packet(frame, heads[frame.is_from_master])


def _pdu_head(*, is_from_master: bool, is_tcp: bool) -> bytes:
    source, destination = (MASTER_PORT, SERVER_PORT) if is_from_master else (SERVER_PORT, MASTER_PORT)
    return b"".join(
        (
            _tag(_TAG_DISSECTOR, b"mbtcp" if is_tcp else b"mbrtu"),
            _tag(_TAG_PORT_TYPE, _TAG_NUMBER.pack(_PORT_TYPE_TCP)),
            _tag(_TAG_SOURCE, _TAG_NUMBER.pack(source)),
            _tag(_TAG_DESTINATION, _TAG_NUMBER.pack(destination)),
            _tag(0, b""),
        )
    )


def _packet(frame: CapturedFrame, head: bytes) -> bytes:
    octets = head + frame.octets
    body = _PACKET_BODY.pack(0, frame.utc_ns >> 32, frame.utc_ns & 0xFFFFFFFF, len(octets), len(octets))
    flags = (2, _FLAGS.pack(_OUTBOUND if frame.is_from_master else _INBOUND))
    comment = ((1, frame.comment.encode()[:_MAX_COMMENT_BYTES]),) if frame.comment else ()
    return _block(_PACKET, body + _padded(octets) + _options(*comment, flags))


def _block(kind: int, body: bytes) -> bytes:
    length = 12 + len(body)
    return _BLOCK_HEAD.pack(kind, length) + body + _BLOCK_TAIL.pack(length)


def _options(*options: tuple[int, bytes]) -> bytes:
    return b"".join(_OPTION.pack(code, len(text)) + _padded(text) for code, text in options) + bytes(4)


def _tag(number: int, octets: bytes) -> bytes:
    padded = _padded(octets)
    return _TAG.pack(number, len(padded)) + padded


def _padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % 4)
