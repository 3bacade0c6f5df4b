"""Requests to one switch and their answers, over a channel. I/O, but of no framework.

What is sent goes out in chunks, with a turn for the other green threads after each; who asks sleeps until the receive
loop has the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from controller.errors import SwitchError
from controller.openflow.pending import MakeWaiter, Pending, Request, TakeReply

CHUNK_BYTES: Final = 64 * 1024
"""How much is handed to the channel at a time; other green threads run in between."""


class Channel(Protocol):
    """The way to one switch. The framework's seam implements it."""

    def send(self, data: bytes) -> None:
        """Send whole messages, all of them or none, in the order of the calls also when green threads compete.

        May block the calling green thread. Raises OSError or SwitchError where the connection is gone.
        """
        ...

    def pause(self) -> None:
        """Let other green threads run."""
        ...

    def close(self) -> None:
        """Hang up. `Session.lost` may be called from within."""
        ...


class Exchange:
    """What is under way with one switch. alive: until the connection is lost or closed."""

    def __init__(self, channel: Channel, make_waiter: MakeWaiter, timeout_s: float) -> None:
        self.alive = True
        self.timeout_s = timeout_s
        self._channel = channel
        self._pending = Pending(make_waiter)

    def pause(self) -> None:
        """Let other green threads run."""
        self._channel.pause()

    def find(self, xid: int) -> Request | None:
        """The request under way that has this xid."""
        return self._pending.find(xid)

    def lost(self, reason: str) -> None:
        """The connection ended: whoever waits, and whoever asks later, gets a SwitchError with this reason."""
        self.alive = False
        self._pending.fail_all(reason)

    def hang_up(self) -> None:
        self._channel.close()

    def ask(self, message_for: Callable[[int], bytes], take_reply: TakeReply, what: str) -> None:
        """Send the one message made for a new xid and wait for its answer. Raises SwitchError."""
        with self.opened(1, take_reply) as request:
            self.send((message_for(request.first),))
            request.wait(self.timeout_s, what)

    @contextmanager
    def opened(self, count: int, take_reply: TakeReply | None) -> Iterator[Request]:
        """A request of `count` xids while the body runs; without take_reply it only gathers errors."""
        request = self._pending.open(count, take_reply)
        try:
            yield request
        finally:
            self._pending.close(request)

    def send(self, messages: Iterable[bytes]) -> None:
        """In chunks of at most CHUNK_BYTES, with a pause after each. Raises SwitchError."""
        chunk: list[bytes] = []
        n_bytes = 0
        for message in messages:
            if n_bytes + len(message) > CHUNK_BYTES:
                self._send_chunk(b"".join(chunk))
                self._channel.pause()
                chunk, n_bytes = [], 0
            chunk.append(message)
            n_bytes += len(message)
        self._send_chunk(b"".join(chunk))

    def _send_chunk(self, data: bytes) -> None:
        if not self.alive:
            raise SwitchError("the switch is not connected any more")
        try:
            self._channel.send(data)
        except OSError as error:
            raise SwitchError(f"sending to the switch failed: {error}") from error
