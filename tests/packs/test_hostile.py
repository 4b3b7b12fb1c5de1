"""Hostile bytes in what a wheel and an installation say of themselves."""

from __future__ import annotations

import zipfile

import pytest

from awe_core.errors import PackError
from awe_core.packs import inspect_wheel, verify_installed
from hostile import DOCUMENTS, refusal, within_bounds

MANY = 10_000_000
NOTES = DOCUMENTS | {
    "many rows": b"a\n" * (MANY // 2),
    "many cells": b"," * MANY,
    "an open quote": b'"' + b"a" * MANY,
    "many names": b"Name: a\n" * (MANY // 8),
    "a folded line": b"Name: a\n" + b" b\n" * (MANY // 3),
    "a name that is no text": b"Name: =?utf-8?q?=ff=ff?=\nVersion: \xff\xfe\n",
    "many sections": b"[awe]\n" + b"".join(b"[a%d]\nb = c\n" % n for n in range(100_000)),
    "a section twice": b"[awe]\na = b\n[awe]\na = c\n",
    "a name twice": b"[awe]\na = b\na = c\n",
    "a name without value": b"[awe]\na\n",
    "the default section": b"[DEFAULT]\na = b\n[awe]\nc = d\n",
    "an interpolation": b"[awe]\na = %(a)s\n",
    "a number for an address": b'{"dir_info":{"editable":true},"url":5}',
    "an address of nothing": b'{"dir_info":{"editable":true},"url":"file:///a\\u0000b"}',
    "an address that is none": b'{"dir_info":{"editable":true},"url":"http://[::1"}',
    "an address with a surrogate": b'{"dir_info":{"editable":true},"url":"file:///\\ud800"}',
    "texts for objects": b'{"dir_info":"editable","url":"file:///"}',
    "lists for objects": b'{"dir_info":["editable"],"url":["file:///"]}',
}


@pytest.mark.parametrize("bytes_", NOTES)
@pytest.mark.parametrize("name", ["RECORD", "METADATA", "WHEEL", "entry_points.txt"])
def test_a_wheel_whose_notes_are_hostile_is_reported_or_refused(pack, name, bytes_):
    path = pack.build()
    with zipfile.ZipFile(path) as archive:
        files = {each: archive.read(each) for each in archive.namelist()}
    files[f"{pack.dist_info}/{name}"] = NOTES[bytes_]
    with zipfile.ZipFile(path, "w") as archive:
        for each, content in files.items():
            archive.writestr(each, content)
    with within_bounds():
        try:
            report = inspect_wheel(path)
        except PackError:
            return
        assert report.refusals  # RECORD says otherwise
        assert report.digest
    assert not pack.ran


@pytest.mark.parametrize("bytes_", NOTES)
@pytest.mark.parametrize("name", ["RECORD", "METADATA", "entry_points.txt", "direct_url.json"])
@pytest.mark.parametrize("editable", [False, True], ids=["strict", "editable"])
def test_an_installation_whose_notes_are_hostile_is_verified_or_refused(
    pack, name, bytes_, editable
):
    record = pack.record()
    pack.install()
    (pack.site / pack.dist_info / name).write_bytes(NOTES[bytes_])

    def verified():
        assert verify_installed(record, pack.found(), editable=editable).record is record

    code = refusal(verified)
    assert code or name in {"RECORD", "direct_url.json"}
    assert not pack.ran


@pytest.mark.parametrize("bytes_", DOCUMENTS)
@pytest.mark.parametrize("file", ["pack.yaml", "contracts/put.yaml", "facades/entry.yaml"])
def test_a_wheel_whose_documents_are_hostile_is_refused(pack, file, bytes_):
    pack.files[f"{pack.package}/{file}"] = DOCUMENTS[bytes_]
    path = pack.build()
    with within_bounds():
        assert inspect_wheel(path).refusals
    assert not pack.ran
