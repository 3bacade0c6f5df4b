"""Labs for tests: a directory of records of their own, and a look afterwards whether anything is left."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from topologies import netns, records

HERE = Path(__file__).parent
PROJECT = HERE.parent.parent
LABS = HERE / "labs"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this directory is a lab test; without root it is skipped, and says why."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.lab)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="network namespaces need root"))


@pytest.fixture
def lab_directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the labs of one test are recorded, for this process and for those it starts.

    Its path is short: sockets lie in it.
    """
    directory = Path(tempfile.mkdtemp(prefix="tpl", dir="/tmp"))
    monkeypatch.setenv("TRIPOINT_LAB_DIR", str(directory))
    yield directory
    for record in list(records.every()):
        records.remove(record)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def nothing_left(lab_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Afterwards no lab that was made in this process (their ids are the fixture's value) has left anything behind."""
    made: list[str] = []
    create = records.create

    def noting(*arguments: object) -> records.Record:
        record = create(*arguments)  # type: ignore[arg-type]
        made.append(record.id)
        return record

    monkeypatch.setattr(records, "create", noting)
    yield made
    for lab_id in made:
        assert left_of(lab_id) == []


def left_of(lab_id: str) -> list[str]:
    """What there is of a lab: namespaces, processes, its directory."""
    found = [name for name in netns.names() if name.startswith(f"tp{lab_id}-")]
    found += [f"process {d.pid}" for d in records.marked_processes(lab_id)]
    directory = records.base_directory() / lab_id
    return found + ([str(directory)] if directory.exists() else [])
