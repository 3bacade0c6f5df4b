"""Several times of one thing as text. PURE."""

from __future__ import annotations

from statistics import median


def spread(seconds: list[float], per_second: int = 1) -> str:
    """Median and most, in seconds (per_second 1) or milliseconds (1000)."""
    unit = "ms" if per_second == 1000 else "s"
    digits = 1 if per_second == 1000 else 3
    return f"{median(seconds) * per_second:.{digits}f} {unit}, at most {max(seconds) * per_second:.{digits}f} {unit}"
