"""The controller as any user meets it: REST over HTTP. I/O. Knows no class of the controller's."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class RestError(Exception):
    """No answer, or a refusal; the text is the controller's own, problem by problem."""


@dataclass(frozen=True, slots=True)
class Rest:
    """url: without a path, `http://127.0.0.1:8080`."""

    url: str

    def ask(self, method: str, path: str, body: object = None, timeout_s: float = 60) -> Any:  # noqa: ANN401
        """The decoded answer. Raises RestError."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/json", **({} if data is None else {"Content-Type": "application/json"})}
        request = urllib.request.Request(self.url.rstrip("/") + path, data, headers, method=method)
        try:
            with _opener.open(request, timeout=timeout_s) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise RestError(f"{method} {path}: {error.code} {_problem(error.read())}") from error
        except (OSError, http.client.HTTPException) as error:
            raise RestError(f"{method} {self.url}{path}: {getattr(error, 'reason', None) or error}") from error
        try:
            return json.loads(text) if text else None
        except ValueError as error:
            raise RestError(f"{method} {path}: the answer is not JSON") from error

    def answers(self) -> bool:
        try:
            self.ask("GET", "/v1/status", timeout_s=2)
        except RestError:
            return False
        return True

    def hosts(self) -> list[dict[str, Any]]:
        """What is seen of every host of the policy. Raises RestError."""
        hosts: list[dict[str, Any]] = self.ask("GET", "/v1/hosts")["hosts"]
        return hosts

    def put_policy(self, document: Mapping[str, object]) -> Any:  # noqa: ANN401
        return self.ask("PUT", "/v1/policy", document)


def _problem(text: bytes) -> str:
    """A problem document (RFC 9457) as lines, or the text as it is."""
    try:
        found = json.loads(text)
        lines = [str(found.get("detail") or found.get("title") or "")]
        lines += [
            f"  {p.get('path') or '(document)'}: {p.get('message')} {p.get('hint', '')}"
            for p in found.get("problems", [])
        ]
    except (ValueError, AttributeError):
        return text.decode(errors="replace")[:500]
    return "\n".join(line for line in lines if line)


def missing(rest: Rest, dpids: Mapping[str, str], endpoints: Iterable[str]) -> list[str]:
    """What is not yet as it must be, a sentence each: bridges (name -> dpid) in force, endpoints bound, hosts kept.

    Raises RestError.
    """
    status = rest.ask("GET", "/v1/status")
    known = {int(str(b["dpid"]), 16): b for b in status.get("bridges", [])}
    found = []
    for name, dpid in dpids.items():
        bridge = known.get(int(dpid, 16))
        if bridge is None or not bridge.get("connected"):
            found.append(f"bridge {name} is not connected")
        elif bridge.get("in_force") != status.get("revision"):
            error = bridge.get("last_error") or "no error said"
            found.append(f"revision {status.get('revision')} is not in force on {name}: {error}")
    found += [sentence for host in rest.hosts() for sentence in _missing_at(host)]
    bindings = rest.ask("GET", "/v1/bindings")
    if isinstance(bindings, dict):
        bindings = bindings.get("bindings", [])
    bound = {b["endpoint"] for b in bindings if b["state"] == "bound"}
    return found + [f"endpoint {name} is not bound to a port" for name in endpoints if name not in bound]


def _missing_at(host: Mapping[str, Any]) -> list[str]:
    """Of a host whose database the controller keeps: its rows, its members' MTU, its tunnels where they are watched."""
    name, status = host["name"], host["status"]
    if status is None:
        return []
    if not status["connected"] or not status["in_force"]:
        return [f"host {name} is not in force: {status['error'] or 'nothing said why'}"]
    down = (tunnel["peer"] for tunnel in host["tunnels"] if tunnel["up"] is False)
    return [*status["warnings"], *(f"the tunnel of host {name} to {peer} is down" for peer in down)]


def wait_for(done: Callable[[], list[str]], timeout_s: float, healthy: Callable[[], None] = lambda: None) -> None:
    """Polls until nothing is missing. `healthy` raises when waiting is pointless.

    Raises RestError with what is missing.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        healthy()
        try:
            lacking = done()
        except RestError as error:
            lacking = [str(error)]
        if not lacking:
            return
        if time.monotonic() > deadline:
            raise RestError("; ".join(lacking))
        time.sleep(0.03)
