"""
The parameters of requests to the export API: query, form and path.

Unknown parameters are refused. To ignore them would give a wrong answer that looks like
a right one.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.web.server import Request

from txstathat.collector.errors import Refusal
from txstathat.errors import InvalidTimeframe
from txstathat.points.amounts import MAX_TIME
from txstathat.points.timeframe import Span, Timeframe

__all__ = ["DEFAULT_TIMEFRAME", "Parameters", "path_of"]

#: The timeframe of a request that does not give one.
DEFAULT_TIMEFRAME = "1w3h"

# jQuery adds a number under this name to get past caches. It has no meaning.
_IGNORED = "_"


def path_of(request: Request) -> list[str]:
    """
    Return the parts of the path after the resource, without a slash at the end.
    """
    path = [part.decode("utf-8", "replace") for part in request.postpath or []]
    return path[:-1] if path and not path[-1] else path


def no_path(request: Request, msg: str) -> None:
    """
    Check that nothing follows the path of a call.

    :param request: the request.
    :param msg: the message otherwise.
    :raises Refusal: 404 if something does.
    """
    if path_of(request):
        raise Refusal(404, msg)


def one_part(request: Request, msg: str) -> str:
    """
    Return the one part, such as an id, that follows the path of a call.

    :param request: the request.
    :param msg: the message if there is none, or more than one.
    :raises Refusal: 404 in that case.
    """
    path = path_of(request)
    if len(path) != 1:
        raise Refusal(404, msg)
    return path[0]


def _utf_8(name: str, value: bytes) -> str:
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError:
        raise Refusal(400, f"{name[:40]!r} is not UTF-8") from None


class Parameters:
    """
    The parameters in the query or form of a request.

    :param request: the request.
    :param names: the allowed names; ``None`` if the caller checks them.
    :param repeated: an allowed name that can be there several times.
    :raises Refusal: 400 if another name is there, a name is there twice, or a value is
        not UTF-8.

    :ivar fields: the values, by name.
    :ivar repeated: the values of the repeated name.
    """

    def __init__(
        self,
        request: Request,
        names: Sequence[str] | None,
        repeated: str | None = None,
    ) -> None:
        self.fields: dict[str, str] = {}
        self.repeated: list[str] = []
        for field, values in (request.args or {}).items():
            name = field.decode("utf-8", "replace")
            if name == _IGNORED:
                continue
            if name == repeated:
                self.repeated = [_utf_8(name, value) for value in values]
                continue
            if names is not None and name not in names:
                known = f"the fields are {', '.join(names)}" if names else "no field is"
                raise Refusal(400, f"{name[:40]!r} is not known here; {known}")
            if len(values) != 1:
                raise Refusal(400, f"{name[:40]!r} is given twice")
            self.fields[name] = _utf_8(name, values[0])

    def text(self, name: str) -> str:
        """
        Return a required parameter.

        :raises Refusal: 400 if it is missing.
        """
        if name not in self.fields:
            raise Refusal(400, f"{name}: is missing")
        return self.fields[name]

    def number(self, name: str, below: int = 1_000_000_000) -> int | None:
        """
        Return a parameter that is a whole number, at least 0.

        :param name: the name.
        :param below: the number must be below this.
        :returns: the number; ``None`` if the parameter is missing.
        :raises Refusal: 400 if the number is not valid.
        """
        text = self.fields.get(name)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise Refusal(
                400, f"{name}: must be a whole number, from 0, not {text[:20]!r}"
            )
        if int(text) >= below:
            raise Refusal(400, f"{name}: must be below {below}, not {text}")
        return int(text)

    @property
    def start(self) -> int | None:
        """
        The parameter ``start``: Unix seconds; ``None`` if it is missing.

        :raises Refusal: 400 if it is not valid.
        """
        return self.number("start", MAX_TIME)

    @property
    def timeframe(self) -> Timeframe:
        """
        The parameter ``t``, or ``summary``, which has steps of a day; by default
        :data:`DEFAULT_TIMEFRAME`.

        :raises Refusal: 400 if it is not a valid timeframe.
        """
        t, summary = self.fields.get("t"), self.fields.get("summary")
        if t is not None and summary is not None:
            raise Refusal(400, "t, summary: give one of them, not both")
        try:
            if summary is not None:
                return Timeframe(Span.parse(summary), Span(1, "d"))
            return Timeframe.parse(DEFAULT_TIMEFRAME if t is None else t)
        except InvalidTimeframe as error:
            raise Refusal(400, str(error)) from None
