"""Every lab of `topologies/`, brought up with a controller of its own, every expectation with real packets."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.lab.conftest import PROJECT
from topologies import command

LABS = sorted((PROJECT / "topologies").glob("*.yaml"))


def test_the_scenarios_are_there() -> None:
    """A parametrised test over no files would pass too."""
    assert {"direct_cable", "switch_namespace", "two_vlans", "three_point_tagged", "three_point_untagged"} <= {
        path.stem for path in LABS
    }


@pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)
def test_every_expectation_holds(path: Path, nothing_left: list[str]) -> None:
    out = io.StringIO()
    code = command.test(str(path), out=out)
    assert code == command.Code.OK, out.getvalue()
    assert len(nothing_left) == 1
