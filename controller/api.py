"""The REST API: a WSGI application (PEP 3333) in front of `control.Control`. I/O: reads requests, logs failures.

It knows HTTP and nothing else: what a request means is a `Change` or a question to the Control. Every answer that is no
success is a problem document (RFC 9457); no exception leaves it. Described for users in docs/REST.md.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from http import HTTPStatus
from typing import Any, cast

from webob import Request, Response

from controller.control import Control, Kind, NoSuchObject, RevisionConflict, TooManyReaders
from controller.errors import CompileError, PolicyError, Problem, StoreError, pointer
from controller.policy.document import objects_of
from controller.web import body, routes
from controller.web.asked import Asked, query_of, refuse_foreign_pages
from controller.web.calls import InThread, in_place, no_pause
from controller.web.changing import Changing
from controller.web.precondition import conflict
from controller.web.problem import Refusal, counted
from controller.web.reading import Reading

_log = logging.getLogger(__name__)


class Api:
    """The WSGI application.

    in_thread: calls what computes for long; the default does so in place. pause: lets other green threads run; called
    for every 64 KiB that are read or written.
    """

    def __init__(
        self,
        control: Control,
        *,
        in_thread: InThread = in_place,
        pause: Callable[[], None] = no_pause,
        limit_bytes: int = body.LIMIT_BYTES,
    ) -> None:
        self._control = control
        self._in_thread = in_thread
        reading = Reading(control, in_thread, pause)
        changing = Changing(control, in_thread, pause, limit_bytes)
        self._handlers: dict[tuple[str, str], Callable[[Asked], Response]] = {
            ("GET", "index"): reading.index,
            ("GET", "policy"): reading.policy,
            ("PUT", "policy"): changing.put_policy,
            ("GET", "revisions"): reading.revisions,
            ("GET", "collection"): reading.collection,
            ("GET", "object"): reading.one_object,
            ("PUT", "object"): changing.put_object,
            ("DELETE", "object"): changing.delete_object,
            ("GET", "status"): reading.status,
            ("GET", "hosts"): reading.hosts,
            ("GET", "bindings"): reading.bindings,
            ("GET", "flows"): reading.flows,
            ("GET", "matrix"): reading.matrix,
            ("GET", "rules"): reading.rules,
            ("GET", "log"): reading.log,
        }

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401 - PEP 3333
        request = Request(environ)
        try:
            response = self._answer(request)
        except Refusal as refusal:
            response = self._in_thread(refusal.response) if refusal.problems else refusal.response()
        except Exception:  # noqa: BLE001 - logged with its traceback, under a number that the client is told
            number = secrets.token_hex(4)
            _log.exception("request failed id=%s method=%s", number, request.method)
            response = Refusal(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                f"the controller failed to answer; its log says why, under id={number}",
                members={"id": number},
            ).response()
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers.setdefault("Cache-Control", "no-cache" if "ETag" in response.headers else "no-store")
        return cast(Iterable[bytes], response(environ, start_response))

    def _answer(self, request: Request) -> Response:
        try:
            route, name = routes.found(request.path_info)
        except UnicodeDecodeError:
            raise Refusal(HTTPStatus.BAD_REQUEST, "the path is not UTF-8") from None
        method = "GET" if request.method == "HEAD" else request.method
        if method == "OPTIONS":
            return Response(status=204, headerlist=[("Allow", route.allow)])
        if method not in route.methods:
            raise Refusal(
                HTTPStatus.METHOD_NOT_ALLOWED, f"this can be asked with {route.allow}", headers={"Allow": route.allow}
            )
        if method != "GET":
            refuse_foreign_pages(request)
        asked = Asked(request, query_of(request, route.methods[method]), cast(Kind, route.kind), name)
        try:
            return self._handlers[method, route.resource](asked)
        except PolicyError as error:
            raise Refusal(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"nothing was changed: {counted(error.problems)}",
                problems=error.problems,
            ) from error
        except RevisionConflict as error:
            raise conflict(str(error), error.current) from error
        except NoSuchObject as error:
            raise self._no_such(asked, str(error)) from error
        except CompileError as error:
            number = secrets.token_hex(4)
            _log.error("compiling failed id=%s error=%s", number, error)
            raise Refusal(
                HTTPStatus.INTERNAL_SERVER_ERROR, f"nothing was changed: {error}", members={"id": number}
            ) from error
        except TooManyReaders as error:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error
        except StoreError as error:
            _log.error("store failed error=%s", error)
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"nothing was changed: {error}") from error

    def _no_such(self, asked: Asked, detail: str) -> Refusal:
        """404, with the name that was probably meant."""
        if not asked.name:
            return Refusal(HTTPStatus.NOT_FOUND, detail)
        names = list(objects_of(self._control.current().document, asked.kind))
        near = self._in_thread(get_close_matches, asked.name[:64], names, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"GET /v1/{asked.kind} lists what there is"
        return Refusal(HTTPStatus.NOT_FOUND, detail, problems=[Problem(pointer(asked.kind, asked.name), detail, hint)])
