"""A hundred thousand flows as one answer that is never whole in memory. PURE."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import msgpack

from controller.control import FlowView
from controller.web.representation import JSON, MSGPACK, encoded, plain

_BLOCK_BYTES = 64 << 10


def json_flows(flows: Iterator[FlowView], limit: int | None) -> Iterator[bytes]:
    """A JSON object, in blocks of about 64 KiB, however many flows there are."""
    block = [b'{"flows":[']
    size, separator = 0, b""
    for flow in islice(flows, limit):
        line = separator + encoded(plain(flow), JSON).rstrip()
        separator = b",\n"
        block.append(line)
        size += len(line)
        if size >= _BLOCK_BYTES:
            yield b"".join(block)
            block, size = [], 0
    block.append(b'],"more":%s}\n' % (b"true" if next(flows, None) is not None else b"false"))
    yield b"".join(block)


def msgpack_flows(flows: Iterator[FlowView], limit: int | None) -> Iterator[bytes]:
    """The same as msgpack, whose arrays begin with their length: each flow is packed before the first one is sent."""
    packer = msgpack.Packer()
    packed = [encoded(plain(flow), MSGPACK) for flow in islice(flows, limit)]
    yield packer.pack_map_header(2) + packer.pack("flows") + packer.pack_array_header(len(packed))
    for start in range(0, len(packed), 100):
        yield b"".join(packed[start : start + 100])
    yield packer.pack("more") + packer.pack(next(flows, None) is not None)
