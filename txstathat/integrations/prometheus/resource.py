"""
The page that Prometheus reads.
"""

from __future__ import annotations

import gzip
from base64 import b64decode
from hashlib import sha256
from hmac import compare_digest

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder
from twisted.logger import Logger
from twisted.web.http import INTERNAL_SERVER_ERROR, UNAUTHORIZED
from twisted.web.resource import Resource
from twisted.web.server import Request

__all__ = ["GZIP_FROM", "MetricsResource"]

#: A page with fewer bytes is not compressed.
GZIP_FROM = 1000

_log = Logger()


class MetricsResource(Resource):
    """
    The metrics of a registry, as Prometheus reads them: in its text format, or in
    OpenMetrics where the request prefers it; compressed where it allows gzip. The query
    ``name[]=…`` picks metrics, as with ``prometheus_client``'s own page. Metrics are
    collected in the reactor's thread, and no thread is needed.

    With a token or basic credentials, a request must show either; each is compared in
    constant time. They are never logged. Send them over TLS only.

    :param registry: what to show; the global registry by default.
    :param token: the bearer token that a request must have.
    :param basic: the user name and password that a request must have.
    :raises ValueError: if a token or password is empty, since anybody could guess it,
        or a user name holds a colon, which basic authentication does not allow.
    """

    isLeaf = True

    def __init__(
        self,
        registry: CollectorRegistry = REGISTRY,
        *,
        token: str | None = None,
        basic: tuple[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._registry = registry
        # By the scheme, what must follow it: as digests, which all have one length.
        self._secrets: dict[str, bytes] = {}
        if token is not None:
            if not token:
                raise ValueError("token must not be empty")
            self._secrets["bearer"] = _digest(token.encode())
        if basic is not None:
            user, password = basic
            if not password or ":" in user:
                raise ValueError(
                    "basic must be a user name without a colon and a password that "
                    "is not empty"
                )
            self._secrets["basic"] = _digest(f"{user}:{password}".encode())

    def render_GET(self, request: Request) -> bytes:
        """
        Show the metrics; to a HEAD, their headers.
        """
        request.setHeader("Cache-Control", "no-store")
        if self._secrets and not self._is_allowed(request):
            return self._refuse(request)
        encode, content_type = choose_encoder(request.getHeader("Accept") or "")
        names = (request.args or {}).get(b"name[]")
        source: CollectorRegistry = self._registry
        if names:
            wanted = [name.decode("utf-8", "replace") for name in names]
            source = self._registry.restricted_registry(wanted)  # type: ignore[assignment]
        try:
            page = encode(source)
        except Exception:
            _log.failure("the metrics could not be collected")
            return _error(
                request,
                INTERNAL_SERVER_ERROR,
                "the metrics could not be collected; the log says why",
            )
        request.setHeader("Content-Type", content_type)
        request.setHeader("Vary", "Accept, Accept-Encoding")
        if len(page) >= GZIP_FROM and _allows_gzip(request):
            request.setHeader("Content-Encoding", "gzip")
            page = gzip.compress(page, compresslevel=5, mtime=0)
        return page

    def _is_allowed(self, request: Request) -> bool:
        scheme, _, shown = (request.getHeader(b"Authorization") or b"").partition(b" ")
        kind = scheme.decode("ascii", "replace").lower()
        shown = shown.strip()
        if kind == "basic":
            try:
                shown = b64decode(shown, validate=True)
            except ValueError:
                return False
        expected = self._secrets.get(kind)
        return expected is not None and compare_digest(_digest(shown), expected)

    def _refuse(self, request: Request) -> bytes:
        schemes = [
            f'{scheme.capitalize()} realm="metrics"' for scheme in sorted(self._secrets)
        ]
        request.setHeader("WWW-Authenticate", ", ".join(schemes))
        needed = " or ".join(
            {"basic": "a user name and password", "bearer": "a bearer token"}[scheme]
            for scheme in sorted(self._secrets)
        )
        return _error(request, UNAUTHORIZED, f"this page needs {needed}")


def _digest(secret: bytes) -> bytes:
    return sha256(secret).digest()


def _error(request: Request, code: int, text: str) -> bytes:
    request.setResponseCode(code)
    request.setHeader("Content-Type", "text/plain; charset=utf-8")
    return f"{text}\n".encode()


def _allows_gzip(request: Request) -> bool:
    """
    Whether a request allows gzip, by name or by ``*``, with no weight of 0
    (https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3).
    """
    allowed: dict[str, bool] = {}
    for offer in (request.getHeader("Accept-Encoding") or "").lower().split(","):
        coding, *parameters = (part.strip() for part in offer.split(";"))
        weights = [p[2:] for p in parameters if p.startswith("q=")]
        try:
            allowed[coding] = all(float(weight) > 0 for weight in weights)
        except ValueError:
            allowed[coding] = False
    return allowed.get("gzip", allowed.get("*", False))
