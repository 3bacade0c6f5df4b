"""How the interpreter runs the tests."""

from __future__ import annotations

import gc


def pytest_collection_finish() -> None:
    """Modules and tests stay to the end, and most of what a test makes has no cycles: the collector looks seldom."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
