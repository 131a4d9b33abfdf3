"""Settings of the field bus, checked (no state). Sources: DECISIONS, "reply time-out" and "bus transport"."""

import enum

from attrs import field, frozen

from oht50d.core.discovery import DiscoveryConfig
from oht50d.drivers.serial_settings import SerialPortConfig
from oht50d.drivers.tcp_link import TcpConfig
from oht50d.model.units import Duration, SettingClash, between, milliseconds


class Transport(enum.Enum):
    """How frames reach the modules."""

    RTU = "rtu"  # a serial port of this computer
    TCP = "tcp"  # Modbus TCP: a gateway, or modules that speak it
    RTU_OVER_TCP = "rtu_over_tcp"  # RTU frames through a serial device server

    @property
    def uses_tcp(self) -> bool:
        return self is not Transport.RTU


@frozen(kw_only=True)
class BusConfig:
    """Field bus settings. Over TCP `serial.baud`, `parity` and `stop_bits` are those of the line behind the server."""

    transport: Transport = Transport.RTU
    serial: SerialPortConfig = field(factory=lambda: SerialPortConfig(port="/dev/ttyOHT485", baud=115200))
    tcp: TcpConfig = field(factory=TcpConfig)
    is_simulated: bool = False
    # Retries must fit into the 150 ms after which a module counts as lost.
    safety_timeout: Duration = field(default=milliseconds(25), validator=between(milliseconds(5), milliseconds(50)))
    reply_timeout: Duration = field(default=milliseconds(50), validator=between(milliseconds(5), milliseconds(100)))
    # The whole exchange with a module that is dead; all of them together get a twentieth of the wire.
    probe_timeout: Duration = field(default=milliseconds(25), validator=between(milliseconds(5), milliseconds(25)))
    # Taken for a module's turnaround until enough of its replies were measured, and by `check`.
    assumed_turnaround: Duration = field(
        default=milliseconds(2), validator=between(milliseconds(0.1), milliseconds(50))
    )
    discovery: DiscoveryConfig = field(factory=DiscoveryConfig)
    # Hears what another master and its modules say, sends nothing: motion is refused, the trace tells.
    listen_only: bool = False
    maps: tuple[str, ...] = ("power.toml", "safety.toml", "travel_motor.toml", "dock.toml")

    def __attrs_post_init__(self) -> None:
        if self.transport.uses_tcp and self.tcp.host is None:
            raise SettingClash("transport", "rtu, because no bus.tcp.host is set", self.transport.value)
        if self.listen_only and self.transport is Transport.TCP:
            # Behind a gateway of Modbus TCP nobody hears what others say.
            raise SettingClash("listen_only", "false with bus.transport = tcp", self.listen_only)

    @property
    def place(self) -> str:
        """Where the bus is, as configured: a device, or host and port."""
        return self.tcp.name if self.transport.uses_tcp else self.serial.port
