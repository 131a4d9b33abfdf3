"""The operator's page: static files, read into memory once at start (no state after that).

Nothing is fetched from anywhere else: the vehicle may have no internet.
"""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen
from quart import Blueprint, Response, request
from werkzeug.exceptions import NotFound

log = logging.getLogger(__name__)

LIBRARY = "vendor/standalone.module.js"
"""Not in the repository: `./dev run` fetches it by its hash, and a wheel that is built after that holds it."""

STATIC_DIR = Path(__file__).with_name("static")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_TOTAL_LIMIT = 2_000_000


@frozen
class StaticFile:
    """One file as it is sent."""

    body: bytes
    content_type: str
    etag: str


def load_static(folder: Path = STATIC_DIR) -> Mapping[str, StaticFile]:
    """Every servable file under `folder` by its relative path; raises OSError, and ValueError above 2 MB in all."""
    files: dict[str, StaticFile] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in _TYPES and path.is_file():
            body = path.read_bytes()
            etag = hashlib.sha256(body).hexdigest()[:16]
            files[path.relative_to(folder).as_posix()] = StaticFile(body, _TYPES[path.suffix], etag)
    if sum(len(file.body) for file in files.values()) > _TOTAL_LIMIT:
        raise ValueError("the page's static files are larger than 2 MB")
    return files


def page_blueprint(files: Mapping[str, StaticFile]) -> Blueprint:
    """/ and /static/...; without the page's library / is a 503 that says how to get it and still has STOP."""
    blueprint = Blueprint("page", __name__)
    is_complete = LIBRARY in files
    if not is_complete:
        log.warning("the operator's page is incomplete: %s is missing; / says how to get it", STATIC_DIR / LIBRARY)

    @blueprint.get("/")
    async def index() -> Response:
        if is_complete:
            return _send(files, "index.html")
        notice = files["no_library.html"]
        return Response(
            notice.body, status=503, content_type=notice.content_type, headers={"Cache-Control": "no-store"}
        )

    @blueprint.get("/favicon.ico")
    async def icon() -> Response:
        return _send(files, "icon.svg")

    @blueprint.get("/static/<path:name>")
    async def static_file(name: str) -> Response:
        return _send(files, name)

    return blueprint


def _send(files: Mapping[str, StaticFile], name: str) -> Response:
    file = files.get(name)
    if file is None:
        raise NotFound(f"there is no file {name}")
    response = Response(file.body, content_type=file.content_type)
    response.set_etag(file.etag)
    response.headers["Cache-Control"] = "no-cache"
    if request.if_none_match.contains(file.etag):
        response.status_code = 304
        response.set_data(b"")
    return response
