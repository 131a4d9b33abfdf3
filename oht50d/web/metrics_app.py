"""The application of the second listener that `web.metrics_port` opens: /metrics and nothing else (no state)."""

from quart import Response
from quart_trio import QuartTrio

from oht50d.metrics import CONTENT_TYPE, Metrics


def create_metrics_app(metrics: Metrics) -> QuartTrio:
    """An ASGI application with one path."""
    app = QuartTrio("oht50d.metrics", static_folder=None)

    @app.get("/metrics")
    async def exposition() -> Response:
        return Response(metrics.render(), content_type=CONTENT_TYPE)

    return app
