"""If-Match and If-None-Match (RFC 9110 section 13.1): a change to what the client has seen, and to nothing else. PURE.

The entity tag of every resource of the policy is its revision, in quotes. Revisions of a store never come again, so the
tag is strong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

from controller.web.problem import Refusal

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_LIST = re.compile(rf"[ \t,]*{_TAG.pattern}(?:[ \t]*,[ \t,]*{_TAG.pattern})*[ \t,]*")


@dataclass(frozen=True, slots=True)
class Tags:
    """A list of entity tags without their quotes, or `*`."""

    any: bool
    strong: frozenset[str] = frozenset()
    weak: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, header: str, value: str) -> Tags:
        """Raises Refusal (400) for what RFC 9110 does not allow."""
        if value.strip(" \t") == "*":
            return cls(any=True)
        # A header is at most some kilobytes, but the pattern is only asked about what starts like a list.
        if not _LIST.fullmatch(value):
            raise Refusal(
                HTTPStatus.BAD_REQUEST,
                f'{header} is not a list of entity tags: an ETag with its quotes, as in {header}: "17", or *',
            )
        found = _TAG.findall(value)
        return cls(
            any=False,
            strong=frozenset(tag for weak, tag in found if not weak),
            weak=frozenset(tag for weak, tag in found if weak),
        )


@dataclass(frozen=True, slots=True)
class Preconditions:
    """What a request says about the state it expects. None: the header was not sent."""

    if_match: Tags | None
    if_none_match: Tags | None

    @classmethod
    def of(cls, if_match: str | None, if_none_match: str | None) -> Preconditions:
        return cls(
            None if if_match is None else Tags.parse("If-Match", if_match),
            None if if_none_match is None else Tags.parse("If-None-Match", if_none_match),
        )

    def __bool__(self) -> bool:
        return self.if_match is not None or self.if_none_match is not None

    def fail(self, revision: int, exists: bool) -> str | None:
        """Why a change may not be made, or None. exists: whether what is to be changed is there at this revision."""
        tag = str(revision)
        if self.if_match is not None:
            if self.if_match.any and not exists:
                return "If-Match: * asks for something that is there, and it is not"
            if not self.if_match.any and not (exists and tag in self.if_match.strong):
                return f"the policy is at revision {revision}, which If-Match does not name"
        if self.if_none_match is not None:
            if self.if_none_match.any and exists:
                return "If-None-Match: * asks for something that is not there yet, and it is"
            if exists and tag in self.if_none_match.strong | self.if_none_match.weak:
                return f"the policy is at revision {revision}, which If-None-Match names"
        return None

    def unchanged(self, revision: int) -> bool:
        """Whether a reader who sent If-None-Match has this revision already (weak comparison)."""
        tags = self.if_none_match
        return tags is not None and (tags.any or str(revision) in tags.strong | tags.weak)


def entity_tag(revision: int) -> str:
    """The ETag header of a revision, quotes included."""
    return f'"{revision}"'


def conflict(reason: str, revision: int) -> Refusal:
    """412, with the revision to look at before trying again."""
    return Refusal(
        HTTPStatus.PRECONDITION_FAILED,
        f"nothing was changed: {reason}",
        members={"revision": revision},
        headers={"ETag": entity_tag(revision)},
    )
