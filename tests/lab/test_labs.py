"""Every lab of `topologies/`, brought up with a controller of its own, every expectation with real packets."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.lab.conftest import PROJECT
from tests.lab.running import MEASUREMENTS
from topologies import command

LABS = sorted((PROJECT / "topologies").glob("*.yaml"))


def test_the_scenarios_are_there() -> None:
    """A parametrised test over no files would pass too."""
    assert {"direct_cable", "switch_namespace", "two_vlans", "three_point_tagged", "three_point_untagged"} <= {
        path.stem for path in LABS
    }


@pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)
def test_every_expectation_holds(path: Path, nothing_left: list[str]) -> None:
    """An INVALID measurement (frames lost before a busy machine's switch read them) says nothing, and is repeated."""
    for measurement in range(1, MEASUREMENTS + 1):
        out = io.StringIO()
        code = command.test(str(path), out=out)
        assert len(nothing_left) == measurement
        if code != command.Code.INVALID:
            break
    assert code == command.Code.OK, out.getvalue()
