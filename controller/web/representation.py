"""What answers look like: plain data as JSON, MessagePack or YAML, chosen by Accept (RFC 9110 section 12.5.1). PURE."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from enum import Enum
from http import HTTPStatus
from typing import cast

import msgpack
import yaml
from webob import Request, Response

from controller.web.problem import Refusal

JSON = "application/json"
MSGPACK = "application/msgpack"
YAML = "application/yaml"

_ALSO_CALLED = {
    "application/x-msgpack": MSGPACK,
    "application/vnd.msgpack": MSGPACK,
    "application/x-yaml": YAML,
    "text/yaml": YAML,
    "text/x-yaml": YAML,
}
_PLAIN = frozenset({str, int, bool, float, dict, type(None)})
"""Most values are of these; asking for them first makes an answer of many parts in half the time."""
ANSWERS = (JSON, MSGPACK)
ANSWERS_WITH_YAML = (JSON, MSGPACK, YAML)


def chosen(request: Request, offers: tuple[str, ...]) -> str:
    """The offer that the client likes best, the first one where it does not care. Raises Refusal (406)."""
    names = [*offers, *(name for name, same in _ALSO_CALLED.items() if same in offers)]
    best = request.accept.acceptable_offers(names)
    if not best:
        raise Refusal(HTTPStatus.NOT_ACCEPTABLE, f"the answer can be had as {' or '.join(offers)}")
    name: str = best[0][0]
    return _ALSO_CALLED.get(name, name)


def plain(value: object) -> object:
    """Dataclasses as dicts, enums as their values, tuples as lists; documents are plain already and are not walked."""
    if type(value) in _PLAIN:
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value


def encoded(value: object, media_type: str) -> bytes:
    """Plain data in one of the offers. Text is UTF-8; what UTF-8 cannot hold is escaped."""
    match media_type:
        case "application/msgpack":
            return cast(bytes, msgpack.packb(value, unicode_errors="backslashreplace"))
        case "application/yaml":
            text = yaml.dump(value, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=120)
            return cast(str, text).encode("utf-8", "backslashreplace")
        case _:
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
            return text.encode("utf-8", "backslashreplace") + b"\n"


def made(answer: Callable[[], object], media_type: str) -> bytes:
    """An answer that is still to be made, encoded: both take long where it has many parts."""
    return encoded(answer(), media_type)


def answered(content: bytes, media_type: str, headers: Mapping[str, str] | None = None) -> Response:
    """A response of 200 with this body."""
    answer = Response(body=content, content_type=media_type, charset=None)
    answer.vary = ("Accept",)
    answer.headers.update(headers or {})
    return answer
