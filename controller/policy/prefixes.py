"""Which of many prefixes hold an address, found at the cost of their different lengths. PURE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from controller.policy.model import Address, Cidr

T = TypeVar("T")


class Prefixes(Generic[T]):
    """Values by prefix; of the same prefix the first one given is kept. Never changes."""

    __slots__ = ("_by_length",)

    def __init__(self, items: Iterable[tuple[Cidr, T]]) -> None:
        found: dict[tuple[int, int], dict[int, tuple[Cidr, T]]] = {}
        for cidr, value in items:
            shift = cidr.max_prefixlen - cidr.prefixlen
            at = found.setdefault((cidr.version, shift), {})
            at.setdefault(int(cidr.network_address) >> shift, (cidr, value))
        self._by_length = sorted(found.items())

    def holding(self, address: Address) -> Iterator[tuple[Cidr, T]]:
        """The prefixes that hold an address, the longest first, each with its value."""
        version, number = address.version, int(address)
        for (of_version, shift), by_value in self._by_length:
            if of_version == version:
                found = by_value.get(number >> shift)
                if found is not None:
                    yield found
