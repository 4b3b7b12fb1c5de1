"""What people see of the log."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from awe_core import canonical
from awe_core.audit.show import Filter, matching, row
from awe_core.journal import Draft, Journal, draft_of


class Signer:
    _key = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    public = _key.public_key().public_bytes_raw()

    def sign(self, text: bytes) -> bytes:
        return self._key.sign(text)


def draft(kind: str, rseq: int, run: str = "r1", **fields: object) -> Draft:
    event = {"kind": kind, "run": run, "rseq": rseq, **fields}
    return Draft(canonical.line(event), run, rseq, kind)


@pytest.fixture
def journal(tmp_path):
    times = iter(range(1_800_000_000_123_456, 1_900_000_000_000_000, 1_000_000))
    opened = Journal.open(
        tmp_path / "h", signer=Signer(), origin="a/b", opened={}, clock_us=lambda: next(times)
    )
    opened.append([draft("run.opened", 0, by="person:ana")])
    opened.commit()
    opened.append([draft("step.started", 1, step="a/b"), draft("run.opened", 0, "r2")])
    opened.commit()
    opened.append([draft_of({"kind": "pack.proposed", "subject": "\x1b[31m" + "x" * 500})])
    opened.commit()
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("wanted", "seqs"),
    [
        (Filter(), [0, 1, 2, 3, 4]),
        (Filter(run="r1"), [1, 2]),
        (Filter(kinds=frozenset({"run.opened"})), [1, 3]),
        (Filter(kinds=frozenset({"run.*", "pack.proposed"})), [1, 3, 4]),
        (Filter(by="person:ana"), [1]),
        (Filter(since_us=1_800_000_002_000_000), [2, 3, 4]),
        (Filter(start=1, stop=3), [1, 2]),
    ],
)
def test_records_can_be_picked(journal, wanted, seqs):
    assert [record.seq for record in matching(journal, wanted)] == seqs


def test_a_record_is_one_line(journal):
    shown = row(journal.record(2))
    assert (shown.kind, shown.run, shown.step, shown.by) == ("step.started", "r1", "a/b", "")
    assert shown.time == "2027-01-15T08:00:02.123Z"
    assert shown.text == "{}"
    assert row(journal.record(1)).by == "person:ana"


def test_what_strangers_wrote_is_cut_and_has_no_control_characters(journal):
    text = row(journal.record(4)).text
    assert len(text) == 200
    assert "\x1b" not in text
