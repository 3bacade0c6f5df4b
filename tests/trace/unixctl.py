"""Speaks to a daemon of Open vSwitch over its control socket: ovs-appctl(8) without a process for every call."""

from __future__ import annotations

import json
import socket
from pathlib import Path


class ControlError(Exception):
    """The daemon answered with an error."""


class ControlSocket:
    """JSON-RPC 1.0 over a unix socket (RFC 7047 section 4 names the same framing: one JSON text after the other)."""

    def __init__(self, path: Path, timeout_s: float = 10) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        self._socket.connect(str(path))
        self._decoder = json.JSONDecoder()
        self._text = ""
        self._calls = 0

    def call(self, method: str, *params: str) -> str:
        """The text that ovs-appctl would print. Raises ControlError with what it would print as an error."""
        self._calls += 1
        request = {"id": self._calls, "method": method, "params": params}
        self._socket.sendall(json.dumps(request).encode())
        reply = self._receive()
        if reply["error"] is not None:
            raise ControlError(str(reply["error"]).strip())
        assert reply["id"] == self._calls
        return str(reply["result"])

    def _receive(self) -> dict[str, object]:
        while True:
            # A whole reply ends with its brace; trying to parse at every chunk would be slow for long traces.
            if self._text.endswith("}"):
                try:
                    value, end = self._decoder.raw_decode(self._text)
                except json.JSONDecodeError:
                    pass
                else:
                    self._text = self._text[end:]
                    assert isinstance(value, dict)
                    return value
            chunk = self._socket.recv(1 << 20)
            if not chunk:
                raise ControlError("the daemon hung up")
            self._text += chunk.decode()

    def close(self) -> None:
        self._socket.close()
