"""What the reconciler needs of a store, as a Protocol. PURE. `store.Store` implements it."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from controller.control import Change, Document
from controller.pipeline.ranks import Ranks


class Revisions(Protocol):
    """Every stored policy version. Calls block; each raises StoreError."""

    def latest(self) -> tuple[int, Document]:
        """The newest revision and its document; (0, an empty document) in a new store."""
        ...

    def read(self, revision: int) -> Document:
        """An older document. Raises NoSuchObject."""
        ...

    def revisions(self) -> list[tuple[int, str]]:
        """(revision, RFC 3339 time), oldest first."""
        ...

    def ranks(self) -> Ranks:
        """Those that the newest revision was stored with."""
        ...

    def append(self, expected_latest: int, change: Change, now: datetime, ranks: Ranks) -> int:
        """Store what `change` makes of the newest document, and the ranks of its rules; synced when it returns the new
        revision.
        """
        ...
