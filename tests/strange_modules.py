"""Modules that no map binds, as functions from a read to what they answer."""

from collections.abc import Callable

from oht50d.model.bus import BusReply, ExceptionReply, Failure, ReadRegisters, ReadReply

Answer = Callable[[ReadRegisters], BusReply | Failure]

LIFTER = {
    0x00F8: 0x4C49, 0x00F9: 0x4654, 0x00FA: 0x0100, 0x00FB: 1234, 0x00FC: 0, 0x00FD: 1, 0x00FE: 2, 0x00FF: 3,
    0x0100: 6, 0x0101: 5, 0x0102: 0, 0x0103: 1, 0x0104: 6, 0x0105: 0x0203, 0x0106: 0x0100, 0x0107: 0, 0x0108: 0,
}  # fmt: skip
"""The identity of a lifter, serial number 1234, firmware 2.03."""


def device(words: dict[int, int], refused: tuple[int, ...] = ()) -> Answer:
    """A strict device: an unmapped register, or one that it refuses, is exception 2."""

    def answer(request: ReadRegisters) -> BusReply | Failure:
        span = range(request.address, request.address + request.count)
        if any(address not in words or address in refused for address in span):
            return ExceptionReply(request.unit, 3, 2)
        return ReadReply(request.unit, tuple(words[address] for address in span))

    return answer


def silent(_request: ReadRegisters) -> Failure:
    """Nobody there."""
    return Failure.SILENT
