"""The ports in a database as they come and go, seen by nobody's software but this: RFC 7047 on a socket. I/O."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RECEIVE_BYTES = 1 << 20


class DatabaseWatch:
    """Follows the names in the table Port in a thread of its own. Close it when done."""

    def __init__(self, path: Path) -> None:
        """path: the database's socket. Raises OSError."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._names: dict[str, str] = {}
        """uuid -> name"""
        self._at = time.monotonic()
        self._changed = threading.Condition()
        self._send({"method": "monitor", "id": 0, "params": ["Open_vSwitch", None, {"Port": {"columns": ["name"]}}]})
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def when(self, holds: Callable[[set[str]], bool], timeout_s: float) -> float:
        """Wait until it holds for the names of all ports.

        Returns when the last of them came here, on the clock of time.monotonic. Raises TimeoutError.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: holds(set(self._names.values())), timeout_s):
                raise TimeoutError(f"never so: {len(self._names)} ports are in the database")
            return self._at

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _send(self, message: dict[str, Any]) -> None:
        self._socket.sendall(json.dumps(message).encode())

    def _follow(self) -> None:
        text, decoder = "", json.JSONDecoder()
        while data := self._receive():
            at, text = time.monotonic(), text + data
            while text.endswith("}"):
                try:
                    message, end = decoder.raw_decode(text)
                except ValueError:
                    break
                text = text[end:].lstrip()
                self._take(message, at)

    def _receive(self) -> str:
        try:
            return self._socket.recv(RECEIVE_BYTES).decode()
        except OSError:
            return ""

    def _take(self, message: dict[str, Any], at: float) -> None:
        if message.get("method") == "echo":
            self._send({"id": message["id"], "result": message["params"], "error": None})
            return
        updates = message["params"][1] if message.get("method") == "update" else message.get("result")
        with self._changed:
            for uuid, change in (updates or {}).get("Port", {}).items():
                if "new" in change:
                    self._names[uuid] = change["new"]["name"]
                else:
                    self._names.pop(uuid, None)
                self._at = at
            self._changed.notify_all()
