"""
A migas server for tests. It checks every request against the rules of the protocol, and
records accepted breadcrumbs and errors.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from graphql import build_schema, graphql_sync
from graphql.language import ast
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

PROJECT = "owner/repo"
LATEST = "0.4.0"
FLAGGED = "0.0.1"
MAX_REQUEST = 2500

_SCHEMA = """
scalar Answer
scalar DateTime
scalar UUID
enum Status { R C F S }
enum User { general dev ci }
enum Container { docker apptainer unknown }
input Context {
  session_id: UUID
  user_id: UUID
  user_type: User
  platform: String
  container: Container
  is_ci: Boolean
}
input Process {
  status: Status
  status_desc: String
  error_type: String
  error_desc: String
}
input ProjectInput {
  project: String!
  project_version: String!
  language: String
  language_version: String
  is_ci: Boolean
  status: Status
  status_desc: String
  error_type: String
  error_desc: String
  user_id: UUID
  session_id: UUID
  container: Container
  user_type: User
  platform: String
}
type Crumb { success: Boolean! }
type Version {
  success: Boolean!
  flagged: Boolean
  latest: String
  message: String
}
type Query {
  get_usage(project: String!, start: DateTime!, end: DateTime, unique: Boolean): Answer
  check_project(project: String!, project_version: String!): Version
}
type Mutation {
  add_breadcrumb(
    project: String!, project_version: String!, language: String,
    language_version: String, ctx: Context, proc: Process
  ): Crumb
  %s
}
"""
_ADD_PROJECT = "add_project(p: ProjectInput!): Answer"

_TEXTS = {
    "project": 140,
    "project_version": 48,
    "language": None,
    "language_version": None,
}
_TOP = {"project", "project_version", "language", "language_version", "ctx", "proc"}
_CTX = {
    "user_id": "uuid",
    "session_id": "uuid",
    "user_type": {"general", "dev", "ci"},
    "platform": str,
    "container": {"docker", "apptainer", "unknown"},
    "is_ci": bool,
}
_PROC = {
    "status": {"R", "C", "F", "S"},
    "status_desc": str,
    "error_type": str,
    "error_desc": str,
}
_DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\dZ)?")


@dataclass
class MigasServer:
    """
    The state of the server.

    :ivar old: whether the older ``add_project`` mutation is still answered.
    :ivar project: the only project that is registered.
    :ivar crumbs: the breadcrumbs taken, flat, in order.
    :ivar questions: the other operations asked, with their arguments.
    :ivar violations: every rule of the protocol that a request broke.
    :ivar requests: method, path and headers of each request.
    :ivar reply: what to answer instead of an answer: status, body, headers.
    """

    old: bool = False
    project: str = PROJECT
    crumbs: list[dict[str, Any]] = field(default_factory=list)
    questions: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    reply: tuple[int, bytes, dict[str, str]] | None = None
    #: A version that the older mutation refuses before it runs.
    invalid: str | None = None
    #: Requests that stay without an answer, when there is a list.
    held: list[Any] | None = None

    def __post_init__(self) -> None:
        self.schema = build_schema(_SCHEMA % (_ADD_PROJECT if self.old else ""))
        for name, rule in (("DateTime", _date), ("UUID", _uuid)):
            scalar = self.schema.type_map[name]
            scalar.parse_value = rule
            scalar.parse_literal = lambda node, _=None, rule=rule: rule(
                node.value if isinstance(node, ast.StringValueNode) else None
            )

    @property
    def resource(self) -> Resource:
        """
        The server as a web resource.
        """
        root = Resource()
        api = Resource()
        root.putChild(b"api", api)
        api.putChild(b"breadcrumb", _Endpoint(self, self.breadcrumb))
        root.putChild(b"graphql", _Endpoint(self, self.graphql))
        return root

    @property
    def site(self) -> Site:
        """
        The server as a factory that can listen.
        """
        site = Site(self.resource)
        site.noisy = False
        return site

    def breadcrumb(self, body: Any, wait: bool) -> tuple[int, Any]:
        problems = []
        for name in ("project", "project_version"):
            if not isinstance(body, dict) or name not in body:
                problems.append(
                    {"type": "missing", "loc": ["body", name], "msg": "Field required"}
                )
        if problems:
            self.violations.append(f"missing: {problems}")
            return 422, {"detail": problems}
        crumb = dict(body)
        for part, rules in (("ctx", _CTX), ("proc", _PROC)):
            inner = crumb.pop(part, {})
            self._check(part, inner, rules)
            crumb.update(inner)
        for name in set(body) - _TOP:
            self.violations.append(f"unknown field {name}")
        self._check_texts(body)
        if body["project"] != self.project:
            return 400, {"detail": "Project is not registered."}
        self.crumbs.append(crumb)
        return (200 if wait else 202), {"success": True, "message": ""}

    def graphql(self, body: Any, wait: bool) -> tuple[int, Any]:
        query = body.get("query") if isinstance(body, dict) else None
        if not isinstance(query, str) or set(body) - {"query", "variables"}:
            self.violations.append(f"not a GraphQL request: {body!r}")
            return 422, {"detail": [{"type": "missing", "loc": ["body", "query"]}]}
        if self.invalid is not None and self.invalid in query:
            return 200, {
                "data": None,
                "errors": [{"message": f"Invalid version: {self.invalid}"}],
            }
        result = graphql_sync(
            self.schema, query, root_value=self, variable_values=body.get("variables")
        )
        if result.errors:
            if self.old or "add_project" not in query:
                self.violations.append(f"{result.errors[0]} in {query}")
            errors = [error.formatted for error in result.errors]
            return 200, {"data": None, "errors": errors}
        return 200, {"data": result.data}

    def _check(self, part: str, values: Any, rules: dict[str, Any]) -> None:
        for name, value in values.items():
            rule = rules.get(name)
            if rule == "uuid":
                good = isinstance(value, str) and str(UUID(value)) == value
            elif isinstance(rule, set):
                good = value in rule
            else:
                good = rule is not None and isinstance(value, rule)
            if not good:
                self.violations.append(f"{part}.{name} is {value!r}")

    def _check_texts(self, values: dict[str, Any]) -> None:
        for name, limit in _TEXTS.items():
            text = values.get(name, "")
            if not isinstance(text, str) or (limit and not 0 < len(text) <= limit):
                self.violations.append(f"{name} is {text!r}")

    def get_usage(self, info: Any, **asked: Any) -> Any:
        self.questions.append(("get_usage", asked))
        known = asked["project"] == self.project
        return {
            "hits": 7 if known else 0,
            "message": "" if known else "Project is not registered.",
            "unique": asked.get("unique", False),
            "success": known,
        }

    def check_project(self, info: Any, **asked: Any) -> Any:
        self._check_texts(asked)
        self.questions.append(("check_project", asked))
        known = asked["project"] == self.project
        return {
            "success": known,
            "flagged": asked["project_version"] == FLAGGED if known else None,
            "latest": LATEST if known else None,
            "message": "" if known else "Project is not registered.",
        }

    def add_breadcrumb(self, info: Any, **asked: Any) -> Any:
        self._check_texts(asked)
        inner = {**asked.pop("ctx", {}), **asked.pop("proc", {})}
        self.crumbs.append({**asked, **inner})
        return {"success": asked["project"] == self.project}

    def add_project(self, info: Any, p: dict[str, Any]) -> Any:
        self._check_texts(p)
        known = p["project"] == self.project
        if known:
            self.crumbs.append(p)
        return {
            "bad_versions": [],
            "cached": True,
            "latest_version": "0.0.4" if known else None,
            "message": "" if known else "Project is not registered.",
            "success": known,
        }


def _date(value: object) -> str:
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise ValueError(f"not a date: {value!r}")
    return value


def _uuid(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"not a UUID: {value!r}")
    return str(UUID(value))


class _Endpoint(Resource):
    isLeaf = True

    def __init__(self, server: MigasServer, answer: Any) -> None:
        super().__init__()
        self._server = server
        self._answer = answer

    def render_POST(self, request: Any) -> Any:
        server = self._server
        body = request.content.read()
        headers = {
            name.decode().lower(): values[0].decode()
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        server.requests.append(("POST", request.uri.decode(), headers))
        if server.held is not None:
            server.held.append(request)
            return NOT_DONE_YET
        if server.reply is not None:
            status, content, extra = server.reply
        else:
            status, answer = self._judge(request, headers, body)
            content = json.dumps(answer).encode()
            extra = {
                "X-Backend-Server": "migas@0.5.0",
                "Content-Type": "application/json",
            }
        request.setResponseCode(status)
        for name, value in extra.items():
            request.setHeader(name, value)
        return content

    def _judge(
        self, request: Any, headers: dict[str, str], body: bytes
    ) -> tuple[int, Any]:
        server = self._server
        if not headers.get("content-type", "").startswith("application/json"):
            server.violations.append(f"content type in {headers}")
        if len(body) > MAX_REQUEST:
            server.violations.append(f"{len(body)} bytes")
            return 413, {"detail": "too large"}
        try:
            asked = json.loads(body)
            json.dumps(asked, ensure_ascii=False).encode()
        except ValueError as error:
            server.violations.append(f"not JSON: {error}")
            return 422, {"detail": [{"type": "json_invalid", "loc": ["body"]}]}
        wait = request.args.get(b"wait") == [b"true"]
        return self._answer(asked, wait)
