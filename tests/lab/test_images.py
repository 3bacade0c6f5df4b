"""The images' build files, carried out without an engine, and what docker-compose.yml starts, with the rights it gives.

A minimal Debian stands in for the base image, namespaces for containers; capabilities, devices, sysctls, mounts and
health checks are those of the compose file.
"""

from __future__ import annotations

import contextlib
import copy
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.conftest import PROJECT
from tests.lab.stand import until
from tests.rig.dockerfile import BASES, BuildError, Image, bootstrap, build
from tests.rig.services import Project, ServiceError
from topologies import netns

pytestmark = pytest.mark.skipif(shutil.which("debootstrap") is None, reason="debootstrap is not installed")

ALL_FRAMES = 3
"""ETH_P_ALL (packet(7))."""
VNI = {"green": 5010, "pink": 5020}
NETWORK = {"web1": "green", "web2": "pink", "web3": "green", "web4": "pink"}
SAME = [("web1", "web3"), ("web3", "web1"), ("web2", "web4"), ("web4", "web2")]
OTHER = [(one, other) for one in NETWORK for other in NETWORK if NETWORK[one] != NETWORK[other]]

HOLDER = """
import ast, pathlib, sys, time, yaml
from tests.rig.dockerfile import Image
from tests.rig.services import Project
root, place = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
images = {
    name: Image(pathlib.Path(at), dict(env), "/", user, entrypoint)
    for name, (at, user, env, entrypoint) in ast.literal_eval(sys.argv[3]).items()
}
project = Project(yaml.safe_load((place / "compose.yml").read_text()), images, root, place)
with project.up():
    print(project.mark, flush=True)
    time.sleep(3600)
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="tpi", dir="/tmp"))
    # The controller is not root, and goes through it.
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
    return document


@pytest.fixture(scope="module")
def images(place: Path, compose: dict[str, Any]) -> dict[str, Image]:
    """Name -> image, each built once from the same base."""
    base = place / "base"
    (suite,) = BASES.values()
    try:
        bootstrap(suite, base)
    except BuildError as error:
        pytest.skip(f"the base image cannot be had here: {error}")
    found: dict[str, Image] = {}
    for service in compose["services"].values():
        if "build" in service and service["image"] not in found:
            root = place / service["image"]
            root.mkdir()
            found[service["image"]] = build(PROJECT / service["build"]["dockerfile"], PROJECT, base, root)
    return found


@contextlib.contextmanager
def up(compose: dict[str, Any], images: dict[str, Image], place: Path) -> Iterator[Project]:
    logs = Path(tempfile.mkdtemp(prefix="run", dir=place))
    logs.chmod(0o755)
    project = Project(compose, images, PROJECT, logs)
    try:
        with project.up():
            yield project
    finally:
        assert [name for name in netns.names() if name.startswith(f"{project.mark}-")] == []
        assert all(s.process is None or s.process.poll() is not None for s in project.services.values())


@pytest.fixture(scope="module")
def running(compose: dict[str, Any], images: dict[str, Image], place: Path) -> Iterator[Project]:
    """Everything, with the policy in force as README has it, and every member on its port."""
    with up(compose, images, place) as project:
        controller = project.services["controller"]
        applied = controller.do("tripoint", "policy", "apply", "/etc/tripoint/policy.yaml")
        assert applied.returncode == 0, applied.stdout + applied.stderr
        until(lambda: all(pings(project, a, b) for a, b in SAME), f"an overlay: {controller.said}", timeout_s=30)
        yield project


def address(project: Project, name: str) -> str:
    return str(project.services[name].settings["environment"]["ADDRESS"]).partition("/")[0]


def mac(project: Project, name: str) -> bytes:
    return bytes.fromhex(project.services[name].settings["environment"]["MAC"].replace(":", ""))


def ping(project: Project, source: str, target: str, *options: str) -> subprocess.CompletedProcess[str]:
    words = ("ping", "-c2", "-i0.1", "-W1", *options, address(project, target))
    return project.services[source].do(*words)


def pings(project: Project, source: str, target: str, *options: str) -> bool:
    """Both answered, or neither; anything else fails the test."""
    done = ping(project, source, target, *options)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return " 2 received" in done.stdout


class Listener:
    """Every frame that a device gets or sends, from when it is made."""

    def __init__(self, namespace: str, device: str) -> None:
        with netns.inside(namespace):
            self.handle = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_FRAMES))
        self.handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.handle.bind((device, ALL_FRAMES))
        self.handle.setblocking(False)

    def frames(self) -> list[bytes]:
        """Those since the last call."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.handle.recv(65535))
        return found


def test_an_image_holds_what_it_is_for_and_nothing_of_the_checkout_beside(images: dict[str, Image]) -> None:
    controller, host = images["tripoint-controller"].root, images["tripoint-host"].root
    assert (controller / "opt/tripoint/.venv/bin/ryu-manager").exists()
    assert (host / "usr/sbin/ovs-vswitchd").exists()
    assert not (controller / "opt/tripoint/tests").exists()
    assert list((controller / "opt/tripoint/controller").rglob("__pycache__")) == []
    assert [root for root in (controller, host) if (root / "run/machine").exists()] == []


def test_members_of_one_network_reach_each_other_across_the_hosts(running: Project) -> None:
    assert all(pings(running, source, target) for source, target in SAME)


def test_the_largest_packet_passes_and_a_larger_one_is_refused_by_its_sender(running: Project) -> None:
    assert pings(running, "web1", "web3", "-Mdo", "-s1422")  # with 28 bytes of headers, 1450
    assert "message too long" in ping(running, "web1", "web3", "-Mdo", "-s1423").stderr.lower()


def test_networks_do_not_meet(running: Project) -> None:
    """Not one frame: web2 and web4 are listened at while web1 and web3 try, and heard where they may be."""
    ears = {name: Listener(running.services[name].namespace, "eth0") for name in NETWORK}
    macs = {
        name: bytes.fromhex(running.services[name].settings["environment"]["MAC"].replace(":", "")) for name in ears
    }
    assert [(a, b) for a, b in OTHER if pings(running, a, b)] == []
    assert all(pings(running, source, target) for source, target in SAME)
    for name, ear in ears.items():
        senders = {frame[6:12] for frame in ear.frames()}
        kin = {macs[other] for other in NETWORK if NETWORK[other] == NETWORK[name]}
        assert senders >= kin, f"{name} was not listening"
        assert senders & (set(macs.values()) - kin) == set(), name


def test_the_underlay_carries_each_network_under_its_own_vni(running: Project) -> None:
    ear = Listener(f"{running.mark}-underlay", "boxA")
    assert all(pings(running, source, target) for source, target in SAME)
    seen: dict[int, set[bytes]] = {}
    for frame in ear.frames():
        # IPv4 without options, UDP to 4789, then VXLAN (RFC 7348 section 5) and the inner frame.
        if frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_UDP and frame[36:38] == (4789).to_bytes(2):
            seen.setdefault(int.from_bytes(frame[46:49]), set()).add(frame[56:62])
        else:
            assert frame[12:14] == b"\x08\x06", f"neither VXLAN nor ARP: {frame.hex()}"
    for network, vni in VNI.items():
        assert seen[vni] == {mac(running, name) for name in NETWORK if NETWORK[name] == network}
    # 0 is the tunnel's own: BFD (RFC 5880).
    assert set(seen) <= {0, *VNI.values()}


def test_a_member_that_comes_back_is_plugged_in_again(running: Project) -> None:
    member = running.services["web3"]
    running.stop(member)
    # The kernel takes a namespace away a little later.
    until(lambda: not pings(running, "web1", "web3"), "web3 gone")
    running.start_again(member)
    until(lambda: pings(running, "web1", "web3"), "web3 after its return", timeout_s=20)


def test_status_says_that_all_is_in_force(running: Project) -> None:
    done = running.services["controller"].do("tripoint", "status")
    assert done.returncode == 0, done.stdout
    assert "in force on 2 of 2 connected bridges" in done.stdout
    assert "warning" not in done.stdout
    assert "error" not in done.stdout


def processes(namespace: str) -> list[str]:
    return netns.run(["ip", "netns", "pids", namespace]).split()


def test_nothing_outlives_whoever_has_it_up(
    compose: dict[str, Any], images: dict[str, Image], place: Path, tmp_path: Path
) -> None:
    """Not even the controller, which is another user, and a member, which is in another's process namespace."""
    (tmp_path / "compose.yml").write_text(yaml.safe_dump(compose))
    found = {name: (str(image.root), image.user, image.env, image.entrypoint) for name, image in images.items()}
    words = [sys.executable, "-c", HOLDER, str(PROJECT), str(tmp_path), repr(found)]
    holder = subprocess.Popen(words, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        mark = holder.stdout.readline().strip()
        spaces = [name for name in netns.names() if name.startswith(f"{mark}-")]
        assert mark
        assert all(processes(name) for name in spaces if not name.endswith(("-management", "-underlay")))
    finally:
        holder.kill()
        holder.wait()
    until(lambda: not any(processes(name) for name in spaces), "the end of all processes")
    for name in spaces:
        netns.run(["ip", "netns", "delete", name])


# -- fewer rights do not do ------------------------------------------------------------------------------------------


def alone(compose: dict[str, Any], name: str, without: str) -> dict[str, Any]:
    """The compose file with this service only, and what it depends on, less a capability or its device."""
    fewer = copy.deepcopy(compose)
    wanted = {name, *fewer["services"][name].get("depends_on", {})}
    fewer["services"] = {key: value for key, value in fewer["services"].items() if key in wanted}
    service = fewer["services"][name]
    if without == "devices":
        del service["devices"]
    else:
        service["cap_add"] = [cap for cap in service["cap_add"] if cap != without]
    return fewer


@pytest.mark.parametrize(
    ("name", "without"), [("boxA", "NET_ADMIN"), ("boxA", "NET_RAW"), ("boxA", "devices"), ("web1", "NET_ADMIN")]
)
def test_a_service_without_one_of_its_rights_does_not_come_up(
    compose: dict[str, Any], images: dict[str, Image], place: Path, name: str, without: str
) -> None:
    with pytest.raises(ServiceError, match=rf"^{name} ended"), up(alone(compose, name, without), images, place):
        pass
