"""What a flow does with a packet. PURE. Names and syntax are those of ovs-actions(7).

An empty tuple of actions drops. `key` is the action as nested tuples of ints and strings: what a flow's cookie hashes.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

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
    """Add a flow to `table` for the packet at hand (NXAST_LEARN2), at most `limit` with this cookie; 0: any number.

    hard_timeout_s: the learned flow goes so long after a packet last taught it, however often it is used; 0: never.
    idle_timeout_s: it goes when it was neither taught nor used for so long; 0: never.
    match: (source, target) slices: target must equal what source holds now.
    loads: (source, target) slices: the learned flow copies what source holds now into target.
    result: set to 1 where the flow stands in the table afterwards, to 0 where the limit kept it out; None: not told.
    The learned flows go when the last flow that learns with this cookie goes (delete_learned).
    """

    table: int
    cookie: int
    priority: int
    hard_timeout_s: int
    limit: int
    match: tuple[tuple[Slice, Slice], ...]
    loads: tuple[tuple[Slice, Slice], ...]
    result: Slice | None = None
    idle_timeout_s: int = 0

    @property
    def key(self) -> Key:
        def ends(pairs: tuple[tuple[Slice, Slice], ...]) -> Key:
            return tuple((s.field.index, s.low, s.n_bits) for pair in pairs for s in pair)

        numbers = (self.table, self.cookie, self.priority, self.hard_timeout_s, self.limit)
        result = () if self.result is None else (self.result.field.index, self.result.low)
        idle = (self.idle_timeout_s,) if self.idle_timeout_s else ()
        return ("learn", *numbers, ends(self.match), ends(self.loads), *result, *idle)

    def __str__(self) -> str:
        parts = [
            f"table={self.table}",
            *([f"idle_timeout={self.idle_timeout_s}"] if self.idle_timeout_s else []),
            *([f"hard_timeout={self.hard_timeout_s}"] if self.hard_timeout_s else []),
            f"priority={self.priority}",
            "delete_learned",
            f"cookie={self.cookie:#x}",
            f"limit={self.limit}",
            *([f"result_dst={self.result.nxm}"] if self.result is not None else []),
        ]
        parts += [t.nxm if s.nxm == t.nxm else f"{t.nxm}={s.nxm}" for s, t in self.match]
        parts += [f"load:{s.nxm}->{t.nxm}" for s, t in self.loads]
        return f"learn({','.join(parts)})"


@dataclass(frozen=True, slots=True)
class Nat:
    """What a commit does with addresses; without a `kind`: what the connection's commit said, to this packet.

    kind: "src" or "dst". version: 4 or 6, of the addresses first .. last (integers). ports: first and last, or None.
    """

    kind: str = ""
    version: int = 4
    first: int = 0
    last: int = 0
    ports: tuple[int, int] | None = None

    @property
    def key(self) -> Key:
        return ("nat", self.kind, self.version, self.first, self.last, *(self.ports or ()))

    def __str__(self) -> str:
        if not self.kind:
            return "nat"
        form = IPv4Address if self.version == 4 else IPv6Address
        first, last = str(form(self.first)), str(form(self.last))
        if self.ports is not None and self.version == 6:
            first, last = f"[{first}]", f"[{last}]"
        text = first if self.first == self.last else f"{first}-{last}"
        if self.ports is not None:
            low, high = self.ports
            text += f":{low}" if low == high else f":{low}-{high}"
        return f"nat({self.kind}={text})"


@dataclass(frozen=True, slots=True)
class Ct:
    """Ask conntrack about the packet (NXAST_CT): from then on ct_state and the ct_* fields are of `zone`.

    zone: a number, or the slice of a register that holds it. table: where a copy of the packet goes on; the actions
    after this one still see the packet as it was. None: nothing goes on. commit: the connection is kept if it is new.
    nat: see `Nat`. mark: (source, target) slices that are copied into ct_mark at the commit.
    """

    zone: int | Slice
    table: int | None
    commit: bool = False
    nat: Nat | None = None
    mark: tuple[tuple[Slice, Slice], ...] = ()

    @property
    def key(self) -> Key:
        zone = self.zone if isinstance(self.zone, int) else (self.zone.field.index, self.zone.low, self.zone.n_bits)
        nat = () if self.nat is None else self.nat.key
        moves = tuple(Move(source, target).key for source, target in self.mark)
        return ("ct", zone, -1 if self.table is None else self.table, int(self.commit), nat, moves)

    def __str__(self) -> str:
        parts = ["commit"] if self.commit else []
        if self.table is not None:
            parts.append(f"table={self.table}")
        parts.append(f"zone={self.zone if isinstance(self.zone, int) else self.zone.nxm}")
        if self.nat is not None:
            parts.append(str(self.nat))
        if self.mark:
            parts.append(f"exec({','.join(str(Move(source, target)) for source, target in self.mark)})")
        return f"ct({','.join(parts)})"


@dataclass(frozen=True, slots=True)
class Conjunction:
    """One alternative of one dimension of a conjunctive match (ovs-fields(7), Conjunctive Match Fields).

    A flow has either only such actions, one or more, or none. number: of the conjunction, what conj_id then holds, the
    same in no other conjunction of the table. dimension: 1 to `dimensions` (2 to 64).
    """

    number: int
    dimension: int
    dimensions: int

    @property
    def key(self) -> Key:
        return ("conjunction", self.number, self.dimension, self.dimensions)

    def __str__(self) -> str:
        return f"conjunction({self.number},{self.dimension}/{self.dimensions})"


@dataclass(frozen=True, slots=True)
class ToController:
    """Hand a copy to the controller as it is now, cut to max_bytes; dropped beyond what the meter lets through."""

    max_bytes: int
    meter: int

    @property
    def key(self) -> Key:
        return ("controller", self.max_bytes, self.meter)

    def __str__(self) -> str:
        return f"controller(max_len={self.max_bytes},meter_id={self.meter})"


@dataclass(frozen=True, slots=True)
class DecTtl:
    """Count time to live or hop limit down by one. Where that is not possible the packet is dropped."""

    @property
    def key(self) -> Key:
        return ("dec_ttl",)

    def __str__(self) -> str:
        return "dec_ttl"


Action = (
    Output
    | SetField
    | Load
    | Move
    | PushVlan
    | PopVlan
    | Resubmit
    | Clone
    | Learn
    | Ct
    | Conjunction
    | ToController
    | DecTtl
)
