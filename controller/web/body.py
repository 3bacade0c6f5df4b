"""The body of a request: read whole and within a limit, chunked or not, and its media type. I/O: reads wsgi.input.

`request.body` of WebOb is empty for a chunked request, which is what curl sends from a pipe: the stream is read here.
"""

from __future__ import annotations

from collections.abc import Callable
from email.message import Message
from http import HTTPStatus

from webob import Request

from controller.policy.parse import MEDIA_TYPES, UNTOLD
from controller.web.problem import Refusal
from controller.web.representation import ANSWERS_WITH_YAML

LIMIT_BYTES = 8 << 20
_BLOCK_BYTES = 64 << 10
_NO_CONTROLS = dict.fromkeys((*range(32), 127), " ")


def media_type(request: Request) -> str:
    """Content-Type as `parse_document` takes it; what says nothing is left to it to guess.

    Raises Refusal (415) for a type that no document comes in, for another charset, and for a compressed body.
    """
    value: str = request.environ.get("CONTENT_TYPE") or ""
    header = Message()
    header["Content-Type"] = value.translate(_NO_CONTROLS)
    named = value.partition(";")[0].strip().lower()
    if request.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
        raise _unsupported("the body is compressed; send it as it is")
    if str(header.get_param("charset", "utf-8")).lower() not in ("utf-8", "utf8", "us-ascii"):
        raise _unsupported("the body must be in UTF-8")
    if named not in MEDIA_TYPES and named not in UNTOLD:
        raise _unsupported(f"a document comes as {', '.join(ANSWERS_WITH_YAML)}")
    return named


def read(request: Request, limit_bytes: int = LIMIT_BYTES, pause: Callable[[], None] = lambda: None) -> bytes:
    """The whole body. Raises Refusal: 413 beyond the limit, 400 where it ends early or is empty, 408 where it stalls.

    pause: called every 64 KiB.
    """
    length = _length(request)
    if length is not None and length > limit_bytes:
        raise _too_large(limit_bytes)
    stream = request.environ["wsgi.input"]
    blocks: list[bytes] = []
    received = 0
    while length is None or received < length:
        try:
            block = stream.read(_BLOCK_BYTES if length is None else min(_BLOCK_BYTES, length - received))
        except TimeoutError as error:
            raise Refusal(HTTPStatus.REQUEST_TIMEOUT, "the body did not arrive in time") from error
        except (OSError, ValueError) as error:
            raise Refusal(HTTPStatus.BAD_REQUEST, "the body ends early or is not chunked as it should be") from error
        if not block:
            break
        received += len(block)
        if received > limit_bytes:
            raise _too_large(limit_bytes)
        blocks.append(block)
        pause()
    if length is not None and received < length:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"the body ends after {received} of {length} bytes")
    if not received:
        raise Refusal(HTTPStatus.BAD_REQUEST, "the document is empty; write it in YAML, JSON or MessagePack")
    return b"".join(blocks)


def _length(request: Request) -> int | None:
    """Content-Length, 0 without one, None for a chunked body, which says itself where it ends."""
    coding = request.headers.get("Transfer-Encoding", "").strip().lower()
    if coding == "chunked":
        return None
    if coding not in ("", "identity"):
        raise Refusal(HTTPStatus.NOT_IMPLEMENTED, "of transfer codings only chunked is understood")
    text = request.environ.get("CONTENT_LENGTH") or "0"
    if not (text.isascii() and text.isdigit()):
        raise Refusal(HTTPStatus.BAD_REQUEST, "Content-Length is not a number")
    if len(text) > 18:
        return 1 << 62
    return int(text)


def _too_large(limit_bytes: int) -> Refusal:
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body may have {limit_bytes} bytes at most")


def _unsupported(detail: str) -> Refusal:
    return Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers={"Accept": ", ".join(ANSWERS_WITH_YAML)})
