"""Where every endpoint is, as people and programs are told of it. PURE."""

from __future__ import annotations

from collections.abc import Mapping

from controller.control import Binding, PortsAs
from controller.inventory import Bindings
from controller.policy.model import Dpid, Policy


def view_bindings(policy: Policy, bindings: Bindings, names: Mapping[Dpid, str]) -> list[Binding]:
    """names: of the bridges that are known; one that has just gone may be forgotten before all is bound again."""
    found: list[Binding] = []
    for endpoint in policy.endpoints.values():
        dpid = bindings.home.get(endpoint.name)
        if dpid is None:
            found.append(Binding(endpoint.name, endpoint.place, PortsAs.ABSENT, None, None, None))
            continue
        rivals = tuple(f"{rival:016x}" for rival in bindings.rivals.get(endpoint.name, ()))
        state = PortsAs.RIVAL if rivals else PortsAs.BOUND
        ofport = bindings.seats[dpid][endpoint.name]
        found.append(Binding(endpoint.name, endpoint.place, state, f"{dpid:016x}", names.get(dpid), ofport, rivals))
    return found
