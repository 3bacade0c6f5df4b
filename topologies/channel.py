"""Carries OpenFlow between bridges and a controller: from Unix sockets to TCP. I/O; a process of its own.

A lab's bridges have no IP address and no route to the machine they run on, so that nothing in a lab can reach it;
their way to the controller is a socket in the file system. Started by the runner as

    python -m topologies.channel SOCKET=HOST:PORT ...
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

CHUNK_BYTES = 1 << 16


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copies until the end of the stream, and then ends the other side too."""
    with contextlib.suppress(ConnectionError, asyncio.CancelledError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
    """One connection of a bridge.

    A controller that is not there is a connection that ends at once: the bridge tries again.
    """
    try:
        there_reader, there_writer = await asyncio.open_connection(host, port)
    except OSError:
        writer.close()
        return
    await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))


async def serve(routes: list[tuple[str, str, int]]) -> None:
    """Routes: (path of the Unix socket, host, port). Runs until cancelled."""
    servers = []
    tasks: set[asyncio.Future[None]] = set()
    for path, host, port in routes:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

        def accept(r: asyncio.StreamReader, w: asyncio.StreamWriter, host: str = host, port: int = port) -> None:
            tasks.add(task := asyncio.ensure_future(_carry(r, w, host, port)))
            task.add_done_callback(tasks.discard)

        servers.append(await asyncio.start_unix_server(accept, path))
    await asyncio.gather(*(server.serve_forever() for server in servers))


def main(words: list[str]) -> int:
    routes = []
    for word in words:
        path, _, place = word.partition("=")
        host, _, port = place.rpartition(":")
        routes.append((path, host, int(port)))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(routes))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
