"""Hostile bytes in the place of each governance document: an error of ours, and little memory."""

from __future__ import annotations

import base64
import copy
import json
from pathlib import Path

import pytest

from awe_core import canonical, documents, governance, trust
from awe_core.errors import AweError
from awe_core.records import FacadeRecord, Manifest, PackRecord, Root, Statement
from awe_core.trust import envelopes
from hostile import DOCUMENTS, LOOK_ALIKES, MOST_BYTES, refusal, within_bounds
from stores import Subject, an_active_pack, sha

MANIFEST = trust.manifest_file(1, 1)


def sealed(kind, data, names):
    """The store with *data* signed in the place of its document of *kind*."""
    store, _, _ = an_active_pack()
    file, pin = MANIFEST, store.pin
    if kind == "trust-root":
        file, pin = trust.root_file(1), sha(data)
    store.files[file] = store.seal(kind, data, names)
    return lambda: store.judge(pin=pin)


def with_a_statement(data):
    """The store whose pack lacks one approval, which *data* might be."""
    store, subject, statements = an_active_pack()
    file = trust.statement_file(sha(data), is_stop=False)
    store.files[file] = data
    store.version, store.previous = 0, None
    store.manifest([(subject, "ACTIVE", [*statements[:2], sha(data)])])
    return lambda: raise_first(store.judge().packs[0].refusals)


def with_a_record(data, *, is_facade=False):
    store, _, _ = an_active_pack()
    subject = Subject(sha(data), "acme-files", "1.4.0", "awe-pack-acme-files")
    store.version, store.previous = 0, None
    if is_facade:
        subject.name = "files_put"
        store.files[trust.facade_file("files_put", sha(data))] = data
        store.manifest((), [(subject, "ACTIVE", [])])
    else:
        store.files[trust.pack_file(subject.distribution, "1.4.0", sha(data))] = data
        store.manifest([(subject, "ACTIVE", [])])
    return lambda: raise_first([each.why for each in store.judge().absent])


def raise_first(errors):
    for error in errors:
        raise error


def with_a_file(file):
    def read(data):
        store, _, _ = an_active_pack()
        store.files[file] = data
        return store.judge

    return read


def a_stop(data):
    store, _, _ = an_active_pack()
    store.files[trust.statement_file(sha(data), is_stop=True)] = data
    return lambda: raise_first(store.judge().warnings)


READERS = {
    "root": lambda data: sealed("trust-root", data, ["alice", "bob"]),
    "root envelope": with_a_file(trust.root_file(1)),
    "next root envelope": with_a_file(trust.root_file(2)),
    "manifest": lambda data: sealed("manifest", data, ["rel"]),
    "manifest envelope": with_a_file(MANIFEST),
    "statement": lambda data: with_a_statement(
        an_active_pack()[0].seal("statement", data, ["sec"])
    ),
    "statement envelope": with_a_statement,
    "stop envelope": a_stop,
    "pack record": with_a_record,
    "facade record": lambda data: with_a_record(data, is_facade=True),
    "mark": lambda data: lambda: governance.mark_from_json(canonical.parse_document(data)),
    "proposal": lambda data: lambda: documents.read("proposal", data, file="proposal.yaml"),
}


@pytest.mark.parametrize("bytes_", DOCUMENTS)
@pytest.mark.parametrize("reader", READERS)
def test_hostile_bytes_end_in_an_error_of_ours_and_take_little_memory(reader, bytes_):
    assert refusal(READERS[reader](DOCUMENTS[bytes_]))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="nothing tells the memory here")
def test_what_would_take_more_memory_would_be_seen():
    with within_bounds(), pytest.raises(MemoryError):
        bytearray(2 * MOST_BYTES)


def documents_of_a_store():
    store, subject, statements = an_active_pack()
    facade = store.facade()
    payload = {
        Root: store.files[trust.root_file(1)],
        Manifest: store.files[MANIFEST],
        Statement: store.files[trust.statement_file(statements[1], is_stop=False)],
    }
    found = {kind: base64.b64decode(json.loads(data)["payload"]) for kind, data in payload.items()}
    found[PackRecord] = store.files[trust.pack_file(subject.distribution, "1.4.0", subject.digest)]
    found[FacadeRecord] = store.files[trust.facade_file("files_put", facade.digest)]
    return found


def texts(value, place=()):
    """Every text in a document with its place; a key's place ends with None."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, list):
        for n, item in enumerate(value):
            yield from texts(item, (*place, n))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield (*place, key, None), key
            yield from texts(item, (*place, key))


def replaced(document, place, text):
    changed = copy.deepcopy(document)
    inner = changed
    *way, last = place[:-1] if place[-1] is None else place
    for step in way:
        inner = inner[step]
    if place[-1] is None:
        inner[text] = inner.pop(last)
    else:
        inner[last] = text
    return json.dumps(changed, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        errors="surrogatepass"
    )


@pytest.mark.parametrize("look", LOOK_ALIKES)
@pytest.mark.parametrize("kind", [Root, Manifest, Statement, PackRecord, FacadeRecord])
def test_what_only_looks_like_a_name_stands_nowhere_in_a_document(kind, look):
    data = documents_of_a_store()[kind]
    taken = set()
    for place, text in texts(json.loads(data)):
        changed = replaced(json.loads(data), place, LOOK_ALIKES[look](text))
        try:
            kind.from_json(envelopes.parse_document(changed, at="it"), at="it")
        except AweError:
            continue
        taken.add(place)
    is_letter = look in {
        "a Cyrillic letter",
        "full-width digits",
        "Arabic digits",
        "a combining mark",
    }
    assert ({("reason",)} if kind is Statement and is_letter else set()) == taken
