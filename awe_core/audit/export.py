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
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import attrs

from awe_core import canonical
from awe_core.errors import AuditError
from awe_core.journal import Journal, draft_of
from awe_core.journal.notes import parse_note
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
    plan = _plan(journal, selection or Selection())
    target = Path(target)
    try:
        files = plan.write_bundle(target) if bundle else plan.write_files(target)
    except FileExistsError as error:
        raise AuditError("audit.file_exists", file=str(error.filename)) from None
    _sync_folder(target.parent)
    digest = _digest(files[0])
    if isinstance(journal, Journal):
        _record(journal, plan, digest)
    return Exported(
        files=files,
        form=plan.form,
        start=plan.start,
        stop=plan.stop,
        records=plan.records,
        sha256=digest,
        is_recorded=isinstance(journal, Journal),
    )


@attrs.define
class _Plan:
    """One export, laid out."""

    journal: Reading
    form: ExportForm
    run: str | None
    start: int
    stop: int
    size: int  #: of the checkpoint that covers it
    notes: tuple[str, ...]  #: hand-over notes, then the newest
    vkey: str
    records: int = 0

    def write_files(self, target: Path) -> tuple[Path, ...]:
        names = [target.with_name(target.name + end) for end in (".jsonl", ".ckpt", ".vkey")]
        proofs = target.with_name(target.name + ".proofs")
        with _New(names[0]) as lines, _New(names[1]) as notes, _New(names[2]) as vkey:
            notes.write("--\n".join(self.notes).encode())
            vkey.write(self.vkey.encode() + b"\n")
            if self.form == "prefix":
                for record in self.selected():
                    lines.write(record.line + b"\n")
                    self.records += 1
                return tuple(names)
            with _New(proofs) as beside:
                for record, proof in self.items():
                    lines.write(record.line + b"\n")
                    if proof is not None:
                        beside.write(canonical.line(proof) + b"\n")
        return (*names, proofs)

    def write_bundle(self, target: Path) -> tuple[Path, ...]:
        file = target.with_name(target.name + ".awelog")
        header = {
            "awe_export": 1,
            "form": self.form,
            "from": self.start,
            "log": self.journal.log,
            "run": self.run,
            "to": self.stop,
            "trust": self.vkey,
        }
        with _New(file) as out:
            out.write(canonical.line(header) + b"\n")
            for note in self.notes:
                out.write(canonical.line({"note": note}) + b"\n")
            for record, proof in self.items():
                out.write(record.line + b"\n")
                if proof is not None:
                    out.write(canonical.line({"proof": proof}) + b"\n")
        return (file,)

    def items(self) -> Iterator[tuple[SealedRecord, JsonObject | None]]:
        """Give the records and the proofs that belong to them."""
        tree = None if self.form == "prefix" else Tree(list(self.journal.hashes(0, self.size)))
        for record in self.selected():
            self.records += 1
            is_last = record.seq == self.stop - 1
            is_alone = self.form == "run" or not self.start <= record.seq < self.stop
            wants_proof = tree is not None and (is_alone or is_last)
            yield record, _proof(tree, record.seq, self.size) if wants_proof and tree else None

    def selected(self) -> Iterator[SealedRecord]:
        """Give the records in order of seq; in extracts also the rotations of the log's key."""
        if self.form == "prefix":
            yield from self.journal.read(before=self.size)
            return
        rotations = list(self.journal.read(kinds=["log.key_rotated"], before=self.size))
        if self.run is not None:
            mine = self.journal.read(run=self.run, before=self.size)
            yield from sorted([*mine, *rotations], key=lambda record: record.seq)
            return
        yield from (r for r in rotations if r.seq < self.start)
        yield from self.journal.read(after=self.start - 1, before=self.stop)
        yield from (r for r in rotations if r.seq >= self.stop)


class _New:
    """A file that was not there before, for its owner only, durable once it is closed."""

    def __init__(self, path: Path) -> None:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
        self._out = os.fdopen(os.open(path, flags, 0o600), "wb")

    def __enter__(self) -> Self:
        return self

    def write(self, data: bytes) -> None:
        self._out.write(data)

    def __exit__(self, *_: object) -> None:
        self._out.flush()
        os.fsync(self._out.fileno())
        self._out.close()


def _plan(journal: Reading, selection: Selection) -> _Plan:
    if isinstance(journal, Journal):
        journal.checkpoint_now()
    newest = journal.newest_note()
    if newest is None:
        raise AuditError("audit.nothing_signed", home=str(journal.home))
    size, note = newest
    form, start, stop = _bounds(journal, selection, size)
    handovers = [text for at, text in journal.checkpoints() if at < size and _is_handover(text)]
    first = journal.record(0)
    vkey = str(first.event.get("vkey", "")) if first else ""
    return _Plan(journal, form, selection.run, start, stop, size, (*handovers, note), vkey)


def _bounds(journal: Reading, selection: Selection, size: int) -> tuple[ExportForm, int, int]:
    if selection.run is not None:
        seqs = [record.seq for record in journal.read(run=selection.run, before=size)]
        if not seqs:
            raise AuditError("audit.no_records", what=f"run {selection.run}", size=size)
        return "run", min(seqs), max(seqs) + 1
    start, stop = selection.start, size if selection.stop is None else min(selection.stop, size)
    if not 0 <= start < stop:
        raise AuditError("audit.no_records", what=f"range {start}..{stop}", size=size)
    return ("prefix" if start == 0 and stop == size else "range"), start, stop


def _is_handover(text: str) -> bool:
    note = parse_note(text.encode())
    return sum(s.name == note.checkpoint.origin for s in note.signatures) > 1


def _proof(tree: Tree, seq: int, size: int) -> JsonObject:
    path = [b64encode(step).decode() for step in tree.path(seq, size)]
    return {"path": path, "seq": seq, "size": size}


def _record(journal: Journal, plan: _Plan, digest: str) -> None:
    event: JsonObject = {
        "form": plan.form,
        "format": "jsonl",
        "from": plan.start,
        "kind": "audit.exported",
        "sha256": digest,
        "size": plan.records,
        "to": plan.stop,
        "values": False,
    }
    if plan.run is not None:
        event["run"] = plan.run
    journal.append([draft_of(event)])
    journal.commit()


def _digest(file: Path) -> str:
    with file.open("rb") as handle:
        running = sha256()
        while chunk := handle.read(1 << 20):
            running.update(chunk)
        return running.hexdigest()


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
