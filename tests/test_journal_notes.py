"""Checkpoints are C2SP signed notes: one form, strict, bounded."""

from __future__ import annotations

from base64 import b64encode

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from awe_core.errors import AuditError
from awe_core.journal import notes

ORIGIN = "acme/dev/00000000000000000000000000000000"


class Signer:
    def __init__(self, seed: bytes = b"k" * 32) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, text: bytes) -> bytes:
        return self._key.sign(text)


CHECKPOINT = notes.Checkpoint(ORIGIN, 7, bytes(range(32)))
NOTE = notes.sign(CHECKPOINT, Signer())
KEY = notes.VerifierKey(ORIGIN, Signer().public)


def test_a_note_says_what_was_signed_and_by_whom():
    note = notes.parse_note(NOTE.encode())
    assert note.checkpoint == CHECKPOINT
    assert note.is_signed_by(KEY) is True


def test_the_text_is_three_lines_and_the_signature_line_has_an_em_dash():
    lines = NOTE.split("\n")
    assert lines[:2] == [ORIGIN, "7"]
    assert lines[3] == ""
    assert lines[4].startswith(f"\u2014 {ORIGIN} ")
    assert lines[5:] == [""]


def test_a_signature_by_an_unknown_key_says_nothing():
    other = notes.VerifierKey(ORIGIN, Signer(b"o" * 32).public)
    assert notes.parse_note(NOTE.encode()).is_signed_by(other) is None


def test_a_signature_over_another_text_is_false():
    note = notes.parse_note(NOTE.encode())
    moved = attrs.evolve(note, checkpoint=attrs.evolve(note.checkpoint, size=8))
    assert moved.is_signed_by(KEY) is False


def test_two_signers_can_sign_one_checkpoint():
    note = notes.parse_note(notes.sign(CHECKPOINT, Signer(), Signer(b"o" * 32)).encode())
    other = notes.VerifierKey(ORIGIN, Signer(b"o" * 32).public)
    assert (note.is_signed_by(KEY), note.is_signed_by(other)) == (True, True)


def test_a_key_reads_back_from_its_text():
    assert notes.parse_vkey(str(KEY)) == KEY
    assert KEY.fingerprint.startswith("sha256:")


def test_the_key_id_is_that_of_the_signed_note_specification():
    vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"  # from C2SP
    assert notes.VerifierKey("PeterNeumann", notes.parse_public(vkey.split("+", 2)[2])).keyid == (
        bytes.fromhex("c74f20a3")
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        str(KEY).replace("+", "-", 1),
        str(KEY).upper(),
        str(KEY)[:-2],
        str(KEY).replace(KEY.keyid.hex(), "00000000"),
        f"{ORIGIN}+{KEY.keyid.hex()}+{b64encode(b'x' + KEY.public).decode()}",
    ],
)
def test_a_key_in_another_form_is_refused(text):
    with pytest.raises(AuditError) as refused:
        notes.parse_vkey(text)
    assert refused.value.code == "audit.note"


SIGNATURE = NOTE.split("\n\n")[1]
ROOT = b64encode(CHECKPOINT.root).decode()


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"\xff\n\n",
        NOTE.encode()[:-1],
        NOTE.replace("\n\n", "\n").encode(),
        NOTE.replace("\n7\n", "\n07\n").encode(),
        NOTE.replace("\n7\n", "\n-7\n").encode(),
        NOTE.replace("\n7\n", "\n9007199254740992\n").encode(),
        NOTE.replace(ROOT, ROOT[:-1]).encode(),
        NOTE.replace(ROOT, "AAAA").encode(),
        NOTE.replace(ROOT, f"{ROOT}\nextension").encode(),
        NOTE.replace(ORIGIN, "Acme dev").encode(),
        NOTE.replace("\u2014", "-").encode(),
        NOTE.replace(SIGNATURE, SIGNATURE.replace(ORIGIN, "a+b")).encode(),
        NOTE.replace(SIGNATURE, f"\u2014 {ORIGIN} AAAA\n").encode(),
        NOTE.replace(SIGNATURE, SIGNATURE * 17).encode(),
        NOTE.encode() + b"x" * notes.MAX_NOTE_BYTES,
    ],
)
def test_a_note_in_another_form_is_refused(note):
    with pytest.raises(AuditError) as refused:
        notes.parse_note(note)
    assert refused.value.code == "audit.note"


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_bytes_make_the_parser_fail_in_another_way(data):
    with pytest.raises(AuditError):
        notes.parse_note(data)


@given(st.integers(0, len(NOTE.encode()) - 1), st.integers(1, 255))
def test_a_changed_byte_never_leaves_a_valid_note_with_the_same_text_signed(at, change):
    changed = bytearray(NOTE.encode())
    changed[at] ^= change
    try:
        note = notes.parse_note(bytes(changed))
    except AuditError:
        return
    assert note.is_signed_by(KEY) is not True


def test_a_key_that_is_no_point_verifies_nothing():
    assert not notes.VerifierKey(ORIGIN, b"\xff" * 32).verifies(b"text", bytes(64))
