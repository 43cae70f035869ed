"""
The titles of boards and comparisons in forms.
"""

from __future__ import annotations

from txstathat.collector.boards.model import MAX_TITLE
from txstathat.collector.pages.forms.forms import Form, WrongField
from txstathat.errors import InvalidPoint
from txstathat.points.names import check_name

__all__ = ["read_title"]


def read_title(form: Form, field: str = "title") -> str:
    """
    Read the title of a board or a comparison in a form.

    :param form: what was typed.
    :param field: the name of the field.
    :raises WrongField: if it is not valid.
    """
    try:
        return check_name(form[field].strip(), "name", MAX_TITLE)
    except InvalidPoint as error:
        raise WrongField(field, str(error)) from None
