"""Health and metrics: six paths without login and without secrets (DECISIONS, health and metrics; no state)."""

from quart import Blueprint, Response

from oht50d.metrics import CONTENT_TYPE
from oht50d.web.envelope import failure, success
from oht50d.web.present import Json
from oht50d.web.web_ports import HealthView, WebPorts


def _checks(view: HealthView) -> Json:
    return {
        name: {"ok": check.is_ok, "cause": check.cause, "remedy": check.remedy} for name, check in view.checks.items()
    }


def _answer(view: HealthView, is_ok: bool, word: str) -> Response:
    checks = _checks(view)
    if is_ok:
        return success({"status": word, "checks": checks}, word, top={"status": word, "checks": checks})
    causes = [f"{name}: {check.cause}" for name, check in view.checks.items() if not check.is_ok]
    message = f"not {word}: " + ("; ".join(causes) or "no cause known")
    return failure(
        "NOT_READY", message, status=503, details={"checks": checks}, top={"status": f"not {word}", "checks": checks}
    )


def health_blueprint(ports: WebPorts) -> Blueprint:
    """/health, /health/live, /health/ready, /health/startup, /ready, /startup and /metrics."""
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/health")
    @blueprint.get("/health/live")
    async def live() -> Response:
        view = ports.health()
        return _answer(view, view.is_live, "live")

    @blueprint.get("/health/ready")
    @blueprint.get("/ready")
    async def ready() -> Response:
        view = ports.health()
        return _answer(view, view.is_ready, "ready")

    @blueprint.get("/health/startup")
    @blueprint.get("/startup")
    async def startup() -> Response:
        view = ports.health()
        return _answer(view, view.is_started, "started")

    @blueprint.get("/metrics")
    async def metrics() -> Response:
        return Response(ports.metrics.render(), content_type=CONTENT_TYPE)

    return blueprint
