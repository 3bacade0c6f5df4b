"""Network namespaces: entering them, and configuring them with `ip`. I/O.

`ip -batch` builds a lab 5 times faster than pyroute2 does and needs no care inside other event loops.

A socket belongs for ever to the namespace it was made in, so one process, one thread and one event loop hold the
sockets of a whole lab: enter, make the socket, leave.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from topologies.signals import held

_CLONE_NEWNET = 0x40000000
_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17
_libc = ctypes.CDLL(None, use_errno=True)


class NetworkError(Exception):
    """The kernel or `ip` refused; the text says what was asked and what the answer was."""


def path_of(namespace: str) -> Path:
    return Path("/run/netns") / namespace


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread is in the namespace for the block; nothing in the block may await. Raises NetworkError."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            there = os.open(path_of(namespace), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise NetworkError(f"namespace {namespace}: {error.strerror}") from error
        try:
            _enter(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _enter(home)
    finally:
        os.close(home)


def _enter(handle: int) -> None:
    if _libc.setns(handle, _CLONE_NEWNET) != 0:
        raise NetworkError(f"setns: {os.strerror(ctypes.get_errno())}")


def run(argv: Iterable[str], stdin: str = "", env: dict[str, str] | None = None, timeout_s: float = 20) -> str:
    """A command's standard output. Raises NetworkError with its complaint."""
    words = list(argv)
    environ = None if env is None else {**os.environ, **env}
    try:
        with ExitStack() as stack:
            with held():
                pipe = subprocess.PIPE
                child = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environ)
                # Whatever happens here, nothing of it goes on afterwards.
                stack.enter_context(child)
                stack.callback(child.kill)
            output, complaint = child.communicate(stdin, timeout_s)
    except FileNotFoundError as error:
        raise NetworkError(f"{words[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise NetworkError(f"{' '.join(words)}: no end after {timeout_s:g} s") from error
    if child.returncode:
        raise NetworkError(f"{' '.join(words)}: {(complaint or output).strip() or f'exit code {child.returncode}'}")
    return output


def batch(lines: Iterable[str], namespace: str | None = None) -> None:
    """Commands of ip(8), a line each, in one process."""
    text = "\n".join(lines)
    if text:
        run(["ip", *(() if namespace is None else ("-n", namespace)), "-batch", "-"], text + "\n")


def address_lines(device: str, holder: object) -> list[str]:
    """Lines for `batch` that give a device what has `addresses`, and maybe `routes`."""
    lines = []
    for address in getattr(holder, "addresses", ()):
        lines.append(f"address replace {address} dev {device}" + (" nodad" if address.version == 6 else ""))
    for route in getattr(holder, "routes", ()):
        via = "" if route.via is None else f" via {route.via}"
        lines.append(f"route add {route.to}{via} dev {device}")
    return lines


def names() -> set[str]:
    """Every named namespace of the machine."""
    try:
        return set(os.listdir("/run/netns"))
    except FileNotFoundError:
        return set()


def alias_of_loopback(namespace: str) -> str:
    """The text that `ip link set lo alias` left there; "" where there is none."""
    links = json.loads(run(["ip", "-n", namespace, "-json", "link", "show", "dev", "lo"]))
    return str(links[0].get("ifalias", ""))


def link_names(namespace: str) -> set[str]:
    return {link["ifname"] for link in json.loads(run(["ip", "-n", namespace, "-json", "link", "show"]))}


def sysctl(namespace: str, name: str, value: str) -> None:
    """name: as in net.ipv4.ip_forward.

    Device names may hold dots only where written with slashes, as sysctl(8) has it.
    """
    path = Path("/proc/sys") / (name if "/" in name else name.replace(".", "/"))
    with inside(namespace):
        try:
            path.write_text(value)
        except OSError as error:
            raise NetworkError(f"sysctl {name}={value} in {namespace}: {error.strerror}") from error


def read_sysctl(namespace: str, name: str) -> str:
    with inside(namespace):
        return (Path("/proc/sys") / name.replace(".", "/")).read_text().strip()


def checksums_in_software(namespace: str, device: str) -> None:
    """As `ethtool -K DEVICE tx off`: the userspace datapath does not finish checksums that a veth leaves open."""
    with inside(namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        value = ctypes.create_string_buffer(struct.pack("=II", _ETHTOOL_STXCSUM, 0))
        request = struct.pack("16sP", device.encode(), ctypes.addressof(value)).ljust(40, b"\0")
        try:
            fcntl.ioctl(handle, _SIOCETHTOOL, request)
        except OSError as error:
            raise NetworkError(f"{device} in {namespace}: checksums cannot be set: {error.strerror}") from error
