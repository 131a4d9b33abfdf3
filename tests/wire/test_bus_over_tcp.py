"""The real bus owner over TCP against another implementation's servers: truth, late replies, restarts, half-dead peers.

pymodbus serves the four hand-filled modules of tests/truth_words.py; a proxy in front of it delays, forgets and cuts.
Every single published word is compared with what the module holds.
"""

import random
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, suppress

import pytest
import trio
from bus_owner import BLOCKS, Owner, owner_on
from modbus_servers import ModbusServer, Proxy
from truth_words import LEFT_BY_S0, SERIALS, TRUTH

from oht50d.clock import now_ns
from oht50d.drivers.bus_config import BusConfig, Transport
from oht50d.drivers.tcp_link import TcpConfig

BOTH = pytest.mark.parametrize("transport", ["tcp", "rtu_over_tcp"])


def owner_over(transport: str, port: int, *, is_patient: bool = True) -> AbstractAsyncContextManager[Owner]:
    config = BusConfig(transport=Transport(transport), tcp=TcpConfig(host="127.0.0.1", port=port))
    return owner_on(config, is_patient=is_patient)


@pytest.fixture
def server(transport: str) -> Iterator[ModbusServer]:
    with ModbusServer.serving(TRUTH, transport) as serving:
        yield serving


@BOTH
async def test_every_readable_register_is_read_and_typed_truly(transport: str, server: ModbusServer) -> None:
    async with owner_over(transport, server.port) as owner:
        await owner.until(lambda: owner.blocks_read() == BLOCKS, "every block was read")
        modules, status = owner.modules, owner.bus.status
    assert owner.untrue() == []
    values = {(m.address, name): reading.value for m in modules for name, reading in m.readings.items()}
    for unit, rows in TRUTH.items():
        for address, name, _, value, *_ in rows:
            if (unit, address) not in LEFT_BY_S0:
                assert (values[unit, name], type(values[unit, name])) == (value, type(value)), name
    assert {m.address: m.serial for m in modules} == SERIALS
    assert {m.address: m.counters.exceptions for m in modules} == dict.fromkeys(TRUTH, 0)
    assert (status.is_open, status.transport, status.early_frames) == (True, transport, 0)
    assert status.port == status.device == f"127.0.0.1:{server.port}"
    assert owner.problems == []


@BOTH
async def test_replies_in_pieces_are_put_together(transport: str, server: ModbusServer) -> None:
    async with Proxy.in_front_of(server.port) as proxy, owner_over(transport, proxy.port) as owner:
        proxy.piece_bytes = 1
        await owner.until(lambda: owner.blocks_read() == BLOCKS, "every block was read")
    assert owner.untrue() == []
    assert sum(module.counters.noise for module in owner.modules) == 0


@BOTH
async def test_replies_that_come_after_their_time_are_never_taken_for_others(
    transport: str, server: ModbusServer
) -> None:
    """Delays about the time-outs, in order, as a gateway with a queue makes them.

    Without numbers (tcp) or fence (rtu_over_tcp) dozens of words of other blocks are published here.
    """
    dice = random.Random(7)
    async with Proxy.in_front_of(server.port) as proxy, owner_over(transport, proxy.port, is_patient=False) as owner:
        await owner.until_online()
        proxy.delay_s = lambda: dice.choice((0.0, 0.03, 0.03, 0.06, 0.07, 0.08))
        await owner.until(lambda: sum(m.counters.timeouts for m in owner.modules) >= 60, "60 replies came too late")
        proxy.delay_s = lambda: 0.0
        before = len(owner.readings)
        await owner.until_online()
        await owner.until(lambda: len(owner.readings) > before + 40, "the bus reads on")
        late = owner.bus.late_replies
    print(f"{transport}: {len(owner.readings)} blocks published, {late} late replies skipped by number")
    assert owner.untrue() == []
    assert owner.problems == []
    assert late > 20 if transport == "tcp" else late == 0


@BOTH
async def test_a_server_that_starts_again_is_found_again(transport: str, server: ModbusServer) -> None:
    async with owner_over(transport, server.port) as owner:
        await owner.until_online()
        for _ in range(2):
            await trio.to_thread.run_sync(server.stop)
            await owner.until(lambda: not owner.bus.status.is_open, "the loss is noticed")
            assert owner.bus.status.cause
            await owner.until(lambda: any(p.cause == "refused" for p in owner.problems), "nobody listens")
            await trio.to_thread.run_sync(server.start)
            await owner.until(lambda: owner.bus.status.is_open, "the bus is open again")
            began_ns = now_ns()
            await owner.until_online()
            print(f"{transport}: all modules online {(now_ns() - began_ns) / 1e6:.0f} ms after the connection")
            owner.problems.clear()
    assert owner.untrue() == []


@BOTH
async def test_a_connection_that_is_cut_at_any_moment_costs_no_truth(transport: str, server: ModbusServer) -> None:
    async with Proxy.in_front_of(server.port) as proxy, owner_over(transport, proxy.port) as owner:
        for _ in range(8):
            await owner.until_online()
            proxy.delay_s = lambda: 0.004
            await trio.sleep(random.uniform(0, 0.02))
            connections = proxy.connections
            proxy.cut()
            await owner.until(lambda known=connections: proxy.connections > known, "a new connection")  # type: ignore[misc]  # bound here
            proxy.delay_s = lambda: 0.0
        await owner.until_online()
    assert owner.untrue() == []
    assert {problem.cause for problem in owner.problems} == {"lost"}


@BOTH
async def test_a_half_dead_peer_costs_the_modules_and_then_the_connection(transport: str, server: ModbusServer) -> None:
    """It takes every request and answers none, while its TCP goes on acknowledging."""
    async with Proxy.in_front_of(server.port) as proxy, owner_over(transport, proxy.port, is_patient=False) as owner:
        await owner.until_online()
        proxy.is_mute = True
        began_ns = now_ns()
        await owner.until(lambda: not any(module.is_online for module in owner.modules), "the modules are lost")
        assert owner.bus.status.is_open, "the modules are lost long before the connection is"
        lost_ms = (now_ns() - began_ns) / 1e6
        await owner.until(lambda: bool(owner.problems), "the connection is given up")
        given_up_s = (now_ns() - began_ns) / 1e9
        assert "answers none" in str(owner.problems[0])
        proxy.is_mute = False
        await owner.until_online()
    print(f"{transport}: modules lost after {lost_ms:.0f} ms, connection given up after {given_up_s:.1f} s")
    assert given_up_s < 10
    assert owner.untrue() == []


async def test_a_server_of_something_else_is_told_as_that() -> None:
    async def greet(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            async for _ in stream:
                await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, greet, [listener])
        async with owner_over("tcp", listener.socket.getsockname()[1]) as owner:
            await owner.until(lambda: bool(owner.problems), "it is no Modbus server")
            assert "no Modbus TCP comes from there" in str(owner.problems[0])
            assert owner.readings == []
        nursery.cancel_scope.cancel()


async def test_a_reply_of_the_right_number_and_the_wrong_unit_is_no_value() -> None:
    """A gateway with a mistake in it answers at once and wrongly; nobody waits for more."""

    async def mistake(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            async for octets in stream:
                body = bytes((octets[6] + 1, octets[7] | 0x80, 0x04))
                await stream.send_all(octets[:4] + len(body).to_bytes(2, "big") + body)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, mistake, [listener])
        async with owner_over("tcp", listener.socket.getsockname()[1]) as owner:
            await owner.until(lambda: sum(m.counters.noise for m in owner.modules) >= 10, "ten mismatches")
            assert (owner.readings, owner.problems) == ([], [])
        nursery.cancel_scope.cancel()
