"""A policy across many hosts that share networks with most others: to in force everywhere, and one move. I/O."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median
from typing import Any

from tests.bench import policies
from tests.bench.row import Row
from tests.bench.simulated import Simulated, quiet_down
from tests.bench.spread import spread
from tests.rig.controller import Rest, wait_until

ENDPOINTS, NETWORKS = 1000, 50
MOVES = 20
WHOLE_S, MOVE_S = 10.0, 0.100
WITHIN_S = 120.0


class Fleet:
    """hosts: those of `simulated`, none of which has a bridge yet."""

    def __init__(self, rest: Rest, hosts: list[Simulated]) -> None:
        self.rest, self.hosts = rest, hosts
        self.plain = self.document()

    def run(self) -> Iterator[Row]:
        yield from self.whole()
        yield from self.moved(same=True)
        yield from self.moved(same=False)

    # -- the policy

    def document(self) -> dict[str, Any]:
        hosts = {
            one.name: {**one.document(), "vtep": f"10.255.0.{number + 1}"} for number, one in enumerate(self.hosts)
        }
        return {
            "apiVersion": "tripoint/v1",
            "hosts": hosts,
            # In a simulation of many hosts on one machine, their watching of each other would be most of its load.
            "overlay": {"type": "vxlan", "bfd": False},
            "networks": {f"net{i}": {"vni": 5000 + i, "cidrs": [f"10.{i}.0.0/16"]} for i in range(NETWORKS)},
            "endpoints": {f"web{i}": self.endpoint(i) for i in range(ENDPOINTS)},
        }

    def endpoint(self, i: int) -> dict[str, object]:
        """The members of a network are on hosts that differ from network to network."""
        network, member = i % NETWORKS, i // NETWORKS
        return {
            "network": f"net{network}",
            "host": f"h{(member * 7 + network) % len(self.hosts)}",
            "port": f"p{i}",
            "mac": f"02:00:00:00:{i >> 8:02x}:{i & 255:02x}",
            "ips": [f"10.{network}.1.{member + 1}"],
        }

    # -- whole

    def whole(self) -> Iterator[Row]:
        body = policies.bodies(self.plain)["JSON"]
        began = time.monotonic()
        answer = self.rest.ask("PUT", "/v1/policy", body.data, body.media_type)
        answered_s = time.monotonic() - began
        wait_until(self.all_in_force, WITHIN_S, self.lacking)
        took_s = time.monotonic() - began
        flows, tunnels = self.check()
        measured = f"{took_s:.2f} s ({flows:,} flows, {tunnels:,} tunnels; answered after {answered_s:.2f} s as "
        measured += f"{'' if answer['in_force'] else 'not yet '}in force)"
        what = f"{len(self.hosts)} hosts, {ENDPOINTS:,} endpoints in {NETWORKS} networks, from PUT to in force on every"
        what += " host and every endpoint bound; no bridge before"
        yield Row(what, measured, f"<= {WHOLE_S:g} s", took_s <= WHOLE_S)
        quiet_down(self.hosts)

    def all_in_force(self) -> bool:
        status = self.rest.status()
        bridges = [one for one in status["bridges"] if one["connected"] and one["in_force"] == status["revision"]]
        hosts = [one for one in status["hosts"] if one["in_force"]]
        if not status["in_force"] or len(bridges) != len(self.hosts) or len(hosts) != len(self.hosts):
            return False
        return all(one["state"] == "bound" for one in self.bindings().values())

    def bindings(self) -> dict[str, Any]:
        return {one["endpoint"]: one for one in self.rest.ask("GET", "/v1/bindings")["bindings"]}

    def lacking(self) -> str:
        status = self.rest.status()
        lacking = [(one["name"], one["error"]) for one in status["hosts"] if not one["in_force"]]
        lacking += [(one["name"], one["last_error"]) for one in status["bridges"] if one["in_force"] is None]
        return f"revision {status['revision']} is not in force: {lacking[:5]}"

    def check(self) -> tuple[int, int]:
        """What the switches say: each has all the flows that the controller wants. How many there are, and tunnels."""
        views = {one["name"]: one for one in self.rest.ask("GET", "/v1/hosts")["hosts"]}
        desired = {one["dpid"]: one["flows_desired"] for one in self.rest.status()["bridges"]}
        flows = 0
        for one in self.hosts:
            count = one.n_flows()
            assert count == desired[views[one.name]["dpid"]] > 0, (one.name, count)
            flows += count
        return flows, sum(len(view["tunnels"]) for view in views.values())

    # -- one endpoint

    def moved(self, *, same: bool) -> Iterator[Row]:
        """same: to a host that has a member of its network already; else to one that has none, and needs tunnels."""
        took: list[float] = []
        early = 0
        dpids = {one["name"]: one["dpid"] for one in self.rest.ask("GET", "/v1/hosts")["hosts"]}
        for number in range(MOVES):
            i = number * 37 % ENDPOINTS
            target = self.target(i, same=same)
            value = {**self.endpoint(i), "host": target}
            began = time.monotonic()
            answer = self.rest.ask("PUT", f"/v1/endpoints/web{i}", value)
            took_s = time.monotonic() - began
            # The answer counts only if it was so by then; else the moment when it is found to be so.
            if not self.is_at(i, dpids[target]):
                wait_until(lambda n=i, d=dpids[target]: self.is_at(n, d), WITHIN_S, self.lacking)
                took_s, early = time.monotonic() - began, early + answer["in_force"]
            took.append(took_s)
            self.rest.ask("PUT", f"/v1/endpoints/web{i}", self.endpoint(i))
            wait_until(self.all_in_force, WITHIN_S, self.lacking)
            quiet_down(self.hosts, share=0.3, every_s=0.2)
        self.check()
        where = "has members of its network" if same else "has none of its network, so that tunnels may be needed"
        what = f"one endpoint moved to another of {len(self.hosts)} hosts, which {where}, from PUT to in force on all"
        target = f"<= {MOVE_S * 1000:g} ms" if same else ""
        measured = f"{spread(took, 1000)}; answered as in force before it was so: {early} of {MOVES}"
        yield Row(what, measured, target, median(took) <= MOVE_S)

    def target(self, i: int, *, same: bool) -> str:
        """Another host than the endpoint's."""
        network, own = i % NETWORKS, self.endpoint(i)["host"]
        members = [self.endpoint(j)["host"] for j in range(network, ENDPOINTS, NETWORKS)]
        names = (one.name for one in self.hosts)
        return next(name for name in names if name != own and (name in members) is same)

    def is_at(self, i: int, dpid: str) -> bool:
        """In force everywhere, with the endpoint on that bridge."""
        status = self.rest.status()
        if not status["in_force"] or any(one["in_force"] != status["revision"] for one in status["bridges"]):
            return False
        return bool(self.bindings()[f"web{i}"]["dpid"] == dpid)
