"""Sinks get every record, in order, at least once; only a required one can hold anything up."""

from __future__ import annotations

import asyncio
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from awe_core import canonical
from awe_core.audit import Attached, AuditLogger, JsonlSink, parse_pins, verify_file
from awe_core.audit.sources import split_notes
from awe_core.errors import AuditError
from awe_core.journal import Draft, Journal, JournalReader, notes


class Signer:
    _key = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    public = _key.public_key().public_bytes_raw()

    def sign(self, text: bytes) -> bytes:
        return self._key.sign(text)


class RecordingSink:
    """Keeps everything in memory, and fails, hangs or lies on demand."""

    acknowledges = True

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self.lines: list[bytes] = []
        self.notes: list[int] = []
        self.failures = 0
        self.opened = 0
        self.lie = 0
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.is_closed = threading.Event()
        self.was_written = threading.Event()

    def open(self, log: str) -> int:  # noqa: ARG002 - the protocol's
        self.opened += 1
        return len(self.lines)

    def write(self, batch):
        self.may_go_on.wait(10)
        if self.failures:
            self.failures -= 1
            raise ConnectionError("away")
        assert [r.seq for r in batch] == list(range(len(self.lines), len(self.lines) + len(batch)))
        self.lines += [r.line for r in batch]
        self.was_written.set()
        return len(self.lines) + self.lie

    def checkpoint(self, size: int, note: str) -> str | None:  # noqa: ARG002 - the protocol's
        self.notes.append(size)
        return None

    def close(self, timeout_s: float) -> None:  # noqa: ARG002 - the protocol's
        self.is_closed.set()


def open_journal(tmp_path) -> Journal:
    return Journal.open(tmp_path / "home", signer=Signer(), origin="acme/dev", opened={})


@pytest.fixture
def journal(tmp_path):
    opened = open_journal(tmp_path)
    yield opened
    opened.close()


def draft(rseq: int) -> Draft:
    event = {"kind": "x", "run": "r", "rseq": rseq}
    return Draft(canonical.line(event), "r", rseq, "x")


def write(journal: Journal, count: int) -> None:
    async def main() -> None:
        start = journal.head().size - 1
        for n in range(count):
            journal.append([draft(start + n)])
            await journal.barrier()

    asyncio.run(main())


def test_a_barrier_returns_once_a_required_sink_holds_the_records(journal):
    sink = RecordingSink()
    logger = AuditLogger(journal, [Attached(sink, is_required=True)])
    write(journal, 5)
    assert sink.lines == [r.line for r in journal.read()]
    (status,) = logger.status()
    assert (status.acked, status.behind, status.error) == (6, 0, "")
    logger.close()
    assert sink.is_closed.is_set()


def test_what_a_sink_acknowledged_rides_in_a_later_transaction(journal):
    logger = AuditLogger(journal, [Attached(RecordingSink(), is_required=True)])
    write(journal, 3)
    commits = journal.counters.commits
    assert commits == 4
    acked, last, state = journal.sinks()["memory"]
    assert (acked, state) == (3, "ok")
    assert last == journal.record(2).hash
    logger.close()


def test_a_hanging_sink_that_is_not_required_holds_nothing_up(journal):
    hung, good = RecordingSink("hung"), RecordingSink("good")
    hung.may_go_on.clear()
    logger = AuditLogger(journal, [hung, Attached(good, is_required=True)])
    write(journal, 3)
    assert len(good.lines) == 4
    assert hung.lines == []
    assert {s.name: s.behind for s in logger.status()} == {"hung": 4, "good": 0}
    hung.may_go_on.set()
    logger.close()
    assert hung.lines == good.lines


def test_a_required_sink_that_is_silent_stops_everything(journal):
    sink = RecordingSink()
    sink.may_go_on.clear()
    logger = AuditLogger(journal, [Attached(sink, is_required=True)], patience_s=0.01)
    with pytest.raises(AuditError) as silent:
        write(journal, 1)
    assert silent.value.code == "audit.sink_unavailable"
    assert silent.value.exit_code == 9
    sink.may_go_on.set()
    logger.close()


def test_a_failing_sink_is_recorded_once_an_outage_and_gets_everything_afterwards(journal):
    sink = RecordingSink()
    sink.failures = 3
    logger = AuditLogger(
        journal, [Attached(sink, is_required=True)], first_pause_s=0.001, patience_s=5
    )
    write(journal, 1)
    write(journal, 1)
    sent = [r.event for r in journal.read() if r.kind.startswith("sink.")]
    assert [event["kind"] for event in sent] == ["sink.degraded", "sink.recovered"]
    assert sent[0]["err"]["msg"] == "ConnectionError: away"
    assert sink.lines == [r.line for r in journal.read()]
    assert sink.opened == 4
    logger.close()


def test_a_sink_that_holds_more_than_the_log_is_not_written_to(journal):
    sink = RecordingSink()
    sink.lines = [b"x"] * 9
    logger = AuditLogger(journal, [Attached(sink, is_required=True)], patience_s=0.05)
    with pytest.raises(AuditError, match="does not hold") as refused:
        write(journal, 1)
    assert refused.value.code == "audit.sink_unavailable"
    assert len(sink.lines) == 9
    journal.append([draft(1)])
    journal.commit()
    (degraded,) = journal.read(kinds=["sink.degraded"])
    assert degraded.event["err"]["code"] == "audit.sink_forked"
    logger.close()


def test_a_sink_that_acknowledges_more_than_it_got_is_an_outage(journal):
    sink = RecordingSink()
    sink.lie = 5
    logger = AuditLogger(journal, [Attached(sink, is_required=True)], patience_s=0.05)
    with pytest.raises(AuditError, match="does not hold"):
        write(journal, 1)
    logger.close()


def test_a_sink_gets_the_notes_it_holds_the_records_of(journal):
    sink = RecordingSink()
    logger = AuditLogger(journal, [Attached(sink, is_required=True)])
    write(journal, 2)
    journal.checkpoint_now()
    write(journal, 1)
    logger.close()
    assert sink.notes == [3]


def test_a_required_sink_must_acknowledge(journal):
    sink = RecordingSink()
    sink.acknowledges = False
    with pytest.raises(AuditError) as refused:
        AuditLogger(journal, [Attached(sink, is_required=True)])
    assert refused.value.code == "sink.not_acknowledging"


def test_two_sinks_of_one_name_are_refused(journal):
    with pytest.raises(AuditError) as refused:
        AuditLogger(journal, [RecordingSink(), RecordingSink()])
    assert refused.value.code == "sink.name_taken"


def test_a_closed_journal_leaves_its_last_record_with_the_sinks(tmp_path):
    journal = open_journal(tmp_path)
    sink = RecordingSink()
    logger = AuditLogger(journal, [sink])
    write(journal, 2)
    journal.close()
    logger.close()
    assert canonical.parse_line(sink.lines[-1])["event"]["kind"] == "log.closed"


def jsonl(tmp_path, **settings) -> JsonlSink:
    return JsonlSink(tmp_path / "audit", **settings)


def lines_in(tmp_path) -> list[bytes]:
    files = sorted(
        (tmp_path / "audit").glob("*.jsonl"), key=lambda f: int(f.stem.rpartition("-")[2])
    )
    return b"".join(f.read_bytes() for f in files).splitlines()


def test_the_jsonl_sink_goes_on_where_it_stopped(tmp_path):
    for _ in range(3):
        journal = open_journal(tmp_path)
        logger = AuditLogger(journal, [Attached(jsonl(tmp_path), is_required=True)])
        write(journal, 3)
        journal.close()
        logger.close()
    with JournalReader(tmp_path / "home") as reader:
        assert lines_in(tmp_path) == [r.line for r in reader.read()]


def test_the_jsonl_sink_begins_a_new_segment_when_one_is_full(tmp_path, journal):
    logger = AuditLogger(journal, [Attached(jsonl(tmp_path, segment_bytes=400), is_required=True)])
    write(journal, 6)
    logger.close()
    names = {f.name for f in (tmp_path / "audit").glob("*.jsonl")}
    assert len(names) > 2
    assert f"{journal.log}-0.jsonl" in names
    assert lines_in(tmp_path) == [r.line for r in journal.read()]


def test_the_jsonl_sink_cuts_a_torn_line_and_gets_it_again(tmp_path, journal):
    records = list(journal.read())
    sink = jsonl(tmp_path)
    sink.open(journal.log)
    sink.write(records)
    sink.close(0)
    (file,) = (tmp_path / "audit").glob("*.jsonl")
    with file.open("ab") as out:
        out.write(b'{"event":{"torn')
    again = jsonl(tmp_path)
    assert again.open(journal.log) == 1
    assert again.last_hash(journal.log) == records[0].hash
    assert again.last_hash("other") is None
    again.close(0)
    file.write_bytes(b'{"event":{"torn')
    assert jsonl(tmp_path).open(journal.log) == 0


def test_the_jsonl_sink_takes_a_batch_twice_and_refuses_a_gap(tmp_path, journal):
    write(journal, 3)
    records = list(journal.read())
    sink = jsonl(tmp_path)
    sink.open(journal.log)
    assert sink.write(records[:2]) == 2
    assert sink.write(records[:3]) == 3
    assert sink.write(records[:3]) == 3
    assert len(lines_in(tmp_path)) == 3
    next((tmp_path / "audit").glob("*.jsonl")).unlink()
    sink.open(journal.log)
    with pytest.raises(AuditError) as gap:
        sink.write(records[1:])
    assert gap.value.code == "audit.gap"
    sink.close(0)


def test_a_jsonl_sink_with_another_history_is_found_at_open(tmp_path, journal):
    write(journal, 2)
    sink = jsonl(tmp_path)
    sink.open(journal.log)
    sink.write(list(journal.read()))
    sink.close(0)
    (file,) = (tmp_path / "audit").glob("*.jsonl")
    file.write_bytes(file.read_bytes().replace(b'"rseq":1', b'"rseq":7'))
    logger = AuditLogger(journal, [Attached(jsonl(tmp_path), is_required=True)], patience_s=0.05)
    with pytest.raises(AuditError, match="does not hold this log"):
        write(journal, 1)
    logger.close()


def test_the_files_of_the_jsonl_sink_verify_with_its_notes(tmp_path, journal):
    logger = AuditLogger(journal, [Attached(jsonl(tmp_path), is_required=True)])
    write(journal, 3)
    journal.checkpoint_now()
    write(journal, 2)
    logger.close()
    (file,) = (tmp_path / "audit").glob("*.jsonl")
    anchors = split_notes((tmp_path / "audit" / f"{journal.log}.notes").read_bytes())
    pins = parse_pins(str(notes.VerifierKey(journal.origin, journal.public)))
    report = verify_file(file, pins=pins, anchors=anchors)
    assert (report.verdict, report.signed, report.tail) == ("verified", 4, 2)
    assert file.stat().st_mode & 0o077 == 0
