"""What the command line prints for people: answers of the REST API as aligned tables and plain sentences. PURE.

Every function takes the JSON of an answer as docs/REST.md describes it, and yields lines. Text that came from elsewhere
(names of bridges, messages of switches) is stripped of control characters, so that it cannot drive the terminal.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from controller.errors import Problem

Json = Mapping[str, Any]

GRID_MAX = 12
"""Up to this many endpoints a matrix is printed as a grid; beyond, a line each."""
_PAIRS_SHOWN = 20


def clean(value: object) -> str:
    """One line of text without anything that a terminal obeys."""
    text = "-" if value is None else {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    return "".join(" " if unicodedata.category(each) in ("Cc", "Cf", "Zl", "Zp") else each for each in text)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Left-aligned columns, two spaces apart; numbers to the right."""
    rows = list(rows)
    lines = [list(head), *([clean(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    numeric = [bool(rows) and all(type(row[column]) is int for row in rows) for column in range(len(head))]
    for line in lines:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        yield "  ".join(cells).rstrip()


def problem(found: Problem) -> str:
    """`path: message (hint)`."""
    return clean(str(found))


def status(answer: Json) -> Iterator[str]:
    bridges = answer["bridges"]
    connected = [bridge for bridge in bridges if bridge["connected"]]
    in_force = [bridge for bridge in connected if bridge["in_force"] == answer["revision"]]
    yield f"revision {answer['revision']}, in force on {len(in_force)} of {len(connected)} connected bridges"
    if bridges:
        yield ""
        yield from table(
            (
                "BRIDGE", "DPID", "PEER", "CONNECTED", "IN FORCE",
                "DESIRED", "INSTALLED", "ADDED", "REMOVED", "FOREIGN", "FAIL MODE",
            ),
            (
                (
                    bridge["name"], bridge["dpid"], bridge["peer"], bridge["connected"], bridge["in_force"],
                    bridge["flows_desired"], bridge["flows_installed"], bridge["flows_added"], bridge["flows_removed"],
                    bridge["flows_foreign"], bridge["fail_mode"],
                )
                for bridge in bridges
            ),
        )  # fmt: skip
    else:
        yield "attach a bridge with: ovs-vsctl set-controller BRIDGE tcp:ADDRESS:6653"
    for bridge in bridges:
        if bridge["last_error"]:
            yield f"{clean(bridge['name'])}: error: {clean(bridge['last_error'])}"
        for warning in bridge["warnings"]:
            yield f"{clean(bridge['name'])}: warning: {clean(warning)}"
    for host in answer["hosts"]:
        yield from _host_troubles(host)
    for reason in answer["refused"]:
        yield f"refused: {clean(reason)}"


def _host_troubles(host: Json) -> Iterator[str]:
    """host: the short form that status has."""
    name, since = clean(host["name"]), clean(host["since"])
    if not host["connected"]:
        yield f"host {name}: no database since {since}: {clean(host['error'] or 'not tried yet')}"
    elif host["error"]:
        yield f"host {name}: error: {clean(host['error'])}"
    for warning in host["warnings"]:
        yield f"warning: {clean(warning)}"


def hosts(answer: Json) -> Iterator[str]:
    found = answer["hosts"]
    if not found:
        yield "the policy names no hosts"
        return
    yield from table(
        ("HOST", "DATABASE", "AS WANTED", "SINCE", "BRIDGE", "DPID", "CONNECTED", "VTEP", "TUNNELS UP", "PORTS"),
        (
            (
                host["name"], host["ovsdb"],
                None if host["status"] is None else host["status"]["connected"] and host["status"]["in_force"],
                None if host["status"] is None else host["status"]["since"],
                host["bridge"], host["dpid"], host["bridge_connected"], host["vtep"],
                f"{sum(1 for tunnel in host['tunnels'] if tunnel['up'])} of {len(host['tunnels'])}", len(host["ports"]),
            )
            for host in found
        ),
    )  # fmt: skip
    for host in found:
        if host["status"] is not None:
            yield from _host_troubles(host["status"])
        for tunnel in host["tunnels"]:
            if tunnel["up"] is False:
                peer = clean(tunnel["peer"] or tunnel["peer_ip"])
                yield f"host {clean(host['name'])}: the tunnel to {peer} is down: {clean(tunnel['diagnostic'] or '-')}"
        for sentence in host["corrected"]:
            yield f"host {clean(host['name'])}: {clean(sentence)}"
    mtus = {network: mtu for host in found for network, mtu in host["mtu"].items()}
    if mtus:
        yield "members' MTU: " + ", ".join(f"{clean(network)} {mtu}" for network, mtu in mtus.items())


def outcome(answer: Json) -> Iterator[str]:
    if not answer["changed"]:
        yield f"nothing to change: revision {answer['revision']} says the same"
    else:
        yield f"stored as revision {answer['revision']}"
    for host in answer["hosts"]:
        if not host["in_force"]:
            yield f"host {clean(host['name'])}: {clean(host['error'])}"
    if answer["mtu"]:
        yield "members' MTU: " + ", ".join(f"{clean(network)} {mtu}" for network, mtu in answer["mtu"].items())
    yield from warnings(answer["warnings"])
    bridges = answer["bridges"]
    if not bridges:
        yield "no bridge is connected; it comes into force on each that connects"
        return
    yield from table(
        ("BRIDGE", "DPID", "IN FORCE", "ADDED", "REMOVED", "WHY NOT"),
        (
            (
                bridge["name"], bridge["dpid"], bridge["in_force"], bridge["added"], bridge["removed"],
                bridge["error"] or ("" if bridge["in_force"] else "not known"),
            )
            for bridge in bridges
        ),
    )  # fmt: skip


def warnings(found: Iterable[Json]) -> Iterator[str]:
    for each in found:
        yield "warning: " + problem(Problem(each["path"], each["message"], each["hint"]))


def plan(answer: Json, with_flows: bool) -> Iterator[str]:
    yield f"against revision {answer['revision']}; nothing was changed"
    yield from warnings(answer["warnings"])
    if not plan_changes(answer):
        yield "no difference"
        return
    for bridge in answer["bridges"]:
        yield f"{clean(bridge['name'])} ({clean(bridge['dpid'])}): +{bridge['add']} -{bridge['remove']} flows"
        if with_flows:
            yield from _listed("  - ", bridge["removed"], bridge["remove"])
            yield from _listed("  + ", bridge["added"], bridge["add"])
    for host in answer["hosts"]:
        parts = [("+", host["made"]), ("-", host["removed"])]
        changes = " ".join(sign + ",".join(clean(port) for port in ports) for sign, ports in parts if ports)
        yield f"host {clean(host['name'])}: {changes or 'its bridge only'}"
    for sign, key in (("+", "members_added"), ("-", "members_removed"), ("~", "members_changed")):
        if answer[key]:
            yield f"members {sign} " + ", ".join(clean(name) for name in answer[key])
    for sign, key, words in (("+", "reachable", "become reachable"), ("-", "unreachable", "stop being reachable")):
        count = answer[f"{key}_count"]
        if count:
            yield f"pairs that {words}: {count}"
            shown = [f"{pair['source']} - {pair['target']} in {pair['network']}" for pair in answer[key]]
            yield from _listed(f"  {sign} ", shown[:_PAIRS_SHOWN], count)


def _listed(mark: str, lines: Sequence[str], count: int) -> Iterator[str]:
    for line in lines:
        yield mark + clean(line)
    if count > len(lines):
        yield f"{mark}... and {count - len(lines)} more (--json lists up to 1000)"


def plan_changes(answer: Json) -> bool:
    """Whether a plan changes anything: flows of a bridge, members, or who reaches whom."""
    counts = ("reachable_count", "unreachable_count")
    members = ("members_added", "members_removed", "members_changed")
    return (
        any(bridge["add"] or bridge["remove"] for bridge in answer["bridges"])
        or bool(answer["hosts"])
        or any(answer[key] for key in members)
        or any(answer[key] for key in counts)
    )


def bindings(answer: Json) -> Iterator[str]:
    yield from table(
        ("ENDPOINT", "PORT", "STATE", "BRIDGE", "DPID", "OFPORT", "ALSO SEEN ON"),
        (
            (
                item["endpoint"], item["port"], item["state"], item["bridge"], item["dpid"], item["ofport"],
                ", ".join(item["rivals"]),
            )
            for item in answer["bindings"]
        ),
    )  # fmt: skip


def revisions(answer: Json) -> Iterator[str]:
    yield from table(("REVISION", "STORED"), ((item["revision"], item["time"]) for item in answer["revisions"]))


def flows(answer: Json) -> Iterator[str]:
    """Two lines a flow: the policy sentence it comes from, and the flow."""
    for flow in answer["flows"]:
        state = {True: "", False: " [not installed]", None: " [not known to be installed]"}[flow["installed"]]
        yield clean(f"# {flow['bridge']} {flow['stage']} {flow['origin'] or '(always)'}: {flow['why']}{state}")
        yield clean(flow["text"])
    if answer["more"]:
        yield "# there are more; ask with --offset"


def rules(answer: Json) -> Iterator[str]:
    found = answer["rules"]
    if not found:
        yield "the policy has no rules"
        return
    yield from table(
        ("POSITION", "TIER", "RULE", "ACTION", "PACKETS", "BYTES"),
        (
            (rule["position"], rule["tier"], rule["name"], rule["action"], rule["packets"], rule["bytes"])
            for rule in found
        ),
    )
    if answer["silent"]:
        yield "not counted, for they do not answer: " + ", ".join(clean(name) for name in answer["silent"])


def rule_event(event: Json) -> Iterator[str]:
    """One line an event: when, where, which rule, what it does, and the packet with its ends."""
    icmp = "" if event["icmp"] is None else f" {event['icmp']}"
    ends = [
        _end(event[f"{side}_ip"], event[f"{side}_port"], event[name], event[network])
        for side, name, network in (("source", "origin", "network"), ("target", "target", "target_network"))
    ]
    line = f"{event['time']} {event['bridge']} {event['rule']} {event['action']}: {event['protocol']}{icmp}"
    suppressed = f" ({event['suppressed']} more were not written)" if event["suppressed"] else ""
    yield clean(f"{line} {ends[0]} > {ends[1]}{suppressed}")


def _end(address: str, port: int | None, endpoint: str | None, network: str | None) -> str:
    """One end of a connection: `web1 in green (192.0.2.1 port 80)`."""
    where = address if port is None else f"{address} port {port}"
    who = " in ".join(part for part in (endpoint, network) if part is not None)
    return f"{who} ({where})" if who else where


def matrix(answer: Json) -> Iterator[str]:
    """Who reaches whom: a grid of networks, or a line for each endpoint where a grid would be too wide."""
    names, reaches = answer["endpoints"], answer["reaches"]
    if len(names) <= GRID_MAX:
        rows = (
            (name, *("." if name == to else ",".join(reaches.get(name, {}).get(to, ())) or "-" for to in names))
            for name in names
        )
        yield from table(("FROM / TO", *(clean(name) for name in names)), rows)
    else:
        yield from table(("FROM", "REACHES"), ((name, _reached(reaches.get(name, {}))) for name in names))
    if answer["absent"]:
        yield ""
        yield "not connected now: " + ", ".join(clean(name) for name in answer["absent"])


def _reached(targets: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{target} ({','.join(networks)})" for target, networks in targets.items()) or "nobody"
