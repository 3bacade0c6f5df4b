"""docker-compose.yml and what belongs to it: valid, at one with the policy, with the rights it needs and no more."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.policy.check import check
from controller.policy.load import load
from controller.policy.parse import parse_document
from tests.rig.dockerfile import BuildError, parse

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
POLICY: dict[str, Any] = yaml.safe_load((ROOT / "containers" / "policy.yaml").read_text())
HOSTS = {name: service for name, service in SERVICES.items() if name in POLICY["hosts"]}
MEMBERS = {name: service for name, service in SERVICES.items() if "pid" in service}
BUILD_FILES = sorted({service["build"]["dockerfile"] for service in SERVICES.values() if "build" in service})


def complaints(document: object, place: Path) -> str:
    """What the compose specification's schema has against it; "" is nothing."""
    path = place / "docker-compose.json"
    path.write_text(json.dumps(document))
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout + done.stderr if done.returncode else ""


def test_the_compose_specification_accepts_the_file(tmp_path: Path) -> None:
    assert complaints(COMPOSE, tmp_path) == ""


def test_the_compose_specification_would_refuse_a_mistake(tmp_path: Path) -> None:
    document = copy.deepcopy(COMPOSE)
    document["services"]["boxA"]["cap_adds"] = ["NET_ADMIN"]
    assert "cap_adds" in complaints(document, tmp_path)


def test_there_is_a_controller_with_hosts_and_their_members() -> None:
    assert set(SERVICES) == {"controller", *HOSTS, *MEMBERS}
    assert set(HOSTS) == set(POLICY["hosts"])
    assert set(MEMBERS) == set(POLICY["endpoints"])
    assert len(HOSTS) == 2


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_the_rights_it_needs_and_no_more(name: str) -> None:
    """That fewer do not do is shown in tests/lab/test_images.py."""
    service = SERVICES[name]
    needed = {"NET_ADMIN", "NET_RAW"} if name in HOSTS else {"NET_ADMIN"} if name in MEMBERS else set()
    assert service["cap_drop"] == ["ALL"]
    assert set(service.get("cap_add", [])) == needed
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert service.get("devices", []) == (["/dev/net/tun:/dev/net/tun"] if name in HOSTS else [])
    refused = {"privileged", "userns_mode", "ipc", "cgroup", "device_cgroup_rules", "ports", "volumes_from"}
    assert refused & set(service) == set()
    assert service.get("network_mode", "none") == "none"
    assert all(mount.endswith(":ro") or "/" not in mount.split(":")[0] for mount in service.get("volumes", []))


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_has_no_way_out_but_its_host(name: str) -> None:
    member, endpoint = MEMBERS[name], POLICY["endpoints"][name]
    assert member["network_mode"] == "none"
    assert member["pid"] == f"service:{endpoint['host']}"
    assert member["depends_on"] == {endpoint["host"]: {"condition": "service_healthy", "restart": True}}
    assert member["command"] == [endpoint["port"]]
    assert member["environment"]["MAC"] == endpoint["mac"]
    address = ip_interface(member["environment"]["ADDRESS"])
    assert [str(address.ip)] == endpoint["ips"]
    assert POLICY["networks"][endpoint["network"]]["cidrs"] == [str(address.network)]


@pytest.mark.parametrize("name", HOSTS)
def test_a_host_is_where_the_policy_says(name: str) -> None:
    host, wanted = HOSTS[name], POLICY["hosts"][name]
    attached = {network: wish["ipv4_address"] for network, wish in host["networks"].items()}
    environment = host["environment"]
    assert attached == {"management": environment["MANAGEMENT"], "underlay": environment["VTEP"]}
    assert wanted["ovsdb"] == f"tcp:{environment['MANAGEMENT']}:6640"
    assert wanted["vtep"] == environment["VTEP"]
    # The userspace datapath: the machine's kernel has no say in it.
    assert wanted["datapath_type"] == "netdev"
    controller = SERVICES["controller"]["networks"]["management"]["ipv4_address"]
    assert wanted["controller"] == f"tcp:{controller}:6653"
    assert environment["MTU"] == "1450"  # 1500, less 50 for VXLAN over IPv4 (RFC 7348 section 5)


def test_addresses_lie_in_their_networks_and_are_given_once() -> None:
    given = [wish["ipv4_address"] for s in SERVICES.values() for wish in s.get("networks", {}).values()]
    assert len(given) == len(set(given)) == 5
    for service in SERVICES.values():
        for network, wish in service.get("networks", {}).items():
            (subnet,) = COMPOSE["networks"][network]["ipam"]["config"]
            assert ip_interface(wish["ipv4_address"]) in ip_network(subnet["subnet"])
            assert wish["ipv4_address"] != subnet["gateway"]


def test_nothing_leaves_the_networks() -> None:
    assert all(network["internal"] is True for network in COMPOSE["networks"].values())


def test_the_controller_answers_rest_to_itself_only() -> None:
    command = SERVICES["controller"]["command"]
    assert command[command.index("--wsapi-host") + 1] == "127.0.0.1"


def test_every_image_is_built_by_some_service() -> None:
    assert {s["image"] for s in SERVICES.values()} == {s["image"] for s in SERVICES.values() if "build" in s}


def test_the_policy_is_one() -> None:
    policy = load(parse_document((ROOT / "containers" / "policy.yaml").read_bytes(), "application/yaml"))
    assert check(policy) == ()
    assert len({network.vni for network in policy.networks.values()}) == 2


@pytest.mark.parametrize("name", BUILD_FILES)
def test_a_build_file_is_one_and_what_it_copies_is_there(name: str) -> None:
    steps = parse((ROOT / name).read_text(), name)
    copied = [source for step in steps if step.word == "COPY" for source in step.rest.split()[:-1]]
    assert [source for source in copied if not (ROOT / source).exists()] == []
    assert steps[-1].word == "ENTRYPOINT"


@pytest.mark.parametrize("script", ["host", "member"])
def test_an_entry_point_can_be_run(script: str) -> None:
    path = ROOT / "containers" / script
    assert path.stat().st_mode & 0o111 == 0o111
    subprocess.run(["bash", "-n", path], check=True)


def test_continued_lines_of_a_build_file_are_one_instruction() -> None:
    steps = parse("FROM debian:12-slim\n# why\nRUN a \\\n    # not the shell's\n    && b\n")
    assert [(step.line, step.word, step.rest) for step in steps][1:] == [(3, "RUN", "a && b")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("FROM alpine:3\n", "F:1: alpine:3 is not among debian:12-slim"),
        ("FROM debian:12-slim\nADD x y\n", "F:2: ADD is not among"),
        ("RUN true\n", "F: it has one FROM, and begins with it"),
        ("FROM debian:12-slim\nRUN true \\\n", "F:2: the last line is continued"),
    ],
)
def test_a_build_file_that_cannot_be_carried_out_is_refused(text: str, problem: str) -> None:
    with pytest.raises(BuildError, match=problem):
        parse(text, "F")
