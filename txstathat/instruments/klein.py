"""
Klein's routes, as views of measured requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.server import Request

from txstathat.instruments.requests import UNMATCHED, MeasuredResource, Measurement

if TYPE_CHECKING:
    from klein import Klein

__all__ = ["measured_klein"]


class _MeasuredKlein(MeasuredResource):
    """
    A Klein resource: no view is known before a route has matched.
    """

    #: The request that is on its way to a route: that is found at once, or never.
    routed: Measurement | None = None

    def render(self, request: Request) -> Any:
        known = self.measurement(request) if request.notifications else None
        self.routed = known or Measurement(self, request, UNMATCHED)
        try:
            return self._resource.render(request)
        finally:
            self.routed = None


def measured_klein(app: Klein, **options: Any) -> MeasuredResource:
    """
    A Klein application as a measured resource: to be used where ``app.resource()``
    was. A request's view is the pattern of its route, such as ``/users/<int:id>``; an
    exception counts as raised even if a handler of the application's own turns it into
    an answer.

    :param app: the application. From now on it tells of each route that it executes.
    :param options: as for
        :class:`~txstathat.instruments.requests.MeasuredResource`.
    """
    measured = _MeasuredKlein(app.resource(), **options)
    execute = app.execute_endpoint
    # The pattern of each endpoint; "" where several routes lead to it.
    patterns: dict[str, str] = {}

    def execute_endpoint(endpoint: str, *args: Any, **kwargs: Any) -> Any:
        measurement = measured.routed
        # Unless the application is asked elsewhere, where it is not measured.
        if measurement is None or measurement.request is not args[0]:
            return execute(endpoint, *args, **kwargs)
        if endpoint not in patterns:
            rules = [rule.rule for rule in app.url_map.iter_rules(endpoint)]
            patterns[endpoint] = rules[0] if len(rules) == 1 else ""
        # Of several routes to one function only matching again tells which it was.
        measurement.view = patterns[endpoint] or _matched(measurement.request)
        try:
            result = execute(endpoint, *args, **kwargs)
        except BaseException as error:
            measurement.raised = type(error)
            raise
        if type(result) is not bytes:
            # What can still go wrong: a Deferred, or a resource that is to be rendered.
            measurement.watch_exceptions()
            if isinstance(result, Deferred):
                result.addErrback(_raised, measurement)
        return result

    app.execute_endpoint = execute_endpoint  # type: ignore[method-assign]
    return measured


def _matched(request: Request) -> str:
    # Importing Klein imports the reactor; who has a Klein application has done so.
    from klein.interfaces import IKleinRequest

    rule, _ = IKleinRequest(request).mapper.match(return_rule=True)
    pattern: str = rule.rule
    return pattern


def _raised(failure: Failure, measurement: Measurement) -> Failure:
    measurement.raised = failure.type
    return failure
