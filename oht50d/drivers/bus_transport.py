"""What each transport of the field bus is made of: link, framing, times of the line (no state).

Sources: MODBUS over Serial Line V1.02, section 2.5.1.1 (silence between frames); MODBUS Messaging on TCP/IP
Implementation Guide V1.0b, section 3.1.3 (a reply carries the transaction identifier of its request).
"""

from collections.abc import Awaitable, Callable

from oht50d.codec.framing import Framing, RtuFraming, TcpFraming
from oht50d.codec.rtu import character_ns, silence_ns
from oht50d.drivers.bus_config import BusConfig, Transport
from oht50d.drivers.modbus_line import ByteLink, LineTimes
from oht50d.drivers.serial_settings import SerialPortConfig
from oht50d.drivers.tcp_link import open_tcp_link

OpenPort = Callable[[SerialPortConfig], Awaitable[ByteLink]]


def opener_of(config: BusConfig, open_port: OpenPort) -> OpenPort:
    """How the bus owner opens its link: `open_port`, or over TCP a connection, whose serial settings are another's."""
    if not config.transport.uses_tcp:
        return open_port

    async def open_connection(_serial: SerialPortConfig) -> ByteLink:
        return await open_tcp_link(config.tcp)

    return open_connection


def framing_of(config: BusConfig) -> Framing:
    """A fresh framing, for one line."""
    return TcpFraming() if config.transport is Transport.TCP else RtuFraming()


def has_numbered_replies(config: BusConfig) -> bool:
    """True if a reply names its request, so that a late one is known as such. Only the transport decides that."""
    return config.transport is Transport.TCP


def line_times(config: BusConfig) -> LineTimes:
    """Characters take their time behind a server too; silence is kept wherever RTU frames go.

    A serial device server passes on what it gets: whether it would keep the silence by itself nobody knows.
    """
    serial = config.serial
    silence = 0 if config.transport is Transport.TCP else silence_ns(serial.baud)
    return LineTimes(character_ns(serial.baud, serial.character_bits), silence)
