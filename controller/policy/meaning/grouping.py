"""Groups in groups. PURE."""

from __future__ import annotations

from collections.abc import Iterable

from controller.policy.model import Policy


def with_holders(policy: Policy, names: Iterable[str]) -> frozenset[str]:
    """These groups and all that they are in, directly or by way of others. What is in a group is in all of them.

    Not recursive, and each group is looked at once: a chain of groups may be as long as the document, and the ways
    through a net of them are more than anybody can count.
    """
    holders: dict[str, list[str]] = {}
    for group in policy.groups.values():
        for name in group.members.groups:
            holders.setdefault(name, []).append(group.name)
    found = set(names)
    waiting = list(found)
    while waiting:
        new = set(holders.get(waiting.pop(), ())) - found
        found |= new
        waiting += new
    return frozenset(found)
