"""TCP between two members of one network: Tripoint's bridge against a plain bridge that learns MACs (NORMAL).

The same two cables are moved from one bridge to the other and back, round after round, so that whatever else the
machine does meets both alike.
"""

from __future__ import annotations

import json
import subprocess
from statistics import median

from tests.bench.row import Row
from tests.rig.controller import Controller, wait_until
from tests.rig.host import Host, host
from topologies.netns import run as command

ROUNDS = 9
SECONDS = 2
LEAST_RATIO = 0.95
MEMBERS = {"web1": ("02:00:00:00:00:01", "10.0.0.1"), "web2": ("02:00:00:00:00:02", "10.0.0.2")}
PLAIN = "br1"


def run() -> list[Row]:
    with host() as machine:
        at = {name: machine.add_member(name, mac, f"{ip}/24") for name, (mac, ip) in MEMBERS.items()}
        machine.add_bridge({}, settings=("fail_mode=secure",))
        machine.add_bridge({}, name=PLAIN)
        controller = Controller(machine)
        controller.start()
        controller.rest.ask("PUT", "/v1/policy", _policy())
        machine.attach()
        server = machine.launch("iperf3", ["ip", "netns", "exec", at["web2"], "iperf3", "-s"])
        rates: dict[str, list[float]] = {"br0": [], PLAIN: []}
        for _ in range(ROUNDS):
            for bridge, found in rates.items():
                _move(machine, bridge)
                if bridge == "br0":
                    wait_until(lambda: _bound(controller), 10, "the members are not bound")
                assert server.alive
                found.append(_gbit_s(at["web1"]))
    ratios = [ours / plain for ours, plain in zip(rates["br0"], rates[PLAIN], strict=True)]
    ours, plain = median(rates["br0"]), median(rates[PLAIN])
    measured = f"{median(ratios):.3f} times ({min(ratios):.2f} to {max(ratios):.2f}; {ours:.2f} and {plain:.2f} Gbit/s)"
    what = f"TCP between two members of a network, against a plain NORMAL bridge, {ROUNDS} rounds of {SECONDS} s each"
    return [Row(what, measured, f">= {LEAST_RATIO}", median(ratios) >= LEAST_RATIO)]


def _policy() -> dict[str, object]:
    return {
        "apiVersion": "tripoint/v1",
        "networks": {"green": {"vlan": 10, "cidrs": ["10.0.0.0/24"]}},
        "endpoints": {
            name: {"network": "green", "port": name, "mac": mac, "ips": [ip]} for name, (mac, ip) in MEMBERS.items()
        },
    }


def _move(machine: Host, bridge: str) -> None:
    """Both cables onto this bridge."""
    words: list[str] = []
    for name in MEMBERS:
        words += ["--", "--if-exists", "del-port", name, "--", "add-port", bridge, name]
    machine.switch.vsctl(*words[1:])


def _bound(controller: Controller) -> bool:
    status = controller.rest.status()
    answer = controller.rest.ask("GET", "/v1/bindings")
    bindings = answer["bindings"] if isinstance(answer, dict) else answer
    return bool(status["in_force"] and status["bridges"] and all(one["state"] == "bound" for one in bindings))


def _gbit_s(namespace: str) -> float:
    """What arrives of one TCP connection. A short one before it lets ARP, caches and windows settle."""
    words = ["ip", "netns", "exec", namespace, "iperf3", "-c", MEMBERS["web2"][1], "-J"]

    def connects() -> bool:
        return subprocess.run([*words, "-n", "1M"], capture_output=True, check=False).returncode == 0

    wait_until(connects, 10, "no connection")
    answer = json.loads(command([*words, "-t", str(SECONDS)], timeout_s=30))
    return float(answer["end"]["sum_received"]["bits_per_second"]) / 1e9
