"""What a flow does with a packet. PURE. Names and syntax are those of ovs-actions(7).

An empty tuple of actions drops. `key` is the action as nested tuples of ints and strings: what a flow's cookie hashes.
"""

from __future__ import annotations

from dataclasses import dataclass

from controller.flow.fields import LOCAL_PORT, Field, Slice
from controller.flow.text import form_value

Key = tuple["int | str | Key", ...]


@dataclass(frozen=True, slots=True)
class Output:
    """Send to a port. Never back to the port the packet came from: Open vSwitch leaves that out by itself."""

    port: int

    @property
    def key(self) -> Key:
        return ("output", self.port)

    def __str__(self) -> str:
        return "LOCAL" if self.port == LOCAL_PORT else f"output:{self.port}"


@dataclass(frozen=True, slots=True)
class SetField:
    """Set a whole field."""

    field: Field
    value: int

    @property
    def key(self) -> Key:
        return ("set_field", self.field.index, self.value)

    def __str__(self) -> str:
        return f"set_field:{form_value(self.field, self.value)}->{self.field.name}"


@dataclass(frozen=True, slots=True)
class Load:
    """Set a slice of a register, its other bits untouched (NXAST_REG_LOAD)."""

    target: Slice
    value: int

    @property
    def key(self) -> Key:
        return ("load", self.target.field.index, self.target.low, self.target.n_bits, self.value)

    def __str__(self) -> str:
        return f"load:{self.value:#x}->{self.target.nxm}"


@dataclass(frozen=True, slots=True)
class Move:
    """Copy one slice onto another of the same width (NXAST_REG_MOVE)."""

    source: Slice
    target: Slice

    @property
    def key(self) -> Key:
        ends = (self.source, self.target)
        return ("move", *((end.field.index, end.low, end.n_bits) for end in ends))

    def __str__(self) -> str:
        return f"move:{self.source.nxm}->{self.target.nxm}"


@dataclass(frozen=True, slots=True)
class PushVlan:
    """Add an 802.1Q tag (0x8100), VID 0 until it is set."""

    @property
    def key(self) -> Key:
        return ("push_vlan",)

    def __str__(self) -> str:
        return "push_vlan:0x8100"


@dataclass(frozen=True, slots=True)
class PopVlan:
    """Take the outermost tag off."""

    @property
    def key(self) -> Key:
        return ("pop_vlan",)

    def __str__(self) -> str:
        return "pop_vlan"


@dataclass(frozen=True, slots=True)
class Resubmit:
    """Look the packet up in a table, do what is found, come back (NXAST_RESUBMIT_TABLE)."""

    table: int

    @property
    def key(self) -> Key:
        return ("resubmit", self.table)

    def __str__(self) -> str:
        return f"resubmit(,{self.table})"


@dataclass(frozen=True, slots=True)
class Clone:
    """Do the actions on a copy; the packet and its registers are as before afterwards (NXAST_CLONE)."""

    actions: tuple[Action, ...]

    @property
    def key(self) -> Key:
        return ("clone", *(action.key for action in self.actions))

    def __str__(self) -> str:
        return f"clone({','.join(map(str, self.actions))})"


@dataclass(frozen=True, slots=True)
class Learn:
    """Add a flow to `table` for the packet at hand (NXAST_LEARN2), at most `limit` with this cookie.

    hard_timeout_s: the learned flow goes so long after a packet last taught it, however often it is used.
    match: (source, target) slices: target must equal what source holds now.
    loads: (source, target) slices: the learned flow copies what source holds now into target.
    result: set to 1 where the flow stands in the table afterwards, to 0 where the limit kept it out.
    The learned flows go when the last flow that learns with this cookie goes (delete_learned).
    """

    table: int
    cookie: int
    priority: int
    hard_timeout_s: int
    limit: int
    match: tuple[tuple[Slice, Slice], ...]
    loads: tuple[tuple[Slice, Slice], ...]
    result: Slice

    @property
    def key(self) -> Key:
        def ends(pairs: tuple[tuple[Slice, Slice], ...]) -> Key:
            return tuple((s.field.index, s.low, s.n_bits) for pair in pairs for s in pair)

        numbers = (self.table, self.cookie, self.priority, self.hard_timeout_s, self.limit)
        return ("learn", *numbers, ends(self.match), ends(self.loads), self.result.field.index, self.result.low)

    def __str__(self) -> str:
        parts = [
            f"table={self.table}",
            f"hard_timeout={self.hard_timeout_s}",
            f"priority={self.priority}",
            "delete_learned",
            f"cookie={self.cookie:#x}",
            f"limit={self.limit}",
            f"result_dst={self.result.nxm}",
        ]
        parts += [t.nxm if s.nxm == t.nxm else f"{t.nxm}={s.nxm}" for s, t in self.match]
        parts += [f"load:{s.nxm}->{t.nxm}" for s, t in self.loads]
        return f"learn({','.join(parts)})"


Action = Output | SetField | Load | Move | PushVlan | PopVlan | Resubmit | Clone | Learn
