"""The one difference, used for flows and for OVSDB rows. PURE."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Difference(Generic[K, V]):
    """What has to be added to what is there, and which of what is there has to go, for it to be what is desired."""

    add: tuple[V, ...]
    remove: tuple[K, ...]

    def __bool__(self) -> bool:
        return bool(self.add or self.remove)


def difference(desired: Mapping[K, V], installed: Collection[K]) -> Difference[K, V]:
    """desired - installed and installed - desired, by key; each in the order of its own collection."""
    return Difference(
        add=tuple(value for key, value in desired.items() if key not in installed),
        remove=tuple(key for key in installed if key not in desired),
    )
