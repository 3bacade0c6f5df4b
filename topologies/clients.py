"""Real clients and servers in the namespaces of a lab: ping, TCP and UDP by each node's own network stack. I/O."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass

from topologies import frames
from topologies.netns import inside
from topologies.spec import ECHO_PORT, Address, Via

_RESEND_S = 0.3
_IP_PKTINFO, _IPV6_RECVPKTINFO, _IPV6_PKTINFO = 8, 49, 50
_IP_RECVERR, _IPV6_RECVERR = 11, 25


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt. device: only through this one; None: as the node routes. port: the client's own.

    refusals: an ICMP error of any kind ends it (ip(7) IP_RECVERR); without, only those that the kernel takes for final.
    """

    namespace: str
    target: Address
    payload: bytes
    port: int
    device: str | None
    timeout_s: float
    l4_port: int = ECHO_PORT
    refusals: bool = False


async def attempt(via: Via, call: Call) -> str:
    """ "" when the target answered with the payload, else why not in a few words."""
    work: dict[Via, Callable[[Call], Awaitable[str]]] = {Via.PING: _ping, Via.TCP: _tcp, Via.UDP: _udp}
    try:
        async with asyncio.timeout(call.timeout_s):
            return await work[via](call)
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "error") + f" {error.strerror}"


def _socket(call: Call, kind: int, protocol: int = 0) -> socket.socket:
    family = socket.AF_INET if call.target.version == 4 else socket.AF_INET6
    with inside(call.namespace):
        handle = socket.socket(family, kind, protocol)
    handle.setblocking(False)
    if call.device is not None:
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, call.device.encode())
    if call.refusals:
        level = (socket.IPPROTO_IP, _IP_RECVERR) if family == socket.AF_INET else (socket.IPPROTO_IPV6, _IPV6_RECVERR)
        handle.setsockopt(*level, 1)
    return handle


async def _ping(call: Call) -> str:
    loop, version = asyncio.get_running_loop(), call.target.version
    with _socket(call, socket.SOCK_RAW, frames.ICMP if version == 4 else frames.ICMPV6) as handle:
        handle.connect((str(call.target), 0))
        sequence = 0
        while True:
            sequence += 1
            await loop.sock_sendall(handle, frames.echo_segment(version, call.port, sequence, call.payload))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RESEND_S):
                    while True:
                        got = await loop.sock_recv(handle, 2048)
                        segment = got[(got[0] & 15) * 4 :] if version == 4 else got
                        if segment[0] == (0 if version == 4 else 129) and call.payload in segment:
                            return ""


async def _tcp(call: Call) -> str:
    loop = asyncio.get_running_loop()
    with _socket(call, socket.SOCK_STREAM) as handle:
        # Closing by reset leaves no TIME_WAIT, so that the port can be used again at once.
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        handle.bind(("0.0.0.0" if call.target.version == 4 else "::", call.port))
        await loop.sock_connect(handle, (str(call.target), call.l4_port))
        await loop.sock_sendall(handle, call.payload)
        got = b""
        while len(got) < len(call.payload):
            part = await loop.sock_recv(handle, 2048)
            if not part:
                return "closed early"
            got += part
        return "" if got == call.payload else "another answer"


async def _udp(call: Call) -> str:
    loop = asyncio.get_running_loop()
    with _socket(call, socket.SOCK_DGRAM) as handle:
        handle.bind(("0.0.0.0" if call.target.version == 4 else "::", call.port))
        handle.connect((str(call.target), call.l4_port))
        while True:
            await loop.sock_sendall(handle, call.payload)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RESEND_S):
                    return "" if await loop.sock_recv(handle, 2048) == call.payload else "another answer"


class Servers:
    """Echo servers (RFC 862) on TCP and UDP, IPv4 and IPv6, at every port in every namespace given."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []

    async def start(self, namespaces: Iterable[str], l4_ports: Collection[int] = (ECHO_PORT,)) -> None:
        for namespace in namespaces:
            for l4_port in sorted(l4_ports):
                for family in (socket.AF_INET, socket.AF_INET6):
                    await self._start(namespace, family, l4_port)

    async def _start(self, namespace: str, family: socket.AddressFamily, l4_port: int) -> None:
        with inside(namespace):
            tcp, udp = socket.socket(family, socket.SOCK_STREAM), socket.socket(family, socket.SOCK_DGRAM)
        self._sockets += [tcp, udp]
        for handle in (tcp, udp):
            handle.setblocking(False)
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                handle.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            handle.bind(("", l4_port))
        four = family == socket.AF_INET
        option = (socket.IPPROTO_IP, _IP_PKTINFO) if four else (socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO)
        udp.setsockopt(*option, 1)
        asyncio.get_running_loop().add_reader(udp, _echo_datagrams, udp)
        self._servers.append(await asyncio.start_server(_echo_stream, sock=tcp))

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        for server in self._servers:
            server.close()
        for handle in self._sockets:
            with contextlib.suppress(ValueError, OSError):
                loop.remove_reader(handle)
            handle.close()


async def _echo_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
    writer.close()


def _echo_datagrams(handle: socket.socket) -> None:
    """Answers from the address that was asked, through the interface it was asked on."""
    while True:
        try:
            data, ancillary, _, peer = handle.recvmsg(4096, 256)
            reply = []
            for level, kind, value in ancillary:
                if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
                    index, local = struct.unpack("=i4s", value[:8])
                    reply.append((level, kind, struct.pack("=i4s4s", index, local, bytes(4))))
                elif (level, kind) == (socket.IPPROTO_IPV6, _IPV6_PKTINFO) and value[0] != 0xFF:
                    reply.append((level, kind, value))
            handle.sendmsg([data], reply, 0, peer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            continue
