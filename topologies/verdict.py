"""What became of an expectation, and the report that people read. PURE."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from topologies.spec import Expect, as_address

NOTHING, ALIVE = "nothing", "seen"
"""What `Row.seen` and `Row.canary` say where all is well."""
_PLAIN = ("", NOTHING, ALIVE)
BY_COLUMN, BY_WIDTH, GAP = 3, 56, "  "


class Verdict(Enum):
    """INVALID: nothing was shown, because the capture was not proven alive or nothing was sent."""

    PASS = "pass"
    FAIL = "FAIL"
    INVALID = "INVALID"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report: an expectation, by one kind of traffic.

    seen: what was seen where nothing may be; canary: whether the captures there were alive; both "" where all may be
    seen. sent: frames made by hand, beside what the node's own stack sent. hostile: no ordinary traffic between two.
    """

    source: str
    target: str
    via: str
    situation: str
    expected: Expect
    observed: str
    verdict: Verdict
    seen: str = ""
    canary: str = ""
    why: str = ""
    sent: int = 0
    hostile: bool = False


def verdict_of(rows: Iterable[Row]) -> Verdict:
    """FAIL if one failed, else INVALID if one is, else PASS."""
    found = {row.verdict for row in rows}
    return next((v for v in (Verdict.FAIL, Verdict.INVALID) if v in found), Verdict.PASS)


def table(rows: Sequence[Row]) -> list[str]:
    """Expected beside observed, under a heading for each situation; what came out alike is one line."""
    lines: list[str] = []
    head = ("", "from", "to", "by", "expected", "observed", "seen", "canary")
    cells = [(row, _cells(row), textwrap.wrap(" ".join(vias), BY_WIDTH)) for row, vias in _alike(rows)]
    widths = [max(len(line[i]) for line in [head, *(c for _, c, _ in cells)]) for i in range(len(head))]
    widths[BY_COLUMN] = max([len(head[BY_COLUMN]), *(len(line) for _, _, by in cells for line in by)])
    situation: str | None = None
    for row, line, by in cells:
        if row.situation != situation:
            situation = row.situation
            lines += ["", f"while: {situation}" if situation else "as it stands", _line(head, widths)]
        lines.append(_line([*line[:BY_COLUMN], by[0], *line[BY_COLUMN + 1 :]], widths))
        indent = sum(widths[:BY_COLUMN]) + len(GAP) * BY_COLUMN
        lines += [" " * indent + more for more in by[1:]]
        if row.verdict is not Verdict.PASS:
            lines += [f"        {detail}" for detail in (row.why, row.seen, row.canary) if detail not in _PLAIN]
    return lines


def _alike(rows: Sequence[Row]) -> list[tuple[Row, list[str]]]:
    """Neighbouring rows that passed and differ in the kind of traffic only, as one: (its row, all kinds)."""
    found: list[tuple[Row, list[str]]] = []
    for row in rows:
        last = found[-1][0] if found else None
        same = last is not None and replace(row, via=last.via, sent=last.sent) == last
        if same and row.verdict is Verdict.PASS:
            before, vias = found[-1]
            found[-1] = replace(before, sent=before.sent + row.sent), [*vias, row.via]
        else:
            found.append((row, [row.via]))
    return found


def _cells(row: Row) -> tuple[str, ...]:
    """One for each column; what is long is said below the line."""
    unanswered = row.expected in (Expect.NEVER, Expect.SILENCE) and row.verdict is Verdict.PASS
    observed = f"none of {row.sent}" if unanswered else row.observed
    seen = row.seen if row.seen in _PLAIN else "FRAMES"
    canary = row.canary if row.canary in _PLAIN else "MISSING"
    return (row.verdict.value, row.source, row.target, "", row.expected.value, observed, seen, canary)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return GAP.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def matrix(rows: Sequence[Row]) -> list[str]:
    """Who reaches whom, over all probes of the lab; FAIL and INVALID where one of them was not as expected."""
    cells: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        if not row.hostile:
            pair = row.source.partition(":")[0], _whole(row.target)
            cells.setdefault(pair, set()).add(row.expected.value if row.verdict is Verdict.PASS else row.verdict.value)
    names = list(dict.fromkeys(name for pair in cells for name in pair))
    order = (Verdict.FAIL.value, Verdict.INVALID.value, *(expect.value for expect in Expect))
    shown = {pair: next(word for word in order if word in words) for pair, words in cells.items()}
    widths = [max(len(name), len(Verdict.INVALID.value)) for name in names]
    first = max(len(name) for name in [*names, "from \\ to"])
    lines = [_line(["from \\ to".ljust(first), *names], [first, *widths])]
    for source in names:
        words = [shown.get((source, name), "-" if name == source else "") for name in names]
        lines.append(_line([source, *words], [first, *widths]))
    return lines


def _whole(target: str) -> str:
    """The node of a point; an address as it is."""
    return target if as_address(target) is not None else target.partition(":")[0]


def summary(name: str, rows: Sequence[Row], seconds: float) -> str:
    """One line."""
    count = {v: sum(row.verdict is v for row in rows) for v in Verdict}
    words = [f"{count[Verdict.PASS]} of {len(rows)} as expected"]
    words += [f"{count[v]} {v.value}" for v in (Verdict.FAIL, Verdict.INVALID) if count[v]]
    return f"{name}: {', '.join(words)} ({seconds:.1f} s)"
