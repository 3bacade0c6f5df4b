"""PUT and DELETE: a change is read, held against its preconditions, and made or planned. I/O by way of the Control."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import quote

from webob import Request, Response

from controller.control import (
    Change,
    Control,
    DeleteObject,
    Outcome,
    PlanReport,
    PutObject,
    PutPolicy,
    RevisionConflict,
)
from controller.errors import PolicyError
from controller.policy.document import objects_of
from controller.policy.parse import parse_document
from controller.web import body
from controller.web.asked import Asked
from controller.web.calls import InThread
from controller.web.precondition import Preconditions, conflict, entity_tag
from controller.web.problem import Refusal, counted
from controller.web.representation import ANSWERS, answered, chosen, made, plain

_ATTEMPTS = 50
"""How often a change with preconditions is tried anew when another one came between looking and changing."""


class Changing:
    """One method a resource and verb of `routes.ROUTES`; each raises Refusal, and what the Control raises."""

    def __init__(self, control: Control, in_thread: InThread, pause: Callable[[], None], limit_bytes: int) -> None:
        self._control = control
        self._in_thread = in_thread
        self._pause = pause
        self._limit_bytes = limit_bytes

    def put_policy(self, asked: Asked) -> Response:
        return self._change(asked, PutPolicy)

    def put_object(self, asked: Asked) -> Response:
        before = asked.query.get("before")
        if before == "":
            raise Refusal(HTTPStatus.BAD_REQUEST, f"before is the name of one of the {asked.kind}")
        return self._change(asked, lambda document: PutObject(asked.kind, asked.name, document, before))

    def delete_object(self, asked: Asked) -> Response:
        return self._change(asked, None)

    def _change(self, asked: Asked, made_of: Callable[[object], Change] | None) -> Response:
        """Plan or make a change. made_of: the change that a body asks for, None where the object is to be removed.

        Everything that can be refused for its form is refused before the Control is asked.
        """
        media_type = chosen(asked.request, ANSWERS)
        plan = asked.flag("plan")
        preconditions = asked.preconditions()
        change = DeleteObject(asked.kind, asked.name) if made_of is None else made_of(self._read(asked.request))
        result, existed = self._attempt(change, preconditions, plan)
        answer = answered(self._in_thread(made, lambda: plain(result), media_type), media_type)
        if isinstance(result, PlanReport):
            return answer
        if made_of is not None:
            answer.headers["ETag"] = entity_tag(result.revision)
        if isinstance(change, PutObject) and not existed:
            answer.status = 201
            answer.headers["Location"] = f"/v1/{change.kind}/{quote(change.name, safe='')}"
        if not result.in_force:
            answer.status = 202
        return answer

    def _read(self, request: Request) -> object:
        media_type = body.media_type(request)
        content = body.read(request, self._limit_bytes, self._pause)
        try:
            return self._in_thread(parse_document, content, media_type)
        except PolicyError as error:
            raise Refusal(
                HTTPStatus.BAD_REQUEST, f"the body cannot be read: {counted(error.problems)}", problems=error.problems
            ) from error

    def _attempt(self, change: Change, preconditions: Preconditions, plan: bool) -> tuple[Outcome | PlanReport, bool]:
        """What came of it, and whether the object was there before.

        With preconditions the change is made to the very revision that they held for; when another one came between,
        they are looked at again.
        """
        for attempt in range(_ATTEMPTS):
            stored = self._control.current()
            existed = isinstance(change, PutPolicy) or change.name in objects_of(stored.document, change.kind)
            reason = preconditions.fail(stored.revision, existed)
            if reason is not None:
                raise conflict(reason, stored.revision)
            only = stored.revision if preconditions else None
            try:
                return (self._control.plan if plan else self._control.change)(change, only), existed
            except RevisionConflict:
                if not preconditions or attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("the last attempt returned or raised")
