"""`python -m tests.bench` measures everything, `python -m tests.bench control traffic` some of it, as one table.

A row without a target is there to be known. The exit code is 1 where a target was missed.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterable
from textwrap import wrap

import tests.bench
from tests.bench.row import Row

WIDTHS = (58, 52, 34)


def main(names: list[str]) -> int:
    found = (module.name for module in pkgutil.iter_modules(tests.bench.__path__))
    known = sorted(name for name in found if name.startswith("bench_"))
    chosen = [f"bench_{name.removeprefix('bench_')}" for name in names] or known
    if unknown := [name for name in chosen if name not in known]:
        print(f"no such benchmark: {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    good = True
    show("what", "measured", "to reach", "")
    for name in chosen:
        show("-" * WIDTHS[0], "-" * WIDTHS[1], "-" * WIDTHS[2], "------")
        rows: Iterable[Row] = importlib.import_module(f"tests.bench.{name}").run()
        for row in rows:
            show(row.what, row.measured, row.target, ("ok" if row.ok else "MISSED") if row.target else "")
            good = good and row.ok
    return 0 if good else 1


def show(*cells: str) -> None:
    """One row, its cells wrapped."""
    columns = [wrap(cell, width) or [""] for cell, width in zip(cells, (*WIDTHS, 6), strict=True)]
    for number in range(max(map(len, columns))):
        line = [column[number] if number < len(column) else "" for column in columns]
        print("  ".join(text.ljust(width) for text, width in zip(line, (*WIDTHS, 6), strict=True)).rstrip(), flush=True)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
