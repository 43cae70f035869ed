"""
The scripts and the style sheet of a page with charts, and the policy under which a
browser runs them.
"""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from twisted.web.http import CACHED, NOT_ALLOWED, NOT_FOUND
from twisted.web.resource import Resource
from twisted.web.server import Request

from txstathat.web import page_policy

__all__ = [
    "ChartAssets",
    "StaticFile",
    "content_security_policy",
    "plotly_js",
    "style_hashes",
]

_STATIC = Path(__file__).parent / "static"
# plotly.js always adds the style sheet of its maps to the page.
_INLINE_STYLE = re.compile(
    r'createElement\("style"\);\w+\.id="\w+",\w+\.textContent=\'((?:[^\'\\]|\\.)*)\''
)


def plotly_js() -> Path:
    """
    Find the file of plotly.js in the ``plotly`` package.

    :raises ImportError: if the package is not installed.
    """
    # Found but not imported: the package is large, and only this file is used.
    spec = find_spec("plotly")
    if spec is None or spec.origin is None:
        raise ImportError("charts need plotly: pip install 'txStatHat[charts]'")
    return Path(spec.origin).parent / "package_data" / "plotly.min.js"


@cache
def style_hashes() -> tuple[str, ...]:
    """
    The hashes that ``style-src`` of a Content-Security-Policy must allow for plotly.js:
    those of the style elements that it makes. One is empty: a script fills it.

    :raises ImportError: if plotly is not installed.
    """
    texts = [""]
    for found in _INLINE_STYLE.finditer(plotly_js().read_text("utf-8")):
        texts.append(re.sub(r"\\(.)", r"\1", found[1]))
    return tuple(
        f"'sha256-{b64encode(sha256(text.encode('utf-8')).digest()).decode('ascii')}'"
        for text in texts
    )


def content_security_policy() -> str:
    """
    The strictest Content-Security-Policy under which charts work: everything from this
    host, no inline script, no ``eval``, no inline style except plotly's own.

    :raises ImportError: if plotly is not installed.
    """
    return page_policy(style_hashes(), ancestors="'self'")


# Charts that have assets of their own share one copy in memory.
@cache
def _content(path: Path) -> tuple[bytes, bytes]:
    content = path.read_bytes()
    return content, b'"%b"' % sha256(content).hexdigest().encode("ascii")


class StaticFile(Resource):
    """
    A file that the browser caches and revalidates. It is read now, and then served
    from memory: a new version of the package may replace it while the process runs.

    :param path: the file.
    :param content_type: its content type.
    :raises OSError: if the file cannot be read.
    """

    isLeaf = True

    def __init__(self, path: Path, content_type: str) -> None:
        super().__init__()
        self._content, self._tag = _content(path)
        self._content_type = content_type

    def render(self, request: Request) -> bytes:
        """
        Answer with the whole file; ranges are not supported.
        """
        request.setHeader("Cache-Control", "no-cache")
        request.setHeader("X-Content-Type-Options", "nosniff")
        if request.postpath:
            request.setResponseCode(NOT_FOUND)
            return b""
        if request.method not in (b"GET", b"HEAD"):
            request.setResponseCode(NOT_ALLOWED)
            request.setHeader("Allow", "GET, HEAD")
            return b""
        if request.setETag(self._tag) is CACHED:
            return b""
        request.setHeader("Content-Type", self._content_type)
        return self._content


class ChartAssets(Resource):
    """
    The files ``plotly.js``, ``charts.js`` and ``charts.css``, for a site whose charts
    share them.

    :raises ImportError: if plotly (the extra ``charts``) is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.putChild(b"plotly.js", StaticFile(plotly_js(), "text/javascript"))
        for name, kind in (
            ("charts.js", "text/javascript"),
            ("charts.css", "text/css"),
        ):
            file = StaticFile(_STATIC / name, f"{kind}; charset=utf-8")
            self.putChild(name.encode("ascii"), file)
