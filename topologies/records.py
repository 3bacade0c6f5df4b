"""What exists because of a lab, on disk before it exists for real, so that it can always be taken away again. I/O.

One directory a lab, named by its short id, under /run/tripoint-lab (TRIPOINT_LAB_DIR overrides it). Before something
is deleted its own mark is checked: a namespace carries the lab's id as the alias of its loopback device, a process in
its environment.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from topologies import netns
from topologies.daemons import Daemon, myself, start_time, stop
from topologies.load import parse
from topologies.spec import Lab

MARK_VARIABLE = "TRIPOINT_LAB"
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"


def base_directory() -> Path:
    return Path(os.environ.get("TRIPOINT_LAB_DIR", "/run/tripoint-lab"))


@dataclass
class Record:
    """mode: `up` (stays until `down`), `run` and `test` (end with the process `owner`). ready: brought up completely.

    namespaces: node -> namespace, listed before they are made. controller: REST url; "" without one.
    dpids: bridge -> datapath id, 16 hexadecimal digits.
    """

    id: str
    name: str
    file: str
    mode: str
    owner: Daemon
    namespaces: dict[str, str] = field(default_factory=dict)
    daemons: list[Daemon] = field(default_factory=list)
    dpids: dict[str, str] = field(default_factory=dict)
    controller: str = ""
    own_controller: bool = False
    ready: bool = False

    @property
    def directory(self) -> Path:
        return base_directory() / self.id

    @property
    def mark(self) -> str:
        return f"tripoint-lab:{self.id}"

    @property
    def lab(self) -> Lab:
        """The lab as it was when it was brought up, whatever became of its file since."""
        return parse((self.directory / "lab.yaml").read_text())

    def save(self) -> None:
        """Whole or not at all."""
        part = self.directory / "record.part"
        part.write_text(json.dumps(asdict(self), indent=1))
        part.replace(self.directory / "record.json")

    def add(self, daemon: Daemon) -> None:
        self.daemons.append(daemon)
        self.save()

    @property
    def state(self) -> str:
        """`up`, `starting` or `broken` (a process ended, or its runner did without taking it down)."""
        lost = self.mode != "up" and not self.owner.alive
        if lost or not all(d.alive for d in self.daemons):
            return "broken"
        if not self.ready:
            return "starting" if self.owner.alive else "broken"
        return "up"


def create(lab: Lab, text: str, file: str, mode: str) -> Record:
    """A record with an id of its own; nothing exists yet but its directory."""
    base_directory().mkdir(mode=0o755, parents=True, exist_ok=True)
    while True:
        record = Record("".join(secrets.choice(_ALPHABET) for _ in range(4)), lab.name, file, mode, myself())
        try:
            record.directory.mkdir(mode=0o755)
        except FileExistsError:
            continue
        break
    record.namespaces = {name: f"tp{record.id}-{name}" for name in lab.nodes}
    (record.directory / "lab.yaml").write_text(text)
    record.save()
    return record


def load(directory: Path) -> Record:
    """Raises FileNotFoundError where the directory is no lab's."""
    fields = json.loads((directory / "record.json").read_text())
    fields["owner"] = Daemon(**fields["owner"])
    fields["daemons"] = [Daemon(**d) for d in fields["daemons"]]
    return Record(**fields)


def every() -> Iterator[Record]:
    """All labs of this machine, by id."""
    try:
        directories = sorted(base_directory().iterdir())
    except FileNotFoundError:
        return
    for directory in directories:
        try:
            yield load(directory)
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError):
            continue


def find(word: str) -> list[Record]:
    """By id, by name, or by the file it came from."""
    file = str(Path(word).resolve())
    return [r for r in every() if word in (r.id, r.name) or r.file == file]


def marked_processes(lab_id: str) -> list[Daemon]:
    """Processes whose environment carries the lab's id, recorded or not."""
    wanted = f"{MARK_VARIABLE}={lab_id}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdecimal() or int(entry) == os.getpid():
            continue
        try:
            environment = Path(f"/proc/{entry}/environ").read_bytes()
        except OSError:
            continue
        if wanted in environment.split(b"\0") and (started := start_time(int(entry))) is not None:
            found.append(Daemon("marked", int(entry), started))
    return found


def remove(record: Record) -> list[str]:
    """Takes everything away: processes, namespaces (with the cables in them), the directory. What was kept, and why."""
    stop({d.pid: d for d in [*marked_processes(record.id), *(d for d in record.daemons if d.alive)]}.values())
    kept: list[str] = []
    present = netns.names()
    for namespace in record.namespaces.values():
        if namespace not in present:
            continue
        try:
            ours = netns.alias_of_loopback(namespace) == record.mark
            # Between making a namespace and marking it there is a moment; then it is still empty.
            if ours or netns.link_names(namespace) == {"lo"}:
                netns.run(["ip", "netns", "delete", namespace])
            else:
                kept.append(f"namespace {namespace} does not carry the mark {record.mark!r}: not ours, left alone")
        except netns.NetworkError as error:
            kept.append(str(error))
    if not kept:
        shutil.rmtree(record.directory, ignore_errors=True)
    return kept
