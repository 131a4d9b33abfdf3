"""Listen-only on a line of memory: nothing is ever sent, every frame of the others is traced, motion stays refused."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from bus_fakes import BAUD, MS, Bench, MockTimer, make_bench
from trio.testing import MockClock, wait_all_tasks_blocked

from oht50d.clock import now_ns
from oht50d.codec.rtu import encode_reply, encode_request
from oht50d.core.bus_trace import BusTrace
from oht50d.core.frame_event import Note, Way
from oht50d.drivers.bus_config import BusConfig, Transport
from oht50d.drivers.field_bus import FieldBus
from oht50d.drivers.serial_settings import SerialPortConfig
from oht50d.drivers.tcp_link import TcpConfig
from oht50d.model.bus import ReadRegisters, ReadReply, WriteRegister, WriteReply
from oht50d.model.errors import LinkLost
from oht50d.model.motion import Cause, CauseCode, Decision, StopKind
from oht50d.model.units import SettingClash

READ = encode_request(ReadRegisters(5, 0x30, 4))
REPLY = encode_reply(ReadReply(5, (1, 2, 3, 4)))
WRITE = encode_request(WriteRegister(3, 0x31, 0))
ECHO = encode_reply(WriteReply(3, 0x31, 1, 0))


def listening_bench() -> tuple[Bench, BusTrace]:
    bench, trace = make_bench(), BusTrace()
    config = BusConfig(serial=SerialPortConfig(port="/dev/ttyMEMORY", baud=BAUD), listen_only=True)
    bench.bus = FieldBus(
        config, bench.schedule, MockTimer(), bench.open_port, bench.publish, bench.publish_stop, observe=trace.add
    )
    return bench, trace


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[Bench, BusTrace]]:
    bench, trace = listening_bench()
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.bus.run)
        await wait_all_tasks_blocked()
        yield bench, trace
        assert bench.line.sent == []
        nursery.cancel_scope.cancel()


def heard(trace: BusTrace) -> list[tuple[Note, bytes]]:
    return [(frame.note, frame.octets) for frame in trace.frames(0, 1000) if frame.way is Way.OVERHEARD]


async def test_what_others_say_is_traced_with_its_time_and_becomes_no_reading(autojump_clock: MockClock) -> None:
    async with listening() as (bench, trace):
        begins_ns = now_ns()
        for number, octets in enumerate((READ, REPLY, WRITE, ECHO)):
            bench.line.inject(octets, begins_ns + (1 + number) * 5 * MS)
        await trio.sleep(1)
        assert heard(trace) == [
            (Note.REQUEST, READ), (Note.REPLY, REPLY), (Note.REQUEST, WRITE), (Note.REPLY, ECHO)
        ]  # fmt: skip
        times = [frame.at_ns - begins_ns for frame in trace.frames(1, 10)]
        assert times == pytest.approx([5 * MS, 10 * MS, 15 * MS, 20 * MS], abs=1000)
        assert bench.readings == []
        assert bench.bus.status.last_valid_ns == pytest.approx(begins_ns + 20 * MS, abs=1000)


async def test_noise_is_told_once_the_line_has_paused(autojump_clock: MockClock) -> None:
    async with listening() as (bench, trace):
        bench.line.inject(b"\x05\x03\x77")
        await trio.sleep(0.15)
        assert heard(trace) == []
        await trio.sleep(0.3)
        assert heard(trace) == [(Note.NOISE, b"\x05\x03\x77")]
        assert bench.bus.status.last_valid_ns is None


async def test_listening_is_a_state_of_its_own_and_decisions_are_acknowledged(autojump_clock: MockClock) -> None:
    async with listening() as (bench, _trace):
        status = bench.bus.status
        assert (status.is_open, status.is_listening, status.is_listen_only) == (False, True, True)
        assert (status.cause, status.opened_ns) == ("", None)
        bench.bus.take_over(Decision(77, now_ns(), None, None, None, (), ()))
        await trio.sleep(0.25)
        assert bench.bus.status.adopted_sequence == 77


async def test_not_even_a_stop_is_sent(autojump_clock: MockClock) -> None:
    async with listening() as (bench, _trace):
        bench.bus.trip_causes(StopKind.S0, (Cause(CauseCode.OPERATOR_STOP, now_ns()),))
        bench.grant()
        await trio.sleep(2)


async def test_a_port_that_hangs_up_ends_the_session(autojump_clock: MockClock) -> None:
    bench, trace = listening_bench()
    with pytest.RaisesGroup(LinkLost):
        async with trio.open_nursery() as nursery:
            await nursery.start(bench.bus.run)
            await wait_all_tasks_blocked()
            bench.line.hang_up()
    assert not bench.bus.status.is_listening
    assert bench.bus.status.cause
    assert [frame.note for frame in trace.frames(0, 9)] == [Note.OPENED, Note.CLOSED]


def test_behind_a_gateway_of_modbus_tcp_nobody_hears_others() -> None:
    with pytest.raises(SettingClash, match="listen_only"):
        BusConfig(transport=Transport.TCP, tcp=TcpConfig(host="10.0.0.1"), listen_only=True)
    assert BusConfig(transport=Transport.RTU_OVER_TCP, tcp=TcpConfig(host="10.0.0.1"), listen_only=True).listen_only
