"""Which flows of some are installed. PURE but for what has been answered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from controller.openflow import requests
from controller.openflow.decode import decode_flow_stats, has_more


class Search:
    """A question for each cookie, which may be sent together with something else, and what has been answered."""

    WHAT: Final = "looking for"

    def __init__(self, cookies: Iterable[int]) -> None:
        self.cookies = tuple(cookies)
        self._found: set[int] = set()
        self._n_open = len(self.cookies)

    @property
    def found(self) -> frozenset[int]:
        return frozenset(self._found.intersection(self.cookies))

    def messages(self, first_xid: int) -> Iterator[bytes]:
        return (requests.flow_stats_request(xid, cookie) for xid, cookie in enumerate(self.cookies, first_xid))

    def take(self, part: bytes) -> bool:
        """A part of an answer to one of them; True: that was the last."""
        self._found.update(cookie for cookie, *_ in decode_flow_stats(part))
        self._n_open -= not has_more(part)
        return self._n_open == 0
