"""The web application: blueprints joined, with limits, security headers and request metrics (no state of its own)."""

import time

from quart import Response, g, request
from quart_trio import QuartTrio

from oht50d.web.auth import auth_blueprint
from oht50d.web.envelope import request_id
from oht50d.web.errors import register_errors, rejection
from oht50d.web.guard import Guard, limited
from oht50d.web.health import health_blueprint
from oht50d.web.lidar import lidar_blueprint
from oht50d.web.modules import modules_blueprint
from oht50d.web.page import load_static, page_blueprint
from oht50d.web.robot import robot_blueprint
from oht50d.web.safety import safety_blueprint
from oht50d.web.socket import register_socket
from oht50d.web.stop import STOP_PATHS, stop_blueprint
from oht50d.web.telemetry import telemetry_blueprint
from oht50d.web.web_ports import WebPorts

UNLIMITED = STOP_PATHS | {"/api/v1/robot/control"}
"""Never rate limited by requests: STOP; `control` carries STOP too and has the limit for commands."""

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""`same-origin` and not `no-referrer`: with the latter a browser sends `Origin: null` from our own STOP form."""

_HSTS = "max-age=31536000"


def create_app(ports: WebPorts) -> QuartTrio:
    """The ASGI application; needs Trio. Raises OSError if the page's files cannot be read."""
    app = QuartTrio("oht50d.web", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = ports.config.body_bytes
    app.config["BODY_TIMEOUT"] = 5
    guard = Guard(ports)
    for blueprint in (
        stop_blueprint(ports, guard),
        health_blueprint(ports),
        robot_blueprint(ports, guard),
        safety_blueprint(ports, guard),
        modules_blueprint(ports, guard),
        lidar_blueprint(ports, guard),
        telemetry_blueprint(ports, guard),
        auth_blueprint(ports, guard),
        page_blueprint(load_static()),
    ):
        app.register_blueprint(blueprint)
    register_socket(app, ports, guard)
    register_errors(app)
    _register_hooks(app, ports, guard)
    return app


def _register_hooks(app: QuartTrio, ports: WebPorts, guard: Guard) -> None:
    """Hooks hold no checkpoint: a client that sends STOP and hangs up must reach the commander all the same."""

    @app.before_request
    async def begin() -> Response | None:
        g.began_s = time.perf_counter()
        request_id()
        if not request.path.startswith("/api/") or request.path in UNLIMITED or request.method == "OPTIONS":
            return None
        g.verdict = guard.count_request()
        return None if g.verdict.is_allowed else rejection(limited(g.verdict))

    @app.after_request
    async def end(response: Response) -> Response:
        response.headers.update(SECURITY_HEADERS)
        response.headers["X-Request-ID"] = request_id()
        if request.scheme == "https":
            response.headers["Strict-Transport-Security"] = _HSTS
        if request.path.startswith("/api/"):
            response.headers.setdefault("Cache-Control", "no-store")
        _add_limits(response)
        _add_cors(response, ports.config.cors_origins)
        ports.metrics.count_request(response.status_code, time.perf_counter() - g.get("began_s", time.perf_counter()))
        return response


def _add_limits(response: Response) -> None:
    verdict = g.get("verdict")
    if verdict is not None:
        response.headers["X-RateLimit-Limit"] = str(verdict.limit)
        response.headers["X-RateLimit-Remaining"] = str(verdict.remaining)
        response.headers["X-RateLimit-Reset"] = str(verdict.reset_s)
        if not verdict.is_allowed:
            response.headers["Retry-After"] = str(verdict.reset_s)


def _add_cors(response: Response, origins: tuple[str, ...]) -> None:
    origin = request.headers.get("Origin")
    if origins:
        response.headers.add("Vary", "Origin")
    if origin is not None and origin in origins:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type, X-Request-ID, X-Api"
        response.headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
        response.headers["Access-Control-Max-Age"] = "600"
