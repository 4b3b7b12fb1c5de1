"""Exports: records as files that prove themselves to whoever holds a pin.

==========  =====================================================================
prefix      records 0 to n, proved by chain and root
range       records a to b, proved by the inclusion of b - 1: all before hang on it
run         the records of one run, each with an inclusion proof
==========  =====================================================================

Only what a checkpoint covers is exported; the owner of a home signs one first.  Files are new, for
the owner only, and durable before ``audit.exported`` is recorded and anything is reported.
"""

from __future__ import annotations

import os
from base64 import b64encode
from contextlib import ExitStack, contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import attrs

from awe_core import canonical
from awe_core.errors import AuditError
from awe_core.journal import Journal, draft_of
from awe_core.journal.payloads import sync_folder
from awe_core.journal.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awe_core.journal import Reading, SealedRecord
    from awe_core.values import JsonObject

ExportForm = Literal["prefix", "range", "run"]


@attrs.frozen
class Selection:
    """Which records are exported."""

    run: str | None = None  #: one run; else a range
    start: int = 0  #: first seq
    stop: int | None = None  #: seq behind the last one; None: all that is signed


@attrs.frozen
class Exported:
    """What was written."""

    files: tuple[Path, ...]  #: the records first
    form: ExportForm
    start: int
    stop: int  #: seq behind the last record
    records: int
    sha256: str  #: of the file with the records, bare hex
    is_recorded: bool  #: ``audit.exported`` stands in the log


def export(
    journal: Reading, target: Path, *, selection: Selection | None = None, bundle: bool = False
) -> Exported:
    """Write records of *journal* as ``TARGET.jsonl`` and its companions, or ``TARGET.awelog``.

    :param journal: a `Journal` signs first and records the export; a reader exports what is signed
    :raises AuditError: ``audit.nothing_signed``, ``audit.no_records``, ``audit.file_exists``
    :raises JournalUnwritableError: the owner could not sign or record
    """
    owner = journal if isinstance(journal, Journal) else None
    if owner is not None:
        owner.checkpoint_now()
    target, plan = Path(target), _plan(journal, selection or Selection())
    try:
        files, records = _write_bundle(plan, target) if bundle else _write_files(plan, target)
    except FileExistsError as error:
        raise AuditError("audit.file_exists", file=str(error.filename)) from None
    sync_folder(target.parent)
    with files[0].open("rb") as written:
        digest = file_digest(written, "sha256").hexdigest()
    exported = Exported(
        files, plan.form, plan.start, plan.stop, records, digest, is_recorded=owner is not None
    )
    if owner is not None:
        book = owner.host if isinstance(owner.host, Journal) else owner
        book.append([draft_of(_event(exported, plan.run))])
        book.commit()
    return exported


@attrs.frozen
class _Plan:
    """One export, laid out."""

    journal: Reading
    form: ExportForm
    run: str | None
    start: int
    stop: int
    size: int  #: of the checkpoint that covers it
    note: str
    vkey: str

    def items(self) -> Iterator[tuple[SealedRecord, bytes]]:
        """Give the records, and the proofs that belong to them as lines; empty for none."""
        tree = None if self.form == "prefix" else Tree(list(self.journal.hashes(0, self.size)))
        if self.run is not None:
            records = self.journal.read(run=self.run, before=self.size)
        else:
            records = self.journal.read(after=self.start - 1, before=self.stop)
        for record in records:
            if tree is None or (self.form == "range" and record.seq < self.stop - 1):
                yield record, b""
                continue
            path = [b64encode(step).decode() for step in tree.path(record.seq)]
            yield record, canonical.line({"path": path, "seq": record.seq, "size": self.size})


def _plan(journal: Reading, wanted: Selection) -> _Plan:
    newest = journal.newest_note()
    if newest is None:
        raise AuditError("audit.nothing_signed", home=str(journal.home))
    size, note = newest
    form: ExportForm = "run"
    if wanted.run is not None:
        seqs = [record.seq for record in journal.read(run=wanted.run, before=size)]
        start, stop = (min(seqs), max(seqs) + 1) if seqs else (0, 0)
        what = f"run {wanted.run}"
    else:
        start, stop = wanted.start, size if wanted.stop is None else min(wanted.stop, size)
        what = f"range {start}..{stop}"
        form = "prefix" if start == 0 and stop == size else "range"
    if not 0 <= start < stop:
        raise AuditError("audit.no_records", what=what, size=size)
    first = next(journal.read(limit=1))
    vkey = str(first.event.get("vkey", ""))
    return _Plan(journal, form, wanted.run, start, stop, size, note, vkey)


def _write_files(plan: _Plan, target: Path) -> tuple[tuple[Path, ...], int]:
    ends = (".jsonl", ".ckpt", ".vkey", *(() if plan.form == "prefix" else (".proofs",)))
    files = tuple(target.with_name(target.name + end) for end in ends)
    records = 0
    with ExitStack() as stack:
        lines, note, vkey, *proofs = [stack.enter_context(_new(file)) for file in files]
        note.write(plan.note.encode())
        vkey.write(plan.vkey.encode() + b"\n")
        for record, proof in plan.items():
            records += 1
            lines.write(record.line + b"\n")
            if proof:
                proofs[0].write(proof + b"\n")
    return files, records


def _write_bundle(plan: _Plan, target: Path) -> tuple[tuple[Path, ...], int]:
    file = target.with_name(target.name + ".awelog")
    header = {
        "awe_export": 1,
        "form": plan.form,
        "from": plan.start,
        "log": plan.journal.log,
        "run": plan.run,
        "to": plan.stop,
        "trust": plan.vkey,
    }
    records = 0
    with _new(file) as out:
        out.write(canonical.line(header) + b"\n" + canonical.line({"note": plan.note}) + b"\n")
        for record, proof in plan.items():
            records += 1
            out.write(record.line + b"\n")
            if proof:
                out.write(b'{"proof":' + proof + b"}\n")
    return (file,), records


@contextmanager
def _new(path: Path) -> Iterator[BinaryIO]:
    """Open a file that was not there before, for its owner only, durable once it is closed."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags, 0o600), "wb") as out:
        yield out
        out.flush()
        os.fsync(out.fileno())


def _event(exported: Exported, run: str | None) -> JsonObject:
    event: JsonObject = {
        "form": exported.form,
        "format": "jsonl",
        "from": exported.start,
        "kind": "audit.exported",
        "sha256": exported.sha256,
        "size": exported.records,
        "to": exported.stop,
        "values": False,
    }
    return event if run is None else {**event, "run": run}
