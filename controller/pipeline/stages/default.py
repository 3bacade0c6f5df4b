"""What becomes of connections that no rule is about: by the networks of the two ends. PURE."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from controller.flow.fields import (
    CT_IPV6_DST,
    CT_NW_DST,
    CT_NW_PROTO,
    CT_STATE,
    CT_TP_DST,
    ETH_TYPE,
    ORIGIN_NETWORK,
    PUNTED,
    TARGET_NETWORK,
    Punt,
    Term,
)
from controller.flow.flow import Flow
from controller.pipeline.ip_fields import TRACKED, fields_of
from controller.pipeline.punting import hand_over
from controller.pipeline.router_view import Led, RealmView
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.pipeline.view import NetworkView
from controller.policy.firewall import Decision

OUTSIDE = 0
"""What stands in the place of a network's number for the outside."""


def _decide(emit: Emit, priority: str, match: tuple[Term, ...], decision: Decision, origin: str, why: str) -> Flow:
    match decision:
        case Decision.ALLOW:
            return emit(priority, match, goto="commit", origin=origin, why=why)
        case Decision.DROP:
            return emit(priority, match, origin=origin, why=why)
        case Decision.REJECT:
            return emit(priority, match, hand_over(Punt.REJECT), origin=origin, why=why)
        case never:
            assert_never(never)


def _realm(emit: Emit, view: RealmView) -> Iterator[Flow]:
    for origin, target, decision in view.pairs:
        yield _decide(
            emit,
            "pair",
            (ORIGIN_NETWORK(origin), TARGET_NETWORK(target)),
            decision,
            "/defaults/pairs",
            f"the default of this pair of networks is to {decision.value}",
        )
    for led in view.led:
        yield _led(emit, led)
    yield emit(
        "network",
        (ORIGIN_NETWORK(OUTSIDE), TARGET_NETWORK(OUTSIDE)),
        origin="",
        why="nothing passes through from outside to outside",
    )
    for term in (ORIGIN_NETWORK(OUTSIDE), TARGET_NETWORK(OUTSIDE)):
        yield emit("outside", (term,), origin="", why="the outside may not open this, and rewrites do not lead here")
    yield _decide(
        emit,
        "between",
        (),
        view.between,
        "/defaults/inter_network",
        f"the default between two networks is to {view.between.value}",
    )


def _network(emit: Emit, view: NetworkView) -> Iterator[Flow]:
    if view.judged is None:
        return
    number, judged = view.network.number, view.judged
    decisions = [
        (number, number, judged.within, "within the network"),
        (number, OUTSIDE, Decision.ALLOW, "from the network to the outside"),
        (OUTSIDE, number, judged.inwards, "from the outside to the network"),
    ]
    for origin, target, decision, where in decisions[: 3 if view.router is not None else 1]:
        if decision is not None:
            match = (ORIGIN_NETWORK(origin), TARGET_NETWORK(target))
            why = f"{where} the default is to {decision.value}"
            yield _decide(emit, "network", match, decision, view.origin, why)


def _led(emit: Emit, led: Led) -> Flow:
    """What a rewrite leads in is not refused for want of a rule, on whichever host the member is."""
    fields = fields_of(led.address)
    match: tuple[Term, ...] = (
        ORIGIN_NETWORK(OUTSIDE),
        TARGET_NETWORK(led.network),
        TRACKED,
        fields.is_it,
        fields.target(int(led.address)),
    )
    if led.protocol is not None:
        match = (*match, CT_NW_PROTO(led.protocol), CT_TP_DST(led.l4_port or 0))
    return emit("led", match, goto="commit", origin=led.origin, why="a rewrite leads here from the outside")


DEFAULT = Stage(
    name="default",
    purpose="No rule was about the connection: the networks of its two ends decide.",
    matches=frozenset(
        {
            CT_IPV6_DST,
            CT_NW_DST,
            CT_NW_PROTO,
            CT_STATE,
            CT_TP_DST,
            ETH_TYPE,
            ORIGIN_NETWORK.field,
            TARGET_NETWORK.field,
        }
    ),
    writes=frozenset({PUNTED.field}),
    next=("commit",),
    priorities={
        "pair": Priority(500, "a pair of networks with a default of its own"),
        "led": Priority(400, "from the outside to where a rewrite leads"),
        "network": Priority(300, "within a network, and between it and the outside"),
        "outside": Priority(200, "anything else from or to the outside"),
        "between": Priority(100, "any other two networks"),
    },
    miss=Miss("nothing says that it may pass"),
    punts=True,
    realm=_realm,
    network=_network,
)
