"""One JSON text after the other on a connection, bounded, and read by the standard library's C code. I/O.

`ovs.jsonrpc.Connection` decodes a character at a time unless the package was built with its C extension (the one on
PyPI is not), has no limit, and loses a character of UTF-8 that comes in two pieces; `Texts` takes its place.
It finds where a text ends by counting brackets outside strings; nothing is decoded before it is whole.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Mapping
from typing import Any

from ovs import jsonrpc
from ovs.util import EOF

MOST_BYTES = 64 << 20
"""Of one text: a database of 50,000 ports as the answer to a monitor request."""
MOST_DEPTH = 32
"""RFC 7047 needs ten."""
_RECEIVE_BYTES = 1 << 16
_SEND_BYTES = 1 << 18
_WHOLE_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_OUTSIDE = re.compile(_WHOLE_STRING + rb'|["{}\[\]]', re.DOTALL)
_INSIDE = re.compile(rb'\\.|"', re.DOTALL)
_BETWEEN = re.compile(rb"[ \t\r\n]*+")
_CUT_DEPTH = 5
"""Down to here a text is taken apart in steps, each of which gives other threads a turn: a step decodes a row."""


class BadText(Exception):
    """What the peer sends is no JSON text, or one that is too long or too deep."""


class TextCutter:
    """Cuts what comes into whole JSON objects. most_bytes: of one of them."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._buffer = bytearray()
        self._at = 0
        """All before it has been looked at."""
        self._depth = 0
        self._in_string = False

    @property
    def pending_bytes(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def cut(self) -> bytes | None:
        """The next text, or None where it is not whole. Raises BadText."""
        if not self._depth and not self._begin():
            return None
        while not self._in_string or self._leave_string():
            end = self._find_end()
            if end is not None:
                text = bytes(self._buffer[:end])
                del self._buffer[:end]
                self._at = 0
                self._require_length(len(text))
                return text
            if not self._in_string:
                break
        self._require_length(len(self._buffer))
        return None

    def _begin(self) -> bool:
        between = _BETWEEN.match(self._buffer)
        assert between is not None
        del self._buffer[: between.end()]
        if not self._buffer:
            return False
        if self._buffer[:1] != b"{":
            raise BadText("it does not send JSON objects")
        return True

    def _find_end(self) -> int | None:
        """Where the text ends. None: not in what is there; then `_in_string` says where the looking stopped."""
        for token in _OUTSIDE.finditer(self._buffer, self._at):
            first = self._buffer[token.start()]
            if first in b"{[":
                self._depth += 1
                if self._depth > MOST_DEPTH:
                    raise BadText("its JSON is nested too deep")
            elif first in b"}]":
                self._depth -= 1
                if not self._depth:
                    return token.end()
            elif token.end() == token.start() + 1:
                self._in_string = True
                self._at = token.end()
                return None
        self._at = len(self._buffer)
        return None

    def _leave_string(self) -> bool:
        """Look for the end of a string that has begun earlier. False: it is not there yet."""
        for token in _INSIDE.finditer(self._buffer, self._at):
            self._at = token.end()
            if token.group() == b'"':
                self._in_string = False
                return True
        # A backslash at the very end belongs to what comes next.
        open_escape = self._at < len(self._buffer) and self._buffer.endswith(b"\\")
        self._at = len(self._buffer) - open_escape
        return False

    def _require_length(self, n_bytes: int) -> None:
        if n_bytes > self.most_bytes:
            raise BadText(f"it sends more than {self.most_bytes} bytes at once")


def decode_text(text: bytes) -> object:
    """The value of a JSON text. Raises BadText.

    The standard library decodes a text without ever letting another thread run, which for a big one is too long; here
    the outer levels are gone through in Python and each value in them is decoded by itself.
    """
    try:
        value, _ = _decode_outer(text.decode(), 0, 0)
    except (ValueError, StopIteration, RecursionError) as error:
        raise BadText(f"it sends what is no JSON: {error}") from error
    return value


def encode_text(value: Mapping[str, object]) -> bytes:
    """As JSON. Like decoding it goes by steps: a long transaction is many operations, each of them short."""
    members = []
    for key, member in value.items():
        if isinstance(member, list):
            text = f"[{','.join(json.dumps(one, separators=(',', ':')) for one in member)}]"
        else:
            text = json.dumps(member, separators=(",", ":"))
        members.append(f"{json.dumps(key)}:{text}")
    return f"{{{','.join(members)}}}".encode()


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


# Parts of the standard library that its type stubs do not know.
_OBJECT: Any = vars(json.decoder)["JSONObject"]
_ARRAY: Any = vars(json.decoder)["JSONArray"]
_SCAN: Any = vars(json.JSONDecoder(parse_constant=_no_constant))["scan_once"]


def _decode_outer(text: str, at: int, depth: int) -> tuple[object, int]:
    if depth < _CUT_DEPTH and text[at : at + 1] in ("{", "["):

        def deeper(text: str, at: int) -> tuple[object, int]:
            return _decode_outer(text, at, depth + 1)

        found: tuple[object, int] = (
            _OBJECT((text, at + 1), True, deeper, None, None, {}) if text[at] == "{" else _ARRAY((text, at + 1), deeper)
        )
        return found
    scanned: tuple[object, int] = _SCAN(text, at)
    return scanned


class Texts(jsonrpc.Connection):  # type: ignore[misc] # the package has no types
    """A JSON-RPC connection over a stream of the ovs package."""

    def __init__(self, stream: Any, most_bytes: int = MOST_BYTES) -> None:  # noqa: ANN401 - the package's own
        super().__init__(stream)
        self.complaint = ""
        """What was wrong with what the peer sent, if that ended the connection."""
        self.output = bytearray()
        self._cutter = TextCutter(most_bytes)
        self._more = False

    @property
    def has_more(self) -> bool:
        """Whether `recv` may have something to give without anything having come."""
        return self._more

    def allow(self, most_bytes: int) -> None:
        self._cutter.most_bytes = most_bytes

    def send(self, message: Any) -> int:  # noqa: ANN401 - the package's own
        """Queue a message and send what can be sent now; 0, or the errno of the connection's end."""
        if not self.status:
            self.output += encode_text(message.to_json())
            self.run()
        return int(self.status)

    def run(self) -> None:
        """Send what can be sent now."""
        while not self.status and self.output:
            n_sent = self.stream.send(bytes(self.output[:_SEND_BYTES]))
            if n_sent == -errno.EAGAIN:
                return
            if n_sent < 0:
                self.error(-n_sent)
            else:
                del self.output[:n_sent]

    def hang_up(self) -> None:
        self.error(EOF)

    def recv(self) -> tuple[int, Any]:
        """(0, message), or (errno, None): EAGAIN where no whole message is there."""
        if self.status:
            return self.status, None
        self._more = True
        try:
            while True:
                text = self._cutter.cut()
                if text is not None:
                    message = jsonrpc.Message.from_json(decode_text(text))
                    if isinstance(message, str):
                        raise BadText(f"it sends what is no JSON-RPC: {message}")
                    return 0, message
                code, data = self.stream.recv(_RECEIVE_BYTES)
                if code == errno.EAGAIN:
                    self._more = False
                    return code, None
                if code or not data:
                    self.error(code or EOF)
                    return self.status, None
                self.received_bytes += len(data)
                self._cutter.feed(data)
        except BadText as error:
            self.complaint = str(error)
            self.error(errno.EPROTO)
            return self.status, None
