"""The store under crashes, damage, a full disk, strangers' files and a second controller."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.control import DeleteObject, NoSuchObject, PutObject, PutPolicy, RevisionConflict, Stored
from controller.errors import StoreError
from controller.policy.edit import apply_change
from controller.policy.load import load
from controller.store import APPLICATION_ID, WHOLE_EVERY, Store, edited, empty_document

NOW = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "policy.db"


def endpoint(number: int) -> dict[str, object]:
    return {"network": "green", "port": f"p{number}", "mac": "02:00:00:00:00:01", "ips": [f"10.0.0.{number % 250}"]}


def fill(path: Path, count: int) -> list[object]:
    """A store with `count` revisions, cleanly closed; the documents by revision."""
    store = Store.open(path)
    documents: list[object] = [store.latest()[1]]
    for number in range(count):
        first = PutPolicy({"apiVersion": "tripoint/v1", "networks": {"green": {"vlan": 10}}})
        store.append(number, PutObject("endpoints", f"e{number}", endpoint(number)) if number else first, NOW)
        documents.append(store.latest()[1])
    store.close()
    return documents


def test_new_store_is_revision_0_with_the_empty_document(path: Path) -> None:
    store = Store.open(path)
    assert store.latest() == (0, {"apiVersion": "tripoint/v1"})
    assert store.read(0) == empty_document()
    assert store.revisions() == []
    store.close()
    assert path.stat().st_mode & 0o077 == 0


def test_every_revision_is_kept_across_a_restart_with_its_time(path: Path) -> None:
    documents = fill(path, 150)
    store = Store.open(path)
    assert store.latest() == (150, documents[150])
    assert [store.read(number) for number in range(151)] == documents
    assert store.revisions() == [(number, "2024-05-06T07:08:09.123Z") for number in range(1, 151)]
    store.close()


def test_time_is_stored_in_utc_and_needs_a_zone(path: Path) -> None:
    store = Store.open(path)
    store.append(0, PutPolicy({}), datetime.fromisoformat("2024-01-01T01:00:00+02:00"))
    assert store.revisions() == [(1, "2023-12-31T23:00:00.000Z")]
    with pytest.raises(ValueError, match="zone"):
        store.append(1, PutPolicy({}), datetime(2024, 1, 1))
    store.close()


def test_one_changed_endpoint_is_stored_small_and_a_whole_document_is_never_far(path: Path) -> None:
    store = Store.open(path)
    many = {f"e{number}": endpoint(number) for number in range(5000)}
    store.append(0, PutPolicy({"apiVersion": "tripoint/v1", "endpoints": many}), NOW)
    for number in range(1, 200):
        store.append(number, PutObject("endpoints", "e7", endpoint(number)), NOW)
    store.close()
    rows = sqlite3.connect(path).execute("SELECT number, whole, length(body) FROM revision ORDER BY number").fetchall()
    whole = [number for number, is_whole, _ in rows if is_whole]
    assert whole == [1, 1 + WHOLE_EVERY, 1 + 2 * WHOLE_EVERY, 1 + 3 * WHOLE_EVERY]
    assert all(size < 200 for _, is_whole, size in rows if not is_whole)


def test_append_names_the_revision_it_builds_on(path: Path) -> None:
    store = Store.open(path)
    assert store.append(0, PutPolicy({"a": 1}), NOW) == 1
    for wrong in (0, 2):
        with pytest.raises(RevisionConflict) as caught:
            store.append(wrong, PutPolicy({"a": 2}), NOW)
        assert (caught.value.expected, caught.value.current) == (wrong, 1)
    assert store.latest() == (1, {"a": 1})
    store.close()


def test_removal_of_what_is_not_there_stores_nothing(path: Path) -> None:
    store = Store.open(path)
    with pytest.raises(NoSuchObject):
        store.append(0, DeleteObject("endpoints", "ghost"), NOW)
    assert store.latest()[0] == 0
    assert store.revisions() == []
    for absent in (-1, 1):
        with pytest.raises(NoSuchObject):
            store.read(absent)
    store.close()


@pytest.mark.parametrize("value", [{"x": 2**70}, {"x": object()}, {"x": "\ud800"}])
def test_what_cannot_be_stored_is_a_store_error_and_stores_nothing(path: Path, value: dict[str, object]) -> None:
    store = Store.open(path)
    with pytest.raises(StoreError, match="cannot be stored"):
        store.append(0, PutPolicy(value), NOW)
    assert store.append(0, PutPolicy({}), NOW) == 1
    store.close()


NAMES = st.sampled_from(["a", "b", "c"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz"), inner, max_size=3),
    max_leaves=6,
)
KINDS = st.sampled_from(["networks", "endpoints", "hosts"])
CHANGES = st.one_of(
    st.builds(PutPolicy, st.dictionaries(KINDS, st.dictionaries(NAMES, VALUES), max_size=3)),
    st.builds(PutObject, KINDS, NAMES, VALUES),
    st.builds(DeleteObject, KINDS, NAMES),
)


@settings(max_examples=60, deadline=None)
@given(changes=st.lists(CHANGES, max_size=12))
def test_replaying_what_was_stored_is_what_was_meant(tmp_path_factory: pytest.TempPathFactory, changes: list) -> None:
    where = tmp_path_factory.mktemp("store") / "p.db"
    store = Store.open(where)
    documents = [empty_document()]
    for change in changes:
        try:
            after = edited(documents[-1], change)
        except NoSuchObject:
            with pytest.raises(NoSuchObject):
                store.append(len(documents) - 1, change, NOW)
            continue
        store.append(len(documents) - 1, change, NOW)
        documents.append(after)
    store.close()
    again = Store.open(where)
    assert [again.read(number) for number in range(len(documents))] == documents
    assert again.latest() == (len(documents) - 1, documents[-1])
    again.close()


def test_edited_leaves_the_old_document_alone() -> None:
    before = {"apiVersion": "tripoint/v1", "endpoints": {"a": {"port": "x"}}}
    copy = json.loads(json.dumps(before))
    edited(before, PutObject("endpoints", "a", {"port": "y"}))
    edited(before, DeleteObject("endpoints", "a"))
    assert edited(before, PutObject("hosts", "h", {}))["hosts"] == {"h": {}}
    assert before == copy


def test_what_is_replayed_is_what_the_policy_was_edited_to() -> None:
    """The store replays changes by its own, small rule; it must be that of `policy.edit`."""
    stored = Stored(0, empty_document(), load(empty_document()))
    green: dict[str, object] = {"vlan": 10}
    changes = [
        PutObject("networks", "green", green),
        PutObject("endpoints", "a", {"network": "green", "port": "p", "mac": "02:00:00:00:00:01"}),
        PutObject("networks", "green", {"vlan": 11}),
        PutObject("hosts", "h", {"bridge": "br0"}),
        DeleteObject("endpoints", "a"),
        DeleteObject("networks", "green"),
        PutPolicy({"apiVersion": "tripoint/v1", "networks": {"pink": green}}),
        PutObject("networks", "green", {"vlan": 12}),
        PutObject("rules", "a", {"action": "drop"}),
        PutObject("rules", "b", {"name": "b", "action": "drop"}),
        PutObject("rules", "a", {"action": "allow", "name": "a"}),
        PutObject("rules", "c", {"action": "drop"}, before="b"),
        PutObject("rules", "b", {"action": "drop"}, before="a"),
        PutObject("rules", "b", {"name": "b", "action": "pass"}, before="c"),
        DeleteObject("rules", "b"),
        PutObject("groups", "g", {"members": ["green"]}),
        DeleteObject("networks", "pink"),
    ]
    for change in changes:
        document, policy = apply_change(stored, change)
        ours = edited(stored.document, change)
        assert json.dumps(ours) == json.dumps(document)  # order included
        stored = Stored(stored.revision + 1, document, policy)


def test_concurrent_appends_from_native_threads_are_served_one_at_a_time(path: Path) -> None:
    store = Store.open(path)
    turn = threading.Barrier(8)

    def race(worker: int) -> int:
        turn.wait()
        won = 0
        while won < 10:
            try:
                store.append(store.latest()[0], PutObject("hosts", f"h{worker}", {"bridge": "br0"}), NOW)
                won += 1
            except RevisionConflict:
                continue
        return won

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(race, range(8))) == 80
    assert store.latest()[0] == 80
    store.close()


def test_it_works_from_a_thread_pool_of_a_patched_process(path: Path) -> None:
    program = """
import eventlet; eventlet.monkey_patch()
import sys
from datetime import datetime, UTC
from eventlet import tpool
from controller.control import PutObject, RevisionConflict
from controller.store import Store
store = tpool.execute(Store.open, sys.argv[1])
def work(worker):
    for turn in range(20):
        while True:
            try:
                change = PutObject("hosts", f"h{worker}", {"n": turn})
                tpool.execute(store.append, store.latest()[0], change, datetime.now(UTC))
                break
            except RevisionConflict:
                eventlet.sleep(0)
pool = eventlet.GreenPool()
for worker in range(10):
    pool.spawn(work, worker)
pool.waitall()
print(store.latest()[0])
"""
    command = [sys.executable, "-c", program, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("200\n", 0), done.stderr


WRITER = """
import sys
from datetime import datetime, UTC
from controller.control import PutObject, PutPolicy
from controller.store import Store
store = Store.open(sys.argv[1])
latest, _ = store.latest()
print("ready", flush=True)
while True:
    whole = PutPolicy({"endpoints": {f"e{n}": {"port": f"p{n}", "at": latest} for n in range(300)}})
    change = PutObject("endpoints", f"e{latest % 7}", {"at": latest}) if latest % 5 else whole
    latest = store.append(latest, change, datetime.now(UTC))
    print(latest, flush=True)
"""


def test_kill_9_in_the_middle_of_writing_loses_no_acknowledged_revision(path: Path) -> None:
    moments = random.Random(20240506)
    acknowledged = 0
    killed_with_progress = 0
    for _ in range(25):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        timer = threading.Timer(moments.uniform(0.0, 0.06), writer.send_signal, [signal.SIGKILL])
        timer.start()
        lines = [line for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        timer.join()
        assert writer.wait(timeout=10) == -signal.SIGKILL
        writer.stdout.close()
        if lines:
            acknowledged = int(lines[-1])
            killed_with_progress += 1
        store = Store.open(path)
        latest, document = store.latest()
        assert latest >= acknowledged
        if latest:
            assert document["endpoints"][f"e{(latest - 1) % 7}"]["at"] == latest - 1  # type: ignore[index]
        for number in range(max(1, latest - 70), latest + 1):
            assert store.read(number)["endpoints"][f"e{(number - 1) % 7}"]["at"] == number - 1  # type: ignore[index]
        assert [number for number, _ in store.revisions()] == list(range(1, latest + 1))
        store.close()
    assert killed_with_progress >= 15
    assert acknowledged > 50


def test_every_answer_was_synced_before(path: Path) -> None:
    """With strace at hand the claim is looked at; without it, the setting that SQLite documents for it."""
    store = Store.open(path)
    assert store._connection is not None
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()
    strace = shutil.which("strace")
    if strace is None:
        return
    program = WRITER.replace("while True:", "for _ in range(5):") + "    import os; os.write(1, b'ack\\n')\n"
    traced = path.parent / "trace"
    watch = [strace, "-f", "-e", "trace=fdatasync,fsync,write", "-o", str(traced)]
    subprocess.run([*watch, sys.executable, "-c", program, str(path)], check=True, capture_output=True, timeout=60)
    synced = False
    acks = 0
    for line in traced.read_text().splitlines():
        if "sync(" in line:
            synced = True
        if '"ack\\n"' in line:
            assert synced
            synced, acks = False, acks + 1
    assert acks == 5


def refused(path: Path) -> str:
    """The message with which a store is refused; what was there is not touched."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreError) as caught:
        Store.open(path)
    if before is not None:
        assert path.read_bytes() == before
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_second_controller_is_refused_while_the_first_lives(path: Path) -> None:
    store = Store.open(path)
    assert f"in use by another controller (process {os.getpid()})" in refused(path)
    link = path.parent / "other-name.db"
    link.symlink_to(path)
    with pytest.raises(StoreError, match="in use"):
        Store.open(link)
    store.append(0, PutPolicy({"a": 1}), NOW)
    store.close()
    store.close()
    again = Store.open(path)
    assert again.latest() == (1, {"a": 1})
    again.close()
    with pytest.raises(StoreError, match="closed"):
        again.latest()


def test_a_dead_controllers_lock_does_not_stand_in_the_way(path: Path) -> None:
    program = "import os, sys; from controller.store import Store; s = Store.open(sys.argv[1]); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == -9
    Store.open(path).close()


def test_an_empty_file_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"")
    assert "empty file" in refused(path)


def test_a_directory_is_refused(path: Path) -> None:
    path.mkdir(parents=True)
    assert "is not a file" in refused(path)


def test_a_text_file_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("apiVersion: tripoint/v1\n" * 100)
    assert "not a database" in refused(path)


def test_a_strangers_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE t (x)")
    other.commit()
    other.close()
    assert "not a Tripoint store" in refused(path)


def alter(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def test_a_newer_schema_is_refused(path: Path) -> None:
    fill(path, 2)
    alter(path, "PRAGMA user_version = 3")
    assert "newer version" in refused(path)


@pytest.mark.parametrize("statement", [
    "DELETE FROM revision",
    "DELETE FROM revision WHERE number = 5",
    "DELETE FROM revision WHERE number = 3",
    "DELETE FROM head",
    "DROP TABLE head",
    "UPDATE head SET number = 4",
    "UPDATE revision SET time = 'x' WHERE number = 4",
    "UPDATE revision SET body = (SELECT body FROM revision WHERE number = 3) WHERE number = 4",
    "UPDATE revision SET whole = 1 WHERE number = 5",
    "UPDATE revision SET body = 'x' WHERE number = 5",
    "UPDATE revision SET time = x'00' WHERE number = 5",
    "DELETE FROM ranks",
    "DROP TABLE ranks",
    "INSERT INTO ranks SELECT * FROM ranks",
    "UPDATE ranks SET number = 4",
    "UPDATE ranks SET number = 7",
    "UPDATE ranks SET number = 'x'",
    "UPDATE ranks SET body = x'80'",
    "UPDATE ranks SET body = 'x'",
    "UPDATE ranks SET digest = (SELECT digest FROM head)",
    "CREATE TRIGGER t AFTER INSERT ON revision BEGIN DELETE FROM revision; END",
    f"PRAGMA application_id = {APPLICATION_ID - 1}",
    "PRAGMA user_version = 0",
    "PRAGMA user_version = 1",
])  # fmt: skip
def test_a_store_that_was_meddled_with_is_refused(path: Path, statement: str) -> None:
    fill(path, 4)
    store = Store.open(path)
    store.append(4, PutObject("hosts", "h", {}), NOW, {"default": {"a": 100, "b": 50}})
    store.append(5, PutObject("hosts", "h", {"bridge": "br0"}), NOW)
    store.close()
    alter(path, statement)
    refused(path)


RANKS = {"default": {"a": 45000, "b": 44936}, "last": {"c": 7}}


def test_ranks_are_those_of_the_newest_revision_that_brought_some_also_after_a_restart(path: Path) -> None:
    store = Store.open(path)
    assert store.ranks() == {}
    store.append(0, PutPolicy({"a": 1}), NOW, RANKS)
    store.append(1, PutPolicy({"a": 2}), NOW)
    store.append(2, PutPolicy({"a": 3}), NOW, {tier: dict(ranks) for tier, ranks in RANKS.items()})
    assert store.ranks() == RANKS
    store.close()
    assert sqlite3.connect(path).execute("SELECT number FROM ranks").fetchall() == [(1,)]
    again = Store.open(path)
    assert again.ranks() == RANKS
    assert list(again.ranks()["default"]) == ["a", "b"]
    again.append(3, PutPolicy({"a": 4}), NOW, {})
    again.close()
    last = Store.open(path)
    assert last.ranks() == {}
    last.close()


def test_ranks_are_stored_with_their_revision_or_not_at_all(path: Path) -> None:
    store = Store.open(path)
    store.append(0, PutPolicy({"a": 1}), NOW, RANKS)
    with pytest.raises(StoreError):
        store.append(1, PutPolicy({"x": object()}), NOW, {})
    with pytest.raises(RevisionConflict):
        store.append(0, PutPolicy({"a": 2}), NOW, {})
    with pytest.raises(StoreError, match="cannot be stored"):
        store.append(1, PutPolicy({"a": 2}), NOW, {"default": {"a": 2**70}})
    assert (store.latest(), store.ranks()) == ((1, {"a": 1}), RANKS)
    store.close()
    again = Store.open(path)
    assert (again.latest(), again.ranks()) == ((1, {"a": 1}), RANKS)
    again.close()


def as_schema_1(path: Path) -> None:
    """Make a store what it was before there were ranks."""
    alter(path, "DROP TABLE ranks", "PRAGMA user_version = 1")


@pytest.mark.parametrize("count", [0, 1, WHOLE_EVERY + 3])
def test_a_store_of_schema_1_is_opened_without_ranks_and_brought_to_schema_2(path: Path, count: int) -> None:
    documents = fill(path, count)
    as_schema_1(path)
    store = Store.open(path)
    assert (store.latest(), store.ranks()) == ((count, documents[count]), {})
    assert [store.read(number) for number in range(count + 1)] == documents
    store.append(count, PutPolicy({"a": 1}), NOW, RANKS)
    store.close()
    again = Store.open(path)
    assert (again.latest(), again.ranks()) == ((count + 1, {"a": 1}), RANKS)
    again.close()


def test_a_store_of_schema_1_that_is_refused_stays_what_it_was(path: Path) -> None:
    fill(path, 3)
    as_schema_1(path)
    copy = path.read_bytes()
    store = Store.open(path)
    store.append(3, PutPolicy({}), NOW)
    store.close()
    path.write_bytes(copy)
    assert "revision 4 was stored" in refused(path)
    alter(path, "UPDATE revision SET body = x'c0' WHERE number = 2")
    refused(path)


def test_damage_in_an_old_chain_is_noticed_when_it_is_read(path: Path) -> None:
    fill(path, WHOLE_EVERY + 10)
    alter(path, "UPDATE revision SET body = x'c0' WHERE number = 5")
    store = Store.open(path)
    assert store.latest()[0] == WHOLE_EVERY + 10
    assert store.read(4)
    with pytest.raises(StoreError, match="damaged: the content of revision 5"):
        store.read(6)
    store.close()


def test_a_truncated_store_is_refused_at_every_length(path: Path) -> None:
    fill(path, 40)
    content = path.read_bytes()
    assert len(content) > 8192
    for length in range(0, len(content) - 1, 997):
        path.write_bytes(content[:length])
        refused(path)


def test_flipped_bytes_never_pass_as_another_policy(path: Path) -> None:
    """Refused; or the byte means nothing, or lies in an older revision, and the newest one is whole."""
    documents = fill(path, 39)
    store = Store.open(path)
    store.append(39, PutObject("hosts", "h", {}), NOW, RANKS)
    documents.append(store.latest()[1])
    store.close()
    content = path.read_bytes()
    moments = random.Random(7)
    refusals = 0
    for _ in range(400):
        damaged = bytearray(content)
        damaged[moments.randrange(len(content))] ^= moments.randrange(1, 256)
        path.write_bytes(damaged)
        try:
            store = Store.open(path)
        except StoreError:
            refusals += 1
            continue
        assert (store.latest(), store.ranks()) == ((40, documents[40]), RANKS)
        store.close()
    assert refusals > 50


def test_a_broken_log_that_held_acknowledged_revisions_is_refused(path: Path) -> None:
    program = """
import os, sys
from datetime import datetime, UTC
from controller.control import PutPolicy
from controller.store import Store
store = Store.open(sys.argv[1])
store.append(0, PutPolicy({"networks": {"green": {"vlan": 10}}}), datetime.now(UTC))
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == -9
    log = Path(f"{path}-wal")
    content = bytearray(log.read_bytes())
    content[-10] ^= 0xFF
    log.write_bytes(content)
    with pytest.raises(StoreError, match="at revision 0, but revision 1 was stored"):
        Store.open(path)


def test_a_store_that_was_there_and_is_gone_is_not_begun_anew_unasked(path: Path) -> None:
    fill(path, 3)
    path.unlink()
    with pytest.raises(StoreError, match=r"is missing: put it back, or remove .*lock"):
        Store.open(path)
    assert not path.exists()
    Path(f"{path}.lock").unlink()
    store = Store.open(path)
    assert store.latest()[0] == 0
    store.close()


def test_an_older_copy_is_not_taken_for_the_newest(path: Path) -> None:
    fill(path, 3)
    copy = path.read_bytes()
    store = Store.open(path)
    store.append(3, PutPolicy({}), NOW)
    store.close()
    path.write_bytes(copy)
    assert "revision 4 was stored" in refused(path)


def test_a_crash_while_the_store_is_created_leaves_nothing_half_done(path: Path) -> None:
    path.parent.mkdir()
    Path(f"{path}.new").write_bytes(b"half a store")
    store = Store.open(path)
    assert store.latest()[0] == 0
    store.close()
    assert not Path(f"{path}.new").exists()


def as_nobody(path: Path) -> str:
    """Open the store in a child process without root's rights; what happened, as text."""
    answer, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            store = Store.open(path)
            said = f"opened at {store.latest()[0]}"
        except StoreError as error:
            said = f"refused: {error}"
        except BaseException as error:  # noqa: BLE001 - the child may not return into the test runner
            said = f"raised {error!r}"
        os.write(tell, said.encode())
        os._exit(0)
    os.close(tell)
    os.waitpid(child, 0)
    with os.fdopen(answer) as told:
        return told.read()


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user to be without rights")
def test_what_may_not_be_written_is_refused() -> None:
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        os.chmod(base, 0o755)
        path = Path(base) / "policy.db"
        fill(path, 2)
        assert as_nobody(path).startswith("refused: ")
        for name in (path, Path(f"{path}.lock")):
            os.chmod(name, 0o644)
        assert as_nobody(path).startswith("refused: ")
        os.chmod(f"{path}.lock", 0o666)
        assert "not readable and writable" in as_nobody(path)
        os.chmod(path, 0o666)  # the directory is still closed: no log can be made beside the file
        assert as_nobody(path).startswith("refused: ")
        os.chmod(base, 0o777)
        assert as_nobody(path) == "opened at 2"
        assert as_nobody(Path(base) / "deeper" / "new.db") == "opened at 0"


def test_a_full_disk_stores_nothing_and_says_so(path: Path) -> None:
    store = Store.open(path)
    store.append(0, PutPolicy({"a": 1}), NOW)
    assert store._connection is not None
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="full"):
        store.append(1, PutPolicy({"big": "x" * 100_000}), NOW)
    assert store.latest() == (1, {"a": 1})
    store._connection.execute("PRAGMA max_page_count = 100000")
    assert store.append(1, PutPolicy({"a": 2}), NOW) == 2
    store.close()
    again = Store.open(path)
    assert again.latest() == (2, {"a": 2})
    assert again.read(1) == {"a": 1}
    again.close()
