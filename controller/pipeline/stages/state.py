"""What conntrack says: invalid packets end here, and the ends of a connection begin to be known. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow.actions import Action, Move, SetField
from controller.flow.fields import (
    ANSWERING,
    CT_STATE,
    ORIGIN_NETWORK,
    TARGET_NETWORK,
    ZONE,
    CtState,
    Slice,
)
from controller.flow.flow import Flow
from controller.pipeline.ip_fields import TRACKED, ct_state
from controller.pipeline.router_view import RealmView
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.pipeline.view import NetworkView
from controller.policy.tracking import REALM_ZONE

_DIRECTION = Slice("ct_rpl", CT_STATE, 3, 1)
"""The rpl bit of ct_state, which the next look-up in another zone overwrites."""
_NOTE_DIRECTION = Move(_DIRECTION, ANSWERING)


def _realm(emit: Emit, _: RealmView) -> Iterator[Flow]:
    yield emit(
        "invalid",
        (ct_state(CtState.INV),),
        origin="",
        why="conntrack knows no connection that this packet could be of, nor could it open one",
    )
    yield emit(
        "zone",
        (TRACKED, ZONE(REALM_ZONE)),
        (_NOTE_DIRECTION,),
        goto="origin",
        origin="",
        why="who is not known by address, between routed networks, is outside",
    )


def _network(emit: Emit, view: NetworkView) -> Iterator[Flow]:
    if view.judged is None:
        return
    number = view.network.number
    within: tuple[Action, ...] = (
        _NOTE_DIRECTION,
        SetField(ORIGIN_NETWORK.field, number),
        SetField(TARGET_NETWORK.field, number),
    )
    yield emit(
        "zone",
        (TRACKED, ZONE(view.judged.zone)),
        within,
        goto="origin",
        origin=view.origin,
        why="both ends of what is in the network's own zone are in the network",
    )


STATE = Stage(
    name="state",
    purpose="Invalid packets end here; where both ends of the connection are in one network, that is noted.",
    matches=frozenset({CT_STATE, ZONE.field}),
    reads=frozenset({CT_STATE}),
    writes=frozenset({ANSWERING.field, ORIGIN_NETWORK.field, TARGET_NETWORK.field}),
    next=("origin",),
    priorities={
        "invalid": Priority(300, "packets of no connection"),
        "zone": Priority(100, "connections in a zone"),
    },
    miss=Miss("the packet was not tracked"),
    realm=_realm,
    network=_network,
)
