"""TCP between two members of a network that stand on one bridge after the other, round after round. I/O.

The same two cables are moved from one bridge to the other and back, so that whatever else the machine does meets all
bridges alike.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping

from tests.bench.policies import Document
from tests.rig.controller import Controller, wait_until
from tests.rig.host import BRIDGE, Host, host
from topologies.netns import run as command

SECONDS = 2
ATTEMPTS = 3
"""Where the machine is very busy, iperf3 may end without having heard how much arrived."""
MEMBERS = {"web1": ("02:00:00:00:00:01", "10.0.0.1"), "web2": ("02:00:00:00:00:02", "10.0.0.2")}


def measure(policy: Mapping[str, object], plain: Mapping[str, str], rounds: int) -> dict[str, list[float]]:
    """Gbit/s that arrive, by bridge: of BRIDGE under the policy, and of each plain one, which has these flows."""
    with host() as machine:
        at = {name: machine.add_member(name, mac, f"{ip}/24") for name, (mac, ip) in MEMBERS.items()}
        machine.add_bridge({}, settings=("fail_mode=secure",))
        for name, flows in plain.items():
            machine.add_bridge({}, name=name)
            machine.ofctl("replace-flows", "-", bridge=name, stdin=flows)
        controller = Controller(machine)
        controller.start()
        controller.rest.ask("PUT", "/v1/policy", policy)
        machine.attach()
        server = machine.launch("iperf3", ["ip", "netns", "exec", at["web2"], "iperf3", "-s"])
        rates: dict[str, list[float]] = {BRIDGE: [], **{name: [] for name in plain}}
        for _ in range(rounds):
            for bridge, found in rates.items():
                _move(machine, bridge)
                if bridge == BRIDGE:
                    wait_until(lambda: _bound(controller), 10, "the members are not bound")
                assert server.alive
                found.append(_gbit_s(at["web1"]))
    return rates


def network() -> Document:
    """Both in one network, without a word of rules."""
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
    for _ in range(ATTEMPTS):
        answer = json.loads(command([*words, "-t", str(SECONDS)], timeout_s=30))
        if "sum_received" in answer["end"]:
            return float(answer["end"]["sum_received"]["bits_per_second"]) / 1e9
    raise TimeoutError(f"iperf3 comes to no result: {answer}")
