"""What one bundle does to a switch's flows: the messages that fill it, and words for what was refused. PURE."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from controller.flow.flow import Flow
from controller.openflow import requests
from controller.openflow.encode import encode_adds, encode_delete, encode_delete_foreign, shorten
from controller.openflow.pending import Request
from controller.switch import ForeignFlow


@dataclass(frozen=True, slots=True)
class Changes:
    """Removals of ours by cookie, of foreign flows, then additions: in this order, so that an addition stays."""

    remove: tuple[int, ...]
    foreign: tuple[ForeignFlow, ...]
    add: tuple[Flow, ...]

    def __len__(self) -> int:
        return len(self.remove) + len(self.foreign) + len(self.add)

    def messages(self, bundle: int, first_xid: int) -> Iterator[bytes]:
        """The messages that fill the bundle, with xids from first_xid up. Raises CompileError."""
        xid = first_xid
        for cookie in self.remove:
            yield requests.bundle_add(bundle, xid, encode_delete(cookie, xid))
            xid += 1
        for foreign in self.foreign:
            yield requests.bundle_add(bundle, xid, encode_delete_foreign(foreign, xid))
            xid += 1
        for number, message in enumerate(encode_adds(self.add, xid), xid):
            yield requests.bundle_add(bundle, number, message)

    def explain(self, request: Request) -> str:
        """One sentence about the errors that came for these messages."""
        shown = "; ".join(f"{error} for {self._text(place)}" for place, error in request.errors)
        return f"the switch refused {request.n_errors} of {len(self)} changes, nothing was changed: {shown}"

    def _text(self, place: int) -> str:
        if place < len(self.remove):
            return f"removing cookie {self.remove[place]:#x}"
        place -= len(self.remove)
        if place < len(self.foreign):
            foreign = self.foreign[place]
            return f"removing foreign flow cookie={foreign.cookie:#x},table={foreign.table},priority={foreign.priority}"
        return shorten(str(self.add[place - len(self.foreign)]))
