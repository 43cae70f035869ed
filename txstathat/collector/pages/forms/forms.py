"""
Forms: their fields, and pages that take them.

A form that cannot be taken is shown again with what was typed. Each error stands beside
its field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.errors import Refusal
from txstathat.collector.pages.access.guard import GuardedPage
from txstathat.collector.pages.frame.arguments import argument
from txstathat.collector.pages.frame.flash import Done, set_flash
from txstathat.collector.pages.frame.formatting import sentence
from txstathat.collector.pages.frame.layout import see_other
from txstathat.collector.web.resources import set_status
from txstathat.printable import printable

__all__ = [
    "Form",
    "FormPage",
    "WrongField",
    "button_form",
    "choice",
    "delete_form",
    "is_removed",
    "unknown_form",
    "labelled",
    "message_of",
    "removal_box",
]

# The name of the box that removes a stored setting begins with it.
_REMOVE = "remove-"


class WrongField(Refusal):
    """
    A field of a form is wrong, or several are.

    :param field: the name of the field.
    :param msg: what is wrong, and what to do.
    :param others: the same of more fields, by their names.

    :ivar problems: what is wrong with each field, by its name.
    """

    def __init__(self, field: str, msg: str, **others: str) -> None:
        super().__init__(400, msg)
        self.field = field
        self.problems = {field: msg, **others}


@dataclass(frozen=True)
class Form:
    """
    What a form holds.

    :ivar values: what was typed, or what to begin with, by the name of the field.
    :ivar error: what is wrong with it; ``None`` before it was sent.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    error: Refusal | None = None

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")


class FormPage(GuardedPage):
    """
    A page with a form for signed-in browsers: GET shows it, POST takes it.
    """

    methods: ClassVar[tuple[bytes, ...]] = (b"GET", b"HEAD", b"POST")
    wrong_method: ClassVar[tuple[int, str]] = (405, "use GET or POST")

    async def show(self, request: Request, form: Form) -> Tag:
        """
        Make the page.

        :param request: the request.
        :param form: what to show in the form.
        :raises Exception: what becomes the page for an error.
        """
        raise NotImplementedError

    async def take(self, request: Request, form: Form) -> Done | Tag:
        """
        Do what the form is for.

        :param request: the request.
        :param form: what was typed.
        :returns: what was done, which the next page says; or a page to show only now,
            such as one with a secret.
        :raises WrongField: if a field is wrong. Nothing has changed.
        :raises Refusal: if it cannot be done. Nothing has changed.
        """
        raise NotImplementedError

    async def guarded(self, request: Request) -> Tag | bytes:
        """
        Show the form, or take it.
        """
        if request.method != b"POST":
            return await self.show(request, Form())
        names = [str(name, "utf-8", "replace") for name in request.args or {}]
        values = {name: argument(request, name) for name in names if name.isascii()}
        try:
            result = await self.take(request, Form(values))
        except Refusal as refusal:
            set_status(request, refusal)
            return await self.show(request, Form(values, refusal))
        if isinstance(result, Tag):
            return result
        set_flash(request, result)
        return see_other(request, result.path)


def labelled(
    form: Form,
    name: str,
    label: str,
    *,
    longest: int | None = None,
    required: bool = False,
    lines: int = 1,
    hint: str = "",
    **attributes: Any,
) -> Tag:
    """
    Make a text field with its label, its hint and its error. Browsers do not suggest
    what was typed before.

    :param form: what it holds.
    :param name: the name of the field.
    :param label: its label.
    :param longest: how many characters it takes at most; ``None`` for any number.
    :param required: whether it has to be filled in.
    :param lines: how many lines it shows.
    :param hint: a line below it.
    :param attributes: other attributes of the element.
    """
    attributes["autocomplete"] = "off"
    if longest is not None:
        attributes["maxlength"] = str(longest)
    if required:
        attributes["required"] = "required"
    if lines == 1:
        box = tags.input(name=name, id=name, value=form[name], **attributes)
    else:
        # A browser drops the first line feed.
        text, rows = "\n" + form[name], str(lines)
        box = tags.textarea(text, name=name, id=name, rows=rows, **attributes)
    return _field(form, name, label, box, hint)


def choice(
    form: Form, name: str, label: str, options: Mapping[str, str], *, hint: str = ""
) -> Tag:
    """
    Make a field to choose from a list, with its label, its hint and its error.

    :param form: what it holds.
    :param name: the name of the field.
    :param label: its label.
    :param options: the texts to choose from, by what is sent for each.
    :param hint: a line below it.
    """
    box = tags.select(name=name, id=name)
    for value, text in options.items():
        option = tags.option(printable(text), value=value)
        if value == form[name]:
            option.attributes["selected"] = "selected"
        box(option)
    return _field(form, name, label, box, hint)


def removal_box(form: Form, name: str, what: str) -> Tag:
    """
    Make the box that removes a stored setting which is not shown.

    :param form: what was sent.
    :param name: the name of the setting's field.
    :param what: the setting, in a word or two.
    """
    name = f"{_REMOVE}{name}"
    box = tags.input(type="checkbox", name=name, id=name)
    if form[name]:
        box.attributes["checked"] = "checked"
    return tags.p(tags.label(box, f" Remove the stored {what}", **{"for": name}))


def is_removed(form: Form, name: str) -> bool:
    """
    Return whether the box of :func:`removal_box` is ticked.

    :param form: what was sent.
    :param name: the name of the setting's field.
    """
    return bool(form[f"{_REMOVE}{name}"])


def button_form(
    path: str, action: str, label: str, about: str = "", **hidden: str
) -> Tag:
    """
    Make a button that posts a form of its own.

    :param path: where to post it.
    :param action: the value of its field ``action``.
    :param label: the text of the button.
    :param about: what the button is about, for those who hear it without its row.
    :param hidden: other fields, by their names.
    """
    button = tags.button(
        label, type="submit", name="action", value=action, class_="quiet"
    )
    if about:
        button.attributes["aria-label"] = f"{label}: {printable(about)}"
    fields = [
        tags.input(type="hidden", name=name, value=value)
        for name, value in hidden.items()
    ]
    return tags.form(*fields, button, method="post", action=path)


def unknown_form() -> Refusal:
    """
    Return the refusal of a form that a page does not have.
    """
    return Refusal(400, "this page has no such form: load the page again")


def _field(form: Form, name: str, label: str, box: Tag, hint: str) -> Tag:
    whole = tags.div(tags.label(label, **{"for": name}), box, class_="field")
    described = []
    if hint:
        whole(tags.p(hint, class_="hint", id=f"{name}-hint"))
        described.append(f"{name}-hint")
    error = form.error
    if isinstance(error, WrongField) and name in error.problems:
        text = sentence(printable(error.problems[name]))
        whole(tags.p(tags.bdi(text), class_="wrong", id=f"{name}-error", role="alert"))
        described.append(f"{name}-error")
        box.attributes["aria-invalid"] = "true"
        if name == error.field:
            box.attributes["autofocus"] = "autofocus"
    if described:
        box.attributes["aria-describedby"] = " ".join(described)
    return whole


def delete_form(title: str, label: str, path: str) -> Tag:
    """
    Make the hidden form with which a board or a comparison is deleted.

    :param title: the words that open it.
    :param label: the label of its button.
    :param path: the path to which it is sent, with the action ``'delete'``.
    """
    button = tags.button(
        label, type="submit", name="action", value="delete", class_="quiet"
    )
    return tags.details(
        tags.summary(title),
        tags.form(
            tags.p("The stats stay. This cannot be undone."),
            button,
            method="post",
            action=path,
        ),
        class_="danger",
    )


def message_of(form: Form) -> Tag:
    """
    Make the message of an error that belongs to no field; otherwise nothing.

    :param form: the form.
    """
    if form.error is None or isinstance(form.error, WrongField):
        return tags.transparent()
    text = sentence(printable(form.error.msg))
    return tags.p(tags.bdi(text), role="alert", class_="message")
