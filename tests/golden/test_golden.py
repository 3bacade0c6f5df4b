"""The flow tables of sample policies, as text by stage name.

`TRIPOINT_GOLDEN=write pytest tests/golden` writes them anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from controller.flow.flow import Flow
from controller.flow.text import form_match
from controller.pipeline import PIPELINE
from controller.pipeline.compile import compile_bridge
from controller.policy.load import load
from controller.policy.parse import parse_document

HERE = Path(__file__).parent
POLICIES = sorted((HERE / "policies").glob("*.yaml"))
ABSENT = "absent"
"""An endpoint of this name has no port in any golden case."""
UPLINK_PORT = 50
"""The port of the first uplink."""


def form(flow: Flow) -> str:
    actions = flow.form_actions()
    for number in range(len(PIPELINE) - 1, -1, -1):
        name = PIPELINE[number].name
        for call in (f"goto_table:{number}", f"resubmit(,{number})", f"table={number},"):
            actions = actions.replace(call, call.replace(str(number), name, 1))
    match = form_match(flow.match) or "any"
    return f"  {flow.priority:3} {match}\n      -> {actions}\n      {flow.origin or '-'}: {flow.why}"


def form_all(flows: tuple[Flow, ...]) -> str:
    lines: list[str] = []
    for number, stage in enumerate(PIPELINE):
        lines.append(f"{stage.name}")
        lines += [form(flow) for flow in flows if flow.table == number]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_flows_of_policy_are_as_recorded(path: Path) -> None:
    policy = load(parse_document(path.read_bytes(), "application/yaml"))
    present = [name for name in policy.endpoints if name != ABSENT]
    ports = {name: number for number, name in enumerate(present, 1)}
    uplinks = {name: number for number, name in enumerate(policy.uplinks, UPLINK_PORT)}
    text = form_all(compile_bridge(policy, ports, uplinks=uplinks).flows())
    golden = HERE / "flows" / f"{path.stem}.txt"
    if os.environ.get("TRIPOINT_GOLDEN") == "write":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()


def test_every_golden_file_has_its_policy() -> None:
    assert {path.stem for path in (HERE / "flows").glob("*.txt")} == {path.stem for path in POLICIES}
