"""A flow table entry whose identity is its content. PURE.

cookie = 16-bit owner, then a 48-bit hash of (table, priority, match, instructions): two flows with one cookie are the
same flow, so what is installed on a switch is known from the cookies alone.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterable
from hashlib import blake2b

from controller.flow.actions import Action, Key
from controller.flow.fields import Term
from controller.flow.text import form_match

OWNER = 0x7470
"""The top 16 bits of every cookie that a compiled flow has ("tp")."""
OWNER_LEARNED = 0x7471
"""The top 16 bits of every cookie that a flow learned by the switch has."""
_CONTENT_MASK = (1 << 48) - 1
_MARSHAL_VERSION = 2  # later versions write shared objects as references: same content, other bytes


def owner_of(cookie: int) -> int:
    """The top 16 bits of a cookie."""
    return cookie >> 48


def content_cookie(owner: int, content: Key) -> int:
    """owner << 48 | 48-bit hash of nested tuples of ints and strings."""
    try:
        data = marshal.dumps(content, _MARSHAL_VERSION)
    except ValueError:
        data = marshal.dumps(_plain(content), _MARSHAL_VERSION)
    digest = blake2b(data, digest_size=6).digest()
    return owner << 48 | int.from_bytes(digest, "big")


def _plain(content: Key) -> Key:
    """The same with members of enumerations as the numbers they are."""
    return tuple(
        _plain(part) if isinstance(part, tuple) else int(part) if isinstance(part, int) else part for part in content
    )


class Flow:
    """An immutable flow.

    table, priority: numbers, 0 to 253 and 0 to 65535. match: terms in canonical order, one a field.
    actions: applied in order; none and no goto: drop. goto: the table that follows, higher than `table`, or None.
    origin: JSON pointer to the sentence of the policy it comes from. why: one sentence for people.
    origin and why are no part of its identity. place: a hash of `key`, for looking up quickly.
    """

    __slots__ = ("actions", "cookie", "goto", "match", "origin", "place", "priority", "table", "why")

    table: int
    priority: int
    match: tuple[Term, ...]
    actions: tuple[Action, ...]
    goto: int | None
    cookie: int
    origin: str
    why: str
    place: int

    def __init__(
        self,
        table: int,
        priority: int,
        match: Iterable[Term],
        actions: tuple[Action, ...] = (),
        *,
        goto: int | None = None,
        origin: str = "",
        why: str = "",
        action_keys: tuple[Key, ...] | None = None,
    ) -> None:
        """action_keys: those of the actions, where somebody has them already."""
        self.table = table
        self.priority = priority
        self.match = tuple(sorted(match))
        self.actions = actions
        self.goto = goto
        self.origin = origin
        self.why = why
        keys = tuple([a.key for a in actions]) if action_keys is None else action_keys
        self.place = hash((table, priority, self.match))
        content = (table, priority, self.match, keys, -1 if goto is None else goto)
        self.cookie = content_cookie(OWNER, content)

    @property
    def key(self) -> tuple[int, int, tuple[Term, ...]]:
        """What a table can hold once: (table, priority, match)."""
        return (self.table, self.priority, self.match)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Flow) and self.cookie == other.cookie

    def __hash__(self) -> int:
        return hash(self.cookie)

    def __repr__(self) -> str:
        return f"Flow({self})"

    def __str__(self) -> str:
        """In ovs-ofctl(8) add-flow syntax, the cookie included."""
        head = f"cookie={self.cookie:#x},table={self.table},priority={self.priority}"
        match = form_match(self.match)
        return f"{head},{match + ',' if match else ''}actions={self.form_actions()}"

    def form_actions(self) -> str:
        """The actions and the goto in ovs-ofctl(8) syntax."""
        parts = [str(action) for action in self.actions]
        if self.goto is not None:
            parts.append(f"goto_table:{self.goto}")
        return ",".join(parts) or "drop"
