"""The log of rules as lines of JSON, sent one by one as they come. PURE, but for the reader that it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from controller.control import LogReader
from controller.web.representation import JSON, encoded, plain

NDJSON = "application/x-ndjson"
LEAST_CHUNK = "eventlet.minimum_write_chunk_size"
"""What the server otherwise gathers before it sends anything: set to 1, a line goes out when it is there."""
HEARTBEAT = b"\n"
"""An empty line, which readers of such streams skip: the connection is alive, and so is whoever reads it."""
PAUSE_EVERY = 64
"""So many lines are made before other green threads get their turn."""


class LogStream:
    """The body of an answer (PEP 3333). An object rather than a generator: it is closed also if it never began."""

    def __init__(self, reader: LogReader, pause: Callable[[], None], *, greet: bool) -> None:
        """greet: begin with a heartbeat, so that the answer's head does not wait for the first event."""
        self._reader = reader
        self._greet = greet
        self._pause = pause
        self._lines = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._greet:
            self._greet = False
            return HEARTBEAT
        event = next(self._reader)
        self._lines += 1
        if self._lines % PAUSE_EVERY == 0:
            self._pause()
        return HEARTBEAT if event is None else encoded(plain(event), JSON)

    def close(self) -> None:
        """The client has all of it, or has gone."""
        self._reader.close()
