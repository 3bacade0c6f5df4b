"""What a request asks, taken apart and held against what its route allows. PURE."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from webob import Request

from controller.control import Kind
from controller.errors import Problem, pointer
from controller.web.precondition import Preconditions
from controller.web.problem import Refusal


@dataclass(frozen=True, slots=True)
class Asked:
    """A request whose path, method and parameters are known to be right. kind, name: "" where the path has none."""

    request: Request
    query: dict[str, str]
    kind: Kind
    name: str

    def preconditions(self) -> Preconditions:
        return Preconditions.of(self.request.headers.get("If-Match"), self.request.headers.get("If-None-Match"))

    def flag(self, key: str) -> bool:
        value = self.query.get(key, "false")
        if value not in ("true", "false", "1", "0"):
            raise Refusal(HTTPStatus.BAD_REQUEST, f"{key} is true or false")
        return value in ("true", "1")

    def whole(self, key: str) -> int | None:
        value = self.query.get(key)
        if value is None:
            return None
        if not (value.isascii() and value.isdigit() and len(value) <= 18):
            raise Refusal(HTTPStatus.BAD_REQUEST, f"{key} is a whole number, 0 or greater")
        return int(value)


def query_of(request: Request, known: tuple[str, ...]) -> dict[str, str]:
    """The query parameters. Raises Refusal (400) for one that is not known, so that `plam=true` changes nothing."""
    try:
        pairs = parse_qsl(request.query_string, keep_blank_values=True, errors="strict", max_num_fields=32)
    except ValueError:
        raise Refusal(HTTPStatus.BAD_REQUEST, "the query string cannot be read") from None
    query: dict[str, str] = {}
    for key, value in pairs:
        if key not in known or key in query:
            trouble = "is given twice" if key in query else "is no parameter here"
            hint = f"known: {', '.join(known)}" if known else "there are none here"
            problem = Problem(pointer(key), f"the query parameter {trouble}", hint)
            raise Refusal(HTTPStatus.BAD_REQUEST, str(problem), problems=[problem])
        query[key] = value
    return query


def refuse_foreign_pages(request: Request) -> None:
    """A web page may change something only if it came from this API under an address, or as localhost.

    Without authentication, a page of a stranger whose host name points here would otherwise count as our own (DNS
    rebinding). Programs send no Origin.
    """
    origin = request.headers.get("Origin")
    if origin is None:
        return
    try:
        host = urlsplit(origin).hostname or ""
        ours = urlsplit(origin).netloc == request.headers.get("Host")
        if ours and host != "localhost":
            ipaddress.ip_address(host)
    except ValueError:
        ours = False
    if not ours:
        raise Refusal(HTTPStatus.FORBIDDEN, "a web page of another origin may not change the policy")
