"""The RS485 line of the simulated robot: one pty, the modules on it, character times, faults (the object owns all).

A pty is instant, so time is accounted: a request ends `characters` after it arrived or after the line became free; the
module answers t3.5 and its turnaround later; the reply is delivered when its last byte would have been. That is the
model of PERFORMANCE.md (RS485). The plant sees a request t3.5 after its end, when a device knows that it is whole.
Source of the times: MODBUS over Serial Line V1.02, section 2.5.1.1.
"""

import heapq
import time
from collections.abc import Callable, Iterable

from attrs import evolve, frozen

from oht50d.codec.rtu import (
    MalformedFrame,
    ModbusServer,
    ServerFrame,
    character_ns,
    encode_reply,
    encode_request,
    silence_ns,
)
from oht50d.model.bus import BusReply, ExceptionReply, ReadRegisters
from oht50d.model.registers import ModuleKind
from oht50d.sim.alarm import Alarm
from oht50d.sim.faults import FaultBoard, FaultKind
from oht50d.sim.modbus_slaves import SERVED_FUNCTIONS, SlaveModule
from oht50d.sim.plant import Plant
from oht50d.sim.pseudo_terminal import PseudoTerminal
from oht50d.sim.scenario import BusSettings
from oht50d.sim.trace import Counters, Trace

MAX_BACKLOG_NS = 300_000_000
MAX_PENDING = 64
HALF_FRAME_NS = 20_000_000
EARLY_WAKE_NS = 150_000
BROADCAST = 0
MAX_UNIT = 247


@frozen(order=True)
class _Delivery:
    """Bytes that are due on the wire; ordered by time, then by arrival."""

    due_ns: int
    number: int
    unit: int
    octets: bytes
    note: str
    is_last: bool


class BusLine:
    """`settle(now_ns)` brings plant and faults up to date; it is called before every answer."""

    def __init__(
        self,
        terminal: PseudoTerminal,
        modules: Iterable[SlaveModule],
        *,
        settings: BusSettings,
        plant: Plant,
        faults: FaultBoard,
        settle: Callable[[int], None],
    ) -> None:
        self.terminal = terminal
        self.modules = {module.map.address: module for module in modules}
        self.counters = Counters()
        self.trace = Trace()
        self._settings = settings
        self._plant = plant
        self._faults = faults
        self._settle = settle
        self._server = ModbusServer(SERVED_FUNCTIONS)
        self._character_ns = character_ns(settings.baud)
        self._silence_ns = silence_ns(settings.baud)
        self._pending: list[_Delivery] = []
        self._number = 0
        self._line_free_ns = 0
        self._last_arrival_ns = 0
        self._last_delivery_ns = 0
        self._alarm: Alarm | None = None
        for unit in self.modules:
            self.counters.module(unit)

    async def run_receiver(self) -> None:
        """Hear the master until cancelled."""
        while True:
            self.receive(await self.terminal.receive(), time.monotonic_ns())

    async def run_deliveries(self) -> None:
        """Deliver replies when they are due until cancelled; what is pending then is delivered by the next run."""
        with Alarm() as alarm:
            self._alarm = alarm
            alarm.set(time.monotonic_ns())
            while True:
                await alarm.wait()
                while self._pending and self._pending[0].due_ns - time.monotonic_ns() <= EARLY_WAKE_NS:
                    self._hand_over(heapq.heappop(self._pending))
                if self._pending:
                    alarm.set(self._pending[0].due_ns - EARLY_WAKE_NS)

    def hang_up(self) -> None:
        """The adapter is gone: what was on its way is lost."""
        self.counters.bus_hangups += 1
        self._pending.clear()
        self._server.reset()
        self.terminal.hang_up()

    def receive(self, octets: bytes, now_ns: int) -> None:
        """Bytes from the master that arrived at `now_ns`."""
        if now_ns - self._last_arrival_ns > HALF_FRAME_NS:
            self._server.reset()
        self._last_arrival_ns = now_ns
        for frame in self._server.receive_data(octets):
            self._receive_frame(frame, now_ns)

    def _receive_frame(self, frame: ServerFrame, now_ns: int) -> None:
        raw = frame.raw if isinstance(frame, MalformedFrame) else encode_request(frame)
        notes = self._note_early(raw[0], now_ns)
        if self._line_free_ns - now_ns > MAX_BACKLOG_NS or len(self._pending) >= MAX_PENDING:
            self.counters.overrun_frames += 1
            notes.append("overrun")
        else:
            self._line_free_ns = max(now_ns, self._line_free_ns) + len(raw) * self._character_ns
            notes += self._serve(frame, raw, self._line_free_ns + self._silence_ns)
        self.trace.add(now_ns, "request", raw, ",".join(notes))

    def _note_early(self, unit: int, now_ns: int) -> list[str]:
        """Early: less than t3.5 after a reply's last byte, or while a reply is on the wire."""
        is_reply_under_way = bool(self._pending) and self._line_free_ns > now_ns
        if not is_reply_under_way and now_ns - self._last_delivery_ns >= self._silence_ns:
            return []
        self.counters.early_frames += 1
        if unit in self.modules:
            self.counters.modules[unit].early_frames += 1
        return ["early"]

    def _serve(self, frame: ServerFrame, raw: bytes, heard_ns: int) -> list[str]:
        """Carry out a frame that every device has heard at `heard_ns`; tells what was odd."""
        if isinstance(frame, MalformedFrame) and frame.exception_code is None:
            self.counters.bad_frames += 1
            return ["bad"]
        self._settle(heard_ns)
        if raw[0] == BROADCAST:
            for listener in self.modules.values():
                if not self._faults.first(FaultKind.SILENCE, heard_ns, listener.map.address):
                    self._carry_out(listener, frame)
            return ["broadcast"]
        module = self.modules.get(raw[0])
        if module is None:
            self.counters.foreign_frames += 1
            return ["foreign"]
        return self._answer(module, frame, raw[1], heard_ns)

    def _answer(self, module: SlaveModule, frame: ServerFrame, function: int, heard_ns: int) -> list[str]:
        unit = module.map.address
        self.counters.modules[unit].requests += 1
        first = self._faults.first
        if first(FaultKind.SILENCE, heard_ns, unit):
            return ["silence"]
        refusal = first(FaultKind.EXCEPTION, heard_ns, unit)
        reply = ExceptionReply(unit, function, refusal.code) if refusal else self._carry_out(module, frame)
        if first(FaultKind.LOST_REPLY, heard_ns, unit):
            return ["lost_reply"]
        self.counters.modules[unit].exceptions += isinstance(reply, ExceptionReply)
        self._queue(reply, heard_ns)
        return []

    def _carry_out(self, module: SlaveModule, frame: ServerFrame) -> BusReply:
        unit = module.map.address
        if isinstance(frame, MalformedFrame):
            return ExceptionReply(unit, frame.raw[1] & 0x7F, frame.exception_code or 1)
        self._hold_stuck(module)
        reply = module.answer(frame)
        if not isinstance(frame, ReadRegisters) and not isinstance(reply, ExceptionReply):
            self.counters.modules[unit].writes += 1
            if module.map.kind is ModuleKind.TRAVEL:
                self._plant.touch_drives()
        return reply

    def _hold_stuck(self, module: SlaveModule) -> None:
        active = self._faults.active(FaultKind.STUCK_REGISTER, self._plant.now_ns, module.map.address)
        names = {script.register for script in active}
        stuck = (spec.address for spec in module.map.registers if names and {spec.name, spec.role} & names)
        module.hold(frozenset(stuck))

    def _queue(self, reply: BusReply, heard_ns: int) -> None:
        """Schedule a reply on the wire, as the faults want it; a delayed one does not occupy the line meanwhile."""
        unit, notes = reply.unit, []
        if self._faults.first(FaultKind.WRONG_UNIT, heard_ns, unit):
            reply = evolve(reply, unit=reply.unit % MAX_UNIT + 1)
            notes.append("wrong_unit")
        octets = encode_reply(reply)
        if self._faults.first(FaultKind.CRC, heard_ns, unit):
            octets = octets[:-1] + bytes((octets[-1] ^ 0x5A,))
            notes.append("crc")
        begins_ns = heard_ns + self._settings.turnaround.ns
        slow = self._faults.first(FaultKind.DELAY, heard_ns, unit)
        if slow:
            begins_ns += slow.delay.ns
            notes.append("delay")
        else:
            self._line_free_ns = begins_ns + len(octets) * self._character_ns
        self._schedule(octets, begins_ns, unit, ",".join(notes))

    def _schedule(self, octets: bytes, begins_ns: int, unit: int, note: str) -> None:
        size = -(-len(octets) // self._settings.pieces)
        for start in range(0, len(octets), size):
            ends = min(start + size, len(octets))
            self._number += 1
            due_ns = begins_ns + ends * self._character_ns
            piece = _Delivery(due_ns, self._number, unit, octets[start:ends], note, ends == len(octets))
            heapq.heappush(self._pending, piece)
        if self._alarm is not None:
            self._alarm.set(self._pending[0].due_ns - EARLY_WAKE_NS)

    def _hand_over(self, delivery: _Delivery) -> None:
        """Spins for the rest of the time: a wake-up's lateness would be charged to the master's share of the wire."""
        while (now_ns := time.monotonic_ns()) < delivery.due_ns:
            pass
        self._last_delivery_ns = now_ns
        self._line_free_ns = max(self._line_free_ns, now_ns)
        dropped = self.terminal.send(delivery.octets)
        self.counters.bus_bytes_dropped += dropped
        notes = (delivery.note, "dropped" if dropped else "")
        self.trace.add(now_ns, "reply", delivery.octets, ",".join(filter(None, notes)))
        if delivery.is_last:
            self.counters.modules[delivery.unit].replies += 1
