"""An export proves itself, and whatever is done to it shows, at the right place."""

from __future__ import annotations

import json
import shutil
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from awe_core import canonical
from awe_core.audit import Pins, parse_pins, verify_file, verify_home
from awe_core.audit.export import Selection, export
from awe_core.errors import AuditError
from awe_core.journal import Draft, Journal, JournalReader, draft_of, notes
from awe_core.journal.chain import leaf
from awe_core.journal.tree import Frontier

if TYPE_CHECKING:
    from pathlib import Path


class Signer:
    def __init__(self, seed: bytes = b"k" * 32) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, text: bytes) -> bytes:
        return self._key.sign(text)


def pin(seed: bytes = b"k" * 32) -> Pins:
    key = b64encode(b"\x01" + Signer(seed).public).decode()
    return parse_pins(f"# the deployment\n\nacme/dev/* {key}\n")


def run_records(run: str, count: int) -> list[Draft]:
    events = [{"kind": "run.opened"}, *({"kind": "step.completed"} for _ in range(count - 2))]
    events.append({"kind": "run.closed", "count": count, "state": "COMPLETED"})
    return [
        Draft(canonical.line({**event, "run": run, "rseq": n}), run, n, event["kind"])
        for n, event in enumerate(events)
    ]


def make(home: Path) -> None:
    journal = Journal.open(home, signer=Signer(), origin="acme/dev", opened={"awe": "1.0"})
    one, two = run_records("r1", 8), run_records("r2", 6)
    for pair in zip(one, two, strict=False):
        journal.append(pair)
    journal.append([*one[6:], draft_of({"kind": "pack.proposed", "subject": "x"})])
    journal.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("audit") / "home"
    make(home)
    return home


FORMS = {
    "prefix": Selection(),
    "range": Selection(start=3, stop=9),
    "run": Selection(run="r1"),
}


@pytest.fixture(scope="module")
def exports(home, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    with JournalReader(home) as reader:
        for name, selection in FORMS.items():
            export(reader, folder / name, selection=selection)
            export(reader, folder / name, selection=selection, bundle=True)
    return folder


def suffixed(name: str, *, is_bundle: bool) -> str:
    return name + (".awelog" if is_bundle else ".jsonl")


@pytest.mark.parametrize("is_bundle", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_an_export_verifies_with_the_pin(exports, form, is_bundle):
    report = verify_file(exports / suffixed(form, is_bundle=is_bundle), pins=pin())
    assert report.findings == ()
    assert (report.verdict, report.exit_code, report.form) == ("verified", 0, form)
    expected = {"prefix": (0, 17, 17), "range": (3, 6, 9), "run": (1, 8, 15)}[form]
    assert (report.first, report.records, report.end) == expected
    assert report.signed == report.end
    assert report.tail == 0
    assert report.keys == (notes.VerifierKey(report.origin, Signer().public).fingerprint,)
    assert report.open_runs == (2 if form == "range" else 0)


@pytest.mark.parametrize("form", FORMS)
def test_without_a_pin_nothing_is_decided(exports, form):
    report = verify_file(exports / f"{form}.awelog", pins=Pins())
    assert (report.verdict, report.exit_code, report.keys) == ("undecided", 9, ())
    assert report.claimed_key == notes.VerifierKey(report.origin, Signer().public).fingerprint
    assert any("no key was pinned" in what for what in report.not_checked)


@pytest.mark.parametrize("form", FORMS)
def test_with_the_pin_of_another_deployment_the_check_fails(exports, form):
    report = verify_file(exports / f"{form}.jsonl", pins=pin(b"o" * 32))
    assert (report.verdict, report.exit_code) == ("failed", 7)
    assert [f.code for f in report.findings] == ["audit.untrusted_key"]


def test_any_of_the_files_names_the_export(exports):
    for end in (".jsonl", ".ckpt", ".vkey", ".proofs"):
        assert verify_file(exports / f"range{end}", pins=pin()).verdict == "verified"


def lines_of(exports: Path, form: str) -> list[bytes]:
    return (exports / f"{form}.jsonl").read_bytes().splitlines(keepends=True)


def copy(exports: Path, form: str, target: Path, lines: list[bytes]) -> Path:
    target.mkdir(exist_ok=True)
    for end in (".ckpt", ".vkey", ".proofs"):
        if (exports / f"{form}{end}").exists():
            shutil.copy(exports / f"{form}{end}", target / f"x{end}")
    (target / "x.jsonl").write_bytes(b"".join(lines))
    return target / "x.jsonl"


def seq_of(line: bytes) -> int:
    return json.loads(line)["seq"]


@pytest.mark.parametrize("form", FORMS)
def test_one_changed_byte_in_a_value_fails_at_its_record(exports, tmp_path, form):
    lines = lines_of(exports, form)
    for index, line in enumerate(lines):
        changed = [*lines[:index], line.replace(b'"kind":"', b'"kind":"x', 1), *lines[index + 1 :]]
        report = verify_file(copy(exports, form, tmp_path, changed), pins=pin())
        assert report.verdict == "failed"
        assert report.first_bad == seq_of(line), report.findings
        assert len(report.failures) == 1, report.findings


@pytest.mark.parametrize("form", FORMS)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_changed_byte_is_found_where_it_is(exports, tmp_path, form, data):
    lines = lines_of(exports, form)
    index = data.draw(st.integers(0, len(lines) - 1))
    at = data.draw(st.integers(0, len(lines[index]) - 2))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b not in (lines[index][at], 10)))
    changed = bytearray(lines[index])
    changed[at] = byte
    seq = seq_of(lines[index])
    lines[index] = bytes(changed)
    report = verify_file(copy(exports, form, tmp_path, lines), pins=pin())
    assert report.verdict == "failed"
    before = seq_of(lines_of(exports, form)[index - 1]) if index else None
    places = {seq}
    if form != "prefix":  # what cannot be read has no other place than behind the one before
        places.add(before + 1 if index else 0)
    is_seq_of_first = index == 0 and form != "prefix"  # its place is what it says of itself
    assert report.first_bad in places or is_seq_of_first, report.findings


@pytest.mark.parametrize("form", FORMS)
def test_a_removed_record_is_found(exports, tmp_path, form):
    lines = lines_of(exports, form)
    for index in range(len(lines)):
        report = verify_file(
            copy(exports, form, tmp_path, lines[:index] + lines[index + 1 :]), pins=pin()
        )
        is_first_of_range = form == "range" and index == 0  # a shorter range, and a true one
        assert (report.verdict == "failed") is not is_first_of_range, report.findings
        if form != "run" and not is_first_of_range and index < len(lines) - 1:
            assert report.first_bad in (seq_of(lines[index]), seq_of(lines[index + 1]))


@pytest.mark.parametrize("form", FORMS)
def test_two_exchanged_records_are_found(exports, tmp_path, form):
    lines = lines_of(exports, form)
    for index in range(len(lines) - 1):
        swapped = [*lines[:index], lines[index + 1], lines[index], *lines[index + 2 :]]
        report = verify_file(copy(exports, form, tmp_path, swapped), pins=pin())
        assert report.verdict == "failed"


@pytest.mark.parametrize("form", FORMS)
def test_an_inserted_record_is_found(exports, tmp_path, form):
    lines = lines_of(exports, form)
    for index in range(len(lines)):
        for other in (lines[index], lines[0], lines[-1]):
            inserted = [*lines[:index], other, *lines[index:]]
            report = verify_file(copy(exports, form, tmp_path, inserted), pins=pin())
            assert report.verdict == "failed"


def test_a_forged_tail_with_whole_links_is_found_by_the_root(exports, tmp_path):
    lines = lines_of(exports, "prefix")
    prev, forged = None, []
    for index, line in enumerate(lines):
        record = json.loads(line)
        if index == 5:
            record["event"]["kind"] = "forged"
        if prev is not None:
            record["prev"] = prev.hex()
        again = canonical.line(record)
        prev = leaf(again)
        forged.append(again + b"\n")
    report = verify_file(copy(exports, "prefix", tmp_path, forged), pins=pin())
    assert [f.code for f in report.findings] == ["audit.root"]


@pytest.mark.parametrize("cut", [1, 40])
def test_a_torn_file_counts_its_whole_records(exports, tmp_path, cut):
    data = b"".join(lines_of(exports, "prefix"))[:-cut]
    report = verify_file(copy(exports, "prefix", tmp_path, [data]), pins=pin())
    assert report.records == 16
    assert {f.code for f in report.findings} == {"audit.torn", "audit.truncated"}
    assert report.first_bad == 16


def test_a_line_that_is_too_long_is_no_record_and_the_next_ones_still_count(exports, tmp_path):
    lines = lines_of(exports, "prefix")
    long = b'{"event":"' + b"x" * 600_000 + b'"}\n'
    report = verify_file(
        copy(exports, "prefix", tmp_path, [*lines[:3], long, *lines[4:]]), pins=pin()
    )
    assert [(f.code, f.seq) for f in report.findings] == [("audit.not_canonical", 3)]
    assert report.signed == 17


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"{}\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n", b'{"awe_export":1}\n', b"1" * 9],
)
@pytest.mark.parametrize("name", ["x.jsonl", "x.awelog"])
def test_a_file_that_is_no_export_is_never_verified(tmp_path, data, name):
    (tmp_path / name).write_bytes(data)
    assert verify_file(tmp_path / name, pins=pin()).verdict != "verified"


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_mutated_bundle_ends_in_a_verdict(exports, tmp_path, data):
    bundle = bytearray((exports / "run.awelog").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(bundle) - 1))
        match data.draw(st.sampled_from(["change", "cut", "double"])):
            case "change":
                bundle[at] = data.draw(st.integers(0, 255))
            case "cut":
                del bundle[at : at + data.draw(st.integers(1, 400))]
            case _:
                bundle[at:at] = bundle[at : at + 300]
        if not bundle:
            break
    (tmp_path / "m.awelog").write_bytes(bytes(bundle))
    report = verify_file(tmp_path / "m.awelog", pins=pin())
    assert report.verdict in ("verified", "failed", "undecided")
    json.dumps(report.as_json())


def test_a_file_that_is_not_there_cannot_be_decided(tmp_path):
    with pytest.raises(AuditError) as missing:
        verify_file(tmp_path / "none.jsonl", pins=Pins())
    assert missing.value.code == "audit.unreadable"
    assert missing.value.exit_code == 9


def replace_note(target: Path, change) -> None:
    file = target.with_suffix(".ckpt")
    file.write_bytes(change(file.read_bytes()))


def test_a_note_that_was_touched_is_found(exports, tmp_path):
    target = copy(exports, "prefix", tmp_path, lines_of(exports, "prefix"))
    replace_note(target, lambda note: note.replace(b"\n17\n", b"\n16\n"))
    report = verify_file(target, pins=pin())
    assert {"audit.signature", "audit.root"} == {f.code for f in report.findings}


def test_a_note_that_is_none_is_found(exports, tmp_path):
    target = copy(exports, "prefix", tmp_path, lines_of(exports, "prefix"))
    replace_note(target, lambda _: b"none\n")
    assert [f.code for f in verify_file(target, pins=pin()).findings] == ["audit.note"]


def test_without_its_note_a_log_is_undecided(exports, tmp_path):
    target = copy(exports, "prefix", tmp_path, lines_of(exports, "prefix"))
    target.with_suffix(".ckpt").unlink()
    report = verify_file(target, pins=pin())
    assert (report.verdict, report.signed, report.tail) == ("undecided", 0, 17)


@pytest.mark.parametrize("form", ["range", "run"])
def test_an_extract_without_its_proofs_is_not_proved(exports, tmp_path, form):
    target = copy(exports, form, tmp_path, lines_of(exports, form))
    target.with_suffix(".proofs").unlink()
    report = verify_file(target, pins=pin())
    assert report.verdict == "failed"


@pytest.mark.parametrize(
    "proof",
    [
        b"x",
        b"[]",
        b'{"path":1,"seq":8,"size":17}',
        b'{"path":["x"],"seq":8,"size":17}',
        b'{"path":["AAAA"],"seq":8,"size":17}',
        b'{"path":[],"seq":8,"size":17}',
        b'{"path":[],"seq":8,"size":9}',
        b'{"path":[],"seq":true,"size":17}',
        b'{"path":[],"seq":9,"size":17}',
    ],
)
def test_a_proof_that_is_none_is_found(exports, tmp_path, proof):
    target = copy(exports, "range", tmp_path, lines_of(exports, "range"))
    target.with_suffix(".proofs").write_bytes(proof + b"\n")
    report = verify_file(target, pins=pin())
    assert [(f.code, f.seq) for f in report.failures] == [("audit.proof", 8)]


def test_records_of_another_log_are_found(exports, tmp_path):
    make(tmp_path / "other")
    with JournalReader(tmp_path / "other") as reader:
        foreign = reader.record(5).line + b"\n"
    lines = lines_of(exports, "prefix")
    lines[5] = foreign
    report = verify_file(copy(exports, "prefix", tmp_path / "x", lines), pins=pin())
    assert report.findings[0].code == "audit.log_id"
    assert report.first_bad == 5


def test_a_note_of_another_log_is_found(exports, tmp_path):
    make(tmp_path / "other")
    target = copy(exports, "prefix", tmp_path / "x", lines_of(exports, "prefix"))
    with JournalReader(tmp_path / "other") as reader:
        target.with_suffix(".ckpt").write_text(reader.newest_note()[1])
    assert [f.code for f in verify_file(target, pins=pin()).findings] == ["audit.log_id"]


def origin_of(home: Path) -> str:
    with JournalReader(home) as reader:
        return reader.record(0).event["origin"]


def test_an_anchor_shows_what_was_cut_off_a_consistent_log(home, exports):
    path = exports / "prefix.jsonl"
    later = notes.sign(notes.Checkpoint(origin_of(home), 30, bytes(32)), Signer())
    report = verify_file(path, pins=pin(), anchors=[later.encode()])
    assert [f.code for f in report.findings] == ["audit.truncated"]
    assert report.anchors == 1


def test_an_anchor_with_another_root_shows_two_histories(home, exports):
    other = notes.sign(notes.Checkpoint(origin_of(home), 17, bytes(32)), Signer())
    report = verify_file(exports / "prefix.jsonl", pins=pin(), anchors=[other.encode()])
    assert "audit.forked" in {f.code for f in report.findings}


def test_a_true_anchor_changes_nothing_but_what_was_checked(exports):
    anchor = (exports / "prefix.ckpt").read_bytes()
    report = verify_file(exports / "prefix.jsonl", pins=pin(), anchors=[anchor])
    assert (report.verdict, report.anchors) == ("verified", 1)
    assert not any("anchor" in what for what in report.not_checked)


def synthetic(events: list[dict], folder: Path, note_of) -> Path:
    """Write a log of *events* by hand, and notes over it."""
    log = "ab" * 16
    prev, lines, roots = bytes(32), [], [Frontier().root()]
    frontier = Frontier()
    for seq, event in enumerate(events):
        envelope = {"event": event, "log": log, "prev": prev.hex(), "seq": seq, "ts": 1, "v": 1}
        line = canonical.line(envelope)
        prev = leaf(line)
        frontier.append(prev)
        roots.append(frontier.root())
        lines.append(line + b"\n")
    folder.mkdir(exist_ok=True)
    (folder / "s.jsonl").write_bytes(b"".join(lines))
    origin = f"acme/dev/{log}"
    (folder / "s.ckpt").write_text(
        "--\n".join(note_of(lambda size: notes.Checkpoint(origin, size, roots[size])))
    )
    return folder / "s.jsonl"


OPENED = {"kind": "log.opened", "origin": "acme/dev/" + "ab" * 16}
OLD, NEW = Signer(), Signer(b"n" * 32)
ROTATED = {
    "kind": "log.key_rotated",
    "reason": "planned",
    "vkey": str(notes.VerifierKey(OPENED["origin"], NEW.public)),
}
EVENTS = [OPENED, {"kind": "x"}, ROTATED, {"kind": "y"}, {"kind": "z"}]


def test_who_pinned_the_old_key_follows_the_hand_over(tmp_path):
    path = synthetic(
        EVENTS, tmp_path, lambda at: [notes.sign(at(3), OLD, NEW), notes.sign(at(5), NEW)]
    )
    report = verify_file(path, pins=pin())
    assert (report.verdict, report.signed, len(report.keys)) == ("verified", 5, 2)
    assert verify_file(path, pins=pin(b"n" * 32)).verdict == "verified"


def test_a_new_key_without_a_hand_over_is_not_trusted(tmp_path):
    path = synthetic(EVENTS, tmp_path, lambda at: [notes.sign(at(3), OLD), notes.sign(at(5), NEW)])
    assert [f.code for f in verify_file(path, pins=pin()).findings] == ["audit.untrusted_key"]


def test_a_hand_over_without_its_record_is_none(tmp_path):
    events = [OPENED, *({"kind": "x"} for _ in range(4))]
    path = synthetic(
        events, tmp_path, lambda at: [notes.sign(at(3), OLD, NEW), notes.sign(at(5), NEW)]
    )
    assert [f.code for f in verify_file(path, pins=pin()).findings] == ["audit.untrusted_key"]


def test_a_retired_key_signs_nothing_any_more(tmp_path):
    path = synthetic(
        EVENTS, tmp_path, lambda at: [notes.sign(at(3), OLD, NEW), notes.sign(at(5), OLD)]
    )
    assert [f.code for f in verify_file(path, pins=pin()).findings] == ["audit.retired_key"]


def test_a_rotation_to_something_that_is_no_key_is_no_rotation(tmp_path):
    events = [OPENED, {"kind": "log.key_rotated", "vkey": "x"}, {"kind": "log.key_rotated"}]
    path = synthetic(events, tmp_path, lambda at: [notes.sign(at(3), OLD)])
    assert verify_file(path, pins=pin()).verdict == "verified"


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ([{"kind": "a", "run": "r", "rseq": 1}], "audit.run_gap"),
        (
            [{"kind": "a", "run": "r", "rseq": 0}, {"kind": "a", "run": "r", "rseq": 2}],
            "audit.run_gap",
        ),
        ([{"kind": "run.closed", "run": "r", "rseq": 0, "count": 2}], "audit.run_gap"),
        ([{"kind": "run.closed", "run": 1, "rseq": 0}], "audit.run_gap"),
        ([{"kind": "forbidden", "run": "r", "rseq": 0}], "audit.transition"),
    ],
)
def test_runs_are_complete_and_legal(tmp_path, events, code):
    path = synthetic([OPENED, *events], tmp_path, lambda at: [notes.sign(at(1 + len(events)), OLD)])
    report = verify_file(
        path, pins=pin(), semantics=lambda e: "not now" if e["kind"] == "forbidden" else None
    )
    assert [f.code for f in report.findings] == [code]
    assert report.first_bad == len(events)
    assert not any("semantics" in what for what in report.not_checked)


def test_an_open_run_is_a_notice_and_no_failure(tmp_path):
    journal = Journal.open(tmp_path / "h", signer=Signer(), origin="acme/dev", opened={})
    journal.append(run_records("r1", 5)[:3])
    exported = export(journal, tmp_path / "r", selection=Selection(run="r1"))
    journal.close()
    report = verify_file(exported.files[0], pins=pin())
    assert report.verdict == "verified"
    assert [(f.code, f.is_failure) for f in report.findings] == [("audit.run_open", False)]


def test_a_home_verifies_with_its_payloads_and_says_what_is_not_signed_yet(home, tmp_path):
    with JournalReader(home) as reader:
        report = verify_home(reader, pins=pin(), payloads=True)
    assert (report.verdict, report.form, report.records, report.tail) == ("verified", "home", 17, 0)
    assert not any("payloads" in what for what in report.not_checked)
    journal = Journal.open(
        tmp_path / "h", signer=Signer(), origin="acme/dev", opened={}, checkpoint_every_s=9e9
    )
    journal.checkpoint_now()
    journal.append(run_records("r1", 5))
    journal.commit()
    report = verify_home(journal, pins=pin())
    assert (report.signed, report.tail) == (1, 5)
    journal.close()


def test_a_report_names_its_first_finding_as_an_error(exports, tmp_path):
    lines = lines_of(exports, "prefix")
    lines[4] = lines[4].replace(b"r1", b"r9").replace(b"r2", b"r9")
    report = verify_file(copy(exports, "prefix", tmp_path, lines), pins=pin())
    first = report.failures[0].as_error()
    assert first.code == report.failures[0].code
    assert "record 4" in first.summary
    assert report.as_json()["first_bad"] == 4
    assert verify_file(exports / "prefix.jsonl", pins=pin()).failures == ()


@pytest.mark.parametrize(
    "text", ["acme", "acme/dev/* x", "acme/dev x", "Acme/* " + b64encode(b"\x01" * 33).decode()]
)
def test_a_pin_in_another_form_is_refused_by_its_line(text):
    with pytest.raises(AuditError, match="line 2") as refused:
        parse_pins(["", text])
    assert refused.value.code == "audit.pin"


def test_a_pin_is_for_its_own_logs_only():
    full = notes.VerifierKey("acme/dev/x", Signer().public)
    pins = parse_pins(str(full))
    assert pins.of("acme/dev/x") == [full]
    assert pins.of("acme/dev/y") == []
    assert pin().of("acme/development/x") == []
    assert not Pins()
