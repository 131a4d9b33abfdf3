"""Which browser requests come from a foreign page: STOP is refused to those only (SAFETY.md; no state)."""

from urllib.parse import urlsplit

from werkzeug.datastructures import Headers


def is_foreign(headers: Headers, allowed_origins: tuple[str, ...]) -> bool:
    """True for `Origin` present and not allowed, and for no `Origin` with `Sec-Fetch-Site: cross-site`.

    Allowed is our own page: the host of the `Host` header, or the browser's own word `same-origin` (a page cannot set
    that header; it keeps STOP working behind a proxy that rewrites `Host`), or one of `allowed_origins`.
    """
    origin = headers.get("Origin")
    site = headers.get("Sec-Fetch-Site", "")
    if origin is None:
        return site == "cross-site"
    is_our_host = _host_of(origin) == headers.get("Host", "").lower()
    return not (site == "same-origin" or origin in allowed_origins or is_our_host)


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None
