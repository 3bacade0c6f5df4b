"""Hosts whose bridges the controller makes by way of their databases: what the runner does for them. I/O.

The policy in a lab file names a host's database by the host's node; here it gets the sockets of the lab at hand, and
what only this machine knows. What the controller offers as MTU is set on the members' cables, as a person would.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from topologies import netns, ovs
from topologies.ovs import switch_of
from topologies.records import Record
from topologies.rest import Rest
from topologies.spec import Bridge, End, Lab


def with_sockets(policy: Mapping[str, object], record: Record) -> dict[str, object]:
    """The policy with the sockets of this lab: `ovsdb: unix:NODE` of a host is the database of that node.

    A host whose bridge is managed also gets, where it does not say otherwise, the way to the controller (its namespace
    has none) and the datapath that the kernel allows. `from:NODE` gets a system-id that no other lab has.
    """
    lab, found, hosts = record.lab, dict(policy), policy.get("hosts")
    if isinstance(hosts, dict):
        found["hosts"] = {name: _with_sockets(host, lab, record) for name, host in hosts.items()}
    return found


def system_id(record: Record, node: str) -> str:
    return f"{record.id}-{node}"


def _with_sockets(host: object, lab: Lab, record: Record) -> object:
    if not isinstance(host, dict):
        return host
    kind, _, node = str(host.get("ovsdb", "")).partition(":")
    if node not in record.namespaces or kind not in ("unix", "from"):
        return host
    switch = switch_of(record, node)
    remote = switch.database if kind == "unix" else f"from:{system_id(record, node)}"
    defaults: dict[str, object] = {}
    bridge = lab.bridges.get(str(host.get("bridge")))
    if bridge is not None and bridge.managed:
        defaults = {
            "controller": f"unix:{switch.controller_socket(bridge.name)}",
            "datapath_type": ovs.datapath_type(),
        }
    return {**defaults, **host, "ovsdb": remote}


def _managed(lab: Lab) -> Iterator[tuple[str, Bridge]]:
    """(host in the policy, bridge)"""
    hosts = lab.policy.get("hosts") if lab.policy is not None else None
    for name, host in hosts.items() if isinstance(hosts, dict) else ():
        bridge = lab.bridges.get(str(host.get("bridge"))) if isinstance(host, dict) else None
        if bridge is not None and bridge.managed:
            yield str(name), bridge


def calling(lab: Lab) -> list[str]:
    """The nodes of the hosts that connect to the controller by themselves."""
    hosts = lab.policy.get("hosts") if lab.policy is not None else None
    said = [str(host.get("ovsdb", "")) for host in hosts.values() if isinstance(host, dict)] if hosts else []
    return [word.removeprefix("from:") for word in said if word.startswith("from:")]


def call(record: Record, remote: str) -> None:
    """Lets those hosts connect to `remote`, as a person would there. Raises NetworkError."""
    for node in calling(record.lab):
        identity = f'external_ids:system-id="{system_id(record, node)}"'
        switch_of(record, node).vsctl("set", "Open_vSwitch", ".", identity, "--", "set-manager", remote)


def find_bridges(rest: Rest, record: Record) -> list[str]:
    """Notes the datapath ids of the managed bridges that have come; of others, a sentence each. Raises RestError."""
    wanted = dict(_managed(record.lab))
    if not wanted:
        return []
    found = {host["name"]: host for host in rest.hosts()}
    lacking = []
    for name, bridge in wanted.items():
        host = found.get(name)
        if host is not None and host["bridge_connected"]:
            record.dpids[bridge.name] = str(host["dpid"])
        else:
            why = ((host or {}).get("status") or {}).get("error") or "nothing said why"
            lacking.append(f"bridge {bridge.name} of host {name} does not come: {why}")
    return lacking


def fit_mtus(lab: Lab, record: Record, mtus: Mapping[str, int]) -> None:
    """Sets what each network's members may send on both ends of their cables. mtus: network -> bytes.

    Raises NetworkError.
    """
    endpoints = lab.policy.get("endpoints") if lab.policy is not None else None
    lines: dict[str, list[str]] = {}
    for endpoint in endpoints.values() if isinstance(endpoints, dict) else ():
        if not isinstance(endpoint, dict):
            continue
        networks = endpoint.get("networks") or [endpoint.get("network")]
        fits = min((mtus[name] for name in networks if name in mtus), default=None)
        for end in _ends_of(lab, endpoint) if fits is not None else ():
            for namespace, device in _devices(lab, record, end):
                lines.setdefault(namespace, []).append(f"link set dev {device} mtu {fits}")
    for namespace, of_one in lines.items():
        netns.batch(of_one, namespace)


def _ends_of(lab: Lab, endpoint: Mapping[str, object]) -> Iterator[End]:
    """The ports of bridges that an endpoint may be on, by the port's name and the host's."""
    hosts = lab.policy.get("hosts") if lab.policy is not None else None
    host = hosts.get(endpoint.get("host")) if isinstance(hosts, dict) else None
    bridge = host.get("bridge") if isinstance(host, dict) else None
    for link in lab.links:
        for end in (link.a, link.b):
            if end.owner in lab.bridges and end.name == endpoint.get("port") and bridge in (None, end.owner):
                yield end


def _devices(lab: Lab, record: Record, end: End) -> Iterator[tuple[str, str]]:
    """(namespace, device) of both ends of a cable, with the VLANs that a member ends itself."""
    yield record.namespaces[lab.bridges[end.owner].node], end.name
    other = lab.other_end(end)
    if other is None or other.owner not in lab.nodes:
        return
    yield record.namespaces[other.owner], other.name
    for face in lab.nodes[other.owner].interfaces:
        if face.name == other.name:
            for sub in face.tagged:
                yield record.namespaces[other.owner], f"{face.name}.{sub.vid}"
