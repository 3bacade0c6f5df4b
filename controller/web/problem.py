"""Problem documents (RFC 9457): how the REST API says no. PURE.

Members: `type` (about:blank), `title` (the status in words), `status`, `detail` (one sentence), `problems`, a list of
{path, message, hint} as in `errors.Problem`, with the first 1,000 of everything that was found, and `problem_count`,
how many were found. Some add members of their own, which docs/REST.md names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus

from webob import Response

from controller.errors import Problem

MEDIA_TYPE = "application/problem+json"
PROBLEMS_LISTED = 1000
"""A document may be wrong 100,000 times; nobody reads on, and the answer would be larger than the document."""


class Refusal(Exception):
    """A request is answered with a problem document.

    members: what the document has in addition; headers: what the answer has in addition to Content-Type.
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        problems: Iterable[Problem] = (),
        members: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        found = tuple(problems)
        self.problems = found[:PROBLEMS_LISTED]
        self.problem_count = len(found)
        self.members = dict(members or {})
        self.headers = dict(headers or {})

    def response(self) -> Response:
        body = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": int(self.status),
            "detail": self.detail,
            "problems": as_members(self.problems),
            "problem_count": self.problem_count,
            **self.members,
        }
        text = json.dumps(body, indent=2) + "\n"
        answer = Response(body=text.encode(), status=int(self.status), content_type=MEDIA_TYPE)
        answer.headers.update(self.headers)
        return answer


def as_members(problems: Iterable[Problem]) -> list[dict[str, str]]:
    return [{"path": problem.path, "message": problem.message, "hint": problem.hint} for problem in problems]


def counted(problems: tuple[Problem, ...]) -> str:
    """The only problem, or how many there are, and how many of them are listed where that is not all."""
    if len(problems) == 1:
        return str(problems[0])
    listed = f", the first {PROBLEMS_LISTED} are listed" if len(problems) > PROBLEMS_LISTED else ""
    return f"there are {len(problems)} problems{listed}"
