"""From bytes to all that can be said of a document without a controller. PURE."""

from __future__ import annotations

from dataclasses import dataclass

from controller.control import PutPolicy, Stored
from controller.errors import PolicyError, Problem
from controller.pipeline.rulebook import make_rulebook, require_room
from controller.policy.advice import advise
from controller.policy.document import as_written
from controller.policy.edit import apply_change
from controller.policy.model import EMPTY_POLICY
from controller.policy.parse import parse_document


@dataclass(frozen=True, slots=True)
class Examined:
    """problems: why it is no policy; () for one that a controller would take. warnings: what is odd about it then."""

    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()


def examine(body: bytes, media_type: str | None) -> Examined:
    """Read, load, check, count what the rules take, and advise. media_type: as `parse_document` takes it."""
    try:
        document = parse_document(body, media_type)
        _, policy = apply_change(Stored(0, {}, EMPTY_POLICY), PutPolicy(document))
        require_room(make_rulebook(policy))
    except PolicyError as error:
        return Examined(error.problems)
    return Examined((), tuple(as_written(each, document) for each in advise(policy)))
