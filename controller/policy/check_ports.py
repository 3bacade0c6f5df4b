"""One pass over all endpoints: what they name, and whose port is whose. PURE.

A few dict look-ups an endpoint, so that it is cheap enough to be made at every check.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from controller.errors import Problem
from controller.policy import rules
from controller.policy.check_network import at_network
from controller.policy.findings import Nearest
from controller.policy.load_peers import Names
from controller.policy.model import Endpoint, Interface, Policy


@dataclass(slots=True)
class Survey:
    """What one pass over all endpoints finds. sound: every network named is known.

    on_uplink: the endpoints on each port that an uplink is on.
    """

    problems: list[Problem] = field(default_factory=list)
    shared: list[Endpoint] = field(default_factory=list)
    sound: bool = True
    on_uplink: dict[str, list[Endpoint]] = field(default_factory=dict)


def survey(policy: Policy, known: Names) -> Survey:
    found, nearest = Survey(), Nearest()
    on_port: dict[str, Endpoint] = {}
    crowded: dict[str, list[Endpoint]] = {}
    networks, hosts = known.networks, policy.hosts
    router = policy.defaults.router_mac.value if any(n.routed for n in policy.networks.values()) else 0
    for endpoint in policy.endpoints.values():
        first = on_port.setdefault(endpoint.place, endpoint)
        if first is not endpoint:
            crowded.setdefault(endpoint.place, [first]).append(endpoint)
        if router and endpoint.mac is not None and endpoint.mac.value == router:
            found.problems.append(rules.ROUTER_MAC.problem(("endpoints", endpoint.name, "mac"), mac=endpoint.mac))
        names = endpoint.networks
        if len(names) > 1:
            found.shared.append(endpoint)
        for index, name in enumerate(names):
            if name not in networks:
                found.sound = False
                hint = nearest.hint("network", name, networks)
                found.problems.append(rules.UNKNOWN_NETWORK.problem(at_network(endpoint, index), hint, network=name))
        if endpoint.host is not None:
            host = hosts.get(endpoint.host)
            if host is None and endpoint.host not in known.hosts:
                at = ("endpoints", endpoint.name, "host")
                hint = nearest.hint("host", endpoint.host, known.hosts)
                found.problems.append(rules.UNKNOWN_HOST.problem(at, hint, host=endpoint.host))
            elif host is not None and host.trunk == endpoint.port:
                at = ("endpoints", endpoint.name, "port")
                found.problems.append(rules.TRUNK_PORT.problem(at, port=endpoint.port, host=host.name))
            elif endpoint.interface is Interface.INTERNAL and host is not None and host.ovsdb is None:
                at = ("endpoints", endpoint.name, "interface")
                found.problems.append(rules.NOT_MANAGED.problem(at, host=host.name))
    trunks = {host.trunk: host.name for host in policy.hosts.values() if host.trunk is not None}
    for port, host_name in trunks.items():
        holder = on_port.get(port)
        if holder is not None and holder.host is None:
            at = ("endpoints", holder.name, "port")
            found.problems.append(rules.TRUNK_PORT.problem(at, port=port, host=host_name))
    for uplink in policy.uplinks.values():
        if uplink.port in on_port:
            found.on_uplink[uplink.port] = crowded.get(uplink.port, [on_port[uplink.port]])
    for endpoints in crowded.values():
        found.problems += _check_port(endpoints)
    return found


def _check_port(endpoints: list[Endpoint]) -> Iterator[Problem]:
    """Endpoints on ports of one name: on one host each, and each of them says on which, or they clash."""
    by_host: dict[str | None, Endpoint] = {}
    for endpoint in endpoints:
        at, port = ("endpoints", endpoint.name, "port" if endpoint.port else "iface_id"), endpoint.place
        rival = by_host.get(endpoint.host)
        if rival is not None and endpoint.host is not None:
            yield rules.PORT_TAKEN.problem(at, other=rival.name, port=port, host=endpoint.host)
        elif by_host and (endpoint.host is None or None in by_host):
            other = by_host.get(None) or next(iter(by_host.values()))
            yield rules.PORT_TAKEN_ANYWHERE.problem(at, other=other.name, port=port)
        by_host.setdefault(endpoint.host, endpoint)
