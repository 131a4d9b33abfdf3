"""An RPLIDAR A2M8 on the second pty: requests answered, the hall measured (the object owns the device's state).

Firmware 1.20 without GET_LIDAR_CONF (RPLIDAR.md, section 4): standard scan at 2 kHz, express at 4 kHz, motor by PWM,
angle 0 along +x and clockwise. Bytes leave as they would at 115200 baud: a packet is cast when its last sample is taken
and written one tick later, which is 0.7 ms more than the 7.3 ms that 84 characters need.
"""

import random
import time
from collections.abc import Callable

import numpy as np
import trio
from numpy.typing import NDArray

from oht50d.codec.rplidar.answers import (
    AnswerKind,
    SampleRate,
    describe,
    encode_acc_board,
    encode_descriptor,
    encode_health,
    encode_info,
    encode_sample_rate,
)
from oht50d.codec.rplidar.commands import Command, Request, RequestParser
from oht50d.codec.rplidar.express import SAMPLES_PER_CAPSULE, encode_capsule
from oht50d.codec.rplidar.standard import encode_node
from oht50d.model.lidar import LidarHealth, LidarInfo
from oht50d.sim.faults import FaultBoard, FaultKind
from oht50d.sim.plant import Plant
from oht50d.sim.pseudo_terminal import PseudoTerminal
from oht50d.sim.scenario import LidarSettings
from oht50d.sim.trace import Counters
from oht50d.sim.world import World

TICK_NS = 8_000_000
NODES_PER_TICK = 16
STANDARD_US = 500
EXPRESS_US = 250
NOMINAL_PWM = 660
MOST_HZ = 15.0
NODE_QUALITY = 47
BOOT_NS = 500_000_000
BOOT_TEXT = b"RP LIDAR System.\r\nFirmware Ver 1.20 - rtm, HW Ver 4\r\nModel: 28\r\n"
INFO = LidarInfo(model=0x28, firmware_major=1, firmware_minor=20, hardware=4, serial="A2D8E1F2C3B4958687796A5B4C3D2E1F")
_TURN_Q6 = 360 * 64


class LidarDevice:
    """`settle(now_ns)` brings plant and faults up to date; it is called once a tick while measuring."""

    def __init__(
        self,
        terminal: PseudoTerminal,
        *,
        settings: LidarSettings,
        plant: Plant,
        world: World,
        faults: FaultBoard,
        counters: Counters,
        settle: Callable[[int], None],
        seed: int,
    ) -> None:
        self.terminal = terminal
        self._settings = settings
        self._plant = plant
        self._world = world
        self._faults = faults
        self._counters = counters
        self._settle = settle
        self._noise = np.random.default_rng(seed)
        self._garbage = random.Random(seed)
        self._parser = RequestParser()
        self._scan: AnswerKind | None = None
        self._is_forced = False
        self._is_first = True
        self._pwm = 0
        self._turning_hz = 0.0
        self._angle_deg = 0.0
        self._ticked_ns = 0
        self._boot_due_ns: int | None = None
        self._outgoing = b""
        self._wake = trio.Event()

    @property
    def turning_hz(self) -> float:
        return self._turning_hz

    @property
    def is_scanning(self) -> bool:
        return self._scan is not None

    async def run_receiver(self) -> None:
        """Hear the host until cancelled."""
        while True:
            for request in self._parser.receive_data(await self.terminal.receive()):
                self._counters.lidar_commands += 1
                self._answer(request)

    def hang_up(self) -> None:
        """The adapter is gone, and with it the device's power: it forgets everything."""
        self._counters.lidar_hangups += 1
        self._parser = RequestParser()
        self._stop()
        self._pwm = 0
        self._turning_hz = 0.0
        self._boot_due_ns = None
        self.terminal.hang_up()

    def _answer(self, request: Request) -> None:
        if self._boot_due_ns is not None:
            return
        match request.command:
            case Command.STOP:
                self._stop()
            case Command.RESET:
                self._stop()
                self._boot_due_ns = time.monotonic_ns() + BOOT_NS
                self._wake.set()
            case Command.SCAN | Command.FORCE_SCAN:
                self._start(AnswerKind.STANDARD, is_forced=request.command == Command.FORCE_SCAN)
            case Command.EXPRESS_SCAN:
                self._start(AnswerKind.EXPRESS, is_forced=False)
            case Command.SET_MOTOR_PWM:
                self._pwm = int.from_bytes(request.payload, "little")
                self._wake.set()
            case _:
                self._answer_question(request.command)

    def _answer_question(self, command: int) -> None:
        match command:
            case Command.GET_INFO:
                self._reply(AnswerKind.INFO, encode_info(INFO))
            case Command.GET_HEALTH:
                self._reply(AnswerKind.HEALTH, encode_health(LidarHealth(0, 0)))
            case Command.GET_SAMPLERATE:
                self._reply(AnswerKind.SAMPLE_RATE, encode_sample_rate(SampleRate(STANDARD_US, EXPRESS_US)))
            case Command.GET_ACC_BOARD_FLAG:
                self._reply(AnswerKind.ACC_BOARD, encode_acc_board(is_pwm_motor=True))

    def _reply(self, kind: AnswerKind, answer: bytes = b"") -> None:
        """A request interrupts a scan in progress (RPLIDAR.md, section 5)."""
        self._stop()
        self._send(encode_descriptor(describe(kind)) + answer)

    def _start(self, kind: AnswerKind, *, is_forced: bool) -> None:
        self._reply(kind)
        self._scan = kind
        self._is_forced = is_forced
        self._is_first = True
        self._wake.set()

    def _stop(self) -> None:
        self._scan = None
        self._outgoing = b""

    def _send(self, octets: bytes) -> None:
        now_ns = time.monotonic_ns()
        if self._faults.first(FaultKind.LIDAR_SILENCE, now_ns):
            return
        if self._faults.first(FaultKind.LIDAR_GARBAGE, now_ns):
            octets = self._garbage.randbytes(len(octets))
        dropped = self.terminal.send(octets)
        self._counters.lidar_bytes += len(octets) - dropped
        self._counters.lidar_bytes_dropped += dropped

    async def run_measurement(self) -> None:
        """One tick per packet while the motor turns, a scan runs or the device boots, else asleep; until cancelled."""
        while True:
            if self._scan is None and self._boot_due_ns is None and not self._pwm and not self._turning_hz:
                self._wake = trio.Event()
                await self._wake.wait()
                self._ticked_ns = time.monotonic_ns()
            self._ticked_ns += TICK_NS
            late_ns = time.monotonic_ns() - self._ticked_ns
            if late_ns > 10 * TICK_NS:
                self._ticked_ns += late_ns
            await trio.sleep(max(0, -late_ns) / 1e9)
            self._tick()

    def _tick(self) -> None:
        now_ns = time.monotonic_ns()
        if self._boot_due_ns is not None and now_ns >= self._boot_due_ns:
            self._boot_due_ns = None
            self._send(BOOT_TEXT)
        self._turn(now_ns)
        begins_deg = self._angle_deg
        sweep_deg = 360.0 * self._turning_hz * TICK_NS / 1e9
        self._angle_deg = (begins_deg + sweep_deg) % 360.0
        if self._outgoing:
            self._send(self._outgoing)
            self._outgoing = b""
        if self._scan is not None and (self._is_forced or not self._is_first or self._is_stable()):
            self._settle(now_ns)
            self._outgoing = self._packet(self._scan, begins_deg, sweep_deg)
            self._is_first = False

    def _turn(self, now_ns: int) -> None:
        """The motor follows its PWM, or stops while it stalls, at the pace of the spin-up."""
        wanted_hz = min(MOST_HZ, self._settings.rotation_hz * self._pwm / NOMINAL_PWM)
        if self._faults.first(FaultKind.LIDAR_STALL, now_ns):
            wanted_hz = 0.0
        most = self._settings.rotation_hz * TICK_NS / max(TICK_NS, self._settings.spin_up.ns)
        self._turning_hz += min(max(wanted_hz - self._turning_hz, -most), most)

    def _is_stable(self) -> bool:
        return self._turning_hz > 0.0 and self._turning_hz >= 0.98 * min(
            MOST_HZ, self._settings.rotation_hz * self._pwm / NOMINAL_PWM
        )

    def _packet(self, kind: AnswerKind, begins_deg: float, sweep_deg: float) -> bytes:
        match kind:
            case AnswerKind.EXPRESS:
                angles = begins_deg + sweep_deg * np.arange(SAMPLES_PER_CAPSULE) / SAMPLES_PER_CAPSULE
                self._counters.lidar_capsules += 1
                start_q6 = round(begins_deg * 64) % _TURN_Q6
                return encode_capsule(start_q6, self._is_first, self._distances(angles), [0] * SAMPLES_PER_CAPSULE)
            case AnswerKind.STANDARD:
                angles = begins_deg + sweep_deg * np.arange(NODES_PER_TICK) / NODES_PER_TICK
                return self._nodes(angles, sweep_deg / NODES_PER_TICK)
            case _:
                raise AssertionError(f"this device has no scan of {kind!r}")

    def _nodes(self, angles_deg: NDArray[np.float64], step_deg: float) -> bytes:
        octets = bytearray()
        for angle, distance in zip(angles_deg % 360.0, self._distances(angles_deg), strict=True):
            quality = NODE_QUALITY if distance else 0
            octets += encode_node(round(angle * 64) % _TURN_Q6, distance * 4, quality, bool(angle < step_deg))
        return bytes(octets)

    def _distances(self, angles_deg: NDArray[np.float64]) -> list[int]:
        """What the beam measures, in mm: noise added, 0 for no return, out of range and drop-outs."""
        limits = self._settings
        if self._faults.first(FaultKind.LIDAR_BLIND, self._plant.now_ns):
            return [0] * len(angles_deg)
        true_mm = self._world.cast(self._plant.lidar_x_mm, 0.0, angles_deg, self._plant.now_ns)
        with np.errstate(invalid="ignore"):
            deviation = limits.noise_mm + limits.noise_ratio * np.minimum(true_mm, limits.most_mm)
            noisy = true_mm + self._noise.standard_normal(len(angles_deg)) * deviation
            is_seen = (true_mm >= limits.least_mm) & (noisy >= limits.least_mm) & (noisy <= limits.most_mm)
        is_seen &= self._noise.random(len(angles_deg)) >= limits.dropout_ratio
        return [int(distance) for distance in np.where(is_seen, np.round(noisy), 0)]
