"""docs/PIPELINE.md, rendered from what the stages declare. PURE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controller.flow.fields import REGISTERS, Field
from controller.flow.flow import OWNER, OWNER_LEARNED
from controller.pipeline import PIPELINE, TABLES
from controller.pipeline.stage import Stage

_HEAD = f"""# The pipeline

Rendered from the code (`tripoint docs pipeline --write`); a test keeps it true. A frame enters at table 0 and goes
forward only. Nothing passes that no flow admits: every table ends in a miss, and most misses drop.

A flow's cookie is `{OWNER:#06x}` and a 48-bit hash of all that the flow is; what the switch itself has learned has
`{OWNER_LEARNED:#06x}`. Where a bridge's database can be written, its tables carry the names below, so that
`ovs-ofctl --names dump-flows` shows them.
"""


def render_pipeline() -> str:
    """The whole page, Markdown, with a newline at its end."""
    parts = [_HEAD, "\n".join(_overview()), "\n".join(_registers()), *("\n".join(_stage(s)) for s in PIPELINE)]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _overview() -> Iterator[str]:
    yield "## Stages"
    yield ""
    yield "| table | stage | leads to | a miss |"
    yield "|---|---|---|---|"
    for stage in PIPELINE:
        leads = ", ".join(stage.next) or ("the port" if stage.outputs else "back")
        yield f"| {TABLES[stage.name]} | [{stage.name}](#{stage.name}) | {leads} | {_miss(stage)} |"


def _registers() -> Iterator[str]:
    yield "## Registers"
    yield ""
    yield "| name | bits |"
    yield "|---|---|"
    for part in REGISTERS:
        high = part.low + part.n_bits - 1
        yield f"| {part.name} | {part.field.name}[{part.low}..{high}] |"


def _stage(stage: Stage) -> Iterator[str]:
    yield f"## {stage.name}"
    yield ""
    yield f"Table {TABLES[stage.name]}. {stage.purpose}"
    yield ""
    yield f"- matches: {_names(stage.matches)}"
    if stage.reads:
        yield f"- copies from: {_names(stage.reads)}"
    if stage.writes:
        yield f"- writes: {_names(stage.writes)}"
    if stage.learns:
        yield "- its flows are written by the switch as it learns; none is compiled"
        yield f"- a packet that none of them is about goes back as it came: {stage.miss.why}"
        return
    yield ""
    yield "| priority | decides |"
    yield "|---|---|"
    for priority in sorted(stage.priorities.values(), key=lambda priority: -priority.number):
        yield f"| {priority.number} | {priority.meaning} |"
    yield f"| 0 | {_miss(stage)} |"


def _miss(stage: Stage) -> str:
    if stage.learns:
        return f"back: {stage.miss.why}"
    return f"{'drop' if stage.miss.goto is None else 'to ' + stage.miss.goto}: {stage.miss.why}"


def _names(fields: Iterable[Field]) -> str:
    return ", ".join(f"`{field.name}`" for field in sorted(fields, key=lambda field: field.index))
