"""The trace decoder never raises, whatever is in the ring: a technician needs it most when the bus talks nonsense."""

import hypothesis.strategies as st
from bus_fakes import CHARACTER_NS, shipped_maps
from hypothesis import given, settings

from oht50d.codec.rtu import crc16
from oht50d.core.bus_trace import TracedFrame
from oht50d.core.frame_event import Note, Way
from oht50d.core.frame_reader import FrameReader
from oht50d.core.wire_slots import Purpose

MAPS = {module.address: module for module in shipped_maps()}
FUNCTIONS = st.sampled_from([1, 2, 3, 4, 5, 6, 15, 16, 17, 22, 23, 43, 0x83, 0xAB, 99])


@st.composite
def octets(draw: st.DrawFn) -> bytes:
    body = bytes((draw(st.integers(0, 255)), draw(FUNCTIONS))) + draw(st.binary(max_size=40))
    kind = draw(st.sampled_from(["framed", "framed", "bare", "anything"]))
    if kind == "anything":
        return draw(st.binary(max_size=60))
    return body + crc16(body).to_bytes(2, "little") if kind == "framed" else body


FRAMES = st.builds(
    TracedFrame,
    st.integers(0, 10),
    st.integers(0, 10**12),
    st.sampled_from(list(Way)),
    octets(),
    st.sampled_from(list(Note)),
    st.sampled_from([None, *Purpose]),
)


@settings(max_examples=500)
@given(st.lists(FRAMES, max_size=12), st.booleans())
def test_any_ring_can_be_read(frames: list[TracedFrame], is_tcp: bool) -> None:
    reader = FrameReader(MAPS, CHARACTER_NS, is_tcp=is_tcp)
    for frame in frames:
        assert reader.decode(frame).words
