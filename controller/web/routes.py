"""The resources of the REST API: their paths, methods and query parameters, in one table. PURE.

docs/REST.md describes each; a test holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from http import HTTPStatus

from controller.policy.document import LISTED
from controller.web.problem import Refusal

_PLAN = ("plan",)


@dataclass(frozen=True, slots=True)
class Route:
    """path: segments between slashes, NAME stands for any one. methods: each with the query parameters it takes.

    resource: what `api.Api` calls it; kind: of which objects, "" where it is none of them.
    """

    path: str
    resource: str
    summary: str
    methods: Mapping[str, tuple[str, ...]]
    kind: str = ""

    @property
    def allow(self) -> str:
        """The value of an Allow header (RFC 9110 section 10.2.1)."""
        methods = [*self.methods, "OPTIONS"]
        if "GET" in self.methods:
            methods.insert(1, "HEAD")
        return ", ".join(methods)

    def name_in(self, path: str) -> str | None:
        """What stands for NAME in a path ("" in a path without one), or None where the path is not of this route."""
        if not self.path.endswith("/NAME"):
            return "" if path == self.path else None
        parent = self.path.removesuffix("NAME")
        name = path.removeprefix(parent)
        return name if path.startswith(parent) and name and "/" not in name else None


def _objects(kind: str, one: str) -> Iterator[Route]:
    yield Route(f"/v1/{kind}", "collection", f"all {kind} of the policy", {"GET": ()}, kind)
    yield _object(kind, one)


def _object(kind: str, one: str) -> Route:
    put = (*_PLAN, "before") if kind in LISTED else _PLAN
    return Route(f"/v1/{kind}/NAME", "object", one, {"GET": (), "PUT": put, "DELETE": _PLAN}, kind)


ROUTES: tuple[Route, ...] = (
    Route("/", "index", "what there is", {"GET": ()}),
    Route("/v1", "index", "what there is", {"GET": ()}),
    Route("/v1/policy", "policy", "the whole policy document", {"GET": ("revision",), "PUT": _PLAN}),
    Route("/v1/revisions", "revisions", "all revisions that are kept", {"GET": ()}),
    *_objects("networks", "one network"),
    *_objects("endpoints", "one endpoint"),
    *_objects("uplinks", "one uplink"),
    *_objects("groups", "one group"),
    Route("/v1/rules", "rules", "every rule in force, and what it has counted", {"GET": ()}),
    _object("rules", "one rule"),
    *_objects("rewrites", "one rewrite"),
    Route("/v1/hosts", "hosts", "what is seen of every host", {"GET": ()}),
    _object("hosts", "one host"),
    Route("/v1/status", "status", "what is in force on which bridge", {"GET": ()}),
    Route("/v1/bindings", "bindings", "where each endpoint was observed", {"GET": ()}),
    Route(
        "/v1/flows",
        "flows",
        "the flows and the policy sentence of each",
        {"GET": ("bridge", "dpid", "origin", "stage", "limit", "offset")},
    ),
    Route("/v1/log", "log", "what rules that log have seen, a JSON object a line", {"GET": ("follow",)}),
    Route("/v1/matrix", "matrix", "who reaches whom, and in which network", {"GET": ("endpoints",)}),
)


def found(path: str) -> tuple[Route, str]:
    """The route of a path, and what stands for its NAME. Raises Refusal (404) that names the nearest path."""
    for route in ROUTES:
        name = route.name_in(path)
        if name is not None:
            return route, name
    known = [route.path.removesuffix("/NAME") for route in ROUTES if route.path != "/"]
    near = get_close_matches(path[:100], known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "GET /v1 lists what there is"
    raise Refusal(HTTPStatus.NOT_FOUND, f"there is nothing at this path; {hint}")
