"""The RS485 line of the simulated robot: who hears a frame, who answers, and what faults do to it (owns modules, wire).

A module answers t3.5 and its turnaround after the end of a request; that is the model of PERFORMANCE.md (RS485). The
plant sees a request t3.5 after its end, when a device knows that it is whole. The line itself is `wire.py`.
"""

import random
import time
from collections.abc import Callable, Iterable

from attrs import evolve

from oht50d.codec.rtu import MalformedFrame, ModbusServer, ServerFrame, encode_reply, encode_request
from oht50d.model.bus import BusReply, ExceptionReply, ReadRegisters, RegisterWrite
from oht50d.model.registers import ModuleKind
from oht50d.sim.alarm import Alarm
from oht50d.sim.fault_kinds import FaultKind
from oht50d.sim.faults import FaultBoard
from oht50d.sim.line_noise import LineNoise
from oht50d.sim.line_settings import LineSettings
from oht50d.sim.modbus_slaves import SERVED_FUNCTIONS, SlaveModule
from oht50d.sim.plant import Plant
from oht50d.sim.pseudo_terminal import PseudoTerminal
from oht50d.sim.reply_faults import Drawn, ReplyFaults, encode_refusal, twin_of
from oht50d.sim.scenario import BusSettings
from oht50d.sim.wire import COLLISION, EARLY_WAKE_NS, ECHO, FOREIGN_REPLY, FOREIGN_REQUEST, Emission, Wire

MAX_BACKLOG_NS = 300_000_000
HALF_FRAME_NS = 20_000_000
MAX_MODULES = 32
BROADCAST = 0
LINE_SETTING = "line_setting"
_DEAF = (FaultKind.SILENCE, FaultKind.POWER_CYCLE, FaultKind.SWAP)


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
        self.default_turnaround_ns = settings.turnaround.ns
        self._default_line = LineSettings(settings.baud)
        chance = random.Random(faults.random.random())
        self.wire = Wire(terminal, self._default_line, settings.pieces, chance)
        self.counters = self.wire.counters
        self.trace = self.wire.trace
        self._replies = ReplyFaults(self.wire, chance)
        self._noise = LineNoise(faults, self.wire, chance)
        self._plant = plant
        self._faults = faults
        self._settle = settle
        self._server = ModbusServer(SERVED_FUNCTIONS)
        self._last_arrival_ns = 0
        self._answered_ns: dict[int, int] = {}
        self._alarm: Alarm | None = None
        for unit in self.modules:
            self.counters.module(unit)

    async def run_receiver(self) -> None:
        """Hear the master until cancelled."""
        while True:
            self.receive(await self.terminal.receive(), time.monotonic_ns())

    async def run_deliveries(self) -> None:
        """Hand over what is due until cancelled; what is pending then is handed over by the next run."""
        with Alarm() as alarm:
            self._alarm = alarm
            alarm.set(time.monotonic_ns())
            while True:
                await alarm.wait()
                self._make_noise(time.monotonic_ns())
                self.wire.hand_over_due()
                self._arm()

    def _arm(self) -> None:
        """Ring shortly before the next bytes are due."""
        due_ns = [found for found in (self.wire.next_ns, self._noise.next_ns) if found is not None]
        if due_ns and self._alarm is not None:
            self._alarm.set(min(due_ns) - EARLY_WAKE_NS)

    # -- modules come and go

    def add(self, module: SlaveModule) -> None:
        """One more module; raises ValueError for an address that is taken, or beyond MAX_MODULES."""
        unit = module.map.address
        if unit in self.modules:
            raise ValueError(f"address {unit} is taken")
        if len(self.modules) >= MAX_MODULES:
            raise ValueError(f"at most {MAX_MODULES} modules")
        self.modules[unit] = module
        self.counters.module(unit)

    def remove(self, unit: int) -> None:
        """Unplug a module for good; raises ValueError if there is none."""
        if self.modules.pop(unit, None) is None:
            raise ValueError(f"no module at address {unit}")

    def module(self, unit: int) -> SlaveModule:
        """The module at an address; raises ValueError if there is none."""
        if unit not in self.modules:
            raise ValueError(f"no module at address {unit}")
        return self.modules[unit]

    def settings_of(self, module: SlaveModule) -> LineSettings:
        """Speed and parity that the module understands."""
        return module.line or self._default_line

    def turnaround_ns_of(self, module: SlaveModule) -> int:
        """How long after t3.5 the module answers."""
        return self.default_turnaround_ns if module.turnaround_ns is None else module.turnaround_ns

    # -- faults of the line

    def hang_up(self, *, is_link_kept: bool = False) -> None:
        """The adapter is gone: what was on its way is lost."""
        self.counters.bus_hangups += 1
        self.wire.forget()
        self._answered_ns.clear()
        self._noise.reset()
        self._server.reset()
        self.terminal.hang_up(is_link_kept=is_link_kept)

    def apply_faults(self, now_ns: int) -> None:
        """At an edge of a fault: what comes by itself begins, boards lose power or are replaced."""
        for script in self._faults.begun(FaultKind.POWER_CYCLE, now_ns):
            self._lose_power(script.module)
        for script in self._faults.begun(FaultKind.SWAP, now_ns):
            module = self._lose_power(script.module)
            if module is not None:
                module.become(serial=script.serial, firmware=script.firmware, type_code=script.type)
        if self.terminal.is_open:
            self._noise.begin(now_ns)
            self._arm()

    def _lose_power(self, unit: int | None) -> SlaveModule | None:
        module = self.modules.get(unit or 0)
        if module is not None:
            module.power_up()
        return module

    def clear_faults(self) -> None:
        """Whoever is busy is so no more."""
        self._replies.reset()

    def _make_noise(self, now_ns: int) -> None:
        for emission in self._noise.advance(now_ns + EARLY_WAKE_NS, list(self.modules)):
            if emission.way == FOREIGN_REQUEST:
                self._carry_foreign(emission)
            else:
                self.wire.emit(emission)

    def _carry_foreign(self, request: Emission) -> None:
        """Another master's read, and the reply of the module that it asks."""
        self.counters.second_master_frames += 1
        if self.wire.cut_request(request.begins_ns):
            self.counters.collisions += 1
            octets = self.wire.spoilt(request.octets)
            self.wire.emit(evolve(request, octets=octets, notes=(*request.notes, COLLISION)))
            return
        self.wire.emit(request)
        (frame,) = ModbusServer().receive_data(request.octets)
        module = self.modules.get(request.octets[0])
        heard_ns = request.begins_ns + len(request.octets) * self.wire.character_ns + self.wire.silence_ns
        if module is None or isinstance(frame, MalformedFrame) or not self._hears(module, heard_ns):
            return
        reply = encode_reply(module.answer(frame))
        begins_ns = heard_ns + self.turnaround_ns_of(module)
        self.wire.emit(evolve(request, octets=reply, begins_ns=begins_ns, way=FOREIGN_REPLY))

    # -- the master's frames

    def receive(self, octets: bytes, now_ns: int) -> None:
        """Bytes from the master that arrived at `now_ns`."""
        if now_ns - self._last_arrival_ns > HALF_FRAME_NS:
            self._server.reset()
        self._last_arrival_ns = now_ns
        self.wire.tune()
        for frame in self._server.receive_data(octets):
            self._receive_frame(frame, now_ns)
        self._arm()

    def _receive_frame(self, frame: ServerFrame, now_ns: int) -> None:
        raw = frame.raw if isinstance(frame, MalformedFrame) else encode_request(frame)
        notes = self._note_early(raw[0], now_ns)
        if self.wire.backlog_ns(now_ns) > MAX_BACKLOG_NS or self.wire.is_full:
            self.counters.overrun_frames += 1
            notes.append("overrun")
        else:
            notes += self._carry(frame, raw, now_ns)
        self.trace.add(now_ns, "request", raw, ",".join(notes))

    def _note_early(self, unit: int, now_ns: int) -> list[str]:
        if not self.wire.is_early(now_ns):
            return []
        self.counters.early_frames += 1
        if unit in self.modules:
            self.counters.modules[unit].early_frames += 1
        return ["early"]

    def _carry(self, frame: ServerFrame, raw: bytes, now_ns: int) -> list[str]:
        """A frame goes over the line; tells what was odd."""
        begins_ns, ends_ns = self.wire.take_request(len(raw), now_ns)
        heard_ns = ends_ns + self.wire.silence_ns
        drawn = self._faults.draw(heard_ns, raw[0])
        if FaultKind.ECHO in drawn:
            self.counters.echoed_frames += 1
            self.wire.emit(Emission(octets=raw, begins_ns=begins_ns, way=ECHO, notes=("echo",), holds_line=False))
        if self.wire.is_drowned(begins_ns, ends_ns):
            return [COLLISION]
        if isinstance(frame, MalformedFrame) and frame.exception_code is None:
            self.counters.bad_frames += 1
            return ["bad"]
        self._settle(heard_ns)
        if raw[0] == BROADCAST:
            for listener in list(self.modules.values()):
                if self._hears(listener, heard_ns):
                    self._carry_out(listener, frame)
            return ["broadcast"]
        module = self.modules.get(raw[0])
        if module is None:
            self.counters.foreign_frames += 1
            return ["foreign"]
        return self._answer(module, frame, raw, drawn, heard_ns)

    def _hears(self, module: SlaveModule, now_ns: int) -> bool:
        """Whether the module takes part, for frames that are not its own request alone."""
        is_set_alike = self.settings_of(module) == self.wire.line
        return is_set_alike and not any(self._faults.first(kind, now_ns, module.map.address) for kind in _DEAF)

    def _answer(self, module: SlaveModule, frame: ServerFrame, raw: bytes, drawn: Drawn, heard_ns: int) -> list[str]:
        unit = module.map.address
        count = self.counters.modules[unit]
        if self.settings_of(module) != self.wire.line:
            count.note_fault(LINE_SETTING)
            return [LINE_SETTING]
        count.requests += 1
        count.wire_busy_ns += len(raw) * self.wire.character_ns
        for kind in drawn:
            if kind in _DEAF:
                count.note_fault(kind.value)
                return [kind.value]
        octets, twin, notes = self._speak(module, frame, raw[1], drawn, heard_ns)
        for kind in (FaultKind.LOST_REPLY, FaultKind.BABBLE):
            if kind in drawn:
                count.note_fault(kind.value)
                return [*notes, kind.value]
        count.exceptions += octets[1] >= 0x80
        self._reply(module, octets, twin, drawn, heard_ns)
        return notes

    def _speak(
        self, module: SlaveModule, frame: ServerFrame, function: int, drawn: Drawn, heard_ns: int
    ) -> tuple[bytes, bytes, list[str]]:
        """What the module says, what a second one at its address would say, and what is odd about the request."""
        unit = module.map.address
        refusal = self._replies.refuse(drawn, unit, heard_ns)
        reply = self._carry_out(module, frame) if refusal is None or refusal.is_carried_out else None
        if refusal is None and reply is not None:
            twin = twin_of(reply) if FaultKind.DUPLICATE_ADDRESS in drawn else b""
            return encode_reply(reply), twin, self._note_stuck(module, frame)
        assert refusal is not None
        self.counters.modules[unit].note_fault(refusal.kind.value)
        octets = encode_refusal(unit, function, refusal.code)
        return octets, octets, [refusal.kind.value]

    def _carry_out(self, module: SlaveModule, frame: ServerFrame) -> BusReply:
        unit = module.map.address
        if isinstance(frame, MalformedFrame):
            return ExceptionReply(unit, frame.raw[1] & 0x7F, frame.exception_code or 1)
        self._hold_stuck(module)
        reply = module.answer(frame)
        if isinstance(frame, RegisterWrite) and not isinstance(reply, ExceptionReply):
            self.counters.modules[unit].writes += 1
            if module.map.kind is ModuleKind.TRAVEL:
                self._plant.touch_drives()
        return reply

    def _hold_stuck(self, module: SlaveModule) -> None:
        active = self._faults.active(FaultKind.STUCK_REGISTER, self._plant.now_ns, module.map.address)
        names = {script.register for script in active}
        if names or module.stuck:
            stuck = (spec.address for spec in module.map.registers if names and {spec.name, spec.role} & names)
            module.hold(frozenset(stuck))

    def _note_stuck(self, module: SlaveModule, frame: ServerFrame) -> list[str]:
        """Told where a stuck register is read."""
        if not module.stuck or not isinstance(frame, ReadRegisters):
            return []
        if module.stuck.isdisjoint(range(frame.address, frame.address + frame.count)):
            return []
        self.counters.modules[module.map.address].note_fault(FaultKind.STUCK_REGISTER.value)
        return [FaultKind.STUCK_REGISTER.value]

    def _reply(self, module: SlaveModule, octets: bytes, twin: bytes, drawn: Drawn, heard_ns: int) -> None:
        """Put the reply on the line, as the faults want it."""
        unit = module.map.address
        slow = drawn.get(FaultKind.TURNAROUND)
        wait_ns = self.turnaround_ns_of(module) if slow is None else self._replies.draw_ns(slow)
        count = self.counters.modules[unit]
        count.wire_busy_ns += self.wire.silence_ns + wait_ns + len(octets) * self.wire.character_ns
        found = self._replies.emissions(octets, twin, unit, drawn, heard_ns + wait_ns)
        found = self._in_order(unit, found)
        if drawn:
            for note in dict.fromkeys(note for emission in found for note in emission.notes):
                count.note_fault(note)
        for emission in found:
            self.wire.emit(emission)

    def _in_order(self, unit: int, found: list[Emission]) -> list[Emission]:
        """A module does one thing at a time: what it was asked while a reply was held back is answered after that."""
        begins_ns, after_ns = found[0].begins_ns, self._answered_ns.get(unit, 0)
        if begins_ns < after_ns:
            found = [
                evolve(emission, begins_ns=emission.begins_ns + after_ns - begins_ns, holds_line=False)
                for emission in found
            ]
        last = next(emission for emission in reversed(found) if emission.is_reply)
        self._answered_ns[unit] = last.begins_ns + len(last.octets) * self.wire.character_ns + self.wire.silence_ns
        return found
