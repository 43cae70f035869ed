"""
Templates: the body, the headers and the URL of a web hook, with values of a message.

A value is ``$name`` or ``${name}``, as in :class:`string.Template`, and ``$$`` is a
dollar sign. In a JSON body values are escaped for a JSON string, so a name cannot end
the string that it stands in. ``text_escaped`` and ``title_escaped`` have ``&``, ``<``
and ``>`` as entities, for receivers that take ``<!channel>`` for a mention.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from string import Template
from urllib.parse import quote

from txstathat.collector.channels.message import FIRED, ChannelMessage
from txstathat.printable import printable

__all__ = [
    "VARIABLES",
    "check_template",
    "fill_json",
    "fill_line",
    "fill_text",
    "names_secret",
    "values_of",
]

#: What a template can name.
VARIABLES = (
    "event",
    "id",
    "key",
    "number",
    "secret",
    "stat",
    "text",
    "text_escaped",
    "time",
    "title",
    "title_escaped",
)

_SAMPLE = ChannelMessage("id", FIRED, 0, 'a "title"', "a\ntext", "key", "a\\b", 1)


def values_of(message: ChannelMessage, secret: str = "") -> dict[str, str]:
    """
    Return the values of a message, by their names in templates.
    """
    return {
        "event": message.event,
        "id": message.id,
        "key": message.key,
        "number": "" if message.number is None else str(message.number),
        "secret": secret,
        "stat": message.stat,
        "text": message.text,
        "text_escaped": escape(message.text, quote=False),
        "time": message.time,
        "title": message.title,
        "title_escaped": escape(message.title, quote=False),
    }


def check_template(text: str, *, is_json: bool) -> str:
    """
    Check a template.

    :param text: the template.
    :param is_json: whether it has to make valid JSON.
    :returns: the template.
    :raises ValueError: if it names an unknown value, or does not make valid JSON.
    """
    template = Template(text)
    if not template.is_valid():
        raise ValueError(
            "has a $ that begins no value; write $$ for a dollar sign, and $name or "
            f"${{name}} for a value: {', '.join(VARIABLES)}"
        )
    unknown = [name for name in template.get_identifiers() if name not in VARIABLES]
    if unknown:
        raise ValueError(
            f"names the value {unknown[0][:40]!r}; there are {', '.join(VARIABLES)}"
        )
    if is_json:
        try:
            json.loads(fill_json(text, values_of(_SAMPLE, "secret")))
        except ValueError as error:
            raise ValueError(f"does not make valid JSON: {error}") from None
    return text


def fill_json(text: str, values: Mapping[str, str]) -> str:
    """
    Fill a template in which the values are inside strings of JSON.
    """
    escaped = {name: json.dumps(value)[1:-1] for name, value in values.items()}
    return Template(text).substitute(escaped)


def fill_text(text: str, values: Mapping[str, str]) -> str:
    """
    Fill a template of plain text. The values are as they are.
    """
    return Template(text).substitute(values)


def names_secret(text: str) -> bool:
    """
    Return whether a template names the secret.
    """
    return "secret" in Template(text).get_identifiers()


def fill_line(text: str, values: Mapping[str, str], *, in_url: bool = False) -> str:
    """
    Fill a template of one line: the value of a header, or a URL.

    :param text: the template.
    :param values: the values. What could end the line is replaced.
    :param in_url: whether values other than the secret are percent-encoded.
    """
    safe = {name: printable(value) for name, value in values.items()}
    if in_url:
        safe = {
            name: value if name == "secret" else quote(value, safe="")
            for name, value in safe.items()
        }
    else:
        safe = {
            name: value.encode("ascii", "replace").decode("ascii")
            for name, value in safe.items()
        }
    return Template(text).substitute(safe)
