"""A connection that is allowed is kept in mind, so that its answers are known. PURE.

Fragments are put together once more: all of a packet pass, or none. Rules look at ports, which only the first one has;
where that is dropped, the others wait here in vain.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow.actions import Ct
from controller.flow.fields import CT_STATE, ETH_TYPE, IP_FRAG, KEEP, KEPT, ZONE
from controller.flow.flow import Flow
from controller.pipeline.ip_fields import BY_VERSION, FRAGMENT, NEW
from controller.pipeline.router_view import RealmView
from controller.pipeline.stage import Emit, Miss, Priority, Stage


def _realm(emit: Emit, _: RealmView) -> Iterator[Flow]:
    for fields in BY_VERSION.values():  # Open vSwitch takes no ct without the version
        yield emit(
            "new",
            (fields.is_it, NEW),
            (Ct(ZONE, emit.table("undnat"), commit=True, mark=((KEEP, KEPT),)),),
            origin="",
            why="the connection begins, and conntrack is told",
        )
        yield emit(
            "fragment",
            (fields.is_it, FRAGMENT),
            (Ct(ZONE, emit.table("undnat")),),
            origin="",
            why="a fragment goes on with all the others of its packet, or not at all",
        )


COMMIT = Stage(
    name="commit",
    purpose="The first packet of an allowed connection makes conntrack remember it; all others go on.",
    matches=frozenset({CT_STATE, ETH_TYPE, IP_FRAG}),
    reads=frozenset({KEEP.field, ZONE.field}),
    next=("undnat",),
    priorities={
        "new": Priority(100, "a packet of no connection that conntrack keeps"),
        "fragment": Priority(50, "fragments of a known connection"),
    },
    miss=Miss("the connection is known", goto="undnat"),
    tracks=True,
    realm=_realm,
)
