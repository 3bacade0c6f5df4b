"""Problem documents (RFC 9457): how the REST API says no. PURE.

Members: `type` (about:blank), `title` (the status in words), `status`, `detail` (one sentence) and `problems`, a list
of {path, message, hint} as in `errors.Problem`, with everything that was found. Some add members of their own, which
docs/REST.md names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus

from webob import Response

from controller.errors import Problem

MEDIA_TYPE = "application/problem+json"


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
        self.problems = tuple(problems)
        self.members = dict(members or {})
        self.headers = dict(headers or {})

    def response(self) -> Response:
        body = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": int(self.status),
            "detail": self.detail,
            "problems": as_members(self.problems),
            **self.members,
        }
        text = json.dumps(body, indent=2) + "\n"
        answer = Response(body=text.encode(), status=int(self.status), content_type=MEDIA_TYPE)
        answer.headers.update(self.headers)
        return answer


def as_members(problems: Iterable[Problem]) -> list[dict[str, str]]:
    return [{"path": problem.path, "message": problem.message, "hint": problem.hint} for problem in problems]


def counted(problems: tuple[Problem, ...]) -> str:
    """The only problem, or how many there are."""
    return str(problems[0]) if len(problems) == 1 else f"there are {len(problems)} problems"
