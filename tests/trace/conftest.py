"""One throwaway switch for all traces, one with dummy ports for real frames."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.trace.switch import Switch, running_switch
from tests.unit.strategies import NOBODY
from tests.unit.strategies_firewall import UPLINK_PORTS

PORTS = (1, 2, 3, 4, 5, 6, *UPLINK_PORTS, NOBODY)
"""Every ofport that a generated case binds or sends to."""


@pytest.fixture(scope="session")
def switch() -> Iterator[Switch]:
    """Without ports."""
    if shutil.which("ovs-vswitchd") is None:
        pytest.skip("Open vSwitch is not installed")
    with running_switch() as running:
        yield running


@pytest.fixture(scope="session")
def switch_with_ports() -> Iterator[Switch]:
    """With a dummy port for each of PORTS."""
    if shutil.which("ovs-vswitchd") is None:
        pytest.skip("Open vSwitch is not installed")
    with running_switch() as running:
        running.add_ports(PORTS)
        yield running
