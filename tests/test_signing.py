from __future__ import annotations

import os
import stat
import subprocess
import sys

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from awe_core import signing, trust
from awe_core.errors import TrustError
from awe_core.records import Key
from awe_core.signing import KeyFile

WORDS = "open sesame"


def key_of(signer):
    return Key(scheme=signer.scheme, public=signer.public.hex(), owner="ann", kind="person")


def refused(call, *args, **kwargs):
    with pytest.raises(TrustError) as caught:
        call(*args, **kwargs)
    return caught.value.code


def write_pem(file, private):
    file.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    file.chmod(0o600)


def test_a_new_key_is_private_and_signs_after_it_was_read_again(tmp_path):
    file = tmp_path / "keys" / "ann.pem"
    made = signing.generate(file, passphrase=None)
    read = signing.load(file, passphrase=None)
    assert made == read
    assert isinstance(read, trust.Signer)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert trust.holds(key_of(made), read.sign(b"text"), message=b"text")
    assert not trust.holds(key_of(made), read.sign(b"text"), message=b"Text")
    trust.check_key(made.keyid, key_of(made))


def test_a_key_is_never_replaced(tmp_path):
    file = tmp_path / "ann.pem"
    made = signing.generate(file, passphrase=None)
    assert refused(signing.generate, file, passphrase=None) == "signer.exists"
    assert signing.load(file, passphrase=None) == made


def test_a_passphrase_is_needed_when_there_is_one_and_only_then(tmp_path):
    locked, plain = tmp_path / "locked.pem", tmp_path / "plain.pem"
    made = signing.generate(locked, passphrase=WORDS)
    signing.generate(plain, passphrase=None)
    assert signing.load(locked, passphrase=WORDS) == made
    assert refused(signing.load, locked, passphrase=WORDS[:-1]) == "signer.unavailable"
    assert refused(signing.load, locked, passphrase=None) == "signer.unavailable"
    assert refused(signing.load, plain, passphrase=WORDS) == "signer.unavailable"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_refused(tmp_path, mode):
    file = tmp_path / "ann.pem"
    signing.generate(file, passphrase=None)
    file.chmod(mode)
    assert refused(signing.load, file, passphrase=None) == "signer.permissions"
    file.chmod(0o400)
    assert signing.load(file, passphrase=None).scheme == "ed25519"


def test_links_and_pipes_are_no_key_files(tmp_path):
    signing.generate(tmp_path / "ann.pem", passphrase=None)
    (tmp_path / "link.pem").symlink_to(tmp_path / "ann.pem")
    assert refused(signing.load, tmp_path / "link.pem", passphrase=None) == "signer.unavailable"
    os.mkfifo(tmp_path / "pipe.pem", 0o600)
    assert refused(signing.load, tmp_path / "pipe.pem", passphrase=None) == "signer.permissions"
    assert refused(signing.load, tmp_path / "none.pem", passphrase=None) == "signer.unavailable"


def test_p256_keys_are_read_and_others_are_not(tmp_path):
    file = tmp_path / "p256.pem"
    write_pem(file, ec.generate_private_key(ec.SECP256R1()))
    signer = signing.load(file, passphrase=None)
    assert trust.holds(key_of(signer), signer.sign(b"text"), message=b"text")
    trust.check_key(signer.keyid, key_of(signer))
    write_pem(file, ec.generate_private_key(ec.SECP384R1()))
    assert refused(signing.load, file, passphrase=None) == "signer.unavailable"
    write_pem(file, rsa.generate_private_key(65537, 2048))
    assert refused(signing.load, file, passphrase=None) == "signer.unavailable"
    file.write_text("no key")
    assert refused(signing.load, file, passphrase=None) == "signer.unavailable"


def test_the_log_key_is_made_once_and_signs_text(tmp_path):
    assert refused(signing.log_key, tmp_path, may_create=False) == "signer.unavailable"
    made = signing.log_key(tmp_path, may_create=True)
    assert signing.log_key(tmp_path, may_create=True) == made
    assert signing.log_key(tmp_path, may_create=False) == made
    Ed25519PublicKey.from_public_bytes(made.public).verify(made.sign(b"note"), b"note")


def test_a_private_key_is_not_shown(tmp_path):
    made = signing.generate(tmp_path / "ann.pem", passphrase=None)
    assert "PrivateKey" not in repr(made)


def test_a_persons_key_lies_under_their_name(tmp_path):
    file = signing.person_key_file(tmp_path, "ann")
    assert file == tmp_path / "keys" / "people" / "ann.pem"


# ------------------------------------------------------------------------------------ keys by URI


def said(call, *args, **kwargs):
    with pytest.raises(TrustError) as caught:
        call(*args, **kwargs)
    return caught.value.code, str(caught.value)


def nobody(secret):
    pytest.fail(f"asked for {secret}")


@pytest.mark.parametrize("form", ["{}", "file:{}", "file://{}"])
def test_a_key_file_is_named_by_its_path_or_its_uri(tmp_path, form):
    made = signing.generate(tmp_path / "a:b.pem", passphrase=None)
    assert made == signing.open_key(form.format(tmp_path / "a:b.pem"), passphrase=nobody)


def test_a_passphrase_is_asked_for_where_a_key_file_has_one(tmp_path):
    made = signing.generate(tmp_path / "ann.pem", passphrase=WORDS)
    asked = []
    uri = f"file:{tmp_path / 'ann.pem'}"
    assert made == signing.open_key(uri, passphrase=lambda name: asked.append(name) or WORDS)
    assert [f"passphrase of {tmp_path / 'ann.pem'}"] == asked
    for ask in (None, lambda _: None):
        code, message = said(signing.open_key, uri, passphrase=ask)
        assert (code, True) == ("signer.unavailable", "it has a passphrase" in message)


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("sigstore:?identity=ann", "can vouch for a wheel instead"),
        ("gnupg:0123", "hold no role"),
        ("tkey:?digest=7c", "hold no role"),
        ("file2:/etc/key", "hold no role"),
        ("tpm:1", "hold no role"),
    ],
)
def test_what_cannot_hold_a_role_is_refused_with_the_reason(uri, why):
    code, message = said(signing.open_key, uri, passphrase=nobody)
    assert ("signer.unavailable", True) == (code, why in message)


def test_without_the_extra_a_device_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "securesystemslib", None)
    with pytest.raises(TrustError, match="it takes pip install") as caught:
        signing.open_key("hsm:2", passphrase=nobody)
    assert "signer.unavailable" == caught.value.code
    assert "pip install 'awe-core[signers]'" in caught.value.hint


def test_without_the_library_of_a_service_the_message_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "hvac", None)
    for name in [name for name in sys.modules if name.startswith("securesystemslib")]:
        monkeypatch.delitem(sys.modules, name)
    code, message = said(signing.open_key, "hv:ann/1", passphrase=nobody)
    assert ("signer.unavailable", True) == (code, "hvac" in message)


def test_neither_signing_nor_packs_import_what_only_an_extra_brings():
    program = "import sys, awe_core.signing, awe_core.packs.provenance; print(*sys.modules)"
    command = [sys.executable, "-c", program]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert not {"securesystemslib", "pkcs11", "pypi_attestations", "sigstore"} & set(
        printed.split()
    )


# ------------------------------------------------------------------------------ a PKCS#11 device


def test_a_device_signs_what_our_own_verification_takes(device, device_pin):
    asked = []
    signer = signing.open_key(
        f"hsm:2?label={device}", passphrase=lambda name: asked.append(name) or device_pin
    )
    assert isinstance(signer, trust.Signer)
    assert signer.keyid == trust.keyid_of("ecdsa-sha2-nistp256", signer.public)
    trust.check_key(signer.keyid, key_of(signer))
    assert trust.holds(key_of(signer), signer.sign(b"text"), message=b"text")
    assert [f"pin of hsm:2?label={device}"] == asked
    assert signer.keyid == signing.open_key("hsm:", passphrase=nobody).keyid


def test_a_device_that_says_no_signs_nothing(device):
    signer = signing.open_key(f"hsm:2?label={device}", passphrase=lambda _: "314159")
    code, message = said(signer.sign, b"text")
    assert ("signer.refused", True) == (code, "PinIncorrect" in message)
    silent = signing.open_key(f"hsm:2?label={device}", passphrase=lambda _: None)
    assert "signer.unavailable" == refused(silent.sign, b"text")


def test_what_is_not_in_the_device_is_refused(device):
    for uri in (f"hsm:9?label={device}", "hsm:2?label=elsewhere", "hsm:two"):
        assert "signer.refused" == refused(signing.open_key, uri, passphrase=lambda _: "314159")


def test_a_key_of_another_curve_in_a_device_cannot_be_used(device):
    code, message = said(signing.open_key, f"hsm:3?label={device}", passphrase=nobody)
    assert ("signer.unavailable", True) == (code, "neither Ed25519 nor P-256" in message)


def test_a_signature_by_another_key_than_the_device_named_is_not_handed_out(device, device_pin):
    signer = signing.open_key(f"hsm:2?label={device}", passphrase=lambda _: device_pin)
    other = KeyFile.of(ec.generate_private_key(ec.SECP256R1()))
    mixed = attrs.evolve(signer, public=other.public)
    code, message = said(mixed.sign, b"text")
    assert ("signer.refused", True) == (code, "its signature does not hold" in message)
