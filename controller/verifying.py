"""Whether a switch has what a plan was to bring, by the switch's own word."""

from __future__ import annotations

from controller.diff import Difference
from controller.errors import SwitchError
from controller.flow.flow import Flow
from controller.loop import Loop
from controller.switch import Switch

VERIFY_EACH_UP_TO = 64
"""A plan of so many flows is verified flow by flow."""
READ_AT_ONCE = 8
"""How many flows are read in the time in which a single one is asked for."""


def size_of(plan: Difference[int, Flow]) -> int:
    """How many flows come and go."""
    return len(plan.add) + len(plan.remove)


def verified_singly(plan: Difference[int, Flow], n_flows: int) -> bool:
    """Whether asking for the plan's flows costs less than reading all that the switch has, n_flows about."""
    return size_of(plan) <= max(VERIFY_EACH_UP_TO, n_flows // READ_AT_ONCE)


def carry_out(plan: Difference[int, Flow], installed: set[int]) -> None:
    """What is installed once the plan is."""
    installed.difference_update(plan.remove)
    installed.update(flow.cookie for flow in plan.add)


def verify_plan(
    loop: Loop, switch: Switch, installed: set[int], plan: Difference[int, Flow], found: frozenset[int] | None
) -> None:
    """Raise SwitchError where the plan is not empty now, as the switch says.

    installed: all that should be there. found: of the plan's flows those that are; None: everything is read.
    """
    if found is not None:
        added = {flow.cookie for flow in plan.add}
        missing, left = len(added - found), len(found - added)
    else:
        missing, left = loop.in_thread(_compare, installed, switch.read_flows().cookies)
    if missing or left:
        raise SwitchError(f"after the change {missing} flows are missing and {left} are left over")


def _compare(expected: set[int], found: frozenset[int]) -> tuple[int, int]:
    """How many cookies are missing, and how many are left over."""
    # Not as operations on whole sets: each is one step of the interpreter, which no thread interrupts.
    return sum(1 for cookie in expected if cookie not in found), sum(1 for cookie in found if cookie not in expected)
