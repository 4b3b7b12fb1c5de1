"""PEP 740 against real attestations of a public index (data/provenance/README.md)."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from awe_core.config import load_config
from awe_core.errors import PackError
from awe_core.packs.provenance import verify_provenance
from awe_core.runtime.deployment import load
from awe_core.runtime.proposals import draft
from awe_core.testing import Deployment

DATA = Path(__file__).parent / "data" / "provenance"
WHEEL = DATA / "circleci_sign_publish_example-0.0.1.dev137-py3-none-any.whl"
PROVENANCE = DATA / f"{WHEEL.name}.provenance"
PROJECT = "fdd9283f-e619-46af-8f9c-851f7d3e8b2b"
PIPELINE = "8e4f8ab2-8d7c-4827-9f15-de076d6d647f"


@pytest.fixture(autouse=True)
def _no_root_of_trust_but_the_one_that_is_shipped(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def refusal(file, wheel=WHEEL):
    with pytest.raises(PackError) as caught:
        verify_provenance(file, wheel)
    return caught.value


def why(file, wheel=WHEEL):
    error = refusal(file, wheel)
    assert "pack.provenance" == error.code
    return error.attributes["why"].removeprefix("Verification failed: ")


def written(folder, document):
    file = folder / "changed.provenance"
    file.write_text(json.dumps(document))
    return file


@pytest.fixture
def document():
    return json.loads(PROVENANCE.read_bytes())


def test_the_publisher_of_a_wheel_is_named_by_what_was_verified():
    found = verify_provenance(PROVENANCE, WHEEL)
    digest = hashlib.sha256(PROVENANCE.read_bytes()).hexdigest()
    assert ("pep740", digest) == (found.kind, found.sha256)
    assert f"circleci:{PROJECT}@{PIPELINE}" == found.publisher


def test_a_publisher_at_github_is_named_by_repository_and_workflow():
    sdist = DATA / "pypi_attestations-0.0.19.tar.gz"
    found = verify_provenance(DATA / f"{sdist.name}.provenance", sdist)
    assert "github:trailofbits/pypi-attestations@release.yml" == found.publisher


def test_one_changed_byte_of_the_wheel_is_refused(tmp_path):
    data = bytearray(WHEEL.read_bytes())
    data[100] ^= 1
    (tmp_path / WHEEL.name).write_bytes(data)
    assert "subject does not match distribution digest" == why(PROVENANCE, tmp_path / WHEEL.name)


def test_the_same_bytes_under_another_name_are_refused(tmp_path):
    other = tmp_path / WHEEL.name.replace("0.0.1", "0.0.2")
    other.write_bytes(WHEEL.read_bytes())
    assert why(PROVENANCE, other).startswith("subject does not match distribution name")


@pytest.mark.parametrize("part", ["statement", "signature"])
def test_a_changed_attestation_is_refused(tmp_path, document, part):
    envelope = document["attestation_bundles"][0]["attestations"][0]["envelope"]
    data = bytearray(base64.b64decode(envelope[part]))
    data[-9] ^= 1
    envelope[part] = base64.b64encode(data).decode()
    assert "DSSE: invalid signature" == why(written(tmp_path, document))


def test_a_publisher_other_than_the_certificate_s_is_refused(tmp_path, document):
    document["attestation_bundles"][0]["publisher"]["project_id"] = PIPELINE
    assert "does not match expected Trusted Publisher" in why(written(tmp_path, document))


def test_one_attestation_that_does_not_hold_refuses_all(tmp_path, document):
    other = json.loads((DATA / "pypi_attestations-0.0.19.tar.gz.provenance").read_bytes())
    document["attestation_bundles"] += other["attestation_bundles"]
    assert why(written(tmp_path, document)).startswith("subject does not match")


def test_what_holds_no_attestation_speaks_for_nothing(tmp_path):
    assert "it holds no attestation" == why(written(tmp_path, {"attestation_bundles": []}))


@pytest.mark.parametrize("text", ["", "[]", '{"attestation_bundles": 1}', '{"version": 1}'])
def test_what_is_no_attestation_is_refused(tmp_path, text):
    file = tmp_path / "p.json"
    file.write_text(text)
    assert "validation error" in why(file)


def test_a_file_that_is_not_there_or_no_wheel_is_refused(tmp_path):
    assert "No such file" in why(tmp_path / "p.json")
    assert "No such file" in why(PROVENANCE, tmp_path / WHEEL.name)
    (tmp_path / "notes.txt").write_text("no wheel")
    assert "validation error" in why(PROVENANCE, tmp_path / "notes.txt")


def test_without_the_extra_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pypi_attestations", None)
    error = refusal(PROVENANCE)
    assert "pack.provenance_unavailable" == error.code
    assert "pip install 'awe-core[provenance]'" == error.hint


def test_a_proposal_takes_only_what_speaks_for_its_wheel_and_keeps_it(
    tmp_path, wheels, monkeypatch
):
    (wheel,) = wheels.glob("awe_pack_stdlib-*.whl")
    with Deployment.create(tmp_path) as made:
        config = load_config(made.config, flags={}, environ={})
        here = load(config, now_s=int(time.time()), mark=None)
        asked = partial(draft, here, wheel, proposed_by="ana", reason="r", provenance=PROVENANCE)
        with pytest.raises(PackError) as caught:
            asked()
        assert "pack.provenance" == caught.value.code
        found = verify_provenance(PROVENANCE, WHEEL)  # none exists for a wheel that was built here
        monkeypatch.setattr("awe_core.runtime.proposals.verify_provenance", lambda *_: found)
        drafted = asked()
    assert (found,) == drafted.record.evidence
    assert PROVENANCE.read_bytes() == drafted.papers[f"evidence/{found.sha256}.json"]
