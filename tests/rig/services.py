"""What docker-compose.yml starts, without an engine: each service in namespaces, with its rights and no more. I/O.

Not an engine: of the compose file it knows the keys that the file here has, and refuses every other one. A network is a
namespace with a Linux bridge. Everything ends with the process that has it up, however that ends.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.rig.dockerfile import Image
from topologies import netns

KNOWN = {
    "build", "cap_add", "cap_drop", "command", "depends_on", "devices", "entrypoint", "environment", "healthcheck",
    "hostname", "image", "network_mode", "networks", "pid", "pull_policy", "read_only", "restart", "security_opt",
    "sysctls", "tmpfs", "volumes",
}  # fmt: skip
PATIENCE_S = 40.0
_EXECUTE = "chroot {root} /usr/bin/setpriv {rights} -- /usr/bin/env -i {env} {argv}"


class ServiceError(Exception):
    """A service could not be started, or ended; the text says which and what it said last."""


@dataclass
class Service:
    """One service while it runs. namespace: of its network. pid: of its first process, as this machine counts."""

    name: str
    settings: Mapping[str, Any]
    image: Image
    namespace: str
    log: Path
    process: subprocess.Popen[bytes] | None = None
    pid: int = 0

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]

    def setpriv(self) -> str:
        """Its rights: the capabilities that it is given, and that nothing it starts can gain others."""
        settings = self.settings
        if settings.get("cap_drop") != ["ALL"] or settings.get("security_opt") != ["no-new-privileges:true"]:
            raise ServiceError(f"{self.name}: a service without cap_drop and no-new-privileges is not provided for")
        words = ["--bounding-set", ",".join(["-all", *(f"+{cap.lower()}" for cap in settings.get("cap_add", []))])]
        words += ["--inh-caps", "-all", "--no-new-privs"]
        if self.image.user:
            words += ["--reuid", self.image.user, "--regid", self.image.user, "--init-groups"]
        return shlex.join(words)

    def execution(self, argv: list[str], root: str) -> str:
        """The shell's line that becomes the program, in the image and with the service's rights."""
        given = {key: str(value) for key, value in (self.settings.get("environment") or {}).items()}
        env = shlex.join(f"{key}={value}" for key, value in {**self.image.env, "HOME": "/tmp", **given}.items())
        return _EXECUTE.format(root=root, rights=self.setpriv(), env=env, argv=shlex.join(argv))

    def do(self, *argv: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """A command beside its first process, as `docker compose exec` has it."""
        words = ["nsenter", "-t", str(self.pid), "-m", "-n", "-p", "-i", "-u"]
        words += ["sh", "-c", "exec " + self.execution(list(argv), str(self.image.root))]
        return subprocess.run(words, capture_output=True, text=True, timeout=timeout_s, check=False)


@dataclass
class Project:
    """All services. images: by the name that the compose file gives them. place: for logs and volumes."""

    compose: Mapping[str, Any]
    images: Mapping[str, Image]
    context: Path
    place: Path
    mark: str = field(default_factory=lambda: f"tpc{secrets.token_hex(2)}")
    services: dict[str, Service] = field(default_factory=dict)

    @contextlib.contextmanager
    def up(self) -> Iterator[dict[str, Service]]:
        """All services, healthy, in the order of their dependencies. Raises ServiceError."""
        try:
            for name in self.compose.get("networks", {}):
                _ip(f"netns add {self.mark}-{name}")
                # The bridge is a network's, and no machine in it that speaks for itself.
                for scope in ("all", "default"):
                    netns.sysctl(f"{self.mark}-{name}", f"net.ipv6.conf.{scope}.disable_ipv6", "1")
                _ip(f"-n {self.mark}-{name} link add br0 type bridge", f"-n {self.mark}-{name} link set br0 up")
            for name in self.compose["services"]:
                self.start(name)
            for service in self.services.values():
                self.wait(service)
            yield self.services
        finally:
            self.down()

    def start(self, name: str) -> None:
        if name in self.services:
            return
        settings = self.compose["services"][name]
        if unknown := sorted(set(settings) - KNOWN):
            raise ServiceError(f"{name}: {', '.join(unknown)}: not provided for")
        for other in settings.get("depends_on", {}):
            self.start(other)
            self.wait(self.services[other])
        service = Service(name, settings, self.images[settings["image"]], f"{self.mark}-{name}", self.place / name)
        self.services[name] = service
        self.connect(service)
        self.launch(service)

    def connect(self, service: Service) -> None:
        """A namespace; in it what the service's networks are, each as a cable to the network's bridge."""
        _ip(f"netns add {service.namespace}", f"-n {service.namespace} link set lo up")
        for name, value in (service.settings.get("sysctls") or {}).items():
            words = ["ip", "netns", "exec", service.namespace, "sysctl", "-q", "-w", f"{name}={value}"]
            subprocess.run(words, check=True)
        for number, (network, wish) in enumerate((service.settings.get("networks") or {}).items()):
            prefix = self.compose["networks"][network]["ipam"]["config"][0]["subnet"].partition("/")[2]
            there, far, near = f"{self.mark}-{network}", service.name, f"eth{number}"
            _ip(
                f"link add {far} netns {there} type veth peer {near} netns {service.namespace}",
                f"-n {there} link set {far} master br0 up",
                f"-n {service.namespace} addr add {wish['ipv4_address']}/{prefix} dev {near}",
                f"-n {service.namespace} link set {near} up",
            )

    def launch(self, service: Service) -> None:
        settings, root = service.settings, service.image.root
        argv = [*settings.get("entrypoint", service.image.entrypoint)]
        argv += settings.get("command", service.image.command)
        lines = [f"mount --bind {root} {root}", f"mount -t proc proc {root}/proc"]
        for path in settings.get("volumes") or ():
            lines += self.volume(service, path)
        for device in settings.get("devices") or ():
            target = device.split(":")[1]
            lines += [f"mkdir -p {root}{os.path.dirname(target)}", f"touch {root}{target}"]
            lines += [f"mount --bind {device.split(':')[0]} {root}{target}"]
        lines += [f"mount -t sysfs -o ro sysfs {root}/sys"]
        lines += [f"mount -t tmpfs tmpfs {root}{path}" for path in settings.get("tmpfs") or ()]
        lines += [f"mount -o remount,bind,ro {root}"] if settings.get("read_only") else []
        if host := settings.get("hostname"):
            lines.append(f"hostname {host}")
        # The shell stays, as first process of a namespace: it dies with this process, and with it all that it started.
        # The program itself would not, once it is another user (prctl(2), PR_SET_PDEATHSIG).
        script = "\n".join(["set -e", *lines, service.execution(argv, str(root)), "exit"])
        words = ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net=/run/netns/{service.namespace}"]
        if host := settings.get("pid"):
            words.append(f"--pid=/proc/{self.services[host.removeprefix('service:')].pid}/ns/pid")
        words += ["--no-fork", "--", "unshare", "--mount", "--uts", "--ipc", "--kill-child", "--fork"]
        words += [] if settings.get("pid") else ["--pid"]
        with service.log.open("wb") as log:
            service.process = subprocess.Popen(
                [*words, "sh", "-c", script], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        service.pid = _first_of(service)

    def volume(self, service: Service, words: str) -> list[str]:
        """A file or directory of the context, or (without a slash) one of this run; owned as it is in the image."""
        source, target, *mode = words.split(":")
        there = service.image.root / target.lstrip("/")
        if "/" in source:
            path = (self.context / source).resolve()
            lines = [f"mkdir -p {there.parent}", f"touch {there}"] if path.is_file() else [f"mkdir -p {there}"]
        else:
            path, lines = self.place / f"volume-{source}", []
            subprocess.run(["cp", "-a", str(there), str(path)], check=True)
        lines.append(f"mount --bind {path} {there}")
        return lines + ([f"mount -o remount,bind,ro {there}"] if mode == ["ro"] else [])

    def stop(self, service: Service) -> None:
        """Its processes and its network namespace end, as they do with a container."""
        if service.process is not None:
            service.process.kill()
            service.process.wait()
        if not Path(f"/run/netns/{service.namespace}").exists():
            return
        # What its first process had started is in the process namespace of another service, and outlives it.
        deadline = time.monotonic() + PATIENCE_S
        while pids := _ip(f"netns pids {service.namespace}").split():
            if time.monotonic() > deadline:
                raise ServiceError(f"{service.name}: processes {' '.join(pids)} do not end")
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.01)
        _ip(f"netns delete {service.namespace}")

    def start_again(self, service: Service) -> None:
        """One that was stopped, until it is healthy. Raises ServiceError."""
        self.connect(service)
        self.launch(service)
        self.wait(service)

    def wait(self, service: Service) -> None:
        """Until it is healthy, or, without a check, as long as it runs. Raises ServiceError."""
        check, deadline = service.settings.get("healthcheck"), time.monotonic() + PATIENCE_S
        while True:
            if service.process is None or service.process.poll() is not None:
                raise ServiceError(f"{service.name} ended: {service.said}")
            if check is None:
                return
            kind, *argv = check["test"]
            if service.do(*(["sh", "-c", *argv] if kind == "CMD-SHELL" else argv)).returncode == 0:
                return
            if time.monotonic() > deadline:
                raise ServiceError(f"{service.name} is not healthy after {PATIENCE_S:g} s: {service.said}")
            time.sleep(0.2)

    def down(self) -> None:
        for service in reversed(self.services.values()):
            self.stop(service)
        for network in self.compose.get("networks", {}):
            if Path(f"/run/netns/{self.mark}-{network}").exists():
                _ip(f"netns delete {self.mark}-{network}")


def _ip(*lines: str) -> str:
    """What the last of the commands said. Raises ServiceError."""
    output = ""
    for line in lines:
        done = subprocess.run(["ip", *line.split()], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServiceError(f"ip {line}: {done.stderr.strip()}")
        output = done.stdout
    return output


def _first_of(service: Service) -> int:
    """The service's own program: a child of the shell that unshare(1) has started. Raises ServiceError."""
    assert service.process is not None
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and service.process.poll() is None:
        with contextlib.suppress(OSError):
            for shell in _children(service.process.pid):
                for pid in _children(shell):
                    if os.readlink(f"/proc/{pid}/root") == str(service.image.root):
                        return pid
        time.sleep(0.01)
    raise ServiceError(f"{service.name} ended: {service.said}")


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
