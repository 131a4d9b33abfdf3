"""One question to the daemon over its Unix socket, blocking and bounded in time and bytes (owns one socket a call)."""

import json
import socket
import time

from oht50d.app.exit_codes import ExitCode

DEFAULT_SOCKET = "/run/oht50d/control.sock"
_WAIT_S = 15.0
_MAX_REPLY_BYTES = 1_048_576 + 1


class LinkProblem(Exception):
    """No answer; `exit_code` says whether the daemon, a permission or the answer is at fault."""

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        self.exit_code = exit_code
        super().__init__(message)


def ask(path: str, request: dict[str, object]) -> dict[str, object]:
    """Send one request and return the reply; raises LinkProblem with one sentence and a remedy."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        deadline_s = time.monotonic() + _WAIT_S
        sock.settimeout(_WAIT_S)
        try:
            sock.connect(path)
            sock.sendall(json.dumps(request).encode() + b"\n")
            line = _receive_line(sock, deadline_s)
        except PermissionError:
            raise LinkProblem(
                f"{path}: not permitted; become root or a member of the group oht50-tech.", ExitCode.PERMISSION
            ) from None
        except (FileNotFoundError, ConnectionRefusedError):
            raise LinkProblem(
                f"nobody answers on {path}; start the daemon with `systemctl start oht50d`.", ExitCode.UNAVAILABLE
            ) from None
        except OSError as problem:
            raise LinkProblem(f"{path}: {problem}; see `systemctl status oht50d`.", ExitCode.UNAVAILABLE) from None
    try:
        reply = json.loads(line)
    except ValueError:
        reply = None
    if not isinstance(reply, dict):
        raise LinkProblem(f"{path}: the answer is no JSON object; is that the socket of oht50d?", ExitCode.FAILURE)
    return reply


def _receive_line(sock: socket.socket, deadline_s: float) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n"):
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("no answer in time")
        sock.settimeout(left_s)
        chunk = sock.recv(65_536)
        if not chunk:
            raise ConnectionError("the daemon closed the connection")
        received += chunk
        if len(received) > _MAX_REPLY_BYTES:
            raise ConnectionError("the answer is too long")
    return bytes(received)
