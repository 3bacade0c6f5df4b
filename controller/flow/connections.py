"""Some of the connections that conntrack knows, told by what was asked and what is answered. PURE."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class End:
    """An address as an integer, and a port; None: any."""

    address: int
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Connections:
    """Those in a zone. version: 4 or 6. protocol: None: any.

    asked: whom the packet that opened the connection was for. answers_from, answers_to: between whom the answers go, as
    they come. None: anybody.
    """

    zone: int
    version: int
    protocol: int | None = None
    asked: End | None = None
    answers_from: End | None = None
    answers_to: End | None = None
