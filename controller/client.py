"""A running controller as the command line meets it: REST over HTTP, errors mapped once. I/O.

Knows paths and media types, and none of the controller's classes.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlencode, urlsplit

from controller import __version__
from controller.errors import Problem, TripointError

_PROBLEM = "application/problem+json"


class Unreachable(TripointError):
    """Nobody answers at this address, or not as a controller of ours does."""


class BadServer(TripointError):
    """What was given as the controller's address is none."""


class Refused(TripointError):
    """The controller says no. document: the problem document as it came."""

    def __init__(self, status: int, document: Mapping[str, object]) -> None:
        self.status = status
        self.document = document
        self.detail = str(document.get("detail") or document.get("title") or f"status {status}")
        found = document.get("problems")
        self.problems = tuple(
            Problem(str(item.get("path", "")), str(item.get("message", "")), str(item.get("hint", "")))
            for item in (found if isinstance(found, list) else [])
            if isinstance(item, dict)
        )
        super().__init__(self.detail)


@dataclass(frozen=True, slots=True)
class Answer:
    """status: 2xx. content: as it came."""

    status: int
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")

    @property
    def data(self) -> dict[str, object]:
        """The JSON object in the content."""
        try:
            found = json.loads(self.content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Unreachable("the answer is not a JSON object; is this a Tripoint controller?")
        return cast(dict[str, object], found)


@dataclass(frozen=True, slots=True)
class Asking:
    """One request. query: None values are left out."""

    method: str
    path: str
    query: Mapping[str, str | int | None] = field(default_factory=dict)
    body: bytes | None = None
    media_type: str = "application/yaml"
    accept: str = "application/json"
    if_match: int | None = None

    @property
    def target(self) -> str:
        pairs = {key: value for key, value in self.query.items() if value is not None}
        return self.path + (f"?{urlencode(pairs)}" if pairs else "")

    @property
    def headers(self) -> dict[str, str]:
        found = {"Accept": self.accept, "User-Agent": f"tripoint/{__version__}"}
        if self.body is not None:
            found["Content-Type"] = self.media_type
        if self.if_match is not None:
            found["If-Match"] = f'"{self.if_match}"'
        return found


class Client:
    """server: http or https URL without a query, "http://127.0.0.1:8080". timeout_s: for each read and write."""

    def __init__(self, server: str, timeout_s: float = 120) -> None:
        trouble = f"{server!r} is not the address of a controller, as http://127.0.0.1:8080 is"
        try:
            parts = urlsplit(server)
            self._port = parts.port
        except ValueError as error:
            raise BadServer(trouble) from error
        unprintable = any(not " " < character <= "~" for character in server)
        if unprintable or parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise BadServer(trouble)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._prefix = parts.path.rstrip("/")
        self._server = server
        self._timeout_s = timeout_s

    def ask(self, asking: Asking) -> Answer:
        """Raises Unreachable, or Refused for every answer that is no success."""
        with self._asked(asking) as response:
            return self._accepted(response, response.read())

    def lines(self, asking: Asking) -> Iterator[bytes]:
        """The lines of an answer as they come, but for empty ones. Raises what `ask` raises."""
        with self._asked(asking) as response:
            if not 200 <= response.status < 300:
                self._accepted(response, response.read())
            while line := response.readline():
                if line.strip():
                    yield line

    @contextmanager
    def _asked(self, asking: Asking) -> Iterator[http.client.HTTPResponse]:
        make = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = make(self._host, self._port, timeout=self._timeout_s)
        try:
            with suppress(BrokenPipeError):  # refused before all of the body was sent; the answer says why
                connection.request(asking.method, self._prefix + asking.target, asking.body, asking.headers)
            yield connection.getresponse()
        except TimeoutError as error:
            raise Unreachable(f"{self._server} does not answer within {self._timeout_s:g} s") from error
        except http.client.IncompleteRead as error:
            raise Unreachable(f"{self._server} broke off in the middle of its answer") from error
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{self._server} cannot be reached: {error or type(error).__name__}") from error
        finally:
            connection.close()

    def _accepted(self, response: http.client.HTTPResponse, content: bytes) -> Answer:
        if 200 <= response.status < 300:
            return Answer(response.status, content)
        if response.headers.get_content_type() != _PROBLEM:
            raise Unreachable(f"{self._server} answers {response.status}, but not as a Tripoint controller does")
        raise Refused(response.status, Answer(response.status, content).data)
