"""The one error of `proof`. PURE."""

from __future__ import annotations

from controller.errors import TripointError


class EvaluationError(TripointError):
    """The tables are not ones that Open vSwitch would take, or what they do is left to chance."""
