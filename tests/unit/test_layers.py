"""Who may import whom: the house stands on this."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "mac": set(),
    "diff": set(),
    "loop": set(),
    "flow": {"errors", "mac"},
    "policy": {"errors", "mac", "control", "flow.fields", "flow.packet"},
    "pipeline": {"errors", "mac", "diff", "flow", "policy"},
    "proof": {"errors", "mac", "flow", "policy", "pipeline"},
    "switch": {"flow"},
    "openflow": {"errors", "diff", "flow", "switch", "mac"},
    "control": {"errors", "policy"},
    "frames": {"flow", "mac"},
    "directory": {"errors", "mac", "policy"},
    "replies": {"directory", "flow", "frames", "mac", "policy", "switch"},
    "rule_events": {"control", "directory", "flow", "frames", "policy", "replies", "switch"},
    "next_hops": {"mac", "policy"},
    "rule_log": {"control", "loop", "policy"},
    "rule_counters": {"control", "directory", "errors", "flow", "loop", "policy"},
    "punts": {
        "control", "directory", "errors", "flow", "frames", "loop", "mac", "next_hops", "policy", "replies",
        "rule_events", "switch",
    },
    "announcing": {"errors", "flow", "frames", "loop", "mac", "pipeline", "policy", "switch"},
    "given_up": {"flow", "pipeline", "policy"},
    "forgetting": {"bridge", "errors", "flow", "loop", "switch"},
    "inventory": {"flow", "hosts", "policy", "tunnels"},
    "carriers": {"inventory", "pipeline", "policy", "tunnels"},
    "mtu": {"hosts", "inventory", "policy", "tunnels"},
    "host_plan": {"errors", "hosts", "inventory", "mtu", "policy", "tunnels"},
    "tunnels": {"policy"},
    "hosts": {"bridge_settings", "mac", "policy"},
    "bridge_settings": set(),
    "revisions": {"control", "pipeline"},
    "host_view": {"control", "diff", "host_plan", "hosts", "inventory", "mtu", "policy"},
    "plan_report": {
        "carriers", "control", "diff", "errors", "flow", "host_plan", "inventory", "pipeline", "policy",
    },
    "bridge": {
        "announcing", "bridge_settings", "control", "diff", "errors", "flow", "given_up", "inventory", "loop",
        "pipeline", "policy", "punts", "switch",
    },
    "news": set(),
    "host_wait": {"bridge", "control", "host_plan", "host_view", "hosts", "loop", "news", "policy"},
    "binding_view": {"control", "inventory", "policy"},
    "examine": {"control", "errors", "pipeline", "policy"},
    "desired": {
        "bridge", "carriers", "control", "diff", "errors", "flow", "host_plan", "hosts", "inventory", "mtu", "pipeline",
        "plan_report", "policy", "revisions",
    },
    "reconcile": {
        "announcing", "binding_view", "bridge", "control", "desired", "directory", "errors", "flow", "forgetting",
        "host_view", "host_wait", "hosts", "loop", "news", "pipeline", "plan_report", "policy", "punts", "revisions",
        "rule_counters", "rule_log", "switch", "verifying",
    },
    "verifying": {"diff", "errors", "flow", "loop", "switch"},
    "side_file": {"errors"},
    "store": {"control", "errors", "pipeline", "policy", "side_file"},
    "api": {"control", "errors", "policy", "web"},
    "web": {"control", "errors", "policy"},
    "client": {"errors"},
    "cli": {"client", "cli_commands", "cli_text", "errors"},
    "cli_commands": {"client", "cli_text", "errors", "examine", "pipeline", "policy"},
    "cli_text": {"errors"},
    "ovsdb": {"bridge_settings", "diff", "errors", "hosts", "loop", "mac", "pipeline", "policy"},
    "process": set(),
    "framework": {"errors", "openflow", "pipeline", "process", "switch"},
}  # fmt: skip
"""Part of `controller` -> the other parts it may import."""

FRAMEWORK = ("ryu.base", "ryu.controller", "ryu.lib.hub", "ryu.lib", "ryu.app", "ryu", "eventlet")
PURE = (
    "errors",
    "mac",
    "diff",
    "flow",
    "policy",
    "pipeline",
    "proof",
    "inventory",
    "carriers",
    "tunnels",
    "mtu",
    "hosts",
    "host_plan",
    "host_view",
    "binding_view",
    "examine",
    "bridge_settings",
    "plan_report",
    "control",
    "frames",
    "directory",
    "replies",
    "rule_events",
    "next_hops",
)
IMPURE_MODULES = {"logging", "os", "random", "socket", "subprocess", "time", "threading", "secrets"}


def modules() -> list[Path]:
    return sorted((ROOT / "controller").rglob("*.py"))


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "controller").with_suffix("").parts[0]


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            if node.module == "controller":
                found |= {f"controller.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_module_imports_only_what_its_layer_may(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        return
    allowed = ALLOWED[part] | {part}
    for name in imports(path):
        if name.startswith("controller.") and name != "controller.__version__":
            other = name.removeprefix("controller.")
            assert any(other == one or other.startswith(f"{one}.") for one in allowed), f"{part} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_framework_is_named_in_the_seam_only(path: Path) -> None:
    if part_of(path) == "framework":
        return
    for name in imports(path):
        assert not any(name == one or name.startswith(f"{one}.") for one in FRAMEWORK), f"{path} imports {name}"


@pytest.mark.parametrize("path", [p for p in modules() if part_of(p) in PURE], ids=lambda p: str(p.relative_to(ROOT)))
def test_pure_module_has_no_clock_environment_or_log(path: Path) -> None:
    assert not imports(path) & IMPURE_MODULES


def test_only_ovsdb_imports_ovs() -> None:
    for path in modules():
        if part_of(path) != "ovsdb":
            assert not any(name == "ovs" or name.startswith("ovs.") for name in imports(path)), path


def test_labs_never_import_the_controller() -> None:
    for path in (ROOT / "topologies").rglob("*.py"):
        assert not any(name.split(".")[0] == "controller" for name in imports(path)), path


def test_every_part_of_the_house_has_its_rule() -> None:
    assert {part_of(path) for path in modules()} - {"__init__"} <= set(ALLOWED)
