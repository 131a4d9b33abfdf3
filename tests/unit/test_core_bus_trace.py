"""The trace ring: what is kept, what falls out, and that the numbers tell."""

from oht50d.core.bus_trace import BusTrace
from oht50d.core.frame_event import Note, Way
from oht50d.core.wire_slots import Purpose


def filled(count: int, trace: BusTrace) -> BusTrace:
    for number in range(count):
        trace.add(1000 * number, Way.SENT, bytes((number % 256,)) * 10, Note.SENT, Purpose.POLL)
    return trace


def test_a_frame_comes_back_as_it_went_in() -> None:
    trace = BusTrace()
    trace.add(7, Way.RECEIVED, b"\x03\x83\x02\x61\x31", Note.EXCEPTION, Purpose.IDENTIFY)
    (frame,) = trace.frames(0, 10)
    assert (frame.number, frame.at_ns, frame.way, frame.note) == (0, 7, Way.RECEIVED, Note.EXCEPTION)
    assert (frame.octets, frame.purpose) == (b"\x03\x83\x02\x61\x31", Purpose.IDENTIFY)
    assert trace.frame(0) == frame
    assert trace.frame(1) is None


def test_the_oldest_fall_out_and_the_numbers_tell() -> None:
    trace = filled(25, BusTrace(max_frames=10))
    assert (trace.first_number, trace.next_number) == (15, 25)
    assert [frame.number for frame in trace.frames(0, 100)] == list(range(15, 25))
    assert [frame.octets[0] for frame in trace.frames(20, 2)] == [20, 21]
    assert trace.frame(14) is None


def test_the_bound_in_bytes_holds_too() -> None:
    trace = filled(25, BusTrace(max_frames=1000, max_bytes=55))
    assert trace.kept_bytes == 50
    assert [frame.number for frame in trace.frames(0, 100)] == list(range(20, 25))
    trace.add(0, Way.RECEIVED, bytes(60), Note.UNEXPECTED, None)
    assert trace.kept_bytes == 0
    assert list(trace.frames(0, 100)) == []
    assert trace.next_number == 26


def test_a_moment_is_found_by_its_time() -> None:
    trace = filled(25, BusTrace(max_frames=10))
    assert trace.number_at(0) == 15
    assert trace.number_at(20_000) == 20
    assert trace.number_at(20_001) == 21
    assert trace.number_at(99_000) == 25


def test_an_empty_ring_has_nothing() -> None:
    trace = BusTrace()
    assert list(trace.frames(0, 5)) == []
    assert trace.number_at(5) == 0
