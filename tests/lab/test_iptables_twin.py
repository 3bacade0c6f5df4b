"""The same probes against a router by policy and one that was built by hand with iptables: the same verdicts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from tests.lab.running import TOPOLOGIES, up
from topologies.judge import judge
from topologies.load import parse
from topologies.spec import Expectation, Lab
from topologies.verdict import Row, Verdict


def of(name: str) -> Lab:
    return parse((TOPOLOGIES / f"{name}.yaml").read_text())


def results(name: str, wanted: tuple[Expectation, ...]) -> Mapping[tuple[str, str, str, str], Row]:
    """What came of each probe: (who, to whom, by what, what was expected) -> its row."""
    with up(name) as record:
        rows = asyncio.run(judge(record, wanted))
    found = {(row.source, row.target, row.via, row.expected.value): row for row in rows}
    assert len(found) == len(rows), "each probe is there once"
    return found


@pytest.mark.parametrize("name", ["source_nat", "default_drop", "port_forward"])
@pytest.mark.usefixtures("nothing_left")
def test_a_policy_does_what_iptables_does_probe_by_probe(name: str) -> None:
    """The policy's lab may ask more than the other one does; what that one asks it asks word by word."""
    by_hand = of(f"{name}_iptables")
    assert set(by_hand.expectations) <= set(of(name).expectations)
    theirs, ours = (results(lab, by_hand.expectations) for lab in (by_hand.name, name))
    assert theirs.keys() == ours.keys()
    assert len(ours) > 10
    for probe, row in theirs.items():
        assert (probe, ours[probe].verdict, ours[probe].observed) == (probe, row.verdict, row.observed)
        assert row.verdict is Verdict.PASS, f"{probe}: {row}"
