"""The TCP link on loopback: connecting, refusing, losing, draining, and what it leaves behind."""

import errno
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
import trio
import trio.testing
from attrs import evolve

from oht50d.drivers import tcp_link
from oht50d.drivers.tcp_link import MUTE_LIMIT_NS, PEER_LIMIT_MS, TcpConfig, TcpLink, explain_connect, open_tcp_link
from oht50d.model.errors import LinkError, LinkLost
from oht50d.model.units import Duration

LIMIT_S = 20


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(LIMIT_S)
        yield server


def config_for(listener: socket.socket) -> TcpConfig:
    return TcpConfig(host="127.0.0.1", port=listener.getsockname()[1])


async def connected(listener: socket.socket) -> tuple[TcpLink, socket.socket]:
    with trio.fail_after(LIMIT_S):
        link = await open_tcp_link(config_for(listener))
    peer, _ = listener.accept()
    peer.settimeout(LIMIT_S)
    return link, peer


async def refusal(config: TcpConfig) -> LinkError:
    with trio.fail_after(LIMIT_S), pytest.raises(LinkError) as raised:
        await open_tcp_link(config)
    assert raised.value.remedy
    assert config.host is None or config.host in str(raised.value)
    return raised.value


async def test_bytes_pass_in_both_directions(listener: socket.socket) -> None:
    link, peer = await connected(listener)
    with peer, trio.fail_after(LIMIT_S):
        assert link.send_now(b"now") == 3
        await link.send_all(bytes(range(256)))
        assert peer.recv(3, socket.MSG_WAITALL) == b"now"
        assert peer.recv(256, socket.MSG_WAITALL) == bytes(range(256))
        peer.sendall(b"abc")
        assert await link.receive_some(2) == b"ab"
        assert await link.receive_some(2) == b"c"
        link.close()
    assert link.device == f"127.0.0.1:{listener.getsockname()[1]}"


async def test_the_connection_is_set_up_for_small_frames_and_dead_peers(listener: socket.socket) -> None:
    link, peer = await connected(listener)
    with peer:
        connection = link._socket
        tcp = socket.IPPROTO_TCP
        assert connection.getsockopt(tcp, socket.TCP_NODELAY) == 1
        assert connection.getsockopt(tcp, socket.TCP_USER_TIMEOUT) == PEER_LIMIT_MS
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        assert sum(connection.getsockopt(tcp, name) for name in names) <= 4, "seconds"
        link.close()


async def test_a_frame_larger_than_the_buffers_goes_out_whole(listener: socket.socket) -> None:
    link, peer = await connected(listener)
    octets = bytes(range(256)) * 40_000
    received = bytearray()

    def read() -> None:
        while len(received) < len(octets):
            received.extend(peer.recv(65_536))

    with peer, trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.send_all, octets)
            await trio.testing.wait_all_tasks_blocked()
            await trio.to_thread.run_sync(read)
        link.close()
    assert bytes(received) == octets


async def test_a_cancelled_wait_loses_nothing_and_drain_says_what_came(listener: socket.socket) -> None:
    link, peer = await connected(listener)
    with peer, trio.fail_after(LIMIT_S):
        with trio.move_on_after(0.05) as scope:
            await link.receive_some()
        assert scope.cancelled_caught
        assert link.drain_input() == b""
        peer.sendall(b"late")
        assert await link.receive_some(1) == b"l"
        assert link.drain_input() == b"ate"
        link.close()


async def test_drain_ends_while_the_peer_keeps_talking(listener: socket.socket) -> None:
    link, peer = await connected(listener)
    ended = threading.Event()

    def talk() -> None:
        while not ended.is_set():
            try:
                peer.sendall(bytes(65_536))
            except OSError:
                return

    thread = threading.Thread(target=talk)
    thread.start()
    with trio.fail_after(LIMIT_S):
        await link.receive_some()
        assert len(link.drain_input()) <= 64 * 4096
    link.close()
    ended.set()
    thread.join(LIMIT_S)
    peer.close()


@pytest.mark.parametrize("is_reset", [False, True])
async def test_a_peer_that_goes_is_a_lost_link_for_everyone(listener: socket.socket, is_reset: bool) -> None:
    link, peer = await connected(listener)
    losses: list[str] = []

    async def wait_for_bytes() -> None:
        with pytest.raises(LinkLost) as raised:
            await link.receive_some()
        losses.append(raised.value.cause)

    if is_reset:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_bytes)
            await trio.testing.wait_all_tasks_blocked()
            peer.close()
        assert losses == ["lost"]
        with pytest.raises(LinkLost):
            await link.receive_some()
        with pytest.raises(LinkLost):
            link.drain_input()
        with pytest.raises(LinkLost):
            while True:
                await link.send_all(b"x")
    link.close()


async def test_closing_our_end_wakes_the_waiter_and_is_idempotent(listener: socket.socket) -> None:
    link, peer = await connected(listener)

    async def wait_for_bytes() -> None:
        with pytest.raises(LinkLost):
            await link.receive_some()

    with peer, trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_bytes)
            await trio.testing.wait_all_tasks_blocked()
            link.close()
        link.close()
        for act in (link.drain_input, lambda: link.send_now(b"x")):
            with pytest.raises(LinkLost):
                act()
        with pytest.raises(LinkLost):
            await link.receive_some()


async def test_closing_breaks_off_so_that_nothing_unsent_is_delivered_later(listener: socket.socket) -> None:
    """A motion frame that lies in the kernel must not reach a module after the stop of the next connection."""
    link, peer = await connected(listener)
    with peer, trio.fail_after(LIMIT_S):
        sent = 0
        while taken := link.send_now(bytes(65_536)):
            sent += taken
        link.close()
        received = 0
        with pytest.raises(ConnectionResetError):
            while octets := await trio.to_thread.run_sync(peer.recv, 65_536):
                received += len(octets)
    assert received < sent


async def test_a_peer_that_takes_and_never_answers_is_given_up(listener: socket.socket) -> None:
    link, peer = await connected(listener)
    with peer, trio.fail_after(LIMIT_S):
        assert link.send_now(b"anybody?") == 8
        began_s = trio.current_time()
        with pytest.raises(LinkLost, match="answers none"):
            while True:
                link.send_now(b"anybody?")
                await trio.sleep(0.1)
        silence_s = trio.current_time() - began_s
        peer.sendall(b"yes")
        link.close()
    assert silence_s == pytest.approx(MUTE_LIMIT_NS / 1e9, abs=1.0)


async def test_one_byte_is_a_sign_of_life(listener: socket.socket) -> None:
    link, peer = await connected(listener)
    with peer, trio.fail_after(LIMIT_S):
        for _ in range(7):
            link.send_now(b"anybody?")
            await trio.sleep(1)
            peer.sendall(b"!")
            assert await link.receive_some() == b"!"
        link.close()


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    error = await refusal(TcpConfig(host="127.0.0.1", port=port))
    assert error.cause == "refused"
    assert "bus.tcp.port" in error.remedy


async def test_a_server_that_does_not_answer_is_absent_after_a_bounded_time() -> None:
    """A listener whose queue is full drops further connections: from here that looks like a host that is off."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            config = TcpConfig(host="127.0.0.1", port=port, connect_timeout=Duration.parse("300ms"))
            began_s = trio.current_time()
            error = await refusal(config)
            assert error.cause == "absent"
            assert trio.current_time() - began_s < 2


async def test_a_name_that_nobody_knows() -> None:
    error = await refusal(TcpConfig(host="no-such-host.invalid"))
    assert error.cause == "absent"


async def test_no_host_is_a_matter_of_configuration() -> None:
    assert (await refusal(TcpConfig())).cause == "config"


async def test_a_resolver_that_hangs_costs_the_time_limit_and_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, calls = threading.Event(), []

    def hang(config: TcpConfig, host: str, flags: int = 0) -> tuple[tcp_link.Address, ...]:
        if flags:
            raise LinkError("no number")
        calls.append(host)
        ended.wait(LIMIT_S)
        return ()

    monkeypatch.setattr(tcp_link, "look_up", hang)
    config = TcpConfig(host="slow.example", connect_timeout=Duration.parse("100ms"))
    try:
        causes = [(await refusal(config)).cause for _ in range(3)]
    finally:
        ended.set()
    assert causes == ["absent"] * 3
    assert len(calls) == 1


async def test_a_name_is_looked_up_again_at_every_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.2", 0)) as two:
        places = [one.getsockname(), two.getsockname(), one.getsockname()]
        answers = iter(places)

        def look_up(_config: TcpConfig, _host: str, flags: int = 0) -> tuple[tcp_link.Address, ...]:
            if flags:
                raise LinkError("no number")
            return ((socket.AF_INET, next(answers)),)

        monkeypatch.setattr(tcp_link, "look_up", look_up)
        found = []
        for _ in places:
            link = await open_tcp_link(TcpConfig(host="gateway.example"))
            found.append(link.device)
            link.close()
    assert found == [f"{host}:{port}" for host, port in places]


async def test_the_second_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch, listener: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = closed.getsockname()
    addresses = ((socket.AF_INET, nobody), (socket.AF_INET, listener.getsockname()))
    monkeypatch.setattr(tcp_link, "look_up", lambda _config, _host, _flags=0: addresses)
    link = await open_tcp_link(TcpConfig(host="gateway.example"))
    assert link.device.endswith(f":{listener.getsockname()[1]}")
    link.close()


async def test_ipv6_is_told_in_brackets() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        config = TcpConfig(host="::1", port=server.getsockname()[1])
        link = await open_tcp_link(config)
        assert link.device == config.name == f"[::1]:{config.port}"
        link.close()


async def test_a_cancelled_opening_leaves_nothing_open(listener: socket.socket) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await open_tcp_link(config_for(listener))
    assert scope.cancelled_caught
    link, peer = await connected(listener)
    link.close()
    peer.close()


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (errno.EMFILE, "resources"),
        (errno.ENOBUFS, "resources"),
        (errno.EACCES, "permission"),
        (errno.ENETUNREACH, "absent"),
        (errno.EHOSTUNREACH, "absent"),
        (errno.ETIMEDOUT, "absent"),
        (errno.ECONNREFUSED, "refused"),
    ],
)
def test_every_error_of_connecting_has_cause_and_remedy(number: int, cause: str) -> None:
    error = explain_connect(TcpConfig(host="h"), OSError(number, errno.errorcode[number]))
    assert error.cause == cause
    assert error.remedy
    assert "h:502" in str(error)


@pytest.mark.parametrize(
    "settings", [{"host": ""}, {"host": "a b"}, {"host": "http://x"}, {"port": 0}, {"port": 65536}]
)
def test_garbage_is_no_configuration(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        TcpConfig(**settings)  # type: ignore[arg-type]  # garbage is the point


def test_the_time_for_connecting_is_bounded() -> None:
    for text in ("49ms", "2s"):
        with pytest.raises(ValueError, match="connect_timeout must lie within"):
            evolve(TcpConfig(), connect_timeout=Duration.parse(text))
