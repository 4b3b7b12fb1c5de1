"""Verification of a log or an extract: what a stranger with a file and a pinned key can establish.

Reads a stream once, in memory that does not grow with it; treats every byte as hostile; ends in a
`Report`, never in a traceback.  The rules a record must keep are in `journal.examining`.

- A **segment** is a run of consecutive records.  It is proved from the front (it begins at record 0
  and a note has its root) or from behind (its last record has an inclusion proof; everything before
  hangs on it by ``prev``).
- After a finding the next record is taken as it comes: one change is one finding.
- When a link does not hold, either of its two records may be the changed one.  The link after it
  decides: a record that the next one hangs on is intact; at the end the signed root does.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

import attrs

from awe_core.audit.pins import Pins, Trust, known_key, prefixes
from awe_core.audit.report import Finding, Report
from awe_core.audit.runs import Runs
from awe_core.audit.seals import logs_of
from awe_core.audit.sources import Line, Proof, Torn, home_source, open_source, parse_proof
from awe_core.errors import AuditError, JournalError
from awe_core.journal.chain import ZERO_HASH, Examined, compare_columns, examine, follow
from awe_core.journal.isolated import folder_of, read_beside
from awe_core.journal.notes import parse_note
from awe_core.journal.tree import Frontier, verify_inclusion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from awe_core.audit.report import Form
    from awe_core.audit.sources import Source
    from awe_core.journal import Reading, SealedRecord
    from awe_core.journal.notes import Note
    from awe_core.values import JsonObject

#: So many findings are listed; behind them there are more of the same.
MAX_FINDINGS = 100
_KEPT = 10_000

PAYLOADS = "payloads: whether the values behind the records are still what they were"


def verify_file(
    path: Path,
    *,
    pins: Pins,
    anchors: Sequence[bytes] = (),
    semantics: Callable[[JsonObject], str | None] | None = None,
) -> Report:
    """Verify an export: a bundle, or the files beside a ``.jsonl``.

    :param pins: the keys to trust; empty: the verdict is "undecided" at best
    :param anchors: notes that were kept elsewhere
    :param semantics: judges the events of runs, in order
    :raises AuditError: ``audit.unreadable``
    """
    return _Verification(open_source(path), pins, anchors, semantics).report()


def verify_home(
    journal: Reading,
    *,
    pins: Pins,
    anchors: Sequence[bytes] = (),
    semantics: Callable[[JsonObject], str | None] | None = None,
    payloads: bool = False,
) -> Report:
    """Verify the journal of a home, its index columns too, and with *payloads* every payload.

    So is every log that it names for runs, and what it seals of each.
    """
    report = _verify(journal, pins, anchors, semantics, payloads=payloads)
    named = logs_of(journal)
    beside = Pins(pins.keys, (*pins.prefixes, *prefixes(report.origin, pins)))
    found: list[Finding] = []
    for each in named:
        try:
            with read_beside(folder_of(journal, each.log), journal) as log:
                inside = _verify(log, beside, (), semantics, payloads=payloads).findings
                found += (
                    attrs.evolve(one, where=each.where) for one in (*inside, *each.check(log))
                )
        except (AuditError, JournalError) as error:
            found.append(each.unreadable(error))
    return attrs.evolve(report, logs=len(named), findings=(*report.findings, *found))


def _verify(
    journal: Reading,
    pins: Pins,
    anchors: Sequence[bytes],
    semantics: Callable[[JsonObject], str | None] | None,
    *,
    payloads: bool,
) -> Report:
    source = home_source(journal)
    report = _Verification(source, pins, anchors, semantics).report()
    if not payloads:
        return report
    found = tuple(_payload_findings(journal, source.where))
    skipped = tuple(what for what in report.not_checked if what != PAYLOADS)
    return attrs.evolve(report, findings=report.findings + found, not_checked=skipped)


@attrs.frozen
class _Link:
    """What is remembered of the record before."""

    seq: int
    prev: bytes
    hash: bytes | None  #: None when its bytes were no record: then what the next one claims counts


class _Verification:
    """The state of one pass."""

    def __init__(
        self,
        source: Source,
        pins: Pins,
        anchors: Sequence[bytes],
        semantics: Callable[[JsonObject], str | None] | None,
    ) -> None:
        self.source, self.where = source, source.where
        self.findings: list[Finding] = []
        self.bad: set[int | None] = set()
        self.trust, self.runs, self.semantics = Trust(pins), Runs(), semantics
        self.anchors = len(anchors)
        self.waiting: list[Note] = []  #: to be judged, by size
        self.roots: dict[int, bytes] = {}  #: that notes claim, by size
        self.proved: dict[int, int] = {}  #: size of a note → records its proofs reach
        self.read_notes((*source.notes, *anchors))
        self.log = self.origin = self.claimed = ""
        self.first = self.records = self.signed = 0
        self.last: _Link | None = None
        self.older: bytes | None = None  #: hash of the record before `last`; not in the tree yet
        self.is_doubtful = False  #: the link between those two does not hold
        self.expected: int | None = None  #: seq of the next record; None: take it as it comes
        self.is_linked = False  #: the next ``prev`` is to be compared
        self.is_proved = True  #: the segment so far hangs on a proof
        self.frontier: Frontier | None = Frontier()  #: None once the prefix is broken
        self.proofs = 0

    def read_notes(self, texts: Iterable[bytes]) -> None:
        for text in texts:
            try:
                self.waiting.append(parse_note(text))
            except AuditError as error:
                self.report_error(error, None)
        self.waiting.sort(key=lambda note: note.checkpoint.size)
        for note in self.waiting:
            size, root = note.checkpoint.size, note.checkpoint.root
            known = self.roots.setdefault(size, root)
            if known != root:
                self.finding("audit.forked", size, f"root {_shown(known)}", f"root {_shown(root)}")

    def line(self, item: Line) -> None:
        """Take the next record."""
        at = self.records if self.expected is None else self.expected
        self.records += 1
        try:
            record = examine(item.data, where=self.where, seq=at)
        except AuditError as error:
            self.report_error(error, at)
            self.runs.losses += 1
            self.step(_Link(at, b"", None), is_intact=True)
            self.expected, self.is_linked = at + 1, False
            return
        if self.records == 1:
            self.begin(record)
        if self.belongs(record):
            self.compare(record, item.row)
            self.accept(record)

    def begin(self, record: Examined) -> None:
        """Take the first record: where the extract begins, and what the log says of itself."""
        self.log, self.first, self.expected = record.log, record.seq, record.seq
        if record.seq == 0:
            origin, self.claimed = record.event.get("origin"), str(record.event.get("vkey", ""))
            self.origin = origin if isinstance(origin, str) else ""
            self.is_linked = True
        else:
            self.frontier = None

    def belongs(self, record: Examined) -> bool:
        """Check log and seq; what does not belong here breaks the prefix and is left out."""
        seq = record.seq if self.expected is None or self.is_jump(record) else self.expected
        self.log = self.log or record.log
        try:
            follow(record, where=self.where, log=self.log, seq=seq, prev=None)
        except AuditError as error:
            self.report_error(error, seq)
            self.runs.losses += 1
            self.cut()
            self.last, self.expected = _Link(record.seq, record.prev, record.hash), None
            self.is_proved = False
            return False
        return True

    def is_jump(self, record: Examined) -> bool:
        """Tell whether an extract leaves records out here, which it may behind a proof."""
        if not (self.proofs and self.is_proved and record.seq > (self.expected or 0)):
            return False
        self.cut()
        return True

    def cut(self) -> None:
        """End the segment: nothing of it says anything about the next one."""
        self.settle()
        self.frontier = self.last = self.older = None
        self.is_linked = self.is_doubtful = False

    def compare(self, record: Examined, row: SealedRecord | None) -> None:
        """Compare a home's index with the line."""
        if row is not None:
            try:
                compare_columns(record, row, where=self.where)
            except AuditError as error:
                self.report_error(error, record.seq)

    def accept(self, record: Examined) -> None:
        """Take *record* as the next of its segment."""
        is_held = not self.is_linked or record.prev == self.hash_before(record)
        self.step(_Link(record.seq, record.prev, record.hash), is_intact=is_held)
        self.is_doubtful = not is_held
        self.expected, self.is_linked, self.is_proved = record.seq + 1, True, False
        event = record.event
        if event["kind"] == "log.key_rotated":
            self.trust.heard(event.get("vkey"))
        for code, expected, found in self.runs.take(event, is_whole=self.first == 0):
            self.finding(code, record.seq, expected, found)
        reason = self.semantics(event) if self.semantics and record.run else None
        if reason is not None:
            self.finding("audit.transition", record.seq, "a fact the decider allows", reason)

    def hash_before(self, record: Examined) -> bytes:
        if self.last is None:
            return ZERO_HASH if record.seq == 0 else record.prev
        return record.prev if self.last.hash is None else self.last.hash

    def step(self, link: _Link, *, is_intact: bool) -> None:
        """Move on by one: settle the link before, put the record before that into the tree.

        :param is_intact: the new record hangs on the last one as it is
        """
        self.settle(is_intact=is_intact)
        last, self.last = self.last, link
        if last is not None:
            self.older = link.prev if last.hash is None else last.hash

    def settle(self, *, is_intact: bool = False) -> None:
        """Decide which record a link that does not hold speaks against, and grow the tree."""
        leaf = self.older
        if self.is_doubtful and self.last is not None:
            self.blame(self.last.seq - 1 if is_intact else self.last.seq)
            leaf = self.last.prev if is_intact else leaf
        self.is_doubtful, self.older = False, None
        self.grow(leaf)

    def grow(self, leaf: bytes | None) -> None:
        if self.frontier is not None and leaf is not None:
            self.frontier.append(leaf)
            while self.waiting and self.waiting[0].checkpoint.size <= self.frontier.size:
                self.judge(self.waiting.pop(0))

    def judge(self, note: Note) -> None:
        """Judge a note whose records have all been read, or at the end."""
        checkpoint = note.checkpoint
        size = checkpoint.size
        if self.origin and checkpoint.origin != self.origin:
            self.finding("audit.log_id", size, f"a note of {self.origin}", checkpoint.origin)
            return
        self.origin = checkpoint.origin
        fault = self.trust.judge(note)
        if fault is not None and (self.trust.pins or fault[0] == "audit.signature"):
            code, expected, found = fault
            self.finding(code, size, expected, found)
        reach = self.proved.get(size, 0)
        if self.frontier is not None and self.frontier.size == size:
            root = self.frontier.root()
            if root != checkpoint.root:
                self.finding("audit.root", size - 1, _shown(checkpoint.root), _shown(root))
                self.frontier = None
                return
            reach = size
        if fault is None:
            self.signed = max(self.signed, reach)

    def proof(self, data: bytes) -> None:
        """Take an inclusion proof of the record before it."""
        self.proofs += 1
        parsed, last = parse_proof(data), self.last
        if parsed is None or last is None or last.hash is None or parsed[0] != last.seq:
            at = last.seq if last else None
            self.finding("audit.proof", at, "a proof of the record before it", "something else")
            return
        seq, size, path = parsed
        root = verify_inclusion(last.hash, index=seq, size=size, path=path)
        signed = self.roots.get(size)
        self.is_proved = True
        if root is None or signed is None or root != signed:
            expected = "a note of that size" if signed is None else f"root {_shown(signed)}"
            found = "no path through the tree" if root is None else f"root {_shown(root)}"
            self.finding("audit.proof", seq, expected, found)
            return
        self.proved[size] = max(self.proved.get(size, 0), seq + 1)
        if self.is_doubtful:
            self.settle(is_intact=True)

    def report(self) -> Report:
        """Read all of it once."""
        for item in self.source.items:
            match item:
                case Line():
                    self.line(item)
                case Proof(data=data):
                    self.proof(data)
                case Torn(size_bytes=size):
                    seq = self.records if self.expected is None else self.expected
                    found = f"{size} bytes without one"
                    self.finding("audit.torn", seq, "a line feed at the end", found)
        end = self.last.seq + 1 if self.last else 0
        self.settle(is_intact=self.is_confirmed_by_root())
        self.grow(self.last.hash if self.last else None)
        is_prefix = self.first == 0 and not self.proofs
        for note in self.waiting:
            self.judge(note)
            if is_prefix and self.frontier is not None:
                size = note.checkpoint.size
                self.finding("audit.truncated", end, f"{size} records, as signed", f"{end}")
        self.require_proof()
        return self.summary(end)

    def require_proof(self) -> None:
        """Find an extract at fault that no proof holds at its end."""
        if self.last is None or self.is_proved or self.findings:
            return
        if self.proofs:
            self.finding("audit.proof", self.last.seq, "a proof of the last record", "none")
        elif self.first:
            self.finding("audit.gap", 0, "record 0, or proofs", f"record {self.first}")

    def is_confirmed_by_root(self) -> bool:
        """Tell whether the signed root speaks for what the last record says of the one before."""
        if not self.is_doubtful or self.frontier is None or self.last is None:
            return False
        claimed = self.frontier.copy()
        claimed.extend((self.last.prev, self.last.hash or b""))
        return self.roots.get(claimed.size) == claimed.root()

    def blame(self, seq: int) -> None:
        if seq not in self.bad:
            expected = "bytes that the records beside it hang on"
            self.finding("audit.link", seq, expected, "other bytes")

    def summary(self, end: int) -> Report:
        form: Form = "home" if self.source.is_home else "prefix"
        if self.proofs and not self.source.is_home:
            is_run = self.proofs >= self.records and self.runs.is_single
            form = "run" if is_run else "range"
        unclosed, claimed = self.runs.open, known_key(self.claimed or self.source.vkey)
        notices = [
            Finding("audit.run_open", None, "run.closed", run, self.where, is_failure=False)
            for run in unclosed
            if form == "run"
        ]
        failures = sorted(self.findings, key=lambda f: (f.seq is None, f.seq or 0))
        return Report(
            where=self.where,
            form=form,
            log=self.log,
            origin=self.origin,
            first=self.first,
            records=self.records,
            end=end,
            signed=self.signed,
            open_runs=len(unclosed),
            keys=tuple(self.trust.used),
            claimed_key=claimed.fingerprint if claimed else "",
            anchors=self.anchors,
            findings=(*failures[:MAX_FINDINGS], *notices[:MAX_FINDINGS]),
            not_checked=tuple(self.not_checked(form)),
        )

    def not_checked(self, form: Form) -> list[str]:
        """Say in plain words what this verification does not show."""
        missing = []
        if not self.trust.pins:
            missing.append("who signed: no key was pinned, so this shows at most consistency")
        if not self.anchors:
            missing.append("whether the whole log was set back: no anchor was given")
        if form in ("range", "run"):
            missing.append("whether records before, behind or between were left out of the extract")
        if self.semantics is None:
            missing.append("semantics: whether the decider allows this sequence of facts")
        return [*missing, PAYLOADS]

    def report_error(self, error: AuditError, seq: int | None) -> None:
        at = error.attributes
        self.finding(error.code, seq, str(at["expected"]), str(at["found"]))

    def finding(self, code: str, seq: int | None, expected: str, found: str) -> None:
        self.bad.add(seq)
        if len(self.findings) < _KEPT:
            self.findings.append(Finding(code, seq, expected, found, self.where))


def _shown(root: bytes) -> str:
    """Give a root as notes write it."""
    return b64encode(root).decode()


def _payload_findings(journal: Reading, where: str) -> list[Finding]:
    findings = []
    for seq, part, run, rseq in journal.payload_rows():
        try:
            journal.payload(run, rseq, part, seq=seq)
        except AuditError as error:
            at = error.attributes
            expected, found = str(at.get("expected", "")), str(at.get("found", error.summary))
            findings.append(Finding(error.code, seq, expected, found, where))
    return findings
