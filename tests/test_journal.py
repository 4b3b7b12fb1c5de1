"""What is acknowledged is there, what failed has changed nothing, what was touched shows."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from awe_core import canonical
from awe_core.errors import AuditError, EngineError, JournalError, JournalUnwritableError
from awe_core.journal import (
    Draft,
    Journal,
    JournalReader,
    OwnerLock,
    PayloadDraft,
    SeqOf,
    Upsert,
    draft_of,
    notes,
    owner_of,
)
from awe_core.journal.chain import leaf
from awe_core.journal.database import set_pragmas
from awe_core.journal.lock import network_kind
from awe_core.journal.pace import CommitThread, Pace
from awe_core.journal.payloads import begun_logs, write_new
from awe_core.journal.tree import Frontier


class Signer:
    def __init__(self, seed: bytes = b"k" * 32) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()
        self.is_silent = False

    def sign(self, text: bytes) -> bytes:
        if self.is_silent:
            raise TimeoutError
        return self._key.sign(text)


class Clock:
    def __init__(self, now_us: int = 1_800_000_000_000_000) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        self.now_us += 1
        return self.now_us


def open_journal(home: Path, kind: type[Journal] = Journal, **changes: object) -> Journal:
    settings = {
        "signer": Signer(),
        "origin": "acme/dev",
        "opened": {"awe": "1.0"},
        "clock_us": Clock(),
    }
    return kind.open(home, **{**settings, **changes})


def draft(rseq: int, run: str = "r1", **fields: object) -> Draft:
    event = {"kind": "step.completed", "rseq": rseq, "run": run, **fields}
    return Draft(canonical.line(event), run, rseq, "step.completed")


def payload(value: object, part: str = "in") -> PayloadDraft:
    salt, body = os.urandom(32), canonical.value(value)
    return PayloadDraft(part, sha256(salt + body).hexdigest(), salt, body)


def used_by(journal: Journal, nonce: bytes) -> int | None:
    """Give the seq of the record that used a ticket up."""
    rows = journal.rows("SELECT consumed_by_seq FROM handshake_ticket WHERE nonce=?", (nonce,))
    return rows[0][0] if rows else None


def alter(home: Path, *statements: str) -> None:
    """Change the file as somebody with an editor would, triggers and all."""
    with closing(sqlite3.connect(home / "journal.db", isolation_level=None)) as db:
        triggers = db.execute("SELECT name, sql FROM sqlite_master WHERE type='trigger'").fetchall()
        for name, _ in triggers:
            db.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            db.execute(statement)
        for _, sql in triggers:
            db.execute(sql)


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture(params=["loop", "thread"])
def journal(home, request):
    opened = open_journal(home, commit=request.param)
    yield opened
    opened.close()


def test_a_new_log_begins_with_the_record_that_names_it(journal):
    (first,) = journal.read()
    assert (first.seq, first.kind, first.run, first.rseq) == (0, "log.opened", "", None)
    event = first.event
    assert event["origin"] == f"acme/dev/{journal.log}" == journal.origin
    assert event["vkey"] == str(notes.VerifierKey(journal.origin, Signer().public))
    assert event["prev_log"] is None
    assert (event["hash"], event["awe"], event["durability"]) == ("sha256", "1.0", "full")
    assert event["sqlite"] == sqlite3.sqlite_version


def test_a_record_is_the_canonical_line_around_its_event_and_hangs_on_the_one_before(journal):
    journal.append([draft(0), draft(1)])
    journal.commit()
    first, second, third = journal.read()
    for record, prev in ((first, bytes(32)), (second, first.hash), (third, second.hash)):
        line = canonical.parse_line(record.line)
        assert list(line) == ["event", "log", "prev", "seq", "ts", "v"]
        assert line["prev"] == prev.hex()
        assert (line["log"], line["seq"], line["ts"], line["v"]) == (
            journal.log,
            record.seq,
            record.ts,
            1,
        )
        assert record.hash == leaf(record.line)
        assert record.event == line["event"]
    assert journal.head().size == 3
    assert journal.head().hash == third.hash


def test_what_is_queued_is_not_there_before_the_commit(journal):
    journal.append([draft(0)])
    assert journal.queued == 1
    assert [r.kind for r in journal.read()] == ["log.opened"]
    journal.commit()
    assert journal.queued == 0
    assert [r.rseq for r in journal.read(run="r1")] == [0]


def test_a_barrier_makes_durable_for_everybody_else_too(journal, home):
    async def main():
        journal.append([draft(0)])
        await journal.barrier()
        with JournalReader(home) as reader:
            return reader.head(), [r.event for r in reader.read(run="r1")]

    head, events = asyncio.run(main())
    assert head == journal.head()
    assert events == [{"kind": "step.completed", "rseq": 0, "run": "r1"}]


def test_all_runs_of_a_loop_turn_share_one_commit(journal):
    async def run(name):
        for rseq in range(3):
            journal.append([draft(rseq, name)])
            await journal.barrier()

    async def main():
        await asyncio.gather(*(run(f"r{n}") for n in range(20)))

    before = journal.counters.commits
    asyncio.run(main())
    assert journal.counters.commits - before == 3
    assert journal.counters.last_records == 20
    assert [r.rseq for r in journal.read(run="r7")] == [0, 1, 2]


def test_a_barrier_with_nothing_queued_returns_at_once(journal):
    asyncio.run(journal.barrier())
    assert journal.counters.commits == 1


def test_a_long_queue_is_cut_between_appends_into_transactions(journal):
    for n in range(5):
        journal.append([draft(n * 400 + i) for i in range(400)])
    before = journal.counters.commits
    journal.commit()
    assert journal.counters.commits - before == 3
    assert journal.head().size == 2001


def test_reading_can_be_narrowed(journal):
    journal.append([draft(0), draft(0, "r2"), draft(1), draft_of({"kind": "pack.proposed"})])
    journal.commit()
    assert [r.seq for r in journal.read(after=1)] == [2, 3, 4]
    assert [r.seq for r in journal.read(after=1, before=4)] == [2, 3]
    assert [r.seq for r in journal.read(run="r1", after_rseq=0)] == [3]
    assert [r.seq for r in journal.read(run="r1", after=1)] == [3]
    assert [r.seq for r in journal.read(kinds=["pack.proposed", "log.opened"])] == [0, 4]
    assert [r.seq for r in journal.read(limit=2)] == [0, 1]
    assert list(journal.read(limit=0)) == []
    assert journal.record(4).kind == "pack.proposed"
    assert journal.record(5) is None


def test_reading_goes_on_over_pages(journal):
    journal.append([draft(n) for n in range(1500)])
    journal.commit()
    assert [r.rseq for r in journal.read(run="r1")] == list(range(1500))
    assert len(list(journal.read(limit=1200))) == 1200
    assert len(list(journal.hashes())) == 1501


def test_projections_are_written_with_their_records(journal):
    row = ("r1", "w", "1.0.0", "RUNNING", "forward", "person:ana", 1, 2, None, None, 9, None, 0, 0)
    journal.append(
        [draft(0), draft(1)],
        [
            Upsert("run", row),
            Upsert("submission", ("key", b"d", "r1")),
            Upsert("mark", ("dev", b"{}")),
            Upsert("handshake_ticket", (b"n", "hs", "sha256:x", "r1", "s", 5, SeqOf(1))),
        ],
    )
    journal.commit()
    assert journal.run_row("r1")["state"] == "RUNNING"
    assert journal.run_row("r2") is None
    assert [r["id"] for r in journal.run_rows(state="RUNNING", due_before_us=9)] == ["r1"]
    assert journal.run_rows(state=["PAUSED", "FAILED"]) == []
    assert journal.run_rows(after="r1") == []
    assert journal.submission("key") == (b"d", "r1")
    assert journal.mark("dev") == b"{}"
    assert journal.mark("prod") is None
    assert used_by(journal, b"n") == 2
    assert used_by(journal, b"m") is None
    assert journal.rows("SELECT count(*) FROM submission") == [(1,)]


def test_a_query_that_would_write_is_refused(journal):
    with pytest.raises(JournalError) as refused:
        journal.rows("DELETE FROM payload")
    assert refused.value.code == "journal.unreadable"


def test_a_table_that_is_no_projection_is_refused_before_anything_is_queued(journal):
    with pytest.raises(KeyError):
        journal.append([draft(0)], [Upsert("log", ())])
    assert journal.queued == 0


@pytest.mark.parametrize(
    "row", [(b"n", "hs", "x", "r1", "s", 5, 9), (b"m", "hs", "x", "r", "s", 5, 1)]
)
def test_a_ticket_that_was_used_is_never_used_again(journal, row):
    ticket = (b"n", "hs", "x", "r1", "s", 5, SeqOf())
    journal.append([draft(0)], [Upsert("handshake_ticket", ticket)])
    journal.commit()
    journal.append([draft(1)], [Upsert("handshake_ticket", row)])
    with pytest.raises(JournalUnwritableError):
        journal.commit()
    assert used_by(journal, b"n") == 1
    assert journal.head().size == 2


def test_a_failed_commit_changes_nothing_and_names_every_run_that_lost_records(journal):
    used = Upsert("handshake_ticket", (b"n", "hs", "x", "r1", "s", 5, SeqOf()))
    journal.append([draft(0)], [used])
    journal.commit()
    head = journal.head()

    async def main():
        journal.append([draft(1)], [used])
        first = asyncio.ensure_future(journal.barrier())
        journal.append([draft(0, "r2")])
        second = asyncio.ensure_future(journal.barrier())
        return await asyncio.gather(first, second, return_exceptions=True)

    failures = asyncio.run(main())
    assert [f.code for f in failures] == ["journal.unwritable"] * 2
    assert [f.attributes["runs"] for f in failures] == [("r1", "r2")] * 2
    assert failures[0] is not failures[1]
    assert journal.head() == head
    journal.append([draft(1)])
    journal.commit()
    assert [r.rseq for r in journal.read(run="r1")] == [0, 1]
    assert journal.counters.failures == 1


def test_a_full_disk_lets_only_evidence_through_until_there_is_room(journal, home):
    pages = journal.rows("SELECT page_count FROM pragma_page_count")[0][0]
    journal._db.execute(f"PRAGMA max_page_count={pages + 3}")  # noqa: SLF001 - a disk that is full
    assert (home / "ballast").stat().st_size == 4 * 1024 * 1024
    journal.append([draft(0, note="x" * 100_000)])
    with pytest.raises(JournalUnwritableError) as full:
        journal.commit()
    assert full.value.code == "journal.full"
    assert full.value.attributes["runs"] == ("r1",)
    assert not (home / "ballast").exists()
    assert [r.kind for r in journal.read()] == ["log.opened", "log.suspended"]
    journal._db.execute("PRAGMA max_page_count=1000000")  # noqa: SLF001 - somebody made room
    assert not journal.is_suspended
    journal.append([draft(0)])
    journal.commit()
    assert [r.kind for r in journal.read(after=1)] == ["log.resumed", "step.completed"]
    assert (home / "ballast").exists()


def test_while_the_disk_is_full_nothing_but_evidence_is_queued(home):
    journal = open_journal(home)
    journal._suspended_us = 1  # noqa: SLF001 - as after a full disk
    blocker = home / "ballast.part"
    (home / "ballast").unlink()
    blocker.mkdir()
    assert journal.is_suspended
    with pytest.raises(JournalUnwritableError) as full:
        journal.append([draft(0)])
    assert full.value.code == "journal.full"
    journal.append([draft_of({"kind": "effect.applied"})])
    journal.commit()
    blocker.rmdir()
    journal.close()
    with JournalReader(home) as reader:
        kinds = [r.kind for r in reader.read(after=0)]
    assert kinds == ["effect.applied", "log.closed"]


def test_another_writer_beside_us_cannot_fork_the_log(journal, home):
    with closing(sqlite3.connect(home / "journal.db", isolation_level=None)) as db:
        db.execute("INSERT INTO log VALUES (1,'',NULL,'x',0,zeroblob(32),x'00')")
    journal.append([draft(0)])
    with pytest.raises(JournalUnwritableError, match="does not end where"):
        journal.commit()
    journal.append([draft(0)])
    with pytest.raises(JournalUnwritableError, match="not a record"):
        journal.commit()


def test_a_commit_whose_end_was_not_seen_is_taken_over(journal):
    """As after an interrupt between COMMIT and the line behind it."""
    end = journal._end  # noqa: SLF001 - the state that was not moved
    journal.append([draft(0)])
    journal.commit()
    journal._end = end  # noqa: SLF001
    journal.append([draft(1)])
    with pytest.raises(JournalUnwritableError):
        journal.commit()
    journal.append([draft(1)])
    journal.commit()
    assert [r.rseq for r in journal.read(run="r1")] == [0, 1]
    expected = Frontier()
    expected.extend(journal.hashes())
    assert journal._end.frontier == expected  # noqa: SLF001


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (b"[]", "not an object"),
        (b'{"a":"' + b"x" * 262_144 + b'"}', "bytes"),
        (b'{"a":' * 16 + b"1" + b"}" * 16, "nested 16 deep"),
    ],
)
def test_an_event_that_would_make_an_odd_line_is_refused_at_the_door(journal, event, reason):
    with pytest.raises(JournalError, match=reason) as refused:
        journal.append([Draft(event, "", None, "x")])
    assert refused.value.code == "journal.event"
    assert journal.queued == 0


def test_brackets_in_strings_are_no_nesting(journal):
    event = canonical.line({"kind": "x", "t": '[{"\\' * 20})
    journal.append([Draft(event, "", None, "x")])
    journal.commit()
    assert canonical.parse_line(journal.record(1).line)["event"]["t"] == '[{"\\' * 20


def test_a_reopened_log_goes_on_where_it_was_closed(home):
    first = open_journal(home)
    first.append([draft(0)])
    first.close()
    again = open_journal(home)
    kinds = [r.kind for r in again.read()]
    assert kinds == ["log.opened", "step.completed", "log.closed", "log.opened"]
    event = again.record(3).event
    assert (event["clean"], event["generation"], "vkey" in event) == (True, 2, False)
    again.close()


def test_a_log_that_was_not_closed_says_so(home):
    first = open_journal(home)
    first.append([draft(0)])
    first.commit()
    first._db.close()  # noqa: SLF001 - as a crash does
    first.lock.release()
    again = open_journal(home)
    assert again.record(2).event["clean"] is False
    again.close()


def test_closing_twice_is_closing_once(home):
    journal = open_journal(home)
    journal.close()
    journal.close()
    assert not (home / "journal.db-wal").exists()


def test_the_home_is_for_its_owner_only(journal, home):
    journal.append([Draft(draft(0).event, "r1", 0, "x", (payload("x" * 2_000_000),))])
    journal.commit()
    for path in [home, *home.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.mark.usefixtures("journal")
def test_a_home_has_one_owner_and_tells_who(home):
    with pytest.raises(EngineError) as locked:
        open_journal(home)
    assert locked.value.code == "engine.locked"
    assert locked.value.attributes["pid"] == os.getpid() == owner_of(home).pid
    assert owner_of(home).generation == 1


def test_a_released_home_can_be_owned_again(tmp_path):
    first = OwnerLock.take(tmp_path)
    assert first.is_mine
    first.release()
    first.release()
    assert not first.is_mine
    second = OwnerLock.take(tmp_path)
    assert second.owner.generation == 2
    second.release()


def test_a_lock_file_with_other_text_is_no_obstacle(tmp_path):
    (tmp_path / "owner.lock").write_text("[]")
    assert owner_of(tmp_path) is None
    lock = OwnerLock.take(tmp_path)
    assert lock.owner.generation == 1
    lock.release()
    assert owner_of(tmp_path / "nowhere") is None


def test_a_lock_held_by_an_unknown_writer_is_still_a_lock(tmp_path):
    lock = OwnerLock.take(tmp_path)
    (tmp_path / "owner.lock").write_text("")
    with pytest.raises(EngineError, match="unknown"):
        OwnerLock.take(tmp_path)
    lock.release()


def test_a_network_file_system_is_recognised_by_its_mount(tmp_path):
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    line = f"1 2 {os.major(device)}:{os.minor(device)} / /x rw shared:1 - %s server:/x rw\n"
    mounts.write_text("9 9 0:0 / /proc rw - proc proc rw\n" + line % "nfs4")
    assert network_kind(tmp_path, mounts=mounts) == "nfs4"
    mounts.write_text(line % "ext4")
    assert network_kind(tmp_path, mounts=mounts) is None
    mounts.write_text("")
    assert network_kind(tmp_path, mounts=mounts) is None
    assert network_kind(tmp_path, mounts=tmp_path / "none") is None


def test_a_home_on_a_network_file_system_is_refused(tmp_path):
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 2 {os.major(device)}:{os.minor(device)} / /x rw - nfs s:/x rw\n")
    with pytest.raises(EngineError) as refused:
        OwnerLock.take(tmp_path, mounts=mounts)
    assert refused.value.code == "engine.network_fs"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_cannot_write(journal):
    child = os.fork()
    if child == 0:
        try:
            journal.append([draft(0)])
            journal.commit()
        except EngineError as error:
            os._exit(7 if error.code == "engine.forked" else 1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    assert journal.head().size == 1


def test_payloads_come_back_and_stand_nowhere_in_the_clear(journal, home):
    value = {"path": "geheim.txt", "n": 1.5}
    journal.append([Draft(draft(0).event, "r1", 0, "step.completed", (payload(value),))])
    journal.commit()
    assert journal.payload("r1", 0, "in") == canonical.value(value)
    assert journal.payload("r1", 0, "out") is None
    assert journal.payload("r1", 1, "in") is None
    with JournalReader(home) as reader:
        assert reader.payload("r1", 0, "in") == canonical.value(value)
        assert list(reader.payload_rows()) == [(1, "in", "r1", 0)]
    for file in home.rglob("*"):
        assert not file.is_file() or b"geheim" not in file.read_bytes(), file


def test_a_payload_outside_runs_is_found_by_its_seq(journal):
    event = canonical.line({"kind": "pack.proposed"})
    journal.append([Draft(event, "", None, "pack.proposed", (payload([1]),))])
    journal.commit()
    assert journal.payload("", None, "in", seq=1) == b"[1]"


def test_a_large_payload_lies_in_a_file_named_by_its_digest(journal, home):
    large = payload("x" * 1_100_000)
    journal.append([Draft(draft(0).event, "r1", 0, "step.completed", (large,))])
    journal.commit()
    file = home / "payloads" / large.digest
    assert journal.payload("r1", 0, "in") == large.body
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(AuditError) as damaged:
        journal.payload("r1", 0, "in")
    assert damaged.value.code == "audit.payload"
    file.unlink()
    with pytest.raises(AuditError) as gone:
        journal.payload("r1", 0, "in")
    assert gone.value.code == "audit.payload_missing"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE payload SET body=zeroblob(80)",
        "UPDATE payload SET digest=zeroblob(32)",
        "UPDATE payload SET part='out' WHERE part='in'",
        "UPDATE payload SET file='../../etc/passwd'",
    ],
)
def test_a_payload_that_was_touched_is_not_given_out(home, change):
    journal = open_journal(home)
    journal.append([Draft(draft(0).event, "r1", 0, "x", (payload([1]),))])
    journal.close()
    alter(home, change)
    with JournalReader(home) as reader, pytest.raises(AuditError) as damaged:
        reader.payload("r1", 0, "out" if "part" in change else "in")
    assert damaged.value.code == "audit.payload"


@pytest.mark.parametrize("name", ["payload.db", "master.key"])
def test_a_log_whose_payload_keys_are_gone_does_not_open(home, name):
    open_journal(home).close()
    (home / "keys" / name).unlink()
    with pytest.raises(AuditError) as missing:
        open_journal(home)
    assert missing.value.code == "audit.keys_missing"


@pytest.mark.parametrize("text", ["00" * 32, "no key", "00"])
def test_a_master_key_that_does_not_open_the_log_key_is_a_missing_one(home, text):
    open_journal(home).close()
    (home / "keys" / "master.key").write_text(text)
    with pytest.raises(AuditError) as missing:
        open_journal(home)
    assert missing.value.code == "audit.keys_missing"


@pytest.mark.parametrize("name", ["payload.db", "master.key.new", "payload.db.new"])
def test_what_a_crash_left_of_a_key_file_keeps_no_home_closed(home, name):
    (home / "keys").mkdir(parents=True)
    (home / "keys" / name).touch(mode=0o600)
    open_journal(home).close()
    open_journal(home).close()


def test_the_key_of_another_log_is_a_missing_one(home, tmp_path):
    open_journal(home).close()
    open_journal(tmp_path / "other").close()
    shutil.rmtree(home / "keys")
    shutil.copytree(tmp_path / "other" / "keys", home / "keys")
    with pytest.raises(AuditError) as missing:
        open_journal(home)
    assert missing.value.code == "audit.keys_missing"


def test_key_files_that_others_can_read_are_refused(home):
    open_journal(home).close()
    (home / "keys" / "master.key").chmod(0o644)
    with pytest.raises(AuditError) as shared:
        open_journal(home)
    assert shared.value.code == "audit.keys_shared"


def test_equal_values_have_equal_macs_in_one_log_only(journal, tmp_path):
    assert journal.mac(b'"pin"') == journal.mac(b'"pin"') != journal.mac(b'"nip"')
    other = open_journal(tmp_path / "other")
    assert other.mac(b'"pin"').split(":")[1] != journal.mac(b'"pin"').split(":")[1]
    other.close()


def test_a_checkpoint_is_signed_after_a_thousand_records_and_at_the_close(home):
    journal = open_journal(home, checkpoint_every_s=3600.0)
    journal.append([draft(n) for n in range(998)])
    journal.commit()
    assert journal.checkpoints() == []
    journal.append([draft(998)])
    journal.commit()
    assert [size for size, _ in journal.checkpoints()] == [1000]
    journal.append([draft(999)])
    journal.close()
    with JournalReader(home) as reader:
        assert [size for size, _ in reader.checkpoints()] == [1000, 1002]
        for size, text in reader.checkpoints():
            frontier = Frontier()
            frontier.extend(reader.hashes(0, size))
            note = notes.parse_note(text.encode())
            assert note.is_signed_by(notes.VerifierKey(journal.origin, journal.public))
            assert note.checkpoint == notes.Checkpoint(journal.origin, size, frontier.root())


def test_a_checkpoint_follows_on_its_own_when_nothing_more_is_committed(home):
    async def main():
        journal.append([draft(0)])
        await journal.barrier()
        async with asyncio.timeout(5):
            while (journal.newest_note() or (0,))[0] < 2:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0)

    journal = open_journal(home, checkpoint_every_s=0.01)
    asyncio.run(main())
    assert [size for size, _ in journal.checkpoints()][-1] == 2
    journal.close()


def test_a_checkpoint_can_be_asked_for_and_is_made_once(journal):
    journal.append([draft(0)])
    text = journal.checkpoint_now()
    assert notes.parse_note(text.encode()).checkpoint.size == 2
    assert journal.checkpoint_now() == text
    assert journal.counters.checkpoints == 1


def test_a_silent_signer_stops_checkpoints_and_nothing_else(home):
    signer = Signer()
    journal = open_journal(home, signer=signer, checkpoint_every_s=0.0)
    signer.is_silent = True
    journal.append([draft(0)])
    journal.commit()
    with pytest.raises(JournalUnwritableError, match="signer"):
        journal.checkpoint_now()
    assert journal.head().size == 2
    signer.is_silent = False
    assert notes.parse_note(journal.checkpoint_now().encode()).checkpoint.size == 2
    journal.close()


def test_a_signer_that_stays_silent_for_a_minute_is_recorded_once_and_so_is_its_return(journal):
    checkpointer = journal._checkpointer  # noqa: SLF001 - the minute is its own
    checkpointer._failing_since = -60.0  # noqa: SLF001
    for rseq in range(2):
        journal.append([draft(rseq)])
        journal.commit()
    checkpointer._failing_since = None  # noqa: SLF001
    journal.append([draft(2)])
    journal.commit()
    kinds = [r.kind for r in journal.read() if r.kind.startswith("sink")]
    assert kinds == ["sink.degraded", "sink.recovered"]


def test_a_clock_that_goes_back_is_recorded_before_the_record_it_would_date(home):
    clock = Clock()
    journal = open_journal(home, clock_us=clock)
    clock.now_us -= 5_000_000
    journal.append([draft(0)], [Upsert("handshake_ticket", (b"n", "", "", "", "", 0, SeqOf()))])
    journal.commit()
    assert [r.kind for r in journal.read()] == [
        "log.opened",
        "log.clock_regressed",
        "step.completed",
    ]
    assert used_by(journal, b"n") == 2
    journal.append([draft(1)])
    journal.commit()
    assert journal.head().size == 4
    journal.close()


def test_a_log_that_was_begun_and_is_gone_is_not_silently_begun_anew(home):
    open_journal(home).close()
    (home / "journal.db").unlink()
    with pytest.raises(AuditError) as gone:
        open_journal(home)
    assert gone.value.code == "audit.truncated"


def grown(home: Path, records: int = 20, **settings: object) -> None:
    journal = open_journal(home, **settings)
    journal.append([draft(n) for n in range(records)])
    journal.close()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("UPDATE log SET body=x'7b7d' WHERE seq=5", "audit.not_canonical"),
        (
            "UPDATE log SET body=CAST(replace(CAST(body AS TEXT),'r1','r9') AS BLOB) WHERE seq=5",
            "audit.hash",
        ),
        ("UPDATE log SET hash=zeroblob(32) WHERE seq=5", "audit.hash"),
        ("UPDATE log SET run='r9' WHERE seq=5", "audit.column"),
        ("UPDATE log SET rseq=NULL WHERE seq=5", "audit.column"),
        ("UPDATE log SET kind='x' WHERE seq=5", "audit.column"),
        ("UPDATE log SET ts=1 WHERE seq=5", "audit.column"),
        ("DELETE FROM log WHERE seq=5", "audit.gap"),
        ("DELETE FROM log WHERE seq=0", "audit.truncated"),
        ("DELETE FROM log WHERE seq>5", "audit.truncated"),
        ("UPDATE log SET body=(SELECT body FROM log WHERE seq=6) WHERE seq=5", "audit.gap"),
        ("UPDATE checkpoint SET frontier=zeroblob(length(frontier))", "audit.root"),
        ("UPDATE checkpoint SET frontier=x'00'", "audit.root"),
        ("UPDATE checkpoint SET note='x'", "audit.note"),
        ("UPDATE checkpoint SET size=size-1", "audit.log_id"),
        ("INSERT INTO sink VALUES ('s', 99, NULL, 'ok', NULL, NULL)", "audit.truncated"),
        ("INSERT INTO sink VALUES ('s', 5, zeroblob(32), 'ok', NULL, NULL)", "audit.forked"),
    ],
)
def test_a_journal_that_was_touched_does_not_open(home, change, code):
    grown(home)
    alter(home, change)
    with pytest.raises(AuditError) as found:
        open_journal(home)
    assert found.value.code == code
    assert owner_of(home) is not None
    OwnerLock.take(home).release()


def test_a_link_that_is_wrong_is_found_even_when_every_hash_fits_its_line(home):
    grown(home)
    with closing(sqlite3.connect(home / "journal.db")) as db:
        line = db.execute("SELECT body FROM log WHERE seq=5").fetchone()[0]
    forged = line.replace(b'"r1"', b'"r9"')
    body, stored = forged.hex(), leaf(forged).hex()
    alter(home, f"UPDATE log SET body=x'{body}', run='r9', hash=x'{stored}' WHERE seq=5")  # noqa: S608 - ours
    with pytest.raises(AuditError) as found:
        open_journal(home)
    assert (found.value.code, found.value.attributes["seq"]) == ("audit.link", 6)


def test_a_journal_signed_by_another_key_does_not_open(home):
    grown(home)
    with pytest.raises(AuditError) as found:
        open_journal(home, signer=Signer(b"o" * 32))
    assert found.value.code == "audit.untrusted_key"


def test_a_wrong_signature_by_the_right_key_does_not_open(home):
    grown(home)
    with JournalReader(home) as reader:
        size, text = reader.newest_note()
    note = notes.parse_note(text.encode())
    other = notes.sign(notes.Checkpoint(note.checkpoint.origin, size, bytes(32)), Signer())
    forged = text.split("\n\n")[0] + "\n\n" + other.split("\n\n")[1]
    alter(home, f"UPDATE checkpoint SET note='{forged}'")  # noqa: S608 - ours
    with pytest.raises(AuditError) as found:
        open_journal(home)
    assert found.value.code == "audit.signature"


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TRIGGER log_keep_u",
        "CREATE TRIGGER x AFTER INSERT ON log BEGIN SELECT 1; END",
        "CREATE VIEW v AS SELECT 1",
    ],
)
def test_a_journal_with_another_schema_does_not_open(home, statement):
    grown(home)
    with closing(sqlite3.connect(home / "journal.db")) as db:
        db.execute(statement)
    for attempt in (open_journal, JournalReader):
        with pytest.raises(JournalError) as refused:
            attempt(home)
        assert refused.value.code == "journal.schema"


@pytest.mark.usefixtures("journal")
def test_records_cannot_be_changed_or_deleted_by_accident(home):
    with closing(sqlite3.connect(home / "journal.db")) as db:
        for statement in ("UPDATE log SET ts=1", "DELETE FROM log"):
            with pytest.raises(sqlite3.IntegrityError, match="append only"):
                db.execute(statement)


def test_a_journal_of_a_later_version_is_left_alone(home):
    grown(home)
    with closing(sqlite3.connect(home / "journal.db")) as db:
        db.execute("PRAGMA user_version=2")
    with pytest.raises(JournalError) as refused:
        open_journal(home)
    assert refused.value.code == "journal.newer"


def test_a_pragma_that_the_build_ignores_is_refused():
    with closing(sqlite3.connect(":memory:")) as db, pytest.raises(JournalError) as refused:
        set_pragmas(db, {"journal_mode": "wal"})  # which a database in memory cannot have
    assert refused.value.code == "journal.pragma"


def test_a_database_of_somebody_else_is_left_alone(home):
    home.mkdir()
    with closing(sqlite3.connect(home / "journal.db")) as db:
        db.execute("CREATE TABLE theirs(x)")
    with pytest.raises(JournalError) as refused:
        open_journal(home)
    assert refused.value.code == "journal.foreign"


@pytest.mark.parametrize("attempt", [open_journal, JournalReader])
def test_a_file_that_is_no_database_is_named(home, attempt):
    home.mkdir()
    (home / "journal.db").write_bytes(b"no database at all, but long enough to look at" * 50)
    with pytest.raises(JournalError) as refused:
        attempt(home)
    assert refused.value.code == "journal.unreadable"


def test_a_home_without_a_journal_has_none_to_read(tmp_path):
    with pytest.raises(JournalError) as refused:
        JournalReader(tmp_path)
    assert refused.value.code == "journal.missing"


def test_an_anchor_gets_every_checkpoint_and_shows_a_log_that_was_set_back(home, tmp_path):
    anchor = tmp_path / "anchor.note"
    grown(home, anchors=[anchor])
    assert notes.parse_note(anchor.read_bytes()).checkpoint.size == 22
    shutil.copytree(home, tmp_path / "old")
    grown(home, anchors=[anchor])
    with pytest.raises(AuditError) as back:
        open_journal(tmp_path / "old", anchors=[anchor])
    assert back.value.code == "audit.truncated"


def test_an_anchor_shows_a_log_with_another_history(home, tmp_path):
    anchor = tmp_path / "anchor.note"
    grown(home)
    shutil.copytree(home, tmp_path / "fork")
    grown(home, records=30, anchors=[anchor])
    grown(tmp_path / "fork", records=40)
    with pytest.raises(AuditError) as forked:
        open_journal(tmp_path / "fork", anchors=[anchor])
    assert forked.value.code == "audit.forked"


@pytest.mark.parametrize(
    ("origin", "seed", "code"),
    [("other/x", b"k" * 32, "audit.log_id"), (None, b"o" * 32, "audit.signature")],
)
def test_an_anchor_that_is_not_this_logs_is_refused(home, tmp_path, origin, seed, code):
    grown(home)
    with JournalReader(home) as reader:
        name = reader.record(0).event["origin"]
    anchor = tmp_path / "anchor.note"
    anchor.write_text(notes.sign(notes.Checkpoint(origin or name, 3, bytes(32)), Signer(seed)))
    with pytest.raises(AuditError) as refused:
        open_journal(home, anchors=[anchor])
    assert refused.value.code == code


def test_a_log_that_lost_its_file_is_told_by_its_anchor(home, tmp_path):
    anchor = tmp_path / "anchor.note"
    grown(home, anchors=[anchor])
    with pytest.raises(AuditError) as gone:
        open_journal(tmp_path / "empty", anchors=[anchor])
    assert gone.value.code == "audit.truncated"


def test_a_reader_sees_what_is_committed_while_the_owner_writes(journal, home):
    with JournalReader(home) as reader:
        before = reader.head().size
        journal.append([draft(0)])
        journal.commit()
        assert reader.head().size == before + 1
        with pytest.raises(sqlite3.OperationalError):
            reader._db.execute("INSERT INTO mark VALUES ('x', x'')")  # noqa: SLF001 - it cannot


class Required:
    def __init__(self) -> None:
        self.seen: list[int] = []
        self.waited: list[int] = []

    def committed(self, size: int) -> None:
        self.seen.append(size)

    def riders(self):
        return (), ()

    def is_required(self) -> bool:
        return True

    async def acknowledged(self, size: int) -> None:
        self.waited.append(size)


def test_a_barrier_waits_for_the_required_sinks(journal):
    sinks = Required()
    journal.watch(sinks)
    journal.append([draft(0)])
    asyncio.run(journal.barrier())
    assert (sinks.seen, sinks.waited) == ([2], [2])


def test_normal_durability_is_asked_for_by_name_and_recorded(home):
    journal = open_journal(home, durability="normal")
    assert journal.record(0).event["durability"] == "normal"
    assert journal.rows("SELECT synchronous FROM pragma_synchronous") == [(1,)]
    journal.close()


WRITER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from awe_core import canonical
from awe_core.journal import Draft, Journal
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

class Signer:
    _key = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    public = _key.public_key().public_bytes_raw()
    def sign(self, text):
        return self._key.sign(text)

journal = Journal.open(Path(sys.argv[1]), signer=Signer(), origin="acme/dev", opened={{}},
                       checkpoint_every_s=0.001)

async def run(name):
    for rseq in range(10_000):
        event = {{"kind": "x", "rseq": rseq, "run": name}}
        journal.append([Draft(canonical.line(event), name, rseq, "x")])
        await journal.barrier()
        sys.stdout.write(f"{{name}} {{rseq}}\\n")
        sys.stdout.flush()

async def main():
    await asyncio.gather(*(run(f"r{{n}}") for n in range(4)))

asyncio.run(main())
"""


def test_what_was_acknowledged_before_a_kill_is_there_and_the_chain_is_whole(home, tmp_path):
    program = tmp_path / "writer.py"
    root = str(Path(__file__).parents[1])
    program.write_text(textwrap.dedent(WRITER).format(root=root))
    done = {f"r{n}": 0 for n in range(4)}
    base = dict(done)
    for lines in (1, 40, 173):
        acknowledged = dict.fromkeys(done, -1)
        with subprocess.Popen(
            [sys.executable, str(program), str(home)], stdout=subprocess.PIPE, text=True
        ) as process:
            for _ in range(lines):
                name, rseq = process.stdout.readline().split()
                acknowledged[name] = int(rseq)
            process.send_signal(signal.SIGKILL)
            for line in process.stdout:
                if line.endswith("\n"):
                    name, rseq = line.split()
                    acknowledged[name] = int(rseq)
        journal = open_journal(home)
        prev = bytes(32)
        frontier = Frontier()
        for record in journal.read():
            line = canonical.parse_line(record.line)
            assert line["prev"] == prev.hex()
            prev = leaf(record.line)
            frontier.append(prev)
        assert frontier.root() == journal._end.frontier.root()  # noqa: SLF001 - what goes on
        for name, last in acknowledged.items():
            found = sum(1 for r in journal.read() if r.run == name) - base[name]
            assert found >= last + 1
            base[name] += found
        journal.close()


def test_a_key_file_that_was_left_empty_by_who_died_making_it_is_no_hindrance(tmp_path):
    (tmp_path / "keys").mkdir(mode=0o700)
    write_new(tmp_path / "keys" / "payload.db", b"")
    assert () == begun_logs(tmp_path)


# ---- commits beside the loop --------------------------------------------------------------------
class Slow(Journal):
    """A journal on a slow disk: a commit takes until it is let go, or some milliseconds."""

    def __init__(self, *parts, **more):
        self.let_go, self.began = threading.Event(), threading.Event()
        self.took_s, self.fails = 0.0, False
        self.threads: list[str] = []
        self.let_go.set()
        super().__init__(*parts, **more)

    def _write(self, entries, *, is_forced=False):
        self.threads.append(threading.current_thread().name)
        self.began.set()
        self.let_go.wait()
        time.sleep(self.took_s)
        if self.fails:
            raise self._unwritable("silence")
        super()._write(entries, is_forced=is_forced)


@pytest.fixture
def slow(tmp_path):
    opened = open_journal(tmp_path / "home", Slow, commit="thread")
    yield opened
    opened.fails = False
    opened.let_go.set()
    opened.close()


def committed(journal):
    return [record.rseq for record in journal.read(run="r1")]


async def begun(journal, number):
    """Have a commit at work that does not end before it is let go."""
    journal.let_go.clear()
    journal.began.clear()
    journal.append([draft(number)])
    waiting = asyncio.ensure_future(journal.barrier())
    await asyncio.to_thread(journal.began.wait)
    return waiting


def test_the_loop_goes_on_while_a_commit_is_slow(slow):
    async def main():
        first = await begun(slow, 0)
        slow.append([draft(1)])
        second = asyncio.ensure_future(slow.barrier())
        await asyncio.sleep(0.01)
        assert (False, False, []) == (first.done(), second.done(), committed(slow))
        assert 2 == slow.queued
        slow.let_go.set()
        await asyncio.gather(first, second)
        assert [0, 1] == committed(slow)
        assert 0 == slow.queued == slow.queued_bytes

    asyncio.run(main())


def test_what_must_be_durable_at_once_waits_for_the_commit_that_is_at_work(slow):
    async def main():
        waiting = await begun(slow, 0)
        slow.append([draft(1)])
        asyncio.get_running_loop().run_in_executor(None, slow.let_go.set)
        slow.commit()
        assert [0, 1] == committed(slow)
        await waiting

    asyncio.run(main())


def test_a_commit_that_fails_on_the_thread_drops_all_that_is_queued(slow):
    dropped = []
    slow.on_drop = lambda runs, _: dropped.append(runs)

    async def main():
        first = await begun(slow, 0)
        slow.append([draft(0, "r2")])
        second = asyncio.ensure_future(slow.barrier())
        slow.fails = True
        slow.let_go.set()
        found = await asyncio.gather(first, second, return_exceptions=True)
        assert [("r1", "r2")] * 2 == [error.attributes["runs"] for error in found]
        assert [("r1", "r2")] == dropped
        slow.fails = False
        slow.append([draft(0)])
        await slow.barrier()
        assert [0] == committed(slow)

    asyncio.run(main())


def test_closing_waits_for_the_commit_that_is_at_work(slow):
    async def main():
        await begun(slow, 0)
        asyncio.get_running_loop().run_in_executor(None, slow.let_go.set)
        slow.close()

    asyncio.run(main())
    again = open_journal(slow.home)
    assert [0] == committed(again)
    again.close()


def test_slow_commits_move_to_a_thread_and_quick_ones_stay(tmp_path):
    journal = open_journal(tmp_path / "home", Slow, commit="auto")

    async def main(first, last):
        for number in range(first, last):
            journal.append([draft(number)])
            await journal.barrier()

    asyncio.run(main(0, 70))
    assert {"MainThread"} == set(journal.threads)
    journal.took_s = 0.005
    asyncio.run(main(70, 220))
    assert "awe-commit" == journal.threads[-1]
    journal.close()
    assert "MainThread" == journal.threads[-1]


def test_the_pace_is_the_median_of_a_whole_sample():
    pace = Pace()
    assert not any(pace.is_slow(1.0) for _ in range(63))
    assert pace.is_slow(1.0)
    assert not any(pace.is_slow(0.001) for _ in range(64))


def test_whatever_is_queued_and_awaited_is_durable_in_its_order(tmp_path):
    journal = open_journal(tmp_path / "home", Slow, commit="thread")
    dice, told = random.Random(5), []  # noqa: S311 - a test's dice

    async def worker(run):
        for number in range(30):
            journal.append([draft(number, run)])
            if dice.random() < 0.5:
                await journal.barrier()
                told.append((run, number))
                seen = [record.rseq for record in journal.read(run=run)]
                assert list(range(number + 1)) == seen
            elif dice.random() < 0.1:
                with contextlib.suppress(JournalUnwritableError):
                    journal.commit()

    async def main():
        await asyncio.gather(*(worker(f"r{n}") for n in range(8)))

    asyncio.run(main())
    assert told
    journal.close()


def test_what_fails_on_the_thread_is_raised_where_it_is_waited_for():
    beside = CommitThread()
    with pytest.raises(ZeroDivisionError):
        beside.submit(lambda: 1 // 0).result()
    assert beside.submit(lambda: None).result() is None
    beside.close()
