"""
What the query, the form and the path of a request to the export API ask for.

Whatever is not understood is refused, since an answer to another question would be
wrong without anybody seeing it.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.web.server import Request

from txstathat.collector.errors import Refusal
from txstathat.errors import InvalidTimeframe
from txstathat.points.model import MAX_TIME
from txstathat.points.timeframe import Span, Timeframe

__all__ = ["DEFAULT", "Question", "path_of"]

#: The timeframe where none is given.
DEFAULT = "1w3h"

# jQuery adds a number under this name so that no cache answers. It asks for nothing.
_HARMLESS = "_"


def path_of(request: Request) -> list[str]:
    """
    The rest of the path, without a slash at its end.
    """
    path = [part.decode("utf-8", "replace") for part in request.postpath or []]
    return path[:-1] if path and not path[-1] else path


class Question:
    """
    The fields of a request.

    :param request: the request.
    :param names: the fields that it may have; ``None`` where the caller checks that.
    :raises Refusal: 400 if it has another one, one twice, or one that is not UTF-8.
    """

    def __init__(self, request: Request, names: Sequence[str] | None) -> None:
        self.fields: dict[str, str] = {}
        for field, values in (request.args or {}).items():
            name = field.decode("utf-8", "replace")
            if name == _HARMLESS:
                continue
            if names is not None and name not in names:
                known = f"the fields are {', '.join(names)}" if names else "no field is"
                raise Refusal(400, f"{name[:40]!r} is not known here; {known}")
            if len(values) != 1:
                raise Refusal(400, f"{name[:40]!r} is given twice")
            try:
                self.fields[name] = str(values[0], "utf-8")
            except UnicodeDecodeError:
                raise Refusal(400, f"{name[:40]!r} is not UTF-8") from None

    def text(self, name: str) -> str:
        """
        A field that has to be there.

        :raises Refusal: if it is not.
        """
        if name not in self.fields:
            raise Refusal(400, f"{name}: is missing; give it once")
        return self.fields[name]

    def number(self, name: str, below: int = 1_000_000_000) -> int | None:
        """
        A whole number from 0.

        :param below: what it must be below.
        :returns: ``None`` if it is not there.
        :raises Refusal: if it is no such number.
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
        The field ``start``: a time in Unix seconds; ``None`` if it is not there.

        :raises Refusal: if it is no time.
        """
        return self.number("start", MAX_TIME)

    @property
    def timeframe(self) -> Timeframe:
        """
        The fields ``t`` and ``summary``: by default :data:`DEFAULT`. A summary has
        steps of a day.

        :raises Refusal: if they are no timeframe.
        """
        t, summary = self.fields.get("t"), self.fields.get("summary")
        if t is not None and summary is not None:
            raise Refusal(400, "t, summary: give one of them, not both")
        try:
            if summary is not None:
                return Timeframe(Span.parse(summary), Span(1, "d"))
            return Timeframe.parse(DEFAULT if t is None else t)
        except InvalidTimeframe as error:
            raise Refusal(400, str(error)) from None
