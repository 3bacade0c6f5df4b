"""The answers to GET. I/O by way of the Control; no state of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http import HTTPStatus
from itertools import chain, islice

from webob import Response

from controller import __version__
from controller.control import Control, FlowView, NoSuchObject, PortsAs, Stored
from controller.errors import Problem, pointer
from controller.policy.document import objects_of, section_of
from controller.policy.meaning import matrix
from controller.policy.model import OUTSIDE
from controller.web import routes
from controller.web.asked import Asked
from controller.web.calls import InThread
from controller.web.flow_stream import json_flows, msgpack_flows
from controller.web.log_stream import LEAST_CHUNK, NDJSON, LogStream
from controller.web.precondition import entity_tag
from controller.web.problem import Refusal
from controller.web.representation import ANSWERS, ANSWERS_WITH_YAML, MSGPACK, answered, chosen, encoded, made, plain

MATRIX_MAX = 200
"""How many endpoints a matrix may have: it grows with their square."""


class Reading:
    """One method a resource of `routes.ROUTES`; each raises Refusal, and what the Control raises."""

    def __init__(self, control: Control, in_thread: InThread, pause: Callable[[], None]) -> None:
        self._control = control
        self._in_thread = in_thread
        self._pause = pause

    def index(self, asked: Asked) -> Response:
        resources = {route.path: {"summary": route.summary, "methods": list(route.methods)} for route in routes.ROUTES}
        return self._plain(asked, lambda: {"name": "Tripoint", "version": __version__, "resources": resources})

    def policy(self, asked: Asked) -> Response:
        number = asked.whole("revision")
        stored = self._control.current() if number is None else self._control.revision(number)
        return self._document(asked, stored, stored.document, ANSWERS_WITH_YAML)

    def collection(self, asked: Asked) -> Response:
        stored = self._control.current()
        return self._document(asked, stored, section_of(stored.document, asked.kind), ANSWERS_WITH_YAML)

    def one_object(self, asked: Asked) -> Response:
        stored = self._control.current()
        objects = objects_of(stored.document, asked.kind)
        if asked.name not in objects:
            raise NoSuchObject(f"there is no {asked.kind[:-1]} of this name")
        return self._document(asked, stored, objects[asked.name], ANSWERS_WITH_YAML)

    def revisions(self, asked: Asked) -> Response:
        kept = self._control.revisions()
        return self._plain(asked, lambda: {"revisions": [{"revision": number, "time": time} for number, time in kept]})

    def status(self, asked: Asked) -> Response:
        status = self._control.status()
        return self._plain(asked, lambda: plain(status))

    def hosts(self, asked: Asked) -> Response:
        revision, hosts = self._control.current().revision, self._control.hosts()
        return self._plain(asked, lambda: {"revision": revision, "hosts": plain(hosts)})

    def bindings(self, asked: Asked) -> Response:
        bindings = self._control.bindings()
        return self._plain(asked, lambda: {"bindings": plain(bindings)})

    def matrix(self, asked: Asked) -> Response:
        stored = self._control.current()
        known = dict.fromkeys((*stored.policy.endpoints, *((OUTSIDE,) if stored.policy.uplinks else ())))
        names = tuple(dict.fromkeys(asked.query["endpoints"].split(",") if "endpoints" in asked.query else known))
        unknown = [name for name in names if name not in known]
        if unknown:
            raise Refusal(
                HTTPStatus.NOT_FOUND,
                f"{len(unknown)} of the endpoints asked for do not exist",
                problems=[Problem(pointer("endpoints", name), "there is no endpoint of this name") for name in unknown],
            )
        n_endpoints = len(names) - (OUTSIDE in names)
        if n_endpoints > MATRIX_MAX:
            raise Refusal(
                HTTPStatus.BAD_REQUEST,
                f"a matrix of {n_endpoints} endpoints is too large;"
                f" ask for {MATRIX_MAX} at most, as in /v1/matrix?endpoints=a,b,c",
            )
        absent = {binding.endpoint for binding in self._control.bindings() if binding.state is PortsAs.ABSENT}

        def answer() -> object:
            return {
                "revision": stored.revision,
                "endpoints": list(names),
                "absent": [name for name in names if name in absent],
                "reaches": {
                    row.source: {target: list(networks) for target, networks in row.reaches}
                    for row in matrix(stored.policy, names)
                },
            }

        return self._plain(asked, answer)

    def rules(self, asked: Asked) -> Response:
        rules = self._control.rules()
        return self._plain(asked, lambda: plain(rules))

    def log(self, asked: Asked) -> Response:
        chosen(asked.request, (NDJSON,))
        # HEAD asks for nothing that is still to come.
        follow = asked.flag("follow") and asked.request.method != "HEAD"
        if follow:
            asked.request.environ[LEAST_CHUNK] = 1
        stream = LogStream(self._control.log(follow), self._pause, greet=follow)
        return Response(content_type=NDJSON, charset=None, app_iter=stream)

    def flows(self, asked: Asked) -> Response:
        limit, offset = asked.whole("limit"), asked.whole("offset") or 0
        stop = None if limit is None else offset + limit + 1
        media_type = chosen(asked.request, ANSWERS)
        wanted = islice(self._flows(asked), offset, stop)
        # The first one is asked for now: what fails should fail before the status line is out.
        flows = chain(list(islice(wanted, 1)), wanted)
        stream = msgpack_flows(flows, limit) if media_type == MSGPACK else json_flows(flows, limit)
        answer = Response(content_type=media_type, app_iter=self._with_pauses(stream))
        answer.vary = ("Accept",)
        return answer

    def _flows(self, asked: Asked) -> Iterator[FlowView]:
        """The flows of the bridges asked for, in the order of the status where there are several of one name."""
        wanted = {key: asked.query[key] for key in ("dpid", "bridge") if key in asked.query}
        origin, stage = asked.query.get("origin"), asked.query.get("stage")
        if not wanted:
            return self._control.flows(None, origin, stage)
        bridges = self._control.status().bridges
        dpids = [
            bridge.dpid
            for bridge in bridges
            if wanted.get("bridge", bridge.name) in (bridge.name, bridge.dpid)
            and _same_dpid(wanted.get("dpid", bridge.dpid), bridge.dpid)
        ]
        if not dpids:
            known = ", ".join(f"{bridge.name} ({bridge.dpid})" for bridge in bridges[:10]) or "there is none yet"
            raise Refusal(HTTPStatus.NOT_FOUND, f"no such bridge is known; known: {known}")
        return chain.from_iterable(self._control.flows(dpid, origin, stage) for dpid in dpids)

    def _with_pauses(self, stream: Iterator[bytes]) -> Iterator[bytes]:
        for block in stream:
            yield block
            self._pause()

    def _document(self, asked: Asked, stored: Stored, value: object, offers: tuple[str, ...]) -> Response:
        media_type = chosen(asked.request, offers)
        tag = entity_tag(stored.revision)
        if asked.preconditions().unchanged(stored.revision):
            return Response(status=304, headerlist=[("ETag", tag), ("Vary", "Accept")])
        return answered(self._in_thread(encoded, value, media_type), media_type, headers={"ETag": tag})

    def _plain(self, asked: Asked, answer: Callable[[], object]) -> Response:
        """answer: makes it, as plain data; called in a thread."""
        media_type = chosen(asked.request, ANSWERS)
        return answered(self._in_thread(made, answer, media_type), media_type)


def _same_dpid(text: str, dpid: str) -> bool:
    """Whether a datapath id is meant, however its zeros and colons are written."""
    try:
        return text == dpid or int(text.replace(":", ""), 16) == int(dpid.replace(":", ""), 16)
    except ValueError:
        return False
