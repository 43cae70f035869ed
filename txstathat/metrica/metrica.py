"""
The Metrica: a named class of events, counted along axes and time.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, fail, inlineCallbacks
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from txstathat.errors import (
    DefinitionMismatch,
    InvalidPoint,
    StoreBusy,
    StoreUnavailable,
)
from txstathat.interfaces import IKickProvider
from txstathat.metrica.axes import Axis, Choice, as_json
from txstathat.metrica.calendar import RETENTION, SCALES, Calendar, Date, coarsen
from txstathat.metrica.cells import Event, cells_of, increments, seen_choices
from txstathat.metrica.kick_batch import Kicks, refusal
from txstathat.metrica.selection import AveragedSelection, Selection
from txstathat.points.model import (
    MAX_INTEGER,
    Amount,
    amount_text,
    check_name,
    parse_amount,
)
from txstathat.stores.interface import Addition, Amounts, Answer, IStore, Outcome

__all__ = ["MAX_AGE", "MAX_CELLS", "MAX_WAITING", "AveragedMetrica", "Metrica"]

#: How many kicks may wait to be written, by default; one more is refused.
MAX_WAITING = 100_000
#: About how many cells one batch may touch; what goes beyond is another batch.
MAX_CELLS = 50_000
#: For how many seconds a batch takes kicks while it waits: all of them are given up
#: together, so none may be much younger than the others.
MAX_AGE = 1.0
#: For how many seconds a question waits for the kicks made before it to be written.
QUESTION_PATIENCE = 5.0

_EXACT = Context(prec=100, rounding=ROUND_HALF_EVEN)


@implementer(IKickProvider)
class Metrica:
    """
    A named class of events, of which the sums are kept.

    :param name: its name in the store: 1 to 255 printable characters.
    :param axes: the parameters of an event: keywords and axes, in an order that stays.
    :param store: where it is kept; see :func:`txstathat.stores.open_store`.
    :param multiplier: amounts are kept as whole numbers of this fraction: 100 makes
        them exact to 1/100. What is finer is rounded half to even. By default amounts
        are kept as they are, and sums of floats have 15 digits.
    :param tz: the zone of its calendar, as in the tz database.
    :param scales: the scales to keep, by default all: year, month, day, hour, minute.
    :param retention: for how many seconds the detail of a scale is kept, counted from
        when a stretch was last written; ``None`` is for ever. What is not named is kept
        as in :data:`txstathat.metrica.calendar.RETENTION`.
    :param clock: tells what "now" is, by default the store's.
    :param max_waiting: how many kicks may wait to be written.
    :raises ValueError: if one of these is not valid.

    :ivar written: how many kicks were written.
    :ivar lost: how many kicks could not be written, and failed.
    :ivar refused: how many kicks were refused because too many waited.
    """

    #: Tells Metricas that keep their amounts' meaning apart.
    kind: ClassVar[str] = "sum"

    def __init__(
        self,
        name: str,
        axes: Iterable[tuple[str, Axis]],
        store: IStore,
        *,
        multiplier: int | None = None,
        tz: str = "UTC",
        scales: Iterable[str] = SCALES,
        retention: Mapping[str, float | None] | None = None,
        clock: IReactorTime | None = None,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self.name = check_name(name, "name")
        self.axes = dict(_checked_axes(axes))
        self.store = store
        self.clock = store.clock if clock is None else clock
        if multiplier is not None and (
            isinstance(multiplier, bool)
            or not isinstance(multiplier, int)
            or not 1 <= multiplier <= 10**12
        ):
            raise ValueError(f"multiplier must be 1 to 10**12, not {multiplier!r}")
        self.multiplier = multiplier
        self.calendar = Calendar(tz)
        self.tz = tz
        #: The scales kept, coarsest first, and for how many seconds.
        self.retention = _checked_retention(scales, retention or {})
        self._finest = next(reversed(self.retention))
        self._axes = list(self.axes.values())
        self._known = frozenset(self.axes)
        #: What is kept with the name.
        self.definition = as_json(
            {
                "axes": [[word, axis.describe()] for word, axis in self.axes.items()],
                "kind": self.kind,
                "multiplier": multiplier,
                "tz": tz,
            }
        )
        self._defined = False
        self._open: Kicks | None = None
        self._max_sums = 1
        self._max_waiting = max_waiting
        self._waiting = 0
        self.written = 0
        self.lost = 0
        self.refused = 0

    @property
    def scales(self) -> tuple[str, ...]:
        """The scales kept, coarsest first."""
        return tuple(self.retention)

    @property
    def waiting(self) -> int:
        """How many kicks are not yet written."""
        return self._waiting

    # -- events

    def kick(
        self, value: Amount = 1, date: Date | None = None, **axes: Any
    ) -> Deferred[None]:
        """
        Register one event. Call it in the reactor's thread.

        :param value: its weight.
        :param date: when it happened: a datetime (one without a zone is in the
            Metrica's), or a date, which is its midnight; now by default.
        :param axes: the choice on each axis. One left out, or ``None``, is not known:
            the event counts in every total, but under no choice of that axis.
        :returns: a new Deferred, which fires with ``None`` when the event is in the
            store. It fails with a ``ValueError`` or ``TypeError`` when one of the above
            is not valid, with :class:`~txstathat.errors.StoreBusy` when too many kicks
            wait, and otherwise with the :class:`~txstathat.errors.StoreError` that kept
            it from being written. Cancelling it does not take the event back.
        """
        if self._waiting >= self._max_waiting:
            self.refused += 1
            return fail(StoreBusy(self._max_waiting))
        kicked: Deferred[None] = Deferred()
        try:
            self._take(value, date, axes, kicked)
        except Exception:
            # Whatever a value's own methods may raise.
            return fail()
        return kicked

    def _take(
        self,
        value: Amount,
        date: Date | None,
        axes: dict[str, Any],
        kicked: Deferred[None],
    ) -> None:
        event = self.event(axes)
        if type(value) is int and self.multiplier is None and abs(value) <= MAX_INTEGER:
            amount: int | float = value
        else:
            amount = self.amount(value)
        now = self.clock.seconds()
        if date is None:
            label = self.calendar.now(now)
        else:
            label = self.calendar.minute(self.calendar.seconds(date))
        if self._finest != "minute":
            label = coarsen(label, self._finest)
        batch = self._open
        if (
            batch is not None
            and not batch.sealed
            and len(batch.sums) < self._max_sums
            and now - batch.begun < MAX_AGE
        ):
            batch.kick(label, event, amount, kicked)
            self._waiting += 1
            return
        batch = self._open = Kicks(self._amounts, now)
        batch.kick(label, event, amount, kicked)
        self._waiting += 1
        per_sum = cells_of(self._axes, event) * (len(self.retention) + 1)
        self._max_sums = max(1, MAX_CELLS // per_sum)
        self._put(batch)

    def event(self, axes: Mapping[str, Any]) -> Event:
        """
        The choices of an event as they are kept.

        :raises TypeError: if a keyword is unknown.
        :raises ValueError: if an axis does not allow a value.
        """
        if not axes.keys() <= self._known:
            raise TypeError(
                f"{self.name!r} has no axis {min(set(axes) - self._known)!r}; "
                f"its axes are: {', '.join(self.axes) or 'none'}"
            )
        choices: list[Choice | None] = []
        for word, axis in self.axes.items():
            value = axes.get(word)
            if value is None:
                choices.append(None)
                continue
            try:
                choices.append(axis.encode(value))
            except ValueError as error:
                raise ValueError(f"axis {word!r}: {error}") from None
        return tuple(choices)

    def amount(self, value: object) -> int | float:
        """
        An amount as it is kept.

        :raises InvalidPoint: if it is no finite number, or too large.
        """
        text = amount_text(value)
        if self.multiplier is None:
            return parse_amount(text)
        # By way of the decimal text: 0.285 is 28.5 hundredths, not 28.499999999999996.
        exact = _EXACT.multiply(Decimal(text), Decimal(self.multiplier))
        if abs(exact) > MAX_INTEGER:
            raise InvalidPoint(
                "value",
                f"{text} times the multiplier {self.multiplier} is beyond "
                f"{MAX_INTEGER}",
            )
        return int(exact.to_integral_value(ROUND_HALF_EVEN))

    def _amounts(self, additions: dict[tuple[str, Event], Addition]) -> Amounts:
        axes = list(self.axes.items())
        return Amounts(
            {self.name: self.definition},
            increments(self.name, self._axes, self.retention, additions),
            seen_choices(self.name, axes, additions),
        )

    def _put(self, batch: Kicks) -> None:
        self.store.batcher.put(batch).addCallbacks(
            self._answered, self._failed, callbackArgs=(batch,), errbackArgs=(batch,)
        )

    def _answered(self, answer: Answer, batch: Kicks) -> None:
        if answer.outcome is Outcome.OVERFLOW and len(batch.sums) > 1:
            for half in batch.halves():
                self._put(half)
            return
        refused = refusal(answer)
        # Made once, not once for each of thousands of kicks.
        self._settle(batch, None if refused is None else _failure(refused))

    def _failed(self, failure: Failure, batch: Kicks) -> None:
        self._settle(batch, failure)

    def _settle(self, batch: Kicks, failure: Failure | None) -> None:
        if batch is self._open:
            self._open = None
        # Counted first: who is called back may look.
        self._waiting -= batch.kicks
        if failure is None:
            self.written += batch.kicks
        else:
            self.lost += batch.kicks
        batch.settle(failure)

    # -- questions

    def values(self) -> Selection:
        """All events: where every question starts."""
        return Selection(self)

    def timespan(self, **timespan: int) -> Selection:
        """See :meth:`.Selection.timespan`."""
        return self.values().timespan(**timespan)

    def filter(self, **choices: Any) -> Selection:
        """See :meth:`.Selection.filter`."""
        return self.values().filter(**choices)

    def total(self) -> Deferred[int | float]:
        """The sum over all events; see :meth:`.Selection.total`."""
        return self.values().total()

    def choices(self, axis: str) -> Deferred[list[Any]]:
        """
        The choices of an axis.

        :param axis: its keyword.
        :returns: fires with those that are allowed, else with those that were seen, in
            order; on a hierarchical axis with the paths of one part.
        """
        return self.values().choices(axis)

    def to_user_units(self, kept: int | float) -> int | float:
        """
        A kept sum as it is told: divided by the multiplier.
        """
        return kept if self.multiplier is None else kept / self.multiplier

    def ready(self) -> Deferred[None]:
        """
        Wait until a question can be asked.

        :returns: fires with ``None`` when the kicks made before are written (or have
            failed), and the store was seen to keep this Metrica's definition or none.
            It fails with :class:`~txstathat.errors.DefinitionMismatch`, or with
            :class:`~txstathat.errors.StoreUnavailable` when the kicks were not written
            within :data:`QUESTION_PATIENCE` seconds.
        """
        ready: Deferred[None] = self.store.batcher.settled()
        if not ready.called:
            ready.addTimeout(QUESTION_PATIENCE, self.clock, _not_settled)
        return ready if self._defined else ready.addCallback(self._check_definition)

    @inlineCallbacks
    def _check_definition(self, _: None) -> Generator[Deferred[Any], Any, None]:
        definitions = yield self.store.definitions([self.name])
        stored = definitions.get(self.name)
        if stored is not None and stored != self.definition:
            raise DefinitionMismatch(
                f"the store keeps {self.name!r} as {stored}, not as "
                f"{self.definition}; give it another name, or drop what is stored"
            )
        self._defined = stored is not None


class AveragedMetrica(Metrica):
    """
    A Metrica that can also tell how many events there were, and their average.
    """

    kind: ClassVar[str] = "average"

    def values(self) -> AveragedSelection:
        """All events: where every question starts."""
        return AveragedSelection(self)

    def timespan(self, **timespan: int) -> AveragedSelection:
        """See :meth:`.Selection.timespan`."""
        return self.values().timespan(**timespan)

    def filter(self, **choices: Any) -> AveragedSelection:
        """See :meth:`.Selection.filter`."""
        return self.values().filter(**choices)

    def count(self) -> Deferred[int]:
        """The number of all events; see :meth:`.AveragedSelection.count`."""
        return self.values().count()

    def average(self) -> Deferred[float | None]:
        """The average of all events; see :meth:`.AveragedSelection.average`."""
        return self.values().average()


def _checked_axes(axes: Iterable[tuple[str, Axis]]) -> Iterable[tuple[str, Axis]]:
    seen = set()
    for word, axis in axes:
        if not isinstance(word, str) or not word.isidentifier():
            raise ValueError(f"an axis's keyword must be an identifier, not {word!r}")
        if word in ("value", "date", "self", "axis"):
            raise ValueError(f"no axis can be called {word!r}")
        if word in seen:
            raise ValueError(f"the axis {word!r} is there twice")
        if not isinstance(axis, Axis):
            raise ValueError(f"{axis!r} is no Axis")
        seen.add(word)
        yield word, axis


def _checked_retention(
    scales: Iterable[str], retention: Mapping[str, float | None]
) -> dict[str, float | None]:
    wanted = set(scales)
    for scale in (*wanted, *retention):
        if scale not in SCALES:
            raise ValueError(f"{scale!r} is no scale; these are: {', '.join(SCALES)}")
    if not wanted:
        raise ValueError("at least one scale must be kept")
    for scale, keep in retention.items():
        if keep is not None and not keep > 0:
            raise ValueError(f"the retention of {scale} must be positive, not {keep!r}")
    both = RETENTION | dict(retention)
    return {scale: both[scale] for scale in SCALES if scale in wanted}


def _failure(error: Exception) -> Failure:
    return Failure(error)


def _not_settled(result: object, timeout: float) -> None:
    raise StoreUnavailable(
        f"the kicks made before were not written within {timeout:g} seconds"
    )
