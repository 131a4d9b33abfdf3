"""One exchange after another on an open port: silence, frame out, reply in (state: line clock, counts, pending reply).

It keeps the 3.5-character silence (serial line V1.02, section 2.5.1.1) before every frame, measured from the last byte
that was read, and tells every frame to whoever watches. It knows nothing about why a frame goes out.
"""

from collections.abc import Callable
from typing import Protocol

import trio
from attrs import frozen

from oht50d.clock import NS_PER_S, now_ns
from oht50d.codec.framing import Framing
from oht50d.codec.modbus_pdu import EXCEPTION_FLAG, ReplyMismatch
from oht50d.codec.rtu import begins_with_frame
from oht50d.core.frame_event import Note, Observe, Way
from oht50d.core.wire_slots import Slot
from oht50d.drivers.pending_reply import PendingReply
from oht50d.model.bus import (
    BusReply,
    BusRequest,
    ExceptionReply,
    ExchangeResult,
    Failure,
    Hint,
    MaskWriteRegister,
    WriteCoil,
    WriteRegister,
)
from oht50d.model.errors import LinkLost, RemoteProtocolError
from oht50d.model.line import LineSettings
from oht50d.model.motion import StopKind

SEND_LIMIT_NS = 20_000_000
"""A port that has not taken a frame this long after its last character should be out is stuck."""
GAP_LIMIT_NS = 50_000_000
"""Loop gap beyond which input is thrown away (SAFETY.md, Permits)."""
WORTH_SLEEPING_NS = 1_000_000
"""Time of missing characters (12 at 115200) from which on one sleep replaces two wake-ups or more."""
MAX_NOISE_WAITS = 20
"""Bound on waiting for a babbling line: 20 silences (35 ms at 115200), then the frame goes out all the same."""
STOP_NOISE_WAITS = 3
"""The same bound while a stop is under way: its frames do not wait for a babbler."""

_NOTES = {
    Failure.SILENT: Note.TIMEOUT,
    Failure.NOISE: Note.CRC,
    Failure.MISMATCH: Note.MISMATCH,
    Failure.ABANDONED: Note.ABANDONED,
}


_SAME_REPLY = (WriteCoil, WriteRegister, MaskWriteRegister)
"""The reply to these is the request once more."""
_BIAS_BYTES = b"\x00\xff"
"""What a receiver makes of a line that nobody drives."""


class ByteLink(Protocol):
    """An open port or connection."""

    @property
    def device(self) -> str:
        """What the configured name stood for when it was opened."""
        ...

    @property
    def warning(self) -> str:
        """What is wrong with it though it works, and the remedy; empty if nothing is."""
        ...

    @property
    def is_current(self) -> bool:
        """False once the configured name stands for another device than the one that is open."""
        ...

    def send_now(self, octets: bytes) -> int:
        """Hand over what the port takes at once; how many bytes that was. Raises LinkLost."""
        ...

    async def send_all(self, octets: bytes) -> None: ...

    async def receive_some(self, max_bytes: int = 4096) -> bytes: ...

    def drain_input(self) -> bytes: ...

    def reconfigure(self, line: LineSettings) -> None:
        """Set the open port anew; what waits in it is dropped. Raises LinkError, LinkLost if the port is gone."""
        ...

    def close(self) -> None: ...


class Timer(Protocol):
    """Wakes at a moment of the Trio clock without the 1 ms grain of the event loop's time-out.

    Who needs the moment itself waits until `lead_ns` before it, gets ready, and holds for the rest.
    """

    lead_ns: int

    async def wait_until_ns(self, deadline_ns: int) -> None: ...

    def hold_until_ns(self, deadline_ns: int) -> int: ...


@frozen
class LineTimes:
    """What a character takes, and the silence between frames: 0 on a transport that needs none."""

    character_ns: int
    silence_ns: int


class ModbusLine:
    """The line of one bus owner, through all openings of its port. One exchange at a time."""

    def __init__(
        self,
        framing: Framing,
        times: LineTimes,
        timer: Timer,
        observe: Observe,
        on_unexpected: Callable[[bytes, int, Hint | None], None],
    ) -> None:
        """`on_unexpected(octets, now_ns, hint)` hears of bytes that nobody waited for."""
        self.pending = PendingReply()
        self.early_frames = 0
        self.unexpected_bytes = 0
        self._framing = framing
        self._times = times
        self._timer = timer
        self._observe = observe
        self._on_unexpected = on_unexpected
        self._line_free_ns = 0
        self._is_dirty = True
        self._must_drain = False
        self._slot: Slot
        self._last_replies: dict[int, bytes] = {}
        """What came last of each unit and was taken: the same again is its copy and nobody else's word."""
        self._reception = _Reception()
        self._sent_ns = self._ends_ns = 0
        self._sent = b""

    @property
    def late_replies(self) -> int:
        return self._framing.late_replies

    def begin(self, at_ns: int) -> None:
        """A port was opened: nobody knows what is on the line."""
        self._framing.reset()
        self._is_dirty = True
        self._line_free_ns = at_ns

    def set_times(self, times: LineTimes) -> None:
        """The port was set anew; call `begin` for an open one."""
        self._times = times

    def discard_input(self) -> None:
        """Throw away what waits in the tty before the next frame: after a loop gap it may be seconds old."""
        self._must_drain = True

    async def keep_silence(self, link: ByteLink, is_stop_due: Callable[[], bool]) -> bool:
        """Wait until the line is about to have been quiet for 3.5 characters; on a dirty line, until it *is* quiet.

        Whatever came since the last reply is thrown away: it answers nothing that is about to be asked. False if there
        was nothing to wait for: no other task has run then. In a stream with numbered replies nothing is thrown away:
        that would put it out of step, and whatever is old is known by its number.
        """
        if self._framing.is_numbered:
            self._must_drain = False
            return False
        is_clean = not (self._is_dirty or self._must_drain)
        begins_ns = self._line_free_ns + self._times.silence_ns - (self._timer.lead_ns if is_clean else 0)
        has_waited = begins_ns > now_ns()
        if has_waited:
            await self._timer.wait_until_ns(begins_ns)
        dropped = self._drain(link)
        if dropped and is_clean:
            self.unexpected_bytes += len(dropped)
            self._on_unexpected(dropped, now_ns(), None)
        waits = 0
        # Asked in every round: a stop may come while the line is babbling.
        while dropped and waits < (STOP_NOISE_WAITS if is_stop_due() else MAX_NOISE_WAITS):
            waits += 1
            self._line_free_ns = now_ns()
            await self._timer.wait_until_ns(self._line_free_ns + self._times.silence_ns)
            dropped = self._drain(link)
            has_waited = True
        self._must_drain = False
        return has_waited

    def _drain(self, link: ByteLink) -> bytes:
        dropped = link.drain_input()
        if dropped:
            self._observe(now_ns(), Way.RECEIVED, dropped, Note.UNEXPECTED, None)
        return dropped

    async def exchange(
        self, link: ByteLink, slot: Slot, kind: StopKind | None = None, permit_ends_ns: int | None = None
    ) -> ExchangeResult:
        """One frame out, one reply in. Runs inside `pending.open()`: if that scope ends because no reply has come, the
        outcome is that of `give_up`. The line is marked dirty if anything is left open.

        `kind` is that of the stop whose frame it is; `permit_ends_ns` when the permit of energised drives runs out.
        """
        self._slot, self._reception = slot, _Reception()
        sent_ns = self._sent_ns = await self._send(link, slot, kind, permit_ends_ns)
        reception = self._reception
        self.pending.begin()
        try:
            await self._collect(link, slot.request, reception)
        finally:
            self.pending.end()
        ended_ns = self._line_free_ns
        if reception.is_doubtful:
            reception.reply = None
        if reception.reply is None or ended_ns - self.pending.deadline_ns > GAP_LIMIT_NS:
            return self._failed()
        self._is_dirty = False
        self._last_replies[slot.request.unit] = reception.octets
        self._line_free_ns = max(ended_ns, self._ends_ns)
        self._observe(ended_ns, Way.RECEIVED, reception.octets, reception.verdict(), slot.purpose)
        octets = len(reception.octets)
        return ExchangeResult(slot.request, reception.reply, None, sent_ns, ended_ns, len(self._sent), octets)

    def give_up(self) -> ExchangeResult:
        """The outcome of the exchange whose reply has not come in time."""
        if self.pending.is_shortened:
            self._reception.failure = Failure.ABANDONED
        return self._failed()

    def _failed(self) -> ExchangeResult:
        slot, reception, ended_ns = self._slot, self._reception, now_ns()
        note = _NOTES[reception.failure]
        if reception.reply is not None:
            # Seen this late, its age is unknown: this process was not running for a while.
            reception.failure, note = Failure.SILENT, Note.STALE
        elif reception.hint is None and not reception.is_doubtful and self._is_echo(reception.octets):
            reception.hint = Hint.ECHO
        self._line_free_ns = max(ended_ns, self._ends_ns)
        self._observe(ended_ns, Way.RECEIVED, reception.octets, note, slot.purpose)
        octets = len(reception.octets)
        return ExchangeResult(
            slot.request, None, reception.failure, self._sent_ns, ended_ns, len(self._sent), octets, reception.hint
        )  # fmt: skip

    def _is_echo(self, octets: bytes) -> bool:
        """True if the adapter has heard the request itself."""
        return octets.startswith(self._sent) and not isinstance(self._slot.request, _SAME_REPLY)

    def _judge_foreign(self, octets: bytes) -> None:
        """Why an exchange failed in which these bytes were no reply, if nothing better comes."""
        reception = self._reception
        if begins_with_frame(octets):
            reception.failure = Failure.MISMATCH
            reception.hint = Hint.ECHO if self._is_echo(octets) else None
        else:
            reception.failure = Failure.NOISE
            reception.hint = Hint.BIAS if octets[0] in _BIAS_BYTES else None

    async def _send(self, link: ByteLink, slot: Slot, kind: StopKind | None, permit_ends_ns: int | None) -> int:
        """When the frame went out."""
        request, framing, times = slot.request, self._framing, self._times
        adu = framing.encode(request)
        framing.expect(request)
        # Without a silence no frame can be early: the times of the line are those of somebody else's serial port.
        quiet_ns = self._line_free_ns + times.silence_ns if times.silence_ns else 0
        sent_ns = self._timer.hold_until_ns(quiet_ns)
        is_early = sent_ns < quiet_ns
        self.early_frames += is_early
        self._is_dirty = True
        self._sent = adu
        ends_ns = self._ends_ns = sent_ns + len(adu) * times.character_ns
        sent = link.send_now(adu)
        if sent < len(adu):
            await self._send_rest(link, adu[sent:], ends_ns)
        self._observe(sent_ns, Way.SENT, adu, Note.EARLY if is_early else Note.SENT, slot.purpose)
        reply_ns = framing.reply_bytes(request) * times.character_ns
        self.pending.arm(
            slot,
            earliest_ns=ends_ns + times.silence_ns,
            reply_ns=reply_ns + times.silence_ns,
            deadline_ns=ends_ns + slot.timeout_ns + reply_ns,
            kind=kind,
            permit_ends_ns=permit_ends_ns,
        )
        return sent_ns

    async def _send_rest(self, link: ByteLink, octets: bytes, ends_ns: int) -> None:
        with trio.move_on_at((ends_ns + SEND_LIMIT_NS) / NS_PER_S) as sending:
            await link.send_all(octets)
        if sending.cancelled_caught:
            # Whatever it holds back: closing drops it, and the next opening begins with S0.
            raise LinkLost("the port takes no more bytes", cause="lost", remedy="Check the adapter and its cable.")

    async def _collect(self, link: ByteLink, request: BusRequest, reception: "_Reception") -> None:
        framing, pending = self._framing, self.pending
        rest = b""
        while reception.reply is None:
            octets = rest or await link.receive_some()
            self._line_free_ns = now_ns()
            try:
                reception.reply = framing.receive_data(octets)
            except ReplyMismatch:
                pending.note_foreign()
                reception.failure = Failure.MISMATCH
                octets, reception.octets = reception.octets + octets, b""
                if framing.is_numbered:  # the server has answered, and wrongly: nothing else will come
                    reception.octets = octets
                    return
                rest = await self._pass_over(link, octets, reception)
                framing.expect(request)
                continue
            except RemoteProtocolError as error:
                if framing.is_numbered:
                    # Nothing but the length says where the next frame begins: only a new connection is in step again.
                    remedy = "check that host and port are those of a Modbus TCP server"
                    raise LinkLost(f"no Modbus TCP comes from there: {error}", cause="lost", remedy=remedy) from error
                reception.failure = Failure.NOISE
                reception.octets += octets
                return
            rest = b""
            reception.octets += octets
            pending.note_begun()
            if reception.reply is None:
                await self._let_it_come(request, reception.octets)

    async def _pass_over(self, link: ByteLink, octets: bytes, reception: "_Reception") -> bytes:
        """Something else came first; what is there already of what follows it.

        A second copy of the unit's last reply is known for what it is. After any other frame somebody else talks on
        this line, and whose words come next cannot be known.
        """
        copy = self._last_replies.get(octets[0], b"")
        if copy and octets.startswith(copy):
            self.unexpected_bytes += len(copy)
            self._observe(self._line_free_ns, Way.RECEIVED, copy, Note.MISMATCH, None)
            self._on_unexpected(copy, now_ns(), None)
            return octets[len(copy) :]
        foreign = await self._skip_foreign(link, octets)
        reception.is_doubtful |= len(foreign) >= SHORTEST_FRAME_BYTES and foreign != copy
        return b""

    async def _let_it_come(self, request: BusRequest, begun: bytes) -> None:
        """Sleep for the characters that are missing: a UART hands a reply over in pieces of its buffer, each of which
        would wake this process up. An exception reply is short."""
        if len(begun) < 2 or begun[1] & EXCEPTION_FLAG:
            return
        missing_ns = (self._framing.reply_bytes(request) - len(begun)) * self._times.character_ns
        if missing_ns > WORTH_SLEEPING_NS:
            await self._timer.wait_until_ns(self._line_free_ns + missing_ns)

    async def _skip_foreign(self, link: ByteLink, octets: bytes) -> bytes:
        """A reply to something else, until the line is quiet again; the one that is waited for may still come (serial
        line V1.02, section 2.4.1: the time-out is kept running). Its bytes."""
        self.unexpected_bytes += len(octets)
        quiet_s = self._times.silence_ns / NS_PER_S
        try:
            with trio.move_on_after(quiet_s) as quiet:
                while True:
                    more = await link.receive_some()
                    octets = (octets + more)[-MAX_FOREIGN_BYTES:]
                    self.unexpected_bytes += len(more)
                    self._line_free_ns = now_ns()
                    quiet.deadline = trio.current_time() + quiet_s
        finally:
            self._judge_foreign(octets)
            reception = self._reception
            self._observe(self._line_free_ns, Way.RECEIVED, octets, _NOTES[reception.failure], None)
            self._on_unexpected(octets, now_ns(), reception.hint)
        return octets


SHORTEST_FRAME_BYTES = 5
"""Less than this is noise and no frame of somebody else."""
MAX_FOREIGN_BYTES = 4096
"""How many of the bytes of a stranger are kept for the trace."""


class _Reception:
    """What has come of one reply."""

    __slots__ = ("failure", "hint", "is_doubtful", "octets", "reply")

    def __init__(self) -> None:
        self.octets = b""
        self.reply: BusReply | None = None
        self.failure = Failure.SILENT
        self.hint: Hint | None = None
        self.is_doubtful = False

    def verdict(self) -> Note:
        """What the trace says about a reply."""
        return Note.EXCEPTION if isinstance(self.reply, ExceptionReply) else Note.VALID
