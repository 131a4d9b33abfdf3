"""What waits to be sent to one WebSocket client: events lossless up to a bound, telemetry latest wins.

Owner of the queue: the connection that made it; one task takes, any task of the connection puts.
"""

from collections import deque

import trio

EVENT_LIMIT = 256


class Outbox:
    """At most EVENT_LIMIT events and one message a topic; a nonce overtakes all, because it ages in milliseconds."""

    def __init__(self) -> None:
        self._nonce: str | None = None
        self._events: deque[str] = deque()
        self._latest: dict[str, str] = {}
        self._is_filled = trio.Event()

    def put_event(self, text: str) -> bool:
        """Queue an event; False if the bound is reached: the client does not read and must be let go."""
        if len(self._events) >= EVENT_LIMIT:
            return False
        self._events.append(text)
        self._is_filled.set()
        return True

    def put_latest(self, topic: str, text: str) -> None:
        """Replace what waits for `topic`."""
        self._latest[topic] = text
        self._is_filled.set()

    def put_nonce(self, text: str) -> None:
        """Replace the nonce that waits; it is sent before everything else."""
        self._nonce = text
        self._is_filled.set()

    async def take(self) -> str:
        """The next message; waits for one. A cancellation loses nothing."""
        while True:
            if self._nonce is not None:
                text, self._nonce = self._nonce, None
                return text
            if self._events:
                return self._events.popleft()
            if self._latest:
                return self._latest.pop(next(iter(self._latest)))
            self._is_filled = trio.Event()
            await self._is_filled.wait()
