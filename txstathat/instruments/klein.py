"""
Measured requests with the routes of Klein as views.
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
    A Klein resource. The view is unknown until a route has matched.
    """

    #: The request that is being routed. Routing is synchronous.
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
    Make a measured resource of a Klein application, to use instead of
    ``app.resource()``. The view of a request is the pattern of its route, such as
    ``/users/<int:id>``. An exception counts as raised even if an error handler of the
    application turns it into a response.

    :param app: the application; its ``execute_endpoint`` is wrapped.
    :param options: as for
        :class:`~txstathat.instruments.requests.MeasuredResource`.
    """
    measured = _MeasuredKlein(app.resource(), **options)
    execute = app.execute_endpoint
    # The pattern of each endpoint; "" if it has several routes.
    patterns: dict[str, str] = {}

    def execute_endpoint(endpoint: str, *args: Any, **kwargs: Any) -> Any:
        measurement = measured.routed
        # The application can also be in use elsewhere, unmeasured.
        if measurement is None or measurement.request is not args[0]:
            return execute(endpoint, *args, **kwargs)
        if endpoint not in patterns:
            rules = [rule.rule for rule in app.url_map.iter_rules(endpoint)]
            patterns[endpoint] = rules[0] if len(rules) == 1 else ""
        # With several routes to one function, match again to find which it was.
        measurement.view = patterns[endpoint] or _matched(measurement.request)
        try:
            result = execute(endpoint, *args, **kwargs)
        except BaseException as error:
            measurement.raised = type(error)
            raise
        if type(result) is not bytes:
            # A Deferred or a resource can still raise.
            measurement.watch_exceptions()
            if isinstance(result, Deferred):
                result.addErrback(_note_exception, measurement)
        return result

    app.execute_endpoint = execute_endpoint  # type: ignore[method-assign]
    return measured


def _matched(request: Request) -> str:
    # Importing Klein imports the reactor, which a Klein application has done already.
    from klein.interfaces import IKleinRequest

    rule, _ = IKleinRequest(request).mapper.match(return_rule=True)
    pattern: str = rule.rule
    return pattern


def _note_exception(failure: Failure, measurement: Measurement) -> Failure:
    measurement.raised = failure.type
    return failure
