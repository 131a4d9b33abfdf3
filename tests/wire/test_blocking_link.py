"""The synchronous links of safe-stop and `check`: over a pseudo-terminal, over TCP, and the stop itself over each."""

import os
import pty
import select
import socket
import threading
import tty
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, perf_counter_ns

import pytest
from modbus_servers import ModbusServer, free_port
from truth_words import LEFT_BY_S0, TRUTH
from uart_fake import FakeUart

from oht50d.app import preparation, safe_stop
from oht50d.app.check import Verdict
from oht50d.app.check_bus import report_bus
from oht50d.app.config import LoadedConfig, load_config
from oht50d.app.exit_codes import ExitCode
from oht50d.drivers.blocking_link import BlockingLink, open_blocking
from oht50d.drivers.bus_config import BusConfig, Transport
from oht50d.drivers.bus_transport import framing_of
from oht50d.drivers.serial_settings import DirectionControl, SerialPortConfig
from oht50d.drivers.tcp_link import TcpConfig
from oht50d.model.bus import ReadRegisters, ReadReply
from oht50d.model.errors import LinkError, LinkLost

FRAME = bytes(range(24))
FRAME_NS = len(FRAME) * 10 * 10**9 // 9600


@pytest.fixture
def terminal() -> Iterator[tuple[int, str]]:
    """Our end of a pseudo-terminal and the name of the other."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    name = os.ttyname(slave)
    os.close(slave)
    yield master, name
    os.close(master)


def serial_bus(name: str, **settings: object) -> BusConfig:
    return BusConfig(serial=SerialPortConfig(port=name, baud=9600, **settings))  # type: ignore[arg-type]  # by name


def tcp_bus(transport: str, port: int) -> BusConfig:
    return BusConfig(transport=Transport(transport), tcp=TcpConfig(host="127.0.0.1", port=port))


def hung_up(master: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, master)
    os.close(nothing)


def assert_lost(link: BlockingLink) -> None:
    for act in (lambda: link.send(FRAME), link.receive, link.discard_input):
        with pytest.raises(LinkLost):
            for _ in range(100):
                act()
    link.close()
    link.close()


def test_a_port_carries_bytes_and_says_when_it_is_gone(terminal: tuple[int, str], tmp_path: Path) -> None:
    master, name = terminal
    (tmp_path / "bus").symlink_to(name)
    link = open_blocking(serial_bus(str(tmp_path / "bus")))
    assert link.device == name
    link.send(FRAME)
    assert os.read(master, 4096) == FRAME
    assert link.receive() == b""
    os.write(master, b"reply")
    assert link.receive() == b"reply"
    os.write(master, b"noise")
    link.discard_input()
    assert link.receive() == b""
    hung_up(master)
    assert_lost(link)


def test_a_port_that_takes_nothing_costs_a_bounded_time(terminal: tuple[int, str]) -> None:
    link = open_blocking(serial_bus(terminal[1]))
    began_s = monotonic()
    with pytest.raises(LinkLost):
        for _ in range(1000):
            link.send(bytes(4096))
    assert monotonic() - began_s < 5
    link.close()


@pytest.mark.parametrize("unsent_ms", [0, 3, 3_600_000])
def test_rts_brackets_the_frame_here_too(terminal: tuple[int, str], unsent_ms: int) -> None:
    uart = FakeUart(terminal[0])
    link = open_blocking(serial_bus(terminal[1], direction=DirectionControl.RTS), ioctl=uart.ioctl)
    uart.rts_log.clear()
    uart.unsent_until_ns = perf_counter_ns() + FRAME_NS + unsent_ms * 10**6
    link.send(FRAME)
    (began_ns, began, had_bytes), (ended_ns, ended, _) = uart.rts_log
    assert (began, ended, had_bytes) == (True, False, False)
    assert ended_ns - began_ns >= FRAME_NS + min(unsent_ms, 10) * 10**6
    link.close()


def test_a_held_port_is_respected(terminal: tuple[int, str]) -> None:
    link = open_blocking(serial_bus(terminal[1]))
    with pytest.raises(LinkError) as raised:
        open_blocking(serial_bus(terminal[1]))
    assert raised.value.cause == "held"
    link.close()


def test_a_connection_carries_bytes_and_says_when_it_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = open_blocking(tcp_bus("tcp", server.getsockname()[1]))
        peer, _ = server.accept()
        with peer:
            link.send(FRAME)
            assert peer.recv(4096) == FRAME
            assert link.receive() == b""
            peer.sendall(b"reply")
            assert select.select([link._socket], [], [], 5)[0]  # type: ignore[attr-defined]  # how long it takes is not the matter
            assert link.receive() == b"reply"
        assert_lost(link)


@pytest.mark.parametrize(
    ("host", "cause"), [("127.0.0.1", "refused"), ("no-such-host.invalid", "absent"), (None, "config")]
)
def test_a_server_that_cannot_be_reached(host: str | None, cause: str) -> None:
    tcp = TcpConfig(host=host, port=free_port())
    bus = BusConfig(tcp=tcp) if host is None else BusConfig(transport=Transport.TCP, tcp=tcp)
    object.__setattr__(bus, "transport", Transport.TCP)  # no file can say that without a host
    with pytest.raises(LinkError) as raised:
        open_blocking(bus)
    assert raised.value.cause == cause


# -- safe-stop


def loaded(tmp_path: Path, *assignments: str) -> LoadedConfig:
    places = [f"robot.state_dir={tmp_path}/state", f"robot.runtime_dir={tmp_path}/run"]
    return load_config(
        environ={},
        default_file=tmp_path / "none.toml",
        assignments=[*places, "safety.brake_wiring=energise_to_release", *assignments],
    )


def over(transport: str, port: int) -> list[str]:
    return [f"bus.transport={transport}", "bus.tcp.host=127.0.0.1", f"bus.tcp.port={port}"]


def read_back(bus: BusConfig, unit: int, address: int) -> int:
    """One register over a connection of its own."""
    link, framing, request = open_blocking(bus), framing_of(bus), ReadRegisters(unit, address, 1)
    link.send(framing.encode(request))
    framing.expect(request)
    ends_s = monotonic() + 5
    reply = None
    while reply is None and monotonic() < ends_s:
        octets = link.receive()
        reply = framing.receive_data(octets) if octets else None
    link.close()
    assert isinstance(reply, ReadReply), reply
    return reply.words[0]


@pytest.mark.parametrize("transport", ["tcp", "rtu_over_tcp"])
def test_safe_stop_turns_everything_off_over_tcp(
    transport: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ModbusServer.serving(TRUTH, transport) as server:
        bus = loaded(tmp_path, *over(transport, server.port)).config.bus
        before = {place: read_back(bus, *place) for place in LEFT_BY_S0}
        assert safe_stop.main(loaded(tmp_path, *over(transport, server.port)).config) == ExitCode.OK
        assert "3 of 3 stop frames answered" in capsys.readouterr().out
        after = {place: read_back(bus, *place) for place in LEFT_BY_S0}
    assert any(before.values())
    assert set(after.values()) == {0}


@pytest.mark.parametrize("transport", ["tcp", "rtu_over_tcp"])
def test_safe_stop_tries_every_frame_on_a_server_that_does_not_answer(
    transport: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    received = bytearray()

    def serve(server: socket.socket) -> None:
        peer, _ = server.accept()
        with peer:
            while octets := peer.recv(4096):
                received.extend(octets)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        code = safe_stop.main(loaded(tmp_path, *over(transport, server.getsockname()[1])).config)
        thread.join(20)
    assert code == ExitCode.IO
    told = capsys.readouterr()
    assert told.err.count("did not answer; press the red button") == 3
    frame_bytes = 3 * (15 + 15 + 8) if transport == "rtu_over_tcp" else 3 * (19 + 19 + 12)
    assert len(received) == frame_bytes, "three tries of each, all delivered although the program has ended"


def test_safe_stop_waits_for_a_port_and_tells_why_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(safe_stop, "OPEN_LIMIT_S", 0.3)
    assert safe_stop.main(loaded(tmp_path, *over("tcp", free_port())).config) == ExitCode.UNAVAILABLE
    assert "refuses the connection. start the server there" in capsys.readouterr().err


# -- check


def test_check_opens_the_port_and_tells_what_it_is(terminal: tuple[int, str], tmp_path: Path) -> None:
    (tmp_path / "bus").symlink_to(terminal[1])
    section = report_bus(loaded(tmp_path, f"bus.serial.port={tmp_path}/bus", "bus.serial.stop_bits=2"))
    assert section.lines == (
        f"rtu on {tmp_path}/bus",
        "115200 bit/s, 8N2, direction auto",
        "1.75 ms of silence between frames; late replies are kept apart by the fence",
        f"opens; it is {terminal[1]} now",
    )
    assert section.verdict is Verdict.GOOD
    assert [path.name for path in tmp_path.iterdir()] == ["bus"], "no lock file is left behind"


@pytest.mark.parametrize(
    ("transport", "late"), [("tcp", "no silence between frames; late replies are known by their number"),
                            ("rtu_over_tcp", "1.75 ms of silence between frames; late replies are kept apart")],
)  # fmt: skip
def test_check_connects_to_a_server(transport: str, late: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        section = report_bus(loaded(tmp_path, *over(transport, port)))
    assert section.lines[0] == f"{transport} on 127.0.0.1:{port}"
    assert section.lines[1] == "115200 bit/s, 8N1 on the line behind the server"
    assert section.lines[2].startswith(late)
    assert section.lines[3].startswith("one master only")
    assert section.lines[4] == f"opens; it is 127.0.0.1:{port} now"


@pytest.mark.parametrize(
    ("assignments", "cause", "verdict"),
    [
        (["bus.serial.port=/dev/ttyNONE"], "absent", Verdict.GOOD),
        (["bus.serial.port=/dev/null"], "config", Verdict.WARNING),
        (over("tcp", 1), "refused", Verdict.WARNING),
        (["bus.transport=tcp", "bus.tcp.host=no.such.host.invalid"], "absent", Verdict.WARNING),
    ],
)
def test_check_warns_of_what_no_plug_will_mend(
    assignments: list[str], cause: str, verdict: Verdict, tmp_path: Path
) -> None:
    section = report_bus(loaded(tmp_path, *assignments))
    assert section.lines[-1].startswith(f"{cause}: ")
    assert section.verdict is verdict


def test_check_warns_of_a_direction_that_the_port_does_not_have(terminal: tuple[int, str], tmp_path: Path) -> None:
    section = report_bus(loaded(tmp_path, f"bus.serial.port={terminal[1]}", "bus.serial.direction=kernel"))
    assert section.lines[1] == "115200 bit/s, 8N1, RTS set while sending, direction kernel"
    assert "has no RS-485 mode" in section.lines[-1]
    assert section.verdict is Verdict.WARNING


def test_check_opens_nothing_beside_a_daemon(terminal: tuple[int, str], tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    lock = preparation.hold_state(tmp_path / "state")
    assert lock is not None
    try:
        section = report_bus(loaded(tmp_path, f"bus.serial.port={terminal[1]}"))
    finally:
        os.close(lock)
    assert section.lines[-1] == "not tried: a daemon runs and has it"
