"""Exports are new files for their owner, durable and recorded before anybody hears of them."""

from __future__ import annotations

import json
import stat
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from awe_core import canonical
from awe_core.audit import Pins, verify_file
from awe_core.audit.export import Selection, export
from awe_core.errors import AuditError
from awe_core.journal import Draft, Journal, JournalReader, notes
from awe_core.journal.chain import leaf
from awe_core.journal.tree import verify_inclusion


class Signer:
    _key = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    public = _key.public_key().public_bytes_raw()

    def sign(self, text: bytes) -> bytes:
        return self._key.sign(text)


def records(run: str, count: int, start: int = 0) -> list[Draft]:
    return [
        Draft(canonical.line({"kind": "x", "run": run, "rseq": n}), run, n, "x")
        for n in range(start, start + count)
    ]


@pytest.fixture
def journal(tmp_path):
    opened = Journal.open(tmp_path / "home", signer=Signer(), origin="acme/dev", opened={})
    opened.append([*records("r1", 3), *records("r2", 2), *records("r1", 2, 3)])
    opened.commit()
    yield opened
    opened.close()


def test_the_owner_signs_first_and_exports_everything(journal, tmp_path):
    exported = export(journal, tmp_path / "all")
    assert (exported.form, exported.start, exported.stop, exported.records) == ("prefix", 0, 8, 8)
    lines, ckpt, vkey = exported.files
    assert [file.name for file in exported.files] == ["all.jsonl", "all.ckpt", "all.vkey"]
    assert lines.read_bytes() == b"".join(r.line + b"\n" for r in journal.read(before=8))
    note = notes.parse_note(ckpt.read_bytes())
    assert note.checkpoint.size == 8
    assert note.is_signed_by(notes.parse_vkey(vkey.read_text().strip()))
    assert sha256(lines.read_bytes()).hexdigest() == exported.sha256


def test_what_left_the_home_is_recorded(journal, tmp_path):
    exported = export(journal, tmp_path / "r", selection=Selection(run="r1"), bundle=True)
    assert exported.is_recorded
    event = journal.record(8).event
    assert event == {
        "form": "run",
        "format": "jsonl",
        "from": 1,
        "kind": "audit.exported",
        "run": "r1",
        "sha256": exported.sha256,
        "size": 5,
        "to": 8,
        "values": False,
    }
    again = export(journal, tmp_path / "all")
    assert verify_file(again.files[0], pins=Pins()).failures == ()


def test_a_reader_exports_what_is_signed_and_records_nothing(journal, tmp_path):
    journal.checkpoint_now()
    journal.append(records("r3", 4))
    journal.commit()
    with JournalReader(tmp_path / "home") as reader:
        exported = export(reader, tmp_path / "x")
    assert (exported.stop, exported.is_recorded) == (8, False)
    assert journal.head().size == 12


def test_every_record_of_a_run_has_its_proof(journal, tmp_path):
    *_, proofs = export(journal, tmp_path / "r", selection=Selection(run="r1")).files
    lines = (tmp_path / "r.jsonl").read_bytes().splitlines()
    root = notes.parse_note((tmp_path / "r.ckpt").read_bytes()).checkpoint.root
    found = [json.loads(line) for line in proofs.read_bytes().splitlines()]
    assert [proof["seq"] for proof in found] == [1, 2, 3, 6, 7]
    for line, proof in zip(lines, found, strict=True):
        path = [notes._base64(step) for step in proof["path"]]  # noqa: SLF001 - its own reading
        assert root == verify_inclusion(
            leaf(line), index=proof["seq"], size=proof["size"], path=path
        )


def test_a_range_has_the_proof_of_its_last_record(journal, tmp_path):
    exported = export(journal, tmp_path / "r", selection=Selection(start=2, stop=5))
    assert (exported.form, exported.records) == ("range", 3)
    (proof,) = exported.files[-1].read_bytes().splitlines()
    assert json.loads(proof)["seq"] == 4


def test_the_beginning_of_a_log_that_goes_on_is_a_range(journal, tmp_path):
    assert export(journal, tmp_path / "r", selection=Selection(stop=5)).form == "range"


def test_a_bundle_is_one_file_with_everything_in_it(journal, tmp_path):
    (file,) = export(journal, tmp_path / "b", selection=Selection(start=6), bundle=True).files
    header, note, *rest = [json.loads(line) for line in file.read_bytes().splitlines()]
    assert (header["awe_export"], header["form"], header["from"], header["to"]) == (
        1,
        "range",
        6,
        8,
    )
    assert notes.parse_note(note["note"].encode()).checkpoint.size == 8
    assert notes.parse_vkey(header["trust"]).public == Signer.public
    assert [next(iter(line)) for line in rest] == ["event", "event", "proof"]


@pytest.mark.parametrize("is_bundle", [False, True])
def test_exports_are_for_their_owner_and_never_overwrite(journal, tmp_path, is_bundle):
    exported = export(journal, tmp_path / "x", bundle=is_bundle)
    for file in exported.files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = exported.files[0].read_bytes()
    with pytest.raises(AuditError) as refused:
        export(journal, tmp_path / "x", bundle=is_bundle)
    assert refused.value.code == "audit.file_exists"
    assert exported.files[0].read_bytes() == before


@pytest.mark.parametrize(
    "selection", [Selection(run="r9"), Selection(start=5, stop=5), Selection(start=99)]
)
def test_nothing_to_export_is_said_and_leaves_no_file(journal, tmp_path, selection):
    with pytest.raises(AuditError) as refused:
        export(journal, tmp_path / "x", selection=selection)
    assert refused.value.code == "audit.no_records"
    assert list(tmp_path.glob("x.*")) == []


@pytest.mark.usefixtures("journal")
def test_a_log_that_was_never_signed_cannot_be_exported_by_a_reader(tmp_path):
    with (
        JournalReader(tmp_path / "home") as reader,
        pytest.raises(AuditError) as refused,
    ):
        export(reader, tmp_path / "x")
    assert refused.value.code == "audit.nothing_signed"
