"""The peer: FastAPI on uvicorn with a 10 ms task in the same loop, a JWT verified by PyJWT, metrics, and WebSockets.

    python bench/peer_fastapi.py DOCUMENT.json LATENESS.json

Serves the document (the daemon's own status answer) on the same path, sends it to each WebSocket client once a topic
each 100 ms, prints {"port": ..., "token": ...}, writes the lateness of every tick at SIGTERM.
"""

import asyncio
import json
import secrets
import socket
import sys
import time
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import jwt
import uvicorn
from fastapi import FastAPI, Header, HTTPException, WebSocket, WebSocketDisconnect
from prometheus_client import Counter, Histogram

STEP_S = 0.010
TICK_S = 0.100
TOPICS = 4
KEY = secrets.token_bytes(32)
REQUESTS = Counter("http_requests", "Answers", ["status"])
SECONDS = Histogram("http_request_duration_seconds", "Time to answer")


async def tick(at_ns: "array[int]", late_ns: "array[int]") -> None:
    """The same period and the same rule as the guardian's: a late tick is not made up for."""
    loop = asyncio.get_running_loop()
    due_s = loop.time() + STEP_S
    while True:
        await asyncio.sleep(max(0.0, due_s - loop.time()))
        now_s = loop.time()
        at_ns.append(time.monotonic_ns())
        late_ns.append(round((now_s - due_s) * 1e9))
        due_s = max(due_s + STEP_S, now_s)


def check(token: str) -> dict[str, Any]:
    """The claims of a valid token."""
    try:
        claims: dict[str, Any] = jwt.decode(token, KEY, algorithms=["HS256"])
    except jwt.InvalidTokenError as error:
        raise HTTPException(401) from error
    return claims


async def push(websocket: WebSocket, document: dict[str, Any]) -> None:
    """Every topic each TICK_S until the client leaves."""
    while True:
        for _ in range(TOPICS):
            await websocket.send_json({**document, "timestamp": time.time()})
        await asyncio.sleep(TICK_S)


def make_app(document: dict[str, Any], lateness: Path) -> FastAPI:
    at_ns, late_ns = array("q"), array("q")

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(tick(at_ns, late_ns))
        yield
        task.cancel()
        lateness.write_text(json.dumps({"at_ns": at_ns.tolist(), "late_ns": late_ns.tolist()}), encoding="ascii")

    app = FastAPI(lifespan=lifespan)

    @app.get("/api/v1/robot/status")
    async def status(authorization: str = Header()) -> dict[str, Any]:
        began_s = time.perf_counter()
        check(authorization.removeprefix("Bearer "))
        answer = {**document, "timestamp": time.time()}
        REQUESTS.labels("200").inc()
        SECONDS.observe(time.perf_counter() - began_s)
        return answer

    @app.websocket("/ws")
    async def ws(websocket: WebSocket, token: str) -> None:
        check(token)
        await websocket.accept()
        with suppress(WebSocketDisconnect):
            await push(websocket, document)

    return app


def main() -> None:
    document = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    app = make_app(document, Path(sys.argv[2]))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    token = jwt.encode({"sub": "bench", "exp": int(time.time()) + 3600}, KEY, algorithm="HS256")
    print(json.dumps({"port": port, "token": token}), flush=True)
    # Its own listener and not ours: only for that one asyncio switches Nagle's algorithm off.
    uvicorn.run(
        app, host="127.0.0.1", port=port, log_level="error", access_log=False, timeout_graceful_shutdown=1, ws="wsproto"
    )


if __name__ == "__main__":
    main()
